r"""Hamiltonian form: continuous $H = a \cdot F$, discrete $H_n = \lambda_{n+1} \cdot z_{n+1}(z_n)$, symplectic map."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from sympy import Expr, Integer, S

from derive.checks import DeferredCheck, IdentityCheck, StationarityCheck, central_difference
from derive.derivation import Kind
from derive.displayed import Displayed, Line
from derive.errors import SpecError
from derive.evaluator import evaluate, value_of
from derive.gradients import collected
from derive.latex import aligned, latex, plain
from derive.linearization import Linearization, forward_sweep, pushforward
from derive.numbering import Author
from derive.operators import Numeric, dot, shape_of
from derive.program import Assignment, Program, name_functions
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, accented, free_prefix, reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, by_name
from derive.systems import ODE

LETTERS = ("a", "p", "costate")  # of costates
LEARNABLE = (Role.PARAMETER, Role.LAYER_PARAMETER)


@dataclass(frozen=True, repr=False)
class Hamiltonian(Displayed):
    """Continuous Hamiltonian form of an ODE and of a cost that runs along with it.

    Attributes:
        energy: H = a . F + running cost, in state, costate and what drives them.
        costates: unknown -> its costate.
        adjoint: the reverse sweep over field and running cost; the costate's velocity is minus its cotangent.
        field: the field, and the running cost where there is one, as a program.
        time: the independent variable, where H depends on it.
    """

    energy: Expr
    costates: dict[Quantity, Quantity]
    adjoint: Adjoint
    field: Program
    time: Quantity | None = None

    def lines(self) -> Iterator[Line]:
        """H, and Hamilton's equations."""
        yield f"H = {plain(self.energy)}", f"H &= {latex(self.energy, continuous=True)}"
        states = {x: self._values[f] for x, f in zip(self.costates, self.field.outputs, strict=False)}
        costates = {a: self.costate_velocity(x) for x, a in self.costates.items()}
        for quantity, value in (states | costates).items():
            left = accented(quantity.latex, r"\dot", r"\dot")
            yield f"{quantity}' = {plain(value)}", f"{left} &= {latex(value, continuous=True)}"

    def costate_velocity(self, unknown: Quantity) -> Expr:
        """da/dt = -dH/dx for one unknown."""
        return -self.gradient_density(unknown)

    def gradient_density(self, quantity: Quantity) -> Expr:
        """dH/dq: what a parameter's gradient gathers per unit of time."""
        bar = self.adjoint.cotangents.get(quantity)
        return Integer(0) if bar is None else collected(self._values[bar])

    @cached_property
    def _values(self) -> dict[Expr, Expr]:
        """Every cotangent in state, costate and what drives them: no name of a program's line is left."""
        found: dict[Expr, Expr] = dict(self._seeds)
        for line in (*self.field.assignments, *self.adjoint.program.assignments):
            found[line.target] = line.value.xreplace(found)
        return found

    @property
    def _seeds(self) -> dict[Quantity, Expr]:
        """Cotangent of each right-hand side -> its costate; that of the running cost is 1."""
        given: list[Expr] = [*self.costates.values(), Integer(1)]
        return dict(zip(self.adjoint.seeds.values(), given, strict=False))

    def rates(self, moving: Iterable[Quantity] | None = None) -> dict[Quantity, Quantity]:
        """What depends on time (everything learnable, unless given) and is read -> the name of its derivative."""
        read = by_name(self.energy.atoms(Quantity))
        wanted = [q for q in read if q.role in LEARNABLE] if moving is None else [q for q in moving if q in read]
        return {q: q.renamed(f"rate_{q.name}", accented(q.latex, r"\dot", r"\dot")) for q in wanted}

    def energy_rate(self, moving: Iterable[Quantity] | None = None) -> Expr:
        """dH/dt along solutions: what moves H besides state and costate, whose parts cancel."""
        rates: dict[Quantity, Expr] = dict(self.rates(moving))
        if self.time is not None:
            rates[self.time] = Integer(1)
        return collected(pushforward(self.energy, rates))

    def energy_rate_check(self, moving: Iterable[Quantity] | None = None) -> IdentityCheck:
        """That rate against central differences of H along the flow of state and costate."""
        rates = self.rates(moving)
        quantities = {*self.energy.atoms(Quantity), *rates.values(), *self.costates, *self.costates.values()}

        def along(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
            known = evaluate(self.field, values, sampler.networks)
            velocities = {q: values[rate] for q, rate in rates.items()}
            for (unknown, costate), f in zip(self.costates.items(), self.field.outputs, strict=False):
                back = value_of(self.costate_velocity(unknown), values, sampler.networks)
                velocities |= {unknown: known[f], costate: back + 0 * values[costate]}
            if self.time is not None:
                velocities[self.time] = 1
            return central_difference(self.energy, values, velocities, sampler)

        return IdentityCheck(along, self.energy_rate(moving), tuple(by_name(quantities)), self.field.networks())


def hamiltonian(ode: ODE, running: Expr = S.Zero, beside: Iterable[Quantity] = ()) -> Hamiltonian:
    """H = a . F(x) + running cost, x' = dH/da, a' = -dH/dx.

    Args:
        ode: the field.
        running: cost per unit of time, in what the field may read.
        beside: what else has a name that no costate may bear.

    Raises:
        SpecError: every name for costates is taken.
    """
    program = _with_cost(ode, running)
    adjoint = reverse_sweep(program, tuple(q for q in program.inputs if not q.role.fixed))
    given = {q.name for q in (*program.inputs, *program.targets, *beside)}
    costates = _costates(ode, given)
    energy = sum(
        (paired(costates[x], v) for x, v in zip(ode.state, ode.velocity, strict=True)),
        running,
    )
    time = ode.time if ode.time in energy.atoms(Quantity) else None
    return Hamiltonian(energy, costates, adjoint, program, time)


def _with_cost(ode: ODE, running: Expr) -> Program:
    """The right-hand sides, and after them the running cost where there is one."""
    field = ode.field_program()
    if running == 0:
        return field
    cost = Assignment(Quantity("running_cost", (), Role.INTERMEDIATE, r"\ell"), running, "cost per unit of time")
    inputs = by_name({*field.inputs, *running.atoms(Quantity)})
    return name_functions(Program(tuple(inputs), (*field.assignments, cost), (*field.outputs, cost.target)))


def _costates(ode: ODE, taken: Collection[str]) -> dict[Quantity, Quantity]:
    """A costate for each unknown, by the first letter that leaves the names of the system alone."""
    alone = len(ode.state) == 1
    for letter in LETTERS:
        names = [letter if alone else f"{letter}_{x.name}" for x in ode.state]
        if not set(names) & set(taken):
            break
    else:
        raise SpecError(f"costates are called {' or '.join(LETTERS)}; leave one of these names free")
    shown = [letter if alone else rf"{letter}_{{{x.latex}}}" for x in ode.state]
    return {x: Quantity(n, x.shape, Role.COTANGENT, ln) for x, n, ln in zip(ode.state, names, shown, strict=True)}


def write_hamiltonian(author: Author, ode: ODE) -> dict[str, Expr]:
    """Section on the continuous system; returns the costate velocities as results for claims."""
    form = hamiltonian(ode)
    for unknown, velocity in zip(ode.state, ode.velocity, strict=True):
        author.relation(
            f"the ODE for {unknown.name}",
            Kind.DEFINITION,
            rf"\dot {unknown.latex} = {latex(velocity, continuous=True)}",
            text=f"d{unknown}/dt = {velocity}",
            reason="given",
            name=f"ode.{unknown.name}",
        )
    names = ", ".join(costate.name for costate in form.costates.values())
    author.relation(
        "Hamiltonian",
        Kind.DEFINITION,
        f"H = {latex(form.energy, continuous=True)}",
        text=f"H = {form.energy}",
        reason=f"costate {names}; the Lagrangian is linear in the velocity, so this is the first-order form",
        name="hamiltonian",
    )
    results: dict[str, Expr] = {}
    for unknown, costate in form.costates.items():
        velocity = form.costate_velocity(unknown)
        results[f"costate_velocity_{unknown.name}"] = velocity
        bar = form.adjoint.cotangents.get(unknown)
        check = None
        if bar is not None:
            line = next(line for line in form.adjoint.program.assignments if line.target == bar)
            check = StationarityCheck(form.field, form.adjoint, line, unknown)
        author.relation(
            f"adjoint equation of {unknown.name}",
            Kind.IDENTITY if check else Kind.DEFINITION,
            rf"\dot {costate.latex} = -\frac{{\partial H}}{{\partial {unknown.latex}}}"
            rf" = {latex(velocity, continuous=True)}",
            text=f"d{costate}/dt = {velocity}",
            reason="Hamilton's equation; the reverse sweep over the field",
            name=f"costate.{unknown.name}",
            check=check,
        )
    results["hamiltonian_rate"] = form.energy_rate()
    author.relation(
        "rate of H along solutions",
        Kind.IDENTITY,
        rf"\frac{{dH}}{{dt}} = {latex(form.energy_rate(), continuous=True)}",
        text=f"dH/dt = {form.energy_rate()}",
        reason="the parts of state and costate cancel; constant where nothing that H reads depends on time, and exact "
        "in continuous time only: the discrete H_n drifts by O(h)",
        name="hamiltonian_rate",
        check=form.energy_rate_check(),
    )
    author.close("Hamiltonian form of the ODE", "The adjoint equation is the costate half of Hamilton's equations.")
    return results


def write_phase_map(author: Author, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """Section on the discrete Hamiltonian, the conserved pairing and the symplectic phase map."""
    step = recurrence.step
    fresh = [q for q in recurrence.new if q not in recurrence.old]
    lines = " + ".join(rf"{adjoint.seeds[q].latex} \cdot {q.latex}" for q in fresh)
    arguments = ", ".join(q.latex for q in recurrence.old)
    author.relation(
        "discrete Hamiltonian",
        Kind.DEFINITION,
        rf"H_n\left({arguments};\, {', '.join(adjoint.seeds[q].latex for q in fresh)}\right) = {lines}",
        text="H_n = " + " + ".join(f"{adjoint.seeds[q]} . {q}({', '.join(map(str, recurrence.old))})" for q in fresh),
        reason="multiplier of the step times the step's right-hand side, a function of the past values",
        name="discrete_hamiltonian",
    )
    author.relation(
        "discrete Hamilton equations",
        Kind.STATEMENT,
        aligned(_hamilton_lines(recurrence, adjoint)),
        reason="the step is the derivative in the multiplier; the adjoint of each past value, summed over the steps "
        "that read it, the derivative in the state (checked line by line above)",
        source="stationarity of the Lagrangian",
    )
    tangent = forward_sweep(step, recurrence.old)
    pairing_before = sum((paired(tangent.tangents[q], adjoint.cotangents[q]) for q in recurrence.old), Integer(0))
    pairing_after = sum((paired(tangent.tangents[q], adjoint.seeds[q]) for q in recurrence.new), Integer(0))
    author.relation(
        "conserved pairing",
        Kind.IDENTITY,
        rf"{latex(pairing_after)} = {latex(pairing_before)}",
        text=f"{pairing_after} = {pairing_before}",
        reason="cotangents and tangents transform contragrediently: forward sweep against reverse sweep",
        name="pairing",
        check=_pairing_check(recurrence, adjoint, tangent, pairing_before, pairing_after),
    )
    _write_symplecticity(author, recurrence, adjoint)
    author.close(
        "Hamiltonian form of the step",
        "Forward step and backpropagation together are one symplectic map of (state, costate).",
    )


def paired(left: Expr, right: Expr) -> Expr:
    """Inner product of two quantities of one shape."""
    return dot(left, right) if shape_of(right) else left * right


def _hamilton_lines(recurrence: Recurrence, adjoint: Adjoint) -> list[str]:
    fresh = [q for q in recurrence.new if q not in recurrence.old]
    lines = [rf"{q.latex} &= \partial H_n / \partial {adjoint.seeds[q].latex}" for q in fresh]
    for unknown, after in zip(recurrence.old, recurrence.new, strict=True):
        if after not in fresh:
            continue
        readers = _steps_that_read(recurrence, unknown)
        later = [rf"\partial H_{{n+{lag}}} / \partial {unknown.latex}" for lag in range(1, readers)]
        right = " + ".join([rf"\partial H_n / \partial {unknown.latex}", *later])
        lines.append(rf"\lambda_n = \partial L / \partial {unknown.latex} &= {right}")
    return lines


def _steps_that_read(recurrence: Recurrence, quantity: Quantity) -> int:
    """In how many steps a part of the state is there before it is dropped."""
    steps = 1
    while quantity in recurrence.new:
        quantity = recurrence.old[recurrence.new.index(quantity)]
        steps += 1
    return steps


def _pairing_check(
    recurrence: Recurrence, adjoint: Adjoint, tangent: Linearization, before: Expr, after: Expr
) -> IdentityCheck:
    def after_step(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        from_tangents = evaluate(tangent.program, values, sampler.networks)
        known = {**values, **from_tangents}
        return sum(np.sum(known[tangent.tangents[q]] * known[adjoint.seeds[q]]) for q in recurrence.new)

    whole = sequence(recurrence.step, adjoint.program, tangent.program)
    return IdentityCheck(after_step, before, whole.inputs, recurrence.step.networks(), whole)


def sequence(*programs: Program) -> Program:
    """Programs one after the other: each may read what those before it computed."""
    lines = tuple(line for program in programs for line in program.assignments)
    assigned = {line.target for line in lines}
    inputs = dict.fromkeys(q for program in programs for q in program.inputs if q not in assigned)
    ordered = tuple(sorted(inputs, key=lambda q: q.name))
    return Program(ordered, lines, tuple(line.target for line in lines))


def _write_symplecticity(author: Author, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """omega before = omega after, for two independent variations of (state, multiplier)."""
    author.relation(
        "symplectic phase map",
        Kind.IDENTITY,
        r"\delta_1 z_{n+1} \cdot \delta_2 \lambda_{n+1} - \delta_2 z_{n+1} \cdot \delta_1 \lambda_{n+1}"
        r" = \delta_1 z_n \cdot \delta_2 \lambda_n - \delta_2 z_n \cdot \delta_1 \lambda_n,"
        rf"\quad z_n = \left({', '.join(q.latex for q in recurrence.old)}\right)",
        text="omega(delta_1, delta_2) is the same before and after the step, on z = state, lambda = cotangent",
        reason="(z_n, lambda_n) -> (z_(n+1), lambda_(n+1)) has the generating function H_n; two linearized sweeps",
        name="symplectic",
        check=DeferredCheck(partial(_symplectic_check, recurrence, adjoint)),
    )


def _symplectic_check(recurrence: Recurrence, adjoint: Adjoint) -> IdentityCheck:
    (first, lines_first), (second, lines_second) = (_variation(recurrence, adjoint, mark) for mark in ("1", "2"))
    bars = adjoint.cotangents
    before = _form([(first[q], second[bars[q]], second[q], first[bars[q]]) for q in recurrence.old])
    whole = sequence(recurrence.step, adjoint.program, *lines_first, *lines_second)

    def after_step(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        pairs = [(q, adjoint.seeds[q]) for q in recurrence.new]
        return sum(
            np.sum(values[first[q]] * values[second[b]] - values[second[q]] * values[first[b]]) for q, b in pairs
        )

    return IdentityCheck(after_step, before, whole.inputs, recurrence.step.networks(), whole)


def _variation(
    recurrence: Recurrence, adjoint: Adjoint, mark: str
) -> tuple[dict[Quantity, Quantity], tuple[Program, Program]]:
    """Linearization of step and adjoint along one variation of (old state, seeds), under names of its own."""
    prefix = free_prefix("dot", recurrence.step)
    step = forward_sweep(recurrence.step, recurrence.old, prefix)
    along = (
        *recurrence.old,
        *(q for q in adjoint.program.inputs if q in step.tangents),
        *adjoint.seeds.values(),
    )
    back = forward_sweep(adjoint.program, tuple(dict.fromkeys(along)), prefix)
    tangents = {**step.tangents, **back.tangents}
    names = {t: t.renamed(f"v{mark}_{t.name}", rf"\delta_{mark} {t.latex}") for t in tangents.values()}
    return {q: names[t] for q, t in tangents.items()}, (step.program.renamed(names), back.program.renamed(names))


def _form(parts: list[tuple[Quantity, Quantity, Quantity, Quantity]]) -> Expr:
    return sum((paired(a, b) - paired(c, d) for a, b, c, d in parts), Integer(0))

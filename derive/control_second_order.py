"""Section on optimal control: Hessian-vector products by the forward sweep over the adjoint equation."""

from __future__ import annotations

from functools import partial

from sympy import Expr, Integer

from derive.control import OptimalControl
from derive.control_checks import Right, Runs, derivative_check, pointwise, runs_of, slope_check, variation
from derive.control_gradients import Formulas, at_the_start, gathered, path_integral
from derive.control_sections import End, Results, at, formula, valued
from derive.control_words import clock_of
from derive.derivation import Check, Kind
from derive.gradients import collected, gradient_of
from derive.lagrangian import StepNames
from derive.latex import plain
from derive.linearization import pushforward
from derive.numbering import Author
from derive.phase_space import paired
from derive.symbols import Quantity
from derive.systems import ODE

Moved = dict[Quantity, Quantity]
LEAD = "The forward sweep over the adjoint equation: one more pass each way gives the Hessian times any direction."
BACK = "forward sweep over the adjoint equation; checked against the reverse sweep over the variation of the ODE"


def tangent_problem(control: OptimalControl) -> OptimalControl:
    """The problem whose cost is the derivative of this one's along variations of all it depends on.

    Its unknowns are the state and its variation; the costate of the variation is the costate of the problem itself, and
    that of the state is the costate's variation.
    """
    ode, moved = control.ode, _moved(control, states=True)
    velocities = (*ode.velocity, *(pushforward(f, moved) for f in ode.velocity))
    return OptimalControl(
        ode=ODE((*ode.state, *(moved[x] for x in ode.state)), velocities, time=ode.time),
        terminal=pushforward(control.terminal, moved),
        running=pushforward(control.running, moved),
        controls=(*control.controls, *(moved[q] for q in control.controls)),
        observations={moment: pushforward(cost, moved) for moment, cost in control.observations.items()},
        begin=control.begin,
        end=control.end,
        population=control.population,
    )


def _moved(control: OptimalControl, states: bool) -> Moved:
    read = (*control.controls, *control.constants)
    return {q: variation(q) for q in ((*control.ode.state, *read) if states else read)}


def write_second_order(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """Section: variations of state and costate, and the products they give."""
    twice = tangent_problem(control)
    writer = _SecondOrder(author, control, names, twice, runs_of(twice))
    for unknown, value in zip(control.ode.state, control.ode.velocity, strict=True):
        writer.forward(unknown, value)
    for unknown in control.ode.state:
        writer.backward(unknown)
        for moment in control.moments:
            writer.end(moment, unknown)
    for unknown in control.ode.state:
        writer.initial(unknown)
    for quantity in control.controls:
        writer.path(quantity)
    for quantity in control.constants:
        writer.parameter(quantity)
    author.close(f"Second order{names.title}", LEAD)
    return writer.results


class _SecondOrder:
    """Writes the relations one after the other; checks are made with the tangent problem."""

    def __init__(
        self, author: Author, control: OptimalControl, names: StepNames, twice: OptimalControl, runs: Runs
    ) -> None:
        self.author, self.control, self.names, self.twice, self.runs = author, control, names, twice, runs
        costates = control.hamiltonian.costates
        self.moved = _moved(control, states=True) | {a: variation(a) for a in costates.values()}
        found = twice.hamiltonian.costates
        self.names_there = {a: found[variation(x)] for x, a in costates.items()}
        self.names_there |= {variation(a): found[x] for x, a in costates.items()}
        self.results: Results = {}
        self.clock = clock_of(control)

    def _tangent(self, value: Expr) -> Expr:
        return collected(pushforward(value, self.moved))

    def _there(self, value: Expr) -> Expr:
        return value.xreplace(self.names_there)

    def forward(self, unknown: Quantity, value: Expr) -> None:
        """The variation of the ODE."""
        tangent, covector = self._tangent(value), _covector(unknown)
        check = slope_check(paired(covector, value), self.moved, paired(covector, tangent))
        self._rate(unknown, tangent, "forward sweep over the field", check)

    def backward(self, unknown: Quantity) -> None:
        """The variation of the adjoint equation."""
        tangent, covector = self._tangent(self.control.hamiltonian.costate_velocity(unknown)), _covector(unknown)
        other = self.twice.hamiltonian.costate_velocity(unknown)
        check = pointwise(paired(covector, other), paired(covector, self._there(tangent)))
        self._rate(self.control.hamiltonian.costates[unknown], tangent, BACK, check)

    def _rate(self, quantity: Quantity, tangent: Expr, reason: str, check: Check) -> None:
        name, way = f"tangent_velocity_{quantity.name}", variation(quantity)
        self.results[name] = tangent
        self.author.relation(
            f"variation of {quantity.name} in time",
            Kind.IDENTITY,
            rf"\frac{{d}}{{d{self.clock.latex}}} {way.latex} = {formula(tangent)}",
            text=f"d/d{self.clock} {way} = {plain(tangent)}",
            reason=reason,
            name=self.names.joined(name),
            check=check,
        )

    def end(self, moment: Quantity, unknown: Quantity) -> None:
        """The variation of what a costate ends with, or jumps by."""
        value = self._tangent(gradient_of(self.control.moments[moment], unknown))
        other, covector = gradient_of(self.twice.moments[moment], unknown), _covector(unknown)
        end = End(self.control, variation(self.control.hamiltonian.costates[unknown]), moment)
        name = f"tangent_{end.word}_{moment.name}_{unknown.name}"
        self.results[name] = value
        self.author.relation(
            f"{end.word} of the variation {end.costate.name} at {moment.name}",
            Kind.IDENTITY,
            f"{end.shown} = {valued(value, moment)}",
            text=f"{end.text} = {plain(value)} at {moment}",
            reason="forward sweep over the gradient of the cost; checked against the gradient of the cost's variation",
            name=self.names.joined(name),
            check=pointwise(paired(covector, other), paired(covector, value)),
        )

    def initial(self, unknown: Quantity) -> None:
        """The product in the initial state."""
        way = variation(self.control.hamiltonian.costates[unknown])
        right = partial(at_the_start, self.twice, unknown)
        self._product(
            unknown, f"{unknown.latex}({self.control.begin.latex})", at(way.latex, self.control.begin), way, right
        )

    def path(self, quantity: Quantity) -> None:
        """The product in a control, at every time."""
        value = self._tangent(self.control.hamiltonian.gradient_density(quantity))
        mean = rf"\mathbb{{E}}\left[{formula(value)}\right]" if self.control.population else formula(value)
        self._product(quantity, f"{quantity.latex}({self.clock.latex})", mean, value, partial(path_integral, quantity))

    def parameter(self, quantity: Quantity) -> None:
        """The product in a parameter, where the Hessian is not zero."""
        density = self._tangent(self.control.hamiltonian.gradient_density(quantity))
        direct = {m: self._tangent(gradient_of(cost, quantity)) for m, cost in self.control.moments.items()}
        direct = {moment: value for moment, value in direct.items() if value != 0}
        shown = [valued(value, moment) for moment, value in direct.items()]
        if density != 0:
            limits = rf"_{{{self.control.begin.latex}}}^{{{self.control.end.latex}}}"
            shown.append(rf"\int{limits} \left({formula(density)}\right) d{self.clock.latex}")
        formulas = (*direct.values(), *([density] if density != 0 else []))
        joined = " + ".join(shown) or "0"
        mean = rf"\mathbb{{E}}\left[{joined}\right]" if self.control.population else joined
        self._product(quantity, quantity.latex, mean, formulas, partial(gathered, quantity, tuple(direct)))

    def _product(self, about: Quantity, latex: str, shown: str, value: Expr | Formulas, right: Right) -> None:
        formulas = value if isinstance(value, tuple) else (value,)
        name = f"hessian_product_{about.name}"
        self.results[name] = sum(formulas, Integer(0))
        self.author.relation(
            f"Hessian-vector product in {about.name}",
            Kind.IDENTITY,
            rf"\left(\nabla^2 J\, \delta\right)_{{{latex}}} = {shown}",
            text=f"(Hessian . vary) in {about} = {', '.join(map(plain, formulas)) or '0'}",
            reason="the Hessian times the variations of all that the cost depends on",
            name=self.names.joined(name),
            check=derivative_check(self.runs, about, tuple(map(self._there, formulas or (Integer(0),))), right),
        )


def _covector(unknown: Quantity) -> Quantity:
    return unknown.renamed("covector", "w")

"""Section on optimal control: Pontryagin's condition, and optimal controls where H is quadratic in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import numpy as np
from sympy import Expr, Integer

from derive.checks import central_difference
from derive.control import OptimalControl
from derive.control_checks import AlongCheck, Runs, pointwise, variation
from derive.control_runs import NUDGE, ControlRun, Values
from derive.control_sections import Results, formula
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.gradients import collected
from derive.lagrangian import StepNames
from derive.latex import latex, plain
from derive.linear_forms import solved
from derive.linearization import pushforward
from derive.numbering import Author
from derive.numeric import solve_linear
from derive.operators import Numeric
from derive.phase_space import paired
from derive.power_series import array_of
from derive.sampling import Sampler
from derive.symbols import Quantity, Role
from derive.systems import ODE

SHARE = 0.6  # of the last interval, where the needle stands
PONTRYAGIN = "Pontryagin, Boltyanskii, Gamkrelidze, Mishchenko 1962, with p = -a"


def optimal_controls(control: OptimalControl) -> dict[Quantity, Expr]:
    """Controls at which dH/dq = 0, where H is quadratic in each of them alone; nothing unless all are solved."""
    found: dict[Quantity, Expr] = {}
    for quantity in control.controls:
        value = solved(control.hamiltonian.gradient_density(quantity), quantity)
        if value is None or any(other in value.atoms(Quantity) for other in control.controls):
            return {}
        found[quantity] = value
    return found


def write_optimum(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> Results:
    """Section: what a needle of a control costs, the minimum principle, and the optimal control in closed form."""
    if not control.controls:
        return {}
    results: Results = {}
    for quantity in control.controls:
        results |= _write_needle(author, control, names, runs, quantity)
    found = optimal_controls(control)
    for quantity, value in found.items():
        results |= _write_optimal(author, control, names, quantity, value)
    if found and not control.population:
        results |= _write_extremal(author, control, names, found)
    author.close(f"Pontryagin's condition{names.title}", "What is true of every best control, smooth or not.")
    return results


def _write_needle(author: Author, control: OptimalControl, names: StepNames, runs: Runs, quantity: Quantity) -> Results:
    other = quantity.renamed(f"other_{quantity.name}", "v")
    sides = (
        *zip(control.hamiltonian.costates.values(), control.ode.velocity, strict=True),
        (Integer(1), control.running),
    )
    value = sum((paired(a, f.xreplace({quantity: other}) - f) for a, f in sides), Integer(0))
    mean = r"\mathbb{E}\left[%s\right]" if control.population else "%s"
    author.relation(
        f"needle of {quantity.name}",
        Kind.IDENTITY,
        rf"\lim_{{\varepsilon \to 0}} \frac{{J[{quantity.latex} = v\ \text{{on}}\ (t, t + \varepsilon)] - J}}"
        rf"{{\varepsilon}} = {mean % rf'H(v) - H({quantity.latex}) = {latex(value)}'}",
        text=f"(J with {quantity} = v on (t, t + eps) - J)/eps -> H(v) - H({quantity}) = {plain(value)}",
        reason="another value for a short time, however far away: the first variation without smallness of delta q",
        name=names.joined(f"needle_{quantity.name}"),
        check=AlongCheck(runs, (value,), cache(partial(_needle, quantity)), partial(_difference, quantity, other)),
    )
    author.relation(
        f"Pontryagin's condition for {quantity.name}",
        Kind.STATEMENT,
        mean % rf"H(x, a, {quantity.latex}(t))" + r" \le " + mean % "H(x, a, v)" + r"\quad \text{for all } v",
        text=f"{'E ' if control.population else ''}H at the best {quantity}(t) <= the same at every admissible v",
        reason="else the needle would make J smaller",
        source=PONTRYAGIN,
        name=names.joined(f"pontryagin_{quantity.name}"),
    )
    return {f"needle_{quantity.name}": value}


def _place(run: ControlRun) -> complex:
    begin, end = (run.point.times[moment] for moment in run.moments[-2:])
    return begin + SHARE * (end - begin)


def _held(run: ControlRun, quantity: Quantity) -> Numeric:
    """The value of the needle."""
    return run.direction.paths[quantity][0]


def _needle(quantity: Quantity, run: ControlRun) -> float:
    """Derivative of the cost in the width of a needle, which is nudged along the imaginary axis."""
    point, place, width = run.point, _place(run), 1j * NUDGE
    held = {quantity: _held(run, quantity)}
    costs = []
    for sample in point.samples:
        packed = np.append(run.start(sample), 0)
        times = [point.times[moment] for moment in run.moments]
        begin = times[0]
        for end in [*times[1:-1], place]:
            packed = run.spent(point, sample, packed, begin, end)
            begin = end
        packed = run.spent(point, sample, packed, place, place + width, held)
        packed = run.spent(point, sample, packed, place + width, times[-1])
        known = run.known(point, sample, times[-1], packed[:-1], run.ode.state)
        costs.append(packed[-1] + run.value(run.control.terminal, known))
    return float(np.mean(costs).imag / NUDGE)


def _difference(quantity: Quantity, other: Quantity, run: ControlRun, formulas: tuple[Expr, ...]) -> complex:
    held = {other: _held(run, quantity)}
    return run.mean(lambda one, _: run.value(formulas[0], {**one.at(_place(run)), **held}))


def _write_optimal(
    author: Author, control: OptimalControl, names: StepNames, quantity: Quantity, value: Expr
) -> Results:
    way, energy = variation(quantity), control.hamiltonian.energy
    mean = r"; \ \text{a, x stand for their means}" if control.population else ""
    author.relation(
        f"optimal {quantity.name}",
        Kind.IDENTITY,
        rf"\frac{{\partial H}}{{\partial {quantity.latex}}} = 0: \quad {quantity.latex}^* = {formula(value)}" + mean,
        text=f"dH/d{quantity} = 0 at {quantity}* = {plain(value)}"
        + (", with a and x for their means over the population" if control.population else ""),
        reason="H is quadratic in it",
        name=names.joined(f"optimal_{quantity.name}"),
        check=pointwise(partial(_minimizer, energy, quantity), value, energy),
    )
    bent = collected(paired(way, pushforward(control.hamiltonian.gradient_density(quantity), {quantity: way})) / 2)
    author.relation(
        f"how far above its minimum H is in {quantity.name}",
        Kind.IDENTITY,
        rf"H({quantity.latex}^* + {way.latex}) - H({quantity.latex}^*) = {formula(bent)}",
        text=f"H({quantity}* + {way}) - H({quantity}*) = {plain(bent)}",
        reason="a minimum where this form is positive: Pontryagin's condition",
        name=names.joined(f"above_{quantity.name}"),
        check=pointwise(partial(_above, energy, quantity, value, way), bent, energy, value),
    )
    return {f"optimal_{quantity.name}": value, f"above_{quantity.name}": bent}


def _minimizer(energy: Expr, quantity: Quantity, values: Values, sampler: Sampler) -> Numeric:
    """Where a quadratic function of one quantity is stationary, from its values alone."""
    size = max(1, int(np.prod(np.shape(values[quantity]), dtype=int)))

    def at(*places: int, sign: int = 1) -> Numeric:
        moved = [sign * sum(place == here for place in places) + 0 * _entry(values[quantity]) for here in range(size)]
        given = array_of(moved).reshape(np.shape(values[quantity])) if np.ndim(values[quantity]) else moved[0]
        return value_of(energy, {**values, quantity: given}, sampler.networks)

    slope = array_of([(at(i) - at(i, sign=-1)) / 2 for i in range(size)])
    bends = [at(i, j) - at(i) - at(j) + at() for i in range(size) for j in range(size)]
    found = solve_linear(array_of(bends).reshape(size, size), -slope)
    return found if np.ndim(values[quantity]) else found[0]


def _entry(value: Numeric) -> Numeric:
    return value.ravel()[0] if np.ndim(value) else value


def _above(energy: Expr, quantity: Quantity, best: Expr, way: Quantity, values: Values, sampler: Sampler) -> Numeric:
    lowest = value_of(best, values, sampler.networks)
    there, here = (
        value_of(energy, {**values, quantity: lowest + size * values[way]}, sampler.networks) for size in (1, 0)
    )
    return there - here


def _write_extremal(
    author: Author, control: OptimalControl, names: StepNames, found: Mapping[Quantity, Expr]
) -> Results:
    """H with the optimal controls put in: its rate along the solutions that it makes itself."""
    form = control.hamiltonian
    energy = form.energy.xreplace(dict(found))
    value = collected(pushforward(energy, {form.time: Integer(1)})) if form.time is not None else Integer(0)
    velocities = closed_velocities(control, found)
    if form.time is not None:
        velocities[form.time] = Integer(1)

    def left(values: Values, sampler: Sampler) -> Numeric:
        moving = {q: value_of(v, values, sampler.networks) for q, v in velocities.items()}
        return central_difference(energy, values, moving, sampler)

    author.relation(
        "rate of H along extremals",
        Kind.IDENTITY,
        rf"\frac{{d}}{{dt}} H(x, a, {', '.join(rf'{q.latex}^*' for q in found)}) = {formula(value)}",
        text=f"d/dt H(x, a, {', '.join(f'{q}*' for q in found)}) = {plain(value)}",
        reason="dH/dq = 0: an optimal control does not move H, though it depends on time",
        name=names.joined("extremal_rate"),
        check=pointwise(left, value, energy, *velocities, *velocities.values()),
    )
    return {"extremal_rate": value}


def phase_flow(control: OptimalControl) -> tuple[ODE, Expr]:
    """State and costate as the unknowns of one ODE, and their H; optimal controls are put in where they are known."""
    found, form = optimal_controls(control), control.hamiltonian
    states = {a: a.renamed(a.name, a.latex, Role.STATE) for a in form.costates.values()}
    velocities = closed_velocities(control, found)
    unknowns = tuple(q.xreplace(states) for q in velocities)
    ode = ODE(unknowns, tuple(velocity.xreplace(states) for velocity in velocities.values()), time=control.ode.time)
    return ode, form.energy.xreplace(found).xreplace(states)


def closed_velocities(control: OptimalControl, found: Mapping[Quantity, Expr]) -> dict[Quantity, Expr]:
    """Unknown or costate -> its velocity with the optimal controls put in."""
    form, table = control.hamiltonian, dict(found)
    states = dict(zip(control.ode.state, control.ode.velocity, strict=True))
    costates = {a: form.costate_velocity(x) for x, a in form.costates.items()}
    return {q: velocity.xreplace(table) for q, velocity in (states | costates).items()}

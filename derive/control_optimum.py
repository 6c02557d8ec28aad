"""Section on optimal control: Pontryagin's condition, and optimal controls where H is quadratic in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.checks import central_difference
from derive.control import OptimalControl
from derive.control_checks import AlongCheck, Runs, pointwise, variation
from derive.control_runs import NUDGE, ControlRun, Values
from derive.control_sections import Results, formula
from derive.control_words import Words, clock_of, wordings
from derive.derivation import Check, Kind
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
from derive.reverse_sweep import accented
from derive.sampling import Sampler
from derive.symbols import Quantity, Role
from derive.systems import ODE

MEANS = (r"\mathbb{E}\left[%s\right]", "E of (%s)")  # over a population, in LaTeX and in plain characters
SHARE = 0.6  # of the last interval, where the needle stands
PONTRYAGIN = "Pontryagin, Boltyanskii, Gamkrelidze, Mishchenko 1962, whose costate is minus this one"


def optimal_controls(control: OptimalControl) -> dict[Quantity, Expr]:
    """Controls at which dH/dq = 0, where H is quadratic in each of them alone; nothing unless all are solved.

    One control serves a whole population: it is the mean of the values found where the curvature of H in it is the same
    for all samples. Where it is not, E[dH/dq] = 0 has no solution that is a mean of one formula, and nothing is found.
    """
    found: dict[Quantity, Expr] = {}
    for quantity in control.controls:
        value = solved(control.hamiltonian.gradient_density(quantity), quantity)
        if value is None or any(other in value.atoms(Quantity) for other in control.controls):
            return {}
        if control.population and any(q.role.batched for q in _curvature(control, quantity).atoms(Quantity)):
            return {}
        found[quantity] = value
    return found


def _curvature(control: OptimalControl, quantity: Quantity) -> Expr:
    """The part of H that is quadratic in a variation of the control."""
    way = variation(quantity)
    return collected(paired(way, pushforward(control.hamiltonian.gradient_density(quantity), {quantity: way})) / 2)


def write_optimum(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> Results:
    """Section: what a needle of a control costs, the minimum principle, and the optimal control in closed form."""
    if not control.controls:
        return {}
    results: Results = {}
    for quantity in control.controls:
        results |= _write_needle(author, control, names, runs, quantity)
    found = optimal_controls(control)
    for quantity, value in found.items():
        results |= _write_optimal(author, control, names, runs, quantity, value)
    if found and not control.population:
        results |= _write_extremal(author, control, names, found)
    author.close(f"Pontryagin's condition{names.title}", "What is true of every best control, smooth or not.")
    return results


def _write_needle(author: Author, control: OptimalControl, names: StepNames, runs: Runs, quantity: Quantity) -> Results:
    other = quantity.renamed(f"other_{quantity.name}", accented(quantity.latex, r"\tilde", r"\widetilde"))
    clock = clock_of(control)
    sides = (
        *zip(control.hamiltonian.costates.values(), control.ode.velocity, strict=True),
        (Integer(1), control.running),
    )
    value = sum((paired(a, f.xreplace({quantity: other}) - f) for a, f in sides), Integer(0))
    tex, (mean, word) = Words(control, tex=True), MEANS if control.population else ("%s", "%s")
    author.relation(
        f"needle of {quantity.name}",
        Kind.IDENTITY,
        rf"\lim_{{\varepsilon \to 0}} \frac{{J[{quantity.latex} = {other.latex}\ \text{{on}}\ "
        rf"({clock.latex}, {clock.latex} + \varepsilon)] - J}}{{\varepsilon}} = "
        rf"{mean % f'H({other.latex}) - H({quantity.latex})'} = {mean % latex(value)}",
        text=f"(J with {quantity} = {other} on ({clock}, {clock} + eps) - J)/eps -> "
        + " = ".join(word % side for side in (f"H({other}) - H({quantity})", plain(value))),
        reason="another value for a short time, however far away: the first variation without smallness",
        name=names.joined(f"needle_{quantity.name}"),
        check=AlongCheck(runs, (value,), cache(partial(_needle, quantity)), partial(_difference, quantity, other)),
    )
    author.relation(
        f"Pontryagin's condition for {quantity.name}",
        Kind.STATEMENT,
        mean % tex.energy((quantity,), f"({clock.latex})")
        + rf" \le {mean % tex.energy((other,))}\quad \text{{for all }} {other.latex}",
        text=f"{'E ' if control.population else ''}H at the best {quantity}({clock}) <= the same at every admissible "
        f"{other}",
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
    author: Author, control: OptimalControl, names: StepNames, runs: Runs, quantity: Quantity, value: Expr
) -> Results:
    way, energy = variation(quantity), control.hamiltonian.energy
    shown, text, ahead = formula(value), plain(value), "E " if control.population else ""
    if control.population:
        shown, text = rf"\mathbb{{E}}\left[{shown}\right]", f"E of ({text})"
    check: Check = pointwise(partial(_minimizer, energy, quantity), value, energy)
    if control.population:
        check = AlongCheck(runs, (value,), cache(partial(_best_for_all, energy, quantity)), _mean_at_place)
    author.relation(
        f"optimal {quantity.name}",
        Kind.IDENTITY,
        rf"{_gradient_of_energy(control, quantity)} = 0: \quad {quantity.latex}^* = {shown}",
        text=f"{ahead}dH/d{quantity} = 0 at {quantity}* = {text}",
        reason="H is quadratic in it" + (", with the same curvature for all samples" if control.population else ""),
        name=names.joined(f"optimal_{quantity.name}"),
        check=check,
    )
    bent, mean = _curvature(control, quantity), r"\mathbb{E}\," if control.population else ""
    check = pointwise(partial(_above, energy, quantity, value, way), bent, energy, value)
    if control.population:
        check = AlongCheck(
            runs,
            (bent,),
            cache(partial(_above_for_all, energy, quantity, value)),
            partial(_form_at_place, quantity, way),
        )
    author.relation(
        f"how far above its minimum H is in {quantity.name}",
        Kind.IDENTITY,
        rf"{mean}H({quantity.latex}^* + {way.latex}) - {mean}H({quantity.latex}^*) = {formula(bent)}",
        text=f"{ahead}H({quantity}* + {way}) - {ahead}H({quantity}*) = {plain(bent)}",
        reason="a minimum where this form is positive: Pontryagin's condition",
        name=names.joined(f"above_{quantity.name}"),
        check=check,
    )
    return {f"optimal_{quantity.name}": value, f"above_{quantity.name}": bent}


def _gradient_of_energy(control: OptimalControl, quantity: Quantity) -> str:
    gradient = rf"\frac{{\partial H}}{{\partial {quantity.latex}}}"
    return rf"\mathbb{{E}}\left[{gradient}\right]" if control.population else gradient


def _minimizer(energy: Expr, quantity: Quantity, values: Values, sampler: Sampler) -> Numeric:
    return _stationary(energy, quantity, [values], sampler.networks)


def _best_for_all(energy: Expr, quantity: Quantity, run: ControlRun) -> Numeric:
    """The one control of all samples at which the mean of H is stationary, at one time."""
    place = _place(run)
    return _stationary(energy, quantity, [one.at(place) for one in run.passes], run.sampler.networks)


def _above_for_all(energy: Expr, quantity: Quantity, best: Expr, run: ControlRun) -> Numeric:
    """What the mean of H gains where the best control of all samples is changed."""
    samples = [one.at(_place(run)) for one in run.passes]
    lowest = _mean_at_place(run, (best,))
    moved = [lowest + _held(run, quantity), lowest]
    there, here = (np.mean([run.value(energy, {**known, quantity: q}) for known in samples]) for q in moved)
    return there - here


def _form_at_place(quantity: Quantity, way: Quantity, run: ControlRun, formulas: tuple[Expr, ...]) -> Numeric:
    """A form of the variation of a control, at the value of the needle."""
    return run.value(formulas[0], {**run.passes[0].at(_place(run)), way: _held(run, quantity)})


def _mean_at_place(run: ControlRun, formulas: tuple[Expr, ...]) -> Numeric:
    place = _place(run)
    return np.mean([run.value(formulas[0], one.at(place)) for one in run.passes], axis=0)


def _stationary(energy: Expr, quantity: Quantity, samples: Sequence[Values], networks: Any) -> Numeric:
    """Where the mean of a quadratic function of one quantity is stationary, from its values alone."""
    own = samples[0][quantity]
    size = max(1, int(np.prod(np.shape(own), dtype=int)))

    def at(*places: int, sign: int = 1) -> Numeric:
        moved = [sign * sum(place == here for place in places) + 0 * _entry(own) for here in range(size)]
        given = array_of(moved).reshape(np.shape(own)) if np.ndim(own) else moved[0]
        return sum(value_of(energy, {**values, quantity: given}, networks) for values in samples)

    slope = array_of([(at(i) - at(i, sign=-1)) / 2 for i in range(size)])
    bends = [at(i, j) - at(i) - at(j) + at() for i in range(size) for j in range(size)]
    found = solve_linear(array_of(bends).reshape(size, size), -slope)
    return found if np.ndim(own) else found[0]


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
    form, (tex, words) = control.hamiltonian, wordings(control)
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
        rf"\frac{{d}}{{d{tex.clock}}} {tex.energy(found, '^*')} = {formula(value)}",
        text=f"d/d{words.clock} {words.energy(found, '*')} = {plain(value)}",
        reason="H is stationary in the controls: an optimal control does not move H, though it depends on time",
        name=names.joined("extremal_rate"),
        check=pointwise(left, value, energy, *velocities, *velocities.values()),
    )
    return {"extremal_rate": value}


def phase_flow(control: OptimalControl) -> tuple[ODE, Expr]:
    """State and costate as the unknowns of one ODE, and their H; optimal controls are put in where they are known."""
    found, form = {} if control.population else optimal_controls(control), control.hamiltonian
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

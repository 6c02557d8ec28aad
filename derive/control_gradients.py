"""Section on optimal control: the gradients in everything the cost depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from sympy import Expr, Integer

from derive.control import OptimalControl
from derive.control_checks import Runs, derivative_check
from derive.control_runs import CLOCK, Pass, Values
from derive.control_sections import Results, at, formula, valued
from derive.control_words import clock_of
from derive.derivation import Kind
from derive.gradients import gradient_of
from derive.lagrangian import StepNames
from derive.latex import aligned, plain
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.symbols import Quantity

Formulas = tuple[Expr, ...]


def write_gradients(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> Results:
    """Section: gradients in initial state, controls, parameters and times, each against nudges of the cost."""
    results: Results = {}
    for unknown, costate in control.hamiltonian.costates.items():
        results[f"gradient_{unknown.name}"] = costate
        author.relation(
            f"gradient of the initial {unknown.name}",
            Kind.IDENTITY,
            rf"\nabla_{{{unknown.latex}({control.begin.latex})}} J = {at(costate.latex, control.begin)}",
            text=f"gradient of {unknown}({control.begin}) = {costate} at {control.begin}",
            reason="the boundary term at the other end; of each sample"
            if control.population
            else "the boundary term at the other end",
            name=names.joined(f"gradient_{unknown.name}"),
            check=derivative_check(runs, unknown, (costate,), partial(at_the_start, control, unknown)),
        )
    for control_of_time in control.controls:
        results |= _write_functional_derivative(author, control, names, runs, control_of_time)
    for quantity in control.constants:
        results |= _write_parameter(author, control, names, runs, quantity)
    results |= _write_times(author, control, names, runs)
    _write_augmented(author, control, names)
    author.close(f"Gradients{names.title}", "What the first variation leaves: one backward pass gives all of them.")
    return results


def at_the_start(control: OptimalControl, unknown: Quantity, one: Pass, way: Values, found: Formulas) -> Numeric:
    """What the initial value gathers along a direction of one sample."""
    return np.sum(one.run.value(found[0], one.after[control.begin]) * way[unknown])


def _write_functional_derivative(
    author: Author, control: OptimalControl, names: StepNames, runs: Runs, quantity: Quantity
) -> Results:
    density, clock = control.hamiltonian.gradient_density(quantity), clock_of(control)
    mean = r"\mathbb{E}\left[%s\right]" if control.population else "%s"
    author.relation(
        f"functional derivative in {quantity.name}({clock})",
        Kind.IDENTITY,
        rf"\frac{{\delta J}}{{\delta {quantity.latex}({clock.latex})}} = "
        rf"\frac{{\partial H}}{{\partial {quantity.latex}}} = " + mean % formula(density),
        text=f"delta J/delta {quantity}({clock}) = dH/d{quantity} = "
        f"{'E of ' if control.population else ''}{plain(density)}",
        reason=f"delta J = integral of dH/d{quantity} . delta {quantity}"
        + (", in the mean" if control.population else ""),
        name=names.joined(f"functional_derivative_{quantity.name}"),
        check=derivative_check(runs, quantity, (density,), partial(path_integral, quantity)),
    )
    return {f"functional_derivative_{quantity.name}": density}


def path_integral(quantity: Quantity, one: Pass, way: Values, found: Formulas) -> complex:
    """Integral of a density times the direction of a control."""
    path = one.run.direction.paths[quantity]

    def inside(known: Mapping[Quantity, Numeric]) -> Numeric:
        moved = sum(c * known[CLOCK] ** k for k, c in enumerate(path))
        return np.sum(one.run.value(found[0], known) * moved)

    return one.integral(inside)


def gathered(quantity: Quantity, moments: Sequence[Quantity], one: Pass, way: Values, found: Formulas) -> Numeric:
    """What moments and, with one more formula, the integral of a density give along a parameter's direction."""
    toward, inside = one.run.direction.shared[quantity], found[len(moments) :]
    at_moments = zip(moments, found, strict=False)
    moved = sum(np.sum(one.run.value(value, one.before[moment]) * toward) for moment, value in at_moments)
    densities = [one.integral(lambda known: np.sum(one.run.value(inside[0], known) * toward))] if inside else []
    return sum(densities, moved)


def _write_parameter(
    author: Author, control: OptimalControl, names: StepNames, runs: Runs, quantity: Quantity
) -> Results:
    """Integral of dH/dtheta, and what the costs at moments read of it themselves."""
    density = control.hamiltonian.gradient_density(quantity)
    direct = {moment: gradient_of(cost, quantity) for moment, cost in control.moments.items()}
    direct = {moment: value for moment, value in direct.items() if value != 0}

    shown = [valued(value, moment) for moment, value in direct.items()]
    text = [f"({plain(value)} at {moment})" for moment, value in direct.items()]
    formulas = (*direct.values(), *([density] if density != 0 else []))
    if density != 0:
        limits = rf"_{{{control.begin.latex}}}^{{{control.end.latex}}}"
        shown.append(rf"\int{limits} \left({formula(density)}\right) d{clock_of(control).latex}")
        text.append(f"integral of ({plain(density)})")
    whole = rf"\mathbb{{E}}\left[{' + '.join(shown)}\right]" if control.population else " + ".join(shown)
    author.relation(
        f"gradient of {quantity.name}",
        Kind.IDENTITY,
        rf"\nabla_{{{quantity.latex}}} J = {whole}",
        text=f"gradient of {quantity} = {'E of ' if control.population else ''}{' + '.join(text)}",
        reason="constant in time: the functional derivative is gathered" if density != 0 else "it is read there alone",
        name=names.joined(f"gradient_{quantity.name}"),
        check=derivative_check(runs, quantity, formulas, partial(gathered, quantity, tuple(direct))),
    )
    return {f"gradient_{quantity.name}": density if density != 0 else sum(direct.values(), Integer(0))}


def _write_times(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> Results:
    """The two ends and the observation times: the costate's projection on the field, and what costs read of time."""
    energy, results = control.hamiltonian.energy, {}
    reasons = {
        control.begin: "the solution begins later from the same state: minus costate . field, and less running cost",
        control.end: "the solution goes on: costate . field + running cost",
    }
    for moment in (control.begin, *control.observations, control.end):
        cost = control.moments.get(moment, Integer(0))
        explicit = gradient_of(cost, control.ode.time) if control.ode.time is not None else Integer(0)
        if moment == control.begin:
            value = -energy
        elif moment == control.end:
            value = energy + explicit
        else:
            value = pushforward(cost, dict(zip(control.ode.state, control.ode.velocity, strict=True))) + explicit
        name = f"gradient_{moment.name}"
        results[name] = value
        side = "after" if moment == control.begin else "before"
        mean = (r"\mathbb{E}\left[", r"\right]") if control.population else ("", "")
        author.relation(
            f"gradient of the time {moment.name}",
            Kind.IDENTITY,
            rf"\frac{{dJ}}{{d {moment.latex}}} = " + mean[0] + valued(value, moment) + mean[1],
            text=f"gradient of {moment} = {'E of ' if control.population else ''}({plain(value)} at {moment})",
            reason=reasons.get(moment, f"the cost is read a little later: it changes by H({moment}-) - H({moment}+)"),
            name=names.joined(name),
            check=derivative_check(runs, moment, (value,), partial(_in_time, moment, side)),
        )
        if moment in control.free:
            author.relation(
                f"optimality of the free time {moment.name}",
                Kind.DEFINITION,
                mean[0] + valued(value, moment) + mean[1] + " = 0",
                text=("E of (%s at {moment}) = 0" if control.population else "%s = 0 at {moment}").format(moment=moment)
                % plain(value),
                reason="the gradient vanishes at the best time",
                name=names.joined(f"free_{moment.name}"),
            )
    return results


def _in_time(moment: Quantity, side: str, one: Pass, way: Values, found: Formulas) -> Numeric:
    known = getattr(one, side)[moment]
    return one.run.value(found[0], known) * one.run.direction.times[moment]


def _write_augmented(author: Author, control: OptimalControl, names: StepNames) -> None:
    """State, costate and the gradients of constants as one system that is integrated backwards."""
    form, clock = control.hamiltonian, clock_of(control)
    rows = [(x.latex, str(x), f) for x, f in zip(control.ode.state, control.ode.velocity, strict=True)]
    rows += [(a.latex, str(a), form.costate_velocity(x)) for x, a in form.costates.items()]
    for quantity in control.constants:
        density = form.gradient_density(quantity)
        if density != 0:
            rows.append((rf"g_{{{quantity.latex}}}", f"g_{quantity}", -density))
    shown = [rf"\frac{{d}}{{d{clock.latex}}} {letter} &= {formula(rate)}" for letter, _, rate in rows]
    author.relation(
        "one system, backwards from the end",
        Kind.DEFINITION,
        aligned(shown),
        text="; ".join(f"d{name}/d{clock} = {rate}" for _, name, rate in rows),
        reason="each g ends with what the costs at moments read of its parameter and is its gradient at the "
        f"beginning; no component is needed for the gradient of {control.begin}",
        name=names.joined("augmented"),
    )

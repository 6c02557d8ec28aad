"""Section on optimal control: what the flow of state and costate keeps, and what the flow of the state does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.checks import IdentityCheck, central_difference
from derive.control import OptimalControl
from derive.control_checks import AlongCheck, Runs, pointwise, velocity
from derive.control_runs import ControlRun, Values
from derive.control_sections import Results, formula
from derive.control_words import DENSITY, Words, clock_of, wordings
from derive.derivation import Kind
from derive.lagrangian import StepNames
from derive.latex import plain
from derive.numbering import Author
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity
from derive.traces import divergence

CONTINUITY = (
    "continuity equation: the state alone is compressed where the divergence is negative; the entropy of a population "
    "grows by the mean of the divergence"
)
FLOW = "complex nudges of state and costate, integrated with order 8 in float64"


def write_invariants_of_flow(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> Results:
    """Section: the rate of H, Liouville's theorem, and the blocks of the linearized flow."""
    form, clock = control.hamiltonian, clock_of(control)
    tex, plainly = wordings(control)
    results: Results = {"hamiltonian_rate": form.energy_rate(control.controls)}
    moving = ["the controls move H (not at all where it is stationary in them)"] if form.rates(control.controls) else []
    moving += ["the clock does"] if form.time is not None else []
    author.relation(
        "rate of H along solutions",
        Kind.IDENTITY,
        rf"\frac{{dH}}{{d{clock.latex}}} = {formula(results['hamiltonian_rate'])}",
        text=f"dH/d{clock} = {plain(results['hamiltonian_rate'])}",
        reason="the parts of state and costate cancel; " + (" and ".join(moving) or "nothing else moves H"),
        name=names.joined("hamiltonian_rate"),
        check=form.energy_rate_check(control.controls),
    )
    phase = _phase(control)
    results |= {"phase_divergence": Integer(0)}
    author.relation(
        "Liouville: the phase flow is free of divergence",
        Kind.IDENTITY,
        rf"\operatorname{{div}}_{{{tex.phase}}} \left(\frac{{\partial H}}{{\partial {tex.costate}}}, "
        rf"-\frac{{\partial H}}{{\partial {tex.state}}}\right) = 0",
        text=f"div of (dH/d{plainly.costate}, -dH/d{plainly.state}) in {plainly.phase} = 0",
        reason=f"mixed second derivatives of H: a density of {plainly.phase}, where there is one, is constant along "
        "solutions",
        name=names.joined("phase_divergence"),
        check=divergence_check(phase, Integer(0)),
    )
    _write_blocks(author, control, names, runs)
    results |= write_density(author, control, names)
    author.close(f"What the flow keeps{names.title}", "Of state and costate together; of the state alone, much less.")
    return results


def _phase(control: OptimalControl) -> dict[Quantity, Expr]:
    """Unknown or costate -> its velocity."""
    form = control.hamiltonian
    found = dict(zip(control.ode.state, control.ode.velocity, strict=True))
    return found | {a: form.costate_velocity(x) for x, a in form.costates.items()}


def divergence_check(velocities: dict[Quantity, Expr], right: Expr) -> IdentityCheck:
    """A divergence against central differences of every component."""

    def left(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        return sum(_slopes(quantity, velocity, values, sampler) for quantity, velocity in velocities.items())

    return pointwise(left, right, *velocities, *velocities.values())


def _slopes(quantity: Quantity, velocity: Expr, values: Values, sampler: Sampler) -> Numeric:
    """Sum of the derivatives of the components of a velocity, each in its own component."""
    if not quantity.shape:
        return central_difference(velocity, values, {quantity: 1}, sampler)
    found = 0
    for place in np.ndindex(values[quantity].shape):
        unit = 0 * values[quantity]
        unit[place] += 1
        found += (central_difference(velocity, values, {quantity: unit}, sampler) + 0 * unit)[place]
    return found


def _moved(over: str, under: str, words: Words) -> str:
    """Derivative of final values in initial ones, in the form of `words`."""
    (first, last), mark = words.ends, r"\partial " if words.tex else "d"
    above, below = f"{mark}{over}({last})", f"{mark}{under}({first})"
    return rf"\frac{{{above}}}{{{below}}}" if words.tex else f"{above}/{below}"


def _write_blocks(author: Author, control: OptimalControl, names: StepNames, runs: Runs) -> None:
    one, (tex, words) = (Integer(1),), wordings(control)
    rows = (
        (
            "phase_volume",
            "the phase flow keeps volumes",
            rf"\det {_moved(tex.phase, tex.phase, tex)} = 1",
            f"det of {_moved(words.phase, words.phase, words)} = 1",
            lambda jacobian, half: np.linalg.det(jacobian),
            lambda value, half: value,
            one,
        ),
        (
            "blocks",
            "the blocks of the linearized phase flow",
            rf"{_moved(tex.costate, tex.costate, tex)} = \left({_moved(tex.state, tex.state, tex)}\right)^{{-\top}}",
            f"{_moved(words.costate, words.costate, words)} = transpose of the inverse of "
            f"{_moved(words.state, words.state, words)}",
            lambda jacobian, half: jacobian[half:, half:].T @ jacobian[:half, :half],
            lambda value, half: value * np.eye(half),
            one,
        ),
        (
            "triangle",
            "the state does not hear from the costate",
            f"{_moved(tex.state, tex.costate, tex)} = 0",
            f"{_moved(words.state, words.costate, words)} = 0",
            lambda jacobian, half: jacobian[:half, half:],
            lambda value, half: value * np.ones((half, half)),
            (Integer(0),),
        ),
    )
    for name, title, shown, text, left, right, formulas in rows:
        author.relation(
            title,
            Kind.IDENTITY,
            shown,
            text=text,
            reason="the phase flow is symplectic; controls are given functions of time, so it is block triangular",
            name=names.joined(name),
            check=AlongCheck(runs, formulas, partial(_of_flow, left), partial(_claimed, right), FLOW),
        )


def _of_flow(what: Callable[[Any, int], Numeric], run: ControlRun) -> Numeric:
    jacobian = run.passes[0].jacobian
    return what(jacobian, len(jacobian) // 2)


def _claimed(what: Callable[[Any, int], Numeric], run: ControlRun, formulas: tuple[Expr, ...]) -> Numeric:
    return what(run.value(formulas[0], run.point.shared), len(run.start(run.point.samples[0])))


def write_density(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """What densities of the state alone do, which the field compresses."""
    ode, (tex, words) = control.ode, wordings(control)
    letter, total = words.letter(DENSITY), divergence(ode)
    shown = rf"\frac{{d}}{{d{tex.clock}}} \log {letter}({tex.state}({tex.clock}), {tex.clock})"
    text = f"d/d{words.clock} log {letter}({words.state}({words.clock}), {words.clock})"
    rates = tex.of(*(velocity(x) for x in ode.state))
    trace = rf"\operatorname{{tr}} \frac{{\partial {rates}}}{{\partial {tex.state}}}"
    if total is None:
        author.relation(
            "densities of the state",
            Kind.DEFINITION,
            f"{shown} = -{trace}",
            text=f"{text} = -div of d{words.state}/d{words.clock}",
            reason=CONTINUITY,
            name=names.joined("density_rate"),
        )
        return {}
    author.relation(
        "densities of the state",
        Kind.IDENTITY,
        f"{shown} = -{trace} = {formula(-total)}",
        text=f"{text} = -div of d{words.state}/d{words.clock} = {plain(-total)}",
        reason=CONTINUITY,
        name=names.joined("density_rate"),
        check=divergence_check(dict(zip(ode.state, (-f for f in ode.velocity), strict=True)), -total),
    )
    return {"density_rate": -total}

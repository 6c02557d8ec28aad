"""Sections on what delays do: small perturbations of an equilibrium, and the ODE that is left of short delays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import mpmath
from sympy import Expr, Integer, exp

from derive.checks import NUDGE, IdentityCheck
from derive.delay import DelayODE
from derive.delay_adjoint import continuous_adjoint, delay_time
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.gradients import eliminated
from derive.latex import latex
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.reverse_sweep import reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, by_name, constant, velocity_of

Values = Mapping[Quantity, Numeric]
RATE = constant("rate", latex=r"\lambda", meaning="rate of a perturbation")


def write_perturbations(author: Author, system: DelayODE) -> None:
    """When exp(lambda t) v is a perturbation that stays one, to first order."""
    ways = {x: x.renamed(f"way_{x.name}", f"v_{{{x.latex}}}", Role.TANGENT) for x in system.state}
    tangents: dict[Quantity, Expr] = dict(ways)
    tangents |= {q: ways[x] * exp(-RATE * delay_time(delay)) for q, (x, delay) in system.delayed.items()}
    for x, velocity in zip(system.state, system.velocity, strict=True):
        residual = RATE * ways[x] - pushforward(velocity, tangents)
        symbols = {*system.frozen.quantities, *system.state, *ways.values(), RATE, *map(delay_time, system.delays)}
        author.relation(
            f"characteristic equation of {x.name}",
            Kind.IDENTITY,
            rf"{x.latex} = {x.latex}^{{*}} + \varepsilon e^{{\lambda t}} {ways[x].latex}: \quad 0 = {latex(residual)}",
            text=f"{x} = {x}* + eps exp(lambda t) {ways[x]}: 0 = {residual}",
            reason="the linearization at past values exp(-lambda tau) times the present ones; infinitely many lambda: "
            "stable where all have a negative real part",
            name=f"characteristic.{x.name}",
            check=IdentityCheck(partial(_perturbed, system, x, velocity), residual, tuple(by_name(symbols)),
                                system.networks),
        )  # fmt: skip
    author.close("Small perturbations", "Around an equilibrium, where unknowns and past values are equal.")


def _perturbed(system: DelayODE, unknown: Quantity, velocity: Expr, values: Values, sampler: Sampler) -> Numeric:
    """lambda v minus the central difference of the right-hand side along the perturbation."""
    step = mpmath.mpf(NUDGE)
    ways = {x: values[x.renamed(f"way_{x.name}", f"v_{{{x.latex}}}", Role.TANGENT)] for x in system.state}
    found = []
    for sign in (1, -1):
        known = {**values, **{x: values[x] + sign * step * way for x, way in ways.items()}}
        for q, (x, delay) in system.delayed.items():
            known[q] = values[q] + sign * step * mpmath.exp(-values[RATE] * values[delay_time(delay)]) * ways[x]
        found.append(value_of(velocity, known, sampler.networks))
    return values[RATE] * ways[unknown] - (found[0] - found[1]) / (2 * step)


def write_limit(author: Author, system: DelayODE) -> dict[str, Expr]:
    """The ODE of delays that vanish, its adjoint, and the first correction; returns their right-hand sides."""
    table: dict[Any, Expr] = {q: x for q, (x, _) in system.delayed.items()}
    plain = [velocity.xreplace(table) for velocity in system.velocity]
    moved: dict[Quantity, Expr] = {}
    for q, (x, delay) in system.delayed.items():
        moved[q] = -delay_time(delay) * plain[system.state.index(x)]
    results: dict[str, Expr] = {}
    for x, velocity, limit in zip(system.state, system.velocity, plain, strict=True):
        first = pushforward(velocity, moved).xreplace(table)
        symbols = {*system.frozen.quantities, *system.state, *map(delay_time, system.delays)} - set(system.delayed)
        author.relation(
            f"short delays, {x.name}",
            Kind.IDENTITY,
            rf"\dot{{{x.latex}}} = {latex(limit)} + {latex(first)} + O(\tau^2)",
            text=f"d{x}/dt = {limit} + {first} + O(tau^2)",
            reason="x(t - tau) = x - tau dx/dt + ...; at tau = 0 the plain ODE is left; the term of first order is "
            "the slope in a factor of all delays. With tau = m h, m fixed, it is an error of order 1 of any scheme",
            name=f"limit.{x.name}",
            check=IdentityCheck(partial(_slope, system, velocity, tuple(plain)), first, tuple(by_name(symbols)),
                                system.networks),
        )  # fmt: skip
        results[f"limit_{x.name}"] = limit
    _write_adjoint_limit(author, system, plain)
    author.close("Short delays", "What is left where the delays vanish. For tau = m h with m fixed this is h to 0.")
    return results


def _slope(system: DelayODE, velocity: Expr, plain: tuple[Expr, ...], values: Values, sampler: Sampler) -> Numeric:
    """The right-hand side at past values on a straight line, differentiated in a factor of all delays."""
    step = mpmath.mpf(NUDGE)
    slopes = {x: value_of(v, values, sampler.networks) for x, v in zip(system.state, plain, strict=True)}
    found = []
    for sign in (1, -1):
        past = {q: values[x] - sign * step * values[delay_time(d)] * slopes[x] for q, (x, d) in system.delayed.items()}
        found.append(value_of(velocity, {**values, **past}, sampler.networks))
    return (found[0] - found[1]) / (2 * step)


def _write_adjoint_limit(author: Author, system: DelayODE, plain: list[Expr]) -> None:
    """The adjoint equation at tau = 0 against that of the plain ODE."""
    adjoint = continuous_adjoint(system)
    table: dict[Any, Expr] = {}
    for names in adjoint.ahead.values():
        table |= {later: q for q, later in names.items()}
    past: dict[Any, Expr] = {q: x for q, (x, _) in system.delayed.items()}
    past |= {delay_time(delay): Integer(0) for delay in system.delays}
    lines = [Assignment(velocity_of(x), v) for x, v in zip(system.state, plain, strict=True)]
    inputs = {q for v in plain for q in v.atoms(Quantity)} | set(system.state)
    sweep = reverse_sweep(Program(tuple(by_name(inputs)), tuple(lines), tuple(x.target for x in lines)), system.state)
    seeds = {sweep.seeds[velocity_of(x)]: a for x, a in zip(system.state, adjoint.costates, strict=True)}
    for x, costate, rate in zip(system.state, adjoint.costates, adjoint.rates, strict=True):
        left = rate.xreplace(table).xreplace(past)
        right = -eliminated(sweep, x).xreplace(seeds) if x in sweep.cotangents else Integer(0)
        symbols = {*left.atoms(Quantity), *right.atoms(Quantity), *adjoint.costates, *system.state}
        author.relation(
            f"the adjoint without delays, {x.name}",
            Kind.IDENTITY,
            rf"\dot{{{costate.latex}}} = {latex(right)} \quad (\tau = 0)",
            text=f"d/dt {costate} = {right} at tau = 0",
            reason="the advanced equation at tau = 0 against the sweep of the plain right-hand side",
            name=f"adjoint_limit.{x.name}",
            check=IdentityCheck(left, right, tuple(by_name(symbols)), system.networks),
        )

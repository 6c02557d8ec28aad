r"""The continuous adjoint of a delay equation: a differential equation whose arguments are advanced.

$L = \ell(x(t_1))$ and multipliers a(t) give, with the past term shifted in time,
$\dot a(t) = -F_x(t)^\top a(t) - \sum_k F_{x_k}(t+\tau_k)^\top a(t+\tau_k)$ and $a = 0$ beyond $t_1$.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer

from derive.checks import NUDGE, IdentityCheck, ResidualCheck
from derive.delay import Delay, DelayODE
from derive.delay_gradient import BackwardSolution
from derive.delay_sections import delay_latex, delay_text
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.gradients import eliminated
from derive.latex import latex
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Quantity, Role, by_name, constant, velocity_of

GRADIENT_TOLERANCE = 1e-7
Values = Mapping[Quantity, Numeric]


@dataclass(frozen=True)
class ContinuousAdjoint:
    """The adjoint equation.

    Attributes:
        costates: a, one for each unknown.
        ahead: delay -> (quantity of the equation -> the same at t + tau, costates among them).
        past: delayed quantity -> what the equation at t + tau sends back to t.
        rates: right-hand side of each costate.
    """

    costates: tuple[Quantity, ...]
    ahead: Mapping[Delay, Mapping[Quantity, Quantity]]
    past: Mapping[Quantity, Expr]
    rates: tuple[Expr, ...]


def field_adjoint(system: DelayODE) -> Adjoint:
    """The reverse sweep of the right-hand side in unknowns and past values."""
    lines = [Assignment(velocity_of(x), v) for x, v in zip(system.state, system.velocity, strict=True)]
    inputs = tuple(by_name({*system.frozen.quantities, *system.state}))
    program = Program(inputs, tuple(lines), tuple(line.target for line in lines))
    return reverse_sweep(program, (*system.state, *system.delayed))


@cache
def continuous_adjoint(system: DelayODE) -> ContinuousAdjoint:
    """Derived from the reverse sweep of the right-hand side: what goes back to a past value arrives a delay earlier."""
    sweep = field_adjoint(system)
    several = len(system.state) > 1
    costates = tuple(
        Quantity(f"costate_{x.name}", x.shape, Role.COTANGENT, f"a_{{{x.latex}}}" if several else "a",
                 f"costate of {x.name}")
        for x in system.state
    )  # fmt: skip
    seeds = dict(zip((sweep.seeds[velocity_of(x)] for x in system.state), costates, strict=True))
    moving = [*system.state, *system.delayed, *costates]
    ahead = {delay: {q: _ahead(q, delay) for q in moving} for delay in system.delays}
    past: dict[Quantity, Expr] = {}
    for q, (_, delay) in system.delayed.items():
        table: dict[Any, Expr] = dict(ahead[delay])
        if system.time is not None:
            table[system.time] = system.time + delay_time(delay)
        past[q] = eliminated(sweep, q).xreplace(seeds).xreplace(table)
    rates = []
    for x in system.state:
        own = eliminated(sweep, x).xreplace(seeds) if x in sweep.cotangents else Integer(0)
        rates.append(-own - sum((past[q] for q, (of, _) in system.delayed.items() if of == x), Integer(0)))
    return ContinuousAdjoint(costates, ahead, past, tuple(rates))


def delay_time(delay: Delay) -> Quantity:
    """A delay as time: itself, or what stands for a number of steps."""
    return delay if isinstance(delay, Quantity) else constant(f"time_of_lag{delay}", latex=f"{delay}h")


def _ahead(quantity: Quantity, delay: Delay) -> Quantity:
    """The quantity at t + tau."""
    name = delay.name if isinstance(delay, Quantity) else f"lag{delay}"
    base = quantity.latex
    if quantity.role is Role.INPUT:  # x(t - sigma) becomes x(t + tau - sigma)
        shown = base.replace("(t-", f"(t+{delay_latex(delay)}-")
    else:
        shown = f"{base}(t+{delay_latex(delay)})"
    return quantity.renamed(f"{quantity.name}_ahead_{name}", shown, meaning=f"{quantity.meaning}, {name} later")


def write_continuous_adjoint(author: Author, system: DelayODE) -> dict[str, Expr]:
    """The adjoint equation and the gradients that it gives; returns the rates as results."""
    adjoint = continuous_adjoint(system)
    results = {}
    for place, (x, costate, rate) in enumerate(zip(system.state, adjoint.costates, adjoint.rates, strict=True)):
        author.relation(
            f"the adjoint equation of {x.name}",
            Kind.IDENTITY,
            rf"\dot{{{costate.latex}}} = {latex(rate)}",
            text=f"d/dt {costate} = {rate}",
            reason="what the equation at t + tau reads of the present comes back from there; costates beyond t_1 are 0",
            name=f"adjoint_rate.{x.name}",
            check=IdentityCheck(partial(_nudged, system, place), rate, _read(system, rate), system.networks),
        )
        results[f"adjoint_rate_{x.name}"] = rate
    author.relation(
        "the end of the adjoint equation",
        Kind.DEFINITION,
        r"a(t_1) = \nabla \ell, \qquad a(t) = 0 \quad (t > t_1)",
        text="a(t_1) = gradient of ell, a(t) = 0 for t > t_1",
        reason="nothing after t_1 counts; the adjoint equation is solved backwards, and its arguments are advanced",
        name="adjoint_end",
    )
    sent = " + ".join(rf"F_{{x_{{{k}}}}}(t+{delay_latex(delay)})^{{\top}} a(t+{delay_latex(delay)})"
                      for k, delay in enumerate(system.delays, 1))  # fmt: skip
    text = " + ".join(f"F_x{k}(t + {delay_text(d)})^T a(t + {delay_text(d)})" for k, d in enumerate(system.delays, 1))
    author.relation(
        "gradients",
        Kind.IDENTITY,
        rf"\nabla_{{x(t_0)}} L = a(t_0), \qquad \nabla_{{\varphi(t)}} L = {sent} \quad (t < t_0 \le t + \tau), \qquad "
        r"\nabla_\theta L = \int_{t_0}^{t_1} F_\theta^{\top} a\, dt",
        text=f"gradient of x(t_0) = a(t_0); of phi(t) = {text}, where t + tau >= t_0; "
        "of theta = integral of F_theta^T a",
        reason="the history is read at t + tau; where it is the initial value, its gradient adds to that of x_0",
        name="adjoint_gradients",
        check=ResidualCheck(
            partial(_gradient_residual, system),
            adjoint.rates,
            "the equation solved backwards against a difference of solutions, history exp(t) x_0",
            GRADIENT_TOLERANCE,
        ),
    )
    author.close(
        "The continuous adjoint", "What the discrete adjoint approximates: an equation with advanced arguments."
    )
    return results


def _read(system: DelayODE, rate: Expr) -> tuple[Quantity, ...]:
    adjoint = continuous_adjoint(system)
    ahead = {q for table in adjoint.ahead.values() for q in table.values()}
    delays = {delay_time(delay) for delay in system.delays}
    return tuple(
        by_name({*system.frozen.quantities, *system.state, *adjoint.costates, *ahead, *delays, *rate.atoms(Quantity)})
    )


def _nudged(system: DelayODE, place: int, values: Values, sampler: Sampler) -> Numeric:
    """Minus the gradient in x(t) of <a, F> at t and at every t + tau that reads it, by central differences."""
    x, adjoint = system.state[place], continuous_adjoint(system)
    step = mpmath.mpf(NUDGE)
    uses: list[tuple[Delay | None, Quantity]] = [(None, x)]
    uses += [(delay, q) for q, (of, delay) in system.delayed.items() if of == x]
    total: Numeric = 0 * values[x]
    for unit in _units(values[x]):
        slope = mpmath.mpf(0)
        for delay, quantity in uses:
            ahead, behind = (
                _paired(system, adjoint, delay, {quantity: sign * step * unit}, values, sampler) for sign in (1, -1)
            )
            slope += (ahead - behind) / (2 * step)
        total = total - slope * unit
    return total


def _units(like: Numeric) -> list[Numeric]:
    if not np.shape(like):
        return [mpmath.mpf(1)]
    return [np.array([mpmath.mpf(int(i == j)) for j in range(len(like))], dtype=object) for i in range(len(like))]


def _paired(
    system: DelayODE, adjoint: ContinuousAdjoint, delay: Delay | None, nudge: Values, values: Values, sampler: Sampler
) -> Any:
    """<a, F> at t, or a delay later."""
    moving = [*system.state, *system.delayed]
    table = {q: q for q in (*moving, *adjoint.costates)} if delay is None else adjoint.ahead[delay]
    known = {**values, **{q: values[table[q]] for q in moving}}
    if delay is not None and system.time is not None:
        known[system.time] = values[system.time] + values[delay_time(delay)]
    known |= {q: known[q] + moved for q, moved in nudge.items()}
    terms = (values[table[a]] * value_of(v, known, sampler.networks)
             for a, v in zip(adjoint.costates, system.velocity, strict=True))  # fmt: skip
    return sum((np.sum(term) for term in terms), mpmath.mpf(0))


def _gradient_residual(system: DelayODE, rates: tuple[Expr, ...]) -> float:
    """The gradient of <w, x(t_1)> along a direction of x_0, by the claimed rates and by a difference of solutions."""
    adjoint = continuous_adjoint(system)
    times = {delay: delay_time(delay) for delay in system.delays}
    solved = BackwardSolution(system, adjoint.costates, adjoint.ahead, adjoint.past, rates, times)
    found, expected = solved.gradient(), solved.difference()
    return float(abs(found - expected) / abs(expected))

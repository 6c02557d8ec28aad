"""Sections on quantities that never grow along solutions, under conditions on the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from operator import neg

import mpmath
import numpy as np
from sympy import Expr

from derive.checks import DIGITS, IdentityCheck, SampledCheck, central_difference
from derive.derivation import Kind
from derive.evaluator import evaluate, value_of
from derive.latex import latex
from derive.numbering import Author
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.spec_parts import Lyapunov
from derive.symbols import Quantity, by_name, velocity_of
from derive.systems import ODE

SAMPLES = 20


def write_lyapunov(author: Author, ode: ODE, quantities: Mapping[str, Lyapunov]) -> dict[str, Expr]:
    """Section on each quantity: its derivative along solutions, and the sign of that."""
    results: dict[str, Expr] = {}
    for name, found in quantities.items():
        held, conditioned = _under(found.where, ode, found)
        results |= {name: found.value, f"{name}_rate": found.rate}
        condition = ", ".join(f"{q.latex} = {latex(value)}" for q, value in found.where.items())
        plain = ", ".join(f"{q} = {value}" for q, value in found.where.items())
        author.relation(
            name,
            Kind.DEFINITION,
            f"E = {latex(found.value)}",
            text=f"E = {found.value}",
            reason="given",
            name=name,
        )
        author.relation(
            f"{name} along solutions ({plain or 'always'})",
            Kind.IDENTITY,
            rf"\dot E = {latex(found.rate)}" + (rf",\qquad {condition}" if condition else ""),
            text=f"dE/dt = {found.rate}",
            reason="derivative along the field",
            name=f"{name}_rate",
            check=IdentityCheck(
                partial(_rate, held, conditioned),
                conditioned.rate,
                _sampled(held, conditioned),
                given=held.field_program(),
            ),
        )
        positive = ", ".join(f"{q.latex} > 0" for q in found.positive)
        author.relation(
            f"{name} never grows",
            Kind.INEQUALITY,
            r"\dot E \le 0" + (rf"\quad\text{{for}}\quad {positive}" if positive else ""),
            text="dE/dt <= 0" + (f" for {', '.join(f'{q} > 0' for q in found.positive)}" if positive else ""),
            reason="equality at rest",
            name=f"{name}_sign",
            check=SampledCheck(partial(_wrong_signs, held, conditioned), -1, neg),
        )
        author.close(f"Lyapunov function: {name}", "What the ODE lets go downhill; a step that is too long need not.")
    return results


def _under(conditions: Mapping[Quantity, Expr], ode: ODE, found: Lyapunov) -> tuple[ODE, Lyapunov]:
    """System and quantity with the conditions on parameters put in."""
    table = dict(conditions)
    held = replace(ode, velocity=tuple(velocity.xreplace(table) for velocity in ode.velocity), parts=())
    return held, replace(found, value=found.value.xreplace(table), rate=found.rate.xreplace(table))


def _sampled(ode: ODE, found: Lyapunov) -> tuple[Quantity, ...]:
    mentioned = found.value.atoms(Quantity) | found.rate.atoms(Quantity) | ode.quantities | set(ode.state)
    return tuple(by_name(mentioned - set(ode.field_program().targets)))


def _rate(ode: ODE, found: Lyapunov, values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
    """dE/dt by a central difference along the field."""
    known = evaluate(ode.field_program(), values, sampler.networks)
    return central_difference(found.value, values, {x: known[velocity_of(x)] for x in ode.state}, sampler)


def _wrong_signs(ode: ODE, found: Lyapunov, sign: int) -> int:
    """Samples at which the rate has not the claimed sign, or is not zero at rest."""
    program, wrong = ode.field_program(), 0
    with mpmath.workdps(DIGITS):
        for seed in range(SAMPLES):
            values = Sampler(_sampled(ode, found), seed=seed).values()
            values |= {q: np.abs(values[q]) for q in found.positive}
            known = evaluate(program, values)
            rest = {**known, **{f: 0 * known[f] for f in program.outputs}}
            moving, resting = (value_of(found.rate, {**values, **at}) for at in (known, rest))
            wrong += int(not sign * moving > 0) + int(resting != 0)
    return wrong

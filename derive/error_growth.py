"""How much one inverse step amplifies an error: its lines bounded one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import sympy
from sympy import Abs, Expr, Integer, Rational, Symbol

from derive.checks import SampledCheck
from derive.derivation import Kind
from derive.evaluator import evaluate
from derive.inversion import Inverse
from derive.latex import latex
from derive.networks import Call, Network
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import symbols_of
from derive.recurrence import Recurrence
from derive.reverse_sweep import elementwise_partials
from derive.symbols import Quantity, Role
from derive.systems import ODE

LIPSCHITZ = Symbol("lipschitz", positive=True)
SMALL_STEP, LEAST_SHARE = 0.05, 0.6


@dataclass(frozen=True)
class ErrorGrowth:
    """Bounds on the errors of an inverse step, in the maximum norm over the parts of the state.

    Attributes:
        lines: what the inverse computes -> bound on its error, where the new state has errors of size 1 and every
            network has the Lipschitz constant `LIPSCHITZ`; the bound may mention those of earlier lines.
        state: bounds of the rebuilt state.
    """

    lines: tuple[tuple[Quantity, Expr], ...]
    state: tuple[Expr, ...]

    def bound(self) -> Expr:
        """The largest bound of the rebuilt state as one expression in step size and Lipschitz constant."""
        table: dict[Quantity, Expr] = {}
        for quantity, value in self.lines:
            table[quantity] = sympy.expand(value.xreplace(table))
        return sympy.Max(*(value.xreplace(table) for value in self.state))


def line_growth(inverse: Inverse, recurrence: Recurrence) -> ErrorGrowth | None:
    """Bounds for an inverse; None where they depend on the state, so that they cannot be known beforehand."""
    errors: dict[Quantity, Expr] = dict.fromkeys(recurrence.new, Integer(1))
    lines = []
    for line in inverse.program.assignments:
        bound = _bound(line.value, errors)
        if bound is None:
            return None
        lines.append((line.target, bound))
        errors[line.target] = line.target
    rebuilt = {q.name: q for q in inverse.program.targets}
    return ErrorGrowth(tuple(lines), tuple(rebuilt.get(q.name, Integer(1)) for q in recurrence.old))


def field_slope(ode: ODE) -> Expr:
    """Bound on the Jacobian of a field whose networks have the Lipschitz constant `LIPSCHITZ`, in the maximum norm.

    Of a field that does more than to sum and scale its networks it is `LIPSCHITZ` itself: what is measured.
    """
    bounds = [_bound(velocity, dict.fromkeys(ode.state, Integer(1))) for velocity in ode.velocity]
    known = [bound for bound in bounds if bound is not None]
    return sympy.Max(*known) if len(known) == len(bounds) else LIPSCHITZ


def _bound(value: Expr, errors: Mapping[Quantity, Expr]) -> Expr | None:
    """Bound on the error of an expression: the sum over what it is made of."""
    total: Expr = Integer(0)
    for leaf, slope in elementwise_partials(value):
        if isinstance(leaf, Quantity):
            inner: Expr | None = errors.get(leaf, Integer(0))
        elif isinstance(leaf, Call):
            known = _bound(leaf.point[-2], errors)
            inner = None if known is None else LIPSCHITZ * known
        else:
            inner = None
        if inner is None or (inner != 0 and any(q.role.batched or q.shape for q in symbols_of(slope))):
            return None
        total += Abs(slope) * inner
    return total


def write_growth(author: Author, recurrence: Recurrence, growth: ErrorGrowth) -> None:
    """Relation on the growth of errors in one inverse step of a one-step scheme."""
    bound = growth.bound()
    author.relation(
        "how far the inverse can be trusted",
        Kind.INEQUALITY,
        rf"\left\| \delta z_n \right\| \le \left({latex(bound)}\right) \left\| \delta z_{{n+1}} \right\|",
        text=f"|error of z| <= ({bound}) |error of z_next|, lipschitz = bound on the Jacobians of the networks",
        reason="the lines of the inverse one after the other, in the maximum norm over the parts of the state; "
        "with h = T/N the product over N steps stays bounded",
        name="inverse_trust",
        check=SampledCheck(partial(_growth_disagreements, recurrence, bound), Integer(1), lambda scale: scale * 2),
    )


class Scaling:
    """A network of one number, `f(x) = factor x`."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """Its value; nothing else is asked for."""
        return self.factor * point[-1 if len(point) == 1 else -2]


def _growth_disagreements(recurrence: Recurrence, bound: Expr, scale: Expr) -> int:
    """Samples in which scaling networks amplify more than the bound allows; one more where none comes near it."""
    networks = recurrence.step.networks()
    scalars = {q: 0.7 for q in recurrence.step.inputs if not q.role.batched and not q.name.startswith("theta_")}
    scalars |= {q: SMALL_STEP for q in scalars if q.role is Role.STEP_SIZE}
    allowed = float(scale * bound.subs(LIPSCHITZ, 1).xreplace({q: Rational(str(v)) for q, v in scalars.items()}))
    found = []
    for factors in product((-1.0, -0.5, 0.5, 1.0), repeat=len(networks)):
        models = {n: Scaling(factor) for n, factor in zip(networks, factors, strict=True)}
        back = np.linalg.inv(_step_matrix(recurrence, scalars, models))
        found.append(float(np.abs(back).sum(axis=1).max()))
    return sum(one > allowed * (1 + 1e-9) for one in found) + (max(found) < LEAST_SHARE * allowed)


def _step_matrix(
    recurrence: Recurrence, scalars: Mapping[Quantity, float], models: Mapping[Network, Scaling]
) -> np.ndarray:
    """The step on linear networks, applied to the unit vectors of the state."""
    columns = []
    for unit in recurrence.old:
        state = {q: np.float64(q == unit) for q in recurrence.old}
        thetas = {n.theta: np.float64(0.0) for n in models}
        offset = {q: np.float64(0.0) for q in recurrence.old}
        known, zero = (evaluate(recurrence.step, {**scalars, **thetas, **start}, models) for start in (state, offset))
        columns.append([known[q] - zero[q] for q in recurrence.new])
    return np.array(columns).T

"""When a flow is invertible: what its parameters must satisfy so that no factor of its determinant vanishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sympy import (
    Add,
    Dummy,
    Expr,
    Integer,
    Mul,
    Poly,
    PolynomialError,
    Pow,
    cancel,
    cos,
    diff,
    exp,
    limit,
    oo,
    roots,
    sin,
    together,
)
from sympy import factor_list as factors_of

from derive.determinants import Factor
from derive.flow import Flow
from derive.functions import relu, sigmoid, softplus, step, tanh
from derive.inner_products import expanded
from derive.norms import norm
from derive.operators import Operator
from derive.symbols import Quantity

# What values an expression can take, whatever its argument.
RANGES: dict[type, tuple[Expr, Expr]] = {
    tanh: (Integer(-1), Integer(1)),
    sigmoid: (Integer(0), Integer(1)),
    step: (Integer(0), Integer(1)),
    sin: (Integer(-1), Integer(1)),
    cos: (Integer(-1), Integer(1)),
    relu: (Integer(0), oo),
    softplus: (Integer(0), oo),
    exp: (Integer(0), oo),
    norm: (Integer(0), oo),
}


@dataclass(frozen=True)
class Condition:
    """What must hold for a flow to be invertible.

    Attributes:
        value: what must be above zero, or only must not vanish.
        positive: which of the two.
        factor: the factor of the determinant that it is about, and `variable` what it depends on in that, with its
            `range`; None where the value is a factor itself.
    """

    value: Expr
    positive: bool
    factor: Expr
    variable: Quantity | None = None
    range: tuple[Expr, Expr] | None = None

    @property
    def of_parameters(self) -> bool:
        """Whether it can be judged without data."""
        return not any(q.role.batched for q in self.value.atoms(Quantity))


def conditions(flow: Flow, factors: Sequence[Factor]) -> tuple[Condition, ...]:
    """Conditions on the parameters where they can be derived; that a factor must not vanish at the data elsewhere."""
    ranges = {line.target: RANGES[line.value.func] for line in flow.map.assignments if line.value.func in RANGES}
    fixed = [line for line in flow.map.assignments if not line.target.role.batched]
    found: list[Condition] = []
    for factor in factors:
        value = factor.value
        for line in reversed(fixed):  # what is computed from parameters alone is written in these
            value = value.xreplace({line.target: line.value})
        found += _of_factor(value, ranges, [c.value for c in found])
    distinct = {(c.value, c.positive): c for c in reversed(found) if not is_positive(c.value)}
    return tuple(reversed(distinct.values()))


def guaranteed(flow: Flow, condition: Condition) -> Expr:
    """The value of a condition on the parameters where the constrained ones are in place."""
    return expanded(condition.value.xreplace(dict(flow.constrained)))


def is_positive(value: Expr) -> bool:
    """Whether an expression is above zero by its form: sums, products and powers of what is."""
    if value.is_number:
        return bool(value > 0)
    if isinstance(value, softplus | exp | sigmoid):
        return True
    if value.is_Pow:
        return is_positive(value.args[0]) or (value.args[1].is_even and value.args[0].is_number is False)
    return isinstance(value, Add | Mul) and all(map(is_positive, value.args))


def _of_factor(value: Expr, ranges: dict[Quantity, tuple[Expr, Expr]], known: Sequence[Expr]) -> list[Condition]:
    """Positive wherever its one variable is: at the ends of the range and where the factor is stationary."""
    batched = [q for q in sorted(value.atoms(Quantity), key=str) if q.role.batched]
    plain = Condition(value, False, value)
    if len(batched) != 1 or batched[0] not in ranges:
        return [plain]
    (variable,), hidden = batched, _hidden(value)
    if any(node.has(variable) for node in hidden):
        return [plain]
    shown = {dummy: node for node, dummy in hidden.items()}
    flat, ends = together(value.xreplace(hidden)), ranges[variable]
    try:
        poles = [base for base, _ in factors_of(flat.as_numer_denom()[1])[1] if base.has(variable)]
        extreme = [*(e for base in poles for e in _extremes(base, variable, ends)), *_extremes(flat, variable, ends)]
    except PolynomialError:
        return [plain]
    wanted = [_without_positive(e, [*known, *(n for n in extreme if n.is_number is False)]) for e in extreme]
    if any(e.is_number and not e > 0 for e in wanted):
        return [plain]
    values = [e.xreplace(shown) for e in wanted if not e.is_number]
    return [Condition(each, True, value, variable, ends) for each in dict.fromkeys(values)]


def _hidden(value: Expr) -> dict[Expr, Dummy]:
    """Operators of parameters, each of which counts as one number."""
    return {node: Dummy(str(node), real=True) for node in sorted(value.atoms(Operator), key=str)}


def _extremes(value: Expr, variable: Quantity, ends: Iterable[Expr]) -> Iterator[Expr]:
    """Values at the ends of the range and at stationary points that are numbers within it.

    Raises:
        PolynomialError: the stationary points depend on parameters, or the value is no rational function.
    """
    low, high = ends
    numerator = together(diff(value, variable)).as_numer_denom()[0]
    stationary: list[Expr] = []
    if numerator.has(variable):
        moving = Mul(*(b**n for b, n in factors_of(Poly(numerator, variable).as_expr())[1] if b.has(variable)))
        stationary = list(roots(Poly(moving, variable)))
        if not all(point.is_number for point in stationary) or len(stationary) < _distinct(moving, variable):
            raise PolynomialError("stationary points that depend on parameters")
    inside = [point for point in stationary if point.is_real and low < point < high]
    for point in (low, *inside, high):
        yield cancel(limit(value, variable, point)) if point.is_infinite else cancel(value.subs(variable, point))


def _distinct(value: Expr, variable: Quantity) -> int:
    """How many different roots a polynomial has."""
    polynomial = Poly(value, variable)
    return int(polynomial.degree() - polynomial.gcd(polynomial.diff(variable)).degree())


def _without_positive(value: Expr, positive: Sequence[Expr]) -> Expr:
    """The value times denominators that are above zero already."""
    top, bottom = together(value).as_numer_denom()
    known = all(base in positive or base.is_positive for base in map(_base, Mul.make_args(bottom)))
    return top if known else value


def _base(factor: Expr) -> Expr:
    return factor.args[0] if isinstance(factor, Pow) else factor

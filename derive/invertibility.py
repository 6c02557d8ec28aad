"""When a flow is invertible: what its parameters must satisfy so that no factor of its determinant vanishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sympy import (
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
from derive.latex import latex
from derive.norms import norm
from derive.operators import Operator, shape_of
from derive.symbols import Quantity, Role

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
ATTAINED = (step, sin, cos, relu, norm)  # what has the ends of its range among its values
Range = tuple[Expr, Expr, bool]


@dataclass(frozen=True)
class Condition:
    """What must hold for a flow to be invertible.

    Attributes:
        value: what must be above zero, or only must not vanish.
        positive: which of the two.
        strict: whether what is above zero must not be zero either.
        factor: the factor of the determinant that it is about, and `variable` what it depends on in that, with its
            `range`; None where the value is a factor itself.
    """

    value: Expr
    positive: bool
    factor: Expr
    variable: Quantity | None = None
    range: tuple[Expr, Expr] | None = None
    strict: bool = True

    @property
    def sign(self) -> str:
        """What stands between the value and zero."""
        return ("> 0" if self.strict else ">= 0") if self.positive else "!= 0"

    @property
    def text(self) -> str:
        """In plain characters."""
        return f"{self.value} {self.sign}"

    @property
    def of_parameters(self) -> bool:
        """Whether it can be judged without data."""
        return not any(q.role.batched for q in self.value.atoms(Quantity))


def conditions(flow: Flow, factors: Sequence[Factor]) -> tuple[Condition, ...]:
    """Conditions on the parameters where they can be derived; that a factor must not vanish at the data elsewhere."""
    ranges = {line.target: _range(line.value) for line in flow.map.assignments if line.value.func in RANGES}
    ranges |= dict.fromkeys(flow.parts, (-oo, oo, False))
    fixed = [line for line in flow.map.assignments if not line.target.role.batched]
    whole = {line.target: line.value for line in flow.map.assignments if line.value.func in RANGES}
    found: list[Condition] = []
    for factor in factors:
        value = factor.value
        for line in reversed(fixed):  # what is computed from parameters alone is written in these
            value = value.xreplace({line.target: line.value})
        if is_positive(value.xreplace(whole)):
            continue
        value, more = _with_names(value)
        found += _of_factor(value, ranges | more, [c.value for c in found])
    distinct = {(c.value, c.positive): c for c in reversed(found) if not is_positive(c.value)}
    return tuple(c for c in reversed(distinct.values()) if not (c.value.is_number and c.value != 0))


def _range(function: Expr) -> Range:
    """Ends of what a function of a vector or a scalar with batch axes can be, and whether it can be these."""
    return *RANGES[function.func], isinstance(function, ATTAINED)


def _with_names(value: Expr) -> tuple[Expr, dict[Quantity, Range]]:
    """With a quantity for every function of a name with batch axes that the map has none for."""
    nodes = [n for n in value.atoms(*RANGES) if isinstance(n.args[0], Quantity) and n.args[0].role.batched]
    named = {
        n: Quantity(f"{n.func.__name__}_{n.args[0]}", shape_of(n), Role.INTERMEDIATE, latex(n))
        for n in sorted(nodes, key=str)
        if not isinstance(n, Operator)
    }
    return value.xreplace(named), {quantity: _range(n) for n, quantity in named.items()}


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
        base, exponent = value.args
        return is_positive(base) or bool(exponent.is_even and exponent.is_negative)
    if value.is_Add:
        return all(map(_is_not_negative, value.args)) and any(map(is_positive, value.args))
    return bool(value.is_Mul) and all(map(is_positive, value.args))


def _is_not_negative(value: Expr) -> bool:
    """The same, or zero: even powers, and products with them."""
    if value.is_Mul:
        return all(map(_is_not_negative, value.args))
    return is_positive(value) or bool(value.is_Pow and value.args[1].is_even)


def _of_factor(value: Expr, ranges: Mapping[Quantity, Range], known: Sequence[Expr]) -> list[Condition]:
    """Of one sign wherever its one variable is: above zero, or below; only not zero where neither is derived."""
    batched = [q for q in sorted(value.atoms(Quantity), key=str) if q.role.batched]
    if len(batched) != 1 or batched[0] not in ranges:
        return [Condition(value, False, value)]
    scale, rest = value.as_independent(batched[0], as_Add=False)
    for signed in (rest, -rest):
        found = _above_zero(signed, batched[0], ranges[batched[0]], known)
        if found is not None:
            return found if scale.is_number else [Condition(scale.as_coeff_Mul()[1], False, scale), *found]
    return [Condition(value, False, value)]


def _above_zero(value: Expr, variable: Quantity, ends: Range, known: Sequence[Expr]) -> list[Condition] | None:
    """At the ends of the range and where the factor is stationary; None where that is not derived, or never so."""
    hidden = _hidden(value)
    if any(node.has(variable) for node in hidden):
        return None
    shown = {dummy: node for node, dummy in hidden.items()}
    flat = together(value.xreplace(hidden))
    if not flat.is_rational_function(variable):
        return None
    try:
        poles = [base for base, _ in factors_of(flat.as_numer_denom()[1])[1] if base.has(variable)]
        reached = [each for part in (*poles, flat) for each in _extremes(part, variable, ends)]
        leading = [each for part in (*poles, flat) for each in _leading(part, variable, ends)]
    except PolynomialError:
        return None
    extreme = [each for each, _ in reached]
    if any(e.is_number and (e < 0 or (e == 0 and attained)) for e, attained in reached):
        return None
    wanted = [_without_positive(e, [*known, *(n for n in extreme if n.is_number is False)]) for e in extreme]
    if any(e.is_number and e < 0 for e in (*wanted, *leading)):
        return None
    values = list(dict.fromkeys(e.xreplace(shown) for e in wanted if not e.is_number))
    rest = dict.fromkeys(e.xreplace(shown) for e in leading if not e.is_number)
    about = (value, variable, (ends[0], ends[1]))
    strict = [Condition(each, True, *about) for each in values]
    without = not any(attained for _, attained in reached)  # whether nothing is left where what grows is zero
    return [*strict, *(Condition(each, True, *about, strict=without) for each in rest if each not in values)]


def _hidden(value: Expr) -> dict[Expr, Dummy]:
    """Operators of parameters, each of which counts as one number."""
    return {node: Dummy(str(node), real=True) for node in sorted(value.atoms(Operator), key=str)}


def _extremes(value: Expr, variable: Quantity, ends: Range) -> Iterator[tuple[Expr, bool]]:
    """Values at the ends of the range and at stationary points that are numbers within it; whether they are reached.

    Raises:
        PolynomialError: the stationary points depend on parameters, or the value is no rational function.
    """
    low, high, attained = ends
    numerator = together(diff(value, variable)).as_numer_denom()[0]
    stationary: list[Expr] = []
    if numerator.has(variable):
        moving = Mul(*(b**n for b, n in factors_of(Poly(numerator, variable).as_expr())[1] if b.has(variable)))
        stationary = list(roots(Poly(moving, variable)))
        if not all(point.is_number for point in stationary) or len(stationary) < _distinct(moving, variable):
            raise PolynomialError("stationary points that depend on parameters")
    for point in (low, high):
        if not point.is_infinite:
            yield cancel(value.subs(variable, point)), attained
        elif _growth(value, variable) <= 0:
            yield cancel(limit(value, variable, point)), False
    for point in stationary:
        if point.is_real and low < point < high:
            yield cancel(value.subs(variable, point)), True


def _leading(value: Expr, variable: Quantity, ends: Range) -> Iterator[Expr]:
    """What a rational function that grows without bound has the sign of, at the ends that are infinite.

    Raises:
        PolynomialError: it has both signs there, unless a parameter is zero.
    """
    growth = _growth(value, variable)
    infinite = [end for end in ends[:2] if end.is_infinite]
    if growth <= 0 or not infinite:
        return
    if growth % 2 and len(infinite) == 2:
        raise PolynomialError("both signs")
    top, bottom = (Poly(part, variable).LC() for part in together(value).as_numer_denom())
    number, rest = cancel(top / bottom).as_coeff_Mul()
    sign = Integer(-1) if number.is_negative else Integer(1)
    yield sign * rest * (-1 if growth % 2 and infinite == [-oo] else 1)


def _growth(value: Expr, variable: Quantity) -> int:
    """The power of its variable that a rational function grows like."""
    top, bottom = (int(Poly(part, variable).degree()) for part in together(value).as_numer_denom())
    return top - bottom


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

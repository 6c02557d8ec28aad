r"""Modified equation of a multistep scheme: the step divided by h, expanded in h along a smooth interpolating solution.

$\sum_{q \ge 1} a_q h^{q-1} u^{(q)} = \sum_{m \ge 0} b_m h^m \frac{d^m}{dt^m} f(u)$ with
$a_q = \frac{1}{q!}\bigl(1 - \sum_j \alpha_j (-j)^q\bigr)$ and $b_m = \frac{1}{m!} \sum_j \beta_j (-j)^m$; $\beta_{-1}$
weighs $f_{n+1}$.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import factorial

import mpmath
import sympy
from sympy import Expr, Integer, Rational

from derive.checks import ResidualCheck
from derive.discretization import STEP_SIZE
from derive.latex import latex
from derive.schemes import LinearMultistep
from derive.symbols import Quantity, Role


@dataclass(frozen=True)
class ModifiedEquation:
    """Expansion of a scheme.

    Attributes:
        solution: a_1, a_2, ...: weights of h^(q-1) u^(q).
        field: b_0, b_1, ...: weights of h^m times the m-th derivative of f along the solution.
    """

    solution: tuple[Expr, ...]
    field: tuple[Expr, ...]

    def latex(self) -> str:
        """`a_1 u' + a_2 h u'' + ... = b_0 f + b_1 h f' + ...` without vanishing terms."""
        left = [_term(w, q - 1, f"u^{{({q})}}") for q, w in enumerate(self.solution, start=1) if w != 0]
        right = [_term(w, m, f"f^{{({m})}}(u)" if m else "f(u)") for m, w in enumerate(self.field) if w != 0]
        dots = r" + \dots" if len(right) > 1 else ""
        return rf"{_sum(left)} + \dots = {_sum(right)}{dots}"

    def left_side(self, terms: int) -> Expr:
        """The first terms of the left side in `solution_derivative` symbols, for claims."""
        powers = enumerate(self.solution[:terms], start=1)
        return sum((w * STEP_SIZE ** (q - 1) * solution_derivative(q) for q, w in powers), Integer(0))


def modified_equation(scheme: LinearMultistep, terms: int) -> ModifiedEquation:
    """The first `terms` weights of both sides."""
    return ModifiedEquation(solution_weights(scheme, terms), field_weights(scheme, terms))


def solution_weights(scheme: LinearMultistep, terms: int) -> tuple[Expr, ...]:
    """a_1, ..., a_terms."""
    return tuple(
        (1 - sum(w * Rational(-j) ** q for j, w in enumerate(scheme.alpha))) / Integer(factorial(q))
        for q in range(1, terms + 1)
    )


def field_weights(scheme: LinearMultistep, terms: int) -> tuple[Expr, ...]:
    """b_0, ..., b_(terms-1)."""
    lags = enumerate(scheme.beta, start=-1)
    pairs = [(Rational(-lag), weight) for lag, weight in lags]
    return tuple(
        sum((w * (lag**m if m else 1) for lag, w in pairs), Integer(0)) / Integer(factorial(m)) for m in range(terms)
    )


def solution_derivative(q: int) -> Quantity:
    """The q-th derivative of the interpolating solution, as claims write it: u_1, u_2."""
    return Quantity(f"u_{q}", (), Role.CONSTANT, rf"u^{{({q})}}")


def expansion_check(scheme: LinearMultistep, equation: ModifiedEquation) -> ResidualCheck:
    """Both sides against the Taylor coefficients of the step on exponentials, found by mpmath."""
    count = len(equation.solution)
    detail = "Taylor coefficients of the step on exponentials"
    return ResidualCheck(partial(_residual, scheme, count), (*equation.solution, *equation.field), detail)


def _residual(scheme: LinearMultistep, count: int, weights: tuple[Expr, ...]) -> float:
    free = sorted({s for e in (*scheme.alpha, *scheme.beta) for s in e.free_symbols}, key=str)
    values = {symbol: Rational(4 + 2 * place, 10) for place, symbol in enumerate(free)}
    alpha, beta, found = (
        [mpmath.mpf(str(sympy.N(e.subs(values), 60))) for e in side] for side in (scheme.alpha, scheme.beta, weights)
    )

    def past(h: mpmath.mpf) -> mpmath.mpf:
        return mpmath.exp(h) - sum(a * mpmath.exp(-j * h) for j, a in enumerate(alpha))

    def slopes(h: mpmath.mpf) -> mpmath.mpf:
        return sum(b * mpmath.exp(-lag * h) for lag, b in enumerate(beta, start=-1))

    exact = [*mpmath.taylor(past, 0, count)[1:], *mpmath.taylor(slopes, 0, count - 1)]
    return float(max(abs(a - b) for a, b in zip(exact, found, strict=True)))


def _term(weight: Expr, power: int, what: str) -> str:
    step = "" if power == 0 else "h" if power == 1 else f"h^{{{power}}}"
    front = "" if weight == 1 else rf"\left({latex(weight)}\right)" if weight.is_Add else latex(weight)
    return r"\, ".join(part for part in (front, step, what) if part)


def _sum(terms: list[str]) -> str:
    return " + ".join(terms).replace("+ -", "-")

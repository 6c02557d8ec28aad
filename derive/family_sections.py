r"""Sections on a family of multistep schemes: order conditions, speed, root condition, stability for any weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product

import mpmath
import numpy as np
import sympy
from sympy import Expr, Integer, Rational, Symbol, factorial

from derive.checks import ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.family_adjoint import write_adjoint_formula
from derive.numbering import Author
from derive.recurrence import Recurrence
from derive.schemes import LinearMultistep, MultistepFamily
from derive.systems import ODE
from derive.truncation import local_error_residual, truncation
from derive.windows import LAGS

q, j = Symbol("q", integer=True, positive=True), Symbol("j", integer=True)
HIGHEST = 6
LONGEST = 4
RADII = (Rational(49, 50), Rational(1), Rational(51, 50))


def write_family(author: Author, ode: ODE, family: MultistepFamily, recurrence: Recurrence) -> dict[str, Expr]:
    """What holds for any weights; returns named results for claims."""
    write_adjoint_formula(author, ode, recurrence)
    _write_order(author)
    _write_local_error(author, ode, family.samples)
    _write_speed(author)
    _write_stability(author)
    author.close(
        "The weights: adjoint, order and stability",
        "For any number K of lags; the emitted module computes the order p and the roots when it is constructed.",
    )
    return {"betas": Symbol(LAGS) + 1}


def _write_order(author: Author) -> None:
    terms = (1 / factorial(q), (-j) ** q / factorial(q), (-j) ** (q - 1) / factorial(q - 1))
    author.relation(
        "order conditions: order p iff C_0 = C_1 = … = C_p = 0",
        Kind.IDENTITY,
        r"C_0 = 1 - \sum_{j=0}^{K-1} \alpha_j, \qquad C_q = \frac{1}{q!} - \sum_{j=0}^{K-1} \alpha_j \frac{(-j)^q}{q!} "
        r"- \sum_{j=-1}^{K-1} \beta_j \frac{(-j)^{q-1}}{(q-1)!}, \qquad 0^0 = 1",
        text="C_0 = 1 - sum alpha_j, C_q = 1/q! - sum alpha_j (-j)^q/q! - sum beta_j (-j)^(q-1)/(q-1)!, "
        "alpha_j from j = 0, beta_j from j = -1",
        reason="Taylor coefficients of u(t+h) - sum alpha_j u(t-jh) - h sum beta_j u'(t-jh) in h^q u^(q)",
        name="order_conditions",
        check=ResidualCheck(_order_residual, terms, "Taylor coefficients on exp(t), random weights, 1 to 4 lags"),
    )


def _samples() -> Iterable[LinearMultistep]:
    """Schemes of 1 to 4 lags with random weights; the alphas sum to 1, as a scheme's must."""
    draw = np.random.default_rng(3)
    for lags in range(1, LONGEST + 1):
        alpha = [Rational(int(n), 8) for n in draw.integers(-9, 9, lags - 1)]
        beta = [Rational(int(n), 8) for n in draw.integers(1, 9, lags + 1)]
        yield LinearMultistep((*alpha, 1 - sum(alpha, Integer(0))), beta)


def _order_residual(terms: tuple[Expr, ...]) -> float:
    """Largest difference of C_1, …, C_6 by the formula and by the Taylor coefficients of the residual on exp(t)."""
    worst = 0.0
    for scheme in _samples():
        exact = mpmath.taylor(partial(_residual_on_exponential, scheme), 0, HIGHEST)
        for power in range(1, HIGHEST + 1):
            first, past, slope = (partial(_at, term, power) for term in terms)
            found = first(0) - sum(a * past(lag) for lag, a in enumerate(scheme.alpha))
            found -= sum(b * slope(lag) for lag, b in enumerate(scheme.beta, start=-1))
            worst = max(worst, float(abs(mpmath.mpmathify(sympy.N(found, 60)) - exact[power])))
    return worst


def _at(term: Expr, power: int, lag: int) -> Expr:
    """A term of the formula at numbers; 0^0 is 1."""
    return term.subs(q, power).subs(j, lag)


def _residual_on_exponential(scheme: LinearMultistep, h: mpmath.mpf) -> mpmath.mpf:
    number = [[mpmath.mpf(int(w.p)) / int(w.q) for w in side] for side in (scheme.alpha, scheme.beta)]
    past = sum(a * mpmath.exp(-lag * h) for lag, a in enumerate(number[0]))
    slopes = sum(b * mpmath.exp(-lag * h) for lag, b in enumerate(number[1], start=-1))
    return mpmath.exp(h) - past - h * slopes


def _write_local_error(author: Author, ode: ODE, samples: Sequence[LinearMultistep]) -> None:
    titles = ", ".join(sample.title for sample in samples)
    author.relation(
        "local truncation error (exact minus numeric after one step)",
        Kind.ASYMPTOTIC,
        r"\tau_n = C_{p+1}\, h^{p+1} u^{(p+1)} + O(h^{p+2})",
        text="tau_n = C_(p+1) h^(p+1) u^(p+1) + O(h^(p+2))",
        reason="the first Taylor coefficient that does not vanish",
        name="local_error",
        check=ResidualCheck(
            partial(_local_error_residual, ode, samples), (Integer(1),), f"truncated power series, {titles}"
        ),
    )


def _local_error_residual(ode: ODE, samples: Sequence[LinearMultistep], factors: tuple[Expr, ...]) -> float:
    found = [truncation(ode, sample) for sample in samples]
    return max(local_error_residual(a, tuple(factors[0] * c for c in a.coefficients)) for a in found)


def _write_speed(author: Author) -> None:
    terms = (Integer(1), j)
    author.relation(
        "the equation the scheme is consistent with",
        Kind.IDENTITY,
        r"\dot u = \frac{\sigma(1)}{\rho'(1)} f = "
        r"\frac{\sum_{j=-1}^{K-1} \beta_j}{1 + \sum_{j=0}^{K-1} j\, \alpha_j} f",
        text="u' = f sum beta_j / (1 + sum j alpha_j)",
        reason="C_0 = 0 assumed; it is f itself where C_1 = 0",
        name="effective_field",
        check=ResidualCheck(_speed_residual, terms, "derivative of rho by differences, random weights"),
    )


def _speed_residual(terms: tuple[Expr, ...]) -> float:
    worst, step = 0.0, Rational(1, 10**25)
    for scheme in _samples():
        slope = (scheme.characteristic(1 + step) - scheme.characteristic(1 - step)) / (2 * step)
        found = terms[0] + sum(a * _at(terms[1], 1, lag) for lag, a in enumerate(scheme.alpha))
        worst = max(worst, float(abs(sympy.N(slope - found, 60))))
    return worst


def _write_stability(author: Author) -> None:
    author.relation(
        "characteristic polynomials",
        Kind.DEFINITION,
        r"\rho(\zeta) = \zeta^{K} - \sum_{j=0}^{K-1} \alpha_j \zeta^{K-1-j}, \qquad "
        r"\sigma(\zeta) = \sum_{j=-1}^{K-1} \beta_j \zeta^{K-1-j}, \qquad \rho(\zeta) - z\, \sigma(\zeta) = 0",
        text="rho(zeta) = zeta^K - sum alpha_j zeta^(K-1-j), sigma(zeta) = sum beta_j zeta^(K-1-j), "
        "stability: rho(zeta) - z sigma(zeta) = 0",
        reason="the scheme on x' = lambda x, z = h lambda",
        name="characteristic",
    )
    author.relation(
        "root condition: zero-stable iff every root of rho lies in the unit circle, simple on it",
        Kind.INEQUALITY,
        r"\sup_n \left\|C^n\right\| < \infty \iff \rho(\zeta) = 0 \Rightarrow \left|\zeta\right| \le 1,\ "
        r"\text{simple where}\ \left|\zeta\right| = 1",
        text="powers of the companion matrix stay bounded iff |zeta| <= 1 for all roots of rho, simple if |zeta| = 1",
        reason="Jordan form of the companion matrix of rho",
        name="root_condition",
        check=SampledCheck(_root_disagreements, Integer(1), lambda radius: radius + Rational(1, 25)),
    )


def _root_disagreements(radius: Expr) -> int:
    """Polynomials with chosen roots for which bounded powers and "within the radius, simple on it" differ."""
    wrong = 0
    for others in product([*RADII, Integer(-1), Rational(1, 3)], repeat=2):
        roots = [Integer(1), *others]  # 1 is a root of every rho
        grows = _powers_grow(np.poly([float(root) for root in roots]))
        on_circle = [root for root in roots if abs(root) == radius]
        claimed = max(map(abs, roots)) <= radius and len(set(on_circle)) == len(on_circle)
        wrong += claimed == grows
    return wrong


def _powers_grow(polynomial: np.ndarray) -> bool:
    """Whether the powers of its companion matrix grow from the 500th to the 1000th."""
    companion = np.eye(len(polynomial) - 1, k=-1)
    companion[0] = -polynomial[1:]
    early, late = (np.linalg.norm(np.linalg.matrix_power(companion, n)) for n in (500, 1000))
    return bool(late > 1.5 * early)

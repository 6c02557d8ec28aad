"""Weights of a linear multistep scheme that are given as numbers: order, root condition, and the start they need."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from codegen.runtime.arguments import choose
from codegen.runtime.polynomial_roots import roots_of
from codegen.runtime.steps import Rules

ROUNDING = 1e-9  # of weights: an error constant that is smaller, relative to its terms, is zero
ON_CIRCLE = 1e-6  # how near to modulus 1 a root counts as on the circle
DOUBLE = 1e-4  # how near to each other two roots count as one: rounding parts a double root by about 1e-8


CONSEQUENCE = "its error grows without bound as the steps get smaller"


class Weights(NamedTuple):
    """Checked weights: alpha of x_n, x_(n-1), …; beta of f_n, f_(n-1), …; that of f_(n+1); and the order p."""

    alpha: tuple[float, ...]
    beta: tuple[float, ...]
    beta_next: float
    order: int


def check_weights(owner: str, alpha: Sequence[float], beta: Sequence[float]) -> Weights:
    """The weights of a scheme, beta[0] = beta_(-1) apart from the others; warns where it does not converge to f.

    Raises:
        ValueError: sizes that do not fit, numbers that are not finite, or alpha that does not sum to 1.
    """
    alpha, beta = _numbers(owner, "alpha", alpha), _numbers(owner, "beta", beta)
    if not alpha or len(beta) != len(alpha) + 1:
        allowed = "one alpha or more, and one beta more than alphas (beta[0] is the weight of f_(n+1))"
        raise ValueError(f"{owner}: {len(alpha)} alphas and {len(beta)} betas; allowed: {allowed}")
    if abs(math.fsum(alpha) - 1.0) > ROUNDING * (1.0 + math.fsum(map(abs, alpha))):
        raise ValueError(f"{owner}: alpha sums to {math.fsum(alpha)!r}; allowed: 1, so that constants are kept")
    growing = worst_root(alpha)
    if growing:
        warnings.warn(f"{owner}: the scheme is not zero-stable ({growing}): {CONSEQUENCE}", stacklevel=3)
    order = order_of(alpha, beta)
    if not order:
        slope = 1.0 + math.fsum(lag * weight for lag, weight in enumerate(alpha))
        speed = f"x' = {math.fsum(beta) / slope:.6g} f" if abs(slope) > ROUNDING else "no equation x' = c f"
        warnings.warn(f"{owner}: the scheme has order 0: it is consistent with {speed}, not x' = f", stacklevel=3)
    return Weights(alpha, beta[1:], beta[0], order)


def _numbers(owner: str, name: str, values: Sequence[float]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: {name}={values!r}; allowed: a sequence of real numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{owner}: {name}={values!r}; allowed: finite numbers")
    return numbers


def error_terms(alpha: Sequence[float], beta: Sequence[float], q: int) -> list[float]:
    """Terms of C_q = 1/q! - sum alpha_j (-j)^q/q! - sum beta_j (-j)^(q-1)/(q-1)!, beta from j = -1 on, for q > 0."""
    terms = [1.0 / math.factorial(q)]
    terms += [-weight * float(-lag) ** q / math.factorial(q) for lag, weight in enumerate(alpha)]
    terms += [-w * float(-lag) ** (q - 1) / math.factorial(q - 1) for lag, w in enumerate(beta, start=-1)]
    return terms


def order_of(alpha: Sequence[float], beta: Sequence[float]) -> int:
    """The largest p with C_0 = … = C_p = 0, at most 2 len(alpha), which no scheme exceeds."""
    for q in range(1, 2 * len(alpha) + 2):
        terms = error_terms(alpha, beta, q)
        if abs(math.fsum(terms)) > ROUNDING * math.fsum(map(abs, terms)):
            return q - 1
    return 2 * len(alpha)


def worst_root(alpha: Sequence[float]) -> str:
    """What violates the root condition of zeta^K - sum alpha_j zeta^(K-1-j); empty where nothing does."""
    roots = roots_of((1.0, *(-weight for weight in alpha)))
    largest = max(roots, key=abs)
    if abs(largest) > 1.0 + ON_CIRCLE:
        return f"a root of modulus {abs(largest):.6g}"
    circle = [root for root in roots if abs(root) > 1.0 - ON_CIRCLE]
    for place, root in enumerate(circle):
        if any(abs(root - other) < DOUBLE for other in circle[place + 1 :]):
            return f"a double root of modulus {abs(root):.6g}"
    return ""


def started(
    owner: str, weights: Weights, start: str, rules: Mapping[str, Rules], implicit: Rules, orders: Mapping[str, int]
) -> Rules:
    """The rules for these weights: the first steps by a start that keeps the order, the smallest where it is "auto".

    `implicit` has the step where f_(n+1) has a weight; its starts are those of the explicit one.

    Raises:
        ValueError: an unknown start, one of too low an order, or none of the order needed.
    """
    lags, needed = len(weights.alpha), max(weights.order - 1, 0)
    fitting = [name for name in rules if orders[name] >= needed or lags == 1]
    choose(owner, "start", start, ["auto", *rules])
    if start != "auto" and start not in fitting:
        allowed = f"a start of order {needed} or more, {' or '.join(map(repr, fitting)) or 'which this file has not'}"
        raise ValueError(
            f"{owner}: start={start!r} has order {orders[start]}, the scheme {weights.order}; allowed: {allowed}"
        )
    if not fitting:
        raise ValueError(
            f"{owner}: the scheme has order {weights.order} and needs a start of order {needed}; this file has "
            f"{', '.join(f'{name} (order {orders[name]})' for name in rules)}"
        )
    chosen = rules[fitting[0] if start == "auto" else start]
    if weights.beta_next:
        chosen = chosen._replace(step=implicit.step, adjoint=implicit.adjoint)
    return chosen._replace(width=2 * lags, start=chosen.start * (lags - 1))

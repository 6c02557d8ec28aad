"""How steep an elementwise function is at most: what bounds the Jacobian of a layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
import sympy
from sympy import Expr, Integer, Rational, Symbol, diff, erf, exp, nsolve, pi, sqrt

from derive.checks import IdentityCheck
from derive.derivation import Relation
from derive.evaluator import value_of
from derive.functions import SELU_ALPHA, SELU_SCALE, elu, gelu, relu, selu, sigmoid, silu, softplus, tanh
from derive.relations import relation
from derive.symbols import input_

POINTS_PER_UNIT, REACH = 4, 10
BESIDE_KINKS = ("-1e-40", "1e-40")
FAR = (-200, 200)


def largest_slope(function: Callable[[Expr], Expr]) -> Any:
    """The supremum of |f'| over the real line as an mpmath number, at the precision that is set.

    Extrema are the zeros of f'' between points at which it changes sign; limits at infinity and at a kink in 0 are
    taken close by. The function must vary on the scale of 1 and saturate beyond +-10.
    """
    z = input_("z", ())
    slope = diff(function(z), z)
    curvature = diff(slope, z)

    def at(expression: Expr, point: Any) -> Any:
        return value_of(expression, {z: mpmath.mpf(point)})

    grid = [mpmath.mpf(n) / POINTS_PER_UNIT for n in range(-REACH * POINTS_PER_UNIT, REACH * POINTS_PER_UNIT + 1)]
    points = [*grid, *map(mpmath.mpf, (*BESIDE_KINKS, *FAR))]
    if curvature != 0:
        signs = [at(curvature, point) for point in grid]
        for (left, right), (before, after) in zip(pairwise(grid), pairwise(signs), strict=True):
            if before * after < 0:
                points.append(mpmath.findroot(lambda v: at(curvature, v), (left, right), solver="anderson", tol=1e-100))
    return max(abs(at(slope, point)) for point in points)


class Steepest(NamedTuple):
    """An activation, the exact supremum of its |slope|, and where it is."""

    function: Callable[[Expr], Expr]
    slope: Expr
    where: str


def _silu_slope() -> Expr:
    """Where the slope of silu is stationary, z tanh(z/2) = 2: 70 digits."""
    u = Symbol("u", real=True)
    return diff(u / (1 + exp(-u)), u).subs(u, nsolve(u * sympy.tanh(u / 2) - 2, u, 2.4, prec=70))


@cache
def steepest() -> dict[str, Steepest]:
    """The usual activations by name."""
    return {
        "sigmoid": Steepest(sigmoid, Rational(1, 4), "at 0"),
        "tanh": Steepest(tanh, Integer(1), "at 0"),
        "relu": Steepest(relu, Integer(1), "at every z > 0"),
        "softplus": Steepest(softplus, Integer(1), "not attained: the slope is sigma(z)"),
        "elu": Steepest(elu, Integer(1), "at every z > 0; with a factor alpha for z < 0 it is max(1, alpha)"),
        "selu": Steepest(selu, SELU_SCALE * SELU_ALPHA, "lambda alpha, just below 0"),
        "silu": Steepest(silu, _silu_slope(), "where z tanh(z/2) = 2; the slope is >= 1 - gamma"),
        "gelu": Steepest(gelu, (1 + erf(1)) / 2 + exp(-1) / sqrt(pi), "at z = sqrt(2); the slope is >= 1 - gamma"),
    }


def slope_bound(name: str, section: str) -> Relation:
    """The largest |slope| of an activation, searched on the line and compared with the exact value."""
    function, value, where = steepest()[name]
    shown = str(value) if value.is_Rational else f"{value.evalf(11)}..."
    return relation(
        f"largest slope of {name}",
        "identity",
        rf"\sup_z |f'(z)| = {shown}",
        text=f"sup |f'| = {shown}",
        reason=where,
        name=f"gamma_{name}",
        value=value,
        check=IdentityCheck(lambda *_: largest_slope(function), value, (input_("z", ()),)),
        section=section,
    )

"""Diagonally implicit Runge-Kutta schemes: one stage is solved after the other."""

from __future__ import annotations

from functools import partial
from typing import Any

from sympy import Integer, Rational, Symbol, sqrt

from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.tables.collocation import gauss

R = Rational

implicit_midpoint = partial(gauss, 1, title="implicit midpoint")


def backward_euler() -> ButcherTableau:
    """The slope at the end of the step."""
    return ButcherTableau(A=[[1]], b=[1], c=[1], order=1, title="backward Euler")


def weighted(weight: Any, **facts: Any) -> ButcherTableau:
    """The slopes at both ends of the step, that at its end with the given weight: the theta method."""
    ends = [1 - weight, weight]
    return ButcherTableau(A=[[0, 0], ends], b=ends, c=[0, 1], **facts)


theta = partial(weighted, Symbol("theta"), order=1, title="theta method")
trapezoid = partial(weighted, R(1, 2), order=2, title="trapezoid")


def sdirk2() -> ButcherTableau:
    """Alexander 1977: two stages, L-stable."""
    gamma = 1 - sqrt(2) / 2
    return ButcherTableau(
        A=[[gamma, 0], [1 - gamma, gamma]], b=[1 - gamma, gamma], c=[gamma, 1], order=2, title="SDIRK of order 2"
    )


def trbdf2() -> ButcherTableau:
    """Bank et al. 1985 as a tableau with an embedded scheme (Hosea and Shampine 1996): trapezoid, then BDF2."""
    first, weight, last = 2 - sqrt(2), sqrt(2) / 4, 1 - sqrt(2) / 2
    b = [weight, weight, last]
    return ButcherTableau(
        A=[[0, 0, 0], [last, last, 0], b],
        b=b,
        c=[0, first, Integer(1)],
        b_error=[(1 - weight) / 3, (3 * weight + 1) / 3, last / 3],
        order=2,
        embedded_order=3,
        title="TR-BDF2",
    )

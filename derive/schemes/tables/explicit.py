"""Explicit Runge-Kutta schemes without an embedded one (Hairer, Norsett, Wanner, Solving ODEs I, II.1)."""

from __future__ import annotations

from functools import cache
from typing import Any

from sympy import Rational

from derive.schemes.runge_kutta import ButcherTableau

R = Rational


def below_diagonal(*rows: tuple[Any, ...]) -> list[list[Any]]:
    """The square matrix of an explicit scheme from the entries below the diagonal, second row first."""
    return [[*row, *[0] * (len(rows) + 1 - len(row))] for row in ((), *rows)]


@cache
def forward_euler() -> ButcherTableau:
    """x + h f(x)."""
    return ButcherTableau(A=[[0]], b=[1], c=[0], order=1, title="forward Euler")


def midpoint() -> ButcherTableau:
    """Runge 1895: the slope at the middle."""
    return ButcherTableau(A=below_diagonal((R(1, 2),)), b=[0, 1], c=[0, R(1, 2)], order=2, title="explicit midpoint")


def heun() -> ButcherTableau:
    """The mean of the slopes at both ends, the second by a step of forward Euler."""
    return ButcherTableau(A=below_diagonal((1,)), b=[R(1, 2), R(1, 2)], c=[0, 1], order=2, title="Heun")


def ralston2() -> ButcherTableau:
    """Ralston 1962: two stages, smallest bound of the local error."""
    return ButcherTableau(
        A=below_diagonal((R(2, 3),)), b=[R(1, 4), R(3, 4)], c=[0, R(2, 3)], order=2, title="Ralston, order 2"
    )


def heun3() -> ButcherTableau:
    """Heun 1900, three stages."""
    return ButcherTableau(
        A=below_diagonal((R(1, 3),), (0, R(2, 3))),
        b=[R(1, 4), 0, R(3, 4)],
        c=[0, R(1, 3), R(2, 3)],
        order=3,
        title="Heun, order 3",
    )


def ralston3() -> ButcherTableau:
    """Ralston 1962: three stages, smallest bound of the local error."""
    return ButcherTableau(
        A=below_diagonal((R(1, 2),), (0, R(3, 4))),
        b=[R(2, 9), R(1, 3), R(4, 9)],
        c=[0, R(1, 2), R(3, 4)],
        order=3,
        title="Ralston, order 3",
    )


def kutta3() -> ButcherTableau:
    """Kutta 1901: three stages on Simpson's nodes."""
    return ButcherTableau(
        A=below_diagonal((R(1, 2),), (-1, 2)),
        b=[R(1, 6), R(2, 3), R(1, 6)],
        c=[0, R(1, 2), 1],
        order=3,
        title="Kutta, order 3",
    )


def ssp33() -> ButcherTableau:
    """Shu and Osher 1988: a convex combination of steps of forward Euler (strong stability preserving)."""
    return ButcherTableau(
        A=below_diagonal((1,), (R(1, 4), R(1, 4))),
        b=[R(1, 6), R(1, 6), R(2, 3)],
        c=[0, 1, R(1, 2)],
        order=3,
        title="SSP(3,3) of Shu and Osher",
    )


def rk4() -> ButcherTableau:
    """Kutta 1901: the Runge-Kutta scheme."""
    return ButcherTableau(
        A=below_diagonal((R(1, 2),), (0, R(1, 2)), (0, 0, 1)),
        b=[R(1, 6), R(1, 3), R(1, 3), R(1, 6)],
        c=[0, R(1, 2), R(1, 2), 1],
        order=4,
        title="classical Runge-Kutta",
    )


def rk38() -> ButcherTableau:
    """Kutta 1901: four stages on the nodes of the 3/8 rule."""
    return ButcherTableau(
        A=below_diagonal((R(1, 3),), (R(-1, 3), 1), (1, -1, 1)),
        b=[R(1, 8), R(3, 8), R(3, 8), R(1, 8)],
        c=[0, R(1, 3), R(2, 3), 1],
        order=4,
        title="Kutta's 3/8 rule",
    )

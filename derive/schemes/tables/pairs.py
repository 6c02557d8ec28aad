"""Explicit pairs: a scheme, an embedded one for the estimate of the error, and dense output where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Rational, sympify

from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.tables.explicit import below_diagonal

R = Rational


def hermite(b: Sequence[Any], bump: Sequence[Any] | None = None) -> list[list[Any]]:
    r"""Dense output through both ends with the slopes there, of a scheme whose last stage is the next step's first.

    Args:
        b: weights of the scheme.
        bump: coefficients $d_i$ of $\theta^2 (1 - \theta)^2$, which raises the cubic to a quartic.

    Returns:
        Row i holds the coefficients of $\theta, \theta^2, \ldots$ in $b_i(\theta)$.
    """
    last = len(b) - 1
    rows = [[sympify(0), 3 * sympify(weight), -2 * sympify(weight)] for weight in b]
    rows[0] = [x + y for x, y in zip(rows[0], (1, -2, 1), strict=True)]
    rows[last] = [x + y for x, y in zip(rows[last], (0, -1, 1), strict=True)]
    if bump is None:
        return rows
    return [[x, y + d, z - 2 * d, d] for (x, y, z), d in zip(rows, bump, strict=True)]


def bs32() -> ButcherTableau:
    """Bogacki and Shampine 1989, 3(2); dense output is the cubic Hermite polynomial."""
    b = [R(2, 9), R(1, 3), R(4, 9), 0]
    return ButcherTableau(
        A=below_diagonal((R(1, 2),), (0, R(3, 4)), tuple(b[:3])),
        b=b,
        c=[0, R(1, 2), R(3, 4), 1],
        b_error=[R(7, 24), R(1, 4), R(1, 3), R(1, 8)],
        dense=hermite(b),
        order=3,
        embedded_order=2,
        dense_order=3,
        title="Bogacki-Shampine 3(2)",
    )


def rkf45() -> ButcherTableau:
    """Fehlberg 1969, 4(5): the step is the scheme of order 4, the one of order 5 estimates its error."""
    return ButcherTableau(
        A=below_diagonal(
            (R(1, 4),),
            (R(3, 32), R(9, 32)),
            (R(1932, 2197), R(-7200, 2197), R(7296, 2197)),
            (R(439, 216), -8, R(3680, 513), R(-845, 4104)),
            (R(-8, 27), 2, R(-3544, 2565), R(1859, 4104), R(-11, 40)),
        ),
        b=[R(25, 216), 0, R(1408, 2565), R(2197, 4104), R(-1, 5), 0],
        c=[0, R(1, 4), R(3, 8), R(12, 13), 1, R(1, 2)],
        b_error=[R(16, 135), 0, R(6656, 12825), R(28561, 56430), R(-9, 50), R(2, 55)],
        order=4,
        embedded_order=5,
        title="Fehlberg 4(5)",
    )


def cash_karp() -> ButcherTableau:
    """Cash and Karp 1990, 5(4)."""
    return ButcherTableau(
        A=below_diagonal(
            (R(1, 5),),
            (R(3, 40), R(9, 40)),
            (R(3, 10), R(-9, 10), R(6, 5)),
            (R(-11, 54), R(5, 2), R(-70, 27), R(35, 27)),
            (R(1631, 55296), R(175, 512), R(575, 13824), R(44275, 110592), R(253, 4096)),
        ),
        b=[R(37, 378), 0, R(250, 621), R(125, 594), 0, R(512, 1771)],
        c=[0, R(1, 5), R(3, 10), R(3, 5), 1, R(7, 8)],
        b_error=[R(2825, 27648), 0, R(18575, 48384), R(13525, 55296), R(277, 14336), R(1, 4)],
        order=5,
        embedded_order=4,
        title="Cash-Karp 5(4)",
    )


def dopri5() -> ButcherTableau:
    """Dormand and Prince 1980, 5(4); dense output of order 4 by Shampine 1986 (Solving ODEs I, II.6)."""
    b = [R(35, 384), 0, R(500, 1113), R(125, 192), R(-2187, 6784), R(11, 84), 0]
    bump = [
        R(-12715105075, 11282082432),
        0,
        R(87487479700, 32700410799),
        R(-10690763975, 1880347072),
        R(701980252875, 199316789632),
        R(-1453857185, 822651844),
        R(69997945, 29380423),
    ]
    return ButcherTableau(
        A=below_diagonal(
            (R(1, 5),),
            (R(3, 40), R(9, 40)),
            (R(44, 45), R(-56, 15), R(32, 9)),
            (R(19372, 6561), R(-25360, 2187), R(64448, 6561), R(-212, 729)),
            (R(9017, 3168), R(-355, 33), R(46732, 5247), R(49, 176), R(-5103, 18656)),
            tuple(b[:6]),
        ),
        b=b,
        c=[0, R(1, 5), R(3, 10), R(4, 5), R(8, 9), 1, 1],
        b_error=[R(5179, 57600), 0, R(7571, 16695), R(393, 640), R(-92097, 339200), R(187, 2100), R(1, 40)],
        dense=hermite(b, bump),
        order=5,
        embedded_order=4,
        dense_order=4,
        title="Dormand-Prince 5(4)",
    )

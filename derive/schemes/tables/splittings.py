"""Splittings of a field in two parts whose flows are exact (Geometric Numerical Integration, II.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Expr, Rational, expand

from derive.schemes.splitting import Splitting

HALF = Rational(1, 2)


def composed(stages: Sequence[tuple[int, Any]], fractions: Sequence[Any]) -> list[tuple[int, Any]]:
    """Steps of a splitting over the given fractions of h in turn; neighbouring flows of the same part join."""
    joined: list[tuple[int, Any]] = []
    for fraction in fractions:
        for part, share in stages:
            before = joined.pop()[1] if joined and joined[-1][0] == part else 0
            joined.append((part, expand(before + share * fraction)))
    return joined


def triple_jump() -> tuple[Expr, Expr, Expr]:
    """Fractions of three steps of a symmetric scheme of order 2 that make one of order 4, the middle one backwards.

    They are 1/(2 - r), -r/(2 - r) and 1/(2 - r) with the cube root r of 2 (Suzuki 1990, Yoshida 1990).
    """
    root = 2 ** Rational(1, 3)
    outer = expand((4 + 2 * root + root**2) / 6)
    return outer, 1 - 2 * outer, outer


STRANG = ((0, HALF), (1, 1), (0, HALF))


def lie_trotter() -> Splitting:
    """One flow after the other."""
    return Splitting(((0, 1), (1, 1)), order=1, title="Lie-Trotter")


def strang() -> Splitting:
    """Half a step of the first flow on either side of the second."""
    return Splitting(STRANG, order=2, title="Strang")


def yoshida4() -> Splitting:
    """Three Strang steps, the middle one backwards."""
    return Splitting(composed(STRANG, triple_jump()), order=4, title="Yoshida, order 4")

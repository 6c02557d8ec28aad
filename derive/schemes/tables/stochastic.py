"""Schemes for stochastic differential equations (Kloeden, Platen, Numerical Solution of SDEs, 10.2, 10.3, 11.1)."""

from __future__ import annotations

from sympy import Rational

from derive.schemes.stochastic import StochasticRungeKutta

HALF = Rational(1, 2)


def euler_maruyama() -> StochasticRungeKutta:
    """Maruyama 1955: drift and diffusion at the beginning of the step."""
    return StochasticRungeKutta(
        A=[[0]],
        B=[[0]],
        alpha=[1],
        beta=[1],
        strong_order={"general": HALF, "additive": 1},
        weak_order=1,
        title="Euler-Maruyama",
    )


def milstein() -> StochasticRungeKutta:
    """Milstein 1974: with the second iterated integrals, of which increments know the symmetric part."""
    return StochasticRungeKutta(
        A=[[0]],
        B=[[0]],
        alpha=[1],
        beta=[1],
        gamma=1,
        strong_order={"general": HALF, "commutative": 1},
        weak_order=1,
        title="Milstein",
    )


def heun() -> StochasticRungeKutta:
    """The means of drift and diffusion at both ends; it converges to Stratonovich's solution."""
    return StochasticRungeKutta(
        A=[[0, 0], [1, 0]],
        B=[[0, 0], [1, 0]],
        alpha=[HALF, HALF],
        beta=[HALF, HALF],
        calculus="stratonovich",
        strong_order={"general": HALF, "commutative": 1},
        weak_order={"general": 1, "additive": 2},
        title="stochastic Heun",
    )

"""Order and local error of Runge-Kutta, partitioned and additive schemes, by rooted trees."""

from __future__ import annotations

from derive.series.differentials import DifferentialTable
from derive.series.trees import trees
from derive.series.weights import OneStep, Stages, Weights


def order(scheme: OneStep) -> int:
    """The largest p for which every order condition up to p holds, for all values of the scheme's symbols."""
    stages = Stages(scheme)
    return order_of(stages, stages.b)


def order_of(stages: Stages, weights: Weights) -> int:
    """Order of a step with these weights; s stages reach 2s at most."""
    reached = 0
    while reached < 2 * stages.count and _holds(stages, weights, reached + 1):
        reached += 1
    return reached


def _holds(stages: Stages, weights: Weights, size: int) -> bool:
    return all(stages.vanishes(stages.residual(tau, weights)) for tau in trees(size, stages.colours))


def error_terms(scheme: OneStep, power: int) -> DifferentialTable:
    """Coefficients of h^power in the local error, exact minus numerical."""
    return error_table(Stages(scheme), power)


def error_table(stages: Stages, power: int) -> DifferentialTable:
    """Coefficients of h^power in the local error of a scheme's stages and weights."""
    found = {tau: stages.error_coefficient(tau) for tau in trees(power, stages.colours)}
    return DifferentialTable(found, stages.colours)


def principal_error(scheme: OneStep) -> DifferentialTable:
    """Coefficients of h^(p+1) in the local error, p the order."""
    stages = Stages(scheme)
    return error_table(stages, order_of(stages, stages.b) + 1)

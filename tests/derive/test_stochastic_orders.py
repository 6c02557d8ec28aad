"""Strong and weak orders: of the shipped schemes, of invented ones, and as they are measured."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import log2
from typing import Any

import numpy as np
import pytest
from sympy import QQ, Rational, diff, expand, symbols

from derive.errors import SpecError, UnknownNameError
from derive.schemes.stochastic import STOCHASTIC_SCHEMES, STRUCTURES, StochasticRungeKutta, stochastic_scheme
from derive.series.domains import arithmetic_of
from derive.series.trees import tree
from derive.stochastic.integrals import Integral, expected, integrated, mean, product, shuffles
from derive.stochastic.orders import Series, stochastic_orders
from derive.stochastic.relations import conditions, conditions_on_means, relations
from derive.stochastic.trees import forests, survives, trees_of, written

HALF, ONE = Fraction(1, 2), Fraction(1)
R = Rational
MIDPOINT = StochasticRungeKutta(
    A=[[0, 0], [R(1, 2), 0]], B=[[0, 0], [R(1, 2), 0]], alpha=[0, 1], beta=[0, 1], calculus="stratonovich"
)
RALSTON = StochasticRungeKutta(
    A=[[0, 0], [0, 0]], B=[[0, 0], [R(2, 3), 0]], alpha=[1, 0], beta=[R(1, 4), R(3, 4)], calculus="stratonovich"
)
UNCORRECTED = StochasticRungeKutta(A=[[0]], B=[[0]], alpha=[1], beta=[1], calculus="stratonovich")
HALF_MILSTEIN = StochasticRungeKutta(A=[[0]], B=[[0]], alpha=[1], beta=[1], gamma=R(1, 2))
STRATONOVICH_MILSTEIN = StochasticRungeKutta(A=[[0]], B=[[0]], alpha=[1], beta=[1], gamma=1, calculus="stratonovich")
ITO_HEUN = StochasticRungeKutta(
    A=[[0, 0], [1, 0]], B=[[0, 0], [1, 0]], alpha=[R(1, 2), R(1, 2)], beta=[R(1, 2), R(1, 2)]
)


def _strang() -> StochasticRungeKutta:
    """Half a step of the drift by Heun, the noise by RK4, the drift again: weak order 2 where the noise commutes."""
    A, B = ([[R(0)] * 8 for _ in range(8)] for _ in range(2))
    half, quarter, weights = R(1, 2), R(1, 4), [R(1, 6), R(1, 3), R(1, 3), R(1, 6)]
    A[1][0] = A[7][6] = B[3][2] = B[4][3] = half
    B[5][4] = R(1)
    for stage in range(2, 8):
        A[stage][:2] = [quarter, quarter]
    for stage in (6, 7):
        B[stage][2:6] = weights
    drift, noise = [quarter, quarter, 0, 0, 0, 0, quarter, quarter], [0, 0, *weights, 0, 0]
    return StochasticRungeKutta(A, B, drift, noise, calculus="stratonovich", title="Strang")


@pytest.mark.parametrize(
    ("scheme", "strong", "weak"),
    [  # general, commutative, diagonal, scalar, additive
        ("euler_maruyama", (HALF, HALF, HALF, HALF, ONE), (1, 1, 1, 1, 1)),
        ("milstein", (HALF, ONE, ONE, ONE, ONE), (1, 1, 1, 1, 1)),
        ("heun", (HALF, ONE, ONE, ONE, ONE), (1, 1, 1, 1, 2)),
        (MIDPOINT, (HALF, ONE, ONE, ONE, ONE), (1, 1, 1, 1, 1)),
        (RALSTON, (HALF, ONE, ONE, ONE, ONE), (1, 1, 1, 1, 1)),
        (UNCORRECTED, (0, 0, 0, 0, ONE), (0, 0, 0, 0, 1)),
        (HALF_MILSTEIN, (HALF, HALF, HALF, HALF, ONE), (1, 1, 1, 1, 1)),
        (STRATONOVICH_MILSTEIN, (HALF, ONE, ONE, ONE, ONE), (1, 1, 1, 1, 1)),
        (_strang(), (HALF, ONE, ONE, ONE, ONE), (1, 2, 2, 2, 2)),
        (ITO_HEUN, (0, 0, 0, 0, ONE), (0, 0, 0, 0, 2)),
    ],
)
def test_orders(scheme: Any, strong: tuple[Fraction, ...], weak: tuple[int, ...]) -> None:
    found = stochastic_orders(scheme)
    assert tuple(found.strong[name] for name in STRUCTURES) == strong
    assert tuple(found.weak[name] for name in STRUCTURES) == weak


def _differential(tau: Any, fields: Any, point: Any) -> Any:
    """An elementary differential at a point, by repeated directional derivatives."""
    value, symbols = fields[tau.colour], sorted(point, key=str)
    for branch in tau.branches:
        way = _differential(branch, fields, point)
        value = [sum(diff(part, z) * w for z, w in zip(symbols, way, strict=True)) for part in value]
    return [part.subs(point) for part in map(expand, value)]


def test_relations_hold_for_diffusions_that_commute_and_miss_none() -> None:
    """In the coordinates u = x, v = y - x^2 fields of u alone and of v alone commute; the drift is arbitrary."""
    x, y = symbols("x y")
    fields: list[Any] = [[x * y + y**2 - 2, x**3 + y], [x**2 + 1, 2 * x * (x**2 + 1)], [R(0), (y - x**2) ** 2 + 3]]
    bracket = [
        sum(diff(b, z) * w - diff(a, z) * v for z, v, w in zip((x, y), fields[2], fields[1], strict=True))
        for a, b in zip(fields[1], fields[2], strict=True)
    ]
    assert [expand(part) for part in bracket] == [0, 0]
    point = {x: R(2, 3), y: R(-3, 5)}
    for size in (2, 3, 4):
        values = {tau: _differential(tau, fields, point) for tau in trees_of(size, 2)}
        found = relations(size, 2)
        assert found
        for relation in found:
            for component in (0, 1):
                assert sum(count * values[tau][component] for tau, count in relation.items()) == 0
        assert any(any(value) for value in values.values())


def test_conditions_where_noise_commutes() -> None:
    for size, count in ((1, 2), (2, 4), (3, len(trees_of(3, 2)) - 4)):
        assert len(conditions(size, 2, "commutative")) == count
    (pair,) = (c for c in conditions(2, 2, "commutative") if len(c) == 2)
    assert {written(tau): factor for tau, factor in pair} == {"g_1'g_2": 1, "g_2'g_1": 1}
    assert len(conditions(2, 2, "general")) == len(trees_of(2, 2)) == 5
    for size in (2, 3, 4):
        forests_now = {one: len(conditions_on_means(size, 2, one)) for one in ("general", "commutative", "diagonal")}
        assert forests_now["diagonal"] < forests_now["commutative"] < forests_now["general"] == len(forests(size, 2))


def test_what_stands_in_the_way_is_named() -> None:
    found = stochastic_orders("milstein").strong_obstructions
    assert str(found["general"]) == ("coefficient of g_1'g_2: 1/2*J_12 + 1/2*J_21 in the scheme, J_21 in the solution")
    assert found["commutative"].differentials == ("f'g_1",)
    assert "additive" not in stochastic_orders("heun").weak_obstructions


def test_products_of_integrals_are_shuffles() -> None:
    assert shuffles((1,), (2,)) == {(1, 2): 1, (2, 1): 1}
    arithmetic = arithmetic_of([R(1)])
    wiener: Integral = {(1,): QQ(1)}
    fourth = product([wiener] * 4, QQ(1))
    assert mean(fourth, arithmetic) == 3  # of a standard normal number
    area = integrated(wiener, 0)
    assert mean(product([area, area], QQ(1)), arithmetic) == QQ(1, 3)
    assert mean(product([area, wiener], QQ(1)), arithmetic) == QQ(1, 2)
    assert expected((1, 1)) == R(1, 2)
    assert expected((1, 2, 1)) == expected((1, 0, 1)) == 0


def test_trees_by_weight() -> None:
    assert [len(trees_of(size, 1)) for size in range(1, 5)] == [1, 2, 4, 10]
    f, g = tree(colour=0), tree(colour=1)
    assert {written(tau) for tau in trees_of(3, 1)} == {"f'g_1", "g_1'f", "g_1'g_1'g_1", "g_1''(g_1,g_1)"}
    assert survives(tree(f, colour=1), "additive") and not survives(tree(g, colour=1), "additive")
    assert not survives(tree(tree(colour=2), colour=1), "diagonal")
    assert (f,) in forests(2, 1) and (g, g) in forests(2, 1)


def test_series_of_the_solution_of_a_linear_equation() -> None:
    """x' = x + x dW: all trees without branching count one, and the mean of exp(h + W) is exp(3h/2)."""
    series = Series(stochastic_scheme("euler_maruyama"))
    for size, wanted in ((2, R(3, 2)), (4, R(9, 8)), (6, R(27, 48))):
        chains = [tau for tau in trees_of(size, 1) if all(len(b.branches) < 2 for b in _vertices(tau))]
        total = sum(series.arithmetic.expression(mean(series.solution(tau), series.arithmetic)) for tau in chains)
        assert total == wanted


def _vertices(tau: Any) -> list[Any]:
    return [tau, *(vertex for branch in tau.branches for vertex in _vertices(branch))]


def _drift(scheme: StochasticRungeKutta, a: float, b: float) -> float:
    """The rate that solves the Ito equation dX = a X dt + b X dW."""
    return a - (b * b / 2 if scheme.calculus == "stratonovich" else 0)


def _run(scheme: StochasticRungeKutta, a: float, b: float, increments: Any) -> Any:
    """Geometric Brownian motion by a scheme, as many paths as there are columns."""
    h, x = 1 / len(increments), np.ones(increments.shape[1])
    rate = _drift(scheme, a, b)
    A, B = (np.array(matrix, dtype=float) for matrix in (scheme.A, scheme.B))
    alpha, beta, gamma = np.array(scheme.alpha, float), np.array(scheme.beta, float), float(scheme.gamma)
    for dw in increments:
        stages: list[Any] = []
        for i in range(scheme.stages):
            stages.append(x + sum((A[i, j] * h * rate + B[i, j] * b * dw) * stages[j] for j in range(i)))
        pairs = 0.5 * (dw * dw - (h if scheme.calculus == "ito" else 0))
        x = (
            x
            + sum((h * rate * alpha[i] + b * dw * beta[i]) * stages[i] for i in range(scheme.stages))
            + (gamma * b * b * x * pairs)
        )
    return x


@pytest.mark.parametrize(
    "scheme", [*STOCHASTIC_SCHEMES.values(), MIDPOINT, RALSTON, HALF_MILSTEIN], ids=lambda s: s.title
)
def test_strong_order_is_measured(scheme: StochasticRungeKutta) -> None:
    a, b, paths, finest = 0.4, 0.5, 4000, 256
    rng = np.random.default_rng(5)
    fine = rng.standard_normal((finest, paths)) / np.sqrt(finest)
    exact = np.exp((a - b * b / 2) + b * fine.sum(0))
    errors = []
    for steps in (32, 64, 128, 256):
        coarse = fine.reshape(steps, finest // steps, paths).sum(1)
        errors.append(np.sqrt(np.mean((_run(scheme, a, b, coarse) - exact) ** 2)))
    slopes = [log2(big / small) for big, small in pairwise(errors)]
    assert np.mean(slopes) == pytest.approx(float(stochastic_orders(scheme).strong["scalar"]), abs=0.1)


@pytest.mark.parametrize(
    "scheme", [*STOCHASTIC_SCHEMES.values(), MIDPOINT, RALSTON, HALF_MILSTEIN], ids=lambda s: s.title
)
def test_weak_order_is_measured(scheme: StochasticRungeKutta) -> None:
    """The mean of X^2 by Gauss quadrature over the increment of one step, which multiplies X by a random factor."""
    a, b = 0.4, 0.5
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    exact = np.exp(2 * a + b * b)
    errors = []
    for steps in (16, 32, 64):
        one = [_run(scheme, a / steps, b / np.sqrt(steps), np.array([[z]]))[0] for z in nodes]
        squared = np.dot(weights, np.square(one)) / np.sqrt(2 * np.pi)
        errors.append(abs(squared**steps - exact))
    slopes = [log2(big / small) for big, small in pairwise(errors)]
    assert slopes[-1] >= float(stochastic_orders(scheme).weak["scalar"]) - 0.1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"A": [[1]]}, "row 1 of A reads a stage that is not computed yet"),
        ({"A": [[0], [0]]}, "A has 2 rows"),
        ({"beta": [R(1, 2)]}, "the weights beta sum to 1/2; a consistent scheme has 1"),
        ({"beta": [1, 0]}, "2 weights of the diffusion, 1 of the drift"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        StochasticRungeKutta(**{"A": [[0]], "B": [[0]], "alpha": [1], "beta": [1], **given})


def test_names_of_schemes() -> None:
    with pytest.raises(UnknownNameError, match="milstein"):
        stochastic_scheme("milstien")

"""Stage, embedded and dense order, conditions on symbols, norms."""

import pytest
from sympy import And, Eq, Or, Rational, Symbol, false, sqrt, symbols, true
from test_series_order import BACKWARD, GAUSS4, IIIB, KUTTA3, SYMPLECTIC_EULER, TRAPEZOID, VERLET

from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting
from derive.series.conditions import condition_text
from derive.series.multistep import MultistepVerdicts
from derive.series.rk import OneStepVerdicts, conditions, dense_order, embedded_order, order, stage_order

R = Rational
FORWARD_EULER, HEUN, MIDPOINT, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "midpoint", "rk4"))
BS32 = ButcherTableau(
    A=[[0] * 4, [R(1, 2), 0, 0, 0], [0, R(3, 4), 0, 0], [R(2, 9), R(1, 3), R(4, 9), 0]],
    b=[R(2, 9), R(1, 3), R(4, 9), 0],
    c=[0, R(1, 2), R(3, 4), 1],
    b_error=[R(7, 24), R(1, 4), R(1, 3), R(1, 8)],
    dense=[[1, R(-4, 3), R(5, 9)], [0, 1, R(-2, 3)], [0, R(4, 3), R(-8, 9)], [0, -1, 1]],
)
RADAU3 = ButcherTableau(
    A=[[R(5, 12), R(-1, 12)], [R(3, 4), R(1, 4)]], b=[R(3, 4), R(1, 4)], c=[R(1, 3), 1], title="Radau IIA"
)


@pytest.mark.parametrize(
    ("scheme", "q"),
    [(FORWARD_EULER, 1), (BACKWARD, 1), (HEUN, 1), (RK4, 1), (TRAPEZOID, 2), (GAUSS4, 2), (RADAU3, 2), (IIIB, 1)],
    ids=lambda v: getattr(v, "title", str(v)),
)
def test_stage_orders(scheme, q):
    """Hairer, Wanner, Solving ODEs II, IV.15: collocation with s nodes has stage order s."""
    assert stage_order(scheme) == q


def test_stage_order_of_several_parts():
    assert stage_order(SYMPLECTIC_EULER) == stage_order(VERLET) == 1
    assert stage_order(AdditiveTableau((TRAPEZOID, TRAPEZOID))) == 2
    assert stage_order(Splitting(((0, 1), (1, 1)))) is None


def test_embedded_and_dense_order():
    """Bogacki, Shampine 1989, with the cubic Hermite interpolant."""
    assert (order(BS32), embedded_order(BS32), dense_order(BS32)) == (3, 2, 3)
    assert embedded_order(RK4) is dense_order(RK4) is None
    linear = ButcherTableau(A=HEUN.A, b=HEUN.b, c=HEUN.c, dense=[[R(1, 2)], [R(1, 2)]])
    assert dense_order(linear) == 1
    wavy = ButcherTableau(A=[[0]], b=[1], c=[0], dense=[[1, 1, -1]])
    assert dense_order(wavy) == 0
    assert dense_order(ButcherTableau(A=[[0]], b=[1], c=[0], dense=[[1]])) == 1
    quadratic = ButcherTableau(A=HEUN.A, b=HEUN.b, c=HEUN.c, dense=[[1, R(-1, 2)], [0, R(1, 2)]])
    assert dense_order(quadratic) == 2
    spoiled = [[1, R(-11, 6), R(19, 18)], [0, 1, R(-2, 3)], [0, R(4, 3), R(-8, 9)], [0, R(-1, 2), R(1, 2)]]
    assert dense_order(ButcherTableau(A=BS32.A, b=BS32.b, c=BS32.c, dense=spoiled)) == 1
    both = AdditiveTableau((BS32, BS32))
    assert (embedded_order(both), dense_order(both)) == (2, 3)
    assert embedded_order(AdditiveTableau((BS32, KUTTA4))) is None


KUTTA4 = ButcherTableau(A=BS32.A, b=BS32.b, c=BS32.c)


def test_norm_of_the_principal_error():
    assert OneStepVerdicts(FORWARD_EULER).principal_error_norm == R(1, 2)
    assert OneStepVerdicts(HEUN).principal_error_norm == sqrt(R(1, 144) + R(1, 36)) == sqrt(5) / 12
    assert abs(float(OneStepVerdicts(RK4).principal_error_norm) - 0.014504582343198208) < 1e-15


def test_conditions_without_symbols():
    assert conditions(RK4, 4) == true and conditions(RK4, 5) == false
    assert conditions(KUTTA3, 3) == true


def test_conditions_on_one_symbol_are_solved():
    theta, gamma = Symbol("theta"), Symbol("gamma")
    thetas = ButcherTableau(A=[[0, 0], [1 - theta, theta]], b=[1 - theta, theta], c=[0, 1])
    assert conditions(thetas, 1) == true
    assert conditions(thetas, 2) == Eq(theta, R(1, 2))
    assert conditions(thetas, 3) == false
    sdirk = ButcherTableau(A=[[gamma, 0], [1 - gamma, gamma]], b=[1 - gamma, gamma], c=[gamma, 1])
    assert set(conditions(sdirk, 2).args) == {Eq(gamma, 1 - sqrt(2) / 2), Eq(gamma, 1 + sqrt(2) / 2)}


def test_assumptions_and_poles_leave_values_out():
    """b_2 = 1/(2s), c_2 = s with a third stage: s = 0 is a pole, negative values are refused by a positive symbol."""
    for symbol, values in ((Symbol("s"), {-1, 1}), (Symbol("s", positive=True), {1})):
        weights = [1 - symbol**2 / 2, symbol**2 / 2]
        scheme = ButcherTableau(A=[[0, 0], [1, 0]], b=weights, c=[0, 1])
        found = conditions(scheme, 2)
        assert {equation.rhs for equation in (found.args if len(values) > 1 else (found,))} == values
    s = Symbol("s")
    pole = ButcherTableau(A=[[0, 0], [s, 0]], b=[1 - 1 / s**2, 1 / s**2], c=[0, s])
    assert conditions(pole, 2) == Eq(s, 2)
    weight = 1 / (2 * s) + s - 1  # the residual s(s - 1) of order 2 vanishes at s = 0, where there is no scheme
    hidden = ButcherTableau(A=[[0, 0], [s, 0]], b=[1 - weight, weight], c=[0, s])
    assert conditions(hidden, 2) == Eq(s, 1)


def test_conditions_on_several_symbols():
    alpha, beta = symbols("alpha beta")
    fractal = ButcherTableau(A=[[0, 0], [alpha, 0]], b=[1 - beta, beta], c=[0, alpha])
    assert conditions(fractal, 2) == Eq(alpha * beta, R(1, 2))
    assert order(fractal) == 1
    c2, c3, b2, b3, a = symbols("c2 c3 b2 b3 a32")
    third = ButcherTableau(A=[[0, 0, 0], [c2, 0, 0], [c3 - a, a, 0]], b=[1 - b2 - b3, b2, b3], c=[0, c2, c3])
    assert conditions(third, 3) == And(
        Eq(b2 * c2 + b3 * c3, R(1, 2)), Eq(b2 * c2**2 + b3 * c3**2, R(1, 3)), Eq(a * b3 * c2, R(1, 6))
    )
    assert conditions(third, 4) == false


def test_conditions_with_radicals_beside_symbols():
    k = Symbol("k")
    scheme = ButcherTableau(A=[[0, 0], [sqrt(2) * k, 0]], b=[1 - k, k], c=[0, sqrt(2) * k])
    found = conditions(scheme, 2)
    assert {abs(equation.rhs**4) for equation in found.args} == {R(1, 8)}


def test_conditions_outside_rational_functions_stay_equations():
    k = Symbol("k", positive=True)
    odd = ButcherTableau(A=[[0, 0], [sqrt(k), 0]], b=[R(1, 2), R(1, 2)], c=[0, sqrt(k)])
    assert conditions(odd, 2).subs(k, 1) == true and conditions(odd, 2).subs(k, 2) == false


def test_conditions_of_multistep_schemes():
    k = Symbol("k")
    verdicts = MultistepVerdicts(LinearMultistep(alpha=(1 - k, k), beta=(0, 1, 0)))
    assert verdicts.order == 1
    assert verdicts.conditions(2) == Eq(k, 1)
    assert verdicts.conditions(3) == false
    assert verdicts.error_constant.equals((1 - k) / 2)
    assert verdicts.error_constant_normalized.equals((1 - k) / (2 * (1 + k)))


def test_midpoint_is_better_than_heun():
    assert OneStepVerdicts(MIDPOINT).principal_error_norm < OneStepVerdicts(HEUN).principal_error_norm


def test_conditions_as_they_are_written():
    a, b = symbols("a b")
    assert condition_text(Eq(a * b, R(1, 2))) == "a*b = 1/2"
    assert condition_text(Or(Eq(a, 1), Eq(a, 2))) == "a = 1 or a = 2"
    assert condition_text(And(Or(Eq(a, 1), Eq(a, 2)), Eq(b, 3))) in (
        "(a = 1 or a = 2) and b = 3",
        "b = 3 and (a = 1 or a = 2)",
    )
    assert condition_text(true) == "True"

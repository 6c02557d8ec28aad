"""Additive, partitioned and splitting schemes: their steps, when they are explicit, their order and their inverse."""

import mpmath
import numpy as np
import pytest
from scipy.optimize import root
from sympy import Rational, sin

from derive import explain
from derive.discretization import discretize
from derive.equations import systems
from derive.errors import SpecError, UnsupportedError
from derive.evaluator import evaluate
from derive.expansion_sections import leading_error
from derive.functions import tanh
from derive.inversion import invert
from derive.networks import Network
from derive.operators import matvec
from derive.program import unknowns_of
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, Splitting, scheme_by_name
from derive.step_expansion import expansion_residual, flow_coefficients, step_coefficients
from derive.symbols import parameter, state, time
from derive.systems import ODE, Spec

half = Rational(1, 2)
s, v = state("s", ()), state("v", ())
PENDULUM = ODE(state=(s, v), velocity=(v, -sin(s)))
VERLET = AdditiveTableau(
    (
        ButcherTableau(A=[[0, 0], [half, half]], b=[half, half], c=[0, 1]),
        ButcherTableau(A=[[half, 0], [half, 0]], b=[half, half], c=[half, half]),
    ),
    title="Stoermer-Verlet",
)
LIE = Splitting(((0, 1), (1, 1)), substep=SCHEMES["forward_euler"], title="Lie-Trotter")
LIE_TROTTER = Splitting(((0, 1), (1, 1)), title="Lie-Trotter")
STRANG = Splitting(((0, half), (1, 1), (0, half)), substep=SCHEMES["forward_euler"], title="Strang")
RUTH3 = SCHEMES["ruth3"]


def stepped(ode, scheme, **values):
    recurrence = discretize(ode, scheme)
    found = evaluate(recurrence.step, {q: values[q.name] for q in recurrence.step.inputs})
    return [found[q] for q in recurrence.new]


def test_symplectic_euler_moves_the_first_unknown_first():
    s1, v1 = stepped(PENDULUM, "symplectic_euler", s=0.4, v=0.7, h=0.1)
    assert s1 == pytest.approx(0.4 + 0.1 * 0.7, rel=1e-15)
    assert v1 == pytest.approx(0.7 - 0.1 * np.sin(s1), rel=1e-15)


def test_verlet_is_the_leapfrog_of_textbooks():
    s1, v1 = stepped(PENDULUM, VERLET, s=0.4, v=0.7, h=0.1)
    middle = 0.7 - 0.05 * np.sin(0.4)
    assert s1 == pytest.approx(0.4 + 0.1 * middle, rel=1e-15)
    assert v1 == pytest.approx(middle - 0.05 * np.sin(s1), rel=1e-15)


def test_a_stage_is_evaluated_once():
    """Both velocities of Verlet's second part are taken at one point, and its last stage is the result."""
    recurrence = discretize(PENDULUM, VERLET)
    fields = [line for line in recurrence.step.assignments if line.reason == "field"]
    assert len(fields) == 3
    assert [line.target.name for line in recurrence.step.assignments if "next" in line.target.name] == [
        "s_next",
        "v_next",
    ]


@pytest.mark.parametrize("scheme", [LIE, STRANG])
def test_a_splitting_is_its_substeps_one_after_the_other(scheme):
    t = time("t")
    A = parameter("A", ("d", "d"))
    x = state("x", "d")
    parts = ((tanh(matvec(A, x)) * sin(t),), (-(x**3),))
    ode = ODE((x,), (parts[0][0] + parts[1][0],), time=t, parts=parts)
    draw = np.random.default_rng(3)
    matrix, point = draw.standard_normal((3, 3)), draw.standard_normal(3)
    (found,) = stepped(ode, scheme, x=point, t=0.3, h=0.2, A=matrix)
    clock = [0.3, 0.3]
    for part, fraction in scheme.stages:
        rate = np.tanh(matrix @ point) * np.sin(clock[0]) if part == 0 else -(point**3)
        point = point + float(fraction) * 0.2 * rate
        clock[part] += float(fraction) * 0.2
    assert found == pytest.approx(point, rel=1e-14)


def test_a_substep_of_several_stages():
    s1, v1 = stepped(PENDULUM, Splitting(((1, 1), (0, 1)), substep=SCHEMES["heun"]), s=0.4, v=0.7, h=0.1)
    assert v1 == pytest.approx(0.7 - 0.1 * np.sin(0.4), rel=1e-15)  # the part does not see what it drives
    assert s1 == pytest.approx(0.4 + 0.1 * v1, rel=1e-15)


@pytest.mark.parametrize(
    ("scheme", "order"),
    [("symplectic_euler", 1), (LIE, 1), (STRANG, 2), (VERLET, 2), (RUTH3, 3), ("ruth4", 4)],
)
def test_orders(scheme, order):
    found, error = leading_error(PENDULUM, scheme_by_name(scheme))
    assert found == order and len(error) == 2


def test_expansions_are_those_of_the_step_and_of_the_flow():
    x, y = state("x", "d"), state("y", "d")
    f, g = Network("f"), Network("g")
    ode = ODE((x, y), (f(y), g(x)))
    recurrence = discretize(ode, VERLET)
    with mpmath.workdps(60):
        assert expansion_residual(recurrence, 3, sum(step_coefficients(recurrence, 3), ())) < 1e-50
    made, exact = step_coefficients(recurrence, 2), flow_coefficients(ode, 2)
    assert all((a - b).expand() == 0 for p, q in zip(made, exact, strict=True) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("scheme", ["symplectic_euler", LIE, STRANG, VERLET, RUTH3])
def test_steps_of_separable_fields_are_inverted_line_by_line(scheme):
    recurrence = discretize(PENDULUM, scheme)
    inverse = invert(recurrence)
    values = {"s": 0.4, "v": 0.7, "h": 0.3}
    after = evaluate(recurrence.step, {q: values[q.name] for q in recurrence.step.inputs})
    known = {q.name: after[q] for q in recurrence.new} | {"h": 0.3}
    back = evaluate(inverse.program, {q: known[q.name] for q in inverse.program.inputs})
    assert {q.name: back[q] for q in inverse.program.outputs} == pytest.approx({"s": 0.4, "v": 0.7}, rel=1e-14)
    assert inverse.determinant_base(recurrence) == 1 and inverse.conditions == ()


def stage_equations(tableau, parts, h):
    """All stages of an additive scheme by its definition, solved together by SciPy; x_next of x."""
    tables = [(numbers(part.A), np.array([float(b) for b in part.b])) for part in tableau.parts]
    count = len(tables[0][1])

    def step(x):
        def gap(flat):
            X = flat.reshape(count, len(x))
            drifts = [np.array([part(point) for point in X]) for part in parts]
            return (X - x - h * sum(A @ drift for (A, _), drift in zip(tables, drifts, strict=True))).ravel()

        X = root(gap, np.tile(x, count), tol=1e-14).x.reshape(count, len(x))
        return x + h * sum(
            b @ np.array([part(point) for point in X]) for (_, b), part in zip(tables, parts, strict=True)
        )

    return step


def numbers(rows):
    return np.array([[float(entry) for entry in row] for row in rows])


LOBATTO = AdditiveTableau((SCHEMES["lobatto3a_s3"], SCHEMES["lobatto3b_s3"]), order=4)
DAMPED = ODE(state=(s, v), velocity=(v - s**2, -s))
PARTS = (lambda x: np.array([x[1] - x[0] ** 2, 0.0]), lambda x: np.array([0.0, -x[0]]))
SPLIT = ODE(state=(s, v), velocity=(v - s**2, -s), parts=((v, 0), (-(s**2), -s)))
OTHER_PARTS = (lambda x: np.array([x[1], 0.0]), lambda x: np.array([-(x[0] ** 2), -x[0]]))


@pytest.mark.parametrize("scheme", [SCHEMES["symplectic_euler"], LOBATTO])
@pytest.mark.parametrize(("ode", "parts"), [(DAMPED, PARTS), (SPLIT, OTHER_PARTS)], ids=["by unknowns", "by terms"])
def test_where_a_scheme_is_implicit_its_stages_are_solved_for(scheme, ode, parts):
    recurrence = discretize(ode, scheme)
    found = evaluate(recurrence.step, {q: {"s": 0.4, "v": 0.7, "h": 0.3}[q.name] for q in recurrence.step.inputs})
    expected = stage_equations(scheme, parts, 0.3)(np.array([0.4, 0.7]))
    np.testing.assert_allclose([float(found[q]) for q in recurrence.new], expected, rtol=1e-11)


def test_what_needs_no_solution_stays_explicit():
    """Of two unknowns the second is explicit once the first is known; a separable field has no equations at all."""
    (block,) = systems(discretize(DAMPED, "symplectic_euler").step)
    assert len(unknowns_of(block)) == 1
    assert not systems(discretize(PENDULUM, "symplectic_euler").step)
    assert invert(discretize(DAMPED, LIE)) is None  # s enters two lines of the step


def test_parts_are_checked():
    with pytest.raises(SpecError, match="the parts for s add up to v, its right-hand side is 2"):
        ODE((s, v), (2 * v, -s), parts=((v, 0), (0, -s)))
    with pytest.raises(SpecError, match="a part has 1 right-hand sides; 2 unknowns"):
        ODE((s, v), (v, -s), parts=((v,), (0,)))
    with pytest.raises(SpecError, match="is for 2 parts, the field has 1"):
        discretize(ODE((s,), (-s,)), "symplectic_euler")
    with pytest.raises(UnsupportedError, match="exact flows have no tableau"):
        discretize(ODE((s, v), (v - s, -sin(s))), LIE_TROTTER)
    assert discretize(PENDULUM, LIE_TROTTER) == discretize(PENDULUM, LIE)  # of shears, Euler's step is the flow


@pytest.mark.parametrize("scheme", ["symplectic_euler", STRANG, VERLET])
def test_every_relation_of_a_users_partitioned_system_can_fail(scheme):
    x, y = state("p", "d"), state("q", "d")
    W = parameter("W", ("d", "d"))
    ode = ODE((x, y), (tanh(matvec(W, y)), -x))
    spec = Spec(id="own", class_name="Own", title="a user's system", system=ode, scheme=scheme)
    checks = [(item.title, item.check) for item in explain(spec).relations if item.check is not None]
    assert {"modified equation", "determinant of the step on (p_n, q_n)"} <= {title for title, _ in checks}
    for title, check in checks:
        assert check.run().holds, title
        assert not check.perturbed().run().holds, title

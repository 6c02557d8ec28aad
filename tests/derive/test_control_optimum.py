"""Optimal controls, the Riccati equation and value functions against SciPy's two-point problems and direct search."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.integrate import solve_bvp, solve_ivp
from scipy.optimize import minimize
from sympy import cos

from derive import ODE, Network, OptimalControl, Spec, constant, dot, explain, matvec, parameter, state, target, time
from derive.evaluator import value_of
from derive.linear_forms import distributed, linear_part, solved

x, y, t = state("x", "d"), target("y", "d"), time("t")
A, B, C, D = (parameter(*one) for one in (("A", ("d", "d")), ("B", ("d", "m")), ("C", ("k", "d")), ("D", ("k", "d"))))
q, R, r, rho = parameter("q", "m"), parameter("R", ("m", "m")), parameter("r", "m"), constant("rho")
s, v, z, k, u = state("s", ()), state("v", ()), target("z", ()), parameter("k"), parameter("u")
plant = ODE((x,), (matvec(A, x) + matvec(B, q),))
output = dot(matvec(C, x), matvec(C, x)) / 2

PROBLEMS = {
    "regulator": OptimalControl(
        plant, terminal=dot(matvec(D, x), matvec(D, x)) / 2, running=rho * dot(q, q) / 2 + output, controls=(q,)
    ),
    "tracking": OptimalControl(
        ODE((x,), (matvec(A, x) * cos(t) + matvec(B, q),), time=t),
        terminal=dot(matvec(D, x - y), matvec(D, x - y)) / 2,
        running=dot(q, matvec(R, q)) / 2 + output,
        controls=(q,),
    ),
    "scalar": OptimalControl(
        ODE((s,), (k * s + u,)), terminal=s**2 / 2, running=rho * u**2 / 2 + s**2 / 2, controls=(u,)
    ),
    "oscillator": OptimalControl(
        ODE((s, v), (v, u - k * s)), terminal=s**2 + s * v, running=rho * u**2 / 2, controls=(u,)
    ),
    "mixed": OptimalControl(
        ODE((x, v), (matvec(A, x) + matvec(B, q), u - k * v + dot(x, y))),
        terminal=dot(x, x) + v**2,
        running=rho * dot(q, q) + rho * u**2,
        controls=(q, u),
    ),
    "population": OptimalControl(
        ODE((s,), (u,)), terminal=(s - z) ** 2 / 2, running=rho * u**2 / 2, controls=(u,), population=True
    ),
}
random = np.random.default_rng(0)
NUMBERS = {
    A: random.standard_normal((3, 3)),
    B: random.standard_normal((3, 2)),
    C: random.standard_normal((3, 3)),
    D: random.standard_normal((3, 3)),
    rho: 0.7,
}
START = np.array([1.0, -0.5, 0.3])
OPTIONS = {"rtol": 1e-11, "atol": 1e-12, "method": "DOP853"}


@cache
def derivation(name):
    return explain(Spec(id="own", class_name="", title="own", system=PROBLEMS[name], no_module="a problem"))


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("tracking", "regulator", "mixed")]


@pytest.mark.parametrize("name", ["scalar", "population", "oscillator", *SLOW])
def test_relations_on_the_optimum_hold_and_every_coefficient_counts(name):
    wanted = ("Pontryagin's condition", "The Riccati equation")
    relations = [r for part in derivation(name).sections if part.title in wanted for r in part.relations]
    checks = [(r.title, r.check) for r in relations if r.check is not None]
    assert len(checks) >= 7
    for title, check in checks:
        assert check.run().holds, title
        for term in range(check.terms):
            assert not check.perturbed(term).run().holds, (title, term)


def riccati():
    """P(0) of the regulator on [0, 1] by integrating the derived equation, applied to unit vectors."""
    found = derivation("regulator").results
    (P,) = [one for one in found["riccati"].free_symbols if one.name == "P"]

    def columns(expression, matrix):
        return np.stack([value_of(expression, {**NUMBERS, P: matrix, x: unit}) for unit in np.eye(3)], axis=1)

    last = columns(found["riccati_end"], np.zeros((3, 3)))
    back = solve_ivp(lambda now, p: columns(found["riccati"], p.reshape(3, 3)).ravel(), (1, 0), last.ravel(), **OPTIONS)
    return back.y[:, -1].reshape(3, 3)


def two_point():
    """State and costate at both ends by SciPy's collocation, of the problem as one writes it by hand."""
    a, b, c, d, weight = (NUMBERS[one] for one in (A, B, C, D, rho))

    def field(now, p):
        return np.vstack([a @ p[:3] - b @ b.T @ p[3:] / weight, -c.T @ c @ p[:3] - a.T @ p[3:]])

    def ends(first, last):
        return np.concatenate([first[:3] - START, last[3:] - d.T @ d @ last[:3]])

    return solve_bvp(field, ends, np.linspace(0, 1, 41), np.zeros((6, 41)), tol=1e-10, max_nodes=20000)


def test_the_riccati_equation_solves_the_two_point_problem():
    assert riccati() @ START == pytest.approx(two_point().y[3:, 0], rel=1e-7)
    assert riccati() == pytest.approx(riccati().T, rel=1e-9)


def test_the_value_of_the_best_control_is_its_cost_and_no_other_control_is_cheaper():
    a, b, c, d, weight = (NUMBERS[one] for one in (A, B, C, D, rho))
    solution = two_point()

    def cost(change):
        def field(now, p):
            force = -b.T @ solution.sol(now)[3:] / weight + change * np.array([np.sin(3 * now), 1 - now])
            spent = weight * force @ force / 2 + np.sum((c @ p[:3]) ** 2) / 2
            return [*(a @ p[:3] + b @ force), spent]

        p = solve_ivp(field, (0, 1), [*START, 0], **OPTIONS).y[:, -1]
        return p[3] + np.sum((d @ p[:3]) ** 2) / 2

    best = START @ riccati() @ START / 2
    assert cost(0.0) == pytest.approx(best, rel=1e-8)
    assert min(cost(0.05), cost(-0.05)) > best and cost(1e-3) - best == pytest.approx(cost(-1e-3) - best, rel=1e-2)


def test_the_equations_of_two_numbers_are_those_of_their_matrix():
    """P(0) of the oscillator by its three equations, and by the matrix equation written by hand."""
    found = derivation("oscillator").results
    names = ("riccati_s_s", "riccati_s_v", "riccati_v_v")
    blocks = {one.name: one for name in names for one in found[name].free_symbols if one.name.startswith("P_")}
    order, given = ("P_s_s", "P_s_v", "P_v_v"), {k: 4.0, rho: 0.7}

    def rates(now, p):
        known = {**given, **dict(zip((blocks[name] for name in order), p, strict=True))}
        return [float(value_of(found[name], known)) for name in names]

    def by_hand(now, p):
        P, a, b = p.reshape(2, 2), np.array([[0, 1], [-4.0, 0]]), np.array([[0], [1]])
        return (P @ b @ b.T @ P / 0.7 - P @ a - a.T @ P).ravel()

    ends = [float(found[name.replace("riccati", "riccati_end")]) for name in names]
    short = solve_ivp(rates, (0.5, 0), ends, **OPTIONS).y[:, -1]
    whole = solve_ivp(by_hand, (0.5, 0), [2.0, 1.0, 1.0, 0.0], **OPTIONS).y[:, -1]
    assert short == pytest.approx(whole[[0, 1, 3]], rel=1e-9)


def test_the_scalar_solution_is_the_numeric_one():
    found = derivation("scalar").results
    (P,) = [one for one in found["riccati"].free_symbols if one.name == "P"]
    (end,) = [one for one in found["riccati_solution"].free_symbols if one.name == "t_1"]
    given = {k: 0.4, rho: 0.7}
    back = solve_ivp(lambda now, p: [value_of(found["riccati"], {**given, P: p[0]})], (1, 0.2), [1.0], **OPTIONS)
    closed = value_of(found["riccati_solution"], {**given, t: 0.2, end: 1.0})
    assert closed == pytest.approx(back.y[0, -1], rel=1e-10)


def test_the_population_s_control_is_found_by_direct_search():
    """Piecewise constant controls by a minimizer that knows the cost alone, against the derived feedback."""
    begin, aim = np.array([0.3, -0.2, 1.1]), np.array([0.5, 0.9, -0.4])

    def cost(path):
        return np.mean((begin + np.mean(path) - aim) ** 2) / 2 + 0.7 * np.mean(path**2) / 2

    found = minimize(cost, np.zeros(5), tol=1e-14).x
    results = derivation("population").results
    names = {one.name: one for one in results["feedback_u"].free_symbols | results["riccati_solution"].free_symbols}
    P = value_of(results["riccati_solution"], {rho: 0.7, names["t"]: 0.0, names["t_1"]: 1.0})
    means = {s: begin.mean(), names["r"]: -P * aim.mean(), names["P"]: P, rho: 0.7}
    assert found == pytest.approx([value_of(results["feedback_u"], means)] * 5, rel=1e-6)


def test_h_along_extremals_changes_with_the_clock_alone():
    assert derivation("regulator").results["extremal_rate"] == 0
    assert derivation("tracking").results["extremal_rate"] != 0


def test_linear_equations_are_solved():
    force = parameter("force", "m")
    assert solved(rho * q + force, q) == -force / rho
    assert solved(r * q - force * 2, q) == 2 * force / r
    assert str(solved(matvec(R, q) + rho * q + force, q)) == "-linear_solve(R + rho*identity_like(R), force)"
    assert solved(q**2 - force, q) is None and solved(force, q) is None
    assert solved(matvec(R, r * q) - force, q) is None
    assert solved(r * q + matvec(R, q) - force, q) is None
    assert solved(2 * u - k, u) == k / 2


def test_numbers_and_sums_leave_matrices():
    double = distributed(matvec(A, 2 * x + rho * y) - 2 * matvec(A, x))
    assert double == rho * matvec(A, y)
    assert distributed(dot(x, rho * x + y) - rho * dot(x, x)) == dot(x, y)
    assert linear_part(matvec(A, x + y) + y, x) == matvec(A, x)
    assert linear_part(x**2, x) is None and linear_part(y, x) == 0


def test_where_h_is_not_quadratic_there_is_no_closed_form():
    f = Network("f")
    quartic = OptimalControl(ODE((s,), (u,)), terminal=s**2, running=u**4, controls=(u,))
    opaque = OptimalControl(ODE((x,), (f(x),)), terminal=dot(x, x), controls=(f.theta,))
    coupled = OptimalControl(ODE((s,), (u * k,)), terminal=s**2, running=u**2 + k**2, controls=(u, k))
    bent = OptimalControl(ODE((s,), (u - s**3,)), terminal=s**2, running=u**2 / 2, controls=(u,))
    for problem, known in ((quartic, False), (opaque, False), (coupled, False), (bent, True)):
        results = explain(Spec(id="own", class_name="", title="", system=problem, no_module="a problem")).results
        assert ("optimal_u" in results) is known and "riccati" not in results


def people(velocity, running, controls=(u,)):
    """A problem with one control for all samples."""
    return OptimalControl(
        ODE((s,), (velocity,)), terminal=(s - z) ** 2 / 2, running=running, controls=controls, population=True
    )


@pytest.mark.parametrize(
    ("velocity", "shown"),
    [(u, "E of (-a/rho)"), (u * s, "E of (-a*s/rho)"), (u * (s + z) - k * s, "E of (-a*s/rho - a*z/rho)")],
)
def test_the_control_of_a_population_is_a_mean(velocity, shown):
    derivation = explain(
        Spec(id="p", class_name="", no_module="none", title="p", system=people(velocity, rho * u**2 / 2))
    )
    relations = [r for r in derivation.relations if r.check is not None]
    assert all(r.check.run().holds for r in relations)
    (best,) = (r for r in relations if r.name.startswith("optimal"))
    assert shown in best.text and not best.check.perturbed(0).run().holds


def test_a_population_without_one_curvature_has_no_such_formula():
    problem = people(u * s, rho * u**2 * s**2 / 2 + u**2)
    derivation = explain(Spec(id="p", class_name="", no_module="none", title="p", system=problem))
    assert not [r for r in derivation.relations if r.name.startswith("optimal")]
    assert all(r.check.run().holds for r in derivation.relations if r.check is not None)

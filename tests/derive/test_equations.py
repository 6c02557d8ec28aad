"""Equations inside programs: what is solved together, both sweeps, the evaluator, inverses and derivations."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from sympy import Rational

from derive import ODE, LinearMultistep, Network, Spec, Start, cos, discretize, explain, matvec, parameter, state, time
from derive.checks import StationarityCheck
from derive.equations import systems
from derive.errors import DeriveError, SpecError
from derive.evaluator import evaluate
from derive.geometry import adjoint_method
from derive.inversion import invert
from derive.linearization import forward_sweep
from derive.program import Assignment, Program, Solve, unknowns_of
from derive.reverse_sweep import reverse_sweep
from derive.schemes import SCHEMES, ButcherTableau

x, t, f = state("x", "d"), time("t"), Network("f", takes_time=True)
s, v = state("s", ()), state("v", ())
k, gamma, w = parameter("k"), parameter("gamma"), parameter("w", ("d", "d"))
FIELD = ODE((x,), (f(t, x),), time=t)
CUBIC = ODE((x,), (matvec(w, x) - gamma * x**3,))
OSCILLATOR = ODE((s, v), (v, cos(t) - k * s), time=t)
BDF2 = LinearMultistep(
    alpha=(Rational(4, 3), Rational(-1, 3)),
    beta=(Rational(2, 3), 0, 0),
    start={"euler": Start(SCHEMES["backward_euler"])},
    title="BDF2",
)
IMPLICIT = {
    name: SCHEMES[name]
    for name in "backward_euler trapezoid gauss4 radau2a_3 lobatto3a_s3 lobatto3b_s3 lobatto3c_s2 sdirk2 trbdf2".split()
} | {"bdf2": BDF2}


def solved(ode, scheme):
    """Names of what is solved for together, in order."""
    return [[q.name for q in unknowns_of(block)] for block in systems(discretize(ode, scheme).step)]


@pytest.mark.parametrize(
    ("name", "unknowns"),
    [
        ("backward_euler", [["x_next"]]),
        ("trapezoid", [["x_next"]]),
        ("gauss4", [["x_1", "x_2"]]),
        ("radau2a_3", [["x_1", "x_next"]]),
        ("lobatto3a_s3", [["x_2", "x_next"]]),
        ("lobatto3b_s3", [["x_1", "x_2"]]),
        ("sdirk2", [["x_1"], ["x_next"]]),
        ("trbdf2", [["x_2"], ["x_next"]]),
        ("bdf2", [["x_next"]]),
    ],
)
def test_as_little_as_possible_is_solved_together(name, unknowns):
    assert solved(FIELD, IMPLICIT[name]) == unknowns


def test_explicit_schemes_and_unknowns_that_nothing_reads_are_not_solved_for():
    assert all(not solved(FIELD, SCHEMES[name]) for name in ("forward_euler", "heun", "rk4", "dopri5"))
    assert solved(OSCILLATOR, "backward_euler") == [["s_next", "v_next"]]
    falling = ODE((s, v), (v, -(v**3)))
    assert solved(falling, "backward_euler") == [["v_next"]]


@pytest.mark.parametrize("ode", [FIELD, CUBIC, OSCILLATOR], ids=["network", "cubic", "oscillator"])
@pytest.mark.parametrize("name", ["backward_euler", "trapezoid", "radau2a_3", "sdirk2", "bdf2"])
def test_the_adjoint_is_that_of_the_solution(ode, name):
    step = discretize(ode, IMPLICIT[name]).step
    adjoint = reverse_sweep(step)
    about = {bar: quantity for quantity, bar in adjoint.cotangents.items()}
    for line in adjoint.program.assignments:
        check = StationarityCheck(step, adjoint, line, about[line.target])
        assert check.run().holds, line.target
    assert not check.perturbed().run().holds


def test_tangents_and_cotangents_of_an_implicit_step_are_transposed():
    step = discretize(OSCILLATOR, "gauss4").step
    adjoint, tangent = reverse_sweep(step), forward_sweep(step, (*step.inputs,))
    rng = np.random.default_rng(0)
    values = {q: float(rng.uniform(0.1, 0.4)) for q in {*step.inputs, *adjoint.seeds.values()}}
    along = {tangent.tangents[q]: float(rng.normal()) for q in step.inputs}
    known = {**values, **along, **evaluate(step, values)}
    pushed, pulled = evaluate(tangent.program, known), evaluate(adjoint.program, known)
    left = sum(pushed[tangent.tangents[q]] * values[seed] for q, seed in adjoint.seeds.items())
    right = sum(along[tangent.tangents[q]] * pulled[adjoint.cotangents[q]] for q in step.inputs)
    assert left == pytest.approx(right, rel=1e-12)


def test_the_evaluator_solves_in_every_arithmetic():
    """x_1 = x + h x_1^2: the smaller root, in floats, 50 digits and complex numbers."""
    u = state("u", ())
    step = discretize(ODE((u,), (u**2,)), "backward_euler").step
    (h,), (old,) = ([q for q in step.inputs if q.name == name] for name in ("h", "u"))

    def root(x, h, sqrt):
        return (1 - sqrt(1 - 4 * h * x)) / (2 * h)

    assert evaluate(step, {old: 0.5, h: 0.1})[step.outputs[0]] == pytest.approx(root(0.5, 0.1, np.sqrt), rel=1e-14)
    found = evaluate(step, {old: 0.5 + 1e-20j, h: 0.1 + 0j})[step.outputs[0]]
    assert found.imag / 1e-20 == pytest.approx(1 / np.sqrt(1 - 0.2), rel=1e-13)
    with mpmath.workdps(50):
        x0, h0 = mpmath.mpf("0.5"), mpmath.mpf("0.1")
        assert (
            abs(evaluate(step, {old: x0, h: h0})[step.outputs[0]] - root(x0, h0, mpmath.sqrt)) < mpmath.mpf(10) ** -48
        )
    with pytest.raises(DeriveError, match="were not solved"):
        evaluate(step, {old: 3.0, h: 1.0})


def test_a_system_without_its_equation_is_refused():
    a, b = state("a", ()), state("b", ())
    with pytest.raises(SpecError, match="equations in b without a line"):
        Program((a,), (Assignment(state("c", ()), a + b, solve=Solve((b,), (a,))),), ())


def test_inverses_are_found_by_solving():
    program = invert(discretize(FIELD, "backward_euler")).program
    assert str(program.assignments[-1].value) == "-f*h + x_next"
    assert all(invert(discretize(FIELD, name)) is None for name in ("trapezoid", "gauss4", "radau2a_3"))
    assert invert(discretize(FIELD, BDF2)) is not None


def test_the_adjoint_scheme_undoes_a_step():
    def same(one: ButcherTableau, other: ButcherTableau) -> bool:
        return (one.A, one.b, one.c) == (other.A, other.b, other.c)

    assert all(
        same(adjoint_method(SCHEMES[name]), SCHEMES[name]) for name in ("trapezoid", "gauss4", "implicit_midpoint")
    )
    assert same(adjoint_method(SCHEMES["backward_euler"]), SCHEMES["forward_euler"])


@pytest.mark.parametrize("name", ["backward_euler", "trapezoid", "bdf2"])
def test_the_derivation_is_complete_and_every_coefficient_counts(name):
    derivation = explain(Spec("own", "Own", "own", OSCILLATOR, scheme=IMPLICIT[name]))
    assert {"residual.s_next", "newton.s_next", "adjoint_equation.bar_s_next"} <= set(derivation.numbers)
    for relation in derivation.relations:
        if relation.check is not None:
            assert relation.check.run().holds, relation.title
            for term in range(relation.check.terms):
                assert not relation.check.perturbed(term).run().holds, relation.title


def test_the_trapezoid_rule_keeps_the_energy_of_an_oscillator():
    energy = {"energy": ((v**2 + k * s**2) / 2, {})}
    free = ODE((s, v), (v, -k * s))
    for name, ratio in (("trapezoid", "1"), ("backward_euler", "1/(h**2*k + 1)")):
        found = explain(Spec("own", "Own", "own", free, scheme=name, invariants=energy))
        assert str(found.results["energy_ratio"]) == ratio
        assert found.facts["inverse"] == ("the same scheme with -h" if name == "trapezoid" else "explicit")

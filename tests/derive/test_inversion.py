"""Inverses of steps: which steps have one, under what condition, and that it undoes the step."""

import mpmath
import numpy as np
import pytest
from pairs import random_values
from sympy import Rational, exp, sin

from derive.catalog.lm_resnet import SPEC as LM_RESNET
from derive.catalog.lm_resnet import k
from derive.catalog.lstm_peephole import cell
from derive.checks import relative_difference
from derive.discretization import discretize
from derive.evaluator import evaluate
from derive.functions import tanh
from derive.inversion import invert
from derive.networks import Network
from derive.operators import matvec
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.schemes import LinearMultistep, Start
from derive.symbols import parameter, state
from derive.systems import ODE

x = state("x", "d")
f = Network("f", per_layer=True)
OPAQUE = ODE(state=(x,), velocity=(f(x),))
W = parameter("W", ("d", "d"))
COUPLED = ODE(state=(x,), velocity=(tanh(matvec(W, x)),))


def round_trip(recurrence):
    """Oldest state, and what the inverse makes of the step's results, at 40 digits."""
    inverse = invert(recurrence)
    with mpmath.workdps(40):
        sampler = Sampler([*recurrence.step.inputs, *recurrence.old], recurrence.step.networks())
        values = sampler.values()
        after = {**values, **evaluate(recurrence.step, values, sampler.networks)}
        oldest = [q for q in recurrence.old if q not in recurrence.new]
        known = {q: value for q, value in after.items() if q not in oldest}
        found = evaluate(inverse.program, known, sampler.networks)
        by_name = {q.name: value for q, value in found.items()}
        return [relative_difference(by_name[q.name], values[q]) for q in oldest]


def test_lm_resnet_is_inverted_where_k_is_not_zero():
    recurrence = discretize(LM_RESNET.system, LM_RESNET.scheme)
    inverse = invert(recurrence)
    assert inverse.conditions == (k,)
    assert [q.name for q in inverse.program.outputs] == ["x_prev"]
    assert max(round_trip(recurrence)) < 1e-35


def test_the_inverse_of_lm_resnet_is_the_formula_of_the_catalogue():
    """x_(n-1) = (x_(n+1) - (1 - k) x_n - h f(x_n))/k."""
    recurrence = discretize(LM_RESNET.system, LM_RESNET.scheme)
    program = invert(recurrence).program
    draw = np.random.default_rng(1)
    values = {
        "x": draw.standard_normal(3),
        "x_next": draw.standard_normal(3),
        "k": 0.7,
        "h": 0.2,
        "theta_f": np.zeros(1),
    }

    class Cube:
        def differential(self, point, directions, covector, slot):
            return point[0] ** 3

    found = evaluate(
        program, {q: values[q.name] for q in program.inputs}, dict.fromkeys(recurrence.step.networks(), Cube())
    )
    expected = (values["x_next"] - 0.3 * values["x"] - 0.2 * values["x"] ** 3) / 0.7
    assert found[program.outputs[0]] == pytest.approx(expected, rel=1e-13)


def test_the_inverse_evaluates_nothing_that_the_step_does_not():
    recurrence = discretize(LM_RESNET.system, LM_RESNET.scheme)
    calls = [
        line.value for line in invert(recurrence).program.assignments if line.value.has(f) or "f" in str(line.target)
    ]
    assert calls == [line.value for line in recurrence.step.assignments if line.reason == "field"]


@pytest.mark.parametrize("ode", [OPAQUE, COUPLED], ids=["opaque", "explicit"])
def test_leapfrog_is_exactly_reversible(ode):
    recurrence = discretize(ode, "leapfrog")
    assert invert(recurrence).conditions == ()
    assert max(round_trip(recurrence)) < 1e-35


def test_leapfrog_in_two_unknowns_is_exactly_reversible():
    s, v = state("s"), state("v")
    recurrence = discretize(ODE(state=(s, v), velocity=(tanh(matvec(W, v)), -s)), "leapfrog")
    assert max(round_trip(recurrence)) < 1e-35


@pytest.mark.parametrize("scheme", ["forward_euler", "heun", "rk4"])
@pytest.mark.parametrize("ode", [OPAQUE, COUPLED], ids=["opaque", "explicit"])
def test_one_step_schemes_have_no_explicit_inverse(ode, scheme):
    assert invert(discretize(ode, scheme)) is None


def test_a_two_step_scheme_that_evaluates_at_the_oldest_state_has_none():
    scheme = LinearMultistep(alpha=(0, 1), beta=(0, 1, 1), start={"e": Start()})
    assert invert(discretize(OPAQUE, scheme)) is None


def test_a_scheme_without_weight_on_the_oldest_state_has_none():
    scheme = LinearMultistep(alpha=(1, 0), beta=(0, Rational(3, 2), Rational(-1, 2)), start={"e": Start()})
    assert invert(discretize(OPAQUE, scheme)) is None


@pytest.mark.parametrize("peephole", ["none", "diagonal", "full"])
def test_lstm_has_none(peephole):
    assert invert(cell(peephole)) is None


def test_a_step_that_is_elementwise_and_affine_is_inverted_with_its_condition():
    a, y = parameter("a", "d"), state("y", "d")
    step = Program((x, a), (Assignment(y, (2 + a) * x + 1),), (y,))
    inverse = invert(Recurrence(step, old=(x,), new=(y,)))
    assert inverse.conditions == (a + 2,)
    values = random_values((x, a), {"d": 3})
    after = evaluate(step, values)
    back = evaluate(inverse.program, {**values, y: after[y]})
    assert back[inverse.program.outputs[0]] == pytest.approx(values[x], rel=1e-13)


def test_a_step_with_two_preimages_has_none():
    y = state("y", "d")
    assert invert(Recurrence(Program((x,), (Assignment(y, x**2),), (y,)), old=(x,), new=(y,))) is None


def test_a_sum_over_components_hides_the_state():
    from derive.operators import total

    y = state("y", "d")
    assert invert(Recurrence(Program((x,), (Assignment(y, x + total(x)),), (y,)), old=(x,), new=(y,))) is None


def test_what_stands_in_functions_and_outside_has_no_explicit_inverse():
    """SymPy would look for it for seconds, and find Lambert's function, which torch does not have."""
    y, p = state("y", "d"), parameter("p")
    for value, found in ((x + (2 + p) * sin(x), False), (x * exp(x), False), (p * exp(x), True)):
        step = Program((x, *([p] if value.has(p) else [])), (Assignment(y, value),), (y,))
        assert (invert(Recurrence(step, old=(x,), new=(y,))) is not None) == found

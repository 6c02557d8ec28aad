"""Systems that no catalogue knows go through every analysis, with every check green and able to fail."""

import subprocess
import sys
from pathlib import Path

import pytest
from sympy import Integer, Rational, sin

from derive import Builder, Recurrence, Spec, explain, matvec, parameter, sigmoid, state, tanh, time
from derive.errors import SpecError
from derive.functions import relu, softplus
from derive.networks import Network
from derive.operators import concat, dot, fill, identity_like, linear_solve, outer, softmax, transpose
from derive.schemes import ButcherTableau, LinearMultistep, Start
from derive.symbols import input_
from derive.systems import ODE, Loss

ROOT = Path(__file__).parents[2]
x, t = state("x", "d"), time("t")
gamma, W, b = parameter("gamma"), parameter("W", ("d", "d")), parameter("b", "d")
timed = Network("f", takes_time=True)
plain = Network("g", per_layer=True)
HEUN_START = {"heun": Start(ButcherTableau(A=[[0, 0], [1, 0]], b=[Rational(1, 2)] * 2, c=[0, 1], title="Heun"))}
AB2 = LinearMultistep(alpha=(1, 0), beta=(0, Rational(3, 2), Rational(-1, 2)), start=HEUN_START, title="AB2")


def three_states():
    """A cell with a fast, a slow and a running state."""
    u, fast, slow, mean = input_("u", "I"), state("fast", "H"), state("slow", "H"), state("mean", "H")
    V, R, p = parameter("V", ("H", "I")), parameter("R", ("H", "H")), parameter("p", "H")
    step = Builder()
    gate = step.let("gate", sigmoid(matvec(R, fast) + p * slow + matvec(V, u)))
    slow_next = step.let("slow_next", gate * slow + (1 - gate) * tanh(matvec(V, u)))
    mean_next = step.let("mean_next", (9 * mean + slow_next) / 10)
    fast_next = step.let("fast_next", softplus(slow_next) * softmax(mean_next - fast))
    new = (fast_next, slow_next, mean_next)
    return Recurrence(step.build(new), old=(fast, slow, mean), new=new, inputs=(u,), output=fast_next)


def augmented():
    """Zeros beside the state, one network on both: x' = head of a product, an unknown of two parts."""
    a = state("a", "m")
    return ODE(state=(x, a), velocity=(tanh(matvec(W, x)) * dot(a, a), matvec(parameter("B", ("m", "d")), x) - a))


DOT_X = state("dot_x", "d")
SYSTEMS = {
    "three states": (three_states(), None),
    "network and damping": (ODE(state=(x,), velocity=(timed(t, x) - gamma * x,), time=t), "forward_euler"),
    "network and damping, rk4": (ODE(state=(x,), velocity=(timed(t, x) - gamma * x,), time=t), "rk4"),
    "network and drive, heun": (ODE(state=(x,), velocity=(plain(x) + b * sin(t),), time=t), "heun"),
    "network, leapfrog": (ODE(state=(x,), velocity=(plain(x) - gamma * x,)), "leapfrog"),
    "network with time, leapfrog": (ODE(state=(x,), velocity=(timed(t, x),), time=t), "leapfrog"),
    "network, AB2": (ODE(state=(x,), velocity=(plain(x),)), AB2),
    "antisymmetric": (
        ODE(state=(x,), velocity=(tanh(matvec(W - transpose(W), x) - gamma * x + b),)),
        "forward_euler",
    ),
    "two vectors": (augmented(), "heun"),
    "two vectors, leapfrog": (augmented(), "leapfrog"),
    "an unknown and its velocity": (ODE(state=(x, DOT_X), velocity=(DOT_X, -gamma * x)), "forward_euler"),
    "implicit inside": (
        ODE(state=(x,), velocity=(linear_solve(4 * identity_like(W) - W, tanh(x)),)),
        "midpoint",
    ),
    "outer product": (ODE(state=(x,), velocity=(matvec(outer(b, x), softmax(x)) + relu(x),)), "forward_euler"),
    "scalar logistic": (ODE(state=(state("u", ()),), velocity=(gamma * state("u", ()) * (1 - state("u", ())),)), "rk4"),
    "a network twice": (ODE(state=(x,), velocity=(plain(x + gamma * plain(x)) - plain(2 * x),)), "forward_euler"),
    "an unknown called v, leapfrog": (ODE(state=(state("v"),), velocity=(-gamma * state("v"),)), "leapfrog"),
    "a number for a velocity": (ODE(state=[x, state("c", ())], velocity=[x * gamma, 1]), "forward_euler"),
    "indexed unknowns": (
        ODE(state=(state("x_1", ()), state("x_2", ())), velocity=(state("x_2", ()), -gamma * state("x_1", ()))),
        "rk4",
    ),
}


def spec_of(system, scheme):
    return Spec(id="my_own", class_name="MyOwn", title="a test's own", system=system, scheme=scheme)


SLOW = ("network and damping, rk4",)  # nine differentials of order five of a network


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SYSTEMS])
def test_every_check_is_green_and_can_fail(name):
    derivation = explain(spec_of(*SYSTEMS[name]))
    checks = [(item.title, item.check) for item in derivation.relations if item.check is not None]
    assert len(checks) >= 4
    for title, check in checks:
        assert check.run().holds, (title, check.run())
        assert not check.perturbed().run().holds, title
    assert [r.number for r in derivation.relations] == [str(n + 1) for n in range(len(list(derivation.relations)))]


def test_orders_and_facts_of_own_systems():
    facts = {name: explain(spec_of(*SYSTEMS[name])).facts for name in ("network, AB2", "network, leapfrog")}
    assert facts["network, AB2"]["order"] == "2" and facts["network, AB2"]["order with start 'heun'"] == "2"
    assert facts["network, leapfrog"]["order"] == "2" and facts["network, leapfrog"]["inverse"] == "explicit"
    # One wrong first value of size h^2 leaves the leapfrog at order 2: forward Euler starts it well enough.
    assert facts["network, leapfrog"]["order with start 'euler'"] == "2"


def test_a_scheme_that_is_not_zero_stable_says_so():
    unstable = LinearMultistep(alpha=(-4, 5), beta=(0, 4, 2), title="unstable")
    facts = explain(spec_of(SYSTEMS["network, AB2"][0], unstable)).facts
    assert facts["order"] == "3" and facts["zero-stable for"] == "no field"


def test_a_recurrence_whose_shapes_change_is_refused():
    builder = Builder()
    new = builder.let("new", concat(x, x))
    with pytest.raises(SpecError, match=r"x has shape \(d\), after the step \(d\+d\)"):
        Recurrence(builder.build((new,)), old=(x,), new=(new,))


@pytest.mark.parametrize(
    ("unknown", "given", "scheme"),
    [
        ("x", "f", "forward_euler"),
        ("h", "c", "heun"),
        ("x", "x_next", "rk4"),
        ("x", "x_prev", "leapfrog"),
        ("x", "h", "heun"),
    ],
)
def test_a_name_that_the_scheme_uses_is_refused_with_a_hint(unknown, given, scheme):
    ode = ODE(state=(state(unknown),), velocity=(parameter(given) * state(unknown),))
    with pytest.raises(SpecError, match="a scheme itself names"):
        explain(spec_of(ode, scheme))


def test_an_ode_needs_a_scheme():
    with pytest.raises(SpecError, match="an ODE needs a scheme"):
        spec_of(SYSTEMS["network, AB2"][0], None)


def test_a_loss_is_a_scalar_of_output_and_target():
    y = state("y", "d")
    assert Loss(x, y, dot(x, y)).program().inputs == (x, y)
    with pytest.raises(SpecError, match="a loss is a scalar"):
        Loss(x, y, x * y)
    with pytest.raises(SpecError, match="the loss uses gamma"):
        Loss(x, y, dot(x, y) * gamma)


def test_zeros_beside_a_state_keep_their_shape():
    assert fill(Integer(0), x).shape() == ("d",)


PUBLIC = """
import pkgutil, importlib, types
import derive
for module in pkgutil.walk_packages(derive.__path__, "derive."):
    if not module.name.endswith("spec_template"):
        importlib.import_module(module.name)
hidden = [name for name in derive.__all__ if isinstance(getattr(derive, name), types.ModuleType)]
assert not hidden, f"a module of that name hides the public object: {hidden}"
assert len(derive.__all__) > 40
"""


def test_every_public_name_is_reachable_whatever_was_imported_before():
    command = [sys.executable, "-c", PUBLIC]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr

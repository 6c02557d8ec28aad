"""Implicit steps of fields made of several networks: solved, pulled back and rebuilt like those of one."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from codegen import verify
from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, AdditiveTableau, Network, Spec, state, time
from derive.schemes import SCHEMES
from tests.runtime.implicit_modules import Net, start

x, y, t = state("x", "d"), state("y", "d"), time("t")
f, g = Network("f", takes_time=True), Network("g")
SUM = ODE((x,), (f(t, x) + g(x),), time=t)
PAIR = ODE((x, y), (f(t, y), g(x) - y), time=t)
WHOLE = ODE((x,), (f(t, x),), time=t)


@cache
def kind(ode, scheme):
    return load_text(emit(Spec("own", "Own", "own", ode, scheme=scheme))).Own


class Together(nn.Module):
    """The sum of both networks as one."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def forward(self, t, x):
        return self.first(t, x) + self.second(x)


def networks():
    torch.manual_seed(3)
    return Net(), nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def run(module, parameters):
    x = start(4, 3).requires_grad_()
    out = module(x)
    return [out, *torch.autograd.grad(out.sin().sum(), [x, *parameters])]


@pytest.mark.parametrize("scheme", ["backward_euler", "implicit_midpoint", "gauss4", "sdirk2", "bdf2"])
@pytest.mark.parametrize("options", [{}, {"memory": "recompute"}, {"gradient": "autograd"}, {"solver": "krylov"}])
def test_two_networks_are_as_good_as_their_sum(scheme, options):
    first, second = networks()
    parameters = [*first.parameters(), *second.parameters()]
    found = run(kind(SUM, scheme)(first, second, steps=4, tol=1e-14, **options), parameters)
    expected = run(kind(WHOLE, scheme)(Together(first, second), steps=4, tol=1e-14, **options), parameters)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_the_inverse_trusts_a_sum_less_than_its_networks():
    """The Jacobian of f + g is bounded by the sum of both bounds: an error would grow unseen by their maximum."""
    source = emit(Spec("own", "Own", "own", SUM, scheme="leapfrog"))
    assert "    lipschitz = 2 * lipschitz\n" in source
    assert "    lipschitz = 1 + lipschitz\n" in emit(Spec("own", "Own", "own", PAIR, scheme="leapfrog"))
    both = ODE((x, y), (f(t, y) + g(x), g(x) - y), time=t)
    assert "    lipschitz = max(2 * lipschitz, 1 + lipschitz)\n" in emit(
        Spec("own", "Own", "own", both, scheme="leapfrog")
    )
    assert "    lipschitz = " not in emit(Spec("own", "Own", "own", WHOLE, scheme="leapfrog"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ode", "scheme"),
    [(PAIR, "implicit_midpoint"), (SUM, "bdf2"), (SUM, "trapezoid")],
    ids=["pair-implicit_midpoint", "sum-bdf2", "sum-trapezoid"],
)
def test_all_checks_of_a_module_hold(ode, scheme):
    rows = verify(Spec("own", "Own", "own", ode, scheme=scheme))
    assert [row for row in rows if not row.passed] == [] and any("residual" in row.check for row in rows)


LOBATTO = AdditiveTableau((SCHEMES["lobatto3a_s3"], SCHEMES["lobatto3b_s3"]), order=4)
IMEX = AdditiveTableau((SCHEMES["backward_euler"], SCHEMES["forward_euler"]), order=1)
IN_PARTS = {
    "pair": (ODE((x, y), (f(t, y), g(x)), time=t), LOBATTO),
    "damped": (ODE((x, y), (f(t, y) - x, g(x)), time=t), SCHEMES["symplectic_euler"]),
    "stiff part": (ODE((x,), (f(t, x) + g(x),), time=t, parts=((f(t, x),), (g(x),))), IMEX),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_PARTS)
def test_all_checks_of_implicit_schemes_in_parts_hold(name):
    ode, scheme = IN_PARTS[name]
    rows = verify(Spec("own", "Own", "own", ode, scheme=scheme))
    assert [row for row in rows if not row.passed] == [] and any("residual" in row.check for row in rows)


def test_an_implicit_explicit_step_is_solved_for_its_stiff_part_alone():
    """x_next = x + h f(X) + h g(X), X = x + h f(X): equations with f only, g once a step."""
    ode, scheme = IN_PARTS["stiff part"]
    first, second = networks()
    calls = []
    second.register_forward_hook(lambda *_: calls.append(1))
    x = start(4, 3)
    out = kind(ode, scheme)(first, second, steps=1, t1=0.2, tol=1e-14)(x)
    with torch.no_grad():
        stage = x.clone()
        for _ in range(200):
            stage = x + 0.2 * first(torch.tensor(0.2, dtype=x.dtype), stage)
        torch.testing.assert_close(out, stage + 0.2 * second(stage), rtol=1e-12, atol=1e-12)
    assert len(calls) == 2

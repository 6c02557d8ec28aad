"""Random recurrences of a user's own: every check of theirs passes, and a wrong law or a wrong draw is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.random_rows import random_rows
from codegen.verification.verifier import verify
from derive import (
    Bernoulli,
    Builder,
    Draw,
    Interval,
    Moments,
    Network,
    Normal,
    RandomRecurrence,
    Spec,
    Uniform,
    UnsupportedError,
    constant,
    draw,
    load,
    parameter,
    sqrt,
    state,
    step_size,
    tanh,
)

x, y = state("x", "d"), state("y", "d")
u, v = state("u", ()), state("v", ())
f, g = Network("f", per_layer=True), Network("g", per_layer=True)
field = Network("field_of_all", takes_time=False)
h = step_size("h")
p, k = constant("p", per_layer=True), parameter("k", per_layer=True)
a, rate = constant("a"), parameter("rate")
eta, gamma, z = draw("eta"), draw("gamma", "d"), draw("z")


def spec(values, old, *draws, **options):
    step = Builder()
    after = tuple(step.let(f"{q.name}_next", value) for q, value in zip(old, values, strict=True))
    system = RandomRecurrence(step.build(after), old=old, new=after, draws=draws, **options)
    return Spec(id="own", class_name="Own", title="own", system=system)


SPECS = {
    "reads its size": lambda: spec(
        (x + h * f(x) + sqrt(h) * a * gamma,), (x,), Draw(gamma, Normal(0, 1)), ranges={a: Interval(0, 1)}
    ),
    "two draws, of which one is known by its moments": lambda: spec(
        (x + k * eta * f(x) + (gamma + 1) * g(x),), (x,), Draw(eta, Bernoulli(p)), Draw(gamma, Moments(0, a**2, a**3))
    ),
    "scalars, written out": lambda: spec(
        (u + h * v, v - h * rate * u + sqrt(h) * a * z), (u, v), Draw(z, Normal(0, 1))
    ),
    "one scalar": lambda: spec((u - h * rate * u + sqrt(h) * a * z,), (u,), Draw(z, Normal(0, 1))),
    "draws inside of networks": lambda: spec((x + eta * tanh(f(x + eta * x)),), (x,), Draw(eta, Uniform(0, a))),
    "one field for all steps": lambda: spec((x + h * eta * field(x),), (x,), Draw(eta, Uniform(0, 2))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_every_check_of_an_own_random_recurrence_passes(name):
    rows = verify(SPECS[name]())
    assert len(rows) > 10 and all(row.passed for row in rows), [row for row in rows if not row.passed]


def test_a_law_that_cannot_be_drawn_wants_draws():
    module = load_text(emit(SPECS["two draws, of which one is known by its moments"]()))
    blocks = [(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)) for _ in range(2)]
    net, inputs = module.Own(blocks, p=0.5, k=1.0, a=0.1), torch.zeros(4, 3)
    with pytest.raises(ValueError, match="draws=None in training mode; allowed: the draws of gamma"):
        net(inputs)
    assert net(inputs, draws=(torch.ones(2), torch.zeros(2, 4, 3))).shape == (4, 3)
    assert net.eval()(inputs).shape == (4, 3)


def test_several_streams_with_draws_are_refused():
    streams = spec((x + eta * f(y), y + x), (x, y), Draw(eta, Bernoulli(p)))
    with pytest.raises(UnsupportedError, match="random draws in a net of 2 streams"):
        emit(streams)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            ("torch.rand(shape, **options) < along_steps", "torch.rand(shape, **options) > along_steps"),
            "moments of drawn",
        ),
        (('Law("eta", survival,', 'Law("eta", 1 - survival,'), "evaluation mode"),
        (("x_next = eta * value + x", "x_next = eta * value - x"), "moments over all draws"),
    ],
)
def test_a_wrong_law_or_step_is_found(change, found):
    listed = load("stochastic_depth")
    text = emit(listed)
    assert change[0] in text
    module = load_text(text.replace(*change))
    rows = list(random_rows(replace(listed, system={"plain": listed.system["plain"]}), module.Module))
    failed = {row.check.partition(" [")[0] for row in rows if not row.passed}
    assert any(name.startswith(found) for name in failed), rows

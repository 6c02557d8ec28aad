"""Quantities that never grow along solutions: derived rate, conditions, and what a module does to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from derive import Lyapunov, explain, load
from derive.catalog.ctrnn_hopfield import SPEC, I, theta, w
from generated.ctrnn_hopfield import CTRNN

SIZE = 5


def checks(spec):
    return {r.name: r.check.run() for r in explain(spec).relations if r.name.startswith("energy_")}


def changed(**parts):
    return replace(SPEC, lyapunov={"energy": replace(SPEC.lyapunov["energy"], **parts)})


def test_the_energy_of_the_catalogue_holds():
    found = checks(SPEC)
    assert set(found) == {"energy_rate", "energy_sign"} and all(o.measured <= o.tolerance for o in found.values())


@pytest.mark.parametrize(
    ("parts", "fails"),
    [
        ({"where": {}}, "energy_rate"),  # any w, symmetric or not
        ({"rate": -SPEC.lyapunov["energy"].rate}, "energy_sign"),
        ({"positive": ()}, "energy_sign"),
        ({"value": SPEC.lyapunov["energy"].value * 2}, "energy_rate"),
    ],
)
def test_what_is_not_so_is_found(parts, fails):
    outcome = checks(changed(**parts))[fails]
    assert outcome.measured > outcome.tolerance


def net(symmetric=True, **options):
    generator = torch.Generator().manual_seed(1)
    weights = 2 * torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64)
    vectors = torch.randn(3, SIZE, generator=generator, dtype=torch.float64)
    matrix = weights + weights.T if symmetric else weights - weights.T
    return CTRNN(w=matrix, theta=vectors[0], I=vectors[1], tau=vectors[2].exp(), **options)


def energy(module, x):
    v = torch.sigmoid(x - module.theta)
    entropy = (v * v.log() + (1 - v) * (1 - v).log() + module.theta * v).sum(-1)
    return entropy - ((v @ module.w) * v).sum(-1) / 2 - (v * module.I).sum(-1)


@pytest.mark.parametrize(("symmetric", "falls"), [(True, True), (False, False)])
def test_the_energy_falls_along_short_steps_where_w_is_symmetric(symmetric, falls):
    module = net(symmetric, steps=400, t1=4.0)
    x = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    path = energy(module, module.trajectory(x)).detach()
    assert bool((path.diff(dim=0) <= 1e-12).all()) is falls


def test_a_step_of_one_time_constant_is_the_discrete_recurrent_network():
    module = net(steps=3, t1=3.0)
    module.tau.data.fill_(1.0)
    x = torch.randn(2, SIZE, dtype=torch.float64)
    expected = x
    for _ in range(3):
        expected = torch.sigmoid(expected - module.theta) @ module.w + module.I
    torch.testing.assert_close(module(x), expected)


def test_the_deck_leaves_out_when_the_energy_falls():
    (verdict,) = explain(load("ctrnn_hopfield")).claims
    assert verdict.agrees and "symmetric w" in verdict.note
    assert isinstance(SPEC.lyapunov["energy"], Lyapunov) and {I, theta, w} <= SPEC.system.quantities

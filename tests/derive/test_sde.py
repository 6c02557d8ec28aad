"""Stochastic differential equations as data: what fits, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from derive import Network, dot, parameter, state, time
from derive.errors import SpecError, UnknownNameError
from derive.schemes.stochastic import STOCHASTIC_SCHEMES
from derive.sde import SDE
from derive.sde_calculus import correction
from derive.sde_schemes import scheme_id

x, t, theta, sigma = state("x"), time("t"), parameter("theta"), parameter("sigma")
matrix = parameter("S", ("d", "m"))
f = Network("f", takes_time=True)
g = Network("g", takes_time=True, maps=("d", "d", "m"))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        ({"diffusion": sigma}, ("d",)),
        ({"diffusion": sigma * x, "noise": "scalar"}, ()),
        ({"diffusion": matrix, "noise": "additive"}, ("m",)),
        ({"drift": f(t, x), "diffusion": g(t, x), "noise": "general", "time": t}, ("m",)),
    ],
)
def test_shape_of_the_noise(given: dict[str, Any], shape: tuple[str, ...]) -> None:
    sde = SDE(**{"state": x, "drift": -theta * x, **given})
    assert sde.noise_shape == sde.increment.shape == shape
    program = sde.field_program()
    assert [q.name for q in program.outputs] == ["F", "G"]
    assert sde.programs[0] == program


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"drift": dot(x, x) * matrix}, r"the drift has shape \(d, m\)"),
        ({"diffusion": matrix}, r"the diffusion has shape \(d, m\); allowed where noise='diagonal'.*shape \(d\)"),
        ({"diffusion": x, "noise": "general"}, r"allowed where noise='general'.*a matrix \(d, m\)"),
        ({"diffusion": g(t, x), "noise": "additive", "time": t}, "reads x"),
        ({"diffusion": f(t, x)}, "reads the time t: declare it as SDE"),
        ({"drift": -state("y")}, "reads y, a state that nothing moves"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SDE(**{"state": x, "drift": -theta * x, "diffusion": sigma, **given})


@pytest.mark.parametrize(("given", "message"), [({"noise": "diagnal"}, "diagonal"), ({"calculus": "itoh"}, "ito")])
def test_names_get_a_hint(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        SDE(x, -theta * x, sigma, **given)


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ("Heun", r"title='Heun' gives a table the id 'heun', which a shipped scheme .* has; allowed"),
        ("", r"title=''; allowed: a title with letters or digits"),
        ("--", r"title='--'; allowed"),
    ],
)
def test_a_table_needs_a_title_of_its_own(title: str, message: str) -> None:
    table = dataclasses.replace(STOCHASTIC_SCHEMES["milstein"], title=title)
    with pytest.raises(SpecError, match=message):
        SDE(x, x, x, scheme=table)


def test_a_shipped_table_keeps_its_id() -> None:
    assert scheme_id(SDE(x, x, x, scheme=dataclasses.replace(STOCHASTIC_SCHEMES["heun"], title="Heun"))) == "heun"
    own = dataclasses.replace(STOCHASTIC_SCHEMES["heun"], title="Heun, my own")
    assert scheme_id(SDE(x, x, x, scheme=own)) == "heun_my_own"


def test_the_correction_is_written_without_vectors_of_one_number() -> None:
    for noise in ("diagonal", "scalar"):
        assert correction(SDE(x, -theta * x, sigma * x, noise=noise)) == sigma**2 * x / 2

"""`derive.discretize` of what a reader has at hand: an id, a spec, a file, an ODE; a scheme by id, file or object."""

from pathlib import Path

import pytest

import derive
from derive import discretization
from derive.errors import SpecError, UnknownNameError, UnsupportedError
from derive.schemes import SCHEMES

CUBIC = derive.load("cubic_ode")
FILE = """
from derive import *
x = state("x")
SPEC = Spec(id="decay", class_name="Decay", title="Decay", system=ODE((x,), (-x,)), scheme="heun")
MINE = ButcherTableau(A=[[0]], b=[1], c=[0], title="forward Euler")
"""


@pytest.mark.parametrize("source", ["cubic_ode", CUBIC, CUBIC.system], ids=["id", "spec", "ode"])
@pytest.mark.parametrize("scheme", ["rk4", SCHEMES["rk4"]], ids=["id", "table"])
def test_any_source_with_any_scheme(source, scheme):
    assert derive.discretize(source, scheme) == discretization.discretize(CUBIC.system, "rk4")


def test_a_spec_brings_its_own_scheme():
    for source in ("cubic_ode", CUBIC):
        assert derive.discretize(source) == discretization.discretize(CUBIC.system, CUBIC.scheme)
    integrator = derive.load("rk4")
    assert derive.discretize("rk4") == discretization.discretize(integrator.system, "rk4")


def test_a_file_is_read_for_either(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE, encoding="utf-8")
    x = derive.state("x")
    decay = derive.ODE((x,), (-x,))
    assert derive.discretize(Path(path)) == discretization.discretize(decay, "heun")
    assert derive.discretize(str(path), f"{path}:MINE") == discretization.discretize(decay, "forward_euler")


def test_what_cannot_be_discretized_is_refused():
    with pytest.raises(UnsupportedError, match="dnn is no ODE"):
        derive.discretize("dnn", "rk4")
    with pytest.raises(UnknownNameError, match="did you mean rk4"):
        derive.discretize("cubic_ode", "rk44")
    for scheme in (None, 3):
        with pytest.raises(SpecError, match=f"{scheme} is no scheme: give an id .* a ButcherTableau"):
            derive.discretize(CUBIC.system, scheme)

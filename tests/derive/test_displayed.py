"""What analyses return is shown as equations, and what they are given is said to be allowed or not."""

from __future__ import annotations

import pytest

import derive
from codegen.mathml import block
from derive import ODE, constant, state
from derive.errors import SpecError, UnknownNameError

k, x, v = constant("k"), state("x", ()), state("v", ())
RESULTS = {
    "hamiltonian": (
        lambda: derive.hamiltonian(ODE((x, v), (v, -k * x))),
        "H = -a_v*k*x + a_x*v\nx' = v\nv' = -k*x\na_x' = a_v*k\na_v' = -a_x",
    ),
    "weak limit": (
        lambda: derive.weak_limit_of("shake_shake"),
        "weak order 1",
    ),
    "adjoint": (lambda: derive.adjoint("forward_euler"), "bar_f = bar_x_next*h"),
    "inverse": (lambda: derive.inverse("lm_resnet"), "k != 0"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_shown_as_equations(name):
    make, expected = RESULTS[name]
    found = make()
    assert expected in str(found) and repr(found) == str(found)
    assert len(str(found)) < 700 and "Program(" not in str(found)
    assert "<mtable" in block(found._repr_latex_().strip("$"))


def test_what_is_no_system_is_told_what_is():
    for given, kind in ((3, "int"), (None, "NoneType")):
        with pytest.raises(SpecError, match=rf"\({kind}\) is no system: give an id .* or an ODE or an OptimalControl"):
            derive.hamiltonian(given)
    with pytest.raises(SpecError, match="or a RandomRecurrence itself"):
        derive.weak_limit_of(None)
    with pytest.raises(SpecError, match="is no system: give an id"):
        derive.adjoint(3.5)


def test_an_option_that_there_is_not_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="unknown option of ode_control 'regulated': did you mean regulator"):
        derive.hamiltonian("ode_control", "regulated")

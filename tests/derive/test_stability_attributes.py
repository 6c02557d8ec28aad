"""Linear stability as attributes of the analysis, on the shipped tables."""

import numpy as np
import pytest
from sympy import Eq, Rational, Symbol, false, oo, pi, true

import derive
from derive.linear_stability import StabilityAttributes
from derive.linear_stability.numeric_checks import interval_disagreements
from derive.schemes import SCHEMES

theta = Symbol("theta")


def test_contract():
    found = derive.analyse("rk4")
    assert isinstance(found, StabilityAttributes)
    z = Symbol("z")
    assert found.stability_function == 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24
    assert found.is_a_stable == false == found.is_l_stable and found.is_zero_stable == true
    assert found.real_interval[1] == 0 and abs(found.real_interval[0].evalf() + 2.78529356340528) < 1e-12
    assert found.imaginary_interval[1] ** 2 == 8 and found.alpha_stability == 0
    leapfrog = derive.analyse("leapfrog")
    assert leapfrog.stability_function is None and leapfrog.stability_polynomial.free_symbols == {z, Symbol("zeta")}
    assert leapfrog.imaginary_interval == (-1, 1) and leapfrog.real_interval == (0, 0)
    trapezoid = derive.analyse("trapezoid")
    assert trapezoid.alpha_stability == pi / 2 and trapezoid.imaginary_interval == (-oo, oo)
    verlet = derive.analyse("stormer_verlet")
    assert verlet.is_a_stable is None and verlet.imaginary_interval == (-2, 2)
    assert derive.analyse("unstable_explicit_2step").is_zero_stable == false


def test_a_condition_on_the_symbol():
    found = derive.analyse("theta")
    (symbol,) = found.is_a_stable.free_symbols
    assert found.is_a_stable == (symbol >= Rational(1, 2)) and found.is_l_stable == Eq(symbol, 1)
    assert found.stability_verdict("is_a_stable") is found.stability_verdict("is_a_stable")


@pytest.mark.parametrize("name", [name for name in SCHEMES if name != "theta"])
def test_ends_of_the_intervals_of_every_shipped_scheme(name):
    """By the step itself at 50 digits, just inside and just outside."""
    found = derive.analyse(name)
    if found.real_interval is not None:
        assert interval_disagreements(found.scheme, -1, -found.real_interval[0]) == 0
    if found.imaginary_interval is not None:
        assert interval_disagreements(found.scheme, 1j, found.imaginary_interval[1]) == 0
    assert (found.imaginary_interval is None) == (found.is_zero_stable == false)
    assert np.isfinite(float(found.alpha_stability or 0))

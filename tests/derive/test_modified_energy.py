"""The modified Hamiltonian of one system: what the steps on the harmonic oscillator keep exactly."""

from __future__ import annotations

import pytest
from sympy import Rational, expand, sin

from derive import ODE, state
from derive.errors import UnsupportedError
from derive.geometry.modified_energy import modified_energy
from derive.schemes import SCHEMES

X, V = state("x", ()), state("v", ())
OSCILLATOR = ODE(state=(X, V), velocity=(V, -X))
ENERGY = (X**2 + V**2) / 2


def test_implicit_midpoint_turns_at_a_shifted_frequency():
    """Its step is the rotation by 2 atan(h/2) = h - h^3/12 + h^5/80 - ..., so that is the factor of H."""
    terms = modified_energy(SCHEMES["implicit_midpoint"], OSCILLATOR, ENERGY, 4)
    factors = {0: 1, 1: 0, 2: Rational(-1, 12), 3: 0, 4: Rational(1, 80)}
    assert {power: expand(term - factors[power] * ENERGY) for power, term in terms.items()} == dict.fromkeys(factors, 0)


def test_symplectic_euler_keeps_a_tilted_ellipse():
    """x + h v, v - h (x + h v) keeps x^2 + v^2 + h x v."""
    h = Rational(1, 10)
    x = X + h * V
    v = V - h * x
    kept = ENERGY + h * X * V / 2
    assert expand(kept.subs({X: x, V: v}, simultaneous=True) - kept) == 0
    terms = modified_energy(SCHEMES["symplectic_euler"], OSCILLATOR, ENERGY, 2)
    assert terms[1] == X * V / 2 and expand(terms[2] - ENERGY / 6) == 0


def test_what_is_not_separable_is_refused():
    coupled = ODE(state=(X, V), velocity=(V + X, -X - V))
    with pytest.raises(UnsupportedError, match="no sum T"):
        modified_energy(SCHEMES["symplectic_euler"], coupled, ENERGY + X * V, 1)
    with pytest.raises(UnsupportedError, match="not symplectic"):
        modified_energy(SCHEMES["rk4"], ODE(state=(X, V), velocity=(V, -sin(X))), ENERGY, 1)

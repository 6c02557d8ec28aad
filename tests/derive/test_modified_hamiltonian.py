"""Modified Hamiltonians: closed forms, and the energy of steps carried out at 60 digits."""

from __future__ import annotations

import mpmath
import pytest
import sympy
from mpmath import mp
from sympy import Rational, symbols

from derive.errors import UnsupportedError
from derive.geometry import modified_hamiltonian
from derive.geometry.modified_hamiltonian import representatives
from derive.schemes import SCHEMES, Splitting
from derive.series.notation import parse
from tests.derive.test_geometry import GAUSS4, HALF, IMPLICIT_MIDPOINT, SYMPLECTIC_EULER, VERLET, step

X, Y = symbols("x y")
KINETIC, POTENTIAL = Y**2 / 2 + Y**4 / 12, X**2 / 2 + X**3 / 7 - sympy.cos(X)
COUPLED = KINETIC + POTENTIAL + X * Y**2 / 5
STRANG = Splitting(((0, HALF), (1, 1), (0, HALF)))


def test_closed_forms():
    assert modified_hamiltonian(IMPLICIT_MIDPOINT, 2) == {0: {"H": 1}, 1: {}, 2: {"H''(f,f)": Rational(-1, 24)}}
    assert modified_hamiltonian(SYMPLECTIC_EULER, 1) == {0: {"T": 1, "U": 1}, 1: {"U'f": HALF}}


def test_free_trees_without_superfluous_ones():
    """1, 0, 1, 1, 3 of one colour: Hairer, Lubich, Wanner, IX.9.2."""
    assert [len(list(representatives(size, 1))) for size in range(1, 6)] == [1, 0, 1, 1, 3]


def elementary(tau, fields, potentials):
    """The elementary Hamiltonian of a tree as an expression."""

    def differential(tau):
        return [directional(part, tau.branches) for part in fields[tau.colour]]

    def directional(function, branches):
        if not branches:
            return function
        first, *rest = branches
        pairs = zip((X, Y), differential(first), strict=True)
        return sum(directional(sympy.diff(function, v), rest) * along for v, along in pairs)

    return directional(potentials[tau.colour], tau.branches)


SETTINGS = {
    "implicit midpoint": (IMPLICIT_MIDPOINT, (COUPLED,)),
    "gauss4": (GAUSS4, (COUPLED,)),
    "symplectic euler": (SYMPLECTIC_EULER, (KINETIC, POTENTIAL)),
    "verlet": (VERLET, (KINETIC, POTENTIAL)),
}


def change_of_energy(name, order, h, perturbed=False):
    """H~ after one step minus before, H~ cut after h^order."""
    scheme, potentials = SETTINGS[name]
    fields = [(sympy.diff(H, Y), -sympy.diff(H, X)) for H in potentials]
    energy = 0
    for power, terms in modified_hamiltonian(scheme, order).items():
        for text, value in terms.items():
            root = {"H": "f", "T": "f", "U": "g"}[text[0]]
            scaled = value * (Rational(1001, 1000) if perturbed and power == order else 1)
            energy += scaled * sympy.Rational(str(h)) ** power * elementary(parse(root + text[1:]), fields, potentials)
    at = sympy.lambdify((X, Y), energy, "mpmath")
    parts = [sympy.lambdify((X, Y), list(field), "mpmath") for field in fields]
    start = [mpmath.mpf("0.6"), mpmath.mpf("-0.3")]
    end = step(scheme, [lambda z, f=f: f(*z) for f in parts], start, mpmath.mpf(str(h)))
    return abs(at(*end) - at(*start))


@pytest.mark.parametrize(
    ("name", "order", "power"),
    [
        ("implicit midpoint", 0, 3),
        ("implicit midpoint", 2, 5),
        ("implicit midpoint", 4, 7),
        ("gauss4", 4, 7),
        ("symplectic euler", 1, 3),
        ("symplectic euler", 2, 4),
        ("symplectic euler", 3, 5),
        ("verlet", 2, 5),
        ("verlet", 4, 7),
    ],
)
def test_one_step_changes_the_modified_energy_by_the_next_power(name, order, power):
    with mp.workdps(55):
        rate = mpmath.log(change_of_energy(name, order, "0.0002") / change_of_energy(name, order, "0.0001"), 2)
    assert abs(rate - power) < 0.05, float(rate)


def test_a_changed_coefficient_is_seen():
    with mp.workdps(55):
        coarse, fine = (change_of_energy("verlet", 2, h, perturbed=True) for h in ("0.0002", "0.0001"))
        rate = mpmath.log(coarse / fine, 2)
    assert rate < 3.5


def test_splittings_have_one_too():
    """Drift, kick, drift: 1/12 T''(U',U') - 1/24 U''(T',T'), with g = -U'."""
    assert modified_hamiltonian(STRANG, 2)[2] == {"T''(g,g)": Rational(1, 12), "U''(f,f)": Rational(-1, 24)}


def test_other_schemes_have_none():
    with pytest.raises(UnsupportedError, match="not symplectic"):
        modified_hamiltonian(SCHEMES["forward_euler"], 2)

"""Geometry of schemes against steps carried out at 50 digits on nonlinear fields."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import pytest
from mpmath import mp
from sympy import Rational, S, Symbol, false, oo, sqrt, true

from derive.geometry import (
    adjoint_gap_order,
    adjoint_method,
    backward_tableau,
    hager_partner,
    invariants,
    is_symmetric,
    is_symplectic,
    reduced,
    undoing,
)
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting

HALF = Rational(1, 2)
T = Symbol("theta")


def table(A, b):
    return ButcherTableau(A=A, b=b, c=[sum(map(S, row)) for row in A])


EULER, BACKWARD = table([[0]], [1]), table([[1]], [1])
MIDPOINT = table([[0, 0], [HALF, 0]], [0, 1])
RALSTON2 = table([[0, 0], [Rational(2, 3), 0]], [Rational(1, 4), Rational(3, 4)])
HEUN = table([[0, 0], [1, 0]], [HALF, HALF])
KUTTA3 = table([[0, 0, 0], [HALF, 0, 0], [-1, 2, 0]], [Rational(1, 6), Rational(2, 3), Rational(1, 6)])
RK4 = table(
    [[0, 0, 0, 0], [HALF, 0, 0, 0], [0, HALF, 0, 0], [0, 0, 1, 0]],
    [Rational(1, 6), Rational(1, 3), Rational(1, 3), Rational(1, 6)],
)
IMPLICIT_MIDPOINT = table([[HALF]], [1])
QUARTER, SHIFT = Rational(1, 4), sqrt(3) / 6
GAUSS4 = table([[QUARTER, QUARTER - SHIFT], [QUARTER + SHIFT, QUARTER]], [HALF, HALF])
TRAPEZOID = table([[0, 0], [HALF, HALF]], [HALF, HALF])
LOBATTO3B = table([[HALF, 0], [HALF, 0]], [HALF, HALF])
LOBATTO3C = table([[HALF, -HALF], [HALF, HALF]], [HALF, HALF])
SYMPLECTIC_EULER = AdditiveTableau((BACKWARD, EULER))
VERLET = AdditiveTableau((TRAPEZOID, LOBATTO3B))
HEUN_PAIR = AdditiveTableau((HEUN, HEUN))

# scheme, symplectic, symmetric, order of the gap between the two gradients
KNOWN = {
    "euler": (EULER, False, False, 1),
    "backward euler": (BACKWARD, False, False, 1),
    "midpoint": (MIDPOINT, False, False, 2),
    "ralston2": (RALSTON2, False, False, 2),
    "heun": (HEUN, False, False, 3),
    "kutta3": (KUTTA3, False, False, 3),
    "rk4": (RK4, False, False, 4),
    "implicit midpoint": (IMPLICIT_MIDPOINT, True, True, oo),
    "gauss4": (GAUSS4, True, True, oo),
    "trapezoid": (TRAPEZOID, False, True, 2),
    "lobatto3b": (LOBATTO3B, True, True, oo),
    "lobatto3c": (LOBATTO3C, False, False, 3),
    "symplectic euler": (SYMPLECTIC_EULER, True, False, oo),
    "verlet": (VERLET, True, True, oo),
    "heun on both": (HEUN_PAIR, False, False, 3),
}
ONE_PART = [name for name, (scheme, *_) in KNOWN.items() if isinstance(scheme, ButcherTableau)]


def numbers(rows):
    return [[mpmath.mpf(S(entry).evalf(60)._mpf_) if S(entry) != 0 else mpmath.mpf(0) for entry in row] for row in rows]


def step(scheme, parts, x, h):
    """One step at working precision; implicit stages by fixed-point iteration."""
    tableaus = scheme.parts if isinstance(scheme, AdditiveTableau) else (scheme,)
    A = [numbers(t.A) for t in tableaus]
    b = [numbers([t.b])[0] for t in tableaus]
    stages = [list(x) for _ in b[0]]
    for _ in range(300):
        fresh = [moved(parts, stages, [A[p][i] for p in range(len(parts))], x, h) for i in range(len(stages))]
        change = max(abs(a - c) for new, old in zip(fresh, stages, strict=True) for a, c in zip(new, old, strict=True))
        stages = fresh
        if change < mpmath.mpf(10) ** -48:
            break
    return moved(parts, stages, b, x, h)


def moved(parts, stages, weights, x, h):
    """x + h sum_p sum_j weights[p][j] f_p(X_j)."""
    slopes = [[f(X) for X in stages] for f in parts]
    flat = [(w, k) for row, ks in zip(weights, slopes, strict=True) for w, k in zip(row, ks, strict=True)]
    return [xd + h * sum(w * k[d] for w, k in flat) for d, xd in enumerate(x)]


def drift(z):
    return [z[1] + z[1] ** 3 / 3, mpmath.mpf(0)]


def kick(z):
    return [mpmath.mpf(0), -mpmath.sin(z[0]) - z[0] ** 2 / 5]


def pendulum(z):
    return [a + b for a, b in zip(drift(z), kick(z), strict=True)]


def parts_of(scheme):
    return (drift, kick) if isinstance(scheme, AdditiveTableau) else (pendulum,)


def area_defect(scheme):
    """det of the step's Jacobian minus 1 at a point of the plane."""
    z, h, e = [mpmath.mpf("0.7"), mpmath.mpf("-0.4")], mpmath.mpf("0.1"), mpmath.mpf(10) ** -15
    columns = []
    for d in range(2):
        ends = [step(scheme, parts_of(scheme), [z[0] + s * e * (d == 0), z[1] + s * e * (d == 1)], h) for s in (1, -1)]
        columns.append([(a - b) / (2 * e) for a, b in zip(*ends, strict=True)])
    return abs(columns[0][0] * columns[1][1] - columns[0][1] * columns[1][0] - 1)


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(50):
        yield


@pytest.mark.parametrize("name", KNOWN)
def test_symplectic_schemes_keep_the_area_and_others_do_not(name):
    scheme, symplectic, *_ = KNOWN[name]
    assert is_symplectic(scheme).value == (true if symplectic else false)
    assert is_symplectic(scheme).proof
    assert (area_defect(scheme) < mpmath.mpf(10) ** -25) == symplectic


@pytest.mark.parametrize("name", KNOWN)
def test_symmetric_schemes_are_undone_by_the_step_backwards(name):
    scheme, _, symmetric, _ = KNOWN[name]
    assert is_symmetric(scheme).value == (true if symmetric else false)
    z, h = [mpmath.mpf("0.7"), mpmath.mpf("-0.4")], mpmath.mpf("0.1")
    back = step(scheme, parts_of(scheme), step(scheme, parts_of(scheme), z, h), -h)
    assert (max(abs(a - b) for a, b in zip(z, back, strict=True)) < mpmath.mpf(10) ** -40) == symmetric


@pytest.mark.parametrize("name", KNOWN)
def test_the_adjoint_method_backwards_undoes_the_step(name):
    scheme = KNOWN[name][0]
    z, h = [mpmath.mpf("0.7"), mpmath.mpf("-0.4")], mpmath.mpf("0.1")
    back = step(adjoint_method(scheme), parts_of(scheme), step(scheme, parts_of(scheme), z, h), -h)
    assert max(abs(a - b) for a, b in zip(z, back, strict=True)) < mpmath.mpf(10) ** -40


@pytest.mark.parametrize("name", ONE_PART)
def test_the_inverse_of_a_step(name):
    scheme = KNOWN[name][0]
    found = undoing(scheme)
    z, h = [mpmath.mpf("0.7"), mpmath.mpf("-0.4")], mpmath.mpf("0.1")
    back = step(found.tableau, (pendulum,), step(scheme, (pendulum,), z, h), -h)
    assert max(abs(a - b) for a, b in zip(z, back, strict=True)) < mpmath.mpf(10) ** -40
    assert found.explicit == found.tableau.explicit == (name in ("backward euler", "lobatto3c"))
    assert (found.bound == 0) == found.explicit


def gap(scheme, steps):
    """Difference of dL/dz0 by the discrete adjoint and by the same scheme on state and costate backwards."""
    h = mpmath.mpf(1) / steps
    z = [mpmath.mpf("0.7"), mpmath.mpf("-0.4")]
    e = mpmath.mpf(10) ** -18

    def end(start):
        for _ in range(steps):
            start = step(scheme, (pendulum,), start, h)
        return start

    def loss(start):
        reached = end(start)
        return reached[0] ** 2 + 2 * reached[1]

    discrete = [
        (loss([z[0] + e * (d == 0), z[1] + e * (d == 1)]) - loss([z[0] - e * (d == 0), z[1] - e * (d == 1)])) / (2 * e)
        for d in range(2)
    ]

    def augmented(y):
        q, p, a, b = y
        return [*pendulum([q, p]), b * (mpmath.cos(q) + 2 * q / 5), -a * (1 + p**2)]

    reached = end(z)
    y = [*reached, 2 * reached[0], mpmath.mpf(2)]
    for _ in range(steps):
        y = step(scheme, (augmented,), y, -h)
    return max(abs(a - b) for a, b in zip(discrete, y[2:], strict=True))


@pytest.mark.parametrize("name", ["euler", "midpoint", "ralston2", "heun", "kutta3", "rk4", "trapezoid"])
def test_the_gap_between_the_gradients_has_the_derived_order(name):
    scheme, *_, order = KNOWN[name]
    assert adjoint_gap_order(scheme) == order
    gaps = [gap(scheme, steps) for steps in (16, 32, 64)]
    slope = mpmath.log(gaps[-2] / gaps[-1], 2)
    assert abs(slope - order) < 0.2, [float(mpmath.log(a / b, 2)) for a, b in pairwise(gaps)]


def test_symplectic_schemes_have_no_gap():
    assert adjoint_gap_order(IMPLICIT_MIDPOINT) == oo
    assert gap(IMPLICIT_MIDPOINT, 8) < mpmath.mpf(10) ** -28


def test_partners_are_those_of_the_literature():
    assert hager_partner(HEUN).A == LOBATTO3C.A
    assert hager_partner(TRAPEZOID).A == LOBATTO3B.A
    assert hager_partner(MIDPOINT) is None
    for same in (HEUN, KUTTA3, RK4):
        assert backward_tableau(same).A == same.A
    assert backward_tableau(RALSTON2).A == ((0, 0), (2, 0))
    pair = AdditiveTableau((RALSTON2, hager_partner(RALSTON2)))
    assert is_symplectic(pair).value == true, "state and costate together are symplectic"


def test_reduction():
    assert reduced(LOBATTO3B).A == ((HALF,),)
    unused = table([[0, 0], [HALF, 0]], [1, 0])
    assert reduced(unused).A == ((0,),)
    assert reduced(RK4) is RK4


def test_symbols_are_kept():
    theta = table([[0, 0], [1 - T, T]], [1 - T, T])
    assert is_symplectic(theta).value == false
    assert adjoint_gap_order(theta) == 1
    swapped = adjoint_method(theta)
    assert (swapped.b[0] - T).expand() == 0


def test_multistep_schemes():
    assert is_symmetric(SCHEMES["leapfrog"]).value == true
    assert is_symplectic(SCHEMES["leapfrog"]).value is None and adjoint_gap_order(SCHEMES["leapfrog"]) is None
    bdf2 = LinearMultistep(alpha=(Rational(4, 3), Rational(-1, 3)), beta=(Rational(2, 3), 0, 0))
    assert is_symmetric(bdf2).value == false
    assert adjoint_method(bdf2).alpha == (4, -3)
    adams = LinearMultistep(alpha=(1, 0), beta=(0, Rational(3, 2), -HALF))
    assert adjoint_method(adams) is None


def test_splittings():
    strang = Splitting(((0, HALF), (1, 1), (0, HALF)))
    assert is_symmetric(strang).value == true and is_symplectic(strang).value == true
    assert adjoint_gap_order(strang) == oo
    by_euler = Splitting(((0, HALF), (1, 1), (0, HALF)), substep=EULER)
    assert is_symmetric(by_euler).value == false and is_symplectic(by_euler).value == false
    assert adjoint_method(by_euler).substep.A == ((1,),)


def test_volume_of_separable_systems():
    def verdict(scheme):
        return {i.kind: i.verdict.value for i in invariants(scheme)}.get("volume in separable systems")

    assert verdict(SYMPLECTIC_EULER) == true
    assert verdict(HEUN_PAIR) == false

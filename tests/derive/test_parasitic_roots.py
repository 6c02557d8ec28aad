"""Parasitic roots and their growth parameters against closed forms and against recursions run at 40 digits."""

from __future__ import annotations

import pytest
from mpmath import mp, mpf
from sympy import Rational, Symbol

from derive.schemes import SCHEMES, LinearMultistep
from derive.series.parasitic import parasitic_roots

K = Symbol("k")
LM_RESNET = LinearMultistep(alpha=(1 - K, K), beta=(0, 1, 0))
AB3 = LinearMultistep(alpha=(1, 0, 0), beta=(0, Rational(23, 12), Rational(-16, 12), Rational(5, 12)))
MILNE = LinearMultistep(alpha=(0, 1), beta=(Rational(1, 3), Rational(4, 3), Rational(1, 3)))
BDF4 = LinearMultistep(alpha=[Rational(n, 25) for n in (48, -36, 16, -3)], beta=(Rational(12, 25), 0, 0, 0, 0))


def test_closed_forms():
    (leapfrog,) = parasitic_roots(SCHEMES["leapfrog"])
    assert (leapfrog.root, leapfrog.growth) == (-1, -1)
    (milne,) = parasitic_roots(MILNE)
    assert (milne.root, milne.growth) == (-1, Rational(-1, 3))
    (lm,) = parasitic_roots(LM_RESNET)
    assert lm.root == -K and (lm.growth + 1 / (1 + K)).cancel() == 0


def test_roots_at_zero_have_no_growth():
    (zero,) = parasitic_roots(AB3)
    assert (zero.root, zero.multiplicity, zero.growth) == (0, 2, None)


def test_roots_beyond_radicals_stay_exact():
    found = parasitic_roots(BDF4)
    product = 1
    for root in found:
        product *= complex(root.root)
    assert len(found) == 3 and abs(product - 3 / 25) < 1e-12


@pytest.mark.parametrize(("scheme", "root"), [(SCHEMES["leapfrog"], -1), (MILNE, -1)], ids=["leapfrog", "milne"])
def test_growth_is_that_of_the_roots_on_the_linear_equation(scheme, root):
    """The root of rho - z sigma near zeta is zeta exp(g z) to first order in z."""
    (parasitic,) = parasitic_roots(scheme)
    with mp.workdps(40):
        z = mpf(10) ** -12
        coefficients = [1 - z * mpf(scheme.beta[0].p) / scheme.beta[0].q] + [
            -(mpf(a.p) / a.q + z * mpf(b.p) / b.q) for a, b in zip(scheme.alpha, scheme.beta[1:], strict=True)
        ]
        moved = min(mp.polyroots(coefficients, maxsteps=200, extraprec=200), key=lambda x: abs(x - root))
        assert abs((moved / root - 1) / z - mpf(parasitic.growth.p) / parasitic.growth.q) < mpf(10) ** -10

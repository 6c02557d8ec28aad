"""Tsitouras' pair 5(4) (Computers and Mathematics with Applications 62, 2011) with his free dense output of order 4."""

from __future__ import annotations

from sympy import Poly, Rational, Symbol

from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.tables.dop853 import decimals
from derive.schemes.tables.explicit import below_diagonal

DIGITS = 16  # of the dense output; the tableau itself has more

NODES = "0 0.161 0.327 0.9 0.98002554090450968573 1 1"

ROWS = """
    0.161

    -0.0084806554923569885443 0.33548065549235698854

    2.8971530571054934321 -6.3594484899750748431 4.3622954328695814110

    5.3258648284392566044 -11.748883564062827878 7.4955393428898362083 -0.092495066361755249257

    5.8614554429464200287 -12.920969317847109292 8.1593678985761586432 -0.071584973281400997225
    -0.028269050394068382909
"""

WEIGHTS = """
    0.096460766818065229518 0.01 0.47988965041449957478
    1.3790085741037418932 -3.2900695154360806799 2.3247105240997739824
"""

EMBEDDED = """
    0.094680755765839458075 0.0091835655403432530968 0.48777052842476157079
    1.2342975669304789857 -2.7077123499835254549 1.8666284181705870358 1/66
"""

# Factors of b_i(theta) as they are published: coefficients in ascending powers of theta, shared power first.
DENSE = """
    0 -1.0530884977290216 | -1.3299890189751412 1 | 0.7139816917074209 -1.4364028541716351 1

    0 0 0.1017 | 1.2949852507374631 -2.1966568338249754 1

    0 0 2.490627285651252793 | 1.57803468208092486 -2.38535645472061657 1

    0 0 -16.54810288924490272 | -1.21712927295533244 1 | -0.61620406037800089 1

    0 0 47.37952196281928122 | -1.203071208372362603 1 | -0.658047292653547382 1

    0 0 -34.87065786149660974 | -1.2 1 | -2/3 1

    0 0 2.5 | -1 1 | -0.6 1
"""


def _expanded(factors: str) -> list[Rational]:
    """Coefficients of theta, theta^2, ... in a product of polynomials."""
    theta = Symbol("theta")
    product = Poly(1, theta, domain="QQ")
    for factor in factors.split("|"):
        product *= Poly(decimals(factor)[::-1], theta)
    return product.all_coeffs()[-2::-1]


def tsit5() -> ButcherTableau:
    """Seven stages, the last of which is the first of the next step."""
    rows = [decimals(row) for row in ROWS.split("\n\n")]
    b = decimals(WEIGHTS)
    return ButcherTableau(
        A=below_diagonal(*rows, b),
        b=[*b, 0],
        c=decimals(NODES),
        b_error=decimals(EMBEDDED),
        dense=[_expanded(factors) for factors in DENSE.split("\n\n")],
        order=5,
        embedded_order=4,
        dense_order=4,
        digits=DIGITS,
        title="Tsitouras 5(4)",
    )

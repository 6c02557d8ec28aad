r"""Linear multistep schemes, their weights derived from interpolation (Solving ODEs I, III.1).

Offsets count steps from $t_n$: 1 is the value to be found, 0, -1, ... are known.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from sympy import Poly, Rational, Symbol

from derive.schemes.multistep import LinearMultistep, Start

u = Symbol("u")
R = Rational


def quadrature(newest: int, count: int, back: int, **facts: Any) -> LinearMultistep:
    """x_{n+1} = x_{n-back} + integral of the polynomial through `count` slopes from the offset `newest` backwards."""
    offsets = range(newest, newest - count, -1)
    slopes = dict(zip(offsets, (_integral(basis, -back) for basis in _lagrange(offsets)), strict=True))
    steps = max(1 - offsets[-1], back + 1)
    alpha = [int(lag == back) for lag in range(steps)]
    return LinearMultistep(alpha, [slopes.get(1 - place, 0) for place in range(steps + 1)], **facts)


def differentiation(count: int) -> LinearMultistep:
    """BDF: the slope at t_{n+1} of the polynomial through x_{n+1} and `count` values before it is f_{n+1}."""
    offsets = range(1, -count, -1)
    newest, *older = (basis.diff(u).eval(1) for basis in _lagrange(offsets))
    return LinearMultistep(
        [-weight / newest for weight in older], [1 / newest, *[0] * count], order=count, title=f"BDF{count}"
    )


def _lagrange(offsets: range) -> list[Poly]:
    bases = []
    for offset in offsets:
        others = [other for other in offsets if other != offset]
        basis = Poly(1, u, domain="QQ")
        for other in others:
            basis *= Poly((u - other) * R(1, offset - other), u)
        bases.append(basis)
    return bases


def _integral(basis: Poly, start: int) -> Rational:
    """Integral from an offset to 1."""
    primitive = basis.integrate(u)
    return primitive.eval(1) - primitive.eval(start)


def _adams_bashforth(order: int) -> LinearMultistep:
    return quadrature(0, order, 0, order=order, title=f"Adams-Bashforth, order {order}")


def _adams_moulton(order: int, also: str) -> LinearMultistep:
    return quadrature(1, order, 0, order=order, title=f"Adams-Moulton, order {order} ({also})")


ab1, ab2, ab3, ab4, ab5 = (partial(_adams_bashforth, order) for order in (1, 2, 3, 4, 5))
am1 = partial(_adams_moulton, 1, "backward Euler")
am2 = partial(_adams_moulton, 2, "trapezoid")
am3 = partial(_adams_moulton, 3, "2 steps")
am4 = partial(_adams_moulton, 4, "3 steps")
bdf1, bdf2, bdf3, bdf4, bdf5, bdf6 = (partial(differentiation, order) for order in (1, 2, 3, 4, 5, 6))
nystrom3 = partial(quadrature, 0, 3, 1, order=3, title="Nyström, 3 steps")
milne_simpson = partial(quadrature, 1, 3, 1, order=4, title="Milne-Simpson")


def leapfrog() -> LinearMultistep:
    """The explicit midpoint rule over two steps, Nyström's scheme with one slope."""
    return quadrature(0, 1, 1, start={"euler": Start()}, order=2, title="leapfrog")


def unstable_explicit_2step() -> LinearMultistep:
    """The explicit two-step scheme of the highest order, 3: rho has the root -5, so that it never converges."""
    return LinearMultistep((-4, 5), (0, 4, 2), order=3, title="explicit, 2 steps, order 3, unstable")

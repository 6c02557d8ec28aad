"""Schemes of two parts on the oscillator x' = omega y, y' = -omega x: powers of the propagation matrix are bounded."""

from __future__ import annotations

from typing import Any

from sympy import Symbol

from derive.linear_stability.axes import Axis
from derive.linear_stability.fields import RealField
from derive.linear_stability.functions import Propagation
from derive.linear_stability.polynomials import Coefficients, add, divide, gcd, multiply, scale, subtract, value
from derive.linear_stability.real_roots import RealRoot
from derive.linear_stability.root_condition import root_condition

SQUARE = Symbol("x")


def imaginary_axis(field: RealField, step: Propagation) -> Axis:
    """Values of x = (h omega)^2 at which the eigenvalues of M satisfy the root condition."""
    low, middle, top = _reduced(field, step)
    changes = [
        top,
        subtract(top, low),
        add(top, low),
        add(add(top, middle), low),
        add(subtract(top, middle), low),
    ]
    discriminant = subtract(multiply(middle, middle), scale(multiply(top, low), field.convert(4)))
    if changes[1]:  # otherwise the eigenvalues' product is 1 and they meet at 1 and -1 only
        changes.append(discriminant)
    candidates = [change for change in changes if change]

    def inside(x: Any) -> bool:
        return root_condition(field, [value(p, field.convert(x)) for p in (low, middle, top)])

    def passes(root: RealRoot) -> bool:
        """Eigenvalues in the closed disc by continuity; a double one on the circle needs M = I or M = -I."""
        if root.sign_of(top) == 0:
            return False
        double = root.sign_of(discriminant) == 0
        on_circle = root.sign_of(changes[1]) == 0
        return not (double and on_circle) or all(root.sign_of(entry) == 0 for entry in step.matrix[1:3])

    words = "Eigenvalues of M meet the unit circle or each other only where this vanishes, x = (h omega)^2"
    return Axis(field, words, candidates, SQUARE, inside, passes)


def _reduced(field: RealField, step: Propagation) -> list[Coefficients]:
    """The characteristic polynomial's coefficients over their common divisor."""
    low, middle, top = step.characteristic
    common = gcd(field, gcd(field, low, middle), top)
    return [divide(p, common)[0] for p in (low, middle, top)]

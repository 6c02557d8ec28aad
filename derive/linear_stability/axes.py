"""The component of the stability region that contains 0, along the real and the imaginary axis.

Convention: an interval is the closure of the component, so its ends are given whether they belong to the region or not;
{0} is (0, 0), an unbounded side is -oo or oo.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sympy import Symbol

from derive.linear_stability.fields import RealField
from derive.linear_stability.formulas import formula
from derive.linear_stability.polynomials import Coefficients
from derive.linear_stability.real_roots import RealRoot, first_exit, isolate_all
from derive.verdict import Step


@dataclass(frozen=True)
class Axis:
    """Where stability may change along an axis, and how it is decided between.

    Attributes:
        field: the field of the coefficients.
        words: what the polynomial is.
        candidates: polynomials; wherever stability changes at a positive argument, one of them vanishes.
        variable: how the argument is written: t = -z on the real axis, x = w^2 on the imaginary one.
        inside: stability at a rational argument at which the polynomial does not vanish.
        passes: stability at one of its roots when there is stability on both sides.
    """

    field: RealField
    words: str
    candidates: Sequence[Coefficients]
    variable: Symbol
    inside: Callable[[Any], bool]
    passes: Callable[[RealRoot], bool]

    def step(self) -> Step:
        """The polynomials as the first step of a proof."""
        product = [formula(self.field.domain, p, self.variable) for p in self.candidates]
        return Step(self.words, product[0] if len(product) == 1 else r",\quad ".join(product))

    def end(self, proof: list[Step]) -> RealRoot | float:
        """The end of the component that begins at 0: a root of the polynomial, 0 or infinity."""
        proof.append(self.step())
        roots = isolate_all(self.field, self.candidates)
        end = first_exit(roots, self.inside, self.passes)
        listed = ", ".join(map(_place, roots)) or "none"
        proof.append(Step(f"Positive roots, isolated by Sturm's theorem: {listed}."))
        proof.append(Step(_conclusion(end, self.variable)))
        return end


def _place(root: RealRoot) -> str:
    """Where a root is: the interval that isolates it, or the number itself."""
    low, high = (f"{float(end):.6g}" for end in (root.low, root.high))
    return low if root.low == root.high else f"in ({low}, {high})"


def _conclusion(end: RealRoot | float, variable: Symbol) -> str:
    if isinstance(end, RealRoot):
        near = f"{float(end.low + end.high) / 2:.8g}"
        return f"Stable at a sample of every gap between 0 and the root {variable} near {near}, not past it."
    if end == math.inf:
        return "Stable at a sample of every gap: the whole half axis."
    return "Unstable at a sample between 0 and the first root: only 0."


def always(_: RealRoot) -> bool:
    """Points where a closed condition holds on both sides belong themselves."""
    return True

"""Choice of step sizes from error estimates: the controller of two errors, and why it settles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
from sympy import Expr, Rational, log, sqrt

from derive.checks import IdentityCheck, ResidualCheck
from derive.derivation import Kind
from derive.numbering import Author
from derive.symbols import constant


@dataclass(frozen=True)
class StepControl:
    r"""`h_next = h clip(safety e^{-alpha/k} e_prev^{beta/k}, smallest, largest)`; a step is accepted where e <= 1.

    The estimate of a smooth field is C h^k, so that with C held log h_n obeys a linear recurrence of two terms with
    the characteristic polynomial z^2 - (1 - alpha) z - beta. Exponents as in Hairer, Norsett and Wanner, Solving
    Ordinary Differential Equations I, II.4: alpha = 1 - 3 beta/4.

    Attributes:
        safety, alpha, beta: see above.
        smallest, largest: what one step may be multiplied by.
    """

    safety: Rational
    alpha: Rational
    beta: Rational
    smallest: Rational
    largest: Rational

    def growth(self, z: Expr) -> Expr:
        """The characteristic polynomial of log h."""
        return z**2 - (1 - self.alpha) * z - self.beta

    def roots(self) -> tuple[Expr, Expr]:
        """Its roots."""
        middle = (1 - self.alpha) / 2
        wide = sqrt(middle**2 + self.beta)
        return middle + wide, middle - wide


CONTROL = StepControl(
    safety=Rational(9, 10), alpha=Rational(17, 20), beta=Rational(1, 5), smallest=Rational(1, 5), largest=Rational(10)
)
ERROR, EARLIER = constant("err", latex="e_n"), constant("err_prev", latex="e_{n-1}")
STEP, BEFORE = constant("h_n"), constant("h_prev", latex="h_{n-1}")
SCALE = constant("C", latex="C", meaning="error per h^k")


def write_control(author: Author, power: int, control: StepControl = CONTROL) -> dict[str, Expr]:
    """Section: error norm, factor, and the recurrence of log h that the factor makes."""
    author.relation(
        "size of the estimated error",
        Kind.DEFINITION,
        r"e = \Big(\frac1m \sum_i \Big(\frac{e_i}{\mathrm{atol} + \mathrm{rtol} \max(|x_i|, |x_{\mathrm{next},i}|)}"
        r"\Big)^2\Big)^{1/2}",
        text="e = root of the mean over all elements of (e_i / (atol + rtol max(|x_i|, |x_next_i|)))^2",
        reason="accepted where e <= 1",
        name="error_norm",
    )
    factor = control.safety * ERROR ** (-control.alpha / power) * EARLIER ** (control.beta / power)
    author.relation(
        "factor of the step size",
        Kind.DEFINITION,
        rf"\frac{{h_{{n+1}}}}{{h_n}} = \operatorname{{clip}}\left({control.safety} \, e_n^{{-{control.alpha}/k}} "
        rf"e_{{n-1}}^{{{control.beta}/k}},\; {control.smallest},\; {control.largest}\right), \quad k = {power}",
        text=f"h_next = h clip({factor}, {control.smallest}, {control.largest}); k = {power}",
        reason="proportional to the error and to its change; after a rejected step no more than 1",
        name="factor",
    )
    following = (1 - control.alpha) * log(STEP) + control.beta * log(BEFORE)
    shift = log(control.safety) - (control.alpha - control.beta) / power * log(SCALE)
    left = log(STEP) + log(factor.subs({ERROR: SCALE * STEP**power, EARLIER: SCALE * BEFORE**power}))
    author.relation(
        "recurrence of the step size",
        Kind.IDENTITY,
        rf"\log h_{{n+1}} = {1 - control.alpha} \log h_n + {control.beta} \log h_{{n-1}} + \text{{const}}",
        text=f"log h_next = {following} + const",
        reason="e = C h^k with C held",
        name="step_recurrence",
        check=IdentityCheck(left, following + shift, (STEP, BEFORE, SCALE)),
    )
    first, second = control.roots()
    author.relation(
        "the step size settles",
        Kind.IDENTITY,
        rf"z^2 - {1 - control.alpha} z - {control.beta} = (z - z_1)(z - z_2), \quad z_1 \approx {float(first):.3f}, "
        rf"\; z_2 \approx {float(second):.3f}, \quad |z_{{1,2}}| < 1",
        text=f"z^2 - {1 - control.alpha} z - {control.beta} = (z - {float(first):.3f}) (z - {float(second):.3f})",
        reason="both roots are inside the unit circle: log h tends to a constant",
        name="step_roots",
        check=ResidualCheck(_vieta(control), (first, second), "sum and product of the roots; both inside the circle"),
    )
    author.close("Choice of the steps", "A step is as large as its own error estimate and the one before allow.")
    return {"step_factor": factor, "step_characteristic": control.growth(SCALE)}


def _vieta(control: StepControl) -> Callable[[tuple[Expr, ...]], float]:
    def residual(roots: tuple[Expr, ...]) -> float:
        first, second = (mpmath.mpf(str(root.evalf(70))) for root in roots)
        inside = abs(first) < 1 and abs(second) < 1
        sums = first + second - mpmath.mpf(1 - control.alpha), first * second + mpmath.mpf(control.beta)
        return float(max(map(abs, sums))) if inside else 1.0

    return residual

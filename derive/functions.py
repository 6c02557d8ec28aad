"""Elementwise functions, declared with derivative, LaTeX and a safe numeric form.

SymPy never recovers sigmoid or softplus from exponentials, and the exponential forms overflow; so they are functions of
their own, with derivatives written in themselves: what the reverse sweep then reuses is the value already computed.
At kinks ONE convention holds everywhere: relu'(0) = 0.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Expr, Float, Integer, erf, exp, sqrt


class Elementwise(sympy.Function):
    """An elementwise function of one argument."""

    nargs = (1,)
    is_real = True
    latex_name = ""

    def slope(self, z: Expr) -> Expr:
        """The derivative at `z`, written in the function itself where that is possible."""
        raise TypeError(f"{type(self).__name__} declares no slope")

    def fdiff(self, argindex: int = 1) -> Expr:
        """SymPy's hook for differentiation."""
        return self.slope(self.args[0])

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        body = printer._print(self.args[0])
        head = self.latex_name if exp is None else f"{self.latex_name}^{{{exp}}}"
        return rf"{head}\left({body}\right)"


class sigmoid(Elementwise):
    r"""The logistic function $\sigma(z) = 1/(1 + e^{-z})$."""

    latex_name = r"\sigma"

    def slope(self, z: Expr) -> Expr:
        """sigma (1 - sigma)."""
        return sigmoid(z) * (1 - sigmoid(z))


class step(Elementwise):
    r"""The indicator $[z > 0]$, zero at the kink; its slope is zero almost everywhere."""

    latex_name = r"\mathbf 1_{>0}"

    def slope(self, z: Expr) -> Expr:
        """0 almost everywhere."""
        return Integer(0)


class relu(Elementwise):
    r"""$\max(z, 0)$ with slope 0 at 0."""

    latex_name = r"\operatorname{relu}"

    def slope(self, z: Expr) -> Expr:
        """The indicator of z > 0."""
        return step(z)


class softplus(Elementwise):
    r"""$\log(1 + e^z)$."""

    latex_name = r"\operatorname{softplus}"

    def slope(self, z: Expr) -> Expr:
        """sigma."""
        return sigmoid(z)


class logsigmoid(Elementwise):
    r"""$\log\sigma(z)$."""

    latex_name = r"\log\sigma"

    def slope(self, z: Expr) -> Expr:
        """1 - sigma, written without cancellation."""
        return sigmoid(-z)


class logabs(Elementwise):
    r"""$\log|z|$, which says how much a map stretches; its slope is $1/z$ on both sides of 0."""

    latex_name = r"\log\operatorname{abs}"

    def slope(self, z: Expr) -> Expr:
        """1/z."""
        return 1 / z

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        text = rf"\log\left|{printer._print(self.args[0])}\right|"
        return text if exp is None else rf"\left({text}\right)^{{{exp}}}"


class xlogx(Elementwise):
    r"""$z \log z$, 0 at 0: what an event of this probability adds to an entropy, with the other sign."""

    latex_name = r"\operatorname{xlogx}"

    def slope(self, z: Expr) -> Expr:
        """1 + log z."""
        return 1 + sympy.log(z)


class elu(Elementwise):
    r"""$z$ for $z > 0$, $e^z - 1$ otherwise."""

    latex_name = r"\operatorname{elu}"

    def slope(self, z: Expr) -> Expr:
        """1 for z > 0, elu + 1 otherwise."""
        return step(z) + (1 - step(z)) * (elu(z) + 1)


class tanh(Elementwise):
    r"""The hyperbolic tangent; SymPy's own rewrites `tanh(-z)`, which hides the value already computed."""

    latex_name = r"\tanh"

    def slope(self, z: Expr) -> Expr:
        """1 - tanh^2."""
        return 1 - tanh(z) ** 2


def silu(z: Any) -> Expr:
    r"""$z\,\sigma(z)$."""
    return as_expression(z) * sigmoid(z)


def gelu(z: Any) -> Expr:
    r"""$z\,\Phi(z)$ with the normal distribution function $\Phi$."""
    return as_expression(z) * (1 + erf(as_expression(z) / sqrt(2))) / 2


# The fixed point of Klambauer et al. 2017: a layer keeps mean 0 and variance 1.
SELU_ALPHA, SELU_SCALE = Float("1.6732632423543772848170429916717", 32), Float("1.0507009873554804934193349852946", 32)


def selu(z: Any) -> Expr:
    r"""$\lambda z$ for $z > 0$, $\lambda\alpha(e^z - 1)$ otherwise, with the constants of self-normalizing nets."""
    return SELU_SCALE * (relu(z) + SELU_ALPHA * (elu(z) - relu(z)))


def as_expression(value: Any) -> Expr:
    """What a user wrote as an expression of this tool: numbers become SymPy's, SymPy's tanh becomes ours."""
    return sympy.sympify(value).replace(sympy.tanh, tanh)


ELEMENTWISE: tuple[type[Elementwise], ...] = (sigmoid, tanh, relu, step, softplus, logsigmoid, logabs, xlogx, elu)
# SymPy's own functions that have a form in every backend.
SYMPY_ELEMENTWISE = (exp, sympy.log, sympy.sin, sympy.cos, sympy.Abs, sympy.sign, erf)

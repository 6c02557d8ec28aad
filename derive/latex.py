r"""LaTeX of expressions: elementwise products of vectors are written $\odot$, scalars stand in front."""

from __future__ import annotations

import re
from typing import Any

from sympy import Expr, Integer, Mul, fraction
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

from derive.errors import SpecError
from derive.operator_base import bracketed_power
from derive.operators import Operator, dot, factor_latex, shape_of
from derive.symbols import Quantity, Role

_STAGE = re.compile(r"(\w+?)_?(\d+)")


class FormulaPrinter(LatexPrinter):
    """SymPy's LaTeX printer with a generic component's product shown for what it is."""

    continuous = False

    def _print(self, expr: Any, **kwargs: Any) -> str:
        """Operators print no exponent: a power of one is bracketed."""
        power = kwargs.pop("exp", None) if isinstance(expr, Operator) else None
        text = super()._print(expr, **kwargs)
        return text if power is None else rf"\left({text}\right)^{{{power}}}"

    def parenthesize_super(self, s: str) -> str:
        """What a power is taken of: bracketed where it carries an exponent (SymPy only puts it in a group)."""
        return bracketed_power(s)

    def _print_Mul(self, expr: Expr) -> str:
        numerator, denominator = fraction(expr)
        factors = _without_double_sign(list(Mul.make_args(numerator)))
        negative = factors[0].is_Number and factors[0].is_negative
        if negative:
            factors[0] = -factors[0]
        factors = [factor for factor in factors if factor != 1] or [Integer(1)]
        body = self._product(factors)
        if denominator != 1:
            body = rf"\frac{{{_unbracketed(self, factors, body)}}}{{{self._print(denominator)}}}"
        return f"- {body}" if negative else body

    def _product(self, factors: list[Expr]) -> str:
        ordered = sorted(factors, key=_complexity)
        vectors = [factor_latex(self, factor) for factor in ordered if _has_components(factor)]
        scalars = [factor for factor in ordered if not _has_components(factor)]
        last = None if vectors else scalars[-1]
        shown = [self._before(factor) if factor is not last else factor_latex(self, factor) for factor in scalars]
        return r" \, ".join([*shown, r" \odot ".join(vectors)] if vectors else shown)

    def _before(self, factor: Expr) -> str:
        """A factor in front of another one, which an inner product would seem to be taken with."""
        text = factor_latex(self, factor)
        return rf"\left({text}\right)" if isinstance(factor, dot) else text

    def _as_ordered_terms(self, expr: Expr, order: str | None = None) -> list[Expr]:
        return ordered_terms(sorted(expr.args, key=lambda term: bool(term.could_extract_minus_sign())))

    def _print_Float(self, expr: Any) -> str:
        mantissa, exponent, power = repr(float(expr)).partition("e")
        return rf"{mantissa} \cdot 10^{{{int(power)}}}" if exponent else mantissa


class PlainPrinter(StrPrinter):
    """SymPy's plain text, the terms of a sum in the order of the formulas, a spread number as that number."""

    def _as_ordered_terms(self, expr: Expr, order: str | None = None) -> list[Expr]:
        return ordered_terms(super()._as_ordered_terms(expr, order=order))

    def _print_fill(self, expr: Expr) -> str:
        return str(self._print(expr.args[0]))


def ordered_terms(terms: list[Expr]) -> list[Expr]:
    """Stages in their order; states first, what a step of size h adds last. Other terms stay where they are."""
    stages = [_STAGE.fullmatch(str(term.as_coeff_Mul()[1])) for term in terms]
    if len({stage and stage[1] for stage in stages}) == 1 and stages[0] is not None:
        numbers = [int(stage[2]) for stage in stages if stage is not None]
        return [term for _, term in sorted(zip(numbers, terms, strict=True), key=lambda pair: pair[0])]
    return sorted(terms, key=_place)


def _place(term: Expr) -> int:
    """0 of a state alone, 2 of what is multiplied by the step size, 1 of all else."""
    if isinstance(term, Quantity) and term.role is Role.STATE:
        return 0
    return 2 if any(isinstance(q, Quantity) and q.role is Role.STEP_SIZE for q in term.free_symbols) else 1


def plain(expression: Expr) -> str:
    """Plain text of an expression, in SymPy's notation."""
    return str(PlainPrinter().doprint(expression))


def latex(expression: Expr, *, continuous: bool = False) -> str:
    """LaTeX of an expression over quantities, functions and operators; layers have no index in continuous time."""
    printer = FormulaPrinter({"order": "none", "fold_short_frac": False})
    printer.continuous = continuous
    return str(printer.doprint(expression))


def aligned(lines: list[str]) -> str:
    """Several formulas under each other, aligned at `&`."""
    return lines[0].replace("&", "") if len(lines) == 1 else r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"


def _without_double_sign(factors: list[Expr]) -> list[Expr]:
    """-(k - 1) becomes (1 - k)."""
    sums = [place for place, factor in enumerate(factors) if factor.is_Add and factor.could_extract_minus_sign()]
    if not factors[0].is_Number or not factors[0].is_negative:
        return factors
    sums = sums or [place for place, factor in enumerate(factors) if factor.is_Add and _mixed_signs(factor)]
    if sums:
        factors[sums[0]] = -factors[sums[0]]
        factors[0] = -factors[0]
    return factors


def _mixed_signs(factor: Expr) -> bool:
    return len({bool(term.could_extract_minus_sign()) for term in factor.args}) == 2


def _unbracketed(printer: FormulaPrinter, factors: list[Expr], body: str) -> str:
    return printer._print(factors[0]) if len(factors) == 1 else body


def _has_components(factor: Expr) -> bool:
    try:
        return shape_of(factor) != ()
    except SpecError:
        return False


def _complexity(factor: Expr) -> tuple[int, str]:
    return (0 if factor.is_Number else 1 if factor.is_Symbol else 2, str(factor))

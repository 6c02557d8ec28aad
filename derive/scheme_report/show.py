"""Exact values, tables and schemes as formulas of readable length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from sympy import CRootOf, Expr, N, Poly, Rational, Symbol, oo, true
from sympy.logic.boolalg import Boolean

from derive.analysis import brackets
from derive.derivation import Kind
from derive.latex import latex
from derive.linear_stability.formulas import LONGEST_INTEGER, cases_of, ordered, rounded
from derive.numbering import Author
from derive.plain_formula import plain_formula
from derive.schemes import AdditiveTableau, ButcherTableau, Scheme, Splitting
from derive.series.differentials import DifferentialTable
from derive.series.notation import differential_latex, letter, words
from derive.verdict import Step, Verdict

TERMS_SHOWN = 12
STEPS_SHOWN = 9
LONGEST_NUMBER = 24
LONGEST_POLYNOMIAL = 120


def write_undecided(author: Author, words: str, verdict: Verdict) -> None:
    """That a property was not decided, and why."""
    author.relation(
        f"{words}: not decided",
        Kind.STATEMENT,
        rf"\text{{{words}: not decided}}",
        reason="neither proved nor disproved",
        source=verdict.undecided,
    )


def value_latex(value: Any) -> str:
    """An exact number with its decimals where it is no short fraction; roots of polynomials by their equation."""
    if value in (oo, -oo):
        return r"\infty" if value == oo else r"-\infty"
    if value.free_symbols:
        return latex(value)
    roots = sorted(value.atoms(CRootOf), key=str)
    if len(str(value)) > LONGEST_NUMBER * 3 and not roots:
        return rf"{decimals(value)}\dots"
    if value.is_Rational:
        return number_latex(value)
    shown = latex(value.xreplace(dict(zip(roots, _names(len(roots)), strict=True))))
    return rf"{shown} \approx {decimals(value)}"


def interval_latex(left: Any, right: Any) -> str:
    """An interval with exact ends, and with decimals where they are no short fractions."""
    cases = [rf"{interval_latex(*pair)} & {_when(when)}" for pair, when in cases_of((left, right))]
    if len(cases) == 1:
        return cases[0].replace("&", r"\quad")
    if cases:
        return r"\begin{cases}" + r" \\ ".join(cases) + r"\end{cases}"
    if right == left == 0:
        return r"\left\{0\right\}"
    opening, closing = brackets((left, right))
    exact, rounded = ([make(end) for end in (left, right)] for make in (_end_latex, _rounded_end))
    shown = [rf"\left{opening}{', '.join(ends)}\right{closing}" for ends in (exact, rounded)]
    return shown[0] if exact == rounded else rf"{shown[0]} \approx {shown[1]}"


def _when(condition: Boolean) -> str:
    return r"\text{otherwise}" if condition == true else rf"\text{{for }} {condition_latex(condition)}"


def _end_latex(end: Any) -> str:
    roots = sorted(end.atoms(CRootOf), key=str)
    if len(str(end)) > LONGEST_NUMBER * 3 and not roots and not end.free_symbols:
        return rf"{decimals(end)}\dots"
    return latex(end.xreplace(dict(zip(roots, _names(len(roots)), strict=True))))


def _rounded_end(end: Any) -> str:
    exact = end.free_symbols or end.is_infinite or end.is_Rational or end.is_Float
    return _end_latex(end) if exact else decimals(end)


def equations_of_roots(value: Any) -> list[Step]:
    """For each root of a polynomial in a value: which root it is."""
    roots = sorted(getattr(value, "atoms", lambda *_: set())(CRootOf), key=str)
    steps = []
    for name, root in zip(_names(len(roots)), roots, strict=True):
        polynomial = root.expr.xreplace({root.poly.gen: name})
        monic = Poly(polynomial, name).monic().as_expr()
        equation = ordered(polynomial, name) if len(str(polynomial)) < LONGEST_POLYNOMIAL else rounded(monic, name)
        steps.append(Step(f"{str(name).replace('xi', 'ξ')} is the root near {N(root, 8)} of", f"{equation} = 0"))
    return steps


def _names(count: int) -> list[Symbol]:
    return [Symbol("xi" if count == 1 else f"xi_{place + 1}") for place in range(count)]


def number_latex(value: Expr) -> str:
    """An exact number; one of very many digits as a decimal."""
    numbers = value.atoms(Rational)
    long = any(abs(number.p) > LONGEST_INTEGER or number.q > LONGEST_INTEGER for number in numbers)
    return decimals(value) if long and not value.free_symbols else latex(value)


def decimals(value: Expr) -> str:
    """Six digits, of the real and the imaginary part."""
    real, imaginary = N(value, 6).as_real_imag()
    if imaginary == 0:
        return _decimal(real)
    sign = "-" if imaginary < 0 else "+"
    return rf"{_decimal(real) if real != 0 else ''} {sign} {_decimal(abs(imaginary))}\, i".strip(" +")


def _decimal(value: Expr) -> str:
    mantissa, exponent, power = str(N(value, 6)).partition("e")
    return rf"{mantissa} \cdot 10^{{{int(power)}}}" if exponent else mantissa


def sum_latex(terms: Mapping[Any, Expr] | Iterable[tuple[Any, Expr]], shown: int = TERMS_SHOWN) -> str:
    """Sum of coefficient times differential (a tree, or LaTeX of its own); beyond some terms dots."""
    pairs = list(terms.items() if isinstance(terms, Mapping) else terms)
    text = ""
    for what, value in pairs[:shown]:
        sign, coefficient = _signed(value)
        name = what if isinstance(what, str) else differential_latex(what)
        text += f" {sign} " if text or sign == "-" else ""
        text += name if coefficient == "1" else rf"{coefficient}\, {name}"
    return (text.strip() or "0") + (r" + \dots" if len(pairs) > shown else "")


def _signed(value: Expr) -> tuple[str, str]:
    text = number_latex(value)
    if value.is_Add:
        return "+", rf"\left({text}\right)"
    return ("-", text[1:].strip()) if text.startswith("-") else ("+", text)


def power_latex(power: int) -> str:
    """h, h^2, ...; nothing for h^0."""
    return "" if power == 0 else "h" if power == 1 else f"h^{{{power}}}"


def orders_latex(tables: Mapping[int, Mapping[Any, Expr]]) -> str:
    """The sum over the powers of h of sums of terms."""
    text = ""
    for power, terms in tables.items():
        if not terms:
            continue
        inner = sum_latex(terms)
        if power == 0:
            text = inner
            continue
        alone = len(terms) == 1 and inner[0] != "-"
        text += f" + {power_latex(power)} " + (rf"\, {inner}" if alone else rf"\left({inner}\right)")
    return text


def said(table: DifferentialTable) -> list[Step]:
    """One line for each term of a table: how the differential is said."""
    shown = islice(table.terms.items(), TERMS_SHOWN)
    lines = [Step(words(tau), sum_latex([(tau, value)])) for tau, value in shown]
    return lines + more(len(table) - TERMS_SHOWN)


def more(left: int) -> list[Step]:
    """The line that ends a list that is cut."""
    return [Step(f"and {left} more")] if left > 0 else []


def cut(steps: Sequence[Step]) -> list[Step]:
    """The first steps of a proof, and how many are left out."""
    return [*steps[:STEPS_SHOWN], *more(len(steps) - STEPS_SHOWN)]


def condition_latex(condition: Boolean) -> str:
    """A condition on symbols as a formula."""
    return latex(condition)


def tableau_latex(tableau: ButcherTableau) -> str:
    """The tableau as it is printed in books; the weights of an embedded scheme below those of the step."""
    explicit = tableau.explicit
    rows = [
        " & ".join([number_latex(node), *("" if explicit and j >= i else number_latex(a) for j, a in enumerate(row))])
        for i, (node, row) in enumerate(zip(tableau.c, tableau.A, strict=True))
    ]
    rows.append(" & ".join([r"\hline ", *map(number_latex, tableau.b)]))
    if tableau.b_error is not None:
        rows.append(" & ".join([" ", *map(number_latex, tableau.b_error)]))
    return rf"\begin{{array}}{{c|{'c' * tableau.stages}}}" + r" \\ ".join(rows) + r"\end{array}"


def tableau_text(tableau: ButcherTableau) -> str:
    """The same in plain characters."""
    explicit = tableau.explicit
    nodes = [_plain_number(node) for node in tableau.c]
    rows = [
        ["" if explicit and j >= i else _plain_number(a) for j, a in enumerate(row)] for i, row in enumerate(tableau.A)
    ]
    rows += [[_plain_number(b) for b in weights] for weights in (tableau.b, tableau.b_error) if weights is not None]
    widths = [max(len(row[j]) for row in rows) for j in range(tableau.stages)]
    margin = max(map(len, nodes))
    lines = [
        f"{node.ljust(margin)} | {'  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))}"
        for node, row in zip([*nodes, *[""] * (len(rows) - len(nodes))], rows, strict=True)
    ]
    lines.insert(len(nodes), "-" * margin + "-+-" + "-" * (sum(widths) + 2 * len(widths) - 2))
    return "\n".join(line.rstrip() for line in lines)


def _plain_number(value: Expr) -> str:
    return plain_formula(number_latex(value)).replace(" ", "")


def scheme_text(scheme: Scheme) -> str:
    """What a scheme is, in plain characters."""
    if isinstance(scheme, ButcherTableau):
        return tableau_text(scheme)
    if isinstance(scheme, AdditiveTableau):
        return "\n".join(f"{letter(p)}:\n{tableau_text(part)}" for p, part in enumerate(scheme.parts))
    return plain_formula(scheme_latex(scheme))


def scheme_latex(scheme: Scheme) -> str:
    """What a scheme is, in one formula."""
    if isinstance(scheme, ButcherTableau):
        return tableau_latex(scheme)
    if isinstance(scheme, AdditiveTableau):
        return r"\qquad ".join(f"{letter(p)}: {tableau_latex(part)}" for p, part in enumerate(scheme.parts))
    if isinstance(scheme, Splitting):
        flows = [rf"\varphi^{{{letter(part)}}}_{{{_times_h(fraction)}}}" for part, fraction in scheme.stages]
        return r"\Phi_h = " + r" \circ ".join(flows[::-1])
    past = sum_latex([(_at("x", -lag), weight) for lag, weight in enumerate(scheme.alpha) if weight != 0])
    slopes = [(_at("f", -lag), weight) for lag, weight in enumerate(scheme.beta, start=-1) if weight != 0]
    return rf"x_{{n+1}} = {past} + h \left({sum_latex(slopes)}\right)"


def _times_h(fraction: Expr) -> str:
    return "h" if fraction == 1 else latex(fraction * Symbol("h"))


def _at(name: str, shift: int) -> str:
    return rf"{name}_{{n{shift:+d}}}" if shift else f"{name}_n"

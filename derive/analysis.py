"""The analysis of a scheme: one object that computes each verdict when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from sympy import CRootOf, Expr, Integer, N, Piecewise, Tuple, false, oo, true
from sympy.logic.boolalg import Boolean

from derive.errors import natural
from derive.geometry import adjoint_gap_order
from derive.geometry.families import symmetric_condition, symplectic_condition
from derive.latex import latex
from derive.linear_stability.attributes import StabilityAttributes
from derive.linear_stability.formulas import cases_of
from derive.schemes import LinearMultistep, Scheme
from derive.series.conditions import condition_text
from derive.series.differentials import DifferentialTable
from derive.series.multistep import MultistepVerdicts
from derive.series.notation import differential, differential_latex, words
from derive.series.rk import OneStepVerdicts
from derive.series.verdicts import SeriesVerdicts
from derive.verdict import Verdict, decided

_STABILITY = {
    "is_zero_stable": "zero-stable",
    "is_a_stable": "A-stable",
    "is_l_stable": "L-stable",
    "alpha_stability": "A(alpha)-stable, alpha",
    "real_interval": "real interval",
    "imaginary_interval": "imaginary interval",
}
STABILITY_FACTS = {
    name: _STABILITY[name] for name in ("real_interval", "imaginary_interval", "is_a_stable", "is_l_stable")
}
_TERMS_SHOWN = 12
_CHARACTERS_SHOWN = 40
_DIGITS_SHOWN = 6


class Analysis(StabilityAttributes):
    """Order, local error, modified equation, stability and geometry of a scheme, exactly; None where nothing applies.

    Attributes:
        scheme: what is analysed.
        label: "exact", or "to n digits" where the table holds published decimals.
    """

    def __init__(self, scheme: Scheme) -> None:
        self.scheme = scheme
        digits = getattr(scheme, "digits", None)
        self.label = "exact" if digits is None else f"to {digits} digits"

    @property
    def reservation(self) -> str:
        """The label of what published decimals decide, in brackets; nothing where entries are exact."""
        return "" if self.label == "exact" else f" ({self.label})"

    @cached_property
    def _series(self) -> SeriesVerdicts:
        return (
            MultistepVerdicts(self.scheme) if isinstance(self.scheme, LinearMultistep) else OneStepVerdicts(self.scheme)
        )

    @property
    def order(self) -> Integer:
        """p: the local error is O(h^(p+1)) for all values of the scheme's symbols."""
        return Integer(self._series.order)

    @property
    def stage_order(self) -> Integer | None:
        """The largest q, at most p, to which every stage is exact on polynomials; None without stages."""
        return _integer(self._series.stage_order)

    @property
    def embedded_order(self) -> Integer | None:
        """Order of the embedded scheme; None where there is none."""
        return _integer(self._series.embedded_order)

    @property
    def dense_order(self) -> Integer | None:
        """The dense output errs by O(h^(q+1)) at every theta; None where there is none."""
        return _integer(self._series.dense_order)

    def conditions(self, order: int) -> Boolean:
        """What the scheme's symbols must satisfy for an order: true, false, or equations."""
        return self._series.conditions(natural("the order", order, 1))

    @cached_property
    def order_conditions(self) -> dict[int, Boolean]:
        """Higher orders that some values of the symbols reach -> the condition on them."""
        found: dict[int, Boolean] = {}
        higher = int(self.order) + 1
        last = self._series.limit if self._series.symbols else 0
        while higher <= last and (condition := self.conditions(higher)) != false:
            found[higher] = condition
            higher += 1
        return found

    def error_terms(self, power: int) -> DifferentialTable:
        """Coefficients of h^power in the local error, exact minus numerical."""
        return self._series.error_terms(natural("the power of h", power, 1))

    @property
    def principal_error(self) -> DifferentialTable:
        """Elementary differential -> coefficient of h^(p+1) in the local error, exact minus numerical."""
        return self._series.principal_error

    @property
    def principal_error_norm(self) -> Expr:
        """Euclidean norm of the coefficients of the principal error."""
        return self._series.principal_error_norm

    @property
    def error_constant(self) -> Expr | None:
        """C_{p+1}: the local error is C_{p+1} h^(p+1) u^(p+1); None where it is no multiple of that derivative."""
        return self._series.error_constant

    @property
    def error_constant_normalized(self) -> Expr | None:
        """C_{p+1}/sigma(1), scaled to be consistent where a multistep scheme is not; sigma(1) = 1 for one step."""
        return self._series.error_constant_normalized

    @cached_property
    def symplectic_verdict(self) -> Verdict:
        """`is_symplectic`, or why it was not decided."""
        return decided(lambda: Verdict(symplectic_condition(self.scheme)))

    @cached_property
    def symmetric_verdict(self) -> Verdict:
        """`is_symmetric`, or why it was not decided."""
        return decided(lambda: Verdict(symmetric_condition(self.scheme)))

    @property
    def is_symplectic(self) -> Boolean | None:
        """Whether the symplectic form of Hamiltonian fields is kept, of two parts the first driving the positions.

        Of a family, for which values of its symbols; None for multistep schemes, and where that is not decided.
        """
        return self.symplectic_verdict.value

    @property
    def is_symmetric(self) -> Boolean | None:
        """Whether a step of -h undoes a step of h, or for which values of the symbols; None where not decided."""
        return self.symmetric_verdict.value

    @cached_property
    def adjoint_gap_order(self) -> Expr | None:
        """q: adjoint of the scheme and scheme of the adjoint equation differ by O(h^q); oo when they agree.

        Of schemes in two parts on separable fields, x' = f(y), y' = g(x).
        """
        return adjoint_gap_order(self.scheme)

    def modified_equation(self, order: int) -> dict[int, DifferentialTable]:
        """Power of h, 0 to `order` -> elementary differential -> coefficient in the field whose flow the scheme is."""
        return self._series.modified_equation(natural("the order of the modified equation", order))

    def rows(self) -> list[tuple[str, object]]:
        """Name and value of every verdict that applies, without the terms of the local error."""
        p = int(self.order)
        found = [
            ("order", self.order),
            *((f"order {higher} iff", condition) for higher, condition in self.order_conditions.items()),
            ("stage order", self.stage_order),
            ("embedded order", self.embedded_order),
            ("order of the dense output", self.dense_order),
            (f"error constant C_{p + 1}", self.error_constant),
            (f"C_{p + 1}/{self._normalized_by}", self.error_constant_normalized),
            ("norm of the principal error", self.principal_error_norm),
            ("symplectic", _said(self.symplectic_verdict)),
            ("symmetric", _said(self.symmetric_verdict)),
            ("order of the adjoint gap", self.adjoint_gap_order),
            *((words, self._decided(name)) for name, words in _STABILITY.items()),
        ]
        return [(name, value) for name, value in found if value is not None]

    def stability_facts(self) -> dict[str, str]:
        """Stability on x' = lambda x in words, of what applies: intervals, A- and L-stability."""
        found = ((words, self._decided(name)) for name, words in STABILITY_FACTS.items())
        return {words: shown(self.published(value)) + self.reservation for words, value in found if value is not None}

    def published(self, value: Any) -> Any:
        """A number or pair as decimals where the entries are, for display; integers and conditions as they are."""
        if isinstance(value, tuple):
            return tuple(map(self.published, value))
        rounded = self.label != "exact" and isinstance(value, Expr) and value.is_number and value.is_finite
        return N(value, _DIGITS_SHOWN) if rounded and not value.is_Integer else value

    def rows_shown(self, label: str = "") -> list[tuple[str, str]]:
        """`rows` as text; where the entries are published decimals a label may follow what is no order."""
        return [
            (name, shown(self.published(value)) + ("" if getattr(value, "is_Integer", False) else label))
            for name, value in self.rows()
        ]

    @property
    def _normalized_by(self) -> str:
        """sigma(1), which is rho'(1) of a scheme that is consistent with u' = f."""
        return "sigma(1)" if getattr(self.scheme, "speed", 1) == 1 else "rho'(1)"

    def _decided(self, name: str) -> object:
        """A verdict of linear stability; what a scheme of several symbols needs first."""
        if name == "is_zero_stable" and not isinstance(self.scheme, LinearMultistep):
            return None
        return _said(self.stability_verdict(name))

    def __str__(self) -> str:
        """A table for the terminal; floats stand for exact values that are too long."""
        rows = self.rows_shown()
        terms = [(shown(self.published(value)), tau) for tau, value in self.principal_error.terms.items()]
        first, left = terms[:_TERMS_SHOWN], len(terms[_TERMS_SHOWN:])
        width = max(len(name) for name, _ in rows)
        inner = max((len(value) for value, _ in first), default=0)
        lines = [f"{self.scheme.title} ({self.label})", *(f"  {name:<{width}}  {value}" for name, value in rows)]
        lines.append(f"  local error, exact minus numerical, over h^{int(self.order) + 1}:")
        lines += [f"    {value:>{inner}}  {differential(tau)}: {words(tau)}" for value, tau in first]
        return "\n".join([*lines, *([f"    and {left} more: see principal_error"] if left else [])])

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        """The same for notebooks."""
        lines = [f"**{self.scheme.title}** ({self.label})", "", "| | |", "|---|---|"]
        lines += [
            f"| {name.replace('_', chr(92) + '_')} | ${_shown_latex(self.published(value))}$ |"
            for name, value in self.rows()
        ]
        terms = list(self.principal_error.terms.items())
        lines += [
            f"| ${differential_latex(tau)}$ | ${_shown_latex(self.published(value))}$ |"
            for tau, value in terms[:_TERMS_SHOWN]
        ]
        return "\n".join(lines)


def _said(verdict: Verdict) -> object:
    return f"not decided: {verdict.undecided}" if verdict.undecided else verdict.value


def _integer(value: int | None) -> Integer | None:
    return None if value is None else Integer(value)


def shown(value: object) -> str:
    """A value for a terminal; a float stands for an exact number that is too long."""
    if isinstance(value, tuple):
        return _shown_interval(value)
    if value in (true, false):
        return "yes" if value == true else "no"
    if isinstance(value, Piecewise):
        return ", ".join(_case(shown(part), when) for part, when in value.args)
    text = condition_text(value) if isinstance(value, Boolean) else str(value)
    if not isinstance(value, Expr) or value.free_symbols:
        return text
    if len(text) <= _CHARACTERS_SHOWN and not value.has(CRootOf):
        return text
    return f"{float(value):.6g}..."


def _shown_interval(ends: tuple[Any, Any]) -> str:
    cases = cases_of(ends)
    if cases:
        return ", ".join(_case(shown(pair), when) for pair, when in cases)
    if ends == (0, 0):
        return "{0}"
    opening, closing = brackets(ends)
    return f"{opening}{', '.join(map(shown, ends))}{closing}"


def brackets(ends: tuple[Any, Any]) -> tuple[str, str]:
    """How an interval opens and closes: an end at infinity does not belong to it."""
    return "(" if ends[0] == -oo else "[", ")" if ends[1] == oo else "]"


def _case(value: str, when: Boolean) -> str:
    return f"else {value}" if when == true else f"{value} if {condition_text(when)}"


def _shown_latex(value: object) -> str:
    short = shown(value)
    if value in (true, false):
        return rf"\text{{{short}}}"
    if isinstance(value, tuple):
        if "..." in short or cases_of(value):
            return short if "..." in short else latex(Tuple(*value))
        opening, closing = brackets(value)
        return rf"\left{opening}{', '.join(map(latex, value))}\right{closing}"
    return short.replace("...", r"\dots") if short.endswith("...") else latex(value)

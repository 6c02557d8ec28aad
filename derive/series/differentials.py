"""Tables of elementary differentials with exact coefficients."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sympy import Expr, Integer, S

from derive.latex import latex
from derive.series.notation import NotationError, differential, differential_latex, letter, parse, words
from derive.series.trees import Tree, colours_of


class DifferentialTable(Mapping[str, Expr]):
    """Elementary differential -> exact coefficient, as `table["f''(f,f)"]`.

    Iteration gives the differentials whose coefficient is not zero, in the order of their trees; an absent one has the
    coefficient 0, in whatever spelling it is asked for. A table of one order says nothing of others, and refuses them.

    Attributes:
        terms: tree -> coefficient, nonzero ones only, sorted.
        colours: number of parts of the field.
        order: of its differentials, how often the field stands in each; None for a table of several orders.
    """

    def __init__(self, terms: Mapping[Tree, Expr], colours: int = 1, order: int | None = None) -> None:
        self.order = order
        self.terms: dict[Tree, Expr] = {tau: terms[tau] for tau in sorted(terms) if terms[tau] != 0}
        self.colours = colours

    def __getitem__(self, key: str | Tree) -> Expr:
        """The coefficient of a differential.

        Raises:
            NotationError: the key is no elementary differential of this field's parts, or one of another order.
        """
        tau = parse(key) if isinstance(key, str) else key
        if colours_of(tau) > self.colours:
            parts = ", ".join(letter(colour) for colour in range(self.colours))
            raise NotationError(f"{key!r}: the parts of this field are {parts}")
        if self.order is not None and tau.order != self.order:
            text = f"{differential(tau)} is of order {tau.order}; this table holds order {self.order} only"
            raise NotationError(f"{text}: ask error_terms({tau.order}), or modified_equation at h^{tau.order - 1}")
        return self.terms.get(tau, S.Zero)

    def __contains__(self, key: object) -> bool:
        """Whether a differential has a coefficient other than zero."""
        tau = parse(key) if isinstance(key, str) else key
        return isinstance(tau, Tree) and self.terms.get(tau, S.Zero) != 0

    def __iter__(self) -> Iterator[str]:
        """The differentials of nonzero coefficient."""
        return (differential(tau) for tau in self.terms)

    def __len__(self) -> int:
        """How many coefficients are not zero."""
        return len(self.terms)

    def __eq__(self, other: object) -> bool:
        """Whether every differential has the same coefficient; a plain dict may be written in any spelling."""
        if isinstance(other, DifferentialTable):
            return self.terms == other.terms
        if not isinstance(other, Mapping):
            return NotImplemented
        return self.terms == {parse(key): value for key, value in other.items() if value != 0}

    def __hash__(self) -> int:
        """Of the nonzero coefficients."""
        return hash(tuple(self.terms.items()))

    def __repr__(self) -> str:
        """As the dict it stands for."""
        return repr(dict(self.items()))

    def __str__(self) -> str:
        """One line: `1/6 f'f'f - 1/12 f''(f,f)`."""
        return _joined([_plain_term(value, differential(tau)) for tau, value in self.terms.items()])

    def latex(self, name: str = "") -> str:
        """The sum as LaTeX; `name` is another letter for the first part of the field."""
        return _joined([_latex_term(value, differential_latex(tau, name)) for tau, value in self.terms.items()])

    def _repr_latex_(self) -> str:
        return f"${self.latex()}$"

    def words(self) -> str:
        """One line per differential: coefficient, notation, and how it is said."""
        return "\n".join(f"{value} {differential(tau)}: {words(tau)}" for tau, value in self.terms.items()) or "0"


def _plain_term(value: Expr, what: str) -> str:
    if value in (1, -1):
        return what if value == 1 else f"-{what}"
    return f"({value}) {what}" if value.is_Add else f"{value} {what}"


def _latex_term(value: Expr, what: str) -> str:
    if value in (Integer(1), Integer(-1)):
        return what if value == 1 else f"-{what}"
    return rf"\left({latex(value)}\right)\, {what}" if value.is_Add else rf"{latex(value)}\, {what}"


def _joined(terms: list[str]) -> str:
    return re.sub(r"\+ - ?", "- ", " + ".join(terms)) or "0"

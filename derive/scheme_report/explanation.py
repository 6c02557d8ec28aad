"""Scheme -> derivation, and the sections on a scheme beside those on a system."""

from __future__ import annotations

from derive.analysis import Analysis
from derive.derivation import Derivation, Kind
from derive.latex import latex
from derive.numbering import Author
from derive.scheme_report.geometry import write_costates, write_geometry, write_step_inverse
from derive.scheme_report.modified import write_modified_equation
from derive.scheme_report.order import write_order
from derive.scheme_report.show import scheme_latex, scheme_text
from derive.scheme_report.stability import write_stability
from derive.scheme_sections import warnings
from derive.schemes import Scheme
from derive.schemes.substitution import entries
from derive.symbols import Quantity

TEST_SYMBOLS = (
    ("h", "h", "()", "step size", "step size"),
    ("z", "z", "()", "variable", "h times the eigenvalue or frequency of a test problem"),
)


def explain_scheme(scheme: Scheme, name: str) -> Derivation:
    """Everything the tool derives about a scheme, without a system."""
    author, analysis = Author(), Analysis(scheme)
    author.relation(
        "the scheme",
        Kind.DEFINITION,
        scheme_latex(scheme),
        reason=scheme.title,
        text=scheme_text(scheme),
        name="scheme",
    )
    author.close("The table", f"Entries {_said(analysis.label)}; everything below is derived from them.")
    write_scheme(author, analysis)
    return Derivation(
        name,
        scheme.title,
        "a scheme, analysed by its table alone",
        _symbols(scheme),
        tuple(author.sections),
        facts=scheme_facts(analysis),
        numbers=author.numbers,
    )


def _said(label: str) -> str:
    return "are exact" if label == "exact" else f"are published decimals, checked {label}"


def write_scheme(author: Author, analysis: Analysis, root_condition: bool = True) -> None:
    """The sections on a scheme; without the root condition where a section before has it."""
    write_order(author, analysis)
    write_modified_equation(author, analysis)
    write_stability(author, analysis, root_condition)
    write_geometry(author, analysis)
    write_step_inverse(author, analysis)
    write_costates(author, analysis)


def scheme_facts(analysis: Analysis) -> dict[str, str]:
    """What heads the derivation of a scheme: warnings first."""
    return warnings(analysis.scheme) | dict(analysis.rows_shown(analysis.reservation))


def _symbols(scheme: Scheme) -> tuple[tuple[str, str, str, str, str], ...]:
    free = sorted({symbol for entry in entries(scheme) for symbol in entry.free_symbols}, key=str)
    meanings = (symbol.meaning if isinstance(symbol, Quantity) else "" for symbol in free)
    own = ((latex(s), str(s), "()", "symbol of the scheme", m) for s, m in zip(free, meanings, strict=True))
    return (*own, *TEST_SYMBOLS)

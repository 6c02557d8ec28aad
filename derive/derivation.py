"""Derivations: numbered, titled relations, each with its kind, its reason and the check that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from sympy import Expr

from derive.program import Program
from derive.verdict import Step


class Kind(Enum):
    """What a relation is, and thereby what can be checked of it."""

    DEFINITION = "definition"
    IDENTITY = "identity"
    ASYMPTOTIC = "asymptotic"
    INEQUALITY = "inequality"
    STATEMENT = "statement"


@dataclass(frozen=True)
class Outcome:
    """What a check measured.

    Attributes:
        measured: norm-relative difference of the two sides, or the number of samples that disagree.
        tolerance: what it must not exceed.
        detail: how it was measured, in a few words.
    """

    measured: float
    tolerance: float
    detail: str

    @property
    def holds(self) -> bool:
        """Whether the measure is within the tolerance (not a number never is)."""
        return self.measured <= self.tolerance


class Check(Protocol):
    """How a relation is tested, by a route other than the one that produced it."""

    def run(self) -> Outcome:
        """Measure."""

    @property
    def terms(self) -> int:
        """How many coefficients of the relation can be changed."""

    def perturbed(self, term: int = 0) -> Check:
        """The same check with one coefficient of the relation changed: it must fail."""


@dataclass(frozen=True)
class Relation:
    """One numbered line of a derivation.

    Attributes:
        number: its equation number; the emitted code and the verification table carry the same.
        title: what it is, in a few words.
        kind: see `Kind`.
        latex: the formula, without delimiters.
        text: the formula in plain characters.
        reason: why it holds.
        name: the quantity it defines, where it defines one.
        source: where it is from, for a statement.
        check: how it is tested; definitions and statements have none.
        value: the expression that a relation of a spec's own gives to its name.
        section: the heading that a relation of a spec's own stands under.
        steps: of a proof, or the lines of a list, in order.
    """

    number: str
    title: str
    kind: Kind
    latex: str
    text: str
    reason: str
    name: str = ""
    source: str = ""
    check: Check | None = None
    value: Expr | None = None
    section: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class ClaimVerdict:
    """A deck's line beside what was derived."""

    id: str
    deck: str
    about: str
    says: str
    derived: str
    difference: float
    note: str = ""
    says_latex: str = ""
    derived_latex: str = ""
    expected: bool | None = None
    tolerance: float = 1e-25

    @property
    def agrees(self) -> bool:
        """Whether both are the same function of the spec's symbols."""
        return self.difference <= self.tolerance

    @property
    def verdict(self) -> str:
        """`agrees`, or by how much it differs."""
        return "agrees" if self.agrees else f"differs by {self.difference:.2g} (relative, at a random point)"


@dataclass(frozen=True)
class Section:
    """A titled part of a derivation, with a sentence that leads into it."""

    title: str
    relations: tuple[Relation, ...]
    lead: str = ""


@dataclass(frozen=True)
class Derivation:
    """Everything derived from one spec.

    Attributes:
        id, title, source: of the spec.
        symbols: rows (LaTeX, Python name, shape, role, meaning) of the table of symbols.
        sections: in reading order.
        claims: what the decks say, compared.
        facts: short facts for docstrings and listings (order, stability, inverse), name -> text.
        results: derived expressions by name, which claims are compared with.
        numbers: name of a line -> its equation number (variants share the lines they have in common).
        contexts: option -> the program of the quantities that results and claims mention: the step and its adjoint.
    """

    id: str
    title: str
    source: str
    symbols: tuple[tuple[str, str, str, str, str], ...]
    sections: tuple[Section, ...]
    claims: tuple[ClaimVerdict, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, Expr] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    contexts: Mapping[str, Program] = field(default_factory=dict)

    @property
    def relations(self) -> Iterator[Relation]:
        """All relations in order."""
        return (relation for section in self.sections for relation in section.relations)

    def number_of(self, name: str) -> str:
        """Equation number of a named relation; empty where there is none."""
        return self.numbers.get(name, "")

    def _repr_latex_(self) -> str:
        return "\n\n".join(rf"$$ {relation.latex} \tag{{{relation.number}}} $$" for relation in self.relations)

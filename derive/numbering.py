"""Writes relations one after the other and numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr

from derive.derivation import Check, Kind, Relation, Section
from derive.latex import latex, plain
from derive.program import Assignment
from derive.verdict import Step


@dataclass
class Author:
    """Collects the sections of a derivation; every relation gets the next number.

    Attributes:
        sections: the closed ones.
        numbers: name of a relation -> its number.
    """

    sections: list[Section] = field(default_factory=list)
    _open: list[Relation] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    _written: dict[tuple[Expr, Expr], str] = field(default_factory=dict)

    def relation(
        self,
        title: str,
        kind: Kind,
        formula: str,
        *,
        reason: str,
        text: str = "",
        name: str = "",
        check: Check | None = None,
        source: str = "",
        steps: Sequence[Step] = (),
    ) -> Relation:
        """Append one relation."""
        found = Relation("", title, kind, formula, text or formula, reason, name, source, check, steps=tuple(steps))
        return self.append(found)

    def append(self, relation: Relation) -> Relation:
        """Append a relation under the next number."""
        number = str(sum(len(section.relations) for section in self.sections) + len(self._open) + 1)
        self.numbers[relation.name] = number
        self._open.append(replace(relation, number=number))
        return self._open[-1]

    def shared(self, relation: Relation, prefix: str) -> None:
        """Append a relation that variants have in common; where one says otherwise, it gets a relation of its own.

        Args:
            relation: with the name under which all find it.
            prefix: of the variant, which finds its own under `prefix.name`.
        """
        alike = [one for one in self._all() if one.name.endswith(relation.name) and one.text == relation.text]
        own = f"{prefix}.{relation.name}" if prefix else relation.name
        if alike:
            self.numbers[own] = alike[0].number
        else:
            self.append(replace(relation, name=own if relation.name in self.numbers else relation.name))

    def _all(self) -> list[Relation]:
        return [relation for section in self.sections for relation in section.relations] + self._open

    def equation(
        self, left: Expr, right: Expr, title: str, kind: Kind, reason: str, name: str = "", check: Check | None = None
    ) -> Relation:
        """Append `left = right`."""
        formula = f"{latex(left)} = {latex(right)}"
        return self.relation(
            title, kind, formula, reason=reason, text=f"{left} = {plain(right)}", name=name, check=check
        )

    def assignment(self, line: Assignment, name: str, check: Check | None = None) -> None:
        """Append a line of a program; one that stands already (in another variant) only gets the name as well."""
        number = self._written.get((line.target, line.value))
        if number is not None:
            self.numbers[name] = number
            return
        kind = Kind.DEFINITION if check is None else Kind.IDENTITY
        title = line.target.meaning or line.target.name
        relation = self.equation(line.target, line.value, title, kind, line.reason, name, check)
        self._written[line.target, line.value] = relation.number

    def close(self, title: str, lead: str = "") -> None:
        """End a section; an empty one is dropped."""
        if self._open:
            self.sections.append(Section(title, tuple(self._open), lead))
        self._open = []

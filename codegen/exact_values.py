"""Exact values of parameters as source: the method that gives them, and arguments for the constants in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.printer import TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.starting_values import Value, constants_of
from derive.symbols import Quantity
from derive.systems import Spec

SUPPORT = "exact_values"


@dataclass(frozen=True)
class ExactValues:
    """What an emitted class has of exact values; empty texts where the spec has none.

    Attributes:
        spec: whose values.
        numbers: name of a relation -> its number.
    """

    spec: Spec
    numbers: Mapping[str, str]

    @property
    def support(self) -> tuple[str, ...]:
        """Runtime sources."""
        return (SUPPORT,) if self.spec.values else ()

    @property
    def arguments(self) -> list[str]:
        """Arguments of the constructor, for the constants."""
        return [f"{q.name}: float = {float(self.spec.defaults[q.name])!r}" for q in self._constants]

    @property
    def assignments(self) -> list[str]:
        """Their checks."""
        owner = self.spec.class_name
        return [f"self.{q.name} = exact_number({f'{owner}: {q.name}'!r}, {q.name})" for q in self._constants]

    @property
    def shown(self) -> list[str]:
        """The constants as `shown_arguments` takes them."""
        return [shown_argument(q.name, float(self.spec.defaults[q.name])) for q in self._constants]

    @property
    def doc(self) -> list[str]:
        """Lines of the class's docstring."""
        if not self.spec.values:
            return []
        about = [f"    {q.name}: {q.meaning}." for q in self._constants if q.meaning]
        return [*about, "    The parameters start with exact values, which training may leave: see the methods below."]

    def method(self, name: str, doc: str, names: Mapping[Quantity, Sequence[str]]) -> Function:
        """(row, column) -> values by name; of parameters that add up to one quantity the first has its value.

        Args:
            name: of the method.
            doc: its docstring.
            names: quantity -> its parameters in the module.
        """
        printed = {part: self._text(q, not place) for q, parts in names.items() for place, part in enumerate(parts)}
        used = [q.name for q in self._constants if any(q.name in text for text in printed.values())]
        body = [f"{constant} = self.{constant}" for constant in used]
        body += ["return {", *(f"    {part!r}: {text}" for part, text in printed.items()), "}"]
        return Function(name, "self, row: Tensor, column: Tensor", "dict[str, Any]", doc, tuple(body))

    def _text(self, quantity: Quantity, first: bool) -> str:
        number = self.numbers.get(f"values.{quantity.name}", "")
        text = _display(self.spec.values[quantity]) if first else "0"
        return f"{text},  # ({number})" if number and first else f"{text},"

    @property
    def _constants(self) -> list[Quantity]:
        return constants_of(self.spec.values)


def shown_argument(name: str, usual: object) -> str:
    """Source of the text that shows an argument which is not the usual one."""
    return f'("" if self.{name} == {usual!r} else f", {name}={{self.{name}!r}}")'


def shown_arguments(texts: Sequence[str]) -> tuple[Function, ...]:
    """`extra_repr` with further arguments, by the sources of their texts; nothing where there are none."""
    doc, body = "Arguments that are not the usual ones.", " + ".join(["return super().extra_repr()", *texts])
    return (Function("extra_repr", "self", "str", doc, (body,)),) if texts else ()


def _display(value: Value) -> str:
    """Source of a rule, or of a table."""
    return tuple_display([_display(part) for part in value]) if isinstance(value, tuple) else TorchPrinter()(value)

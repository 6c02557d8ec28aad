"""The section on exact values that parameters start with."""

from __future__ import annotations

from collections.abc import Mapping

from derive.derivation import Kind
from derive.latex import latex, plain
from derive.numbering import Author
from derive.starting_values import Value, shape_of_table
from derive.symbols import Quantity


def write_values(author: Author, values: Mapping[Quantity, Value]) -> None:
    """One definition for each parameter that has them."""
    for quantity, value in values.items():
        indices = ",".join("jk"[: len(quantity.shape)])
        name = quantity.latex if isinstance(value, tuple) else f"{{{quantity.latex}}}_{{{indices}}}"
        entry = ", ".join(("row", "column")[: len(quantity.shape)])
        of = quantity.name if isinstance(value, tuple) else f"{quantity.name}[{entry}]"
        author.relation(
            f"{quantity.name} at the start",
            Kind.DEFINITION,
            f"{name} = {_latex(value)}",
            text=f"{of} = {_text(value)}",
            reason="exact numbers, which training may leave",
            name=f"values.{quantity.name}",
        )
    author.close("The exact values", "What the parameters start with; rows and columns are counted from 1.")


def _latex(value: Value) -> str:
    if not isinstance(value, tuple):
        return latex(value)
    rows = value if len(shape_of_table(value)) > 1 else tuple((entry,) for entry in value)
    body = r" \\ ".join(" & ".join(latex(entry) for entry in row) for row in rows)
    return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"


def _text(value: Value) -> str:
    if not isinstance(value, tuple):
        return plain(value)
    return f"({', '.join(map(_text, value))})"

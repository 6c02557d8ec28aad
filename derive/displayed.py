"""What an analysis returns, shown as its equations: in a terminal and in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from derive.latex import aligned, latex, plain
from derive.program import Assignment

Line = tuple[str, str]


def lines_of(assignments: Iterable[Assignment]) -> Iterator[Line]:
    """`target = value` for each line of a program, as `Displayed` takes them."""
    for line in assignments:
        yield f"{line.target} = {plain(line.value)}", f"{line.target.latex} &= {latex(line.value)}"


class Displayed(ABC):
    """Shows itself line by line. A dataclass that inherits is made with `repr=False`."""

    @abstractmethod
    def lines(self) -> Iterator[Line]:
        """Each line in plain characters and as LaTeX, aligned at `&`."""

    def __str__(self) -> str:
        """One equation on each line."""
        return "\n".join(text for text, _ in self.lines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_latex_(self) -> str:
        return f"$${aligned([shown for _, shown in self.lines()])}$$"

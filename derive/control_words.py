"""How the text on a problem calls what it is about: by the problem's own symbols, and letters that it leaves free."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from derive.control import OptimalControl
from derive.symbols import Quantity, time

CLOCK, DENSITY, VALUE = ("t", "s", "clock"), ("P", "density"), ("V", "W", "value")


def free_letter(taken: Collection[str], letters: Iterable[str]) -> str:
    """The first letter that is none of the names; the last one where all are."""
    *first, last = letters
    return next((letter for letter in first if letter not in taken), last)


def names_of(control: OptimalControl) -> list[str]:
    """The names of a problem, costates included."""
    return [q.name for q in (*control.quantities, *control.hamiltonian.costates.values())]


def clock_of(control: OptimalControl) -> Quantity:
    """The time of the ODE, or one of a free name where the ODE has no name for it."""
    return control.ode.time or time(free_letter(names_of(control), CLOCK))


@dataclass(frozen=True)
class Words:
    """The names of a problem's quantities, in LaTeX or in plain characters; several of them in brackets.

    Attributes:
        control: the problem.
        tex: whether formulas are written, and not plain text.
    """

    control: OptimalControl
    tex: bool = False

    def of(self, *quantities: Quantity) -> str:
        """Names of quantities as one thing."""
        names = self.listed(*quantities)
        return f"({names})" if len(quantities) > 1 else names

    def listed(self, *quantities: Quantity) -> str:
        """Names of quantities as arguments."""
        return ", ".join(q.latex if self.tex else q.name for q in quantities)

    @property
    def state(self) -> str:
        """All unknowns."""
        return self.of(*self.control.ode.state)

    @property
    def costate(self) -> str:
        """All costates."""
        return self.of(*self.control.hamiltonian.costates.values())

    @property
    def phase(self) -> str:
        """All unknowns and all costates."""
        return self.of(*self._phase)

    @property
    def _phase(self) -> tuple[Quantity, ...]:
        return (*self.control.ode.state, *self.control.hamiltonian.costates.values())

    @property
    def clock(self) -> str:
        """The time."""
        return self.of(clock_of(self.control))

    @property
    def ends(self) -> tuple[str, str]:
        """Initial and final time."""
        return self.of(self.control.begin), self.of(self.control.end)

    def energy(self, controls: Iterable[Quantity], mark: str = "") -> str:
        """H at some values of controls, which are marked."""
        held = [self.of(q) + mark for q in controls]
        return f"H({', '.join([self.listed(*self._phase), *held])})"

    def letter(self, letters: Iterable[str]) -> str:
        """A letter for what the text brings along, which the problem does not use."""
        return free_letter(names_of(self.control), letters)


def wordings(control: OptimalControl) -> tuple[Words, Words]:
    """In LaTeX and in plain characters."""
    return Words(control, tex=True), Words(control)

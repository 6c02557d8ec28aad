"""What is plotted: a scheme, on the pendulum where a field is needed, or a system with its scheme."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sympy import Rational, Symbol, cos, sin

from derive.control import OptimalControl
from derive.control_feedback import feedback_of
from derive.integrator import integrator
from derive.loading import load, load_any, names_a_file
from derive.schemes import (
    MultistepFamily,
    Scheme,
    Splitting,
    scheme_by_name,
)
from derive.schemes.stochastic import StochasticRungeKutta
from derive.schemes.substitution import entries, with_values
from derive.schemes.tables.explicit import forward_euler
from derive.symbols import by_name, state
from derive.systems import ODE, Spec

ANGLE, SPEED = state("s", (), latex="s"), state("v", (), latex="v")
ENERGY = SPEED**2 / 2 - cos(ANGLE)
PENDULUM = ODE(state=(ANGLE, SPEED), velocity=(SPEED, -sin(ANGLE)))
SAMPLES = (Rational(0), Rational(1, 2), Rational(1))  # of a scheme's one symbol
TYPICAL = Rational(1, 2)


@dataclass(frozen=True)
class Subject:
    """What an id or a file stands for.

    Attributes:
        label: for file names.
        spec: the system; of a scheme alone the pendulum.
        given: the scheme alone, where the id or file is one.
        only: the kinds of plots that it has, in their order, where not all of the system's are meant.
        about: title of the statement that the system illustrates.
    """

    label: str
    spec: Spec
    given: Scheme | None = None
    only: tuple[str, ...] = ()
    about: str = ""

    @property
    def title(self) -> str:
        """Of the scheme or the system; which one it is shown with, where that is one of several or another one."""
        if self.about:
            return f"{self.about}\nshown on {self.spec.title}"
        if self.problem is not None and self.spec.option:
            (option,) = [name for name, one in self.spec.variants.items() if one is self.problem]
            return f"{self.spec.title} ({option})"
        if self.given is not None:
            return _capital(self.given.title)
        if isinstance(self.spec.scheme, MultistepFamily) and self.scheme is not None:
            return f"{self.spec.title} ({self.scheme.title})"
        return self.spec.title

    @property
    def ode(self) -> ODE | None:
        """The system, where it is an ODE."""
        return self.spec.system if isinstance(self.spec.system, ODE) else None

    @cached_property
    def problem(self) -> OptimalControl | None:
        """The first problem of optimal control that has a feedback in closed form, or else the first one."""
        problems = [one for one in self.spec.variants.values() if isinstance(one, OptimalControl)]
        solved = (one for one in problems if feedback_of(one) is not None)
        return next(solved, problems[0] if problems else None)

    @cached_property
    def scheme(self) -> Scheme | None:
        """The scheme as it stands, of a family its first sample; None of a recurrence."""
        if self.ode is None:
            return None
        found = scheme_by_name(self.spec.scheme)
        if isinstance(found, MultistepFamily):
            return found.samples[0] if found.samples else None
        return found

    @cached_property
    def symbols(self) -> list[Symbol]:
        """The symbols among the scheme's entries."""
        return [] if self.scheme is None else by_name(symbols_of(self.scheme))

    @cached_property
    def members(self) -> list[tuple[str, Scheme]]:
        """The scheme alone, or with some values of its one symbol, and how each is labelled (LaTeX)."""
        if self.scheme is None or len(self.symbols) != 1:
            return [] if self.scheme is None else [("", self.scheme)]
        (symbol,) = self.symbols
        name = getattr(symbol, "latex", "") or str(symbol)
        return [(f"{_greek(name)} = {value}", with_values(self.scheme, {symbol: value})) for value in SAMPLES]

    @cached_property
    def typical(self) -> Scheme | None:
        """The scheme with 1/2 for each of its symbols."""
        return None if self.scheme is None else with_values(self.scheme, dict.fromkeys(self.symbols, TYPICAL))

    @property
    def stepped(self) -> Scheme | None:
        """As `typical`, of exact flows on the pendulum with a substep that is exact on its shears."""
        scheme = self.typical
        if isinstance(scheme, Splitting) and scheme.substep is None and self.ode is PENDULUM:
            return replace(scheme, substep=forward_euler())
        return scheme

    @property
    def note(self) -> str:
        """What values `typical` has, in LaTeX between dollars; empty without symbols."""
        names = [_greek(getattr(symbol, "latex", "") or str(symbol)) for symbol in self.symbols]
        return ", ".join(f"${name} = 1/2$" for name in names)


def subject_of(reference: str) -> Subject:
    """The subject of a scheme's id, a system's id, or a file that holds either.

    Raises:
        DeriveError: there is none of that name, or the file holds none.
    """
    found = load_any(reference)
    label = Path(reference.partition(":")[0]).stem if names_a_file(reference) else reference
    if isinstance(found, Spec) and found.illustration is not None:
        return Subject(found.id, load(found.illustration.system), only=found.illustration.plots, about=found.title)
    if isinstance(found, Spec):
        return Subject(label if found.id == label else found.id, found)
    if isinstance(found, StochasticRungeKutta):
        return Subject(label, integrator(found, label))
    invariants: dict[str, Any] = {"energy": (ENERGY, {})}
    demonstration = Spec("pendulum", "Pendulum", "pendulum", PENDULUM, scheme=found, invariants=invariants)
    return Subject(label, demonstration, found)


def symbols_of(scheme: Scheme) -> set[Symbol]:
    """Symbols among the entries of a scheme."""
    return {symbol for entry in entries(scheme) for symbol in entry.free_symbols}


def _greek(name: str) -> str:
    return rf"\{name}" if name in ("theta", "alpha", "beta", "gamma", "kappa") else name


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

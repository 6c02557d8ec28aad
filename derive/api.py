"""The analyses as functions of a spec, a scheme or an id: what a notebook calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sympy import Symbol

from derive import expansion, phase_space
from derive.errors import UnsupportedError
from derive.explanation import recurrences
from derive.inversion import Inverse, invert
from derive.loading import load
from derive.networks import Network
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.scheme_sections import stable_interval
from derive.schemes import SCHEMES, LinearMultistep, Scheme, scheme_by_name
from derive.symbols import state
from derive.systems import ODE, Recurrence, Spec
from derive.truncation import Truncation, truncation

Source = Spec | str | Path


def as_spec(source: Source) -> Spec:
    """A spec, or the one of an id or file."""
    return source if isinstance(source, Spec) else load(str(source))


def step_of(source: Source, option: str | None = None) -> Recurrence:
    """One step of a spec; of a spec with options the first one unless named."""
    steps = recurrences(as_spec(source))
    return steps[next(iter(steps)) if option is None else option]


def adjoint(source: Source, option: str | None = None) -> Adjoint:
    """Reverse sweep over one step: the discrete adjoint."""
    return reverse_sweep(step_of(source, option).step)


def hamiltonian(source: Source | ODE) -> phase_space.Hamiltonian:
    """H = a . F of an ODE, with the costate's equation.

    Raises:
        UnsupportedError: the spec's system is a recurrence.
    """
    return phase_space.hamiltonian(source if isinstance(source, ODE) else _ode(as_spec(source)))


def inverse(source: Source, option: str | None = None) -> Inverse | None:
    """The explicit inverse of a step, or None."""
    return invert(step_of(source, option))


def analyse(source: Source | Scheme) -> Truncation:
    """Order and leading local error of a spec's scheme on its ODE, or of a scheme on x' = f(x)."""
    if not isinstance(source, Spec | str | Path) or source in SCHEMES:
        unknown = state("x")
        return truncation(ODE((unknown,), (Network("f")(unknown),)), _scheme(source))
    spec = as_spec(source)
    return truncation(_ode(spec), scheme_by_name(spec.scheme))


def modified_equation(source: Source | Scheme, terms: int = 3) -> expansion.ModifiedEquation:
    """Weights of both sides of the modified equation of a multistep scheme.

    Raises:
        UnsupportedError: a Runge-Kutta scheme; its modified equation is in `explain`.
    """
    scheme = _scheme(source)
    if not isinstance(scheme, LinearMultistep):
        raise UnsupportedError(f"{scheme.title}: the modified equation in this form is for multistep schemes")
    return expansion.modified_equation(scheme, terms)


def stability(source: Source | Scheme) -> Any:
    """Values of a multistep scheme's one symbol that satisfy the root condition; the polynomial R(z) of a tableau."""
    scheme = _scheme(source)
    if isinstance(scheme, LinearMultistep):
        return stable_interval(scheme)
    return scheme.stability_function(Symbol("z"))


def _scheme(source: Source | Scheme) -> Scheme:
    if isinstance(source, str) and source in SCHEMES:
        return SCHEMES[source]
    if isinstance(source, Spec | str | Path):
        return scheme_by_name(as_spec(source).scheme)
    return source


def _ode(spec: Spec) -> ODE:
    if not isinstance(spec.system, ODE):
        raise UnsupportedError(f"{spec.id} is a recurrence, not an ODE")
    return spec.system

"""The analyses as functions of a spec, a scheme or an id: what a notebook calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from sympy import Expr, Symbol

from derive import discretization, phase_space
from derive.analysis import Analysis
from derive.chains import Chain
from derive.control import OptimalControl
from derive.delay import DelayODE
from derive.delay_steps import delay_step
from derive.determinants import log_determinant
from derive.errors import SpecError, UnknownNameError, UnsupportedError, shown
from derive.explanation import programs_of, recurrences
from derive.fixed_point import FixedPoint
from derive.fixed_point_sections import implicit_adjoint
from derive.flow import ContinuousFlow, Flow
from derive.flow_inverse import FlowInverse
from derive.flow_programs import adjoint_of, flow_programs
from derive.inversion import Inverse, invert
from derive.linear_stability import stability_function
from derive.loading import load, load_any, load_scheme
from derive.program import Program, name_functions
from derive.random_recurrence import RandomRecurrence
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.scheme_sections import stable_interval
from derive.schemes import SCHEME_KINDS, SCHEMES, LinearMultistep, MultistepFamily, Scheme
from derive.schemes.every import ANY_SCHEME_KINDS, EVERY_SCHEME, AnyScheme
from derive.schemes.findings import Finding, unrefused
from derive.schemes.lint import lint as findings_of
from derive.schemes.stochastic import StochasticRungeKutta
from derive.sde import SDE
from derive.sde_moments import MomentEquations
from derive.series.differentials import DifferentialTable
from derive.spec_schemes import scheme_of
from derive.stochastic.analysis import StochasticAnalysis
from derive.systems import ODE, Option, Spec
from derive.traces import named_divergence
from derive.weak_limit import WeakLimit, match_moments

Source = Spec | str | Path
Wanted = TypeVar("Wanted")
ORDINARY = "a file path/to/file.py[:NAME], a ButcherTableau, an AdditiveTableau, a LinearMultistep"
TABLES = f"{ORDINARY}, a StochasticRungeKutta"
ALLOWED = f"give an id (`derive list`, `derive list --schemes`), {TABLES}, a Splitting, a Spec"
SCHEMES_ALLOWED = f"give an id (`derive list --schemes`), {ORDINARY} or a Splitting"
SYSTEMS_ALLOWED = "give an id (`derive list`), a file path/to/file.py[:NAME] or a Spec"


def as_spec(source: Source, also: str = "") -> Spec:
    """A spec, or the one of an id or file.

    Raises:
        SpecError: it is nothing of this; the message says what is allowed, and what a function takes `also`.
    """
    if isinstance(source, Spec):
        return source
    if not isinstance(source, str | Path):
        raise SpecError(f"{shown(source)} is no system: {SYSTEMS_ALLOWED}{also and f', or {also}'}")
    return load(source)


def step_of(source: Source, option: Option | None = None) -> Recurrence:
    """One step of a spec; of a spec with options the first one unless named.

    Raises:
        UnsupportedError: the spec's system has no steps: it is a graph, or a chain of layers.
    """
    spec = as_spec(source)
    steps = recurrences(spec)
    if not steps:
        raise UnsupportedError(f"{spec.id} has no steps; derive.explain shows what is derived of it")
    return _option(spec, steps, option)


def discretize(source: Source | ODE, scheme: str | Path | Scheme | MultistepFamily | None = None) -> Recurrence:
    """One step of a scheme applied to an ODE, as `derive.discretization.discretize` makes it.

    Args:
        source: an ODE, or a spec of one, an id or a file.
        scheme: id of a scheme, a file that holds one, or the object itself; a spec's own unless given.

    Raises:
        UnknownNameError: no system or no scheme has that id.
        UnsupportedError: the spec's system is no ODE, or the scheme does not apply to it.
        SpecError: an ODE without a scheme, or what is no scheme.
    """
    if not isinstance(source, ODE):
        spec = as_spec(source, "an ODE itself")
        return discretize(_ode(spec), spec.scheme if scheme is None else scheme)
    chosen = load_scheme(scheme) if isinstance(scheme, str | Path) else scheme
    if isinstance(chosen, str):
        chosen = SCHEMES.get(chosen, EVERY_SCHEME[chosen])
    if isinstance(chosen, StochasticRungeKutta):
        raise SpecError(f"{chosen.title} is a scheme for stochastic equations: derive.stochastic_step makes its step")
    if not isinstance(chosen, (MultistepFamily, *SCHEME_KINDS)):
        raise SpecError(f"{chosen!r} is no scheme: {SCHEMES_ALLOWED}")
    return discretization.discretize(source, chosen)


def adjoint(source: Source, option: Option | None = None) -> Adjoint:
    """Reverse sweep over a step (the discrete adjoint), graph, flow, layer, equilibrium, or the field of a problem."""
    spec = as_spec(source)
    system = _option(spec, spec.variants, option)
    if isinstance(system, Flow):
        return adjoint_of(flow_programs(system).forward)
    if isinstance(system, FixedPoint):
        return implicit_adjoint(system)
    if isinstance(system, DelayODE):
        return reverse_sweep(delay_step(system).step)
    if isinstance(system, Chain | Program | OptimalControl):
        return reverse_sweep(name_functions(programs_of(system)[0]))
    return reverse_sweep(step_of(spec, option).step)


def hamiltonian(source: Source | ODE | OptimalControl, option: Option | None = None) -> phase_space.Hamiltonian:
    """H = a . F + running cost of an ODE or of an optimal-control problem, with the costate's equation.

    Raises:
        UnsupportedError: the spec's system is neither.
    """
    if isinstance(source, OptimalControl):
        return source.hamiltonian
    if isinstance(source, ODE):
        return phase_space.hamiltonian(source)
    spec = as_spec(source, "an ODE or an OptimalControl itself")
    system = _option(spec, spec.variants, option)
    return system.hamiltonian if isinstance(system, OptimalControl) else phase_space.hamiltonian(_ode(spec))


def moments(source: Source | SDE, order: int = 2, option: Option | None = None) -> MomentEquations:
    """Moments of an SDE whose components are linear: `.equations`, `.solutions`, and `.after_step` of a scheme.

    Raises:
        UnsupportedError: the system is no SDE; or, when they are asked for, the moments are not closed.
    """
    if isinstance(source, SDE):
        return MomentEquations(source, order)
    spec = as_spec(source, "an SDE itself")
    system = _option(spec, spec.variants, option)
    if isinstance(system, SDE):
        return MomentEquations(system, order)
    raise UnsupportedError(f"{spec.id} is no SDE: it has no equations of moments")


def inverse(source: Source, option: Option | None = None) -> Inverse | FlowInverse | None:
    """The explicit inverse of a step, or the inverse of a flow; None where there is none."""
    spec = as_spec(source)
    system = _option(spec, spec.variants, option)
    if isinstance(system, Flow):
        return flow_programs(system).inverse
    return invert(step_of(source, option))


def logdet(source: Source | Flow | ContinuousFlow, option: Option | None = None) -> Expr:
    """log |det| of a flow from data to base, in the quantities of its map; of a continuous one its rate, the trace.

    Raises:
        UnsupportedError: the system is no flow, or its linearization has no structure that is read.
    """
    if isinstance(source, Flow):
        return log_determinant(flow_programs(source).factors)
    if isinstance(source, ContinuousFlow):
        return named_divergence(source.field)
    spec = as_spec(source, "a Flow or a ContinuousFlow itself")
    system = _option(spec, spec.variants, option)
    if isinstance(system, Flow | ContinuousFlow):
        return logdet(system)
    raise UnsupportedError(f"{spec.id} is no flow: it has no log-determinant")


def weak_limit_of(source: Source | RandomRecurrence, option: Option | None = None) -> WeakLimit:
    """The SDE of small steps of a recurrence with random draws: drift, diffusion, weak order with its proof.

    Raises:
        UnsupportedError: the system draws nothing, or its increment is not affine in what it draws.
    """
    if isinstance(source, RandomRecurrence):
        return match_moments(source)
    system = step_of(as_spec(source, "a RandomRecurrence itself"), option)
    if not isinstance(system, RandomRecurrence):
        raise UnsupportedError(f"{as_spec(source).id} has no random draws; allowed: a RandomRecurrence")
    return match_moments(system)


def analyse(source: Source | AnyScheme) -> Analysis | StochasticAnalysis:
    """Order, local error, conditions on the symbols and modified equation of a scheme.

    Of a scheme for stochastic equations its strong and weak orders, and what stands in the way of more.

    Args:
        source: id of a scheme or of a system (then its scheme, or what the first of its readings makes of its step), a
            file that holds either, or the object itself.

    Raises:
        UnsupportedError: the spec's system is not discretized and has no reading: it has no scheme.
        SpecError: the source is nothing of this.
    """
    scheme = _scheme(source)
    return StochasticAnalysis(scheme) if isinstance(scheme, StochasticRungeKutta) else Analysis(scheme)


def modified_equation(source: Source | Scheme, order: int) -> dict[int, DifferentialTable]:
    """The field whose flow a scheme is: power of h, 0 to `order` -> elementary differential -> coefficient.

    Args:
        source: as for `analyse`; of a multistep scheme its principal branch.
        order: last power of h.

    Raises:
        UnsupportedError: as for `analyse`.
    """
    return Analysis(_ordinary(source, "a modified equation")).modified_equation(order)


def lint(source: Source | AnyScheme) -> tuple[Finding, ...]:
    """What is wrong with a scheme, what is doubtful, and which shipped scheme it is: errors first.

    Args:
        source: as for `analyse`; a scheme that would be refused can be made under `derive.schemes.findings.unrefused`.

    Raises:
        UnsupportedError: as for `analyse`.
    """
    with unrefused():
        return findings_of(_scheme(source))


def stability(source: Source | Scheme) -> Any:
    """Values of a multistep scheme's one symbol that satisfy the root condition; else its `stability_function` of z."""
    scheme = _ordinary(source, "a stability function")
    return stable_interval(scheme) if isinstance(scheme, LinearMultistep) else stability_function(scheme, Symbol("z"))


def _ordinary(source: Source | Scheme, what: str) -> Scheme:
    """A scheme that solves ordinary equations."""
    found = _scheme(source)
    if isinstance(found, StochasticRungeKutta):
        raise UnsupportedError(
            f"{found.title} is a scheme for stochastic equations: {what} is derived of the others; "
            "derive.analyse gives its strong and weak orders"
        )
    return found


def _scheme(source: Source | AnyScheme) -> AnyScheme:
    found = load_any(source) if isinstance(source, str | Path) else source
    if isinstance(found, ANY_SCHEME_KINDS):
        return found
    if not isinstance(found, Spec):
        raise SpecError(f"{found!r} is no scheme: {ALLOWED}")
    scheme = scheme_of(found)
    if scheme is None:
        raise UnsupportedError(f"{found.id} has no scheme of an ODE or SDE: {ALLOWED}")
    return scheme


def _option(spec: Spec, systems: Mapping[Option, Wanted], option: Option | None) -> Wanted:
    """The system of an option; the first one unless it is named."""
    if not systems:
        raise UnsupportedError(f"{spec.id} has no system; derive.explain shows what is derived of it")
    if option is None:
        return next(iter(systems.values()))
    if option not in systems:
        raise UnknownNameError(f"option of {spec.id}", str(option), map(str, systems))
    return systems[option]


def _ode(spec: Spec) -> ODE:
    if not isinstance(spec.system, ODE):
        raise UnsupportedError(f"{spec.id} is no ODE: its system is of the kind {type(spec.system).__name__}")
    return spec.system

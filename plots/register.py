"""The kinds of plots: which subject has which, and the module that makes it, imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from derive.chains import Chain
from derive.control_feedback import feedback_of
from derive.discretization import discretize
from derive.errors import DeriveError
from derive.fixed_point import FixedPoint
from derive.flow import ContinuousFlow, Flow
from derive.flow_programs import flow_programs
from derive.recurrence import Recurrence
from derive.schemes import ButcherTableau, LinearMultistep, MultistepFamily
from plots.cell_gates import gates_of
from plots.cell_slopes import variants_with_slopes
from plots.delays import cell_of
from plots.equations import equation_of
from plots.modes import matrix_of
from plots.responses import is_scalar
from plots.runs import problem_of
from plots.steps import pair_of
from plots.subject import PENDULUM, Subject


@dataclass(frozen=True)
class Kind:
    """A kind of plot.

    Attributes:
        name: as the command line takes it; `plots.<module>` has `data(subject)` and `draw(subject, data)`.
        applies: whether a subject has what is plotted.
        needs: what a subject must have, in words.
        instead: why a subject near it has none, and what is possible; empty of all others.
    """

    name: str
    applies: Callable[[Subject], bool]
    needs: str
    instead: Callable[[Subject], str] = lambda _: ""

    @property
    def module(self) -> ModuleType:
        """The module that computes and draws it."""
        return importlib.import_module(f"plots.{self.name}")


def _has_scheme(subject: Subject) -> bool:
    return subject.scheme is not None


def _runs(subject: Subject) -> bool:
    """Whether its steps can be made: the scheme is explicit for the field."""
    if subject.ode is None or subject.stepped is None:
        return False
    try:
        discretize(subject.ode, subject.stepped)
    except DeriveError:
        return False
    return True


def _moves_in_a_plane(subject: Subject) -> bool:
    return _runs(subject) and subject.ode is not None and problem_of(subject.ode, subject.spec.defaults).size > 1


def _keeps_something(subject: Subject) -> bool:
    return bool(subject.spec.invariants) and _runs(subject)


def _moves_on_a_line(subject: Subject) -> bool:
    """A scheme alone is shown on a field of its own; a system must have one unknown, which gets one component."""
    if subject.ode is None or not _runs(subject):
        return False
    if subject.ode is PENDULUM:
        return isinstance(subject.scheme, ButcherTableau | LinearMultistep)
    return len(subject.ode.state) == 1 and not subject.ode.initial


def _is_emitted(subject: Subject) -> bool:
    """Whether it is a system, emitted as a loop over steps whose constructor needs no weights."""
    emitted = subject.given is None and subject.spec.class_name and subject.spec.in_steps
    return bool(emitted) and not isinstance(subject.spec.scheme, MultistepFamily)


def _is_net(subject: Subject) -> bool:
    """Whether it is one stream through layers, each with a network of its own."""
    ode = subject.ode
    return ode is not None and len(ode.state) == 1 == len(ode.networks) and all(n.per_layer for n in ode.networks)


def _has_feedback(subject: Subject) -> bool:
    return subject.problem is not None and feedback_of(subject.problem) is not None


def _has_a_plane(subject: Subject) -> bool:
    """Whether state and costate span a plane when the unknown has one component."""
    problem = subject.problem
    if problem is None or problem.population:  # whose samples share a control, and so do not move by themselves
        return False
    return len(problem.ode.state) == 1 and problem.ode.time is None and not problem.networks


def _is_a_problem(subject: Subject) -> bool:
    return subject.problem is not None


def _is_flow(subject: Subject) -> bool:
    """Whether it is a flow with an inverse."""
    system = subject.spec.system
    if subject.given is not None or not isinstance(system, Flow | ContinuousFlow):
        return False
    return isinstance(system, ContinuousFlow) or (len(system.parts) <= 2 and flow_programs(system).backward is not None)


def _is_fixed_point(subject: Subject) -> bool:
    return isinstance(subject.spec.system, FixedPoint)


def _has_paths(subject: Subject) -> bool:
    """Whether it is a stochastic differential equation whose components can be shown alone."""
    return subject.given is None and equation_of(subject) is not None


def _chooses_steps(subject: Subject) -> bool:
    return pair_of(subject) is not None


def _is_scalar_recursion(subject: Subject) -> bool:
    variants = subject.spec.variants.values()
    return subject.given is None and bool(variants) and all(map(is_scalar, variants))


def _has_a_told_delay(subject: Subject) -> bool:
    variants = list(subject.spec.variants.values())
    return subject.given is None and len(variants) == 1 and cell_of(variants[0]) is not None


def _has_modes(subject: Subject) -> bool:
    """Whether every variant is a linear step with numbers."""
    variants = subject.spec.variants.values()
    return subject.given is None and bool(variants) and all(matrix_of(subject.spec, v) is not None for v in variants)


def _is_cell(subject: Subject) -> bool:
    """Whether it is emitted as a cell that reads a sequence."""
    spec = subject.spec
    return subject.given is None and bool(spec.class_name) and any(map(_reads_a_sequence, spec.variants.values()))


def _reads_a_sequence(system: object) -> bool:
    return isinstance(system, Recurrence) and not system.in_depth


def _passes_gradients(subject: Subject) -> bool:
    """Whether weights of such a cell are drawn, and a variant of it passes gradients from state to state."""
    return _is_cell(subject) and not subject.spec.values and bool(variants_with_slopes(subject.spec))


def _gradients_instead(subject: Subject) -> str:
    """Of a cell with exact weights."""
    spec = subject.spec
    if not (_is_cell(subject) and spec.values):
        return ""
    sloped = variants_with_slopes(spec)
    options = {name: ", ".join(f"{o}={v!r}" for o, v in spec.chosen(str(name)).items()) for name in spec.variants}
    flat = " and ".join(shown for name, shown in options.items() if name not in sloped)
    parts = [f"it shows weights as they are drawn, and those of {spec.id} start exact"]
    parts += [f"no gradient passes with {flat}, whose slope is zero almost everywhere"] if flat else []
    for name in list(sloped)[:1]:
        parts.append(f"codegen.diagnostics.gradient_profile measures {spec.class_name}({options[name]}) as it is")
    return "; ".join([*parts, "a spec of the cell without `values=` has the plot"])


def _has_gates(subject: Subject) -> bool:
    """Whether weights of such a cell are drawn, and its first variant has gates and reads nothing but its input."""
    if not _is_cell(subject) or subject.spec.values:
        return False
    first = next(iter(subject.spec.variants.values()))
    return isinstance(first, Recurrence) and len(first.inputs) == 1 and bool(gates_of(first.step))


def _is_chain(subject: Subject) -> bool:
    """Whether it is emitted as a chain of layers with a choice of activations."""
    variants = subject.spec.variants
    chains = all(isinstance(one, Chain) for one in variants.values())
    return subject.given is None and bool(subject.spec.class_name) and len(variants) > 1 and chains


# In the order in which a kind is the default one: a scheme alone shows its region, a system what it does.
KINDS = (
    Kind("control", _has_feedback, "a problem of optimal control that is linear in state and costate"),
    Kind("cells", _has_a_plane, "a problem of control of one sample with one unknown, no clock and no network"),
    Kind("costates", _is_a_problem, "a problem of optimal control"),
    Kind("stability", _has_scheme, "a scheme"),
    Kind("convergence", _runs, "an ODE with a scheme that is explicit for it"),
    Kind("phase", _moves_in_a_plane, "an ODE of two components or more, with a scheme that is explicit for it"),
    Kind("trajectory", _runs, "an ODE with a scheme that is explicit for it"),
    Kind("energy", _keeps_something, "an invariant, with a scheme that is explicit for the ODE"),
    Kind("activations", _is_net, "one stream through layers with a network each"),
    Kind("memory", _is_emitted, "a system that is emitted as a loop over steps"),
    Kind("density", _is_flow, "a flow with an inverse"),
    Kind("equilibrium", _is_fixed_point, "a fixed point"),
    Kind("paths", _has_paths, "a stochastic differential equation whose components do not see each other"),
    Kind("steps", _chooses_steps, "an embedded pair, alone or as what solves an ODE with adaptive steps"),
    Kind("crossing", _moves_on_a_line, "an ODE of one unknown, with a scheme that is explicit for it"),
    Kind("responses", _is_scalar_recursion, "a recurrence of one number with a weight"),
    Kind("delays", _has_a_told_delay, "a cell of a delay equation whose delay the constructor is told"),
    Kind(
        "gradients",
        _passes_gradients,
        "a recurrent cell whose weights are drawn, with a state that has a slope",
        _gradients_instead,
    ),
    Kind("gates", _has_gates, "a recurrent cell whose weights are drawn, with gates and without targets"),
    Kind("profile", _is_chain, "a chain of layers with a choice of activations"),
    Kind("modes", _has_modes, "a linear recurrence of numbers with a default for each weight"),
)


def kinds_of(subject: Subject) -> dict[str, Kind]:
    """The kinds that a subject has, the default one first."""
    available = {kind.name: kind for kind in KINDS if kind.applies(subject)}
    return {name: available[name] for name in subject.only or available}

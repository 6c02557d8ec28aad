"""The module class of a continuous flow: a solver of the augmented ODE, and the flow that it moves."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.adaptive.pairs import pairs_view
from codegen.printer import TorchPrinter
from codegen.render import render
from codegen.steps.facts import Facts
from codegen.steps.module import write_module
from codegen.steps.source import Function, tuple_display
from codegen.steps.text import IMPORTS
from codegen.views import common_view
from derive.derivation import Derivation
from derive.embedded import embedded_pair, embedded_pairs
from derive.errors import UnsupportedError
from derive.explanation import recurrences
from derive.flow import ContinuousFlow
from derive.flow_explanation import ADAPTIVE
from derive.networks import Call
from derive.operators import show_shape
from derive.reverse_sweep import reverse_sweep
from derive.schemes import ButcherTableau, scheme_by_name
from derive.symbols import Quantity, Role, by_name
from derive.systems import Spec
from derive.traces import named_divergence

STEPS = 40
SUPPORT = ("continuous_flows", "drawn_parameters", "norms")
READ = (Role.STATE, Role.TIME, Role.PARAMETER)


def continuous_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a continuous flow.

    Raises:
        UnsupportedError: a field that is not one opaque network, or a scheme that is no Runge-Kutta one.
    """
    (flow,) = (system for system in spec.variants.values() if isinstance(system, ContinuousFlow))
    scheme = scheme_by_name(flow.scheme)
    if not isinstance(scheme, ButcherTableau):
        raise UnsupportedError(
            f"{spec.id}: {scheme.title} is no Runge-Kutta scheme; the flow is solved by one of these"
        )
    written = None if flow.field.networks else WrittenFlow(spec, flow, derivation)
    if written is None and not _is_one_network(flow):
        raise UnsupportedError(
            f"{spec.id}: the field is {flow.field.velocity[0]}; allowed: one network of (t, z) or (z), or a field that "
            "is written out without networks"
        )
    name = f"{spec.class_name}Solver"
    solver = Spec(spec.id, name, f"{spec.title}: steps by {scheme.title}", flow.augmented, scheme=flow.scheme)
    (step,) = recurrences(solver).values()
    facts = Facts(solver, scheme, step, derivation, "")
    module = write_module({"": facts})
    programs = [step.step, reverse_sweep(step.step).program]
    view = {
        "functions": module.functions,
        "rules": module.rules,
        "base": module.base,
        "solver_name": name,
        "adaptive_method": repr(ADAPTIVE),
        "solver_methods": module.methods,
        "solver_doc": module.class_doc,
        **pairs_view({name: embedded_pair(name) for name in embedded_pairs()}, derivation),
        "pairs_note": "",
        "adaptive_name": f"{spec.class_name}Adaptive",
        "adaptive_doc": f"{spec.title}: steps that an embedded pair chooses.",
        "class_doc": _class_doc(spec, scheme.title, written),
        "methods": (_constructor(written),),
        "field": written,
    }
    notes = {**facts.notes, "Choice of the steps": 'with solver="adaptive": `Control.factor` and `adaptive_steps`.'}
    common = common_view(spec, derivation, programs, command, [*module.support, *SUPPORT], IMPORTS, notes)
    return render("continuous_module.py.jinja", {**view, **common})


def _is_one_network(flow: ContinuousFlow) -> bool:
    """Whether the field is the value of one network at the state."""
    (value,), (z,) = flow.field.velocity, flow.field.state
    return isinstance(value, Call) and value.point[-2] == z


@dataclass(frozen=True)
class WrittenFlow:
    """A field that is written out: its class, which holds what is learned.

    Attributes:
        spec: what is emitted, with `flow` as its system.
        derivation: for the equation numbers.
    """

    spec: Spec
    flow: ContinuousFlow
    derivation: Derivation

    def __post_init__(self) -> None:
        others = [q.name for q in by_name(self.flow.field.quantities) if q.role not in READ]
        stray = [q.name for q in self.parameters if any(size != self.z.shape[0] for size in q.shape)]
        if others or stray:
            raise UnsupportedError(
                f"{self.spec.id}: the field reads {', '.join(others + stray)}; allowed: the state, the time, and "
                f"parameters that are numbers or of its size {self.z.shape[0]}"
            )

    @property
    def z(self) -> Quantity:
        """The state."""
        return self.flow.field.state[0]

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is learned, by name."""
        return tuple(q for q in by_name(self.flow.field.quantities) if q.role is Role.PARAMETER)

    @property
    def name(self) -> str:
        """Of its class."""
        return f"{self.spec.class_name}Field"

    @property
    def methods(self) -> tuple[Function, ...]:
        """Constructor and the field with its divergence."""
        bound = "self.dim**-0.5"
        body = ["super().__init__()", "self.dim = dim"]
        for q in self.parameters:
            shape = tuple_display(["self.dim"] * len(q.shape)) if q.shape else "()"
            start = self.spec.defaults.get(q.name)
            shown = "None" if start is None else repr(float(start))
            body.append(f"self.{q.name} = drawn_parameter({shape}, {shown}, {bound}, device, dtype)")
        given = "self, dim: int, device: torch.device | str | None, dtype: torch.dtype | None"
        return Function("__init__", given, "None", "See the class.", tuple(body)), self._forward()

    def _forward(self) -> Function:
        program, printer = self.flow.field.field_program(), TorchPrinter()
        names = [q.name for q in self.parameters]
        held = "".join(f", {name}=self.{name}" for name in names)
        moment = self.flow.field.time
        body = [f"{self.z.name} = s[..., :-1]", f"check_dtype({self.spec.class_name!r}, {self.z.name}{held})"]
        body += [f"{moment.name} = moment"] if moment is not None else []
        body += [f"{name} = self.{name}" for name in names]
        for line in program.assignments:
            number = self.derivation.number_of(f"map.{line.target.name}")
            body.append(f"{line.target.name} = {printer(line.value)}  # ({number})")
        divergence = printer(named_divergence(self.flow.field))
        body.append(f"divergence = {divergence} + torch.zeros_like({self.z.name}[..., :1])"
                    f"  # ({self.derivation.number_of('trace')})")  # fmt: skip
        field = program.outputs[0].name
        body.append(f"return torch.cat(({field} + torch.zeros_like({self.z.name}), divergence), -1)")
        doc = f"(t, ({self.z.name}, l)) -> (velocity, divergence)."
        return Function("forward", "self, moment: Tensor, s: Tensor", "Tensor", doc, tuple(body))

    @property
    def doc(self) -> str:
        """Of its class."""
        held = ", ".join(f"`{q.name}` {show_shape(q.shape)}" for q in self.parameters)
        value = self.flow.field.velocity[0]
        return f"{self.z}' = {value}, and its divergence." + (f"\n\n    Parameters: {held}." if held else "")


def _constructor(written: WrittenFlow | None) -> Function:
    given = ["t0: float | Tensor = 0.0", "t1: float | Tensor = 1.0", 'solver: str = "fixed"', f"steps: int = {STEPS}"]
    given += ["method: Any = None", "rtol: float | None = None", "atol: float | None = None"]
    given += ["max_steps: int | None = None"]
    given += [] if written else ['trace: str = "exact"']
    given += ['memory: str = "store"', "base: Any = None", 'gradient: str = "derived"']
    names = [part.split(":")[0] for part in given]
    passed = [f"{name}={name}" for name in names] + (['trace="exact"'] if written else [])
    if written:
        given += ["device: torch.device | str | None = None", "dtype: torch.dtype | None = None"]
        field = f"{written.name}(dim, device, dtype)"
        first = ["self", "dim: int", "*"]
    else:
        field, first = "field", ["self", "dim: int", "field: Callable[..., Tensor]", "*"]
    body = (f"super().__init__(dim, {field}, {', '.join(passed)})",)
    return Function("__init__", ", ".join([*first, *given]), "None", "See the class.", body)


def _class_doc(spec: Spec, scheme: str, written: WrittenFlow | None) -> str:
    methods = ", ".join(map(repr, embedded_pairs()))
    trace_doc = """        trace: "exact" by a product with the Jacobian for every component, or "hutchinson": one
            product with random signs, drawn once for each solution, whose mean is the trace.
"""
    field_doc = """        field: the field, called field(t, z), or field(z) where it takes one argument.
"""
    field = f"{written.z}' = {written.flow.field.velocity[0]}" if written else "z' = field(t, z)"
    return f"""{spec.title}: {field} from data at t0 to base at t1.

    `forward(x)`: data (..., dim) -> (y, log|det dy/dx|), the integral of the divergence; `inverse(y)` goes back.
    `log_prob(x)`, `sample(n, generator)`, `as_transform()` for torch.distributions.

    Args:
        dim: components of a vector.
{"" if written else field_doc}        t0: time of the data.
        t1: time of the base.
        solver: "fixed", steps of one size by {scheme}; or "adaptive", steps of the size that the error
            estimate of an embedded pair allows. Round trip and log-determinant are as exact as the steps.
        steps: number of fixed steps from t0 to t1.
        method: of adaptive steps, which alone take this, rtol, atol and max_steps; {ADAPTIVE!r} unless given.
            {methods}, or an object with nested floats A, b, c,
            b_error (dense, if it has one).
        rtol: the error of a step may be atol + rtol |s|, s = (z, l), in the mean square over all elements, batch
            included; 1e-6 unless given.
        atol: see rtol; 1e-8 unless given.
        max_steps: accepted and rejected, of which more are an error; 10000 unless given.
{"" if written else trace_doc}        memory: what the backward pass keeps: store, recompute, checkpoint if fixed.
        base: density of y; None for N(0, I).
        gradient: "derived" runs the discrete adjoint of the steps, "autograd" differentiates them."""

"""The module class of a system that is a loop over steps: nets in depth, integrators, explicit systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codegen.printer import TorchPrinter
from codegen.steps.rules import Function, Layout, RuleWriter, amplification, layout_of, tuple_display
from derive.derivation import Derivation
from derive.errors import SpecError
from derive.inversion import Inverse, invert
from derive.operators import Operator, fill, show_shape
from derive.program import symbols_of
from derive.reversibility import inverse_amplification
from derive.schemes import LinearMultistep, Scheme
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import ODE, Recurrence, Spec

SUPPORT = ("cotangents", "construction", "step_net")


@dataclass(frozen=True)
class StepModule:
    """Everything of an emitted step module that depends on the spec.

    Attributes:
        functions: the rules.
        rules: source of the table of rules.
        methods: of the class.
        class_doc: its docstring.
    """

    functions: tuple[Function, ...]
    rules: str
    methods: tuple[Function, ...]
    class_doc: str


@dataclass(frozen=True)
class _Argument:
    """One constructor argument."""

    name: str
    annotation: str
    default: str
    doc: str

    @property
    def text(self) -> str:
        """As it stands in the signature."""
        return f"{self.name}: {self.annotation}" + (f" = {self.default}" if self.default else "")


class StepModuleWriter:
    """Writes the module of one spec.

    Args:
        spec: what is emitted; its system is an ODE.
        scheme: the discretization.
        recurrence: one step.
        derivation: for the equation numbers.
    """

    def __init__(self, spec: Spec, scheme: Scheme, recurrence: Recurrence, derivation: Derivation) -> None:
        assert isinstance(spec.system, ODE)
        self.spec, self.scheme, self.recurrence, self.derivation = spec, scheme, recurrence, derivation
        self.ode = spec.system
        self.layout: Layout = layout_of(recurrence)
        networks = recurrence.step.networks()
        # How far rebuilt states are trusted follows from characteristic roots and from a Jacobian that is measured
        # through the opaque network.
        trusted = networks and isinstance(scheme, LinearMultistep)
        self.inverse: Inverse | None = invert(recurrence) if trusted else None
        if len(networks) > 1:
            raise SpecError(f"{spec.id}: {len(networks)} networks; one can be emitted per step")
        self.network = networks[0] if networks else None
        self.layer_parameters = [q for q in self.layout.local if q.role is Role.LAYER_PARAMETER]
        self.parameters = [q for q in self.layout.shared if q.role is Role.PARAMETER]
        self.constants = [q for q in self.layout.shared if q.role is Role.CONSTANT]
        self.layered = bool(self.network.per_layer) if self.network else bool(self.layer_parameters)

    def write(self) -> StepModule:
        """All parts."""
        functions = [*self._step_functions(), *self._start_functions(), *self._inverse_functions()]
        methods = [
            self._constructor(),
            *self._embedding(),
            *self._blocks(),
            self._step_parameters(),
            *self._step_count(),
        ]
        return StepModule(tuple(functions), self._rules(), tuple(methods), self._class_doc())

    def _writer(self, prefix: str = "") -> RuleWriter:
        def number(kind: str, quantity: Quantity) -> str:
            return self.derivation.number_of(".".join(part for part in (prefix, kind, quantity.name) if part))

        return RuleWriter(self.layout, number)

    def _step_functions(self) -> list[Function]:
        step, old, new = self.recurrence.step, self.recurrence.old, self.recurrence.new
        writer = self._writer()
        return [writer.step("_step", step, old, new), writer.adjoint("_step_adjoint", step, old, new)]

    def _start_functions(self) -> list[Function]:
        functions = []
        first = self.recurrence.old[: self.layout.components]
        unknown = first[0].name if len(first) == 1 else "state"
        for name, program in self.recurrence.starts.items():
            writer = self._writer(f"start.{name}")
            made = f"{unknown}_1 from {unknown}_0, start {name!r}"
            doc = f"The first step: {made}."
            functions.append(writer.step(f"_start_{name}", program, first, self.recurrence.new, doc))
            doc = f"Reverse sweep over the first step: {made}."
            functions.append(writer.adjoint(f"_start_{name}_adjoint", program, first, self.recurrence.new, doc))
        return functions

    def _inverse_functions(self) -> list[Function]:
        if self.inverse is None or not isinstance(self.scheme, LinearMultistep):
            return []
        number = self.derivation.number_of("inverse_trust")
        body = amplification(inverse_amplification(self.scheme), self.layout, number)
        doc = "Factor by which one inverse step amplifies an error, for |h J| <= h * lipschitz."
        parameters = "local: Sequence[float], shared: Sequence[float], lipschitz: float"
        return [
            self._writer().inverse(self.inverse, self.recurrence),
            Function("_amplification", parameters, "float", doc, body),
        ]

    def _rules(self) -> str:
        fields = ["step=_step", "adjoint=_step_adjoint"]
        if self.inverse is not None:
            fields += ["inverse=_inverse", "amplification=_amplification"]
        if not self.recurrence.starts:
            return f"_RULES = Rules({', '.join(fields)})"
        rows = [
            f"{name!r}: Rules({', '.join(fields)}, start=(Rules(step=_start_{name}, adjoint=_start_{name}_adjoint),)),"
            for name in self.recurrence.starts
        ]
        return "\n".join(["_RULES = {", *(f"    {row}" for row in rows), "}"])

    def _arguments(self) -> tuple[list[_Argument], list[_Argument]]:
        """(positional, keyword-only) constructor arguments."""
        positional = []
        if self.network is not None and self.network.per_layer:
            positional.append(
                _Argument("blocks", "Iterable[nn.Module]", "", "one network per step, each (..., d) -> (..., d)")
            )
        elif self.network is not None:
            call = "field(t, x)" if self.network.takes_time else "field(x)"
            positional.append(_Argument("field", "Callable[..., Tensor]", "", f"the field, called {call}"))
        keywords = [self._parameter_argument(q) for q in (*self.layer_parameters, *self.parameters, *self.constants)]
        keywords += [
            _Argument(str(size), "int", "", f"size {size} of the augmentation") for size in self._augmented_sizes()
        ]
        keywords.sort(key=lambda argument: bool(argument.default))
        if self.layered:
            keywords.append(_Argument("step_size", "float | Tensor", "1.0", "h"))
        else:
            keywords += [
                _Argument("steps", "int", "", "number of steps from t0 to t1"),
                _Argument("t0", "float | Tensor", "0.0", "initial time"),
                _Argument("t1", "float | Tensor", "1.0", "final time"),
            ]
        keywords += self._options()
        return positional, keywords

    def _options(self) -> list[_Argument]:
        options = []
        if self.recurrence.starts:
            names = list(self.recurrence.starts)
            options.append(
                _Argument("start", "str", repr(names[0]), f"how x_1 is made: {' or '.join(map(repr, names))}")
            )
        modes = "store, recompute, checkpoint" + (" or invert" if self.inverse else "")
        options.append(_Argument("memory", "str", "'store'", f"what the backward pass keeps: {modes}"))
        if self.inverse is not None:
            doc = "error that rebuilt states may have (default 1e-6 in float64, 1e-3 in float32)"
            options.append(_Argument("tol", "float | None", "None", doc))
        options.append(_Argument("gradient", "str", "'derived'", "derived, or autograd through the plain steps"))
        return options

    def _parameter_argument(self, quantity: Quantity) -> _Argument:
        default = self.spec.defaults.get(quantity.name)
        text = "" if default is None else repr(float(default))
        shape = show_shape(quantity.shape)
        meaning = quantity.meaning or "parameter"
        if quantity.role is Role.CONSTANT:
            return _Argument(quantity.name, "float", text, f"{meaning}, a number")
        if quantity.role is Role.LAYER_PARAMETER:
            kind = "float | Sequence[float] | Tensor" if self.network is not None else "Tensor"
            rows = "one row per step" if self.network is not None else "the leading axis counts the steps"
            return _Argument(quantity.name, kind, text, f"{meaning}, {shape} per step; {rows}")
        return _Argument(
            quantity.name, "float | Tensor" if not quantity.shape else "Tensor", text, f"{meaning}, {shape}"
        )

    def _augmented_sizes(self) -> list[Dimension]:
        held = {node.args[1] for value in self.ode.initial.values() for node in value.atoms(fill)}
        return [q.shape[0] for q in by_name(held)]

    def _constructor(self) -> Function:
        positional, keywords = self._arguments()
        parameters = ", ".join(["self", *(a.text for a in positional), "*", *(a.text for a in keywords)])
        rules = (
            f"_RULES[choose({self.spec.class_name!r}, 'start', start, list(_RULES))]"
            if self.recurrence.starts
            else "_RULES"
        )
        tol = ", tol=tol" if self.inverse is not None else ""
        body = [f"super().__init__({rules}, memory=memory, gradient=gradient{tol})"]
        owner, names = repr(self.spec.class_name), [a.name for a in positional]
        if "blocks" in names:
            body.append(f"self.blocks = nn.ModuleList(check_blocks({owner}, blocks))")
        if "field" in names:
            body.append(f"self.field = check_field({owner}, field)")
        body += [self._store_layer_parameter(q) for q in self.layer_parameters]
        body += [self._store_parameter(q, _axes(q)) for q in self.parameters]
        body += [f"self.{q.name} = float(check_number({owner}, {q.name!r}, {q.name}))" for q in self.constants]
        body += [f"self.{size} = {size}" for size in self._augmented_sizes()]
        body += (
            [f"self.step_size = check_number({owner}, 'step_size', step_size)"] if self.layered else self._store_times()
        )
        body += self._check_start()
        body += self._check_parameters()
        return Function("__init__", parameters, "None", "See the class.", tuple(body))

    def _check_start(self) -> list[str]:
        """A start that reads a per-layer parameter needs a layer that has one."""
        layered = set(self.layer_parameters)
        readers = tuple(name for name, start in self.recurrence.starts.items() if layered & set(start.inputs))
        if not readers or self.network is None:
            return []
        return [f"check_start({self.spec.class_name!r}, start, {readers!r}, len(self.blocks))"]

    def _store_times(self) -> list[str]:
        owner = repr(self.spec.class_name)
        return [
            f"self.steps = check_steps({owner}, steps)",
            f"self.t0 = check_number({owner}, 't0', t0)",
            f"self.t1 = check_number({owner}, 't1', t1)",
        ]

    def _store_parameter(self, quantity: Quantity, axes: Sequence[str]) -> str:
        shape = tuple_display([repr(axis) for axis in axes]) if axes else "()"
        name = quantity.name
        return f"self.{name} = as_parameter({self.spec.class_name!r}, {name!r}, {name}, {shape})"

    def _store_layer_parameter(self, quantity: Quantity) -> str:
        if self.network is None:
            return self._store_parameter(quantity, ["steps", *_axes(quantity)])
        rows = "len(self.blocks)" + (f" - {self.recurrence.lags - 1}" if self.recurrence.starts else "")
        axes = f", {tuple_display([repr(axis) for axis in _axes(quantity)])}" if quantity.shape else ""
        return f"self.{quantity.name} = self.parameter_per_step({quantity.name!r}, {quantity.name}, {rows}{axes})"

    def _check_parameters(self) -> list[str]:
        """Every named dimension has one size; the first parameter that has it decides."""
        lines, known = [], self._known_sizes()
        for quantity in [*self.layer_parameters, *self.parameters]:
            for place, size in enumerate(quantity.shape):
                axis = place - len(quantity.shape)
                where = f"self.{quantity.name}.shape[{axis}]"
                if known.get(size) not in (None, where):
                    owner, name = repr(self.spec.class_name), quantity.name
                    lines.append(f"check_size({owner}, {name!r}, self.{name}, {axis}, {known[size]})")
        return lines

    def _known_sizes(self) -> dict[Dimension, str]:
        known: dict[Dimension, str] = {}
        for quantity in [*self.layer_parameters, *self.parameters]:
            for place, size in enumerate(quantity.shape):
                known.setdefault(size, f"self.{quantity.name}.shape[{place - len(quantity.shape)}]")
        return known

    def _embedding(self) -> list[Function]:
        if not self.ode.initial:
            return []
        (value,) = self.ode.initial.values()
        inputs = [q for q in by_name(symbols_of(value)) if q.role is Role.INPUT]
        held = [node.args[1] for node in sorted(value.atoms(fill), key=str)]
        lines = [f"{inputs[0].name} = x"] if inputs[0].name != "x" else []
        lines += [f"{q.name} = x.new_zeros(*x.shape[:-1], self.{q.shape[0]})" for q in held]
        zeros: dict[Operator, Quantity] = {node: node.args[1] for node in value.atoms(fill)}
        lines.append(f"return {TorchPrinter()(value.xreplace(zeros))}")
        embed = Function(
            "embed", "self, x: Tensor", "Tensor", "The initial state that belongs to an input.", tuple(lines)
        )
        solve = Function(
            "solve",
            "self, x: Tensor, trajectory: bool",
            "Tensor",
            "Run the steps from the embedded input.",
            ("return super().solve(self.embed(x), trajectory)",),
        )
        return [embed, solve]

    def _blocks(self) -> list[Function]:
        if self.network is None:
            return []
        value = "list(self.blocks)" if self.network.per_layer else "[self.field] * self.steps"
        doc = "Block n serves step n." if self.network.per_layer else "One field serves every step."
        return [Function("step_blocks", "self", "Sequence[Callable[..., Tensor]]", doc, (f"return {value}",))]

    def _step_parameters(self) -> Function:
        local, shared = self.layout.local, self.layout.shared
        body = self._check_input()
        if not self.layered:
            body.append(f"h, {'t' if self._uses_time() else '_'} = time_grid(x, self.t0, self.t1, self.steps)")
        elif self._uses_time():
            body.append("t = self.step_size * torch.arange(self.step_count(), dtype=x.dtype, device=x.device)")
        names = [[self._source(q) for q in group] for group in (local, shared)]
        tuples = [tuple_display(group) for group in names]
        body.append(f"return {', '.join(tuples)}")
        doc = "What varies from step to step, and what every step uses."
        return Function("step_parameters", "self, x: Tensor", "tuple[tuple[Tensor, ...], Shared]", doc, tuple(body))

    def _check_input(self) -> list[str]:
        """The state's last axis, where its size is known; its dtype, where no network checks it."""
        name, known = self.spec.class_name, self._known_sizes()
        held = "".join(f", {q.name}=self.{q.name}" for q in (*self.layer_parameters, *self.parameters))
        lines = [f"check_dtype({name!r}, x{held})"] if self.network is None and held else []
        if self.layout.components > 1:
            return [*lines, f"check_size({name!r}, 'x', x, -1, {self.layout.components})"]
        size = self.recurrence.old[0].shape[:1]
        return [*lines, f"check_size({name!r}, 'x', x, -1, {known[size[0]]})"] if size and size[0] in known else lines

    def _source(self, quantity: Quantity) -> str:
        if quantity.role is Role.STEP_SIZE:
            return "self.step_size" if self.layered else "h"
        if quantity.role is Role.TIME:
            return "t"
        return f"self.{quantity.name}"

    def _uses_time(self) -> bool:
        return any(q.role is Role.TIME for q in self.layout.local)

    def _step_count(self) -> list[Function]:
        if self.layered and self.network is not None:
            return []
        value = f"len(self.{self.layer_parameters[0].name})" if self.layered else "self.steps"
        return [Function("step_count", "self", "int", "How many steps.", (f"return {value}",))]

    def _stable_range(self) -> list[str]:
        """A line on the root condition, where the scheme has symbols of its own that it binds."""
        stable = self.derivation.facts.get("zero-stable for", "")
        if not stable or not self.layer_parameters:
            return []
        return [f"    The scheme is zero-stable for {stable}; nothing keeps a learned parameter in that range."]

    def _class_doc(self) -> str:
        positional, keywords = self._arguments()
        after = self.recurrence.new[: self.layout.components]
        lines = [f"{q} = {self.recurrence.step.value(q)}" for q in after]
        names = ", ".join(q.name for q in self.recurrence.old[: self.layout.components])
        shape = "(..., d)" if self.layout.components == 1 else f"(..., {self.layout.components}) = ({names})"
        parts = [f"{self.spec.title}: {'; '.join(lines)}.", ""]
        parts += [
            f"    `forward(x)`: x_0 {shape} -> x_N of the same shape; `trajectory(x)` -> (steps + 1, ...).",
            *self._stable_range(),
            "",
            "    Args:",
        ]
        parts += [f"        {a.name}: {a.doc}." for a in (*positional, *keywords)]
        return "\n".join(parts)


def _axes(quantity: Quantity) -> list[str]:
    """Names of the axes of a parameter."""
    return [str(size) for size in quantity.shape]

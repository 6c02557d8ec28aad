"""The module class of a flow."""

from __future__ import annotations

from dataclasses import dataclass, field

from sympy import Expr

from codegen.flows.rules import MapWriter
from codegen.flows.segments import Segment, pieces
from codegen.printer import TorchPrinter
from codegen.render import render
from codegen.steps.source import Function, tuple_display
from codegen.views import common_view
from derive.derivation import Derivation
from derive.errors import UnsupportedError
from derive.flow import Flow
from derive.flow_programs import FlowPrograms, flow_programs
from derive.flow_sections import bounds_text, shown_vector
from derive.networks import Call, Network
from derive.operators import show_shape
from derive.program import Assignment, Program
from derive.symbols import Quantity
from derive.systems import Spec

ONTO = (
    "    `inverse` takes such y only, and `base` is to have its density there for that of the data to add up to 1.",
)
SUPPORT = ("cotangents", "derived_map", "drawn_parameters", "flows")
KEYWORDS = (
    "base: Any = None",
    'gradient: str = "derived"',
    "device: torch.device | str | None = None",
    "dtype: torch.dtype | None = None",
)


def flow_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a flow.

    Raises:
        UnsupportedError: options, more than two parts, sizes that no module can hold, or a map that is not one to one.
    """
    module = FlowModule(spec, derivation)
    programs = [program for program in (module.derived.forward, module.derived.backward) if program]
    methods = module.methods()
    view = {
        "functions": tuple(module.functions),
        "rules": tuple(module.rules),
        "methods": methods,
        "class_doc": module.class_doc(),
    }
    entries = [*SUPPORT, *module.support()]
    return render("flow_module.py.jinja", {**view, **common_view(spec, derivation, programs, command, entries, ())})


@dataclass
class FlowModule:
    """Everything of an emitted flow that depends on the spec.

    Attributes:
        spec: what is emitted; its system is a flow.
        derivation: for the equation numbers.
        functions, rules: what the methods call, in order of use.
    """

    spec: Spec
    derivation: Derivation
    functions: list[Function] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        systems = [system for system in self.spec.variants.values() if isinstance(system, Flow)]
        if len(systems) != 1 or self.spec.option:
            raise UnsupportedError(f"{self.spec.id}: a flow has no options; write a spec for each map")
        (self.flow,) = systems
        self.derived: FlowPrograms = flow_programs(self.flow)
        if len(self.flow.parts) > 2:
            raise UnsupportedError(f"{self.spec.id}: {len(self.flow.parts)} parts; a flow has one vector, or two parts")
        self.sizes = {q.shape[0]: name for q, name in zip(self.flow.parts, self._size_names(), strict=True)}
        self._check_sizes()
        self._check_one_to_one()

    def _check_one_to_one(self) -> None:
        change, factors = self.derived.sign_change, self.derived.factors
        if change is None and all(factor.value != 0 for factor in factors):
            return
        shown = " * ".join(f"({factor.value})" for factor in factors)
        signs = f"det J = {shown}"
        if change is not None:
            below, above = map(shown_vector, change.points)
            points = f"below 0 at x = {below} and above 0 at x = {above}"
            whatever = f", and so for each of {change.draws} choices of the parameters" if change.draws > 1 else ""
            signs = f"det J = {shown} is {points}{whatever}"
        raise UnsupportedError(
            f"{self.spec.id}: the map is not one to one: {signs}; allowed: a map whose determinant has one sign for "
            "all data, if need be with `constrained={parameter: expression}` that keeps its parameters where it has"
        )

    def _size_names(self) -> tuple[str, ...]:
        return ("self.dim",) if len(self.flow.parts) == 1 else ("self.split", "self.dim - self.split")

    def _check_sizes(self) -> None:
        for quantity in (*self.flow.parts, *self.flow.parameters):
            stray = [size for size in quantity.shape if size not in self.sizes and isinstance(size, str)]
            if stray or (quantity in self.flow.parts and isinstance(quantity.shape[0], int)):
                raise UnsupportedError(
                    f"{self.spec.id}: {quantity.name} has shape {show_shape(quantity.shape)}; allowed are numbers and "
                    f"the named sizes of what the map reads: {', '.join(map(str, self.sizes))}"
                )

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks, in the order in which the map calls them."""
        calls = [line.value.network for line in self.flow.map.assignments if isinstance(line.value, Call)]
        return tuple(dict.fromkeys(calls))

    def support(self) -> tuple[str, ...]:
        """Runtime sources that only some flows need."""
        text = "\n".join(line for function in self.functions for line in function.body)
        wanted = {"norms": ("safe_norm(", "unit_vector(", "quadratic_root("), "roots": ("monotone_root(",)}
        return tuple(name for name, calls in wanted.items() if any(call in text for call in calls))

    def methods(self) -> tuple[Function, ...]:
        """Constructor, the map, its inverse, and what keeps it invertible."""
        found = [self._constructor()]
        if self.flow.parameters:
            found.append(self._held())
        found.append(self._run("The map", "map", self.derived.forward, self.flow.parts))
        backward, inverse = self.derived.backward, self.derived.inverse
        if backward is not None and inverse is not None:
            found.append(self._run("The inverse", "inverse", backward, self.flow.images))
        return (*found, *self._not_zero(), *self._shown())

    def _numbers(self, kind: str, quantity: Quantity) -> str:
        return self.derivation.number_of(f"{kind}.{quantity.name}")

    def _constructor(self) -> Function:
        owner, parts = self.spec.class_name, self.flow.parts
        given = ["self", "dim: int", *(f"{n.name}: Callable[[Tensor], Tensor]" for n in self.networks), "*"]
        given += ["split: int | None = None"] if len(parts) == 2 else []
        given += ["constrain: bool = True"] if self.flow.constrained else []
        body = ["super().__init__(dim, base=base, gradient=gradient)"]
        body += [f"self.split = checked_split({owner!r}, dim, split)"] if len(parts) == 2 else []
        body += ["self.constrain = constrain"] if self.flow.constrained else []
        for network in self.networks:
            body.append(f"self.{network.name} = checked_network({owner!r}, {network.name!r}, {network.name})")
        for q in self.flow.parameters:
            shape = tuple_display([self._size(size) for size in q.shape]) if q.shape else "()"
            start = self.spec.defaults.get(q.name)
            shown = "None" if start is None else repr(float(start))
            body.append(f"self.{q.name} = drawn_parameter({shape}, {shown}, dim**-0.5, device, dtype)")
        return Function("__init__", ", ".join([*given, *self._keywords()]), "None", "See the class.", tuple(body))

    def _keywords(self) -> tuple[str, ...]:
        """Device and dtype are those of its own parameters: without any there are none."""
        return KEYWORDS if self.flow.parameters else KEYWORDS[:2]

    def _size(self, size: object) -> str:
        return str(size) if isinstance(size, int) else self.sizes[str(size)]

    def _held(self) -> Function:
        """The parameters that the map reads: constrained, or checked."""
        names = [q.name for q in self.flow.parameters]
        learned = tuple_display([f"self.{name}" for name in names])
        body = [f"values: tuple[Tensor, ...] = {learned}", f"{', '.join(names)}{',' * (len(names) == 1)} = values"]
        if self.flow.constrained:
            writer = MapWriter("constraint", "Constrained parameters", "constraint", self.flow.constraint(),
                               self._numbers, None)  # fmt: skip
            call = self._call(writer)
            targets = ", ".join(q.name for q in self.flow.constrained)
            comma = "," * (len(self.flow.constrained) == 1)
            body += ["if self.constrain:", f"    {targets}{comma} = {call}"]
            body.append(f"    return {tuple_display(names)}")
        positive = [c for c in self.derived.conditions if c.positive and c.of_parameters]
        if positive:
            printer = TorchPrinter()
            shown = tuple_display([repr(self._text(c.value)) for c in positive])
            values = tuple_display([printer(c.value) for c in positive])
            remedy = ", and with constrain=True for all parameters" if self.flow.constrained else ""
            vanish = tuple_display([str(place) for place, c in enumerate(positive) if not c.strict])
            more = f", may_vanish={vanish}" if any(not c.strict for c in positive) else ""
            body.append(f"check_conditions({self.spec.class_name!r}, {shown}, {values}, {remedy!r}{more})")
        body.append(f"return {tuple_display(names)}")
        doc = "The parameters as the map reads them."
        return Function("held", "self", "tuple[Tensor, ...]", doc, tuple(body))

    @staticmethod
    def _text(value: Expr) -> str:
        return str(value)

    def _call(self, writer: MapWriter) -> str:
        rule = f"_{writer.name.upper()}"
        self.functions += writer.functions()
        self.rules.append(f"{rule} = {writer.rule()}")
        given = ", ".join(q.name for q in writer.operands)
        return f'run_map({rule}, self.gradient == "derived", {given})'

    def _run(self, title: str, kind: str, program: Program, given: tuple[Quantity, ...]) -> Function:
        """A method that takes one vector and gives one vector and its log-determinant."""
        takes = given[0].name if len(given) == 1 else "joined"
        names = [q.name for q in self.flow.parameters]
        body = [f"{', '.join(names)}{',' * (len(names) == 1)} = self.held()"] if names else []
        if len(given) == 2:
            body.append(f"{', '.join(q.name for q in given)} = {takes}[..., : self.split], {takes}[..., self.split :]")
        segments = 0
        for piece in pieces(program):
            if isinstance(piece, Segment):
                segments += 1
                body.append(self._segment(piece.program, kind, title, segments, given[0]))
            else:
                body.append(self._plain(piece, kind))
        *outputs, log_det = program.outputs
        image = outputs[0].name if len(outputs) == 1 else f"torch.cat(({', '.join(q.name for q in outputs)}), -1)"
        body.append(f"return {image}, {log_det.name}")
        doc = f"{title}: (..., dim) -> (..., dim), and the log-determinant (..., 1)."
        return Function(f"run_{kind}", f"self, {takes}: Tensor", "tuple[Tensor, Tensor]", doc, tuple(body))

    def _segment(self, program: Program, kind: str, title: str, count: int, like: Quantity) -> str:
        name = kind if count == 1 else f"{kind}_{count}"
        writer = MapWriter(name, title, kind, program, self._numbers, like)
        targets = ", ".join(q.name for q in program.outputs)
        return f"{targets}{',' * (len(program.outputs) == 1)} = {self._call(writer)}"

    def _plain(self, line: Assignment, kind: str) -> str:
        number = self._numbers(kind, line.target)
        value = line.value
        if isinstance(value, Quantity):
            return f"{line.target.name} = {value.name}  # ({number})"
        network, (argument, _) = value.network, value.point
        if not isinstance(argument, Quantity):
            raise UnsupportedError(f"{self.spec.id}: {network.name} is called with {argument}; give it a name first")
        size = self._size(line.target.shape[0])
        return f"{line.target.name} = self.network_value({network.name!r}, {argument.name}, {size})  # ({number})"

    def _not_zero(self) -> tuple[Function, ...]:
        """What must not vanish, in words."""
        found = [c.value for c in self.derived.conditions if not c.positive]
        if self.flow.constrained:
            bottoms = [line.value.as_numer_denom()[1] for line in self.flow.constraint().assignments]
            found += [bottom for bottom in bottoms if not bottom.is_number]
        if not found:
            return ()
        shown = ", ".join(self._shown_factor(value) for value in dict.fromkeys(found))
        doc = "What must not vanish, as the end of a message."
        return (Function("not_zero", "self", "str", doc, (f"return {f', and no zero in {shown}'!r}",)),)

    def _shown_factor(self, value: Expr) -> str:
        """A factor, with what it is computed by where it is a network's value."""
        if not isinstance(value, Quantity):
            return str(value)
        made = self.flow.map.value(value)
        return f"{value.name} = {made.network.name}({made.point[0]})" if isinstance(made, Call) else value.name

    def _shown(self) -> tuple[Function, ...]:
        if not self.flow.constrained:
            return ()
        body = ('return super().extra_repr() + ("" if self.constrain else ", constrain=False")',)
        return (Function("extra_repr", "self", "str", "Arguments that are not the usual ones.", body),)

    def class_doc(self) -> str:
        """What the class is, its parameters and its arguments."""
        flow, derived = self.flow, self.derived
        lines = "; ".join(f"{q} = {flow.map.value(q)}" for q in flow.images)
        parts = [f"{self.spec.title}: {lines}.", ""]
        parts += [
            "    `forward(x)`: data (..., dim) -> (y, log|det dy/dx|); `inverse(y)` undoes it, with its own sign."
        ]
        parts += ["    `log_prob(x)`, `sample(n, generator)`, `as_transform()` for torch.distributions.", ""]
        held = ", ".join(f"`{q.name}` {show_shape(q.shape)}" for q in flow.parameters)
        parts += [f"    Parameters: {held}."] if held else []
        parts += ["", "    Args:", "        dim: components of a vector."]
        for network in self.networks:
            size_in, size_out = (self._size(size).replace("self.", "") for size in network.maps)
            parts.append(f"        {network.name}: (..., {size_in}) -> (..., {size_out}).")
        if len(flow.parts) == 2:
            names = " and ".join(q.name for q in flow.parts)
            parts.append(f"        split: components of the first of the parts {names}; half of them unless given.")
        if flow.constrained:
            constrained = ", ".join(q.name for q in flow.constrained)
            parts.append(f"        constrain: whether {constrained} pass through what keeps the map invertible;")
            parts.append("            if not, parameters for which it is not invertible raise.")
        parts.append("        base: density of y; None for N(0, I).")
        parts.append('        gradient: "derived" runs the derived backward, "autograd" differentiates the plain form.')
        facts = [condition.text for condition in derived.conditions]
        parts += ["", f"    Invertible for {', '.join(facts)}."] if facts else []
        parts += ["", f"    Not onto: y has {bounds_text(derived.bounds)};", *ONTO] if derived.bounds else []
        return "\n".join(parts)

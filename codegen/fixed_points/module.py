"""The module class of an equilibrium."""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.flows.rules import MapWriter
from codegen.flows.segments import Segment, pieces
from codegen.layers.printer import LayerPrinter
from codegen.render import render
from codegen.steps.source import Function, tuple_display
from codegen.views import common_view
from derive.derivation import Derivation
from derive.errors import UnsupportedError
from derive.fixed_point import FixedPoint
from derive.fixed_point_sections import is_one_call, residual_line
from derive.least_change import least_change
from derive.networks import Call, Network
from derive.operators import show_shape
from derive.program import Assignment, Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import RESERVED_NAMES, Quantity, check_name
from derive.systems import Spec

SUPPORT = ("fixed_points",)
KEYWORDS = (
    'solver: str = "broyden"',
    "tol: float | None = None",
    "max_iter: int = 100",
    'on_failure: str = "warn"',
    "phantom: int | None = None",
    'gradient: str = "derived"',
)
PLACES = ("device: torch.device | str | None = None", "dtype: torch.dtype | None = None")
OPTIONS = """        solver: "broyden", "anderson" or "picard" (plain iteration).
        tol: largest |f(z) - z| / (1 + |z|) of a sample; None for 1e-6 in float32 and 1e-10 in float64. Never less
            than 2 eps of what f computes with.
        max_iter: steps of the iteration.
        on_failure: "warn" or "raise" where samples do not converge, or the equation of the gradient is not solved.
        phantom: None for the gradient of the solution; k for that of the last k steps alone, which is no gradient of
            anything unless f contracts well.
        gradient: "derived" solves one linear equation, "autograd" differentiates Newton steps at the solution."""


def fixed_point_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of an equilibrium.

    Raises:
        UnsupportedError: options, or networks and sizes that no module can hold.
    """
    module = FixedPointModule(spec, derivation)
    methods = module.methods()
    view = {
        "functions": tuple(module.functions),
        "rules": tuple(module.rules),
        "methods": methods,
        "class_doc": module.class_doc(),
    }
    swept = reverse_sweep(module.fixed.map, module.fixed.map.inputs).program
    common = common_view(spec, derivation, [module.fixed.map, swept], command, [*SUPPORT, *module.support()], ())
    return render("fixed_point_module.py.jinja", {**view, **common})


@dataclass
class FixedPointModule:
    """Everything of an emitted equilibrium that depends on the spec.

    Attributes:
        spec: what is emitted; its system is a fixed point.
        derivation: for the equation numbers.
        functions, rules: what the methods use, in order.
    """

    spec: Spec
    derivation: Derivation
    functions: list[Function] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        systems = [system for system in self.spec.variants.values() if isinstance(system, FixedPoint)]
        if len(systems) != 1 or self.spec.option:
            raise UnsupportedError(f"{self.spec.id}: a fixed point has no options; write a spec for each map")
        (self.fixed,) = systems
        self.bare = is_one_call(self.fixed)
        for name in (*self.sizes, *(q.name for q in self.fixed.inputs)):
            check_name(name, RESERVED_NAMES | {"z0", "start"})

    @property
    def networks(self) -> tuple[Network, ...]:
        """Opaque networks, in the order in which the map calls them."""
        calls = [line.value.network for line in self.fixed.map.assignments if isinstance(line.value, Call)]
        return tuple(dict.fromkeys(calls))

    def name_of(self, network: Network) -> str:
        """What the constructor calls a network: the cell, where the map is nothing else."""
        return "cell" if self.bare else network.name

    @property
    def sizes(self) -> tuple[str, ...]:
        """Named sizes that the constructor takes: where parameters have any, those of the vectors first."""
        own = {size for q in self.fixed.parameters for size in q.shape if isinstance(size, str)}
        if not own:
            return ()
        vectors = [size for q in (self.fixed.state, *self.fixed.inputs) for size in q.shape if isinstance(size, str)]
        return tuple(dict.fromkeys([*vectors, *sorted(own)]))

    def support(self) -> tuple[str, ...]:
        """Runtime sources that only some equilibria need."""
        text = "\n".join(line for function in self.functions for line in function.body)
        wanted = {"norms": ("safe_norm(", "unit_vector(", "quadratic_root(")}
        written = ("cotangents", "derived_map") if len(self.rules) > 1 else ()
        held = ("drawn_parameters",) if self.fixed.parameters else ()
        return (*written, *held, *(name for name, calls in wanted.items() if any(call in text for call in calls)))

    def methods(self) -> tuple[Function, ...]:
        """Constructor, the call, and the map."""
        image = self._image()
        self._derived_rules()
        return self._constructor(), self._forward(), image

    def _numbers(self, kind: str, quantity: Quantity) -> str:
        return self.derivation.number_of(f"{kind}.{quantity.name}")

    def _derived_rules(self) -> None:
        """The residual and the update of Broyden's method."""
        line = residual_line(self.fixed)
        given = (self.fixed.state, self.fixed.image)
        program = Program(given, (line,), (line.target,))
        self.functions.append(self._function("residual", "The residual", "map", program))
        update = least_change(self.fixed.state.shape[0])
        for name, title, program in (
            (
                "secant",
                "After a full step: the one that follows, the column that the update adds, its denominator",
                update.following_program,
            ),
            ("passed", "B v after an update, from B v before it", update.product_program),
        ):
            self.functions.append(self._function(name, title, "secant", program))
        self.rules.append("_RULES = FixedPointRules(_residual, _secant, _passed)")

    def _function(self, name: str, title: str, kind: str, program: Program) -> Function:
        printer = LayerPrinter()
        body = [self._line(kind, line, printer(line.value)) for line in program.assignments]
        single = len(program.outputs) == 1
        body.append(f"return {program.outputs[0].name if single else tuple_display([q.name for q in program.outputs])}")
        parameters = ", ".join(f"{q.name}: Tensor" for q in program.inputs)
        returns = "Tensor" if single else "tuple[Tensor, ...]"
        return Function(f"_{name}", parameters, returns, f"{title}.", tuple(body))

    def _line(self, kind: str, line: Assignment, text: str) -> str:
        return f"{line.target.name} = {text}  # ({self._numbers(kind, line.target)})"

    def _constructor(self) -> Function:
        owner, parameters = self.spec.class_name, self.fixed.parameters
        given = ["self", *(f"{size}: int" for size in self.sizes)]
        given += [f"{self.name_of(n)}: Callable[..., Tensor]" for n in self.networks]
        given += ["*", *KEYWORDS, *(PLACES if parameters else ())]
        passed = [f"{word}={word}" for word in (keyword.split(":")[0] for keyword in KEYWORDS)]
        body = [f"super().__init__({', '.join(passed)})"]
        body += [f"self.{size} = checked_size({owner!r}, {size!r}, {size})" for size in self.sizes]
        names = [self.name_of(network) for network in self.networks]
        body += [f"self.{name} = checked_cell({owner!r}, {name!r}, {name})" for name in names]
        for q in parameters:
            shape = tuple_display([self._size(size) for size in q.shape]) if q.shape else "()"
            start = self.spec.defaults.get(q.name)
            shown = "None" if start is None else repr(float(start))
            bound = f"{self._size(q.shape[-1])}**-0.5" if q.shape else "1.0"
            body.append(f"self.{q.name} = drawn_parameter({shape}, {shown}, {bound}, device, dtype)")
        return Function("__init__", ", ".join(given), "None", "See the class.", tuple(body))

    def _size(self, size: object) -> str:
        return str(size) if isinstance(size, int) else f"self.{size}"

    def _known_size(self, quantity: Quantity) -> str:
        (size,) = quantity.shape
        return self._size(size) if isinstance(size, int) or size in self.sizes else "None"

    def _forward(self) -> Function:
        fixed, owner = self.fixed, self.spec.class_name
        inputs = [q.name for q in fixed.inputs]
        body = [
            f"{q.name} = checked_input({owner!r}, {q.name!r}, {q.name}, {'None' if self.bare else self._known_size(q)})"
            for q in fixed.inputs
        ]
        like, shape, axes = self._start()
        body.append(f"start = checked_start({owner!r}, z0, {like}, {shape}, {axes})")
        cells = tuple_display([f"Cell({owner!r}, {name!r}, self.{name})" for name in map(self.name_of, self.networks)])
        tensors = tuple_display([*inputs, *(f"self.{q.name}" for q in fixed.parameters)])
        vectors = "start.dim() - 1" if self.bare else "1"
        body.append(f"return self.solve(self.image, _RULES, start, {tensors or '()'}, {cells or '()'}, {vectors})")
        given = ["self", *(f"{name}: Tensor" for name in inputs), "z0: Tensor | None = None"]
        doc = f"{', '.join(inputs) or 'z0'} -> {fixed.state.name}; z0: what the iteration starts from."
        return Function("forward", ", ".join(given), "Tensor", doc, tuple(body))

    def _start(self) -> tuple[str, str, str]:
        """Source of the tensor that zeros are like, their shape, and how many axes a given start must have of it."""
        fixed = self.fixed
        if not fixed.inputs:
            return "None", "()", "0"
        first = fixed.inputs[0]
        if self.bare:
            return first.name, f"{first.name}.shape", "1"
        size = self._known_size(fixed.state)
        if size == "None" and fixed.state.shape != first.shape:
            return f"{first.name} if z0 is not None else None", f"{first.name}.shape", f"{first.name}.dim() - 1"
        shape = f"{first.name}.shape" if size == "None" else f"(*{first.name}.shape[:-1], {size})"
        return first.name, shape, f"{first.name}.dim()"

    def _image(self) -> Function:
        """The map, as the solvers call it."""
        fixed, segments, body = self.fixed, 0, []
        for piece in pieces(fixed.map):
            if isinstance(piece, Segment):
                segments += 1
                body.append(self._segment(piece.program, segments))
            else:
                body.append(self._plain(piece))
        body.append(f"return {fixed.image.name}")
        names = [fixed.state, *fixed.inputs, *fixed.parameters]
        given = [
            "self",
            "derived: bool",
            "networks: Sequence[Callable[..., Tensor]]",
            *(f"{q.name}: Tensor" for q in names),
        ]
        doc = "The map; `derived`: with the derived backward, where a part of it is written out."
        return Function("image", ", ".join(given), "Tensor", doc, tuple(body))

    def _segment(self, program: Program, count: int) -> str:
        name = "map" if count == 1 else f"map_{count}"
        writer = MapWriter(name, "The map", "map", program, self._numbers, self.fixed.state)
        self.functions += writer.functions()
        self.rules.append(f"_{name.upper()} = {writer.rule()}")
        targets = ", ".join(q.name for q in program.outputs)
        given = ", ".join(q.name for q in writer.operands)
        comma = "," * (len(program.outputs) == 1)
        return f"{targets}{comma} = run_map(_{name.upper()}, derived, {given})"

    def _plain(self, line: Assignment) -> str:
        value, number = line.value, self._numbers("map", line.target)
        if isinstance(value, Quantity):
            return f"{line.target.name} = {value.name}  # ({number})"
        given = value.point[:-1]
        unnamed = [argument for argument in given if not isinstance(argument, Quantity)]
        if unnamed:
            raise UnsupportedError(
                f"{self.spec.id}: {value.network.name} is called with {unnamed[0]}; give it a name first"
            )
        place = self.networks.index(value.network)
        return f"{line.target.name} = networks[{place}]({', '.join(q.name for q in given)})  # ({number})"

    def class_doc(self) -> str:
        """What the class is, its parameters and its arguments."""
        fixed = self.fixed
        inputs = [q.name for q in fixed.inputs]
        lines = "; ".join(f"{line.target} = {line.value}" for line in fixed.map.assignments)
        parts = [f"{self.spec.title}: {fixed.state.name} = {fixed.image.name}, {lines}.", ""]
        call = f"`forward({', '.join([*inputs, 'z0=None'])})`"
        if self.bare:
            parts.append(f"    {call}: axis 0 is the batch, all others together are one vector; z0 is zeros like")
            parts.append(f"    {inputs[0] if inputs else 'nothing'} unless given.")
        else:
            shapes = ", ".join(f"{q.name} (..., {q.shape[0]})" for q in fixed.inputs)
            parts.append(f"    {call}: {shapes or 'z0'} -> {fixed.state.name} (..., {fixed.state.shape[0]}).")
        parts += ["    `info`: residual, iterations and converged, for each sample of the last call.", ""]
        held = ", ".join(f"`{q.name}` {show_shape(q.shape)}" for q in fixed.parameters)
        parts += [f"    Parameters: {held}.", ""] if held else []
        parts.append("    Args:")
        parts += [f"        {size}: a number of components." for size in self.sizes]
        for network in self.networks:
            names = f"({fixed.state.name}, {', '.join(inputs)})" if network.beside else "of one vector"
            parts.append(f"        {self.name_of(network)}: an nn.Module or a function {names}.")
        return "\n".join([*parts, OPTIONS])

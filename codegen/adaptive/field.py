"""A field that is written out, as a class that holds what is learned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from codegen.printer import TorchPrinter
from codegen.steps.facts import Facts
from codegen.steps.field_functions import FieldFunctions, field_table
from codegen.steps.field_plan import depends_on_state, plan_field
from codegen.steps.source import Function, tuple_display
from derive.adaptive import Adaptive
from derive.derivation import Derivation
from derive.errors import UnsupportedError
from derive.explanation import recurrences
from derive.operators import show_shape
from derive.program import Program
from derive.symbols import Dimension, Quantity, Role, by_name
from derive.systems import ODE, Spec

HELD = (Role.PARAMETER, Role.CONSTANT)


@dataclass(frozen=True)
class InPlace:
    """Derived functions of a field that work in place.

    Attributes:
        functions: their text.
        table: source of the tuple by which they are found.
        names: what they read besides state and time; the step size is an empty name.
    """

    functions: tuple[Function, ...]
    table: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class FieldClass:
    """The class of a field: one vector, or scalar unknowns that stand along the last axis.

    Attributes:
        spec: what is emitted.
        system: its field and steps.
        derivation: for the equation numbers.
    """

    spec: Spec
    system: Adaptive
    derivation: Derivation

    def __post_init__(self) -> None:
        shapes = [q.shape for q in self.ode.state]
        if any(len(shape) > 1 for shape in shapes) or (len(shapes) > 1 and any(shapes)):
            shown = ", ".join(f"{q.name} {show_shape(q.shape)}" for q in self.ode.state)
            raise UnsupportedError(
                f"{self.spec.id}: the unknowns are {shown}; allowed: one vector, or scalars; or pass a field of tuples "
                "to the module of neural_ode"
            )
        if self.ode.networks:
            raise UnsupportedError(
                f"{self.spec.id}: networks inside a larger field; allowed: one network of (t, x), or a field without"
            )
        stray = [q.name for q in by_name(self.ode.quantities) if q not in self.ode.state and q.role not in
                 (*HELD, Role.TIME)]  # fmt: skip
        if stray:
            raise UnsupportedError(
                f"{self.spec.id}: the field reads {', '.join(stray)}; allowed: parameters, constants"
            )

    @property
    def ode(self) -> ODE:
        """The field."""
        return self.system.ode

    @cached_property
    def in_place(self) -> InPlace | None:
        """Its derived functions, where it is of the kind that these serve."""
        tableau = self.system.pair.tableau
        plan = plan_field(self.ode, tableau)
        if plan is None:
            return None
        solver = Spec(self.spec.id, self.spec.class_name, self.spec.title, self.ode, scheme=tableau)
        (step,) = recurrences(solver).values()
        facts = Facts(solver, tableau, step, self.derivation)
        functions = FieldFunctions(facts, plan).functions()
        names = ["" if q.role is Role.STEP_SIZE else q.name for q in facts.layout.shared]
        return InPlace(tuple(functions), field_table(facts, plan), tuple(names))

    @property
    def name(self) -> str:
        """Of the class."""
        return f"{self.spec.class_name}Field"

    @property
    def shape(self) -> str:
        """Of the state: the last axis holds the components of a vector, or the scalars in their order."""
        unknowns = self.ode.state
        names = ", ".join(x.name for x in unknowns)
        return "(..., d)" if unknowns[0].shape else f"(..., {len(unknowns)}), along the last axis {names}"

    @cached_property
    def held(self) -> tuple[Quantity, ...]:
        """Parameters, then constants, by name; what has a default comes last."""
        found = [q for q in by_name(self.ode.quantities) if q.role in HELD]
        return tuple(sorted(found, key=lambda q: q.name in self.spec.defaults))

    @property
    def names(self) -> list[str]:
        """Of the arguments."""
        return [q.name for q in self.held]

    @property
    def arguments(self) -> list[str]:
        """Of the constructor."""
        return [self._argument(q) for q in self.held]

    def _argument(self, quantity: Quantity) -> str:
        kind = "float" if quantity.role is Role.CONSTANT else "float | Tensor"
        kind += " | Callable[..., Tensor]" if quantity in self.spec.may_vary else ""
        default = self.spec.defaults.get(quantity.name)
        return f"{quantity.name}: {kind}" + ("" if default is None else f" = {float(default)!r}")

    @property
    def argument_docs(self) -> str:
        """Lines of the class's docstring on the arguments."""
        rows = [(q, f"{q.name}: {q.meaning or q.role.value}, {show_shape(q.shape)}") for q in self.held]
        functions = {q: f", or a function of time {q.name}(t)" for q in self.spec.may_vary}
        return "".join(f"        {row}{functions.get(q, '')}.\n" for q, row in rows)

    @property
    def layout(self) -> str:
        """Shape of a state."""
        names = [q.name for q in self.ode.state]
        if self.ode.state[0].shape:
            return f"(..., {self.ode.state[0].shape[0]})"
        return f"(..., {len(names)}) with {', '.join(names)} along the last axis"

    @property
    def equation(self) -> str:
        """The field in plain characters."""
        pairs = zip(self.ode.state, self.ode.velocity, strict=True)
        return ", ".join(f"{x}' = {value}" for x, value in pairs)

    @property
    def doc(self) -> str:
        """Of the class."""
        return f"The field {self.equation}."

    @cached_property
    def program(self) -> Program:
        """The field."""
        return self.ode.field_program()

    @property
    def methods(self) -> tuple[Function, ...]:
        """Constructor and field."""
        owner = repr(self.spec.class_name)
        body = ["super().__init__()"]
        for q in self.held:
            if q.role is Role.CONSTANT:
                body.append(f"self.{q.name} = float(check_number({owner}, {q.name!r}, {q.name}))")
                continue
            made = "as_time_function" if q in self.spec.may_vary else "as_parameter"
            body.append(f"self.{q.name} = {made}({owner}, {q.name!r}, {q.name}, {_axes(q)})")
        body += [self._all_sizes("self.")] if self.spec.may_vary else self._size_checks()
        given = ", ".join(["self", "*", *self.arguments]) if self.held else "self"
        return Function("__init__", given, "None", "See the class.", tuple(body)), self._forward()

    def _size_checks(self) -> list[str]:
        lines, known = [], dict[Dimension, str]()
        for q in self.held:
            for place, size in enumerate(q.shape):
                axis = place - len(q.shape)
                where = f"self.{q.name}.shape[{axis}]"
                if known.setdefault(size, where) != where:
                    lines.append(
                        f"check_size({self.spec.class_name!r}, {q.name!r}, self.{q.name}, {axis}, {known[size]})"
                    )
        return lines

    def _source(self, quantity: Quantity) -> str:
        return quantity.name if quantity in self.spec.may_vary else f"self.{quantity.name}"

    def _reading(self, quantity: Quantity) -> str:
        owner, name = self.spec.class_name, quantity.name
        batched = len(quantity.shape) == len(self.ode.state[0].shape)
        return f"{name} = at_time({owner!r}, {name!r}, self.{name}, {_axes(quantity)}, moment, {batched})"

    def _all_sizes(self, held: str) -> str:
        """The line that compares sizes: in the constructor those of tensors, in a call those of functions as well."""
        learned = [q for q in self.held if q.role is Role.PARAMETER]
        names = {q: f"{held}{q.name}" if q in self.spec.may_vary else f"self.{q.name}" for q in learned}
        pairs = [f"{q.name}=({name}, {_axes(q)})" for q, name in names.items()]
        return f"check_sizes({self.spec.class_name!r}, {', '.join(pairs)})"

    def _forward(self) -> Function:
        printer = TorchPrinter()
        names = [q.name for q in self.ode.state]
        scalars = not self.ode.state[0].shape
        time = self.ode.time
        owner = repr(self.spec.class_name)
        varying = self.spec.may_vary
        learned = "".join(f", {q.name}={self._source(q)}" for q in self.held if q.role is Role.PARAMETER)
        body = [self._reading(q) for q in varying]
        if varying:
            calls = " or ".join(f"callable(self.{q.name})" for q in varying)
            body += [f"if {calls}:", f"    {self._all_sizes('')}"]
        body.append(f"check_dtype({owner}, state{learned})")
        if scalars:
            body += [
                f"check_size({owner}, 'x0', state, -1, {len(names)})",
                f"{tuple_display(names)} = state.unbind(-1)",
            ]
        else:
            body.append(f"{names[0]} = state")
        body += [f"{time.name} = moment"] if time is not None else []
        body += [f"{q.name} = self.{q.name}" for q in self.held if q not in varying]
        numbers = [self.derivation.number_of(f"ode.{x.name}") for x in self.ode.state]
        for line in self.program.assignments:
            which = self.program.outputs.index(line.target) if line.target in self.program.outputs else 0
            body.append(f"{line.target.name} = {printer(line.value)}  # ({numbers[which]})")
        values = [q.name for q in self.program.outputs]
        if scalars:
            body.append(
                f"return torch.stack(torch.broadcast_tensors({', '.join([*values, names[0]])})[:{len(values)}], -1)"
            )
        else:
            spread = (
                "" if depends_on_state(self.program.value(self.program.outputs[0])) else " + torch.zeros_like(state)"
            )
            body.append(f"return {values[0]}{spread}")
        return Function("forward", "self, moment: Tensor, state: Tensor", "Tensor", "Velocity at a time.", tuple(body))


def _axes(quantity: Quantity) -> str:
    return tuple_display([repr(str(size)) for size in quantity.shape]) if quantity.shape else "()"

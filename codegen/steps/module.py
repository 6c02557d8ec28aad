"""The module class of a system that is a loop over steps: nets in depth, integrators, explicit systems."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.printer import TorchPrinter
from codegen.steps.arguments import arguments
from codegen.steps.constructor import constructor
from codegen.steps.facts import Facts
from codegen.steps.functions import rule_functions, rules_table
from codegen.steps.rules import Function, tuple_display
from derive.operators import Operator, fill
from derive.program import symbols_of
from derive.symbols import Quantity, Role, by_name

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


def write_module(facts: Facts) -> StepModule:
    """All parts."""
    methods = [
        constructor(facts),
        *_embedding(facts),
        *_blocks(facts),
        _step_parameters(facts),
        *_step_count(facts),
    ]
    return StepModule(tuple(rule_functions(facts)), rules_table(facts), tuple(methods), _class_doc(facts))


def _embedding(facts: Facts) -> list[Function]:
    if not facts.ode.initial:
        return []
    (value,) = facts.ode.initial.values()
    inputs = [q for q in by_name(symbols_of(value)) if q.role is Role.INPUT]
    held = [node.args[1] for node in sorted(value.atoms(fill), key=str)]
    lines = [f"{inputs[0].name} = x"] if inputs[0].name != "x" else []
    lines += [f"{q.name} = x.new_zeros(*x.shape[:-1], self.{q.shape[0]})" for q in held]
    zeros: dict[Operator, Quantity] = {node: node.args[1] for node in value.atoms(fill)}
    lines.append(f"return {TorchPrinter()(value.xreplace(zeros))}")
    embed = Function("embed", "self, x: Tensor", "Tensor", "The initial state that belongs to an input.", tuple(lines))
    solve = Function(
        "solve",
        "self, x: Tensor, trajectory: bool",
        "Tensor",
        "Run the steps from the embedded input.",
        ("return super().solve(self.embed(x), trajectory)",),
    )
    return [embed, solve]


def _blocks(facts: Facts) -> list[Function]:
    if facts.network is None:
        return []
    value = "list(self.blocks)" if facts.network.per_layer else "[self.field] * self.steps"
    doc = "Block n serves step n." if facts.network.per_layer else "One field serves every step."
    return [Function("step_blocks", "self", "Sequence[Callable[..., Tensor]]", doc, (f"return {value}",))]


def _step_parameters(facts: Facts) -> Function:
    local, shared = facts.layout.local, facts.layout.shared
    body = _check_input(facts)
    if not facts.layered:
        body.append(f"h, {'t' if _uses_time(facts) else '_'} = time_grid(x, self.t0, self.t1, self.steps)")
    elif _uses_time(facts):
        body.append("t = self.step_size * torch.arange(self.step_count(), dtype=x.dtype, device=x.device)")
    names = [[_source(facts, q) for q in group] for group in (local, shared)]
    tuples = [tuple_display(group) for group in names]
    body.append(f"return {', '.join(tuples)}")
    doc = "What varies from step to step, and what every step uses."
    return Function("step_parameters", "self, x: Tensor", "tuple[tuple[Tensor, ...], Shared]", doc, tuple(body))


def _check_input(facts: Facts) -> list[str]:
    """The state's last axis, where its size is known; its dtype, where no network checks it."""
    name, known = facts.spec.class_name, facts.known_sizes()
    held = "".join(f", {q.name}=self.{q.name}" for q in (*facts.layer_parameters, *facts.parameters))
    lines = [f"check_dtype({name!r}, x{held})"] if facts.network is None and held else []
    if facts.layout.components > 1:
        return [*lines, f"check_size({name!r}, 'x', x, -1, {facts.layout.components})"]
    size = facts.recurrence.old[0].shape[:1]
    return [*lines, f"check_size({name!r}, 'x', x, -1, {known[size[0]]})"] if size and size[0] in known else lines


def _source(facts: Facts, quantity: Quantity) -> str:
    if quantity.role is Role.STEP_SIZE:
        return "self.step_size" if facts.layered else "h"
    if quantity.role is Role.TIME:
        return "t"
    return f"self.{quantity.name}"


def _uses_time(facts: Facts) -> bool:
    return any(q.role is Role.TIME for q in facts.layout.local)


def _step_count(facts: Facts) -> list[Function]:
    if facts.layered and facts.network is not None:
        return []
    value = f"len(self.{facts.layer_parameters[0].name})" if facts.layered else "self.steps"
    return [Function("step_count", "self", "int", "How many steps.", (f"return {value}",))]


def _stable_range(facts: Facts) -> list[str]:
    """A line on the root condition, where the scheme has symbols of its own that it binds."""
    stable = facts.derivation.facts.get("zero-stable for", "")
    if not stable or not facts.layer_parameters:
        return []
    return [f"    The scheme is zero-stable for {stable}; nothing keeps a learned parameter in that range."]


def _class_doc(facts: Facts) -> str:
    positional, keywords = arguments(facts)
    after = facts.recurrence.new[: facts.layout.components]
    lines = [f"{q} = {facts.recurrence.step.value(q)}" for q in after]
    names = ", ".join(q.name for q in facts.recurrence.old[: facts.layout.components])
    shape = "(..., d)" if facts.layout.components == 1 else f"(..., {facts.layout.components}) = ({names})"
    parts = [f"{facts.spec.title}: {'; '.join(lines)}.", ""]
    parts += [
        f"    `forward(x)`: x_0 {shape} -> x_N of the same shape; `trajectory(x)` -> (steps + 1, ...).",
        *_stable_range(facts),
        "",
        "    Args:",
    ]
    parts += [f"        {a.name}: {a.doc}." for a in (*positional, *keywords)]
    return "\n".join(parts)

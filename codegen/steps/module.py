"""The module class of a system that is a loop over steps: nets in depth, integrators, explicit systems."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.printer import TorchPrinter
from codegen.steps.arguments import arguments
from codegen.steps.constructor import constructor
from codegen.steps.draws import law_methods, unpack_draws, value_of_step
from codegen.steps.facts import Facts
from codegen.steps.functions import rule_functions, rules_table
from codegen.steps.functions_of_time import check_of_time, read_at_beginnings, read_at_stages, sizes_of_states
from codegen.steps.source import Function, tuple_display
from codegen.steps.streams import call_doc, stream_methods, stream_names
from derive.analysis import STABILITY_FACTS
from derive.errors import SpecError, UnsupportedError
from derive.operators import Operator, fill
from derive.program import symbols_of
from derive.schemes import MultistepFamily
from derive.symbols import Quantity, Role, by_name
from derive.systems import Option

WIDTH = 118
SUPPORT = ("cotangents", "construction", "step_net")


@dataclass(frozen=True)
class StepModule:
    """Everything of an emitted step module that depends on the spec.

    Attributes:
        functions: the rules.
        rules: source of the table of rules.
        methods: of the class.
        class_doc: its docstring.
        base: the class it derives from.
        support: the runtime sources that it needs.
    """

    functions: tuple[Function, ...]
    rules: str
    methods: tuple[Function, ...]
    class_doc: str
    base: str
    support: tuple[str, ...]


def write_module(variants: Mapping[Option, Facts]) -> StepModule:
    """All parts.

    Raises:
        SpecError: variants of a spec that are not called alike.
    """
    facts = _default(variants)
    _check_alike(variants)
    methods = [
        constructor(facts),
        *stream_methods(facts),
        *_embedding(facts),
        *step_blocks(facts),
        *law_methods(facts),
        step_parameters(facts),
        *step_count(facts),
    ]
    functions = tuple(function for one in variants.values() for function in rule_functions(one))
    base = "RandomNet" if facts.draws else "StepNet" if facts.layout.streams == 1 else "StepLoop"
    support = (*SUPPORT, *(name for name, wanted in _besides(facts).items() if wanted))
    return StepModule(functions, rules_table(variants), tuple(methods), _class_doc(variants), base, support)


def _besides(facts: Facts) -> dict[str, bool]:
    """Runtime sources that only some modules need."""
    return {
        "slopes": facts.field is not None,
        "affine": facts.field is not None,
        "explicit_sweep": facts.field is not None,
        "graph_sweep": facts.whole_graphs,
        "exact": facts.exact is not None,
        "polynomial_roots": facts.measures_roots,
        "inverse_growth": facts.measures_growth,
        "time_functions": bool(facts.stages),
        "implicit": facts.solves,
        "random_net": bool(facts.draws),
        "windows": isinstance(facts.scheme, MultistepFamily),
        "multistep": isinstance(facts.scheme, MultistepFamily),
    }


def _default(variants: Mapping[Option, Facts]) -> Facts:
    """The variant that is chosen unless another is named."""
    return variants[next(iter(variants.values())).spec.default_option]


def _check_alike(variants: Mapping[Option, Facts]) -> None:
    (first, *others) = variants.values()
    for other in others:
        if other.layout != first.layout:
            raise SpecError(
                f"{first.spec.id}: the variants {first.option} and {other.option} differ in networks, parameters or "
                "unknowns; the variants of one class are called alike"
            )


def _embedding(facts: Facts) -> list[Function]:
    if not facts.initial:
        return []
    if facts.layout.streams > 1:
        raise UnsupportedError(f"{facts.spec.id}: initial values are for one unknown; embed the input before the call")
    (value,) = facts.initial.values()
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


def step_blocks(facts: Facts) -> list[Function]:
    """The method that says which networks each step calls."""
    if not facts.networks:
        return []
    several = len(facts.networks) > 1
    if facts.layered:
        value, doc = ("block_rows(self.blocks)" if several else "list(self.blocks)"), "Block n serves step n."
    else:
        fields = [f"self.field_{network.name}" for network in facts.networks]
        value, doc = (
            f"[{tuple_display(fields) if several else 'self.field'}] * self.steps",
            "One field serves every step.",
        )
    if several:
        doc = f"The networks ({', '.join(network.name for network in facts.networks)}) of each step."
    return [Function("step_blocks", "self", "Sequence[Networks]", doc, (f"return {value}",))]


def step_parameters(facts: Facts) -> Function:
    """The method that says what the steps read: per-step values, and what they share."""
    names = stream_names(facts)
    x = names[0]
    body = [] if facts.stages else _check_input(facts, names)
    if not facts.layered:
        timed = _uses_time(facts) or facts.stages
        body.append(f"h, {'t' if timed else '_'} = time_grid({x}, self.t0, self.t1, self.steps)")
    elif _uses_time(facts):
        body.append(f"t = layer_times({x}, self.step_size, self.step_count())")
    body += [f"{q.name} = {value_of_step(q)}" for q in facts.layer_constants]
    if facts.draws:
        body.append(unpack_draws(facts))
    body += _read_of_time(facts, names) if facts.stages else [_returned(facts)]
    doc = "What varies from step to step, and what every step uses."
    more = ["*draws: Tensor"] * bool(facts.draws) + ["*history: Tensor"] * bool(facts.delays)
    given = ", ".join([*(f"{name}: Tensor" for name in names), *more])
    return Function("step_parameters", f"self, {given}", "tuple[tuple[Tensor, ...], Shared]", doc, tuple(body))


def _returned(facts: Facts, read: Sequence[Quantity] = ()) -> str:
    """The tuples of what is local and what is shared; `read` is there under its own name."""
    groups = (facts.layout.local, facts.layout.shared)
    sources = [[q.name if q in read else _source(facts, q) for q in group] for group in groups]
    sources[0] += ["*history"] if facts.delays else []
    return f"return {', '.join(tuple_display(group) for group in sources)}"


def _read_of_time(facts: Facts, names: Sequence[str]) -> list[str]:
    """Values of functions of time, and what is returned with them."""
    sizes = sizes_of_states(facts)
    if facts.of_time is None:
        functions = " or ".join(f"callable(self.{q.name})" for q in facts.varying)
        checks = [f"if {functions}:", *_inside(check_of_time(facts, "", sizes))]
        checks += _check_input(facts, names, facts.varying)
        return [*read_at_beginnings(facts), *checks, _returned(facts, facts.varying)]
    first = [next(q for q in facts.stages if q.parameter == one) for one in facts.varying]
    named = [f"{one.name} = {q.name}" for one, q in zip(facts.varying, first, strict=True)]
    checks = [*_check_dtype(facts, names, facts.varying), *check_of_time(facts, "", sizes)]
    return [
        "if not self.of_time:",
        *_inside([*_check_input(facts, names), _returned(facts)]),
        *read_at_stages(facts),
        *named,
        *checks,
        _returned(facts.of_time, facts.stages),
    ]


def _inside(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _check_dtype(facts: Facts, names: Sequence[str], read: Sequence[Quantity] = ()) -> list[str]:
    known = (*facts.layer_parameters, *facts.parameters)
    held = "".join(f", {q.name}={'' if q in read else 'self.'}{q.name}" for q in known)
    return [f"check_dtype({facts.spec.class_name!r}, {names[0]}{held})"] if not facts.networks and held else []


def _check_input(facts: Facts, names: Sequence[str], read: Sequence[Quantity] = ()) -> list[str]:
    """The last axis of every stream, where its size is known; the dtype, where no network checks it."""
    owner, known = facts.spec.class_name, facts.known_sizes(read)
    lines = _check_dtype(facts, names, read)
    if facts.layout.components > 1:
        return [*lines, f"check_size({owner!r}, {names[0]!r}, {names[0]}, -1, {facts.layout.components})"]
    for name, unknown in zip(names, facts.recurrence.old, strict=False):
        size = unknown.shape[1:2] if facts.layout.windowed else unknown.shape[:1]
        if size and size[0] in known:
            lines.append(f"check_size({owner!r}, {name!r}, {name}, -1, {known[size[0]]})")
    return lines


def _source(facts: Facts, quantity: Quantity) -> str:
    if quantity.role is Role.STEP_SIZE:
        return "self.step_size" if facts.layered else "h"
    if quantity.role is Role.TIME:
        return "t"
    if quantity.role in (Role.DRAW, Role.LAYER_CONSTANT):
        return quantity.name
    return f"self.{quantity.name}"


def _uses_time(facts: Facts) -> bool:
    return any(q.role is Role.TIME for q in facts.layout.local)


def step_count(facts: Facts) -> list[Function]:
    """The method that says how many steps there are, where blocks do not."""
    if facts.layered and facts.networks:
        return []
    rows = [*facts.layer_parameters, *facts.layer_constants]
    value = f"len(self.{rows[0].name})" if facts.layered else "self.steps"
    return [Function("step_count", "self", "int", "How many steps.", (f"return {value}",))]


def accuracy(facts: Facts) -> list[str]:
    """Order and stability of the scheme, as far as they are facts of the derivation."""
    found = facts.derivation.facts
    named = [f"{name}: {found[name]}" for name in STABILITY_FACTS.values() if name in found]
    if not named:
        return []
    text = "; ".join([f"Order: {found['order']}", *named])
    return [textwrap.fill(f"{text}.", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)]


def _stable_range(facts: Facts) -> list[str]:
    """A line on the root condition, where the scheme has symbols of its own that it binds."""
    if facts.weights:
        return [
            "    Where beta[0] is not 0 every step solves x_next = past + h*beta[0]*f_next for x_next.",
            "    A scheme that is not zero-stable is allowed, with a warning at construction.",
        ]
    if facts.unstable:
        return [f"    Warning: {facts.unstable}."]
    stable = facts.derivation.facts.get("zero-stable for", "")
    if not stable or not facts.layer_parameters:
        return []
    return [f"    The scheme is zero-stable for {stable}; nothing keeps a learned parameter in that range."]


def wrapped(line: str) -> str:
    """A line on an argument, for the docstring of a class."""
    return textwrap.fill(line, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12)


def _class_doc(variants: Mapping[Option, Facts]) -> str:
    facts = _default(variants)
    positional, keywords = arguments(facts)
    several = [f"    {facts.spec.option}={option!r}: {_step_in_words(one)}." for option, one in variants.items()]
    heading = f"{facts.spec.title}." if len(variants) > 1 else f"{facts.spec.title}: {_step_in_words(facts)}."
    parts = [heading, ""]
    parts += [*several, ""] if len(variants) > 1 else []
    parts += [
        *call_doc(facts),
        *accuracy(facts),
        *_stable_range(facts),
        "",
        "    Args:",
    ]
    parts += [wrapped(f"{a.name}: {a.doc}.") for a in (*positional, *keywords)]
    return "\n".join(parts)


def _step_in_words(facts: Facts) -> str:
    """What one step makes of each unknown."""
    step, after = facts.recurrence.step, facts.recurrence.new[: facts.layout.unknowns]
    if facts.layout.windowed:
        after = tuple(q for window in after for q in step.value(window).args if q in step.targets)
    return "; ".join(f"{q} = {step.value(q)}" for q in after)

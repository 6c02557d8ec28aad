"""What an emitted loop over steps does with parameters that may be functions of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codegen.steps.facts import Facts
from codegen.steps.source import tuple_display
from codegen.steps.streams import stream_names
from derive.step_quantities import StageValue
from derive.symbols import Quantity


def varying_lines(facts: Facts) -> list[str]:
    """Lines of the constructor: how many steps there are, and which parameters may have a value for each."""
    if not facts.varying:
        return []
    places = ", ".join(f"{facts.layout.shared.index(q)}: {len(q.shape)}" for q in facts.varying)
    lines = [f"steps = check_steps({facts.spec.class_name!r}, steps)"]
    if facts.of_time is None:
        return [*lines, f"self.varying = {{{places}}}"]
    return [*lines, f"self.of_time = {any_function(facts)}", f"self.varying = {{}} if self.of_time else {{{places}}}"]


def any_function(facts: Facts) -> str:
    """Whether a function of time is among the constructor's arguments."""
    return " or ".join(f"callable({q.name})" for q in facts.varying)


def check_of_time(facts: Facts, held: str, states: Mapping[str, Sequence[object]] = {}) -> list[str]:
    """The line that compares the sizes of all parameters, and of states by name; those that vary bear `held`."""
    axes = {q.name: [str(size) for size in q.shape] for q in (*facts.layer_parameters, *facts.parameters)}
    varying = {q.name for q in facts.varying}
    pairs = [f"{name}=({held if name in varying else 'self.'}{name}, {_tuple(sizes)})" for name, sizes in axes.items()]
    pairs += [f"{name}=({name}, {_tuple(sizes)})" for name, sizes in states.items()]
    return [f"check_sizes({facts.spec.class_name!r}, {', '.join(pairs)})"] if pairs else []


def read_at_beginnings(facts: Facts) -> list[str]:
    """Lines that read every such parameter at the beginning of each step, which is where the step needs it."""
    return [_reading(facts, q, q.name, "at_times", "t") for q in facts.varying]


def read_at_stages(facts: Facts) -> list[str]:
    """Lines that read every such parameter at the times of the stages."""
    lines = []
    for parameter in facts.varying:
        own = [q for q in facts.stages if q.parameter == parameter]
        targets = ", ".join(q.name for q in own) + ("," if len(own) == 1 else "")
        moments = tuple_display([_moment(q) for q in own])
        lines.append(_reading(facts, parameter, f"({targets})" if len(own) == 1 else targets, "at_stages", moments))
    return lines


def _reading(facts: Facts, parameter: Quantity, target: str, function: str, moments: str) -> str:
    axes = _tuple([str(size) for size in parameter.shape])
    batched = ", True" if carries_batch(facts, parameter) else ""
    owner, name = facts.spec.class_name, parameter.name
    return f"{target} = {function}({owner!r}, {name!r}, self.{name}, {axes}, {moments}{batched})"


def carries_batch(facts: Facts, parameter: Quantity) -> bool:
    """Whether its values broadcast against states: vectors do, and scalars where the unknowns are scalars."""
    return len(parameter.shape) == len(facts.recurrence.old[0].shape) and not facts.layout.windowed


def _moment(value: StageValue) -> str:
    if value.node == 0:
        return "t"
    return "t + h" if value.node == 1 else f"t + {float(value.node)!r} * h"


def sizes_of_states(facts: Facts) -> dict[str, list[object]]:
    """The last axis of each tensor that the module is called with."""
    names = stream_names(facts)
    if facts.layout.components > 1:
        return {names[0]: [facts.layout.components]}
    pairs = zip(names, facts.recurrence.old, strict=False)
    return {name: [str(size) for size in unknown.shape] for name, unknown in pairs if unknown.shape}


def _tuple(sizes: Sequence[object]) -> str:
    return tuple_display([repr(size) for size in sizes]) if sizes else "()"

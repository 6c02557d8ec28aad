"""The rules of a step split into the product with the oldest state and the rest, for its exact reversal."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.printer import TorchPrinter
from codegen.steps.rules import STATE_ARGUMENTS, Function, RuleWriter, tuple_display
from derive.exact_reversal import WEIGHT, SplitStep
from derive.program import Assignment
from derive.symbols import Quantity

GIVEN = "local: tuple[Any, ...], shared: Shared"


def exact_functions(split: SplitStep | None, writer: RuleWriter) -> list[Function]:
    """The weight of the oldest state, the parameters at a given weight, and the rest of the step."""
    return [] if split is None else [_weight(split, writer), _at_weight(split, writer), _rest(split, writer)]


def _weight(split: SplitStep, writer: RuleWriter) -> Function:
    line = Assignment(WEIGHT, split.weight)
    used = [] if split.parameter is None else [split.parameter]
    body = [*writer.unpack(used), writer.line("exact", line, TorchPrinter()(line.value)), f"return {WEIGHT.name}"]
    doc = f"Weight of {split.oldest.name} in the step."
    return Function("_exact_weight", GIVEN, "Any", doc, tuple(body))


def _at_weight(split: SplitStep, writer: RuleWriter) -> Function:
    groups = {"local": writer.layout.local, "shared": writer.layout.shared}
    body, returned = [], []
    for name, group in groups.items():
        if split.parameter not in group:
            returned.append(name)
            continue
        others = [q for q in group if q != split.parameter]
        line = Assignment(split.parameter, split.parameter_at_weight)
        body += [*writer.unpack(others), writer.line("exact", line, TorchPrinter()(line.value))]
        returned.append(_names(group))
    body.append(f"return {', '.join(returned)}")
    doc = f"The parameters at which {split.oldest.name} has the weight {WEIGHT.name}."
    weight = WEIGHT.name if split.parameter is not None else f"_{WEIGHT.name}"
    return Function("_exact_at_weight", f"{weight}: Any, {GIVEN}", "tuple[tuple[Any, ...], Shared]", doc, tuple(body))


def _rest(split: SplitStep, writer: RuleWriter) -> Function:
    printer = TorchPrinter(lambda node, arguments: f"field({', '.join(arguments)})")
    program = split.rest
    body = [*writer.unpack_state("state", split.newer, program.inputs), *writer.unpack(program.inputs)]
    for line in program.assignments:
        kind = "exact" if line.target in program.outputs else "step"
        body.append(writer.line(kind, line, printer(line.value)))
    body.append(f"return {program.outputs[0].name}")
    doc = f"The step without its term in {split.oldest.name}."
    return Function("_exact_rest", f"field: Field, {STATE_ARGUMENTS}", "Tensor", doc, tuple(body))


def _names(group: Sequence[Quantity]) -> str:
    return tuple_display([q.name for q in group])

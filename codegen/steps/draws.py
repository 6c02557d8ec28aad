"""Random draws of an emitted loop over steps: their laws, the steps that they spare, the reverse sweep of their own."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Integer, Reals

from codegen.printer import TorchPrinter
from codegen.steps.facts import Facts
from codegen.steps.rules import RuleWriter
from codegen.steps.source import Function, tuple_display
from derive.errors import UnsupportedError
from derive.laws import Bernoulli, Law, Normal, Uniform
from derive.program import symbols_of
from derive.random_recurrence import Draw, RandomRecurrence, replaced
from derive.symbols import Quantity, Role, by_name

SAMPLING: Mapping[type[Law], str] = {  # functions of codegen/runtime/random_net.py
    Bernoulli: "bernoulli",
    Uniform: "uniform",
    Normal: "normal",
}


def draw_names(facts: Facts) -> list[str]:
    """Names of the draws in the order in which they are given."""
    return [q.name for draw in facts.draws for q in draw.quantities]


def unpack_draws(facts: Facts) -> str:
    """The line that names the draws; scalars that share the last axis of a tensor are read without it."""
    given = "draws" if facts.layout.components == 1 else "(draw[..., 0] if draw.dim() > 1 else draw for draw in draws)"
    return f"{tuple_display(draw_names(facts))} = {given}"


def law_methods(facts: Facts) -> list[Function]:
    """`step_laws`: the laws of the draws as the loop takes them."""
    if not facts.draws:
        return []
    if facts.layout.streams > 1:
        raise UnsupportedError(f"{facts.spec.id}: random draws in a net of {facts.layout.streams} streams; one can be")
    used = {q for draw in facts.draws for q in draw.law.quantities}
    lines = [f"{q.name} = {value_of_step(q)}" for q in by_name(used)]
    (state, *others) = facts.recurrence.old
    each = not state.shape and not others  # every entry of the tensor is a state
    laws = [_law(draw, bool(draw.quantity.shape) or each) for draw in facts.draws]
    made = [_numbered(facts, draw, law) for draw, law in zip(facts.draws, laws, strict=True)]
    body = (*lines, *made, f"return [{', '.join(_name(draw) for draw in facts.draws)}]")
    return [Function("step_laws", "self, x: Tensor", "list[Law]", "The laws of the random draws.", body)]


def _name(draw: Draw) -> str:
    return f"law_of_{draw.quantity.name}"


def _numbered(facts: Facts, draw: Draw, law: str) -> str:
    """The line of one law, with the numbers of its definition and of its moments."""
    words = [".".join(part for part in (facts.option, kind, draw.quantity.name) if part) for kind in ("law", "moments")]
    numbers = [number for word in words if (number := facts.derivation.number_of(word))]
    return f"{_name(draw)} = {law}" + (f"  # {', '.join(f'({number})' for number in numbers)}" if numbers else "")


def value_of_step(quantity: Quantity) -> str:
    """Source of a constant as a tensor with one number for each step."""
    if quantity.role is Role.LAYER_CONSTANT:
        return f"per_step(x, self.{quantity.name})"
    return f"per_step(x, [self.{quantity.name}] * self.step_count())"


def _law(draw: Draw, componentwise: bool) -> str:
    law, backward = draw.law, draw.backward
    sampling = SAMPLING.get(type(law))
    made = f"{sampling}({', '.join(map(TorchPrinter(), law.arguments.values()))})" if sampling else "None"
    parts = [repr(draw.quantity.name), _mean(law.expectation), made, str(componentwise)]
    return f"Law({', '.join([*parts, *([repr(backward.name)] if backward is not None else [])])})"


def _mean(value: Expr) -> str:
    """Source of a mean as a tensor with one number for each step."""
    text = TorchPrinter()(value)
    return text if symbols_of(value) else f"per_step(x, [{text}] * self.step_count())"


def draw_functions(facts: Facts, writer: RuleWriter, name: str) -> list[Function]:
    """The adjoint for draws of its own with the step for autograd, and the steps that a draw of zero leaves."""
    system = facts.recurrence
    if not isinstance(system, RandomRecurrence):
        return []
    found = []
    if system.backward:
        found.append(_step_for_autograd(system, writer, f"{name}_for_autograd"))
    for quantity in spared(system):
        shorter, called = replaced(system.step, {quantity: Integer(0)}), f"{name}_without_{quantity.name}"
        doc = f"One step where {quantity.name} is 0: the new state."
        found.append(writer.step(called, shorter, system.old, system.new, doc))
        doc = f"Reverse sweep over one step where {quantity.name} is 0."
        found.append(writer.adjoint(f"{called}_adjoint", shorter, system.old, system.new, doc))
    return found


def spared(system: RandomRecurrence) -> list[Quantity]:
    """Draws of one number that may be zero, where the step then calls fewer networks."""
    whole = len(system.step.networks())
    return [
        draw.quantity
        for draw in system.draws
        if draw.law.may_vanish
        and not draw.quantity.shape
        and draw.backward is None
        and len(replaced(system.step, {draw.quantity: Integer(0)}).networks()) < whole
    ]


def _step_for_autograd(system: RandomRecurrence, writer: RuleWriter, name: str) -> Function:
    """The step for the forward draws, with the derivatives of the one for the backward draws."""
    twins = {q: q.renamed(f"{q.name}_back") for q in system.step.targets if q in system.moved}
    both = system.with_twins(twins)
    written = writer.step(name, both, system.old, (*system.new, *(twins[q] for q in system.new if q in twins)))
    returned = [f"with_gradient_of({q}, {twins[q]})" if q in twins else q.name for q in system.new]
    doc = "One step: the new state, with the derivatives of the step for the draws of the reverse sweep."
    body = (*written.body[:-1], f"return {tuple_display(returned)}")
    return Function(name, written.parameters, written.returns, doc, body)


def draw_rules(facts: Facts, name: str) -> list[str]:
    """Fields of the table of rules."""
    system = facts.recurrence
    if not isinstance(system, RandomRecurrence):
        return []
    fields = [f"plain={name}_for_autograd"] if system.backward else []
    places = draw_names(facts)
    rows = []
    for quantity in spared(system):
        called = f"{name}_without_{quantity.name}"
        rows.append(f"({places.index(quantity.name)}, Rules(step={called}, adjoint={called}_adjoint))")
    return [*fields, *([f"dropped={tuple_display(rows)}"] if rows else [])]


def allowed_of(facts: Facts, quantity: Quantity) -> str:
    """In words, the numbers that a constant may be."""
    interval = facts.ranges.get(quantity, Reals)
    if interval == Reals:
        return "a number"
    low, high = (f"{float(end):g}" for end in (interval.start, interval.end))
    if interval.end.is_infinite:
        return f"a number above {low}" if interval.left_open else f"a number, {low} or more"
    return f"a number in {'(' if interval.left_open else '['}{low}, {high}{')' if interval.right_open else ']'}"


def interval_arguments(facts: Facts, quantity: Quantity) -> str:
    """Source of the interval of a constant: in words, then its ends and whether they are left out."""
    interval = facts.ranges.get(quantity, Reals)
    ends = [_end(end) for end in (interval.start, interval.end)]
    opened = [str(bool(side)) for side in (interval.left_open, interval.right_open)]
    return f"{allowed_of(facts, quantity)!r}, {tuple_display([*ends, *opened])}"


def _end(end: Expr) -> str:
    if end.is_finite:
        return repr(float(end))
    return "-math.inf" if end.is_extended_negative else "math.inf"

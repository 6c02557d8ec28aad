"""The emitted functions of a written-out field, and the table by which the sweeps find them."""

from __future__ import annotations

from collections.abc import Sequence

from sympy import Expr

from codegen.cells.lowering import tuple_text, unpacking
from codegen.printer import TorchPrinter
from codegen.steps.facts import Facts
from codegen.steps.field_inner import InnerNumbers, InnerPlan, inner_plan
from codegen.steps.field_numbers import FieldNumbers
from codegen.steps.field_plan import FieldPlan
from codegen.steps.field_text import FieldText
from codegen.steps.rules import Function, tuple_display
from derive.schemes import ButcherTableau
from derive.symbols import Quantity, Role

FIELD, INNER = "_field", "_inner"
GROUPS = ("state", "clock", "held", "values", "slopes", "coefficients", "bar_slopes", "bars", "bar_state")


FUNCTIONS: tuple[tuple[str, tuple[str, ...], str, str], ...] = (
    (
        "shapes",
        ("state", "held"),
        "Last axes of the values of the field and of their cotangents.",
        "tuple[tuple[Shape, ...], tuple[Shape, ...]]",
    ),
    (
        "value",
        ("state", "clock", "held", "values", "slopes"),
        "The field in place: slopes of the unknowns, by way of the values that the pullback reads.",
        "None",
    ),
    (
        "coefficients",
        ("state", "clock", "held", "values", "slopes"),
        "What the pullback multiplies cotangents by, for all stages of many steps.",
        "Values",
    ),
    (
        "pull_back",
        ("state", "values", "slopes", "coefficients", "held", "bar_slopes", "bars", "bar_state"),
        "Reverse sweep over the field in place, at one stage of one step.",
        "None",
    ),
    (
        "gradients",
        ("state", "clock", "held", "values", "slopes", "bar_slopes", "bars"),
        "Cotangents of what has no batch axes, summed over all stages of many steps.",
        "tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...]]",
    ),
)
"""Name, tuples that it takes, docstring and type of what it returns."""


class FieldFunctions:
    """Writes the functions; their arguments are tuples, of which each names what it reads.

    Args:
        facts: of the module.
        plan: the field.
        name: what the names of the functions begin with.
        numbers: equation numbers of the lines, where they are not those of the plan.
        added: what is read behind the shared quantities.
    """

    def __init__(
        self,
        facts: Facts,
        plan: FieldPlan,
        name: str = FIELD,
        numbers: FieldNumbers | InnerNumbers | None = None,
        added: Sequence[Quantity] = (),
    ) -> None:
        self.facts, self.plan, self.name = facts, plan, name
        self.shared = (*facts.layout.shared, *added)
        self.text = FieldText(facts, plan, numbers or FieldNumbers(facts, plan))
        self.group = {name: self.text.names(name) for name in (*GROUPS, "local", "shared")}

    def functions(self) -> list[Function]:
        """All of them. Lines come first: what they read of parameters and times decides what is handed in."""
        lines = self._lines()
        written = [self._function(name, groups, doc, lines[name], returns) for name, groups, doc, returns in FUNCTIONS]
        return [self._held(), self._clock(lines["clock"]), *written]

    def _lines(self) -> dict[str, list[str]]:
        text, layout = self.text, self.facts.layout
        lines = {
            "value": text.value(),
            "pull_back": text.pull_back(),
            "coefficients": text.coefficient_lines(),
            "gradients": text.gradients(),
            "shapes": [f"return {text.shapes(self.plan.values)}, {text.shapes(self.plan.bars)}"],
        }
        lines["coefficients"].append(f"return {tuple_text([q.name for q in text.coefficients.values()])}")
        lines["gradients"].append(f"return {self._bars(layout.local)}, {self._bars(self.shared)}")
        lines["clock"] = [*text.clock_lines(), f"return {tuple_text(list(text.clock.values()))}"]
        return lines

    def _function(self, name: str, groups: Sequence[str], doc: str, lines: Sequence[str], returns: str) -> Function:
        body = [line for group in groups for line in unpacking(self.group[group], self._entries(group), lines)]
        parameters = ", ".join(f"{self.group[group]}: Values" for group in groups)
        return Function(f"{self.name}_{name}", parameters, returns, doc, (*body, *lines))

    def _entries(self, group: str) -> list[str]:
        plan, text = self.plan, self.text
        bars = {q: bar.name for q, bar in plan.adjoint.cotangents.items()}
        table = {
            "state": [q.name for q in plan.states],
            "clock": list(text.clock.values()),
            "held": list(text.held.values()),
            "values": [q.name for q in plan.values],
            "slopes": [q.name for q in plan.slopes],
            "coefficients": [q.name for q in text.coefficients.values()],
            "bar_slopes": [plan.adjoint.seeds[q].name for q in plan.program.outputs],
            "bars": [q.name for q in plan.bars],
            "bar_state": [bars.get(q, f"bar_{q.name}") for q in plan.states],
        }
        return table[group]

    def _held(self) -> Function:
        lines = [*self.text.held_lines(), f"return {tuple_text(list(self.text.held.values()))}"]
        body = [
            line
            for group, quantities in (("local", self.facts.layout.local), ("shared", self.shared))
            for line in unpacking(self.group[group], [q.name for q in quantities], lines)
        ]
        parameters = f"{self.group['local']}: Values, {self.group['shared']}: Shared"
        return Function(f"{self.name}_held", parameters, "Values", "What depends on parameters alone.", (*body, *lines))

    def _clock(self, lines: Sequence[str]) -> Function:
        body = unpacking(self.group["held"], self._entries("held"), lines)
        time = next((q.name for q in self.plan.program.inputs if q.role is Role.TIME), self.text.names("t"))
        parameters = f"{time}: Tensor, {self.group['held']}: Values"
        return Function(
            f"{self.name}_clock", parameters, "Values", "What depends on the time besides.", (*body, *lines)
        )

    def _bars(self, quantities: Sequence[Quantity]) -> str:
        bars = self.plan.adjoint.cotangents
        return tuple_display([bars[q].name if q in bars else "None" for q in quantities])


def field_functions(facts: Facts, plan: FieldPlan) -> list[Function]:
    """The functions of a field, and those of the field of y where there is one."""
    outer, inner = FieldFunctions(facts, plan), inner_plan(plan)
    if inner is None:
        return outer.functions()
    numbers = InnerNumbers(FieldNumbers(facts, plan), inner)
    functions = FieldFunctions(facts, inner.plan, INNER, numbers, inner.added).functions()
    return [*outer.functions(), _maps(facts, inner), *functions]


def _maps(facts: Facts, inner: InnerPlan) -> Function:
    """The function that finds W, b, V and u among the parameters."""
    values = [TorchPrinter()(value) if value != 0 else "None" for value in inner.maps]
    lines = [f"return {tuple_text(values)}"]
    body = unpacking("shared", [q.name for q in facts.layout.shared], lines)
    doc = "W, b, V, u of the field V z(W x + b) + u."
    returns = "tuple[Tensor, Tensor | None, Tensor, Tensor | None]"
    return Function(f"{INNER}_maps", "shared: Shared", returns, doc, (*body, *lines))


def sweeps_table(facts: Facts, plan: FieldPlan) -> str:
    """Source of the sweeps of the steps: functions, what is kept, places, and the tableau as numbers."""
    scheme = facts.scheme
    assert isinstance(scheme, ButcherTableau)
    rows = tuple_display([_numbers(row) for row in scheme.A])
    tableau = f"Tableau({rows}, {_numbers(scheme.b)}, {_numbers(scheme.c)})"
    inner = inner_plan(plan)
    if inner is None:
        return f"ExplicitSweeps({field_table(facts, plan)}, {tableau})"
    place = inner.plan.values.index(inner.plan.slots[inner.output])
    within = f"InnerField({field_table(facts, inner.plan, INNER)}, {INNER}_maps, {place})"
    return f"ExplicitSweeps({field_table(facts, plan)}, {tableau}, {within})"


def field_table(facts: Facts, plan: FieldPlan, name: str = FIELD) -> str:
    """Source of the written field: functions, what is kept, places."""
    layout = facts.layout
    read = {*(q for line in plan.adjoint.program.assignments for q in line.value.atoms(Quantity))}
    unknowns = 0 if plan.states[0].shape else len(plan.states)
    time = next((place for place, q in enumerate(layout.local) if q.role is Role.TIME), -1)
    step = next(place for place, q in enumerate(layout.shared) if q.role is Role.STEP_SIZE)
    names = ("held", "clock", "shapes", "value", "coefficients", "pull_back", "gradients")
    fields = [f"{one}={name}_{one}" for one in names]
    fields += [
        f"state_kept={not read.isdisjoint(plan.states)}",
        f"kept={tuple_display([str(q in read) for q in plan.values])}",
        f"bars_kept={tuple_display([str(q in plan.read_after) for q in plan.bars])}",
        f"unknowns={unknowns}, time={time}, step_size={step}",
    ]
    return f"WrittenField({', '.join(fields)})"


def _numbers(values: Sequence[Expr]) -> str:
    return tuple_display([repr(float(value)) for value in values])

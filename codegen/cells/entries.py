"""The table of the cells of a module, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codegen.cells.interface import Interface
from codegen.cells.plan import CellPlan
from codegen.cells.plan_operands import Operand
from codegen.cells.prelude import Prelude, held_operands, prelude_text
from codegen.steps.source import tuple_display
from derive.past_values import read_back
from derive.symbols import Dimension

SWEEPS = ("forward", "recompute", "backward", "totals")


@dataclass(frozen=True)
class CellEntry:
    """One entry of the table of cells, as text; `others` are arguments that not every cell has."""

    kind: str
    option: str
    states: str
    operands: str
    functions: str
    others: Sequence[str]


def cell_entry(name: str, chosen: Sequence[object], plan: CellPlan, prelude: Prelude | None) -> CellEntry:
    """The entry of one cell, under the values of the options that choose it."""
    suffix, program = f"_{name}" if name else "", plan.program
    sweeps = ["without_slope"] * len(SWEEPS) if plan.silent else [f"_{kind}{suffix}" for kind in SWEEPS]
    if program.stateless:
        sweeps[-1] = "without_states"
    functions = ", ".join([f"_plain{suffix}", *sweeps])
    held = held_operands(program.layout, prelude)
    others = [text for text in (_reach_text(plan),) if text]
    others += [f"output={program.output}"] * bool(program.output)
    unread = [
        str(place) for place, q in enumerate(program.old) if not {q, *program.past_of(q)} & {*program.step.inputs}
    ]
    others += [f"unread={tuple_display(unread)}"] * bool(unread)
    if prelude is not None:
        others.append(f"prelude={prelude_text(program.layout, prelude, suffix)}")
    return CellEntry(
        "Cell" if prelude is None else "PreludeCell",
        tuple_display([repr(value) for value in chosen]),
        tuple_display([repr(q.name) for q in program.old]),
        tuple_display([_parts_text(operand) for operand in held]),
        functions,
        others,
    )


def _parts_text(operand: Operand) -> str:
    """What an operand is made of."""
    parts = tuple_display([repr(part) for part in operand.parts])
    return f"Below({parts})" if operand.below else parts


def _reach_text(plan: CellPlan) -> str:
    """How many steps later states and inputs are read, as arguments of a cell; empty where it is one step."""
    program = plan.program
    if not program.past:
        return ""
    sources = [*program.old, program.input]
    texts = []
    for source in sources:
        lags = read_back(program.past, source)
        texts.append(tuple_display([repr(lag if isinstance(lag, int) else lag.name) for lag in lags]) if lags else "()")
    states, x = texts[:-1], texts[-1]
    return ", ".join(
        [f"reach={tuple_display(states)}" if states else "reach=()", *([f"input_reach={x}"] if x != "()" else [])]
    )


def interface_text(face: Interface, sizes: Mapping[Dimension, str]) -> str:
    """What the caller sees of a cell, given the names of the sizes."""
    states = tuple_display([repr(q.name) for q in face.states])
    parts = [states, tuple_display([repr(sizes[q.shape[0]]) for q in face.states])]
    parts += [repr(sizes[face.output.shape[0]]), *(f"taught={q.name!r}" for q in face.taught)]
    return f"Interface({', '.join([*parts, *(['carried=True'] if face.carried else [])])})"

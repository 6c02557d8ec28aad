"""Stacked LSTM layers: what the upper layer's input sends back is what the lower layer's output hears."""

from __future__ import annotations

from typing import Any

from sympy import Expr, Integer

from derive import (
    DeckClaim,
    IdentityCheck,
    Quantity,
    Recurrence,
    Spec,
    forward_and_reverse,
    load,
    matvec,
    quantities,
    relation,
    transpose,
    unrolled,
)
from derive.checks import DeferredCheck
from derive.convergence import Values
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.symbols import with_index

DECK = "recurrent networks 2/26/2018, 'LSTM architectures example'"
BETWEEN = "One layer above the other"
GATES, T = ("i", "f", "g", "o"), 2
LSTM = load("lstm").system
ALONE = forward_and_reverse(LSTM.step)
cell = quantities(LSTM)


def layer(number: int, x: Quantity | None = None) -> dict[Expr, Quantity]:
    """What the cell's quantities are called in a layer; a layer that reads `x` has no other input."""
    table: dict[Expr, Quantity] = {}
    for q in (*LSTM.step.inputs, *LSTM.step.targets):
        shape = tuple("H" if size == "I" else size for size in q.shape) if x is not None else q.shape
        table[q] = Quantity(f"{q.name}_{number}", shape, q.role, with_index(q.latex, f"({number})"), q.meaning)
    return table if x is None else {**table, LSTM.inputs[0]: x}


LOWER = layer(1)
UPPER = layer(2, LOWER[LSTM.new[0]])
LAYERS = (LOWER, UPPER)


def stack() -> Recurrence:
    """One step of two layers: a cell with twice the states."""
    lines = [
        Assignment(table[line.target], line.value.xreplace(table), line.reason)
        for table in LAYERS
        for line in LSTM.step.assignments
    ]
    old, new = (tuple(table[q] for table in LAYERS for q in part) for part in (LSTM.old, LSTM.new))
    inputs = [LOWER[q] for q in LSTM.step.inputs]
    inputs += [UPPER[q] for q in LSTM.step.inputs if q not in LSTM.inputs]
    step = Program(tuple(inputs), tuple(lines), new)
    return Recurrence(step, old=old, new=new, inputs=(LOWER[LSTM.inputs[0]],), output=UPPER[LSTM.new[0]])


STACK = stack()
q = quantities(STACK)
W_x = {g: UPPER[cell[f"W_x{g}"]] for g in GATES}
sent: Expr = sum((matvec(transpose(W_x[g]), q[f"bar_a_{g}_2"]) for g in GATES), Integer(0))


def alone(known: Values, table: dict[Expr, Quantity], beside: dict[str, Numeric]) -> Values:
    """Values and cotangents of one step of the cell by itself, with the parameters of a layer."""
    own = {q: known[table[q]] for q in LSTM.step.inputs if table.get(q) in known}
    return evaluate(ALONE, {**own, **{cell[name]: value for name, value in beside.items()}})


def from_above(known: Values, _: Any) -> Numeric:
    """The cotangent of the input that the sweep of the cell by itself finds with the upper layer's numbers."""
    after = {"bar_h_next": known[q["bar_h_next_2"]], "bar_c_next_out": known[q["bar_c_next_2_out"]]}
    found = alone(known, UPPER, {"x": known[LOWER[LSTM.new[0]]], **after})
    return known[q["bar_h_next_1_out"]] + found[cell["bar_x"]]


def over_time() -> IdentityCheck:
    """Two steps of the stack as one graph with its adjoint, beside sweeps over time of the cell by itself."""
    both = forward_and_reverse(unrolled(STACK, T))
    names = {quantity.name: quantity for quantity in (*both.inputs, *both.targets)}

    def layer_by_layer(known: Values, _: Any) -> Numeric:
        """All steps of the upper layer, then of the lower one, which hears what the upper one's input sends back."""
        heard: list[Numeric] = [0] * T
        for number, table, below in ((2, UPPER, "h_1"), (1, LOWER, "x_1")):
            bar_h = known[names[f"bar_h_{number}_{T}" + ("" if number == 2 else "_out")]]
            bar_c = known[names[f"bar_c_{number}_{T}_out"]]
            for t in range(T, 0, -1):
                before = {s: known[names[f"{s}_{number}_{t - 1}"]] for s in "hc"}
                after = {"bar_h_next": bar_h + heard[t - 1], "bar_c_next_out": bar_c}
                found = alone(known, table, {**before, **after, "x": known[names[f"{below}_{t}"]]})
                bar_h, bar_c, heard[t - 1] = (found[cell[f"bar_{s}"]] for s in ("h", "c", "x"))
        return sum(heard)

    right = sum((names[f"bar_x_1_{t}"] for t in range(1, T + 1)), Integer(0))
    return IdentityCheck(layer_by_layer, right, both.inputs, given=both)


BOTH = forward_and_reverse(STACK.step)
SPEC = Spec(
    id="lstm_stacked",
    class_name="",
    title="Stacked LSTM layers",
    source=f"{DECK}; two layers stand for any number",
    system=STACK,
    relations=(
        relation(
            "a layer reads the outputs of the one below",
            "definition",
            r"x^{(\ell+1)}_t = h^{(\ell)}_t",
            text="x of layer l + 1 = h of layer l, at every step",
            reason="so that two layers are one cell with twice the states; indices (1) and (2) are the layers",
            section=BETWEEN,
        ),
        relation(
            "the product of gradients is the upper layer's cotangent of its input",
            "identity",
            r"\nabla_{z_t} Div\, \nabla_{h_t} z_t = \bar{x}^{(2)}_t = \sum_{g} W_{x g}^{(2) \top} \delta^{g, (2)}_t",
            text=f"bar_h_next_1 = bar_h_next_1_out + {sent}",
            reason="found by the reverse sweep of the cell by itself, with the upper layer's numbers; what the lower "
            "layer's own next step sends is in bar_h_next_1_out",
            name="from_above",
            value=q["bar_h_next_1_out"] + sent,
            check=IdentityCheck(from_above, q["bar_h_next_1_out"] + sent, BOTH.inputs, given=BOTH),
            section=BETWEEN,
        ),
        relation(
            "layers can be swept one after the other",
            "identity",
            r"\bar{x}^{(1)}_{1 \ldots T} = \text{sweep}^{(1)}\left(\bar{x}^{(2)}_{1 \ldots T}\right), \qquad "
            r"\bar{x}^{(2)}_{1 \ldots T} = \text{sweep}^{(2)}\left(\bar{h}^{\,\mathrm{ext}}_{1 \ldots T}\right)",
            text="two steps of the stack as one graph have the cotangents of two sweeps over time, the upper one first",
            reason="no cotangent of a lower layer is read by an upper one: the deck's formulas of one layer suffice",
            check=DeferredCheck(over_time),
            section=BETWEEN,
        ),
    ),
    claims=(
        DeckClaim(
            "lower layer",
            DECK,
            "bar_h_next_1",
            q["bar_h_next_1_out"] + sent,
            note="the deck's nabla_z Div nabla_h z, with z the layer above; that x(t) has no parameters (E002-7) is "
            "true, and yet its gradient is what a lower layer learns from",
            agrees=True,
        ),
    ),
    statements=(
        (
            r"h, c: [L, B, H], \quad o: [B, T, H], \quad o_{:, T} = h_{L}",
            "documentation of torch.nn.LSTM: h[-1] == o[:, -1] with batch_first; states of every layer, outputs of one",
        ),
    ),
    no_module="`derive generate lstm` emits a class with num_layers=...; so has every recurrent class",
)

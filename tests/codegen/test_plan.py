"""The plan of a recurrent cell: rows and their order, what is one operation, pivots, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codegen.cells.class_doc import describe
from codegen.cells.lowering import CellText
from codegen.cells.lowering_backward import backward_function
from codegen.cells.plan import plan
from codegen.cells.plan_adjoint import Carry, Gather, ScaleRows
from codegen.cells.plan_forward import Activate, Compute, Hadamard, Product
from codegen.cells.plan_schedule import Schedule
from derive import Builder, Recurrence, Stack, constant, input_, load, matvec, parameter, sigmoid, state, tanh
from derive.errors import UnsupportedError
from derive.functions import step as unit_step
from derive.norms import unit
from tests.codegen.gated_cells import CELLS, Gated

BY_ID = {cell.spec.id: cell for cell in CELLS}


def plan_of(cell: Gated):
    (recurrence,) = cell.spec.variants.values()
    return plan(recurrence, cell.spec.stacks)


def peephole(option: str):
    spec = load("lstm_peephole")
    return plan(spec.variants[option], spec.stacks)


def of_kind(operations, kind):
    return [operation for operation in operations if isinstance(operation, kind)]


def names(quantities):
    return [quantity.name for quantity in quantities]


@pytest.mark.parametrize(
    ("option", "forward", "backward", "products"),
    (("diagonal", 11, 5, (1, 1)), ("full", 11, 7, (3, 3)), ("none", 9, 5, (1, 1))),
)
def test_operations_of_the_peephole_lstm(option, forward, backward, products):
    counts = describe(peephole(option))
    assert (counts["forward"], counts["backward"]) == (forward, backward)
    assert (counts["forward products"], counts["backward products"]) == products


def test_rows_follow_the_stack_and_share_products():
    found = peephole("full")
    assert names(row.target for row in found.program.rows) == ["a_i", "a_f", "a_g", "a_o"]
    products = of_kind(found.forward.loop, Product)
    assert [(op.rows, op.vector.name) for op in products] == [((0, 1, 2, 3), "h"), ((0, 1), "c"), ((3,), "c_next")]
    assert len(found.forward.before) == 1


def test_functions_and_peepholes_of_neighbouring_rows_are_one_operation():
    found = peephole("diagonal")
    assert [op.rows for op in of_kind(found.forward.loop, Activate)] == [(0, 1), (2,), (3,)]
    assert [op.rows for op in of_kind(found.forward.loop, Hadamard)] == [(0, 1), (3,)]


def test_pivots_of_the_peephole_lstm():
    found = peephole("diagonal").adjoint
    assert names(op.target for op in of_kind(found.loop, Gather)) == ["bar_c_next"]
    scaled = [(op.rows, op.pivot.name) for op in of_kind(found.loop, ScaleRows)]
    assert scaled == [((3,), "bar_h_next"), ((0, 1, 2), "bar_c_next")]
    assert [carry.place for carry in of_kind(found.loop, Carry)] == [1, 0]


def test_a_row_that_the_loop_multiplies_stands_beside_its_stack():
    found = plan_of(BY_ID["gru_after"])
    assert names(found.forward.held) == ["r", "z", "R_n_h", "n"]
    assert [op.rows for op in of_kind(found.forward.loop, Product)] == [(0, 1, 2)]
    assert [op.rows for op in of_kind(found.adjoint.loop, ScaleRows)] == [(0, 1, 2, 3)]
    assert describe(found)["forward"] == 7 and describe(found)["backward"] == 3


def test_parameters_that_are_read_as_one_block_are_one_operand():
    cell = BY_ID["without_stacks"]
    found = plan_of(cell)
    operands = {operand.name: names(operand.rows) for operand in found.program.layout.operands}
    assert operands == {
        "W_f_g_o": ["W_f", "W_g", "W_o"],
        "R_f_g_": ["R_f", "R_g"],  # a parameter has the name R_f_g
        "R_s": ["R_s"],  # read twice
        "S": ["S"],
        "bias_f_g_o": ["bias_f", "bias_g", "bias_o"],
        "R_f_g": ["R_f_g"],
    }
    (recurrence,) = cell.spec.variants.values()
    (wanted,) = (q for q in recurrence.parameters if q.name == "W_g")
    left = {operand.name for operand in plan(recurrence, (), {wanted}).program.layout.operands}
    assert left >= {"W_f", "W_g", "W_o", "bias_f_g_o"}, "what a prelude reads keeps a tensor of its own"
    vanilla = load("vanilla_lstm")
    gradients = [
        line
        for line in backward_function(CellText(plan(vanilla.system), "", lambda _: "")).body
        if "bar_W" in line and "add_product" in line
    ]
    assert len(gradients) == 4, "of eleven matrices, by what they multiply"


def test_what_is_kept():
    assert peephole("none").stored
    assert not plan_of(BY_ID["tanh_rnn"]).stored, "the state's path is all that the slope of tanh needs"
    assert plan_of(BY_ID["relu_rnn"]).stored, "the slope of relu is written in its argument"
    kept = names(plan_of(BY_ID["three_states"]).forward.held)
    assert kept == ["i", "f", "g", "a_s"], "softplus does not take the place of its argument"


def test_states_that_need_each_other_are_staged():
    carries = of_kind(plan_of(BY_ID["crossing"]).adjoint.loop, Carry)
    assert [carry.staged for carry in carries] == [True, True]
    assert not any(carry.staged for carry in of_kind(plan_of(BY_ID["delayed"]).adjoint.loop, Carry))


def test_compound_arguments_and_products_get_lines_of_their_own():
    program = plan_of(BY_ID["gru_before"]).program
    assert "h_r" in names(program.step.targets)
    (origin,) = {program.origins[q].name for q in program.step.targets if q.name == "h_r"}
    assert origin == "n"


def test_operations_that_wait_for_each_other_are_not_merged():
    schedule = Schedule[str](lambda one, other: one + other if len(one + other) == 2 else None)
    schedule.add("a", 0, {"A"}, ())
    schedule.add("b", 1, {"B"}, {"A"})
    schedule.add("c", 2, {"C"}, {"B"})
    schedule.add("d", 3, {"D"}, {"A"})
    assert schedule.ordered() == ["a", "bd", "c"], "a waits for nobody, but no two of a, b, c can be one"


x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W, R, b = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("b", "H")


def simple(value=None, **changes) -> Recurrence:
    step = Builder()
    h_next = step.let("h_next", tanh(matvec(W, x) + matvec(R, h) + b) if value is None else value)
    return replace(Recurrence(step.build((h_next,)), (h,), (h_next,), (x,), h_next), **changes)


def three_sizes() -> Recurrence:
    step, c, d = Builder(), state("c", "K"), state("d", "J")
    pair = matvec(parameter("V", ("H", "K")), c) + matvec(parameter("S", ("H", "J")), d)
    h_next = step.let("h_next", tanh(matvec(W, x) + pair))
    new = (h_next, step.let("c_next", tanh(c)), step.let("d_next", tanh(d)))
    return Recurrence(step.build(new), (h, c, d), new, (x,), h_next)


def target_read_twice() -> Recurrence:
    step, y = Builder(), input_("y", "H")
    new, seen = step.let("new", y), step.let("seen", y * h)
    o = step.let("o", tanh(matvec(W, x) + matvec(R, h) + seen))
    return Recurrence(step.build((new, o)), (h,), (new,), (x, y), o)


def target_as_output() -> Recurrence:
    step, y = Builder(), input_("y", "H")
    new, m = step.let("new", y), step.let("m_next", tanh(matvec(W, x) + matvec(R, h)))
    return Recurrence(step.build((new, m)), (h, state("m", "H")), (new, m), (x, y), new)


def target_never_read() -> Recurrence:
    step, y = Builder(), input_("y", "H")
    new, o = step.let("new", y), step.let("o", tanh(matvec(W, x)))
    return Recurrence(step.build((new, o)), (h,), (new,), (x, y), o)


def target_in_a_factor() -> Recurrence:
    step, y = Builder(), input_("y", "H")
    new, o = step.let("new", y), step.let("o", tanh(matvec(W, x) + matvec(R, h)) * h)
    return Recurrence(step.build((new, o)), (h,), (new,), (x, y), o)


def same_size() -> Recurrence:
    step, y = Builder(), input_("y", "H")
    h_next = step.let("h_next", tanh(matvec(R, h) + y))
    return Recurrence(step.build((h_next,)), (h,), (h_next,), (y,), h_next)


@pytest.mark.parametrize(
    ("recurrence", "stacks", "says"),
    (
        (simple(inputs=()), (), "reads one input per step; this one reads none: give inputs="),
        (three_sizes(), (), "the step has vectors of the sizes K, J, H; a recurrent module has a hidden_size and"),
        (target_read_twice(), (), r"reads x of \(I\), y of \(H\): .* torch.cat\(\(x, y\), -1\); .* is a target"),
        (target_as_output(), (), "the output of the step is new, which is its target"),
        (target_never_read(), (), "the target becomes the state h, which no line of the step reads"),
        (target_in_a_factor(), (), "o uses the input h outside a matrix product"),
        (same_size(), (), r"input y has shape \(H\); .* a name of its own"),
        (simple(tanh(matvec(W, x) + matvec(R, h) * constant("k"))), (), "k is a constant"),
        (simple(unit(matvec(W, x) + matvec(R, h))), (), "uses unit; a recurrent cell has matrix products, .* softmax"),
        (simple(tanh(b) * h + sigmoid(matvec(W, x))), (), "is computed from parameters alone"),
        (simple(tanh(b * h)), (), "the step has no matrix"),
        (simple(tanh(matvec(R, h))), (), "nothing that the step returns depends on x"),
        (
            simple(unit_step(matvec(W, x) + matvec(R, h)) * h),
            (),
            r"depends on \w+, except through functions whose slope is",
        ),
        (simple(), (Stack("weight", (R, parameter("S", ("H", "H")))),), "uses a part of the stack weight only; S"),
        (simple(), (Stack("weight", (W, R)),), "the rows of the stack weight have shapes"),
    ),
)
def test_what_does_not_fit_is_refused_with_what_was_read_and_what_is_allowed(recurrence, stacks, says):
    with pytest.raises(UnsupportedError, match=says):
        plan(recurrence, stacks)


def test_every_elementwise_line_of_a_cell_is_computed_once():
    for cell in CELLS:
        found = plan_of(cell)
        computed = [op.target for op in of_kind(found.forward.loop, Compute)]
        held = set(found.forward.held) | {row.target for row in found.program.rows}
        assert len(set(computed)) == len(computed)
        assert set(computed) | held == set(found.program.step.targets)

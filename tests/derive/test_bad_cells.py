"""Cells and layouts of parameters that cannot be: refused where they are made, by one message."""

import pytest

from derive import (
    Builder,
    Recurrence,
    Spec,
    Stack,
    dot,
    explain,
    input_,
    layer_norm,
    matvec,
    parameter,
    sigmoid,
    state,
    tanh,
)
from derive.errors import SpecError

x, y, h, c = input_("x", "I"), input_("y", "I"), state("h", "H"), state("c", "H")
W, R, b = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("b", "H")
sums = matvec(W, x) + matvec(R, h)


def cell(value=None, old=(h,), new=(), inputs=(x,), output=None, beside=None):
    step = Builder()
    if beside is not None:
        step.let("q", beside)
    h_next = step.let("h_next", tanh(sums + b) if value is None else value)
    return Recurrence(step.build((h_next, *new)), old, (h_next, *new), inputs, output)


def given_out(value, inputs, listed=False):
    """A step with a line y that it gives out, listed among what the step returns or not."""
    step = Builder()
    y = step.let("y", value)
    h_next = step.let("h_next", tanh(y + matvec(R, h) + sum(matvec(W, one) for one in inputs)))
    return Recurrence(step.build((h_next, y) if listed else (h_next,)), (h,), (h_next,), inputs, y)


def spec(*stacks, **options):
    return Spec("own", "Own", "Own", cell(), stacks=stacks, **options)


@pytest.mark.parametrize(
    ("make", "says"),
    (
        (lambda: cell(tanh(sums + c)), "reads the state c, which is not updated: old has h; give it there"),
        (lambda: cell(tanh(sums + c), (h, c), (c,)), "the state c is not updated: its new value is c itself"),
        (lambda: cell(old=(h, c)), "the state has 2 parts before the step and 1 after it"),
        (lambda: cell(old=(h, h), new=(h,)), "old lists the state h twice|not updated"),
        (lambda: cell(old=(b,)), r"old\[0\] is b, a parameter; declare it with state"),
        (lambda: cell(old=()), "the state has 0 parts before the step and 1 after it"),
        (lambda: Recurrence(Builder().build(()), (), (), (x,)), "the step has no state"),
        (lambda: cell(old=h), r"old is h \(Quantity\); give a tuple of quantities"),
        (lambda: cell(old=("h",)), r"old\[0\] is 'h' \(str\); give a quantity"),
        (lambda: cell(new=(tanh(h),)), r"tanh\(h\) is given out and has no name: let\(name, value\) gives it one"),
        (lambda: cell(tanh(sums + matvec(W, y))), "reads the input y, and inputs has x; give it there"),
        (lambda: cell(output=h), "the output h is not computed by the step"),
        (lambda: given_out(b * b, (x,)), "y is made of parameters alone and .* allowed are h_next and lines that read"),
        (lambda: given_out(tanh(h), ()), "the output y is no state: layers give out h_next; leave output out"),
        (lambda: cell(beside=sigmoid(h * parameter("p", "H"))), "nothing that the step returns depends on q: leave"),
        (lambda: cell(tanh(matvec(W, h))), r"matvec\(W of shape \(H, I\), h of shape \(H\)\): a matrix"),
        (lambda: cell(tanh(sums + x)), r"x is \(I\), .* is \(H\)"),
        (lambda: cell(tanh(matvec(parameter("V", ("K", "I")), x))), r"h has shape \(H\), after the step \(K\)"),
        (lambda: cell(tanh(sums) * dot(x, h)), "two quantities of one shape are needed"),
        (lambda: cell(layer_norm(sums, -1)), "a vector and a positive number are needed"),
        (lambda: parameter("lambda", "H"), "'lambda' is a Python keyword"),
    ),
)
def test_cells(make, says):
    with pytest.raises(SpecError, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    (
        (lambda: Stack("w", (R, R)), "the stack w lists R twice"),
        (lambda: Stack("w", ()), "the stack w has no rows"),
        (lambda: Stack("w", R), r"the stack w: rows is R \(Quantity\); give a tuple"),
        (lambda: Stack("w", (h,)), "the stack w: h is a state; the rows of a stack are parameters"),
        (lambda: Stack("class", (R,)), "'class' is a Python keyword"),
        (lambda: Stack("a b", (R,)), "'a b' is not a Python identifier"),
        (lambda: Stack("w", (R,), initial="zero"), "initial is 'zero'; allowed: 'uniform' or 'zeros'"),
        (lambda: Stack("bias", (b,), parts="bias_ih"), r"parts is 'bias_ih' \(str\); give a tuple of names"),
        (lambda: spec(Stack("w1", (R,)), Stack("w2", (R,))), "R stands in the stacks w1 and w2"),
        (lambda: spec(Stack("w", (R,)), Stack("w", (W,))), "two stacks are called w"),
        (lambda: spec(Stack("W", (R,))), "a stack is called W as the parameter that stands in no stack"),
        (lambda: spec(Stack("w", (parameter("Z", "H"),))), r"own: stacks\[0\], w, holds Z, which no step reads"),
        (lambda: Spec("own", "Own", "Own", cell(), stacks=Stack("w", (R,))), "own: stacks is Stack"),
        (lambda: spec(("w", (R,))), r"own: stacks\[0\] is \('w', \(R,\)\) \(tuple\); give Stack\(name, rows\)"),
    ),
)
def test_stacks(make, says):
    with pytest.raises(SpecError, match=says):
        make()


def test_a_stack_of_one_name_may_have_another_layout_in_another_variant():
    D = parameter("D", "H")
    wide, thin = cell(), cell(tanh(matvec(W, x) + D * h))
    made = Spec(
        "own", "Own", "Own", {"wide": wide, "thin": thin}, option="kind", stacks=(Stack("w", (R,)), Stack("w", (D,)))
    )
    assert len(made.stacks) == 2


def test_an_output_is_returned_whether_the_step_lists_it_or_not():
    made = given_out(b * h, (x,))
    assert made == given_out(b * h, (x,), listed=True) and made.step.outputs == (*made.new, made.output)
    found = explain(Spec("own", "Own", "Own", made)).relations
    assert any(one.name == "chain.y" and one.text == "bar_y_out = d loss / d y" for one in found)

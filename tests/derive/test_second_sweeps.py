"""Sweeps over sweeps: double backward, forward over reverse, opaque networks to third order."""

import pytest
import torch
from pairs import Pair, pair_of
from sympy import Integer
from test_operators import CASES

from derive.functions import sigmoid, tanh
from derive.linearization import forward_sweep
from derive.networks import Network
from derive.operators import dot, matvec
from derive.program import Assignment, Builder, Program
from derive.reverse_sweep import reverse_sweep
from derive.sampling import TanhNetwork
from derive.symbols import Role, parameter, state, step_size, time

x, y, t, h = state("x", "d"), state("y", "d"), time("t"), step_size("h")
W, b = parameter("W", ("d", "d")), parameter("b", "d")
SIZE, HIDDEN = 3, 3


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("word", ["RR", "RF", "FR", "FF"])
def test_second_order_against_torch(case, word):
    if word == "FF":
        return check_twice_forward(pair_of(*CASES[case]))
    assert pair_of(*CASES[case]).swept(word).largest_difference(3) < 1e-11


def check_twice_forward(pair: Pair) -> None:
    """Tangents of a linearization would bear its own names, `dot_dot_x` apart: the second sweep must still be right."""
    assert pair.pushed().pushed().largest_difference(3) < 1e-11


def unpacked(theta, takes_time):
    cuts = [HIDDEN * SIZE, HIDDEN, SIZE * HIDDEN] + [HIDDEN] * takes_time
    parts = torch.split(theta, cuts)
    return (
        parts[0].reshape(HIDDEN, SIZE),
        parts[1],
        parts[2].reshape(SIZE, HIDDEN),
        parts[3] if takes_time else 0 * parts[1],
    )


def network(takes_time):
    """An opaque network, its stand-in in NumPy, and the same map in torch."""
    f = Network("f", takes_time=takes_time)
    model = TanhNetwork(SIZE, takes_time, HIDDEN)

    def in_torch(t, x, theta):
        weight, bias, out, slope = unpacked(theta, takes_time)
        return out @ torch.tanh(weight @ x + bias + slope * t)

    return f, model, in_torch


def autonomous() -> Pair:
    f, model, g = network(False)
    sizes = {"d": SIZE, "theta_f": model.parameter_count}
    return pair_of(
        x + h * f(x + h * f(x)),
        lambda x, h, theta_f: x + h * g(0, x + h * g(0, x, theta_f), theta_f),
        sizes=sizes,
        networks={f: model},
    )


def timed() -> Pair:
    f, model, g = network(True)
    sizes = {"d": SIZE, "theta_f": model.parameter_count}
    return pair_of(
        y * f(t + h, sigmoid(x)),
        lambda t, h, x, y, theta_f: y * g(t + h, torch.sigmoid(x), theta_f),
        sizes=sizes,
        networks={f: model},
    )


FIRST_AND_SECOND = ["", "F", "R", "RR", "RF", "FR", "FF"]


@pytest.mark.parametrize("word", [*FIRST_AND_SECOND, "RRR", "RRF", "RFR", "RFF"])
def test_opaque_network(word):
    assert autonomous().swept(word).largest_difference(1) < 1e-10


@pytest.mark.parametrize("word", [*FIRST_AND_SECOND, "RRR", "FFR", "RFF"])
def test_opaque_network_with_time(word):
    assert timed().swept(word).largest_difference(2) < 1e-10


def cell() -> Pair:
    """Several lines, shared values, an output that is used inside."""
    step = Builder()
    gate = step.let("gate", sigmoid(matvec(W, x) + b))
    new = step.let("new", gate * x + (1 - gate) * tanh(y))
    energy = step.let("energy", dot(new, new))

    def in_torch(values):
        gate = torch.sigmoid(values["W"] @ values["x"] + values["b"])
        new = gate * values["x"] + (1 - gate) * torch.tanh(values["y"])
        return {"new": new, "energy": new @ new}

    return Pair(step.build((new, energy)), in_torch)


@pytest.mark.parametrize("word", ["", "R", "F", "RR", "RF", "FR", "RRR"])
def test_a_cell_with_two_outputs_one_of_them_used_inside(word):
    assert cell().swept(word).largest_difference(4) < 1e-10


def test_seeds_of_used_outputs_are_added_and_the_second_sweep_has_its_own_prefix():
    first = reverse_sweep(cell().program)
    assert [q.name for q in first.seeds.values()] == ["bar_new_out", "bar_energy"]
    second = cell().swept("RR").program
    assert {q.name for q in second.outputs} >= {"bar2_x", "bar2_W", "bar2_bar_new_out", "bar2_bar_energy"}


def test_an_input_that_is_an_output_receives_both_cotangents():
    new = state("new", "d")
    program = Program((x,), (Assignment(new, x**2),), (new, x))
    pair = Pair(program, lambda v: {"new": v["x"] ** 2, "x": v["x"]})
    assert pair.swept("R").largest_difference() < 1e-14
    assert pair.swept("F").largest_difference() < 1e-14
    passed_on = Pair(Program((x, y), (Assignment(new, y**2),), (new, x)), lambda v: {"new": v["y"] ** 2, "x": v["x"]})
    assert passed_on.swept("R").largest_difference() < 1e-14


def test_an_input_nothing_depends_on_has_no_cotangent():
    pair = pair_of(x**2, lambda x: x**2)
    program = Program((x, y), pair.program.assignments, pair.program.outputs)
    adjoint = reverse_sweep(program)
    assert y not in adjoint.cotangents and x in adjoint.cotangents


def test_only_what_is_asked_for_is_swept():
    program = cell().program
    adjoint = reverse_sweep(program, (b,))
    assert [q.name for q in adjoint.program.outputs] == ["bar_b"]
    assert "bar_W" not in {q.name for q in adjoint.program.targets}


def test_cotangents_of_parameters_are_not_batched_by_role():
    adjoint = reverse_sweep(cell().program)
    assert adjoint.cotangents[W].role is Role.PARAMETER and adjoint.cotangents[x].role is Role.COTANGENT


def test_the_adjoint_reuses_named_values():
    """sigmoid' is written with the gate itself: no function is evaluated again."""
    adjoint = reverse_sweep(cell().program)
    gate = next(q for q in cell().program.targets if q.name == "gate")
    line = next(line for line in adjoint.program.assignments if gate in line.value.atoms(type(gate)))
    assert not line.value.atoms(sigmoid)


def test_a_value_that_is_a_number_or_a_name_is_not_written_for_it():
    """With one = 1 and same = b among the lines, the slope 1 stays 1 and the slope b stays b."""
    one, same, z = parameter("one"), parameter("same", "d"), state("z", "d")
    lines = (Assignment(one, Integer(1)), Assignment(same, b), Assignment(z, x * b + y * one + same))
    program = Program((x, y, b), lines, (z,))
    backward, forward = reverse_sweep(program), forward_sweep(program, program.inputs)
    (bar,) = backward.seeds.values()
    bars, dots = backward.cotangents, forward.tangents
    assert backward.program.value(bars[x]) == bar * b
    assert backward.program.value(bars[same]) == bar
    assert forward.program.value(dots[z]) == dots[x] * b + dots[b] * x + dots[y] * one + dots[same]

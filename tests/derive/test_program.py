"""Programs: what single assignment forbids, and the passes over them."""

import pytest
from sympy import Symbol

from derive.errors import DeriveError, SpecError
from derive.functions import sigmoid, tanh
from derive.networks import Network
from derive.operators import matvec
from derive.program import Assignment, Builder, Program, name_functions, undeclared
from derive.symbols import Role, constant, parameter, state

x, y, z = state("x", "d"), state("y", "d"), state("z", "d")
W, b, c = parameter("W", ("m", "d")), parameter("b", "m"), constant("c")


def lines(*pairs):
    return tuple(Assignment(target, value) for target, value in pairs)


def test_a_symbol_nobody_declared_is_named_with_the_line_that_uses_it():
    with pytest.raises(SpecError, match=r"y uses q.*nobody declared"):
        Program((x,), lines((y, x * Symbol("q"))), (y,))
    assert undeclared(Symbol("q") + x * Symbol("a")) == ["a", "q"]


def test_a_quantity_is_used_only_after_it_is_assigned():
    with pytest.raises(SpecError, match="y uses z before it is assigned"):
        Program((x,), lines((y, z + x), (z, x)), (z,))
    with pytest.raises(SpecError, match="y uses y before it is assigned"):
        Program((x,), lines((y, y + x)), (y,))


def test_every_name_is_assigned_once():
    with pytest.raises(SpecError, match="y is assigned twice"):
        Program((x,), lines((y, x), (y, 2 * x)), (y,))
    with pytest.raises(SpecError, match="x is assigned twice"):
        Program((x,), lines((x, 2 * x)), (x,))
    with pytest.raises(SpecError, match="x is declared twice"):
        Program((x, state("x", "n")), (), (x,))


def test_one_name_means_one_quantity():
    with pytest.raises(SpecError, match=r"y uses x as state \(n\), declared as state \(d\)"):
        Program((x,), lines((state("y", "n"), 2 * state("x", "n"))), ())
    with pytest.raises(SpecError, match="y uses x as parameter"):
        Program((x,), lines((y, 2 * parameter("x", "d"))), ())


def test_an_output_must_exist():
    with pytest.raises(SpecError, match="output z is neither"):
        Program((x,), lines((y, x)), (z,))


def test_shapes_are_checked_with_the_line_named():
    with pytest.raises(SpecError, match=r"y has shape \(d\), its value \(m\)"):
        Program((W, x), lines((y, matvec(W, x))), (y,))
    with pytest.raises(SpecError, match=r"^y: matvec\("):
        Program((W, b), lines((y, matvec(W, b))), (y,))
    with pytest.raises(SpecError, match=r"^y: elementwise operation on different shapes"):
        Program((x, b), lines((y, x + b)), (y,))


def test_what_a_user_gets_wrong_is_one_class_of_error():
    assert issubclass(SpecError, DeriveError)


def test_a_scalar_may_stand_in_every_component():
    program = Program((c, x), lines((y, c), (z, x + y)), (z,))
    assert program.value(y) == c and program.value(x) == x


def test_needed_for_keeps_what_the_outputs_depend_on_and_no_more():
    w = state("w", "d")
    program = Program((x, y, c), lines((z, x * c), (w, y**2)), (z, w))
    part = program.needed_for((z,))
    assert (part.inputs, part.targets, part.outputs) == ((x, c), (z,), (z,))
    assert program.needed_for((x,)).targets == ()
    assert program.needed_for((z, w)) == program


def test_renamed_renames_targets_values_inputs_and_outputs():
    program = Program((x,), lines((y, tanh(x)), (z, x * y)), (z, x))
    u, v = x.renamed("u"), y.renamed("v")
    other = program.renamed({x: u, y: v})
    assert other == Program((u,), lines((v, tanh(u)), (z, u * v)), (z, u))
    assert other.renamed({u: x, v: y}) == program


def test_renaming_may_not_make_two_quantities_one():
    program = Program((x,), lines((y, tanh(x)), (z, x * y)), (z,))
    with pytest.raises(SpecError, match="twice"):
        program.renamed({y: z})


def test_builder_gives_shapes_and_roles_from_values():
    builder = Builder()
    total = builder.let("total", matvec(W, x) + b)
    scale = builder.let("scale", b**2)
    assert (total.shape, total.role) == (("m",), Role.INTERMEDIATE)
    assert (scale.shape, scale.role) == (("m",), Role.PARAMETER)
    program = builder.build((total, scale))
    assert [q.name for q in program.inputs] == ["W", "b", "x"]


def test_name_functions_gives_every_function_of_a_name_a_name():
    program = name_functions(Program((x, y), lines((z, tanh(x) * sigmoid(y) + tanh(x) ** 2)), (z,)))
    names = {line.target.name: line.value for line in program.assignments}
    assert names["tanh_x"] == tanh(x) and names["sigmoid_y"] == sigmoid(y)
    assert not names["z"].atoms(tanh, sigmoid)
    assert program.outputs == (z,)


def test_name_functions_uses_a_name_that_exists_already():
    gate = state("gate", "d")
    program = name_functions(Program((x,), lines((gate, sigmoid(x)), (z, gate + sigmoid(x) * x)), (z,)))
    assert [line.target.name for line in program.assignments] == ["gate", "z"]
    assert program.value(z) == gate + gate * x


def test_name_functions_names_network_calls_once():
    f = Network("f")
    program = name_functions(Program((x, f.theta), lines((y, f(x) + x), (z, f(x) * 2)), (y, z)))
    calls = [line for line in program.assignments if line.value == f(x)]
    assert len(calls) == 1 and not program.value(z).atoms(Network) and not program.value(y).atoms(Network)
    assert program.networks() == (f,)


def test_name_functions_names_different_calls_of_one_network_apart():
    f = Network("f")
    program = name_functions(Program((x, f.theta), lines((y, f(x + f(x)) - f(2 * x))), (y,)))
    assert [line.target.name for line in program.assignments] == ["f_in_y", "f_in_y_2", "f_in_y_3", "y"]
    assert [line.value for line in program.assignments[:3]] == [f(x), f(2 * x), f(x + program.targets[0])]
    assert not program.value(y).atoms(Network)


def test_name_functions_does_not_take_a_name_that_is_in_use():
    taken = state("tanh_x", "d")
    program = name_functions(Program((x, taken), lines((z, tanh(x) * taken)), (z,)))
    assert program.value(z) == tanh(x) * taken


def test_networks_are_called_with_the_arguments_they_take():
    with pytest.raises(TypeError, match=r"f is called as f\(x\)"):
        Network("f")(x, x)
    with pytest.raises(TypeError, match=r"g is called as g\(t, x\)"):
        Network("g", takes_time=True)(x)
    with pytest.raises(SpecError, match="keyword"):
        Network("lambda")

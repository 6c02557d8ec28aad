"""What a derivation prints: a formula of its own for every symbol, no empty equation, nothing LaTeX refuses."""

import re
from collections.abc import Iterator

import pytest

from derive import ODE, Spec, load, matvec, parameter, state, tanh
from derive.catalog import REGISTER
from derive.explanation import explain_system, programs_of, recurrences
from derive.latex import latex, plain
from derive.operators import dot, outer, transpose
from derive.program import Assignment, Program, name_functions
from derive.reverse_sweep import reverse_sweep


def network_in_the_spec() -> Spec:
    x = state("x", "d")
    sizes = (("p", "d"), ("q", "p"), ("d", "q"))
    weights = [parameter(f"W_{n}", shape) for n, shape in enumerate(sizes, 1)]
    biases = [parameter(f"b_{n}", shape[0]) for n, shape in enumerate(sizes, 1)]
    hidden = x
    for weight, bias in zip(weights[:2], biases[:2], strict=True):
        hidden = tanh(matvec(weight, hidden) + bias)
    field = matvec(weights[2], hidden) + biases[2]
    return Spec(id="mlp", class_name="MLP", title="two hidden layers", system=ODE((x,), (field,)), scheme="rk38")


SPECS = {"network_in_the_spec": network_in_the_spec, **{row.id: (lambda row=row: load(row.id)) for row in REGISTER}}
ALL = pytest.mark.parametrize("name", SPECS)


def programs(spec: Spec) -> Iterator[Program]:
    steps = recurrences(spec)
    for option, system in spec.variants.items():
        if option in steps:
            yield from (steps[option].step, *steps[option].starts.values())
        else:
            yield from map(name_functions, programs_of(system))


def repeated_scripts(formula: str) -> list[str]:
    """Places at which an exponent follows an exponent, or an index an index: LaTeX refuses both."""
    group = r"\{(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*\}"
    script = rf"(?:{group}|[^\s{{}}\\]|\\[a-zA-Z]+)"
    return [
        found.group()
        for mark, other in (("^", "_"), ("_", "^"))
        for found in re.finditer(rf"\{mark}{script}(?:\{other}{script})?\s*\{mark}", formula)
    ]


@ALL
def test_no_two_symbols_of_a_step_and_its_adjoint_look_alike(name):
    for program in programs(SPECS[name]()):
        adjoint = reverse_sweep(program).program
        found = {*program.inputs, *program.targets, *adjoint.inputs, *adjoint.targets}
        assert len({quantity.latex for quantity in found}) == len(found)


@ALL
def test_no_equation_says_that_something_is_itself(name):
    for relation in explain_system(SPECS[name]()).relations:
        for formula in (relation.latex, relation.text):
            sides = [side.strip() for side in formula.split(" = ")]
            assert len(sides) != 2 or sides[0] != sides[1], formula


@ALL
def test_no_index_or_exponent_stands_twice(name):
    for relation in explain_system(SPECS[name]()).relations:
        assert not repeated_scripts(relation.latex), relation.latex


def test_the_search_for_repeated_scripts_finds_them():
    assert repeated_scripts(r"x^{(2)}^{\top}") and repeated_scripts("a_{1}_2") and repeated_scripts(r"x^{(2)}_{n}^{2}")
    assert not repeated_scripts(r"\left(x^{(2)}\right)^{\top} y_{f_{1},2}^{\top} {x^{2}}^{3} \bar{x}_{n+1}^{2}")


def test_exponents_of_symbols_that_carry_one_are_bracketed():
    stage, W = state("x_2", "d", latex="x^{(2)}"), parameter("W", ("d", "d"), latex="W^{(1)}")
    assert latex(stage**2) == r"\left(x^{(2)}\right)^{2}"
    assert latex(transpose(W)) == r"\left(W^{(1)}\right)^{\top}"
    assert latex(outer(state("y"), stage)) == r"y\,\left(x^{(2)}\right)^{\top}"


def test_inner_products_in_front_of_factors_are_bracketed():
    u, v, w = (parameter(name, "d") for name in "uvw")
    assert latex(dot(u, v) * w) == r"\left(u \cdot v\right) \, w"
    assert latex(dot(u, v) * dot(v, w)) == r"\left(u \cdot v\right) \, v \cdot w"
    assert latex(2 * parameter("b") * dot(u, v)) == r"2 \, b \, u \cdot v"
    assert latex(w / dot(u, v)) == r"\frac{w}{u \cdot v}"


def test_names_of_programs_beside_are_taken_as_well():
    x, b = state("x", "d"), parameter("b")
    line = Assignment(state("z", "d"), tanh(2 * x + b))
    program = Program((x, b), (line, Assignment(state("r", "d"), 3 + tanh(b * x))), (line.target,))
    plainly, beside = name_functions(program), name_functions(program, beside=[state("y", "d"), state("a_r", "d")])
    assert {q.name: q.latex for q in plainly.targets}["tanh_a_r"] == "y_{r}"
    assert {q.name: q.latex for q in beside.targets}["tanh_a2_r"] == r"\tanh_{r}"


def test_a_step_is_the_state_and_then_its_stages_in_order():
    found = next(programs(network_in_the_spec()))
    last = found.assignments[-1].value
    assert latex(last).startswith(r"x_{n} + h \, \left(\frac{f_{1}}{8} + \frac{3 \, f_{2}}{8} + \frac{3 \, f_{3}}{8}")
    assert plain(last) == "x + h*(f_1/8 + 3*f_2/8 + 3*f_3/8 + f_4/8)"


def test_preactivations_and_activations_are_named_alike():
    lines = {line.target.name: line.target.latex for line in next(programs(network_in_the_spec())).assignments}
    assert lines["a2_f_3"] == "a_{f_{3},2}" and lines["tanh_a2_f_3"] == "y_{f_{3},2}"


def test_a_name_that_the_spec_uses_already_is_written_otherwise():
    x, taken = state("x"), parameter("b", "d", latex="a_{f_n}")
    spec = Spec(id="s", class_name="S", title="s", system=ODE((x,), (tanh(taken * x + 1) + taken,)), scheme="heun")
    for program in programs(spec):
        formulas = [quantity.latex for quantity in (*program.inputs, *program.targets)]
        assert len(set(formulas)) == len(formulas)

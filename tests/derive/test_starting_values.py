"""Exact values of parameters as data, and cells as machines."""

from dataclasses import replace
from fractions import Fraction

import pytest
from sympy import Matrix, Rational, Symbol

from codegen import emit
from codegen.verification.loaded import load_text
from codegen.verification.value_rows import value_rows
from derive import COLUMN, ROW, SpecError, constant, load, quantities, reachable, transitions
from derive.starting_values import filled

RNN = load("rnn_hidden")
CELL = RNN.system["heaviside"]
q = quantities(CELL)
gain = constant("gain")


def with_values(**values):
    given = {q[name]: value for name, value in values.items()}
    return replace(RNN, id="own", values=given, defaults={"gain": 2}, claims=())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"W": [[0.5]]}, "give exact numbers"),
        ({"W": [[1, 2], [3]]}, "rows of several lengths"),
        ({"W": [1]}, r"has shape \(1\); it is \(H, H\)"),
        ({"W": [[1]], "b": [1, 2]}, "has size 2 for H, which is 1"),
        ({"h": 1}, "allowed: parameters of the system"),
        ({"W": Symbol("z")}, "uses z; allowed: ROW, COLUMN and constants"),
        ({"W": constant("slope")}, "written in slope; give defaults"),
    ],
)
def test_values_that_make_no_sense_are_refused(values, said):
    with pytest.raises(SpecError, match=said):
        with_values(**values)


def test_values_are_for_cells_and_chains():
    spec = load("driven_oscillator")
    (parameter, *_) = (x for x in spec.system.quantities if x.name == "m")
    with pytest.raises(SpecError, match="values are for cells"):
        replace(spec, values={parameter: 1})


def test_entries_of_rules_and_tables():
    assert filled(gain * (ROW - 2 * COLUMN), (2, 3), {gain: 3}) == [-3, -9, -15, 0, -6, -12]
    spec = with_values(W=Matrix([[1, gain], [0, 1]]), b=(gain / 3, 0))
    assert filled(spec.values[q["W"]], (2, 2), {gain: 5}) == [1, 5, 0, 1]
    assert filled(spec.values[q["b"]], (2,), {gain: 5}) == [Rational(5, 3), 0]


def test_a_cell_of_ones_own_starts_with_its_values():
    spec = with_values(U=((1,), (Rational(1, 3),)), W=((0, gain), (-gain, 0)), b=ROW / 7)
    text = emit(spec)
    assert "input_size: int = 1" in text and "hidden_size: int = 2" in text and "gain: float = 2.0" in text
    assert "output: int | None = None" in text
    (row,) = value_rows(spec, load_text(text).Module)
    assert row.passed
    (row,) = value_rows(spec, load_text(text.replace("-gain", "gain")).Module)
    assert not row.passed


def test_a_cell_as_a_machine():
    values = {q["U"]: ((1,),), q["W"]: ((1,),), q["b"]: (Rational(-1, 2),), q["V"]: ((2,),), q["c"]: (Rational(1, 4),)}
    steps = transitions(CELL, values, [(0,), (1,)], [(0,), (1,)])
    assert [(step.state[0], step.given[0], step.after[0]) for step in steps] == [
        (0, 0, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 1),
    ]
    assert [step.output for step in steps] == [
        (Fraction(1, 4),),
        (Fraction(9, 4),),
        (Fraction(9, 4),),
        (Fraction(9, 4),),
    ]
    assert reachable(CELL, values, (0,), [(0,)]) == [(0,)] and len(reachable(CELL, values, (0,), [(1,)])) == 2
    with pytest.raises(SpecError, match="V, W, b: no exact value"):
        transitions(CELL, {q["U"]: ((1,),), q["c"]: (0,)}, [(0,)], [(0,)])

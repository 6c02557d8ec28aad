"""Optimal control: the text on a problem names what the problem names, whatever it is called."""

from __future__ import annotations

import re

import pytest
from sympy import cos

from derive import ODE, OptimalControl, Spec, constant, dot, explain, load, parameter, state, time
from derive.errors import SpecError
from derive.explanation import explain_system


def own(control):
    return Spec(id="own", class_name="", title="own", system=control, no_module="it is a problem, no net")


def renamed_problem(shape, clocked):
    """Nothing has its usual name, and the usual letters of costates are constants, shown by letters of their own."""
    ship, rudder, tick = state("ship", shape), parameter("rudder", shape), time("tick")
    a, p = constant("a", latex=r"\alpha"), constant("p", latex=r"\beta")
    begun, done = time("begun"), time("done")
    squared = (lambda value: dot(value, value)) if shape else (lambda value: value**2)
    return OptimalControl(
        ODE((ship,), (a * ship + rudder + (cos(tick) * ship if clocked else 0),), time=tick if clocked else None),
        terminal=squared(ship) / 2,
        running=p * squared(rudder) / 2 + squared(ship),
        controls=(rudder,),
        begin=begun,
        end=done,
        free=(done,),
        population=clocked,
    )


FOREIGN = re.compile(r"(?<![A-Za-z\\])(x|q|t_0|t_1|t_\{[01]\}|v|F)(?![A-Za-z])")
USUAL_TIME = re.compile(r"(?<![A-Za-z\\])d?t(?![A-Za-z])")
CONSTANTS = re.compile(r"(?<![A-Za-z\\])[ap](?![A-Za-z])")  # in LaTeX they have letters of their own
AS_COSTATES = re.compile(r"\bd[ap]\b|\b[ap]\(|\b[ap]\)\(|\b[ap]'|\b[ap] = |\bp = -a\b|\b[ap] \. ")


@pytest.mark.parametrize("shape", ["d", ()])
@pytest.mark.parametrize("clocked", [False, True])
def test_the_text_on_a_problem_has_its_own_symbols_alone(shape, clocked):
    relations = list(explain(own(renamed_problem(shape, clocked))).relations)
    assert len(relations) > 25 and any("costate(done)" in one.text for one in relations)
    for one in relations:
        for shown in (one.title, one.text, one.reason, one.source):
            assert not FOREIGN.search(shown) and not AS_COSTATES.search(shown), (one.title, shown)
        assert not FOREIGN.search(one.latex) and not CONSTANTS.search(one.latex), (one.title, one.latex)
        assert not clocked or not USUAL_TIME.search(one.text + one.latex), (one.title, one.text)


def test_costates_stand_in_the_table_of_symbols():
    rows = {name: (shape, meaning) for _, name, shape, _, meaning in explain_system(load("ode_control")).symbols}
    assert rows["a"] == ("(d)", "costate of x")


def test_a_time_without_a_name_takes_one_that_is_free():
    t = state("t", ())
    found = explain(own(OptimalControl(ODE((t,), (-t,)), terminal=t**2))).relations
    assert next(iter(found)).text == "dt/ds = -t"


def test_a_free_time_is_known_by_its_name():
    s, k, late = state("s", ()), parameter("k"), time("late")
    ode = ODE((s,), (k * s,))
    assert OptimalControl(ode, terminal=s, free=(time("t_1"),)).free == (OptimalControl(ode).end,)
    assert OptimalControl(ode, terminal=s, end=late, free=(late,)).free == (late,)
    with pytest.raises(SpecError, match=r"free time late is neither t_0 nor t_1; allowed: .* end=late, free=\(late,\)"):
        OptimalControl(ode, terminal=s, free=(late,))

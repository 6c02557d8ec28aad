"""Recurrences unrolled into graphs, and ratio tests of what many steps converge to."""

from __future__ import annotations

from dataclasses import replace

import mpmath
import numpy as np
import pytest
from sympy import Integer

from derive import (
    ODE,
    Builder,
    Network,
    OrderCheck,
    Recurrence,
    discretize,
    forward_run,
    lag,
    lags,
    load,
    matvec,
    parameter,
    past,
    recurrences,
    solution,
    taps,
    unrolled,
    with_lags,
)
from derive.errors import UnsupportedError
from derive.evaluator import evaluate
from derive.sampling import Sampler
from derive.symbols import input_, state, step_size, time

h = step_size("h")
x, t, w = state("x", ()), time("t"), parameter("w")


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("name", ["cubic_ode", "driven_oscillator", "resnet", "lstm_peephole"])
def test_the_graph_computes_what_the_loop_does(name, steps):
    recurrence = next(iter(recurrences(load(name)).values()))
    graph = unrolled(recurrence, steps)
    sampler = Sampler({*graph.inputs, *recurrence.step.inputs}, graph.networks())
    values = sampler.values()
    numbered = {q.name: q for q in graph.inputs}
    own = {old: values[numbered[f"{old.name}_0"]] for old in recurrence.old if f"{old.name}_0" in numbered}

    def reads(n):
        mine = {q: numbered.get(f"{q.name}_{n + 1}") for q in recurrence.step.inputs}
        return {q: values[numbered_one] for q, numbered_one in mine.items() if numbered_one is not None}

    *_, last = forward_run(recurrence, {**values, **own}, steps, reads, sampler)
    found = evaluate(graph, {q: values[q] for q in graph.inputs}, sampler.networks)
    for new, output in zip(recurrence.new, graph.outputs, strict=True):
        assert np.all(found[output] == last[new])


def test_names_of_a_graph():
    f = Network("f", per_layer=True)
    graph = unrolled(discretize(ODE((x,), (f(x),)), "forward_euler"), 2)
    assert [q.name for q in graph.inputs] == ["h", "theta_f_1", "theta_f_2", "x_0"]
    assert [q.name for q in graph.targets] == ["f_1", "x_1", "f_2", "x_2"]
    assert [q.latex for q in graph.outputs] == ["x_{2}"]


def test_a_solution_is_the_closed_form_in_both_directions():
    ode = ODE((x,), (w * x + t,), time=t)
    with mpmath.workdps(30):
        rate, start = mpmath.mpf("0.5"), mpmath.mpf("0.3")
        times = [mpmath.mpf(j) / 16 for j in range(17)]
        sampler = Sampler({x, w, t})
        *_, end = solution(ode, {x: start, w: rate}, times, sampler)
        exact = (start + 1 / rate**2) * mpmath.exp(rate) - 1 / rate - 1 / rate**2
        assert abs(end[x] - exact) < 1e-17
        *_, begin = solution(ode, {x: end[x], w: rate}, times[::-1], sampler)
        assert abs(begin[x] - start) < 1e-17


@pytest.mark.parametrize("order", [-1, 0, 1, 2])
def test_a_ratio_test_finds_the_order_and_no_other(order):
    check = OrderCheck(lambda n: mpmath.exp(mpmath.mpf(1) / n) / mpmath.mpf(n) ** order, Integer(order))
    assert check.run().holds
    assert not check.perturbed().run().holds
    assert not OrderCheck(check.error, Integer(order + 1)).run().holds


def test_the_graph_of_a_recurrence_with_lags_reads_what_is_there():
    x, old, z = input_("x", "I", latex="x_t"), state("z", "H", latex="z_{t-1}"), lags("lags", (2,))
    W, V = parameter("W", (z.count, "H", "H"), latex="W_k"), parameter("V", ("H", "I"))
    step = Builder()
    new = step.let("z_next", taps(W, past(old, z)) + matvec(V, past(x, 1)) + matvec(V, past(x, lag("delay", 2))))
    recurrence = Recurrence(step.build((new,)), (old,), (new,), (x,), new)
    with pytest.raises(UnsupportedError, match="with_lags"):
        unrolled(recurrence, 2)
    graph = unrolled(replace(recurrence, step=with_lags(recurrence.step, {z: (1, 3)})), 2)
    names = {q.name for q in graph.inputs}
    assert names == {"V", "W_1", "W_3", "x_0", "x_1", "x_m1", "z_0", "z_m1", "z_m2"}
    assert {q.latex for q in graph.inputs} >= {"W_{3}", "x_{-1}", "z_{-2}"}

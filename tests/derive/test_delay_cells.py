"""Cells of delay equations: what is gathered, against the scheme's own step and exact solutions; what is refused."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from sympy import Rational

from codegen.emission import emit
from derive import (
    DelayODE,
    Spec,
    SpecError,
    UnsupportedError,
    constant,
    delay_cell,
    delay_terms,
    delayed,
    explain,
    identity_like,
    input_,
    lag,
    load,
    matvec,
    parameter,
    past,
    state,
    tanh,
    time,
)
from derive.evaluator import evaluate
from derive.step_quantities import STEP_SIZE

IMPLICIT = "linearly_implicit_euler"
s, r, x = state("s", "H"), state("r", "H"), input_("x", "I")
A, A_2, B, B_2 = (parameter(name, ("H", "H")) for name in ("A", "A_2", "B", "B_2"))
C, C_3, phi = parameter("C", ("H", "I")), parameter("C_3", ("H", "I")), parameter("phi", "H")
tau = constant("tau")


def equation(*velocity, past_values, late=None, **options):
    return DelayODE(
        (s,), (sum(velocity[1:], velocity[0]),), past_values, inputs=(x,), delayed_inputs=late or {},
        **{"scheme": IMPLICIT, **options},
    )  # fmt: skip


def general():
    """Lists of matrices and delays for state, read-out and input."""
    of_state, old = delay_terms(s, [(A, 0), (A_2, 2)])
    of_readout, read = delay_terms(s, [(B, 1), (B_2, 3)], through=tanh)
    of_input, late = delay_terms(x, [(C, 0), (C_3, 3)])
    return equation(of_state, of_readout, of_input, phi, past_values={**old, **read}, late=late)


def test_every_term_has_a_matrix_of_its_own():
    cell = delay_cell(general(), (r, tanh(s)))
    names = {q.name for q in cell.step.targets}
    assert names == set("M W_s W_s_lag2 W_r W_r_lag3 W_x W_x_lag3 theta_s s_next r_next".split())
    assert [q.name for q in cell.old] == ["s", "r"] and cell.output == cell.new[1]
    assert {q.name: q.lag for q in cell.past} == {"s_lag2": 2, "r_lag3": 3, "x_lag3": 3}


def test_a_run_solves_the_implicit_equation_of_every_step():
    """(s_n - s_(n-1)) / h is the right-hand side at n, with numpy's matrices and values of earlier steps."""
    cell, rng = delay_cell(general(), (r, tanh(s))), np.random.default_rng(0)
    size, features, h, steps = 3, 2, 0.3, 7
    values = {q: rng.normal(size=(size, size)) / 2 for q in (A, A_2, B, B_2)}
    values |= {q: rng.normal(size=(size, features)) for q in (C, C_3)} | {phi: rng.normal(size=size)}
    states, inputs = [rng.normal(size=size) for _ in range(4)], list(rng.normal(size=(steps + 4, features)))
    (x_now,), (s_old, r_old) = cell.inputs, cell.old
    for n in range(4, steps + 4):
        given = {**values, STEP_SIZE: h, s_old: states[-1], r_old: np.tanh(states[-1]), x_now: inputs[n]}
        given |= {past(s_old, 2): states[-2], past(r_old, 3): np.tanh(states[-3]), past(x_now, 3): inputs[n - 3]}
        found = evaluate(cell.step, {q: given[q] for q in cell.step.inputs}, {})
        states.append(np.asarray(found[cell.new[0]], float))
        assert np.allclose(found[cell.new[1]], np.tanh(states[-1]))
        rate = values[A] @ states[n] + values[A_2] @ states[n - 2] + values[phi]
        rate = rate + values[B] @ np.tanh(states[n - 1]) + values[B_2] @ np.tanh(states[n - 3])
        rate = rate + values[C] @ inputs[n] + values[C_3] @ inputs[n - 3]
        assert np.abs(states[n] - states[n - 1] - h * rate).max() < 1e-13


def test_delays_with_a_name_are_told_to_the_constructor():
    memory, read = delay_terms(s, [(B, tau)], through=tanh)
    given = equation(matvec(A, s), memory, matvec(C, x), past_values=read)
    (own,) = delay_cell(given, (r, tanh(s))).past
    assert (own.lag.name, own.lag.default) == ("tau_steps", 1)
    (told,) = delay_cell(given, (r, tanh(s)), lags={tau: lag("delay", 4)}).past
    assert (told.lag.name, told.lag.default) == ("delay", 4)
    fixed = delay_cell(given, (r, tanh(s)), lags={tau: 1})
    assert not fixed.past and fixed.old[1] in fixed.step.inputs


def test_what_is_not_linear_is_explicit():
    memory, read = delay_terms(s, [(B, 1)])
    cell = delay_cell(equation(matvec(A, s), memory, matvec(C, x), -(s**3), past_values=read))
    assert cell.step.value(next(q for q in cell.step.targets if q.name == "g")) == -(cell.old[0] ** 3)
    assert [q.name for q in cell.new] == ["s_next"] and "W_s_before" in {q.name for q in cell.step.targets}


def test_the_matrices_are_the_deck_s():
    """W_s = (I - h A)^-1, W_r = h W_s B, W_x = h W_s C, theta_s = h W_s phi, with the numbers of a 2 x 2 inverse."""
    cell = load("delay_rnn").system
    names = {q.name: q for q in (*cell.step.inputs, *cell.step.targets)}
    h = Rational(1, 2)
    a, b, c = np.array([[1, 2], [-3, 0]]), np.array([[1, 0], [2, 5]]), np.array([[3], [-1]])
    given = {names["A"]: a, names["B"]: b, names["C"]: c, names["phi"]: np.array([7, 1]), STEP_SIZE: h}
    given |= {q: np.ones(2) for q in (names["s"], *cell.past)} | {names["x"]: np.ones(1)}
    found = evaluate(cell.step, {q: mpmath_array(given[q]) for q in cell.step.inputs}, {})
    inverse = np.array([[1, 1], [Rational(-3, 2), Rational(1, 2)]]) / (Rational(1, 2) + Rational(3, 2))
    assert_close(found[names["W_s"]], inverse)
    for name, expected in (("W_r", inverse @ b), ("W_x", inverse @ c), ("theta_s", inverse @ np.array([7, 1]))):
        assert_close(found[names[name]], expected * h)


def mpmath_array(value):
    array = np.asarray(value, dtype=object)
    made = np.array([mpmath.mpf(int(2 * entry)) / 2 for entry in array.ravel()], dtype=object).reshape(array.shape)
    return made if array.shape else made.item()


def assert_close(found, expected):
    assert np.abs(np.asarray(found, float) - np.asarray(expected, float)).max() < 1e-14


MEMORY, READ = delay_terms(s, [(B, 1)], through=tanh)
u = state("u", "H")


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (
            lambda: equation(MEMORY, matvec(C, x), past_values=READ, scheme="rk4"),
            UnsupportedError,
            "x is a given function",
        ),
        (lambda: delay_cell(equation(-s, MEMORY, matvec(C, x), past_values=READ)), SpecError, "a matrix times s"),
        (
            lambda: delay_cell(equation(matvec(A, s), MEMORY, matvec(C, x), past_values=READ), (r, tanh(u))),
            SpecError,
            "the read-out r = tanh.u. is no function of s",
        ),
        (
            lambda: delay_cell(DelayODE((s, u), (matvec(A, s) + MEMORY, s - u), READ, scheme=IMPLICIT)),
            UnsupportedError,
            "with 2 unknowns, s, u; allowed: one unknown, .* other steps are written as a Recurrence",
        ),
        (
            lambda: delay_cell(DelayODE((s,), (matvec(A, s) + MEMORY,), READ, scheme="rk4")),
            UnsupportedError,
            "with the scheme (?!.*unknowns, ).*Runge-Kutta.*; allowed: one unknown",
        ),
        (
            lambda: equation(matvec(A, s), MEMORY, past_values=READ),
            SpecError,
            "no right-hand side reads x; leave it out",
        ),
        (
            lambda: equation(MEMORY, matvec(C, x), past_values=READ, late={delayed(u, 1): (u, 1)}),
            SpecError,
            "u_lag1 is the past of u, which is none of the inputs",
        ),
    ],
)
def test_what_is_refused(build, error, says):
    with pytest.raises(error, match=says):
        build()


def test_the_time_in_the_right_hand_side_is_refused():
    t = time()
    velocity = (matvec(A, s) + MEMORY + phi * t + matvec(C, x),)
    with pytest.raises(UnsupportedError, match="with the time t in the right-hand side; allowed: one unknown"):
        delay_cell(DelayODE((s,), velocity, READ, t, IMPLICIT, (x,)))


def test_the_identity_is_what_an_inverse_shows():
    text = str(delay_cell(general(), (r, tanh(s))).step.assignments[0].value)
    assert text == f"-A*h + {identity_like(A)}"


def test_a_delay_equation_with_inputs_shows_its_sections_and_is_emitted_as_a_cell():
    spec = Spec("own", "Own", "own", general())
    names = set(explain(spec).numbers)
    assert {"order", "resolvent.s", "characteristic equation of s"} & names and "adjoint.bar_x" in names
    with pytest.raises(UnsupportedError, match=r"reads x.*system=delay_cell\(equation\)"):
        emit(spec)

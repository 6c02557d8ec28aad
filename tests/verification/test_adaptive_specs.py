"""Users' specs with adaptive steps pass every check; broken rules fail."""

from __future__ import annotations

import pytest
from sympy import Rational

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import module_rows, verify
from derive import ODE, Adaptive, ButcherTableau, Network, Spec, load, matvec, parameter, sin, state, tanh, time

x, t = state("x", "d"), time("t")
W, b, V = parameter("W", ("m", "d")), parameter("b", "m"), parameter("V", ("d", "m"))
q, p, k = state("q", ()), state("p", ()), parameter("k")
HEUN = ButcherTableau(A=[[0, 0], [1, 0]], b=[Rational(1, 2)] * 2, c=[0, 1], b_error=[1, 0], title="Heun 2(1)")
SYSTEMS = {
    "a vector field in time": Adaptive(ODE((x,), (matvec(V, tanh(matvec(W, x) + b * t)) - x,), time=t)),
    "scalars, a pair without dense output": Adaptive(ODE((q, p), (p, -k * sin(q))), "rkf45"),
    "a network, a table of one's own": Adaptive(ODE((x,), (Network("f")(x),)), HEUN),
}


@pytest.mark.slow
@pytest.mark.parametrize("title", SYSTEMS)
def test_users_specs_are_green(title: str) -> None:
    spec = Spec(id="own", class_name="Own", title="Own", source="test", system=SYSTEMS[title])
    assert [row.check for row in verify(spec) if not row.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("bar_t - moved.sum()", "bar_t + moved.sum()"),
        ("(1 - share) * bar_t - width * bar_h", "(1 - share) * bar_t + width * bar_h"),
        ("self.bar_t1 + share * bar_t", "self.bar_t1 + bar_t"),
        ("bar_h + node * found", "bar_h + found"),
        ("beyond[stage].add_(bar, alpha=h * b[stage])", "beyond[stage].add_(bar, alpha=h * b[stage - 1])"),
        ("new if dense is None else new + dense.of_state()", "new"),
        ("dense.of_slopes().mul_(h)", "dense.of_slopes()"),
        ("out[:size], out[size : 2 * size] = found.value, -at_point",
         "out[:size], out[size : 2 * size] = found.value, at_point"),
        ("moment - ((value", "moment + ((value"),
        ("sum(n * c * theta ** (n - 1)", "sum(c * theta ** (n - 1)"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_found(old: str, new: str) -> None:
    spec = load("neural_ode")
    text = emit(spec)
    assert text.count(old) == 1, old
    assert not all(row.passed for row in module_rows(spec, load_text(text.replace(old, new))))

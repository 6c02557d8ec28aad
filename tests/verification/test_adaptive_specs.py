"""Users' specs with adaptive steps pass every check; broken rules fail."""

from __future__ import annotations

from typing import Any

import pytest
from sympy import Rational

from codegen.emission import emit
from codegen.verification import adaptive_rows
from codegen.verification.adaptive_cases import model_of
from codegen.verification.adaptive_rows import _gap_rates, _gap_row
from codegen.verification.loaded import load_text
from codegen.verification.verifier import module_rows, verify
from derive import ODE, Adaptive, ButcherTableau, Network, Spec, load, matvec, parameter, sin, state, tanh, time
from derive.adaptive_checks import AdjointGap
from derive.spec_schemes import with_scheme

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
        ("node * bar for node, bar in found", "bar for node, bar in found"),
        ("bar_t0 = self.bar_t0 + bar_t\n", "bar_t0 = self.bar_t0 - bar_t\n"),
        ("-(costate @ speed)", "costate @ speed"),
        ("bar_times[place] = moved", "bar_times[place] = -moved"),
        ("bar_t1 = moved", "bar_t1 = 2 * moved"),
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


@pytest.mark.parametrize(("pair", "order"), [("bs32", 3), ("cash_karp", 5), (HEUN, 3)])
def test_the_gap_between_the_adjoints_has_its_order_and_no_other(
    pair: Any, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = with_scheme(load("neural_ode"), pair)
    kind, model = load_text(emit(spec)).NeuralODE, model_of(spec)
    rates, where = _gap_rates(model, kind)
    monkeypatch.setattr(adaptive_rows, "_gap_rates", lambda *_: (rates, where))
    for moved in (0, -1, 1):
        monkeypatch.setattr(AdjointGap, "leading", lambda *_, moved=moved: order + 1 + moved)
        row = _gap_row(model, kind)
        assert row.passed == (moved == 0) and "from below" not in row.detail, row


def test_adjoints_of_a_linear_field_are_the_same_steps() -> None:
    spec = Spec(id="own", class_name="Own", title="Own", system=Adaptive(ODE((x,), (matvec(V, matvec(W, x)),))))
    row = _gap_row(model_of(spec), load_text(emit(spec)).Own)
    assert row.passed and (row.expected, row.measured) == ("inf", "inf")

"""`verify` compares modules whose parameters are functions of time, and notices wrong times of the stages."""

from __future__ import annotations

import pytest

from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.verifier import module_rows
from derive import ODE, Adaptive, Spec, load, matvec, parameter, state, tanh
from derive.spec_schemes import with_scheme

x, w, b = state("x", "d"), parameter("w", ("d", "d")), parameter("b", "d")


def rows_of(spec, old="", new=""):
    text = emit(spec)
    assert old in text
    return [row for row in module_rows(spec, load_text(text.replace(old, new))) if "of time" in row.check]


@pytest.mark.slow
def test_a_scheme_with_inner_stages():
    rows = rows_of(with_scheme(load("cubic_ode"), "heun"))
    assert all(row.passed for row in rows)
    assert {"observed order [w, b of time]", "value against the reference evaluator [w, b of time]"} < {
        row.check for row in rows
    }


@pytest.mark.slow
def test_stages_at_wrong_times_are_noticed():
    rows = rows_of(with_scheme(load("cubic_ode"), "heun"), '("d", "d"), (t, t + h))', '("d", "d"), (t, t))')
    failed = {row.check for row in rows if not row.passed}
    assert {"observed order [w, b of time]", "value against the reference evaluator [w, b of time]"} <= failed


@pytest.mark.slow
def test_adaptive_steps():
    spec = Spec("own", "Own", "own", Adaptive(ODE((x,), (tanh(matvec(w, x)) + b - x**3,))), may_vary=(w, b))
    rows = rows_of(spec)
    assert len(rows) > 8 and all(row.passed for row in rows)

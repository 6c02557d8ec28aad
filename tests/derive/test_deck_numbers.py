"""The numbers that decide, as notes on the decks quote them."""

from __future__ import annotations

import math
from functools import partial

import mpmath
import numpy as np
import pytest

from derive import discretize, forward_run, load
from derive.catalog.cubic_ode import beyond_the_drift
from derive.catalog.splitting_ffn import keeps, rises
from derive.sampling import Sampler
from derive.symbols import Quantity


def note(name: str, claim: str) -> str:
    """The note on one claim."""
    (found,) = [c.note for c in load(name).claims if c.id == claim]
    return found


def oscillate(steps: int, clock: float) -> float:
    """s(1) from rest with m = k = A = 1; step n is told the time n * clock."""
    recurrence = discretize(load("driven_oscillator").system, "forward_euler")
    (t,) = [q for q in recurrence.step.inputs if q.name == "t"]
    values = dict.fromkeys(recurrence.step.inputs, 1.0) | dict.fromkeys(recurrence.old, 0.0)
    values |= {q: 1 / steps for q in values if q.name == "h"}
    *_, last = forward_run(recurrence, values, steps, partial(tick, t, clock), Sampler(()))
    return last[recurrence.new[0]]


def tick(t: Quantity, clock: float, n: int) -> dict[Quantity, float]:
    """What step n reads."""
    return {t: n * clock}


def test_the_number_of_the_step_as_the_time() -> None:
    """E002-1: the exact solution at resonance is t sin(t) / 2."""
    exact, said = math.sin(1) / 2, note("driven_oscillator", "E002-1")
    assert "0.42" in said and "1.6e-4" in said
    assert abs(oscillate(800, 1.0) - exact) == pytest.approx(0.42, abs=0.005)
    assert abs(oscillate(6400, 1.0) - exact) == pytest.approx(exact, abs=1e-4)
    assert abs(oscillate(800, 1 / 800) - exact) == pytest.approx(1.6e-4, rel=0.05)


def test_layers_without_the_factor_one_over_n() -> None:
    """E07."""
    said = note("resnet", "E07")
    assert f"{1.5**100:.1e}".replace("+", "") in said and f"{1.005**100:.3f}" in said and f"{math.exp(0.5):.3f}" in said


def test_a_fourth_stage_half_a_step_early_is_of_order_one() -> None:
    """E004-1: with the deck's pattern continued."""
    assert "order falls to 1" in note("rk4", "E004-1")

    def error(steps: int) -> float:
        h, y = 1 / steps, 1.0
        for n in range(steps):
            k_1 = y * math.cos(n * h)
            k_2 = (y + h / 2 * k_1) * math.cos(n * h + h / 2)
            k_3 = (y + h / 2 * k_2) * math.cos(n * h + h / 2)
            k_4 = (y + h / 2 * k_3) * math.cos(n * h + h / 2)
            y += h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
        return abs(y - math.exp(math.sin(1)))

    assert math.log2(error(400) / error(800)) == pytest.approx(1, abs=0.01)


def test_the_drift_has_the_coefficient_one_half() -> None:
    """E38: what is left of the drift falls fourfold with h halved."""
    assert beyond_the_drift(256) / beyond_the_drift(512) == pytest.approx(4, abs=0.05)


def test_bounds_of_the_cubic() -> None:
    """E35: extreme at 1/sqrt(3 c), of height 2/3 of that; kept up to sqrt(2/c)."""
    c = 0.7
    z = np.linspace(0, 2, 200001)
    values = z - c * z**3
    assert z[values.argmax()] == pytest.approx(1 / math.sqrt(3 * c), abs=1e-4)
    assert values.max() == pytest.approx(2 / 3 / math.sqrt(3 * c), abs=1e-8)
    assert rises(mpmath.mpf("0.577")) and not rises(mpmath.mpf("0.578"))
    assert keeps(mpmath.mpf("1.414")) and not keeps(mpmath.mpf("1.415"))

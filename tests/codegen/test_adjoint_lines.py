"""Cotangents of what has no batch axes: which factors stand inside the sum over the batch."""

import pytest
import sympy

from codegen.printer import TorchPrinter
from codegen.steps.adjoint_lines import reduced
from codegen.steps.field_plan import depends_on_state
from derive import parameter, state
from derive.symbols import Quantity, Role

X, BAR = state("x", "d"), Quantity("bar_f", ("d",), Role.COTANGENT)
TAU, GAIN, SIZE = parameter("tau", "d"), parameter("gain"), parameter("size")


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (BAR, TAU, "sum_to(bar_f, tau)"),
        (-BAR, TAU, "-sum_to(bar_f, tau)"),
        (-X * BAR / TAU**2, TAU, "-sum_to(bar_f * x, tau) / tau**2"),
        (2 * GAIN * X * BAR, SIZE, "2 * gain * sum_to(bar_f * x, size)"),
        (TAU * X * BAR, GAIN, "sum_to(bar_f * tau * x, gain)"),  # the sum is over the components of tau too
        (BAR - X, TAU, "sum_to(bar_f - x, tau)"),
    ],
)
def test_constant_factors_come_after_the_sum(value, like, text):
    assert reduced(value, like, TorchPrinter()) == text


def test_factors_that_differ_within_the_sum_stay_in_it():
    time = Quantity("t", (), Role.TIME)

    def varies(value):
        return depends_on_state(value) or value.has(time)

    found = reduced(GAIN * sympy.cos(time) * BAR, TAU, TorchPrinter(), varies)
    assert found == "gain * sum_to(torch.cos(t) * bar_f, tau)"

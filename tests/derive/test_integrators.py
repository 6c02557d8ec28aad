"""The integrators' deck claims with their defects mended."""

import pytest
from sympy import Integer, Rational

from derive import discretize, explain, load, quantities
from derive.claims import judge
from derive.lagrangian import merged
from derive.reverse_sweep import reverse_sweep
from derive.schemes import SCHEMES, ButcherTableau
from derive.series.rk import order
from derive.systems import DeckClaim

half = Rational(1, 2)


def field(*point):
    return load("rk4").system.networks[0](*point)


MENDED = {
    "heun": ("x_next", lambda q: q["x"] + q["h"] / 2 * (q["f_1"] + q["f_2"])),  # the plus put back
    "rk4": ("f_4", lambda q: field(q["t"] + q["h"], q["x"] + q["h"] * q["f_3"])),  # the missing line
    "leapfrog": ("local_error_power", lambda q: Integer(3)),
}


@pytest.mark.parametrize("name", MENDED)
def test_the_mended_line_agrees(name):
    about, says = MENDED[name]
    recurrence, derivation = discretize(load(name).system, name), explain(load(name))
    context = merged(recurrence.step, reverse_sweep(recurrence.step).program.assignments)
    claim = DeckClaim("mended", "", about, says(quantities(recurrence)))
    assert judge(claim, derivation.results, context).agrees
    (printed,) = [verdict for verdict in derivation.claims if verdict.about == about and not verdict.agrees]
    assert printed.difference > 1e-3


def test_the_printed_pattern_continued_to_k_4_has_order_1():
    rows = [[0, 0, 0, 0], [half, 0, 0, 0], [0, half, 0, 0], [0, 0, half, 0]]
    assert order(ButcherTableau(A=rows, b=SCHEMES["rk4"].b, c=[0, half, half, half])) == 1
    assert order(SCHEMES["rk4"]) == 4

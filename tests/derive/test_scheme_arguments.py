"""Arguments of schemes of the wrong kind: named, with what was read and what is allowed."""

from dataclasses import replace

import numpy as np
import pytest

from derive.errors import SpecError
from derive.schemes import SCHEMES, ButcherTableau, LinearMultistep
from derive.schemes.findings import unrefused
from derive.schemes.stochastic import stochastic_scheme

RK4, BS32 = SCHEMES["rk4"], SCHEMES["bs32"]
CLAIMS = {
    RK4: ("order", "embedded_order", "dense_order", "digits"),
    SCHEMES["stormer_verlet"]: ("order", "digits"),
    SCHEMES["ab2"]: ("order",),
    SCHEMES["strang"]: ("order",),
}


@pytest.mark.parametrize("value", ["2", 2.5, 2.0, -2, 0, True])
@pytest.mark.parametrize(("scheme", "name"), [(scheme, name) for scheme, names in CLAIMS.items() for name in names])
def test_what_is_claimed_is_a_positive_whole_number(scheme, name, value):
    with pytest.raises(SpecError) as refusal:
        replace(scheme, **{name: value})
    said = f"{scheme.title}: {name} is {value!r} ({type(value).__name__}); give a positive whole number, or None"
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(
    ("scheme", "name", "value", "said"),
    [
        (RK4, "A", 1, r"A is 1 \(int\); give a sequence of rows, as in \[\[0, 0\], \[1, 0\]\]"),
        (RK4, "A", None, r"A is None \(NoneType\); give a sequence of rows"),
        (RK4, "A", [0, 1], r"row 1 of A is 0 \(int\); give a sequence, as in \[0, 1\]"),
        (RK4, "b", 2, r"b is 2 \(int\); give a sequence"),
        (RK4, "b", "1234", r"b is '1234' \(str\); give a sequence"),
        (RK4, "c", {0, 1}, r"c is {0, 1} \(set\); give a sequence"),
        (RK4, "c", [0, None, 1, 1], r"c holds None \(NoneType\); entries are numbers or expressions"),
        (RK4, "c", [0, "1/", 1, 1], r"c holds '1/' \(str\); entries are"),
        (RK4, "b", [[1], 0, 0, 0], r"b holds \[1\] \(list\); entries are"),
        (BS32, "b_error", 3, r"b_error is 3 \(int\)"),
        (BS32, "dense", [1], r"row 1 of dense is 1 \(int\)"),
        (RK4, "dense_stages", 4, r"dense_stages is 4 \(int\)"),
        (SCHEMES["ab2"], "alpha", 1, r"alpha is 1 \(int\)"),
        (SCHEMES["ab2"], "beta", None, r"beta is None \(NoneType\)"),
        (stochastic_scheme("milstein"), "B", 0, r"B is 0 \(int\)"),
        (stochastic_scheme("milstein"), "alpha", 0, r"alpha is 0 \(int\)"),
    ],
)
def test_tables_are_sequences_of_numbers(scheme, name, value, said):
    with pytest.raises(SpecError, match=f": {said}"):
        replace(scheme, **{name: value})
    with unrefused(), pytest.raises(SpecError, match=f": {said}"):
        replace(scheme, **{name: value})


def test_any_sequence_will_do():
    heun = SCHEMES["heun"]
    table = np.array([[0, 0], [1, 0]])
    assert ButcherTableau(A=table, b=("1/2", 0.5), c=(c for c in (0, 1)), order=2).A == heun.A
    assert LinearMultistep(alpha=np.array([1]), beta=range(2), order=1).beta == SCHEMES["ab1"].beta

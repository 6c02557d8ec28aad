"""Names, equality and pickling of quantities."""

import pickle

import pytest

from derive.errors import SpecError
from derive.symbols import (
    LONGEST_NAME,
    Quantity,
    Role,
    constant,
    default_latex,
    input_,
    parameter,
    state,
    step_size,
    time,
)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("class", "keyword"),
        ("lambda", "keyword"),
        ("match", "keyword"),
        ("2x", "not a Python identifier"),
        ("a b", "not a Python identifier"),
        ("", "not a Python identifier"),
        ("__", "not a Python identifier"),
        ("x-1", "not a Python identifier"),
        ("torch", "used by the emitted file"),
        ("self", "used by the emitted file"),
        ("_x", "begins with _"),
        ("forward", "used by the emitted file"),
        ("field", "used by the emitted file"),
        ("print", "used by the emitted file"),
        ("sum", "used by the emitted file"),
        ("a" * (LONGEST_NAME + 1), f"{LONGEST_NAME} are allowed"),
    ],
)
def test_a_name_that_cannot_become_code_is_refused(name, complaint):
    with pytest.raises(SpecError, match=complaint) as caught:
        state(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", ["x", "x_", "W_xi", "été", "a" * LONGEST_NAME])
def test_a_name_that_can_become_code_is_taken(name):
    assert state(name).name == name


def test_quantities_are_equal_by_name_shape_role_and_latex():
    assert state("x") == state("x") and hash(state("x")) == hash(state("x"))
    different = [state("x", "n"), input_("x", "d"), state("x", "d", latex="y"), state("y"), parameter("x", "d")]
    for other in different:
        assert state("x", "d") != other
    assert len({state("x"), state("x"), *different}) == 1 + len(different)


def test_a_meaning_never_leaks_from_one_spec_into_another():
    """SymPy caches products of equal symbols: with equal symbols of two meanings the first would win."""
    one, two = (parameter("m_leak", meaning=text) for text in ("mass", ""))
    x = state("x_leak")
    meanings = [next(q.meaning for q in (-x / m).free_symbols if q.name == "m_leak") for m in (one, two)]
    assert meanings == ["mass", ""]


def test_a_quantity_is_real_and_keeps_what_it_was_given():
    q = parameter("W_xi", ("H", "I"), per_layer=True, latex="W_{xi}", meaning="weights")
    assert (q.shape, q.role, q.latex, q.meaning) == (("H", "I"), Role.LAYER_PARAMETER, "W_{xi}", "weights")
    assert q.is_real


@pytest.mark.parametrize(
    "quantity",
    [
        state("x", latex="x_t", meaning="here"),
        parameter("W", ("m", 3), per_layer=True),
        constant("c"),
        time(),
        step_size(),
    ],
)
def test_pickling_keeps_everything(quantity):
    back = pickle.loads(pickle.dumps(quantity))
    assert back == quantity and hash(back) == hash(quantity)
    assert (back.shape, back.role, back.latex, back.meaning, back.is_real) == (
        quantity.shape,
        quantity.role,
        quantity.latex,
        quantity.meaning,
        True,
    )
    assert pickle.loads(pickle.dumps(quantity**2 + 1)) == quantity**2 + 1


@pytest.mark.parametrize(
    ("role", "batched"),
    [(Role.STATE, True), (Role.INPUT, True), (Role.COTANGENT, True), (Role.PARAMETER, False), (Role.TIME, False)],
)
def test_only_samples_are_batched(role, batched):
    assert role.batched is batched


def test_renamed_keeps_the_shape():
    x = state("x", "n")
    y = x.renamed("y", role=Role.TANGENT)
    assert (y.name, y.shape, y.role) == ("y", ("n",), Role.TANGENT)


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("x", "x"),
        ("gamma", r"\gamma"),
        ("W_xi", r"W_{\xi}"),
        ("tau_m", r"\tau_{m}"),
        ("x1", "x_{1}"),
        ("mass", r"\mathrm{mass}"),
    ],
)
def test_default_latex(name, latex):
    assert default_latex(name) == latex


def test_every_default_latex_is_one_group():
    """A double subscript `x_{1}_{2}` would not compile."""
    for name in ("x1_2", "x_prev", "theta_f", "a_b_c3", "x2y"):
        text = default_latex(name)
        assert text.count("{") == text.count("}")
        depth, subscripts = 0, 0
        for letter in text:
            depth += (letter == "{") - (letter == "}")
            subscripts += letter == "_" and depth == 0
        assert subscripts <= 1, text


def test_quantity_by_hand():
    assert Quantity("x", ("d",), Role.STATE) == state("x")

"""State Jacobians of cells, as formulas: beside the catalogue's by hand, unit tangents, and complex steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sympy import Rational, exp, sqrt

from derive import Builder, Recurrence, concat, input_, matvec, parameter, past, sigmoid, state, tanh
from derive.diagonal_matrices import diagonal
from derive.errors import UnsupportedError
from derive.evaluator import evaluate
from derive.jacobian_sections import AssembledCheck, companion, kept_values, quotient_check
from derive.lagrangian import merged
from derive.latex import latex, plain
from derive.linearization import forward_sweep, is_affine
from derive.loading import load
from derive.operators import fill, identity_like, linear_solve, matmul, softmax, total
from derive.showing import explain
from derive.state_jacobian import state_jacobian

SIZES = {"H": 4, "I": 3}
x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W, R, b = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("b", "H")


def numbers(quantities, seed=0):
    random = np.random.default_rng(seed)
    return {q: random.normal(size=tuple(SIZES[axis] for axis in q.shape)) for q in quantities}


def values_of(cell, seed=0):
    """Everything that the step and the blocks of its Jacobian compute, by name."""
    program = merged(cell.step, state_jacobian(cell).lines)
    return {q.name: value for q, value in evaluate(program, numbers(program.inputs, seed)).items()}


def dense(cell, seed=0):
    """The Jacobian from the blocks, and the same by complex steps of the evaluator."""
    blocks, found, values = state_jacobian(cell).names, values_of(cell, seed), numbers(cell.step.inputs, seed)
    zero = np.zeros((SIZES["H"],) * 2)
    own = np.block([[found[blocks[n, o].name] if (n, o) in blocks else zero for o in cell.old] for n in cell.new])
    columns = []
    for old in cell.old:
        for unit in np.eye(SIZES["H"]):
            moved = evaluate(cell.step, {**values, old: values[old] + 1e-30j * unit})
            columns.append(np.concatenate([np.imag(moved[new]) / 1e-30 for new in cell.new]))
    return own, np.stack(columns, axis=1)


def diag(v):
    return np.diag(v)


def test_gru_is_the_catalogue_s_one_step_jacobian():
    v = values_of(load("gru").variants["before_deck"])
    h, r, z, n = v["h"], v["r"], v["z"], v["n"]
    inner = diag(r) + diag(h * r * (1 - r)) @ v["W_hr"]
    expected = diag(1 - z) + diag((n - h) * z * (1 - z)) @ v["W_hz"] + diag(z * (1 - n**2)) @ v["W_hn"] @ inner
    np.testing.assert_allclose(v["J_h_next_h"], expected, rtol=1e-13, atol=1e-14)


def test_peephole_lstm_is_the_catalogue_s_blocks():
    v = values_of(load("lstm_peephole").variants["full"])
    i, f, g, o, c, tanh_c = (v[name] for name in ("i", "f", "g", "o", "c", "tanh_c"))
    past_f, past_i, slope_o = diag(c * f * (1 - f)), diag(g * i * (1 - i)), diag(tanh_c * o * (1 - o))
    J_cc = diag(f) + past_f @ v["W_cf"] + past_i @ v["W_ci"]
    J_ch = past_f @ v["W_hf"] + past_i @ v["W_hi"] + diag(i * (1 - g**2)) @ v["W_hg"]
    A_o = diag(o * (1 - tanh_c**2)) + slope_o @ v["W_co"]
    expected = {
        "c_next_c": J_cc,
        "c_next_h": J_ch,
        "h_next_c": A_o @ J_cc,
        "h_next_h": slope_o @ v["W_ho"] + A_o @ J_ch,
    }
    for name, block in expected.items():
        np.testing.assert_allclose(v[f"J_{name}"], block, rtol=1e-13, atol=1e-14)


def test_carousel_is_the_forget_gate_alone_and_a_peephole_adds_to_it():
    variants, shown = load("lstm_peephole").variants, {}
    for name in ("none", "diagonal"):
        blocks = state_jacobian(variants[name])
        shown[name] = {line.target.name: line.value for line in blocks.lines}["J_c_next_c"]
        assert [q.name for q in blocks.diagonal] == ["J_c_next_c"]
    q = {q.name: q for q in (*variants["diagonal"].step.inputs, *variants["diagonal"].step.targets)}
    f, g, i = q["f"], q["g"], q["i"]
    assert shown["none"] == diagonal(f)
    assert shown["diagonal"] == diagonal(f + q["c"] * f * (1 - f) * q["p_f"] + g * i * (1 - i) * q["p_i"])
    assert not state_jacobian(variants["full"]).diagonal
    reasons = [r.reason for r in explain(load("lstm")).relations if r.title == "derivative of c_next in c"]
    assert "carousel" in reasons[0]


def cell_of(step, *new):
    return Recurrence(step.build(new), (h, c), new, (x,), new[0])


def layer_norm():
    """Means and lengths over components: rank-one terms."""
    step = Builder()
    a = step.let("a", matvec(W, x) + matvec(R, h) + b)
    centred = step.let("centred", a - fill(total(a) / 4, a))
    size = step.let("size", sqrt(total(centred**2) / 4 + Rational(1, 100)))
    f = step.let("f", sigmoid(centred / size))
    c_next = step.let("c_next", f * c + (1 - f) * softmax(a))
    return cell_of(step, step.let("h_next", tanh(c_next) * exp(-size) + c_next * (total(h) + 1)), c_next)


def solved():
    """A linearly implicit step."""
    step = Builder()
    matrix = identity_like(R) - R / 16
    c_next = step.let("c_next", linear_solve(matrix, c + tanh(h) + matvec(W, x)))
    return cell_of(step, step.let("h_next", linear_solve(matrix, h) * c_next), c_next)


def shifted():
    """A state that is only handed on."""
    step = Builder()
    return cell_of(step, step.let("h_next", tanh(matvec(R, c) + matvec(W, x))), h)


@pytest.mark.parametrize("made", [layer_norm, solved, shifted])
def test_own_cells_against_complex_steps(made):
    cell = made()
    own, expected = dense(cell)
    np.testing.assert_allclose(own, expected, rtol=1e-12, atol=1e-13)
    blocks = state_jacobian(cell)
    known = merged(cell.step, blocks.lines)
    about = {name: pair for pair, name in blocks.names.items()}
    for line in blocks.lines:
        check = quotient_check(cell.step, about[line.target], line, known)
        assert check.run().holds
        assert not any(check.perturbed(term).run().holds for term in range(check.terms))


def test_unit_tangents_of_the_forward_sweep_are_the_columns():
    cell = load("lstm_peephole").variants["full"]
    sweep = forward_sweep(cell.step, cell.old)
    values = evaluate(cell.step, numbers(cell.step.inputs))
    found = values_of(cell)
    zero, units = np.zeros(SIZES["H"]), np.eye(SIZES["H"])
    for old in cell.old:
        tangents = [{sweep.tangents[q]: unit if q == old else zero for q in cell.old} for unit in units]
        moved = [evaluate(sweep.program, {**values, **tangent}) for tangent in tangents]
        for new in cell.new:
            columns = np.stack([one[sweep.tangents[new]] for one in moved], axis=1)
            np.testing.assert_allclose(columns, found[f"J_{new.name}_{old.name}"], rtol=1e-13, atol=1e-14)


def test_what_is_not_read_is_refused_and_left_out_of_the_derivation():
    step = Builder()
    joined = parameter("V", ("H", "H+I"))
    h_next = step.let("h_next", tanh(matvec(joined, concat(h, x))))
    cell = Recurrence(step.build((h_next,)), (h,), (h_next,), (x,), h_next)
    with pytest.raises(UnsupportedError, match="not read as a matrix times a tangent"):
        state_jacobian(cell)
    s = state("s", ())
    scalar = Builder()
    after = scalar.let("s_next", tanh(s) + total(x))
    with pytest.raises(UnsupportedError, match="s: the blocks of a Jacobian are those of vectors"):
        state_jacobian(Recurrence(scalar.build((after,)), (s,), (after,), (x,), after))


def test_matrices_in_formulas():
    assert latex(diagonal(b)) == r"\operatorname{diag}\left(b\right)"
    assert plain(matmul(diagonal(b), R) + diagonal(fill(-1, b))) == "-I + diag(b) @ R"
    assert latex(matmul(R + diagonal(b), linear_solve(R, identity_like(R)))) == (
        r"\left(R + \operatorname{diag}\left(b\right)\right) R^{-1}"
    )
    v = numbers([R])[R]
    np.testing.assert_allclose(linear_solve.numeric(v, identity_like.numeric(v)), np.linalg.inv(v), rtol=1e-12)
    np.testing.assert_allclose(matmul.numeric(v, v.T), v @ v.T, rtol=1e-13)


def test_every_cell_of_the_catalogue_with_vectors_has_the_section():
    for name in ("lstm", "linear_recursion"):
        found = explain(load(name))
        (section,) = [one for one in found.sections if one.title.startswith("The Jacobian of the step")]
        assert all(r.check.run().holds for r in section.relations if r.check)
        assert any(name.startswith("J_") for name in found.results)


def section_of(name):
    """The relations on the Jacobian in a derivation."""
    found = explain(load(name)).sections
    return [
        one for section in found if section.title.startswith("The Jacobian of the step") for one in section.relations
    ]


def test_of_a_step_with_past_values_the_matrix_moves_all_that_is_kept():
    """Over four steps, against complex steps through a loop that keeps the old values itself."""
    V = parameter("V", ("H", "H"))
    step = Builder()
    h_next = step.let("h_next", tanh(matvec(W, x) + matvec(R, past(h, 3, name="h_then")) + b * c))
    c_next = step.let("c_next", c + matvec(V, h_next * past(c, 2)))
    cell = Recurrence(step.build((h_next, c_next)), (h, c), (h_next, c_next), (x,), h_next)
    blocks = state_jacobian(cell)
    assert [q.name for q in kept_values(cell)] == ["h", "h_lag2", "h_then", "c", "c_lag2"]
    known = merged(cell.step, blocks.lines)
    given, random = numbers([W, R, V, b]), np.random.default_rng(3)
    xs = random.normal(size=(4, 3))

    def run(z):
        (h1, h2, h3, c1, c2), matrix = z.reshape(5, 4), np.eye(20)
        for row in xs:
            at = {**given, x: row, h: h1, c: c1, cell.past[1]: h3, cell.past[0]: c2}
            found = {q.name: value for q, value in evaluate(known, at).items()} if np.isrealobj(z) else {}
            if found:
                texts = [[text for _, text in entries] for entries in companion(cell, blocks)]
                table = {"0": np.zeros((4, 4)), "I": np.eye(4), **found}
                matrix = np.block([[table[text] for text in entries] for entries in texts]) @ matrix
            new = np.tanh(given[W] @ row + given[R] @ h3 + given[b] * c1)
            h1, h2, h3, c1, c2 = new, h1, h2, c1 + given[V] @ (new * c2), c1
        return np.concatenate([h1, h2, h3, c1, c2]), matrix

    z = random.normal(size=20)
    columns = [run(z + 1e-30j * unit)[0].imag / 1e-30 for unit in np.eye(20)]
    np.testing.assert_allclose(run(z)[1], np.stack(columns, axis=1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "lags", "kept"),
    [("rnn_multitap", "lags = 1, 2", "(h, h_lag2)"), ("delay_rnn", "delay = 2", "(s, r, r_lag2)")],
)
def test_lags_that_the_module_is_told_get_numbers(name, lags, kept):
    assert any(lags in section.lead for section in explain(load(name)).sections)
    assert [one.text for one in section_of(name) if one.name == "jacobian.state"] == [f"z = {kept}"]
    (product, *_) = [one for one in section_of(name) if one.title == "Jacobian over several steps"]
    assert "I, 0" in product.text and product.check.run().holds
    assert not any(product.check.perturbed(term).run().holds for term in range(product.check.terms))
    with pytest.raises(UnsupportedError, match="with_lags puts a number"):
        state_jacobian(next(iter(load(name).variants.values())))


def test_one_value_under_two_names_is_refused():
    step = Builder()
    after = step.let("h_next", tanh(matvec(R, past(h, 2)) + b * past(h, 2, name="again") + matvec(W, x)))
    with pytest.raises(UnsupportedError, match="again and h_lag2 are the same value"):
        state_jacobian(Recurrence(step.build((after,)), (h,), (after,), (x,), after))


def test_of_a_step_without_a_state_there_is_none():
    assert not section_of("tdnn")
    with pytest.raises(UnsupportedError, match="no state"):
        state_jacobian(load("tdnn").variants["tanh"])


def test_past_inputs_are_no_states():
    step = Builder()
    after = step.let("h_next", tanh(matvec(R, h) + matvec(W, x) + matvec(W, past(x, 2))))
    own, expected = dense(Recurrence(step.build((after,)), (h,), (after,), (x,), after))
    np.testing.assert_allclose(own, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["addition_rnn", "lstm_peephole", "gru"])
def test_the_whole_matrix_is_checked_zeros_included(name):
    products = [one for one in section_of(name) if one.title == "Jacobian over several steps"]
    for one in products:
        assert one.check.run().holds
        assert not any(one.check.perturbed(term).run().holds for term in range(one.check.terms))
    assert [("almost everywhere" in one.reason) for one in products] == [True, False][2 - len(products) :]


def test_a_state_that_is_left_out_of_the_blocks_is_found():
    cell = load("lstm_peephole").variants["full"]
    blocks = state_jacobian(cell)
    without = replace(blocks, names={pair: name for pair, name in blocks.names.items() if name.name != "J_c_next_h"})
    assert AssembledCheck(cell, blocks).run().holds and not AssembledCheck(cell, without).run().holds


def test_jumps_are_not_linear():
    assert not is_affine(load("parity_rnn").variants["heaviside"].step, (h,))

"""Linear cells in closed form: beside the recursion itself, powers of the matrix and its eigenvalues."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import Builder, Recurrence, Spec, input_, matvec, parameter, state, transpose
from derive.linearization import is_affine
from derive.loading import load
from generated.linear_recursion import LinearRecursion
from generated.rnn_hidden import RNNHidden


def made(**options):
    torch.manual_seed(0)
    return LinearRecursion(2, 3, dtype=torch.float64, **options)


@cache
def oscillators():
    """A user's cell of two states, with a constant and elementwise weights."""
    x, p, v = input_("x", "I"), state("p", "H"), state("v", "H")
    K, U = parameter("K", ("H", "H")), parameter("U", ("H", "I"))
    rate, bias = parameter("rate", "H"), parameter("bias", "H")
    step = Builder()
    v_next = step.let("v_next", rate * v - matvec(K, p) + matvec(U, x) + bias)
    p_next = step.let("p_next", p + v_next / 8)
    system = Recurrence(step.build((p_next, v_next)), (p, v), (p_next, v_next), (x,), p_next)
    return load_text(emit(Spec("oscillators", "Oscillators", "oscillators", system))).Module


@cache
def skew():
    """A user's cell whose matrix is made of a parameter, before the loop over steps."""
    x, h = input_("x", "I"), state("h", "H")
    W, U, bias = parameter("W", ("H", "H")), parameter("U", ("H", "I")), parameter("bias", "H")
    step = Builder()
    K = step.let("K", W - transpose(W))
    h_next = step.let("h_next", matvec(K, h) + matvec(U, x) + bias)
    system = Recurrence(step.build((h_next,)), (h,), (h_next,), (x,), h_next)
    return load_text(emit(Spec("skew", "Skew", "skew", system))).Module


def states_of(module):
    """The inputs (T, I), and the states before and after every step (T + 1, S)."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 1, 2, dtype=torch.float64, generator=generator)
    start = tuple(torch.randn(1, 1, 3, dtype=torch.float64, generator=generator) for _ in module.cell().states)
    rows = [torch.cat(start, -1).flatten()]
    state = start
    for row in x:
        _, after = module(row.unsqueeze(0), state if len(start) > 1 else state[0])
        state = (after,) if isinstance(after, torch.Tensor) else after
        rows.append(torch.cat(state, -1).flatten())
    return x[:, 0], torch.stack(rows)


KINDS = {"LinearRecursion": lambda: LinearRecursion, "Oscillators": oscillators, "Skew": skew}


@pytest.mark.parametrize("kind", KINDS)
def test_recursion_is_its_closed_form(kind):
    torch.manual_seed(0)
    module = KINDS[kind]()(2, 3, dtype=torch.float64)
    x, rows = states_of(module)
    for k in range(6):
        found = module.closed_form(k)
        value = found.start @ rows[0] + torch.einsum("jsi,ji->s", found.inputs, x[: k + 1]) + found.constant
        torch.testing.assert_close(value, rows[k + 1], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(found.inputs[0], module.impulse_response(k), rtol=1e-12, atol=1e-14)
    assert bool(found.constant.any()) == (kind != "LinearRecursion")


def test_a_matrix_made_of_parameters_is_the_one_that_steps_apply():
    module = skew()(2, 3, num_layers=2, bidirectional=True, dtype=torch.float64)
    for layer, reverse in ((0, False), (1, True)):
        W = module.get_parameter(f"W_l{layer}{'_reverse' if reverse else ''}")
        radius = torch.linalg.eigvals(W - W.mT).abs().max()
        torch.testing.assert_close(module.spectral_radius(layer, reverse), radius)
        (gradient,) = torch.autograd.grad(module.spectral_radius(layer, reverse), W)
        assert gradient.abs().sum() > 0


def test_it_is_written_with_powers_of_w():
    module = made()
    W, C = module.W_l0, module.C_l0
    torch.testing.assert_close(module.closed_form(3).start, torch.linalg.matrix_power(W, 4))
    torch.testing.assert_close(module.impulse_response(3), torch.linalg.matrix_power(W, 3) @ C)
    assert torch.equal(module.impulse_response(0), C)
    with torch.no_grad():
        W.copy_(
            torch.tensor([[0.0, -1.1, 0], [1.1, 0, 0], [0, 0, 0.2]], dtype=torch.float64)
        )  # eigenvalues +-1.1i: no real part above 1
    assert module.spectral_radius().item() == pytest.approx(1.1, rel=1e-14)
    (gradient,) = torch.autograd.grad(module.impulse_response(2).sum(), W)
    assert gradient.abs().sum() > 0


def test_long_runs_grow_like_powers_of_the_spectral_radius():
    module = made()
    x = torch.zeros(400, 1, 2, dtype=torch.float64)
    x[0] = 1
    with torch.no_grad():
        module.W_l0.copy_(torch.tensor([[0.9, 0.5, 0], [0, 0.7, 1], [0.1, 0, -0.6]]))
        sizes = module(x)[0].norm(dim=-1).flatten().log()
    slope = (sizes[-1] - sizes[99]) / 300
    assert slope.item() == pytest.approx(module.spectral_radius().log().item(), rel=1e-6)


def test_layers_and_directions_have_their_own():
    module = made(num_layers=2, bidirectional=True)
    torch.testing.assert_close(module.impulse_response(0, layer=1, reverse=True), module.C_l1_reverse)
    assert module.closed_form(2, layer=1).inputs.shape == (3, 3, 6)
    radius = torch.linalg.eigvals(module.W_l0_reverse).abs().max()
    torch.testing.assert_close(module.spectral_radius(reverse=True), radius)


def test_what_is_refused():
    module = made()
    for layer, reverse in ((1, False), (-1, False), (0, True)):
        with pytest.raises(ValueError, match=f"layer={layer}, reverse={reverse}; allowed: layer 0 to 0, reverse False"):
            module.spectral_radius(layer, reverse)
    for times in (-1, 1.5, True):
        with pytest.raises(ValueError, match="allowed: a whole number, 0 or more"):
            module.closed_form(times)
        with pytest.raises(ValueError, match="LinearRecursion: t="):
            module.impulse_response(times)


def test_linearity_is_read_from_the_step():
    for name, linear in (("linear_recursion", True), ("gru", False), ("lstm_general", False)):
        assert all(is_affine(one.step, (*one.old, *one.inputs)) == linear for one in load(name).variants.values())
    variants = load("rnn_hidden").variants
    assert {name for name, one in variants.items() if is_affine(one.step, (*one.old, *one.inputs))} == {"identity"}
    assert not hasattr(RNNHidden(2, 3), "closed_form")  # one of its options is linear, the others are not

"""DelayRNN against loops that solve a linear system at every step, its limit, and the delay equation it discretizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from generated.delay_rnn import DelayRNN
from generated.rnn_hidden import RNNHidden

double = torch.float64
TIGHT = 1e-12


def make(*sizes: Any, seed: int = 0, **options: Any) -> DelayRNN:
    """With random parameters for which states do not grow."""
    torch.manual_seed(seed)
    module = DelayRNN(3, 4, *sizes, **{"dtype": double, **options})
    for name, p in module.named_parameters():
        if name.startswith("A"):
            p.data -= torch.eye(4, dtype=double)
    return module


def apart(found: Any, expected: Any) -> float:
    pairs = [(a.detach(), b.detach()) for a, b in zip(found, expected, strict=True)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).norm()) / (float(b.norm()) or 1.0) for a, b in pairs)


def of_layer(module: DelayRNN, ending: str = "_l0") -> dict[str, Tensor]:
    return {name: getattr(module, name + ending) for name in ("A", "B", "C", "phi")}


def by_hand(p: Mapping[str, Tensor], h: float, x: Tensor, s: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scheme with one linear system a step: x (T, B, I), s (B, H), past (B, K, H) newest first."""
    lag, outputs = past.shape[1], []
    matrix = torch.eye(s.shape[-1], dtype=s.dtype) - h * p["A"]
    for row in x.unbind(0):
        known = s + h * (past[:, lag - 1] @ p["B"].T + row @ p["C"].T + p["phi"])
        s = torch.linalg.solve(matrix, known.T).T
        outputs.append(torch.tanh(s))
        past = torch.cat((outputs[-1].unsqueeze(1), past[:, :-1]), 1)
    return torch.stack(outputs), s, past


def start(module: DelayRNN, batch: int = 2, rows: int = 1) -> tuple[Tensor, Tensor]:
    shape = (rows, batch, 4)
    s = torch.randn(shape, dtype=double, requires_grad=True)
    past = torch.randn((rows, batch, module.delay, 4), dtype=double, requires_grad=True)
    return s, past


def loss(*values: Tensor) -> Tensor:
    return torch.stack([(value * torch.cos(3 * value)).sum() for value in values]).sum()


@pytest.mark.parametrize("delay", [1, 2, 5])
@pytest.mark.parametrize("memory", ["store", "chunk"])
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_outputs_and_gradients_equal_a_loop_of_linear_systems(delay, memory, gradient):
    module = make(delay=delay, step_size=0.7, memory=memory, gradient=gradient)
    x = torch.randn(13, 2, 3, dtype=double, requires_grad=True)
    s, past = start(module)
    output, (s_end, past_end) = module(x, (s, past))
    expected = by_hand(of_layer(module), 0.7, x, s[0], past[0])
    assert apart([output, s_end[0], past_end[0]], expected) < TIGHT
    wanted = (x, s, past, *module.parameters())
    found = torch.autograd.grad(loss(output, s_end, past_end), wanted)
    assert apart(found, torch.autograd.grad(loss(*expected), wanted)) < TIGHT


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_gradients_of_each_sequence_under_vmap(gradient):
    """The output is the path of the second state: each sequence alone, and all at once, against the loop."""
    module = make(delay=2, step_size=0.7, gradient=gradient)
    x, (s, past) = torch.randn(4, 6, 3, dtype=double), (torch.randn(1, 1, 4).double(), torch.randn(1, 1, 2, 4).double())
    p = {name: value.detach() for name, value in module.named_parameters()}

    def of_module(p: dict[str, Tensor], row: Tensor) -> Tensor:
        output, ends = torch.func.functional_call(module, p, (row.unsqueeze(1), (s, past)))
        return loss(output, *ends)

    def of_loop(p: dict[str, Tensor], row: Tensor) -> Tensor:
        given = {name.removesuffix("_l0"): value for name, value in p.items()}
        return loss(*by_hand(given, 0.7, row.unsqueeze(1), s[0], past[0]))

    expected = [torch.func.grad(of_loop)(p, row) for row in x]
    found = torch.func.vmap(torch.func.grad(of_module), (None, 0))(p, x)
    assert apart([found[n] for n in p], [torch.stack([one[n] for one in expected]) for n in p]) < TIGHT
    total = torch.func.grad(lambda p: torch.func.vmap(of_module, (None, 0))(p, x).sum())(p)
    assert apart([total[n] for n in p], [sum(one[n] for one in expected) for n in p]) < TIGHT


def test_against_scipy():
    """The same with LU factors of SciPy, no torch in the loop."""
    module = make(delay=2, step_size=0.3)
    p = {name: value.detach().numpy() for name, value in of_layer(module).items()}
    x = torch.randn(6, 1, 3, dtype=double)
    factors = scipy.linalg.lu_factor(np.eye(4) - 0.3 * p["A"])
    s, outputs = np.zeros(4), [np.zeros(4), np.zeros(4)]
    for row in x[:, 0].numpy():
        right = s + 0.3 * (p["B"] @ outputs[-2] + p["C"] @ row + p["phi"])
        s = scipy.linalg.lu_solve(factors, right)
        outputs.append(np.tanh(s))
    output, (end, _) = module(x)
    assert np.abs(output[:, 0].detach().numpy() - outputs[2:]).max() < 1e-14
    assert np.abs(end[0, 0].detach().numpy() - s).max() < 1e-14


@pytest.mark.parametrize("delay", [1, 3])
def test_gradients_of_the_parameters_by_finite_differences(delay):
    module = make(delay=delay, step_size=0.5)
    x = torch.randn(5, 2, 3, dtype=double)
    names = [name for name, _ in module.named_parameters()]

    def value(*held: Tensor) -> Tensor:
        return torch.func.functional_call(module, dict(zip(names, held, strict=True)), (x,))[0]

    leaves = [p.detach().requires_grad_() for p in module.parameters()]
    assert torch.autograd.gradcheck(value, leaves, eps=1e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("delay", [1, 3])
def test_every_option_of_recurrent_modules_holds(delay):
    """Two layers in both directions over packed sequences, with learnt initial states."""
    module = make(2, bidirectional=True, learn_initial=True, delay=delay, step_size=0.6)
    for name, p in module.named_parameters():
        if name.startswith("initial"):
            torch.nn.init.normal_(p)
    lengths = [5, 2]
    x = torch.randn(5, 2, 3, dtype=double)
    packed, (s_end, past_end) = module(pack_padded_sequence(x, torch.tensor(lengths)))
    output, _ = pad_packed_sequence(packed)
    for sample, length in enumerate(lengths):
        rows = x[:length, sample : sample + 1]
        for layer in range(2):
            ways = []
            for way, ending in enumerate((f"_l{layer}", f"_l{layer}_reverse")):
                place = 2 * layer + way
                begin = module.initial_s[place, None], module.initial_r[place].reshape(1, delay, 4)
                given = rows.flip(0) if way else rows
                found, s, past = by_hand(of_layer(module, ending), 0.6, given, *begin)
                ways.append(found.flip(0) if way else found)
                assert apart([s_end[place, sample], past_end[place, sample].reshape(delay, 4)], [s[0], past[0]]) < TIGHT
            rows = torch.cat(ways, -1)
        assert apart([output[:length, sample]], [rows[:, 0]]) < TIGHT


def test_pieces_of_a_sequence_hand_on_their_states():
    module = make(delay=3)
    x = torch.randn(9, 2, 3, dtype=double)
    whole, end = module(x)
    first, state = module(x[:2])
    second, last = module(x[2:], state)
    assert apart([torch.cat((first, second)), *last], [whole, *end]) < TIGHT


@pytest.mark.parametrize("step_size", [1.0, 0.25])
def test_with_a_large_decay_it_is_the_plain_recurrent_network(step_size):
    """A = -a I, B = a B_0, C = a C_0, phi = a phi_0; W_s = 1 / (1 + h a), W_r -> B_0, whatever the step size."""
    torch.manual_seed(5)
    plain = RNNHidden(3, 4, dtype=double)
    module, large = DelayRNN(3, 4, step_size=step_size, dtype=double), 1e8
    with torch.no_grad():
        module.A_l0.copy_(-large * torch.eye(4))
        module.B_l0.copy_(large * plain.weight_hh_l0)
        module.C_l0.copy_(large * plain.weight_ih_l0)
        module.phi_l0.copy_(large * (plain.bias_ih_l0 + plain.bias_hh_l0))
    x = torch.randn(20, 2, 3, dtype=double)
    found, expected = module(x)[0], plain(x)[0]
    assert 1e-10 < apart([found], [expected]) < 1e-6


def exact(t: np.ndarray, a: float, b: float, c: float, tau: float) -> np.ndarray:
    """s' = a s + b tanh(s(t - tau)) + c on two delays, history 0: there tanh is known, and at last integrated."""
    first = c / a * np.expm1(a * np.minimum(t, tau))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    found = first.copy()
    for place, end in enumerate(t):
        if end > tau:
            u = tau + (end - tau) * (nodes + 1) / 2
            drive = b * np.tanh(c / a * np.expm1(a * (u - tau))) + c
            found[place] = np.exp(a * (end - tau)) * first[place] + (end - tau) / 2 * weights @ (
                np.exp(a * (end - u)) * drive
            )
    return found


def test_it_converges_to_the_delay_equation_with_order_one():
    a, b, c, tau = -0.8, 1.7, 0.9, 1.0
    errors = []
    for steps in (32, 64, 128, 256):
        module = DelayRNN(1, 1, delay=steps, step_size=tau / steps, dtype=double)
        with torch.no_grad():
            for p, value in zip(of_layer(module).values(), (a, b, c, 0.0), strict=True):
                p.fill_(value)
        _, (s, _) = module(torch.ones(2 * steps, 1, 1, dtype=double))
        errors.append(abs(float(s.detach()) - exact(np.array([2 * tau]), a, b, c, tau)[0]))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert abs(orders[-1] - 1) < 0.02 and errors[-1] < 5e-3


def test_a_singular_matrix_names_itself_and_its_layer():
    module = make(2, step_size=0.5)
    with torch.no_grad():
        module.A_l1.copy_(2 * torch.eye(4))
    with pytest.raises(ValueError, match=r"DelayRNN: M = I - A\*h is singular in the layer of l1, step_size=0\.5"):
        module(torch.randn(2, 1, 3, dtype=double))


def test_the_output_is_the_readout_and_the_state_comes_first():
    module = make()
    output, (s, _) = module(torch.randn(4, 2, 3, dtype=double))
    assert apart([output[-1]], [torch.tanh(s[0])]) < 1e-15
    assert [name for name, _ in module.named_parameters()] == ["A_l0", "B_l0", "C_l0", "phi_l0"]
    assert "step_size=1.0" in repr(module)

"""Losses over sequences: torch's at any size of the logits, weights of steps, what a recurrent net hears of them."""

import mpmath
import pytest
import torch
from torch.nn import functional as F

from generated.rnn_hidden import RNNHidden, loss, loss_cotangent

T, B, K = 5, 3, 4
GENERATOR = torch.Generator().manual_seed(8)
LOGITS = torch.randn(T, B, K, dtype=torch.float64, generator=GENERATOR)
SHARES = torch.rand(T, B, K, dtype=torch.float64, generator=GENERATOR)
CLASSES = torch.randint(K, (T, B), generator=GENERATOR)
SCALES = [1.0, 30.0, 1000.0]
TORCH = {
    "cross_entropy": lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten(0, 1), reduction="sum"),
    "kl_divergence": lambda o, y: F.kl_div(o.log_softmax(-1), y, reduction="sum"),
    "binary_cross_entropy": lambda o, y: F.binary_cross_entropy_with_logits(o, y, reduction="sum"),
    "squared_error": lambda o, y: F.mse_loss(o, y, reduction="sum") / 2,
}


def targets(name):
    return SHARES if name in ("binary_cross_entropy", "squared_error") else SHARES / SHARES.sum(-1, keepdim=True)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", TORCH)
def test_value_and_cotangent_are_torch_s(name, scale):
    output, target = (scale * LOGITS).requires_grad_(), targets(name)
    expected = TORCH[name](output, target)
    (gradient,) = torch.autograd.grad(expected, output)
    torch.testing.assert_close(loss(output, target, divergence=name), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(loss_cotangent(output, target, divergence=name), gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", SCALES)
def test_targets_at_the_ends(scale):
    """Probabilities 0 and 1: no infinity and no NaN, and the digits of the smallest losses."""
    output, hot = scale * LOGITS, F.one_hot(CLASSES, K).double()
    for name in TORCH:
        assert loss(output, hot, divergence=name).isfinite()
        assert loss_cotangent(output, hot, divergence=name).isfinite().all()
    assert torch.equal(loss(output, hot, divergence="kl_divergence"), loss(output, hot))
    assert torch.equal(loss(output, CLASSES), loss(output, hot))


@pytest.mark.parametrize("logit", [-1000.0, -30.0, 30.0, 500.0])
def test_binary_entropy_keeps_the_digits_of_small_losses(logit):
    o = torch.full((1, 1), logit, dtype=torch.float64)
    right = torch.full_like(o, float(logit > 0))
    with mpmath.workdps(30):
        rest = mpmath.exp(-abs(logit))
        exact, slope = float(mpmath.log1p(rest)), float(rest / (1 + rest))
    found = loss(o, right, divergence="binary_cross_entropy")
    assert float(found) == pytest.approx(exact, rel=1e-14, abs=0)
    cotangent = loss_cotangent(o, right, divergence="binary_cross_entropy")
    assert abs(float(cotangent)) == pytest.approx(slope, rel=1e-14, abs=0)


WEIGHTS = {
    "many to many": torch.ones(T, 1),
    "many to one": torch.tensor([[0.0]] * (T - 1) + [[1.0]]),
    "after a burn-in": (torch.arange(T) >= 2).unsqueeze(-1),
    "mean": torch.full((T, 1), 1 / T),
    "one number": torch.tensor(0.7),
    "each sequence alone": torch.rand(1, B, generator=GENERATOR),
    "each sequence": torch.rand(T, B, generator=GENERATOR),
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_weights_of_steps_start_the_same_sweep(weights):
    """Gradients of the net are those of autograd through torch's loss of each step, weighed."""
    torch.manual_seed(4)
    net = RNNHidden(2, 6, output=K).double()
    x = torch.randn(T, B, 2, dtype=torch.float64)
    output, _ = net(x)
    parameters = list(net.parameters())
    losses = F.cross_entropy(output.flatten(0, 1), CLASSES.flatten(), reduction="none").view(T, B)
    expected = torch.autograd.grad((weights * losses).sum(), parameters, retain_graph=True)
    value = loss(output, CLASSES, weights=weights)
    assert float(value.detach()) == pytest.approx(float((weights * losses).sum().detach()), rel=1e-13)
    for found in (
        torch.autograd.grad(value, parameters, retain_graph=True),
        torch.autograd.grad(output, parameters, loss_cotangent(output.detach(), CLASSES, weights=weights)),
    ):
        assert all(torch.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weights": torch.ones(T)}, r"weights has shape \(5,\); allowed: a tensor of one number, or with 2 axes of"),
        ({"weights": torch.ones(B)}, r"shape \(3,\); allowed: .* with 2 axes of the sizes \(5, 3\) or 1"),
        ({"weights": torch.ones(1, T, B)}, r"shape \(1, 5, 3\); allowed: .* with 2 axes"),
        ({"weights": torch.ones(B, T)}, r"shape \(3, 5\); allowed: .* of the sizes \(5, 3\) or 1"),
        ({"weights": 2.0}, "weights=2.0; allowed: a tensor"),
        ({"divergence": "entropy"}, "divergence='entropy'; allowed: 'cross_entropy', 'kl_divergence'"),
    ],
)
@pytest.mark.parametrize("function", [loss, loss_cotangent])
def test_bad_weights_and_unknown_divergences_are_refused(function, arguments, said):
    with pytest.raises(ValueError, match=said):
        function(LOGITS, CLASSES, **arguments)


@pytest.mark.parametrize("function", [loss, loss_cotangent])
def test_weights_of_steps_are_not_taken_for_those_of_as_many_sequences(function):
    with pytest.raises(ValueError, match=r"weights has shape \(3,\); allowed: .* sizes \(3, 3\) or 1"):
        function(LOGITS[:B], CLASSES[:B], weights=torch.ones(B))


@pytest.mark.parametrize("function", [loss, loss_cotangent])
def test_targets_without_a_logarithm_are_refused(function):
    """torch's divergence of them is NaN, and its cross-entropy, which takes no logarithm of them, is a number."""
    target = targets("kl_divergence").clone()
    target[2, 1, 0] = -0.25
    assert TORCH["kl_divergence"](LOGITS, target).isnan()
    with pytest.raises(ValueError, match=r"loss.*: the least entry of target is -0.25; allowed: 0 or more"):
        function(LOGITS, target, divergence="kl_divergence")
    torch.testing.assert_close(loss(LOGITS, target), TORCH["cross_entropy"](LOGITS, target), rtol=1e-13, atol=0)


def test_targets_that_cannot_be_read_are_not():
    each = torch.func.vmap(lambda o, y: loss(o, y, divergence="kl_divergence"))(LOGITS, targets("kl_divergence"))
    torch.testing.assert_close(each.sum(), loss(LOGITS, targets("kl_divergence"), divergence="kl_divergence"))
    assert loss(LOGITS[:0], SHARES[:0], divergence="kl_divergence") == 0

"""Feed-forward nets: against torch.nn's own layers, and every transform of the derived form against the plain one."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

from generated.dnn import DNN, loss, loss_cotangent
from generated.perceptron import Perceptron

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
TORCH = {
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "relu": nn.ReLU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "softplus": nn.Softplus(threshold=1000.0),
    "silu": nn.SiLU(),
    "gelu": nn.GELU(),
    "identity": nn.Identity(),
}
SIZES = [3, 5, 4, 2]
SMOOTH = [name for name in TORCH if name not in ("relu", "elu", "selu")]
EXACT = {"rtol": 1e-12, "atol": 1e-13}


def net(activation="tanh", gradient="derived", sizes=SIZES):
    torch.manual_seed(0)
    return DNN(sizes, activation=activation, gradient=gradient, dtype=torch.float64)


def reference(model, activation):
    """The same net out of torch.nn's layers."""
    parts = []
    for layer in model.layers:
        linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], dtype=torch.float64)
        linear.load_state_dict(layer.state_dict())
        parts += [linear, TORCH[activation]]
    return nn.Sequential(*parts[:-1])


def batch(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", TORCH)
@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 3), (0, 3)])
def test_value_and_gradients_are_those_of_torch_s_own_layers(activation, shape):
    model = net(activation)
    twin = reference(model, activation)
    x, y = (batch(*shape).requires_grad_() for _ in range(2))
    out, expected = model(x), twin(y)
    torch.testing.assert_close(out, expected, **EXACT)
    found = torch.autograd.grad(out.sin().sum(), [x, *model.parameters()])
    wanted = torch.autograd.grad(expected.sin().sum(), [y, *twin.parameters()])
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_parameters_are_named_and_drawn_as_linear_s():
    torch.manual_seed(3)
    model = DNN([4, 6, 2])
    torch.manual_seed(3)
    linears = [nn.Linear(4, 6), nn.Linear(6, 2)]
    names = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]
    assert list(model.state_dict()) == names
    for layer, linear in zip(model.layers, linears, strict=True):
        torch.testing.assert_close(layer.state_dict()["weight"], linear.weight.detach())
        torch.testing.assert_close(layer.state_dict()["bias"], linear.bias.detach())
    unit = Perceptron(5)
    nn.Linear(5, 1).load_state_dict(unit.state_dict())
    assert unit(torch.zeros(2, 3, 5)).shape == (2, 3, 1)


@pytest.mark.parametrize("activation", ["relu", "elu", "selu"])
def test_kinks_have_torch_s_slope(activation):
    model = DNN([1, 1, 1], activation=activation, dtype=torch.float64)
    nn.init.ones_(model.layers[0].weight)
    nn.init.zeros_(model.layers[0].bias)
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(model(x).sum(), x)
    y = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(reference(model, activation)(y).sum(), y)
    torch.testing.assert_close(found, expected, **EXACT)


def test_the_step_has_no_gradient_and_torch_says_so():
    unit = Perceptron(3, activation="heaviside", dtype=torch.float64)
    x = batch(6, 3).requires_grad_()
    value = unit(x)
    assert set(value.unique().tolist()) <= {0.0, 1.0}
    assert not value.requires_grad
    with pytest.raises(RuntimeError, match="does not require grad"):
        value.sum().backward()
    deep = net("heaviside")
    deep(x).sum().backward()
    assert x.grad is None
    assert [p.grad is not None for p in deep.parameters()] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("activation", SMOOTH)
def test_second_derivatives(activation):
    model = net(activation)
    x = batch(2, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(model, (x,), rtol=1e-6, atol=1e-8)


def loss_of(model):
    return lambda parameters, x: functional_call(model, parameters, (x,)).sin().sum()


def with_both(activation, measure):
    found, expected = (measure(net(activation, gradient)) for gradient in ("derived", "autograd"))
    flat = [torch.utils._pytree.tree_leaves(value) for value in (found, expected)]
    for mine, theirs in zip(*flat, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def tangent(model):
    x = batch(2, 3)
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(model(forward_ad.make_dual(x, x.cos()))).tangent


def tangent_of_gradient(model):
    """Forward over reverse: the Hessian times a vector."""
    x = batch(2, 3).requires_grad_()
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x.detach().cos())
        found = torch.autograd.grad(model(dual).sin().sum(), [dual, *model.parameters()])
        return [forward_ad.unpack_dual(value).tangent for value in found]


TRANSFORMS = {
    "grad": lambda m: grad(loss_of(m))(dict(m.named_parameters()), batch(2, 3)),
    "vmap of grad": lambda m: vmap(grad(loss_of(m)), (None, 0))(dict(m.named_parameters()), batch(4, 3)),
    "backward through vmap": lambda m: torch.autograd.grad(vmap(m)(batch(4, 3)).sin().sum(), list(m.parameters())),
    "jacrev": lambda m: jacrev(m)(batch(2, 3)),
    "jvp": lambda m: jvp(m, (batch(2, 3),), (batch(2, 3).cos(),)),
    "hessian": lambda m: hessian(lambda x: m(x).sin().sum())(batch(2, 3)),
    "forward mode": tangent,
    "forward over reverse": tangent_of_gradient,
}


@pytest.mark.parametrize("activation", ["tanh", "relu", "silu"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_agree_with_the_plain_form(activation, transform):
    with_both(activation, TRANSFORMS[transform])


def test_the_derived_sweep_is_what_first_gradients_use(monkeypatch):
    model, calls = net(), []
    rule = model.rules[0]
    counted = rule._replace(backward=lambda *a: calls.append(1) or rule.backward(*a))
    model.rules = (counted, *model.rules[1:])
    torch.autograd.grad(model(batch(2, 3)).sum(), list(model.parameters()), create_graph=True)
    grad(loss_of(model))(dict(model.named_parameters()), batch(2, 3))
    assert len(calls) == 2


def test_gradients_that_nobody_asks_for_are_not_computed():
    model = net()
    model.layers[0].weight.requires_grad_(False)
    seen = []
    rule = model.rules[0]
    model.rules = (
        rule._replace(backward=lambda needs, *a: seen.append((needs, rule.backward(needs, *a))) or seen[-1][1]),
        *model.rules[1:],
    )
    model(batch(2, 3)).sum().backward()
    ((needs, found),) = seen
    assert needs == (False, False, True)
    assert [value is None for value in found] == [True, True, False]


def test_autocast_gives_what_linear_gives():
    model = DNN([4, 8, 2])
    x = torch.randn(5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(x)
        expected = nn.functional.linear(x, model.layers[0].weight, model.layers[0].bias)
    assert out.dtype == expected.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.slow
def test_compiles():
    model = net()
    x = batch(4, 3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), **EXACT)


def test_copies_and_pickles():
    model, x = net("gelu"), batch(2, 3)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), model(x))
        twin(x).sum().backward()


def test_loss():
    output, target = batch(3, 2).requires_grad_(), batch(3, 2).cos()
    (expected,) = torch.autograd.grad(loss(output, target), output)
    torch.testing.assert_close(loss_cotangent(output, target), expected, **EXACT)


def test_how_they_show_themselves():
    assert repr(DNN([2, 3, 1])).splitlines()[0] == "DNN("
    assert DNN([2, 3, 1], activation="relu").extra_repr() == "[2, 3, 1], activation='relu'"
    assert repr(Perceptron(3)) == "Perceptron(3, 1)"


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: DNN([3]), ValueError, r"DNN: sizes=\[3\]; allowed: two or more whole numbers"),
        (lambda: DNN([3, 0, 1]), ValueError, "1 or more"),
        (lambda: DNN([3, True]), ValueError, "whole numbers"),
        (lambda: DNN(3), TypeError, "DNN: sizes=3; allowed"),
        (lambda: DNN("34"), TypeError, "DNN: sizes='34'"),
        (lambda: DNN([3, 1], activation="tahn"), ValueError, "DNN: activation='tahn'; allowed: 'tanh'"),
        (lambda: DNN([3, 1], gradient="none"), ValueError, "DNN: gradient='none'; allowed: 'derived', 'autograd'"),
        (lambda: Perceptron(0), ValueError, r"Perceptron: sizes=\[0, 1\]"),
        (lambda: net()(torch.zeros(2, 4, dtype=torch.float64)), ValueError, r"\(2, 4\); allowed: last axis of size 3"),
        (lambda: net()(torch.zeros((), dtype=torch.float64)), ValueError, "last axis of size 3"),
        (lambda: net()(torch.zeros(2, 3)), TypeError, "x has dtype torch.float32, and weight has torch.float64"),
        (lambda: net()([1.0, 2.0, 3.0]), TypeError, "x is of type list; allowed: a Tensor"),
    ],
)
def test_what_is_refused(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()

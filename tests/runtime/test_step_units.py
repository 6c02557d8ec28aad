"""A recurrent cell of step units: run as it is, without a gradient except to its read-out."""

import pytest
import torch

from generated.rnn_hidden import RNNHidden

X = torch.randn(5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def unit(**options):
    torch.manual_seed(2)
    return RNNHidden(2, 4, nonlinearity="heaviside", **options).double()


def test_the_steps_are_those_of_a_loop():
    net = unit(output=3)
    h, bias = torch.zeros(3, 4, dtype=torch.float64), net.bias_ih_l0 + net.bias_hh_l0
    expected = []
    for x in X:
        h = (x @ net.weight_ih_l0.T + h @ net.weight_hh_l0.T + bias > 0).double()
        expected.append(h @ net.weight_ho.T + net.bias_ho)
    output, last = net(X)
    assert torch.allclose(output, torch.stack(expected), rtol=1e-14) and torch.equal(last[0], h)


@pytest.mark.parametrize("memory", ["store", "chunk"])
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_only_the_read_out_has_a_gradient(memory, gradient):
    net, x = unit(output=3, memory=memory, gradient=gradient, num_layers=2, bidirectional=True), X.requires_grad_()
    net(x)[0].square().sum().backward()
    assert {name for name, value in net.named_parameters() if value.grad is not None} == {"weight_ho", "bias_ho"}
    assert x.grad is None and not unit(memory=memory, gradient=gradient)(x)[0].requires_grad

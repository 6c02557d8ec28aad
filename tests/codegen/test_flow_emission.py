"""What is written for a flow: slopes in one pass, outputs without data in them, outputs that are copies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sympy import exp

from codegen.emission import emit
from codegen.layers.printer import LayerPrinter
from codegen.verification.loaded import load_text
from derive import Builder, Flow, Spec, dot, parameter, softplus, state, tanh
from derive.evaluator import value_of
from derive.norms import components

x, t, y = (state(name, "d") for name in "xty")
u, w = parameter("u", "d"), parameter("w", "d")
p, q = parameter("p"), parameter("q")

SLOPES = {
    "slope alone": y * (1 - y),
    "number times slope": 3 * (1 - t**2),
    "components times slope": components(x) * y * (1 - y),
    "parameter times slope": p * y * (1 - y),
    "cotangent times slope": 2 * x * (1 - t**2),
    "sum of slopes": 1 + u * (1 - t**2) + y * (1 - y),
}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_torch_s_products_of_tensors_only(name):
    generator = np.random.default_rng(3)
    values = {q: generator.uniform(0.1, 0.9, q.shape and 4) for q in (x, t, y, u, p)}
    tensors = {q.name: torch.as_tensor(value, dtype=torch.float64) for q, value in values.items()}
    found = eval(LayerPrinter()(SLOPES[name]), {"torch": torch}, tensors)
    assert np.allclose(found.numpy(), value_of(SLOPES[name], values), rtol=1e-15)


def module(value, **more):
    graph = Builder()
    system = Flow(graph.build([graph.let("y", value)]), **more)
    return load_text(emit(Spec(id="own", class_name="Own", title="a flow", system=system))).Own


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("value", [p * x + u, x * exp(u) + w, 2 * x + u])
def test_log_determinants_without_data_in_them_have_the_batch_axes(value, shape):
    flow, data = module(value)(3), torch.randn(shape)
    image, log_det = flow(data)
    assert log_det.shape == flow.inverse(image)[1].shape == flow.log_prob(data).shape == shape[:-1]
    expected = torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda v: flow(v)[0], torch.zeros(3))).logabsdet
    torch.testing.assert_close(log_det, expected.expand(shape[:-1]))
    torch.testing.assert_close(flow.inverse(image)[1], -log_det)


def test_a_constrained_parameter_may_be_another_one():
    flow = module(x + u * tanh(dot(w, x)), constrained={u: w})(3).double()
    flow(torch.ones(2, 3).double())[1].sum().backward()
    plain = module(x + w * tanh(dot(w, x)))(3).double()
    with torch.no_grad():
        plain.w.copy_(flow.w)
    plain(torch.ones(2, 3).double())[1].sum().backward()
    torch.testing.assert_close(flow.w.grad, plain.w.grad)
    assert flow.u.grad is None


def test_constrained_parameters_may_be_equal():
    flow = module(x + (p + q) * tanh(x), constrained={p: softplus(q), q: softplus(q)})(3).double()
    flow(torch.ones(2, 3).double())[1].sum().backward()
    assert flow.p.grad is None and flow.q.grad is not None

"""The continuous flow: closed forms, its two traces, gradients to times, and what it refuses."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import distributions, nn
from torch.func import jacrev, vmap

from codegen.runtime.continuous_flows import AugmentedField
from generated.continuous_flow import ContinuousFlow

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EXACT = {"rtol": 1e-11, "atol": 1e-12}


class Net(nn.Module):
    """A field of time and state."""

    def __init__(self, dim, hidden=6):
        super().__init__()
        self.lift, self.drop = nn.Linear(dim + 1, hidden), nn.Linear(hidden, dim)

    def forward(self, t, z):
        t = torch.as_tensor(t, dtype=z.dtype).expand(*z.shape[:-1], 1)
        return self.drop(torch.tanh(self.lift(torch.cat((z, t), -1))))


class Linear(nn.Module):
    """z' = A z: the flow is exp(A t), its log-determinant t tr A."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, z):
        return z @ self.matrix.mT


def net(dim=3):
    torch.manual_seed(4)
    return Net(dim).double()


def adaptive(dim, field, **options):
    return ContinuousFlow(dim, field, solver="adaptive", **options)


def batch(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_a_linear_field_has_the_exponential_as_its_flow():
    matrix = 0.5 * batch(3, 3)
    flow, x = ContinuousFlow(3, Linear(matrix), t0=0.0, t1=1.5, steps=80), batch(5, 3)
    y, log_det = flow(x)
    torch.testing.assert_close(y, x @ torch.linalg.matrix_exp(1.5 * matrix).mT, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(log_det, (1.5 * matrix.trace()).expand(5), rtol=1e-12, atol=1e-12)


def test_a_planar_field_has_the_trace_u_psi():
    """z' = u tanh(w . z + b): N planar maps with u/N converge to it with order 1."""
    u, w, x = batch(3), batch(3).cos(), batch(4, 3)

    class Planar(nn.Module):
        def forward(self, z):
            return u * torch.tanh((z * w).sum(-1, keepdim=True) + 0.3)

    y, log_det = ContinuousFlow(3, Planar(), steps=64)(x)
    gaps = []
    for layers in (64, 128, 256):
        z, total = x, torch.zeros(4).double()
        for _ in range(layers):
            t = torch.tanh((z * w).sum(-1, keepdim=True) + 0.3)
            total = total + torch.log(1 + (1 - t.squeeze(-1) ** 2) * (u @ w) / layers)
            z = z + u * t / layers
        gaps.append(max(float((z - y).abs().max()), float((total - log_det).abs().max())))
    rates = [math.log2(a / b) for a, b in itertools.pairwise(gaps)]
    assert all(abs(rate - 1) < 0.1 for rate in rates)


@pytest.mark.parametrize("dim", [2, 3, 5])
def test_log_det_against_slogdet_of_the_jacobian(dim):
    gaps = []
    for steps in (8, 64):
        flow, x = ContinuousFlow(dim, net(dim), steps=steps), batch(2, dim)
        jacobians = vmap(jacrev(lambda v, flow=flow: flow(v)[0]))(x)
        gaps.append(float((flow(x)[1] - torch.linalg.slogdet(jacobians).logabsdet).detach().abs().max()))
    assert gaps[1] < 1e-8 and math.log2(gaps[0] / gaps[1]) > 3 * 3.8


def test_adaptive_steps_of_a_linear_field():
    """Every shipped pair: the gap to the exponential falls with the tolerance, whose size it has."""
    matrix, x = 0.5 * batch(3, 3), batch(5, 3)
    exact = x @ torch.linalg.matrix_exp(1.5 * matrix).mT
    for method in ContinuousFlow.adaptive.methods:
        gaps = []
        for rtol in (1e-4, 1e-8):
            flow = adaptive(3, Linear(matrix), t1=1.5, method=method, rtol=rtol, atol=rtol)
            y, log_det = flow(x)
            gaps.append(float((y - exact).detach().abs().max()))
            torch.testing.assert_close(log_det, (1.5 * matrix.trace()).expand(5), rtol=1e-12, atol=1e-12)
        assert gaps[0] < 1e-3 and gaps[1] < 1e-7 and gaps[1] < max(gaps[0] / 100, 1e-12), method


@pytest.mark.parametrize("dim", [2, 3, 5])
@pytest.mark.parametrize("method", ["dopri5", "dop853"])
def test_log_det_of_adaptive_steps_against_slogdet_of_the_jacobian(dim, method):
    x, gaps = batch(2, dim), []
    for rtol in (1e-5, 1e-12):
        flow = adaptive(dim, net(dim), method=method, rtol=rtol, atol=rtol)
        jacobians = vmap(jacrev(lambda v, flow=flow: flow(v)[0]))(x)
        gaps.append(float((flow(x)[1] - torch.linalg.slogdet(jacobians).logabsdet).detach().abs().max()))
        assert flow.stats.accepted > 0 and flow.stats.evaluations > 6 * flow.stats.accepted
    assert gaps[1] < 1e-9 and gaps[1] < gaps[0] / 100


def test_adaptive_steps_go_back_and_agree_with_fixed_ones():
    x, ends = batch(4, 3), {"t0": 0.2, "t1": 1.0}
    flow = adaptive(3, net(), rtol=1e-11, atol=1e-12, **ends)
    y, log_det = flow(x)
    torch.testing.assert_close(flow.inverse(y)[0], x, rtol=1e-9, atol=1e-9)
    for mine, fixed in zip((y, log_det), ContinuousFlow(3, net(), steps=200, **ends)(x), strict=True):
        torch.testing.assert_close(mine, fixed, rtol=1e-9, atol=1e-9)


def test_a_plain_function_that_hides_parameters():
    """The field is wrapped, and what it hides is looked for all the same."""
    weight, x = torch.ones(3, dtype=torch.float64, requires_grad=True), batch(2, 3)
    with pytest.raises(RuntimeError, match="a module that has these tensors as its parameters"):
        adaptive(3, lambda z: weight * z)(x)
    _, log_det = adaptive(3, lambda z: weight * z, gradient="autograd")(x)
    (found,) = torch.autograd.grad(log_det.sum(), weight)
    torch.testing.assert_close(found, 2 * torch.ones_like(found), rtol=1e-9, atol=1e-9)


def test_the_inverse_goes_back():
    flow, x = ContinuousFlow(3, net(), t0=0.2, t1=1.0, steps=100), batch(4, 3)
    y, log_det = flow(x)
    back, log_det_back = flow.inverse(y)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-9, atol=1e-10)


def test_the_mean_over_all_signs_is_the_trace():
    """E[e . J e] over all 2^d sign vectors is tr J without error."""
    field, t, s = net(), torch.tensor(0.4).double(), batch(5, 4)
    exact = AugmentedField("own", field, None)(t, s)
    signs = [torch.tensor(e).double().expand(5, 3) for e in itertools.product((-1.0, 1.0), repeat=3)]
    drawn = torch.stack([AugmentedField("own", field, e)(t, s) for e in signs])
    torch.testing.assert_close(drawn.mean(0), exact, rtol=1e-13, atol=1e-13)
    assert float(drawn[..., -1].detach().std(0).min()) > 1e-3


def test_drawn_probes_have_the_moments_of_random_signs():
    """Of a linear field the estimate is e . A e on [0, 1]: its mean is tr A, its variance half the sum of squares of
    A + A^T off the diagonal."""
    matrix = torch.randn(3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.manual_seed(6)
    count = 20_000
    log_det = ContinuousFlow(3, lambda x: x @ matrix.T, steps=2, trace="hutchinson")(torch.zeros(count, 3).double())[1]
    around = (matrix + matrix.T - 2 * matrix.diag().diag()).square().sum() / 2
    assert abs(log_det.mean() - matrix.trace()) <= 5 * (around / count).sqrt()
    assert abs(log_det.var() - around) <= 0.05 * around


def test_one_probe_serves_a_whole_solution():
    """With the probe fixed the estimate is a deterministic integral: it converges at the order of the scheme."""
    x, found = batch(4, 3), []
    for steps in (8, 16, 32, 256):
        torch.manual_seed(9)
        found.append(ContinuousFlow(3, net(), steps=steps, trace="hutchinson")(x)[1])
    gaps = [float((value - found[-1]).detach().abs().max()) for value in found[:-1]]
    assert all(math.log2(a / b) > 3.7 for a, b in itertools.pairwise(gaps))


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("steps", [{"steps": 3}, {"solver": "adaptive", "rtol": 1e-4}], ids=["fixed", "adaptive"])
def test_gradients_are_those_of_the_plain_form(trace, memory, steps):
    found = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(4)
        field = Net(3).double()
        times = [torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (0.1, 0.9)]
        flow = ContinuousFlow(
            3, field, t0=times[0], t1=times[1], **steps, trace=trace, memory=memory, gradient=gradient
        )
        x = batch(2, 3).requires_grad_()
        torch.manual_seed(8)
        loss = flow.log_prob(x).sum()
        found.append(torch.autograd.grad(loss, [x, *times, *field.parameters()], create_graph=True))
        found[-1] += torch.autograd.grad(sum((g * g).sum() for g in found[-1]), [x, *field.parameters()])
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain, **EXACT)


def test_density_samples_and_the_view_for_torch_distributions():
    flow, x = ContinuousFlow(2, net(2), steps=20), batch(5, 2)
    base = distributions.Independent(distributions.Normal(torch.zeros(2).double(), torch.ones(2).double()), 1)
    density = distributions.TransformedDistribution(base, [flow.as_transform().inv])
    torch.testing.assert_close(density.log_prob(x), flow.log_prob(x), **EXACT)
    assert flow.sample(6, torch.Generator().manual_seed(1)).shape == (6, 2)


def test_it_learns():
    """Two bumps on a line: the likelihood rises well above that of the best Gaussian."""
    torch.manual_seed(0)
    x = torch.cat((torch.randn(100, 1) * 0.2 - 1.5, torch.randn(100, 1) * 0.2 + 1.5))
    flow = ContinuousFlow(1, Net(1, 16), steps=8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -flow.log_prob(x).mean()
        loss.backward()
        optimizer.step()
    gaussian = 0.5 * math.log(2 * math.pi * math.e * float(x.var()))
    assert float(loss.detach()) < gaussian - 0.4


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: ContinuousFlow(2, net(2), t0=1.0, t1=1.0), ValueError, "t0 = t1 = 1; allowed: two different times"),
        (lambda: ContinuousFlow(2, net(2), steps=0), ValueError, "steps=0; allowed: a whole number, 1 or more"),
        (lambda: ContinuousFlow(2, net(2), trace="all"), ValueError, "trace='all'; allowed: 'exact', 'hutchinson'"),
        (lambda: ContinuousFlow(2, net(2), solver="euler"), ValueError, "solver='euler'; allowed: 'fixed', 'adaptive'"),
        (lambda: ContinuousFlow(2, net(2), rtol=1e-3), ValueError, "rtol with solver='fixed'.*or solver='adaptive'"),
        (lambda: ContinuousFlow(2, net(2), atol=1e-3, method="bs32"), ValueError, "method, atol with solver='fixed'"),
        (lambda: adaptive(2, net(2), rtol=0.0), ValueError, "rtol=0.0; allowed: a number above 0"),
        (lambda: adaptive(2, net(2), method="dopri"), ValueError, "did you mean 'dopri5'"),
        (lambda: adaptive(2, net(2), memory="checkpoint"), ValueError, "allowed: 'recompute', 'store'"),
        (lambda: adaptive(2, net(2), max_steps=3)(batch(3, 2)), RuntimeError, "allowed: max_steps=3"),
        (lambda: adaptive(2, lambda z: z[..., :1])(batch(3, 2)), RuntimeError, r"returned shape \(3, 1\); allowed"),
        (lambda: ContinuousFlow(2, 3), TypeError, "field is 3"),
        (lambda: ContinuousFlow(2, net(2), memory="none"), ValueError, "memory='none'"),
        (
            lambda: ContinuousFlow(2, lambda z: z[..., :1])(batch(3, 2)),
            RuntimeError,
            r"returned shape \(3, 1\); allowed",
        ),
        (lambda: ContinuousFlow(2, net(2))(batch(3, 3)), ValueError, "last axis of size 2"),
        (lambda: ContinuousFlow(2, lambda z: 1e200 * z**3)(batch(3, 2)), Exception, "not finite"),
    ],
)
def test_what_is_refused(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()

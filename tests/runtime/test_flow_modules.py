"""Flow modules: their contract, the view for torch.distributions, transforms, large numbers, and what they refuse."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import distributions, nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

from generated.affine_coupling import AffineCoupling
from generated.nice import NICE
from generated.planar_flow import PlanarFlow
from generated.radial_flow import RadialFlow

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EXACT = {"rtol": 1e-11, "atol": 1e-12}
WHICH = ["planar", "planar, free", "radial", "radial, free", "affine", "nice"]


class Scale(nn.Module):
    """exp of a small net: never zero."""

    def __init__(self, size_in, size_out):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(size_in, 7), nn.Tanh(), nn.Linear(7, size_out))

    def forward(self, x):
        return torch.exp(self.net(x))


def made(which, dim=4, dtype=torch.float64, **more):
    torch.manual_seed(5)
    split = dim // 2
    scale, shift = Scale(split, dim - split), nn.Linear(split, dim - split)
    kinds = {
        "planar": lambda: PlanarFlow(dim, **more),
        "planar, free": lambda: PlanarFlow(dim, constrain=False, **more),
        "radial": lambda: RadialFlow(dim, **more),
        "radial, free": lambda: RadialFlow(dim, constrain=False, **more),
        "affine": lambda: AffineCoupling(dim, scale, shift, **more),
        "nice": lambda: NICE(dim, shift, **more),
    }
    return kinds[which]().to(dtype)


def batch(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("shape", [(4,), (6, 4), (2, 3, 4), (0, 4)])
def test_shapes_and_round_trip(which, shape):
    flow, x = made(which), batch(*shape)
    y, log_det = flow(x)
    back, log_det_back = flow.inverse(y)
    assert (
        y.shape == back.shape == shape and log_det.shape == log_det_back.shape == flow.log_prob(x).shape == shape[:-1]
    )
    torch.testing.assert_close(back, x, **EXACT)
    torch.testing.assert_close(log_det_back, -log_det, **EXACT)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("dim", [2, 3, 5])
def test_log_det_is_slogdet_of_the_jacobian(which, dim):
    flow, x = made(which, dim), batch(5, dim)
    jacobians = vmap(jacrev(lambda v: flow(v)[0]))(x)
    torch.testing.assert_close(flow(x)[1], torch.linalg.slogdet(jacobians).logabsdet, **EXACT)


@pytest.mark.parametrize("which", WHICH)
def test_gradients_are_those_of_the_plain_form(which):
    x = batch(3, 4)
    found = []
    for gradient in ("derived", "autograd"):
        flow = made(which, gradient=gradient)
        leaf = x.clone().requires_grad_()
        y, log_det = flow(leaf)
        z, log_det_back = flow.inverse(leaf.cos())
        loss = y.sin().sum() + (log_det * leaf[:, 0]).sum() + z.cos().sum() + (log_det_back**2).sum()
        found.append(torch.autograd.grad(loss, [leaf, *flow.parameters()], create_graph=True))
        second = torch.autograd.grad(sum(g.sin().sum() for g in found[-1]), [leaf, *flow.parameters()])
        found[-1] = (*found[-1], *second)
    for mine, plain in zip(*found, strict=True):
        torch.testing.assert_close(mine, plain, **EXACT)


def loss_of(flow):
    def loss(parameters, x):
        y, log_det = functional_call(flow, parameters, (x,))
        return y.sin().sum() + log_det.sum()

    return loss


TRANSFORMS = {
    "grad": lambda f: grad(loss_of(f))(dict(f.named_parameters()), batch(2, 4)),
    "vmap of grad": lambda f: vmap(grad(loss_of(f)), (None, 0))(dict(f.named_parameters()), batch(3, 4)),
    "jacobian of the inverse": lambda f: jacrev(lambda v: f.inverse(v)[0])(batch(2, 4)),
    "vmap of the inverse": lambda f: vmap(f.inverse)(batch(3, 4)),
    "jvp of the inverse": lambda f: jvp(lambda v: f.inverse(v)[0], (batch(2, 4),), (batch(2, 4).cos(),)),
    "hessian": lambda f: hessian(lambda x: f.log_prob(x).sum())(batch(2, 4)),
}


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms_agree_with_the_plain_form(which, transform):
    found, expected = (TRANSFORMS[transform](made(which, gradient=gradient)) for gradient in ("derived", "autograd"))
    flat = [torch.utils._pytree.tree_leaves(value) for value in (found, expected)]
    for mine, plain in zip(*flat, strict=True):
        torch.testing.assert_close(mine, plain, **EXACT)


@pytest.mark.parametrize("which", ["planar", "radial", "affine"])
def test_ensembles_of_parameters_are_mapped(which):
    flows = []
    for seed in range(3):
        flows.append(made(which))
        torch.manual_seed(seed)
        for parameter in flows[-1].parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)
    stacked = {name: torch.stack([f.state_dict()[name] for f in flows]) for name in flows[0].state_dict()}
    y = batch(2, 4)

    def pull(parameters):
        return functional_call(Inverse(flows[0]), {f"flow.{name}": p for name, p in parameters.items()}, (y,))

    found = vmap(pull)(stacked)
    for place, flow in enumerate(flows):
        for mine, one in zip(found, flow.inverse(y), strict=True):
            torch.testing.assert_close(mine[place], one, **EXACT)


class Inverse(nn.Module):
    """The inverse as a module of its own."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, y):
        return self.flow.inverse(y)


@pytest.mark.parametrize("which", WHICH)
def test_the_view_for_torch_distributions(which):
    flow, x = made(which), batch(6, 4)
    base = distributions.Independent(distributions.Normal(torch.zeros(4).double(), torch.ones(4).double()), 1)
    density = distributions.TransformedDistribution(base, [flow.as_transform().inv])
    torch.testing.assert_close(density.log_prob(x), flow.log_prob(x), **EXACT)
    torch.manual_seed(7)
    found = density.sample((3,))
    generator = torch.Generator().manual_seed(7)
    torch.testing.assert_close(found, flow.sample(3, generator), **EXACT)
    view = flow.as_transform()
    y = view(x)
    torch.testing.assert_close(view.inv(y), x, **EXACT)
    torch.testing.assert_close(view.log_abs_det_jacobian(x, y), flow(x)[1], **EXACT)
    cached = view.with_cache(1)
    assert cached.inv(cached(x)) is x


def test_flows_are_links_of_a_chain():
    """torch's own ComposeTransform adds the log-determinants; the density is that of the hand-made sum."""
    flows, x = [made(which) for which in WHICH], batch(5, 4)
    chain = distributions.ComposeTransform([flow.as_transform() for flow in flows])
    base = distributions.Independent(distributions.Normal(torch.zeros(4).double(), torch.ones(4).double()), 1)
    found = distributions.TransformedDistribution(base, [chain.inv]).log_prob(x)
    y, total = x, torch.zeros(5).double()
    for flow in flows:
        y, log_det = flow(y)
        total = total + log_det
    torch.testing.assert_close(found, base.log_prob(y) + total, **EXACT)
    torch.testing.assert_close(chain.inv(chain(x)), x, **EXACT)


@pytest.mark.parametrize("which", WHICH)
def test_densities(which):
    flow, x = made(which), batch(5, 4)
    y, log_det = flow(x)
    expected = distributions.Normal(0.0, 1.0).log_prob(y).sum(-1) + log_det
    torch.testing.assert_close(flow.log_prob(x), expected, **EXACT)
    base = distributions.Independent(distributions.Laplace(torch.zeros(4).double(), torch.ones(4).double()), 1)
    other = made(which, base=base)
    torch.testing.assert_close(other.log_prob(x), base.log_prob(y) + log_det, **EXACT)
    assert other.sample(3).shape == (3, 4)


@pytest.mark.parametrize("which", WHICH)
def test_samples_have_the_density_s_mean(which):
    """Of a bounded function, by importance: E_base[g(x)] against samples, within five standard errors."""
    flow = made(which, 2)
    drawn = flow.sample(20000, torch.Generator().manual_seed(3))
    values = torch.tanh(drawn).sum(-1)
    side = torch.linspace(-12, 12, 601, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        weights = flow.log_prob(grid).exp() * (side[1] - side[0]) ** 2
    expected = (weights * torch.tanh(grid).sum(-1)).sum()
    assert abs(weights.sum() - 1) < 1e-2
    assert abs(values.mean() - expected) < 5 * values.std() / math.sqrt(len(values)) + 2 * abs(weights.sum() - 1)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("size", [1e8, 1e15, 1e25])
def test_large_arguments_in_float32(which, size):
    flow = made(which, dtype=torch.float32)
    x = (batch(3, 4).sign() * size).float()
    if which == "affine":
        x[..., :2] = 1.0  # the scale is an exponential of these
    leaf = x.clone().requires_grad_()
    y, log_det = flow(leaf)
    back, _ = flow.inverse(y)
    assert torch.isfinite(y).all() and torch.isfinite(log_det).all()
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5 * size)
    found = torch.autograd.grad((y / size).sum() + log_det.sum() + (back / size).sum(), [leaf, *flow.parameters()])
    assert all(torch.isfinite(value).all() for value in found)


@pytest.mark.parametrize("size", [30.0, 100.0, 1000.0])
def test_large_raw_parameters_do_not_overflow(size):
    """log(1 + exp(s)) overflows in float32 above 88."""
    flow = PlanarFlow(3)
    with torch.no_grad():
        flow.u.fill_(size)
        flow.w.fill_(1.0)
    y, log_det = flow(batch(5, 3).float())
    assert torch.isfinite(y).all() and torch.isfinite(log_det).all()
    with torch.no_grad():
        flow.u.fill_(-size)
    x = batch(5, 3).float()
    torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 40.0])
def test_constrained_parameters_always_give_an_invertible_map(scale):
    for seed in range(20):
        torch.manual_seed(seed)
        for flow in (PlanarFlow(3, dtype=torch.float64), RadialFlow(3, dtype=torch.float64)):
            for parameter in flow.parameters():
                nn.init.normal_(parameter, std=scale)
            x = 3 * batch(8, 3)
            _, log_det = flow(x)
            assert torch.isfinite(log_det).all()
            signs = torch.linalg.slogdet(vmap(jacrev(lambda v, flow=flow: flow(v)[0]))(x)).sign
            assert (signs >= 0).all()


def test_the_centre_of_a_radial_flow_has_a_gradient():
    flow = made("radial", 3)
    x = flow.z0.detach().expand(2, 3).clone().requires_grad_()
    y, log_det = flow(x)
    (found,) = torch.autograd.grad(y.sum() + log_det.sum(), x)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(flow.inverse(y)[0], x, **EXACT)


def test_parameters_and_options():
    assert [name for name, _ in PlanarFlow(3).named_parameters()] == ["b", "u", "w"]
    assert {name: tuple(p.shape) for name, p in RadialFlow(3).named_parameters()} == {
        "alpha": (),
        "beta": (),
        "z0": (3,),
    }
    assert repr(PlanarFlow(3, constrain=False)) == "PlanarFlow(3, constrain=False)"
    assert repr(made("nice", 4)).startswith("NICE(\n  4")
    flow = AffineCoupling(5, Scale(3, 2), nn.Linear(3, 2), split=3)
    assert flow(torch.ones(2, 5))[0].shape == (2, 5)
    low = PlanarFlow(3, dtype=torch.float64)
    assert low(torch.zeros(1, 3, dtype=torch.float64))[0].dtype == torch.float64


@pytest.mark.parametrize("which", WHICH)
def test_copies_pickles_and_compiled_forms(which):
    flow, x = made(which), batch(3, 4)
    for twin in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        torch.testing.assert_close(twin(x)[0], flow(x)[0], rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("which", WHICH)
def test_compiles(which):
    flow, x = made(which), batch(3, 4)
    compiled = torch.compile(flow, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), flow(x), **EXACT)


def test_autocast_keeps_densities_precise():
    flow, x = made("affine", dtype=torch.float32), batch(3, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, log_det = flow(x)
        log_det.sum().backward()
    assert y.dtype == log_det.dtype == torch.float32
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in flow.parameters())


def violated(constrain, **values):
    flow = RadialFlow(2, constrain=constrain)
    with torch.no_grad():
        for name, value in values.items():
            getattr(flow, name).fill_(value)
    return flow


def without_w():
    flow = PlanarFlow(2)
    nn.init.zeros_(flow.w)
    return flow


def zero_scale():
    return AffineCoupling(4, lambda x: x * torch.tensor([1.0, 0.0]), nn.Linear(2, 2))


def broken():
    net = nn.Linear(2, 2)
    nn.init.constant_(net.weight, torch.nan)
    return net


def broken_planar():
    flow = PlanarFlow(2)
    with torch.no_grad():
        flow.u[0] = torch.nan
    return flow


def infinite():
    x = torch.ones(3, 4)
    x[1, 3] = torch.inf
    return x


@pytest.mark.parametrize(
    ("make", "error", "complaint"),
    [
        (lambda: PlanarFlow(0), ValueError, "PlanarFlow: dim=0; allowed: a whole number, 1 or more"),
        (lambda: PlanarFlow(2.0), ValueError, "PlanarFlow: dim=2.0"),
        (lambda: NICE(1, nn.Identity()), ValueError, "NICE: dim=1; allowed: a whole number, 2 or more"),
        (lambda: NICE(3, nn.Identity(), split=3), ValueError, "NICE: split=3; allowed: a whole number from 1 to 2"),
        (lambda: NICE(3, 4), TypeError, "NICE: shift is 4; allowed: an nn.Module or a function"),
        (lambda: PlanarFlow(2, gradient="none"), ValueError, "gradient='none'; allowed: 'derived', 'autograd'"),
        (lambda: PlanarFlow(2, base=3), TypeError, "PlanarFlow: base=3; allowed: None for"),
        (
            lambda: PlanarFlow(2, base=distributions.Normal(torch.zeros(2), torch.ones(2))),
            ValueError,
            r"base has event_shape \(\); allowed: \(2,\)",
        ),
        (lambda: PlanarFlow(2)(torch.zeros(3)), ValueError, r"x has shape \(3,\); allowed: last axis of size 2"),
        (lambda: PlanarFlow(2).inverse(torch.zeros(3)), ValueError, r"y has shape \(3,\)"),
        (lambda: PlanarFlow(2)([0.0, 0.0]), TypeError, "x is of type list; allowed: a Tensor"),
        (lambda: PlanarFlow(2)(torch.zeros(1, 2).double()), TypeError, "x has dtype torch.float64, and b has"),
        (lambda: NICE(2, nn.Identity())(torch.zeros(2).long()), TypeError, "dtype torch.int64; allowed: real floating"),
        (lambda: PlanarFlow(2).sample(-1), ValueError, "n=-1; allowed: a whole number, 0 or more"),
        (lambda: violated(False, alpha=-0.5)(torch.zeros(1, 2)), ValueError, "alpha = -0.5; allowed: above 0"),
        (
            lambda: violated(False, alpha=0.5, beta=-0.75)(torch.zeros(1, 2)),
            ValueError,
            r"alpha \+ beta = -0.25; allowed: above 0, where the map is invertible, and with constrain=True",
        ),
        (lambda: without_w()(torch.zeros(1, 2)), ValueError, r"not finite in 1 of 1 samples.*no zero in dot\(w, w\)"),
        (
            lambda: zero_scale()(torch.ones(3, 4)),
            ValueError,
            r"log\|det dy/dx\| is not finite in 3 of 3 samples; .*no zero in s = scale\(x_1\)",
        ),
        (lambda: zero_scale().inverse(torch.ones(3, 4)), ValueError, r"log\|det dx/dy\| is not finite"),
        (
            lambda: NICE(4, nn.Linear(2, 3))(torch.ones(5, 4)),
            ValueError,
            r"NICE: shift was given \(5, 2\) and returned \(5, 3\); allowed: \(5, 2\)",
        ),
        (lambda: PlanarFlow(2)(torch.full((1, 2), torch.nan)), ValueError, "x is not finite in 1 of 1 samples"),
        (lambda: broken_planar()(torch.ones(1, 2)), ValueError, "PlanarFlow: u is not finite in 1 of 2 numbers"),
        (
            lambda: NICE(4, broken())(torch.ones(3, 4)),
            ValueError,
            "NICE: the value of shift is not finite in 3 of 3 samples; allowed: finite numbers",
        ),
        (lambda: NICE(4, broken()).inverse(torch.ones(3, 4)), ValueError, "the value of shift is not finite"),
        (
            lambda: AffineCoupling(4, broken(), nn.Linear(2, 2))(torch.ones(3, 4)),
            ValueError,
            "the value of scale is not finite in 3 of 3 samples",
        ),
        (lambda: NICE(4, nn.Linear(2, 2))(infinite()), ValueError, "NICE: x is not finite in 1 of 3 samples"),
        (lambda: NICE(4, nn.Linear(2, 2)).inverse(infinite()), ValueError, "NICE: y is not finite in 1 of 3 samples"),
        (
            lambda: NICE(4, torch.clone)(torch.full((3, 4), 3e38)),
            ValueError,
            "NICE: the image of x is not finite in 3 of 3 samples; .*values that fit into torch.float32",
        ),
        (
            lambda: NICE(4, nn.Linear(2, 2).double())(torch.ones(3, 4)),
            TypeError,
            "NICE: shift has parameters of torch.float64 and was given vectors of torch.float32; allowed: the same",
        ),
    ],
)
def test_what_is_refused(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()


def test_nothing_is_judged_under_transforms_and_a_refusal_leaves_no_trace():
    flow = NICE(4, broken())
    assert vmap(flow)(torch.ones(3, 4))[0].isnan().any()
    with pytest.raises(ValueError, match="the value of shift"):
        flow(torch.ones(3, 4))
    nn.init.ones_(flow.shift.weight)
    assert flow(torch.ones(3, 4))[0].isfinite().all()


def test_a_sum_that_overflows_is_no_reason_to_refuse():
    x = torch.full((64, 4), 3e38)
    assert NICE(4, torch.zeros_like)(x)[0].equal(x)


def test_an_error_of_a_network_s_own_is_passed_on():
    def fails(x):
        raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        NICE(4, fails)(torch.ones(3, 4))


def test_a_generator_belongs_to_the_normal_base():
    base = distributions.Independent(distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    with pytest.raises(ValueError, match="allowed with a base of its own: None"):
        PlanarFlow(2, base=base).sample(2, torch.Generator())

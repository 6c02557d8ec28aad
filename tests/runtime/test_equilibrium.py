"""DEQ: derivatives of every order against dense formulas, solvers on affine maps, samples, blocks with states."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from functools import partial
from itertools import pairwise

import mpmath
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev, vmap

import generated.deq as emitted
from codegen.runtime import fixed_point_solvers
from codegen.runtime.fixed_point_solvers import FixedPointRules, iterate
from codegen.verification.loaded import load_text
from generated.deq import DEQ, EquilibriumError, EquilibriumWarning
from tests.verification.mutation import applied, functions, mutants

SOLVERS = ("broyden", "anderson", "picard")
FORMS = ("derived", "autograd")
SIZE, BATCH = 6, 3


class Dense(nn.Module):
    """tanh(W z + U x + b), then whatever else."""

    def __init__(self, size=SIZE, reach=0.5, last=None):
        super().__init__()
        self.W = nn.Parameter(reach * torch.randn(size, size) / size**0.5)
        self.U = nn.Parameter(torch.randn(size, size) / size**0.5)
        self.b = nn.Parameter(torch.randn(size))
        self.last = last or nn.Identity()

    def forward(self, z, x):
        return self.last(torch.tanh(z @ self.W.mT + x @ self.U.mT + self.b))


class Affine(nn.Module):
    def __init__(self, matrix):
        super().__init__()
        self.J = nn.Parameter(matrix)

    def forward(self, z, x):
        return z @ self.J.mT + x


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net(size=SIZE, reach=0.5, last=None, **options):
    return DEQ(Dense(size, reach, last), **{"tol": 1e-13, **options}).double()


def data(*shape):
    return torch.randn(*(shape or (BATCH, SIZE)), dtype=torch.float64)


def pure(module):
    names = [name for name, _ in module.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in module.parameters()]
    return lambda x, *given: functional_call(module, dict(zip(names, given, strict=True)), (x,)), values


def orders(module, x):
    """Value, first gradients, and gradients of a function of these, in the input and all parameters."""
    torch.manual_seed(7)
    x = x.clone().requires_grad_()
    tensors = [x, *(p for p in module.parameters() if p.requires_grad)]
    z = module(x)
    first = torch.autograd.grad(z.sin().sum(), tensors, create_graph=True)
    second = torch.autograd.grad(sum((g**2).sum() for g in first), tensors, allow_unused=True)
    return [z], first, [g for g in second if g is not None]


def gap(left, right):
    return max(float((a - b).detach().norm() / b.detach().norm().clamp_min(1e-30))
               for a, b in zip(left, right, strict=True))  # fmt: skip


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_gradient_is_that_of_a_dense_solve(solver):
    module, x = net(solver=solver, tol=1e-12, reach=0.9), data().requires_grad_()
    z = module(x)
    found = torch.autograd.grad(z.sin().sum(), [x, *module.parameters()])
    assert bool(module.info.converged.all()) and float(module.info.residual.max()) <= 1e-12
    at = z.detach()
    jacobians = [torch.autograd.functional.jacobian(lambda v, n=n: module.cell(v, x[n]), at[n]) for n in range(BATCH)]
    multiplier = torch.linalg.solve(torch.eye(SIZE).double() - torch.stack(jacobians).mT, at.cos())
    expected = torch.autograd.grad(module.cell(at, x), [x, *module.parameters()], multiplier)
    assert gap(found, expected) < 1e-11
    assert module.info.gradient_residual <= 1e-12


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("form", FORMS)
def test_derivatives_of_all_kinds_agree_with_differences(solver, form):
    function, parameters = pure(net(size=2, solver=solver, gradient=form, tol=1e-14))
    given = (data(2, 2).requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(function, given, rtol=1e-6, atol=1e-8)
    assert torch.autograd.gradgradcheck(function, given, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own forward mode loads what torch deprecates
@pytest.mark.parametrize("form", FORMS)
def test_transforms_of_torch_hold(form):
    function, (W, U, b) = pure(net(gradient=form, tol=1e-14))
    held, x = (U.detach(), b.detach()), data()

    def scalar(x, W):
        return function(x, W, *held).sin().sum()

    W = W.detach()
    assert gap([hessian(scalar)(x, W)], [jacrev(jacrev(scalar))(x, W)]) < 1e-11
    whole = grad(scalar, argnums=1)(x, W)
    per_sample = vmap(grad(lambda one, W: scalar(one[None], W), argnums=1), (0, None))(x, W)
    assert gap([per_sample.sum(0)], [whole]) < 1e-12
    ensemble = torch.stack((W, 0.7 * W))
    found = vmap(grad(scalar, argnums=1), (None, 0))(x, ensemble)
    assert gap(found, [grad(scalar, argnums=1)(x, one) for one in ensemble]) < 1e-12
    _, moved = torch.func.jvp(lambda x: function(x, W, *held), (x,), (torch.ones_like(x),))
    assert gap([moved], [jacrev(lambda x: function(x, W, *held))(x).sum((2, 3))]) < 1e-11


def test_third_derivatives_of_a_scalar_equilibrium_by_another_route():
    """z = cos(a z) + x at 40 digits, differentiated by mpmath."""

    class Cosine(nn.Module):
        def forward(self, z, x):
            return torch.cos(0.6 * z) + x

    x = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    value = DEQ(Cosine(), tol=1e-15)(x)
    with mpmath.workdps(40):
        a, at = mpmath.mpf(0.6), mpmath.mpf(0.3)
        root = partial(lambda s: mpmath.findroot(lambda z: mpmath.cos(a * z) + s - z, 1))
        expected = [mpmath.diff(root, at, order, h=mpmath.mpf("1e-9")) for order in range(4)]
    for order, exact in enumerate(expected):
        assert float(value.detach()) == pytest.approx(float(exact), rel=1e-12 if order < 3 else 1e-7), order
        (value,) = torch.autograd.grad(value, x, create_graph=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13, 20])
def test_broyden_ends_on_affine_maps_after_twice_their_dimension(size):
    """Maps of spectral radius 2 or so: plain iteration diverges."""
    for seed in range(10):
        torch.manual_seed(seed)
        module = DEQ(Affine(2 * data(size, size) / size**0.5), tol=1e-10)
        x = data(5, size)
        z = module(x)
        exact = torch.linalg.solve(torch.eye(size).double() - module.cell.J, x.mT).mT
        assert int(module.info.iterations.max()) <= 2 * size
        assert bool(module.info.converged.all()) and gap([z], [exact]) < 1e-6


def test_an_update_whose_denominator_vanishes_is_left_out():
    """s^T J s = |s|^2 for the first step s of the first sample, so that s^T B y is zero there."""
    matrix = torch.tensor([[1.0, 0.5], [-0.5, 0.2]]).double()
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.25], [4.0, 8.0]], dtype=torch.float64)
    module = DEQ(Affine(matrix), tol=1e-12)
    z = module(x)
    assert bool(module.info.converged.all())
    assert gap([z], [torch.linalg.solve(torch.eye(2).double() - matrix, x.mT).mT]) < 1e-10


def right(module):
    """Whether the first step is a plain one, and full steps come to the fixed point of an affine map of dimension 5.

    The latter with two batch axes, so that sums over another axis show.
    """
    torch.manual_seed(1)
    once, deq = (module.DEQ(Affine(reach * data(5, 5)), max_iter=steps) for reach, steps in ((0.1, 1), (1, 10)))
    x = data(2, 3, 5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", module.EquilibriumWarning)
            first = once(x[0])
            z = vmap(deq)(x)
    except (RuntimeError, ValueError, IndexError):
        return False
    return gap([first], [x[0]]) < 1e-14 and gap([deq.cell(z, x)], [z]) < 1e-8


def test_every_mutant_of_what_is_derived_for_the_solvers_is_caught():
    with open(emitted.__file__, encoding="utf-8") as file:
        text = file.read()
    module = load_text(text)
    found = [m for f in functions(text, lambda name: name in ("_residual", "_secant", "_passed")) for m in mutants(f)]
    assert len(found) > 25 and right(module)
    for mutant in found:
        with applied(mutant, module):
            assert not right(module), mutant.change


def test_anderson_and_broyden_come_where_plain_iteration_does_not():
    matrix = torch.diag(torch.tensor([-3.0, 0.5, -1.2])).double()
    x = data(2, 3)
    with pytest.warns(EquilibriumWarning, match="2 of 2 samples did not converge"):
        DEQ(Affine(matrix), solver="picard")(x)
    for solver in ("anderson", "broyden"):
        module = DEQ(Affine(matrix), solver=solver)
        assert gap([module(x)], [x / (1 - matrix.diagonal())]) < 1e-8


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sample_does_not_depend_on_its_neighbours(solver):
    module, x = net(solver=solver, tol=1e-9), data(8, SIZE)
    x[3] *= 30  # saturated: it converges at once
    together = module(x)
    counts = module.info.iterations
    assert len(set(counts.tolist())) > 1
    for place, row in enumerate(x):
        assert gap([together[place]], [module(row[None])[0]]) < 1e-14
        assert module.info.iterations.tolist() == [int(counts[place])]


def test_what_diverges_in_one_sample_leaves_the_others_alone():
    def cell(z, x):
        return x * z * z + 0.2 * z + 0.1

    module = DEQ(cell, solver="picard", max_iter=60)
    x = torch.tensor([[0.1], [9.0], [0.2]], dtype=torch.float64)
    with pytest.warns(EquilibriumWarning, match="1 of 3 samples .* of sample 1 is"):
        z = module(x)
    assert module.info.converged.tolist() == [True, False, True]
    assert bool(torch.isfinite(z).all()) and gap([cell(z, x)[::2]], [z[::2]]) < 1e-9


LASTS = {
    "dropout": partial(nn.Dropout, 0.3),
    "layer norm": partial(nn.LayerNorm, SIZE),
    "batch norm, which couples the samples": partial(nn.BatchNorm1d, SIZE),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(SIZE, SIZE)),
}


@pytest.mark.parametrize("name", LASTS)
def test_blocks_with_states_are_one_map_within_an_equilibrium(name):
    module, x = net(last=LASTS[name](), reach=0.15), data()
    plain = copy.deepcopy(module)
    plain.gradient = "autograd"
    for left, right in zip(orders(module, x), orders(plain, x), strict=True):
        assert gap(left, right) < 1e-9
    counts = [value for key, value in module.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counts == [torch.tensor(1)] * len(counts)


def test_images_and_numbers_are_vectors_too():
    class Image(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)

        def forward(self, z, x):
            return torch.tanh(0.5 * self.conv(z) + x)

    x = torch.randn(3, 2, 4, 5, requires_grad=True)
    module = DEQ(Image())
    z = module(x)
    assert z.shape == x.shape and module.info.residual.shape == (3,)
    assert gap([module.cell(z, x)], [z]) < 1e-5
    z.sum().backward()
    single = DEQ(lambda z, x: torch.cos(z) / 2 + x)(torch.randn(4))
    assert single.shape == (4,)
    assert DEQ(lambda z, x: z / 2 + x)(torch.zeros(0, 3)).shape == (0, 3)


def test_precisions():
    single = DEQ(Dense())
    x = torch.randn(4, SIZE, requires_grad=True)
    z = single(x)
    assert z.dtype == torch.float32 and float(single.info.residual.max()) <= 1e-6
    (found,) = torch.autograd.grad(z.sin().sum(), single.cell.W)
    exact = copy.deepcopy(single).double()
    (expected,) = torch.autograd.grad(exact(x.double()).sin().sum(), exact.cell.W)
    assert gap([found.double()], [expected]) < 2e-5
    with torch.autocast("cpu", torch.bfloat16):
        low = single(x)
    (rough,) = torch.autograd.grad(low.sin().sum(), single.cell.W)
    assert low.dtype == torch.float32 and gap([rough], [found]) < 3e-2
    half = copy.deepcopy(single).bfloat16()
    assert half(x.detach().bfloat16()).dtype == torch.bfloat16 and bool(half.info.converged.all())


def test_a_truncated_gradient_is_the_sum_of_its_terms():
    module, x = net(reach=0.3), data()
    (exact,) = torch.autograd.grad(module(x).sin().sum(), module.cell.W)
    errors = []
    for steps in (1, 2, 3, 6):
        module.phantom = steps
        z = module(x)
        (found,) = torch.autograd.grad(z.sin().sum(), module.cell.W)
        at = z.detach().requires_grad_()
        image = module.cell(at, x)
        term = total = at.detach().cos()
        for _ in range(steps - 1):
            (term,) = torch.autograd.grad(image, at, term, retain_graph=True)
            total = total + term
        assert gap([found], torch.autograd.grad(image, module.cell.W, total)) < 1e-10
        errors.append(gap([found], [exact]))
    assert all(after < before for before, after in pairwise(errors)) and errors[-1] < 1e-2


def test_where_the_iteration_starts():
    module, x = net(), data()
    z = module(x)
    again = module(x, z0=z)
    assert module.info.iterations.tolist() == [0] * BATCH and gap([again], [z]) == 0
    start = data().requires_grad_()
    assert torch.autograd.grad(module(x, start).sum(), start, allow_unused=True) == (None,)
    wide = DEQ(lambda z, x: z / 2 + x.sum(-1, keepdim=True))
    assert wide(torch.ones(2, 3), z0=torch.zeros(2, 5)).shape == (2, 5)


def test_copies_and_the_modes_of_calling():
    module, x = net(solver="anderson", on_failure="raise"), data()
    z = module(x)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert gap([other(x)], [z]) == 0
        assert repr(other).startswith("DEQ(\n  solver='anderson', tol=1e-13, on_failure='raise'")
    module.cell.W.requires_grad_(False)
    loss = module(x).sum()
    loss.backward(retain_graph=True)
    first = module.cell.U.grad.clone()
    loss.backward()
    assert module.cell.W.grad is None and gap([module.cell.U.grad], [2 * first]) == 0
    with torch.inference_mode():
        assert not module(x).requires_grad
    module.train()
    late = net(last=nn.Dropout(0.5), reach=0.2)
    loss = late(x).sum()
    late.eval()  # between the passes: the backward is that of the forward as it was called
    loss.backward()
    assert late.cell.W.grad is not None and not late.cell.training


CONV = nn.Parameter(torch.ones(3))
BAD = {
    "no callable": (lambda: DEQ(3), TypeError, "DEQ: cell is 3; allowed: an nn.Module"),
    "solver": (lambda: DEQ(Dense(), solver="newton"), ValueError, "solver='newton'; allowed: 'broyden', 'anderson'"),
    "tolerance": (lambda: DEQ(Dense(), tol=0), ValueError, "tol=0; allowed: None, or a number above 0"),
    "steps": (lambda: DEQ(Dense(), max_iter=0), ValueError, "max_iter=0; allowed: a whole number, 1 or more"),
    "failure": (lambda: DEQ(Dense(), on_failure="stop"), ValueError, "on_failure='stop'; allowed: 'warn', 'raise'"),
    "phantom": (lambda: DEQ(Dense(), phantom=0), ValueError, "phantom=0; allowed"),
    "form": (lambda: DEQ(Dense(), gradient="both"), ValueError, "gradient='both'; allowed: 'derived', 'autograd'"),
    "no tensor": (lambda: DEQ(Dense())([1.0]), TypeError, "x is of type list; allowed: a Tensor"),
    "no batch": (lambda: DEQ(Dense())(torch.tensor(1.0)), ValueError, "x is a single number; allowed: axis 0"),
    "integers": (lambda: DEQ(lambda z, x: z)(torch.ones(2, 3).long()), TypeError, "x has dtype torch.int64; allowed"),
    "size": (lambda: DEQ(Dense())(torch.ones(2, 3)), ValueError, "cell was called with .2, 3., .2, 3.: mat1 and mat2"),
    "shape": (lambda: DEQ(lambda z, x: z[:, :2])(torch.ones(2, 3)), ValueError,
              r"cell was given z of shape \(2, 3\) and returned \(2, 2\); allowed: the shape of z"),
    "tuple": (lambda: DEQ(lambda z, x: (z,))(torch.ones(2, 3)), TypeError, "cell.* is of type tuple; allowed:"),
    "kind": (lambda: DEQ(lambda z, x: z.long())(torch.ones(2, 3)), TypeError, "returned torch.int64; allowed: real"),
    "start": (lambda: DEQ(Dense())(torch.ones(2, 6), torch.ones(3, 6)), ValueError, r"z0 has shape \(3, 6\); allowed"),
    "start is a list": (lambda: DEQ(Dense())(torch.ones(2, 6), [0.0]), TypeError, "z0 is of type list; allowed:"),
    "not finite": (lambda: DEQ(lambda z, x: z / 0)(torch.ones(2, 3)), EquilibriumError,
                   r"f\(z0, x\) is not finite in 2 of 2 samples, the first of them 0; allowed: finite x"),
    "input not finite": (lambda: DEQ(Dense())(torch.full((2, 6), torch.nan)), EquilibriumError, "not finite in 2 of 2"),
    "hidden": (lambda: DEQ(lambda z, x: 0.1 * z * CONV + x)(torch.ones(2, 3)), ValueError,
               "cell uses tensors needing gradients that are not its parameters; allowed"),
    "none there": (lambda: DEQ(lambda z, x: z + x, max_iter=20, on_failure="raise")(torch.ones(2, 3)), EquilibriumError,
                   "2 of 2 samples did not converge in max_iter=20 steps of solver='broyden': .* allowed: 1e-06"),
    "singular": (lambda: DEQ(lambda z, x: z + 0 * x, on_failure="raise")(
        torch.ones(2, 3, requires_grad=True)).sum().backward(), EquilibriumError,
        "the linear equation of the gradient was not solved"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_allowed(name):
    act, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        act()


def test_what_a_plain_function_reads_is_followed_by_the_plain_form():
    z = DEQ(lambda z, x: 0.1 * z * CONV + x, gradient="autograd")(torch.ones(2, 3))
    (found,) = torch.autograd.grad(z.sum(), CONV)
    assert gap([found], [torch.full((3,), 2 * 0.1 / 0.9**2)]) < 1e-5


def test_a_warning_of_the_gradient_s_equation():
    z = DEQ(lambda z, x: z + 0 * x)(torch.ones(2, 3, requires_grad=True))
    with pytest.warns(EquilibriumWarning, match="I - df/dz is singular"):
        z.sum().backward()


RULES = FixedPointRules(lambda z, y: y - z, lambda *_: (), lambda *_: torch.zeros(()))


def test_anderson_begins_anew_where_it_grew_without_bound(monkeypatch):
    """An affine map with eigenvalues from -0.1 to -30: plain mixing does not come to its fixed point."""
    generator = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64, generator=generator))[0]
    matrix = -(basis * torch.linspace(0.1, 30.0, 20, dtype=torch.float64)) @ basis.T
    shift = torch.randn(16, 20, dtype=torch.float64, generator=generator)
    exact = torch.linalg.solve(torch.eye(20, dtype=torch.float64) - matrix, shift.T).T

    def solved():
        return iterate(lambda z: z @ matrix.T + shift, torch.zeros_like(shift), "anderson", RULES, 1e-10, 400)

    found = solved()
    assert found.converged.all() and torch.allclose(found.z, exact, atol=1e-8)
    monkeypatch.setattr(fixed_point_solvers, "GROWTH", math.inf)
    monkeypatch.setattr(fixed_point_solvers, "LARGEST_WEIGHTS", math.inf)
    assert not solved().converged.any()


def test_samples_that_begin_anew_do_not_touch_their_neighbours():
    shift = torch.linspace(-3, 3, 8, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, -1.0])

    def solved(b):
        return iterate(lambda z: -3 * z**3 - z.roll(1, -1) + b, torch.zeros_like(b), "anderson", RULES, 1e-11, 200)

    together, alone = solved(shift), [solved(b[None]) for b in shift]
    assert together.converged.all()
    assert torch.allclose(together.z, torch.cat([one.z for one in alone]), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("solver", ["picard", "anderson", "broyden"])
def test_a_map_without_fixed_point_does_not_converge_by_growing(solver: str) -> None:
    module = DEQ(lambda z, x: z + x, solver=solver, tol=1e-2, max_iter=300)
    with pytest.warns(EquilibriumWarning):
        module(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    assert not module.info.converged.any()


@pytest.mark.parametrize("size", [1.0, 1e8])
def test_a_good_guess_is_seen_to_be_one(size: float) -> None:
    x = torch.full((2, 3), size, dtype=torch.float64)
    module = DEQ(lambda z, x: 0.5 * z + x, solver="picard")
    z = module(x, 2 * x * (1 + 1e-12))
    assert module.info.converged.all() and int(module.info.iterations.max()) == 0
    assert torch.allclose(z, 2 * x, rtol=1e-11)

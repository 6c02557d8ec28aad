"""Implicit steps: closed forms, stiffness, both solvers, transforms, precision, and what is said when they fail."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from codegen.emission import emit
from codegen.runtime.linear_systems import gmres
from codegen.verification.loaded import load_text
from derive import ODE, Spec, matvec, parameter, state
from tests.runtime.implicit_modules import Net, module_of, start

JIT = "ignore:.torch.jit.script. is deprecated:DeprecationWarning"  # torch's own use, in its forward mode
pytestmark = pytest.mark.filterwarnings(JIT)
SCHEMES = ["backward_euler", "trapezoid", "gauss4", "sdirk2"]
GROWTH = {
    "backward_euler": lambda z: 1 / (1 - z),
    "trapezoid": lambda z: (1 + z / 2) / (1 - z / 2),
    "gauss4": lambda z: (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12),
    "sdirk2": lambda z: (1 + (1 - 2 * (1 - 0.5**0.5)) * z) / (1 - (1 - 0.5**0.5) * z) ** 2,
}


class Decay(nn.Module):
    """x' = rate x."""

    def __init__(self, rate):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=torch.float64))

    def forward(self, t, x):
        return self.rate * x


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("name", SCHEMES)
def test_linear_decay_follows_the_stability_function(name, solver):
    field = Decay(-3.0)
    net = module_of(name).Module(field, steps=5, t1=2.0, solver=solver)
    x = start(4, 2).requires_grad_()
    factor = GROWTH[name](torch.tensor(-3.0 * 2.0 / 5, dtype=torch.float64)) ** 5
    y = net(x)
    torch.testing.assert_close(y, factor * x, rtol=1e-9, atol=1e-9)
    (bar,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(bar, factor.expand_as(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCHEMES)
def test_half_precision_is_not_content_with_its_first_guess(name, dtype):
    net = module_of(name).Module(Decay(-3.0).to(dtype), steps=40, t1=2.0)
    x = start(4, 2).to(dtype)
    factor = float(GROWTH[name](torch.tensor(-3.0 * 2.0 / 40, dtype=torch.float64)) ** 40)
    error = (net(x).double() - factor * x.double()).abs().max()
    assert error <= 12 * torch.finfo(dtype).eps * x.abs().max()  # of 40 steps, each rounded


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_stiff_decay_is_stable_where_explicit_steps_explode(memory):
    net = module_of("backward_euler").Module(Decay(-1e4), steps=10, memory=memory)
    x = start(3, 2).requires_grad_()
    path = net.trajectory(x)
    bound = x.abs().max() * torch.tensor(1e-3, dtype=torch.float64) ** torch.arange(11) + 1e-12  # tol / |h rate|
    assert (path.abs().amax((1, 2)) <= bound).all()
    path.sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, sum((1 + 1e3) ** -n for n in range(11))), rtol=1e-9, atol=0)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("name", SCHEMES)
def test_matrix_free_equals_dense(name, gradient):
    found = []
    for solver in ("newton", "krylov"):
        field, x = Net(), start(5, 3).requires_grad_()
        t1 = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
        net = module_of(name).Module(field, steps=3, t1=t1, tol=1e-13, solver=solver, gradient=gradient)
        found.append(torch.autograd.grad(net(x).square().sum(), [x, t1, *field.parameters()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_transforms_agree_with_first_derivatives_taken_one_by_one(gradient, solver):
    net = module_of("backward_euler").Module(Net(), steps=2, tol=1e-13, gradient=gradient, solver=solver)
    x = start(4, 3)

    def value(x):
        return net(x).square().sum()

    one_by_one = torch.stack([torch.autograd.functional.jacobian(value, row) for row in x])
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(torch.vmap(torch.func.grad(value))(x), one_by_one, **close)
    torch.testing.assert_close(torch.func.grad(value)(x), one_by_one, **close)
    torch.testing.assert_close(torch.func.jacrev(net)(x[0]), torch.func.jacfwd(net)(x[0]), **close)
    second = torch.autograd.functional.hessian(value, x[0])
    torch.testing.assert_close(torch.func.jacrev(torch.func.grad(value))(x[0]), second, **close)
    step = 1e-5
    for place in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[place]
        difference = (torch.func.grad(value)(x[0] + shift) - torch.func.grad(value)(x[0] - shift)) / (2 * step)
        torch.testing.assert_close(second[place], difference, rtol=1e-6, atol=1e-7)


def test_third_derivatives_of_the_plain_form_are_exact():
    """x_1 = x / (1 - h x_1) for x' = x^2: the closed form is differentiated three times."""
    net = module_of("backward_euler").Module(lambda t, x: x * x, steps=1, t1=0.2, gradient="autograd", tol=1e-14)
    exact = lambda x: (1 - torch.sqrt(1 - 0.8 * x)) / 0.4  # noqa: E731
    values = []
    for function in (net, exact):
        x = torch.tensor([0.4], dtype=torch.float64, requires_grad=True)
        derivative = function(x)
        for _ in range(3):
            (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
        values.append(derivative)
    torch.testing.assert_close(values[0], values[1], rtol=1e-10, atol=0)


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("name", SCHEMES)
def test_single_precision_converges_at_the_default_tolerance(name, solver):
    torch.manual_seed(0)
    exact = Net()
    x = start(6, 3)
    wanted = module_of(name).Module(exact, steps=4)(x)
    single = module_of(name).Module(Net().float(), steps=4, solver=solver)(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted, rtol=0, atol=2e-5)


def test_stiffness_in_single_precision_does_not_ask_for_more_than_the_dtype_has():
    net = module_of("backward_euler").Module(Decay(-1e5).float(), steps=5)
    assert net(start(3, 2).float().requires_grad_()).detach().abs().max() < 1e-9


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("rate", [1e4, 1e6])
def test_a_residual_that_rounding_keeps_above_the_tolerance_is_no_failure(rate, solver):
    """x' = rate (1 - x): a rounding of x near 1 is h rate times as large in the residual, and nothing in the step."""
    x = (1 + 0.3 * start(6, 2)).float()
    net = module_of("backward_euler").Module(lambda t, x: rate * (1 - x), steps=4, solver=solver)
    torch.testing.assert_close(net(x), torch.ones_like(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("dtype", "size", "digits", "reached"), [(torch.float64, 25, 8, 1e-8), (torch.float32, 12, 6, 0.01)]
)
def test_gmres_where_the_krylov_vectors_are_nearly_dependent(dtype, size, digits, reached, seed):
    """Singular values from 1 to 10^-digits: the solution needs a basis that is orthogonal to rounding."""
    random = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=random))[0] for _ in range(2))
    matrix = ((u * torch.logspace(0, -digits, size, dtype=torch.float64)) @ v.mT).to(dtype)
    right = torch.randn(size, dtype=torch.float64, generator=random).to(dtype)
    found, worst = gmres(lambda x: (matrix @ x.unsqueeze(-1)).squeeze(-1), right, 1e-14)
    assert worst <= reached
    assert torch.linalg.vector_norm(matrix @ found - right) <= 2 * reached * torch.linalg.vector_norm(right)


def test_a_sample_does_not_depend_on_its_neighbours():
    net = module_of("trapezoid").Module(Net(), steps=3)
    x = start(5, 3)
    x[0] *= 100
    torch.testing.assert_close(net(x)[1:], net(x[1:]), rtol=1e-14, atol=1e-15)


def test_newton_converges_quadratically_on_the_derived_matrix():
    calls = []

    class Counted(Net):
        def forward(self, t, x):
            calls.append(1)
            return super().forward(t, x)

    net = module_of("backward_euler").Module(Counted(), steps=1, t1=0.5, tol=1e-13, memory="recompute")
    net(start(4, 3).requires_grad_())
    assert len(calls) <= 7


class Nowhere(nn.Module):
    """x' = x^2 + 1: the equation of a long step has no real solution."""

    def __init__(self):
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t, x):
        return x * x + self.one


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
@pytest.mark.parametrize("solver", ["newton", "krylov"])
def test_failure_names_step_residual_iterations_and_what_to_do(gradient, solver):
    x = torch.tensor([[-9.0], [0.0]], dtype=torch.float64, requires_grad=True)
    net = module_of("backward_euler").Module(Nowhere(), steps=2, t1=2.0, max_iter=9, gradient=gradient, solver=solver)
    message = r"BackwardEuler: step 0: Newton's iteration did not converge: residual .* \(sample 1 of 2 is the worst\) "
    causes = r"the step is too large for this field, h = 1 \(use more steps\); the field is not smooth .* max_iter=9"
    with pytest.raises(RuntimeError, match=message + rf"after \d+ iterations; allowed: 1e-10. Likely causes: {causes}"):
        net(x)


def test_failure_says_where_samples_are_coupled_and_where_the_start_is_not_finite():
    net = module_of("backward_euler").Module(lambda t, x: x.sum(0).square() + 1 + 0 * x, steps=2, t1=torch.tensor(4.0))
    with pytest.raises(RuntimeError, match=r"step 0 \(the field couples samples: 6 unknowns .* field, h = 2 \("):
        net(start(3, 2))
    with pytest.raises(RuntimeError, match=r"residual nan .*; allowed: a state and a field that are finite"):
        net(start(3, 2) * torch.nan)
    with pytest.raises(RuntimeError, match=r"did not converge: residual .* field, h = 2 \("):
        torch.vmap(net)(start(2, 3, 2))


@pytest.mark.parametrize(
    ("option", "complaint"),
    [({"solver": "picard"}, "allowed: 'newton', 'krylov'"), ({"tol": 0}, "tol=0"), ({"max_iter": 0}, "max_iter=0")],
)
def test_options_are_checked(option, complaint):
    with pytest.raises(ValueError, match=complaint):
        module_of("backward_euler").Module(Net(), steps=2, **option)


def test_a_plain_function_that_hides_parameters_is_refused_where_it_cannot_be_followed():
    hidden = torch.ones((), dtype=torch.float64, requires_grad=True)
    net = module_of("backward_euler").Module(lambda t, x: hidden * x, steps=2, t1=0.5, memory="recompute")
    with pytest.raises(ValueError, match="uses tensors needing gradients"):
        net(start(2, 2).requires_grad_())


def test_a_written_out_field_needs_no_graph():
    """x' = W x: x_1 = (I - h W)^-1 x, with gradients of W and of the final time."""
    x, w = state("x", "d"), parameter("w", ("d", "d"))
    spec = Spec("own", "Own", "own", ODE((x,), (matvec(w, x),)), scheme="backward_euler")
    weight = 0.3 * start(3, 3)
    t1 = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    net = load_text(emit(spec)).Module(w=weight, steps=1, t1=t1)
    y = start(4, 3).requires_grad_()
    found = net(y)
    matrix = weight.clone().requires_grad_()
    exact = torch.linalg.solve(torch.eye(3, dtype=torch.float64) - t1 * matrix, y.mT).mT
    torch.testing.assert_close(found, exact)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), [y, t1, net.w]),
        torch.autograd.grad(exact.square().sum(), [y, t1, matrix]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


SCALARS = pytest.mark.parametrize("shape", [(), (2,)])


@SCALARS
@pytest.mark.parametrize("solver", ["newton", "krylov"])
def test_a_state_of_one_number(shape, solver):
    """A field of single numbers gives each of them what it gives a vector of them."""
    x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
    for name in ("backward_euler", "gauss4"):
        for gradient in ("derived", "autograd"):
            net = module_of(name).Module(nn.Tanh(), steps=3, solver=solver, gradient=gradient)
            found, wanted = net(x), net(torch.ones(4, 1, dtype=torch.float64, requires_grad=True))
            torch.testing.assert_close(found, wanted[0, 0].expand(shape), rtol=1e-9, atol=1e-9)
            assert torch.autograd.gradcheck(net, x)


@SCALARS
@pytest.mark.parametrize("solver", ["newton", "krylov"])
def test_unknowns_that_are_numbers(shape, solver):
    """Lorenz: three unknowns, each a number of its own, alone or one for each sample."""
    x, y, z = (state(name) for name in "xyz")
    ode = ODE((x, y, z), (10 * (y - x), x * (28 - z) - y, x * y - 8 * z / 3))
    net = load_text(emit(Spec("own", "Own", "own", ode, scheme="gauss4"))).Module(steps=3, t1=0.05, solver=solver)
    numbers = (1.0, 2.0, 20.0)
    points = [torch.full(shape, number, dtype=torch.float64, requires_grad=True) for number in numbers]
    many = net(*(torch.full((7,), number, dtype=torch.float64) for number in numbers))
    for found, wanted in zip(net(*points), many, strict=True):
        torch.testing.assert_close(found, wanted[0].expand(shape), rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(net, points)

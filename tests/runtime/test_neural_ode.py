"""NeuralODE: against torchdiffeq and SciPy, states of any form, times, events, memory, and what bad calls get."""

from __future__ import annotations

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn
from torchdiffeq import odeint

from generated.neural_ode import NeuralODE


class Field(nn.Module):
    def __init__(self, size: int = 3, hidden: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)

        def draw(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.7)

        self.W, self.b, self.c, self.V = draw(hidden, size), draw(hidden), draw(hidden), draw(size, hidden)
        self.calls = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(x @ self.W.mT + self.b + t * self.c) @ self.V.mT


def start(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(output: Tensor, *leaves: Tensor) -> list[Tensor]:
    weight = start(*output.shape, seed=2)
    return list(torch.autograd.grad((weight * output.sin()).sum(), leaves))


def close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= tolerance * b.norm(), ((a - b).norm() / b.norm(), tolerance)


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "dopri8"])
def test_solutions_and_gradients_are_those_of_torchdiffeq(method: str) -> None:
    field, x = Field(), start(4, 3).requires_grad_()
    times = torch.tensor([0.2, 0.5, 1.1, 1.7], dtype=torch.float64)
    own = {"bosh3": "bs32", "dopri8": "dop853"}.get(method, method)
    ours = NeuralODE(field, t0=0.2, t1=1.7, method=own, rtol=1e-8, atol=1e-10).trajectory(x, times)
    theirs = odeint(field, x, times, method=method, rtol=1e-10, atol=1e-12)
    close([ours], [theirs], 3e-7)
    close(gradients(ours, x, *field.parameters()), gradients(theirs, x, *field.parameters()), 1e-6)


def test_solution_is_that_of_scipy() -> None:
    field, x = Field(), start(3)
    with torch.no_grad():
        found = NeuralODE(field, t1=2.0, rtol=1e-9, atol=1e-11)(x)

        def velocity(t: float, y: np.ndarray) -> np.ndarray:
            return field(torch.tensor(t, dtype=torch.float64), torch.from_numpy(y)).numpy()

        expected = solve_ivp(velocity, (0.0, 2.0), x.numpy(), method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    close([found], [torch.from_numpy(expected)], 1e-8)


def test_error_follows_the_tolerance() -> None:
    field, x = Field(), start(4, 3)
    with torch.no_grad():
        exact = NeuralODE(field, t1=2.0, rtol=1e-12, atol=1e-13, method="dop853")(x)
        errors = [(NeuralODE(field, t1=2.0, rtol=tol, atol=tol)(x) - exact).abs().max() for tol in (1e-4, 1e-6, 1e-8)]
    assert errors[0] < 3e-4 and errors[1] < 3e-6 and errors[2] < 3e-8


def test_first_slope_of_a_step_is_the_last_one_of_the_step_before() -> None:
    field = Field()
    module = NeuralODE(field, t1=1.0)
    with torch.no_grad():
        module(start(4, 3))
    stats = module.stats
    assert field.calls == stats.evaluations == 2 + 6 * (stats.accepted + stats.rejected)


def test_rejected_steps_are_counted_and_change_nothing() -> None:
    class Bump(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return 1 / (1e-4 + (t - 0.5) ** 2) + 0 * x

    module = NeuralODE(Bump(), rtol=1e-8, atol=1e-8)
    found = module(torch.zeros(1, dtype=torch.float64))
    assert module.stats.rejected > 0 and module.stats.accepted > 10
    assert float(found) == pytest.approx(2 * math.atan(50.0) * 100, rel=1e-7)


@pytest.mark.parametrize("memory", ["recompute", "store"])
def test_backward_twice_over_one_graph(memory: str) -> None:
    field, x = Field(), start(2, 3).requires_grad_()
    loss = NeuralODE(field, memory=memory)(x).sin().sum()
    first, second = (torch.autograd.grad(loss, [x, field.W], retain_graph=True) for _ in range(2))
    close(list(first), list(second), 1e-14)


def test_stats_of_the_backward_pass() -> None:
    x = start(2, 3).requires_grad_()
    module = NeuralODE(Field())
    module(x).sum().backward()
    assert module.stats.backward_evaluations == 6 * module.stats.accepted and module.stats.backward_accepted == 0
    torch.manual_seed(1)
    chain = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    module = NeuralODE(chain, rtol=1e-9, atol=1e-11)  # without graphs the stages of the newest two steps stay
    module(x).sum().backward()
    assert module.stats.accepted > 3 and module.stats.backward_evaluations == 6 * (module.stats.accepted - 2)
    module = NeuralODE(Field(), adjoint="continuous")
    module(x).sum().backward()
    assert module.stats.backward_accepted > 0 and module.stats.backward_evaluations > 0


def test_shapes_are_free() -> None:
    field = Field()
    whole = start(2, 5, 3)
    module = NeuralODE(field, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(module(whole), torch.stack([module(one) for one in whole]), rtol=1e-8)
        assert module(whole[0, 0]).shape == (3,) and module(whole[:0]).shape == (0, 5, 3)
        assert NeuralODE(lambda t, y: -y)(torch.tensor(1.0)).item() == pytest.approx(math.exp(-1), rel=1e-5)


def test_tuples_of_states() -> None:
    class Pendulum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.k = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            q, p = state
            return p.squeeze(-1), -self.k * q.unsqueeze(-1)

    field = Pendulum()
    module = NeuralODE(field, t1=2.0, rtol=1e-10, atol=1e-12)
    q0 = start(4).requires_grad_()
    q, p = module((q0, torch.zeros(4, 1, dtype=torch.float64)))
    w = math.sqrt(2.0)
    assert q.shape == (4,) and p.shape == (4, 1)
    assert torch.allclose(q, q0 * math.cos(2 * w), atol=1e-8)
    slope = torch.autograd.grad(q.sum(), field.k)[0]
    assert float(slope) == pytest.approx(-float(q0.sum().detach()) * math.sin(2 * w) / w, rel=1e-7)
    qs, ps = module.trajectory((q0, torch.zeros(4, 1, dtype=torch.float64)), [0.0, 1.0])
    assert qs.shape == (2, 4) and ps.shape == (2, 4, 1)


def test_backwards_in_time() -> None:
    field, x = Field(), start(4, 3).requires_grad_()
    times = torch.tensor([1.5, 1.0, 0.3], dtype=torch.float64)
    ours = NeuralODE(field, t0=1.5, t1=0.3, rtol=1e-9, atol=1e-11).trajectory(x, times)
    theirs = odeint(field, x, times, method="dopri5", rtol=1e-10, atol=1e-12)
    close(gradients(ours, x, *field.parameters()), gradients(theirs, x, *field.parameters()), 1e-6)


def test_outputs_do_not_change_steps() -> None:
    field, x = Field(), start(4, 3)
    module = NeuralODE(field, t1=2.0)
    kept = []
    for count in (2, 1000):
        module.trajectory(x, torch.linspace(0.0, 2.0, count, dtype=torch.float64))
        kept.append((module.stats.accepted, module.stats.evaluations))
    assert kept[0] == kept[1]


def test_steps_of_a_pair_without_dense_output_end_at_the_times() -> None:
    field, x = Field(), start(4, 3)
    module = NeuralODE(field, t1=2.0, method="cash_karp", rtol=1e-10, atol=1e-12)
    times = [0.0, 0.3, 0.3, 0.31, 1.2, 2.0]
    with torch.no_grad():
        found = module.trajectory(x, times)
        assert module.pair.stops
        for time, output in zip(times[1:], found[1:], strict=True):
            close([output], [NeuralODE(field, t1=time, method="dop853", rtol=1e-11, atol=1e-13)(x)], 1e-9)


@pytest.mark.parametrize("gradient", ["derived", "autograd"])
def test_outputs_at_times_of_their_own_do_not_depend_on_t1(gradient: str) -> None:
    ends = [torch.tensor(t, dtype=torch.float64, requires_grad=True) for t in (0.0, 1.5)]
    module = NeuralODE(Field(), t0=ends[0], t1=ends[1], rtol=1e-3, atol=1e-3, gradient=gradient)
    times = torch.tensor([0.3, 0.9, 1.1], dtype=torch.float64, requires_grad=True)
    bars = torch.autograd.grad(module.trajectory(start(2, 3), times).square().sum(), (*ends, times), allow_unused=True)
    assert bars[1] is None or bars[1] == 0.0
    assert bars[0] != 0.0 and bool((bars[2] != 0.0).all())


def test_outputs_of_double_times_and_at_the_ends() -> None:
    x = start(2, 3)
    module = NeuralODE(Field())
    found = module.trajectory(x, [0.0, 0.0, 0.5, 0.5, 1.0])
    assert torch.equal(found[0], x) and torch.equal(found[2], found[3])
    assert torch.allclose(found[4], module(x), rtol=1e-13)
    assert torch.equal(module.trajectory(x, [0.0])[0], x)


def test_second_derivatives() -> None:
    x = start(2, 3).requires_grad_()
    found = []
    for gradient in ("derived", "autograd"):
        field = Field()
        y = NeuralODE(field, gradient=gradient)(x)
        (first,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
        found.append(list(torch.autograd.grad(first.pow(2).sum(), [x, *field.parameters()])))
    close(*found, 1e-12)


def test_transforms() -> None:
    module, x = NeuralODE(Field()), start(5, 3)
    jacobian = torch.func.jacrev(module)(x[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own forward mode loads what torch deprecates
        close([jacobian], [torch.func.jacfwd(module)(x[0])], 1e-12)
    close([torch.vmap(module)(x)], [module(x)], 1e-12)
    shared = torch.vmap(lambda one: module.trajectory(one, [0.3, 1.0]))(x)
    close([shared], [module.trajectory(x, [0.3, 1.0]).movedim(0, 1)], 1e-12)


def test_random_and_counting_fields_are_called_again_as_they_were() -> None:
    field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)).double()
    x = start(4, 3).requires_grad_()
    found = []
    for gradient in ("derived", "autograd"):
        torch.manual_seed(3)
        loss = NeuralODE(field, gradient=gradient, rtol=1e-1, atol=1e-1, first_step=0.2)(x).sin().sum()
        torch.manual_seed(4)
        found.append([loss.detach(), *torch.autograd.grad(loss, [x, *field.parameters()])])
    close(*found, 1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2), (torch.float32, 1e-6)])
def test_states_of_few_bits(dtype: torch.dtype, rtol: float) -> None:
    module = NeuralODE(lambda x: -x, rtol=rtol, atol=1e-8)
    x = start(4, 3).to(dtype)
    x[0, 0] = 0.0  # whose share of the tolerance is atol alone, which is zero in float16
    y = module(x)
    assert y.dtype == dtype and module.stats.rejected == 0
    close([y.double()], [x.double() / math.e], 3 * rtol)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tolerances_below_rounding_are_refused(dtype: torch.dtype) -> None:
    eps, x = torch.finfo(dtype).eps, start(3).to(dtype)
    with pytest.raises(ValueError, match=rf"NeuralODE: rtol=\S+ of a state of dtype {dtype}; allowed: \S+ or more"):
        NeuralODE(lambda x: -x, rtol=3 * eps)(x)
    assert NeuralODE(lambda x: -x, rtol=5 * eps, atol=5 * eps)(x).isfinite().all()


def test_autocast() -> None:
    field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    x = start(4, 3).float().requires_grad_()
    found = []
    for gradient in ("derived", "autograd"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = NeuralODE(field, gradient=gradient, rtol=1e-1, atol=1e-1)(x)
        found.append(gradients(y.double(), x, *field.parameters()))
    close(*found, 3e-2)


def test_outputs_and_their_gradients_under_autocast() -> None:
    field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    x, times = start(4, 3).float().requires_grad_(), torch.tensor([0.1, 0.35, 0.8])
    module = NeuralODE(field, rtol=1e-1, atol=1e-1)
    exact = gradients(module.trajectory(x, times).double(), x, *field.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):  # which is for the field: sums of slopes are not rounded
        found = gradients(module.trajectory(x, times).double(), x, *field.parameters())
    close(found, exact, 3e-2)


def test_a_table_of_ones_own() -> None:
    heun = SimpleNamespace(A=[[0, 0], [1, 0]], b=[0.5, 0.5], c=[0, 1], b_error=[1.0, 0.0])
    field, x = Field(), start(2, 3)
    module = NeuralODE(field, method=heun, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        close([module(x)], [NeuralODE(field, rtol=1e-9)(x)], 1e-4)
    assert module.pair.power == 2 and len(module.pair.c) == 3


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"A": [[0]], "b": [1], "c": [0]}, "without b_error"),
        ({"A": [[0, 1], [1, 0]], "b": [0.5, 0.5], "c": [1, 1], "b_error": [1, 0]}, "implicit"),
        ({"A": [[0, 0], [1, 0]], "b": [0.5, 0.5], "c": [0, 1], "b_error": [0.5, 0.5]}, "estimate is always zero"),
        ({"A": [[0, 0], [1, 0]], "b": [0.5, 0.6], "c": [0, 1], "b_error": [1, 0]}, r"method.b adds up to 1.1"),
        ({"A": [[0, 0], [1, 0]], "b": [0.5, 0.5], "c": [0, 0.5], "b_error": [1, 0]}, "row 1 of A adds up to 1"),
        ({"A": [[0, 0], [1, 0]], "b": [0.5, 0.5, 0], "c": [0, 1], "b_error": [1, 0]}, "rows and columns"),
        ({"A": [["a"]], "b": [1], "c": [0], "b_error": [1]}, "no numbers"),
    ],
)
def test_bad_tables(table: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        NeuralODE(lambda x: x, method=SimpleNamespace(**table))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 0.0}, r"NeuralODE: rtol=0.0; allowed: a number above 0"),
        ({"atol": -1e-3}, r"atol=-0.001; allowed"),
        ({"rtol": math.nan}, "rtol=nan"),
        ({"first_step": 0.0}, "first_step=0.0"),
        ({"max_steps": 0}, "max_steps=0; allowed: a whole number"),
        ({"adjoint": "discret"}, "did you mean 'discrete'"),
        ({"memory": "all"}, "memory='all'; allowed: 'recompute', 'store'"),
        ({"method": "dopri8"}, "did you mean 'dopri5'"),
        ({"method": "rk4"}, "has a module of its own too, with steps of one size: `derive generate ID`"),
        ({"t0": math.inf}, "t0=inf"),
        ({"t0": "0"}, "t0='0'"),
        (
            {"adjoint": "continuous", "gradient": "autograd"},
            "adjoint='continuous' with gradient='autograd', which differentiates the accepted steps; allowed: adjoint",
        ),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        NeuralODE(lambda x: x, **options)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.5, 0.2], r"times\[0\] = 0.5 and times\[1\] = 0.2; allowed: increasing times"),
        ([0.5, 1.2], r"times\[1\] = 1.2; allowed: times between t0 = 0 and t1 = 1"),
        ([-0.1, 0.2], r"times\[0\] = -0.1"),
        ([], "one or more"),
        (torch.zeros(2, 2), "one axis"),
        (torch.tensor([0, 1]), "floating"),
    ],
)
def test_bad_times(times: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeuralODE(lambda x: x).trajectory(torch.ones(1), times)


def test_bad_fields_and_states() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="t0 = t1 = 1; allowed: two different times"):
        NeuralODE(lambda x: x, t0=1.0, t1=1.0)(x)
    with pytest.raises(ValueError, match=r"field was given x of shape \(2, 3\) and returned \(2, 1\)"):
        NeuralODE(lambda x: x[:, :1])(x)
    with pytest.raises(TypeError, match="field returned a NoneType; allowed: a Tensor"):
        NeuralODE(lambda x: None)(x)
    with pytest.raises(RuntimeError, match=r"the field was called with x of shape"):
        NeuralODE(nn.Linear(4, 4))(x)
    with pytest.raises(TypeError, match=r"x of dtype torch.float64 and returned torch.float32; allowed: the same"):
        NeuralODE(lambda x: x.float())(x.double())
    with pytest.raises(TypeError, match=r"x of dtype torch.float32 and returned torch.float64; allowed: the same"):
        NeuralODE(lambda x: x.double())(x)
    with pytest.raises(TypeError, match=r"x0 has dtype torch.int64"):
        NeuralODE(lambda x: x)(torch.ones(2, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="x0 has values that are not finite"):
        NeuralODE(lambda x: x)(x * math.nan)
    with pytest.raises(RuntimeError, match=r"the field at t = 0 has values that are not finite"):
        NeuralODE(lambda x: x / 0)(x)
    with pytest.raises(RuntimeError, match=r"tuple of shapes \[\(1,\), \(2,\)\] and returned \[\(1,\), \(1,\)\]"):
        NeuralODE(lambda t, s: (s[0], s[0]))((torch.ones(1), torch.ones(2)))
    with pytest.raises(ValueError, match="tensors of one dtype"):
        NeuralODE(lambda t, s: s)((torch.ones(1), torch.ones(1).double()))


def test_underflow_names_time_step_and_component() -> None:
    class Blowup(nn.Module):
        def forward(self, t: Tensor, x: Tensor) -> Tensor:
            return torch.stack((torch.zeros_like(x[0]), x[1] ** 2))

    with pytest.raises(RuntimeError, match=r"underflows at t = 1\.00\d+, h = \S+: component 1 of the flattened state"):
        NeuralODE(Blowup(), t1=2.0, max_steps=100000)(torch.ones(2, dtype=torch.float64))


def test_a_field_that_is_not_finite_further_on() -> None:
    with pytest.raises(RuntimeError, match=r"underflows at t = 0\.5\S*, .* had a slope that is not finite"):
        NeuralODE(lambda t, x: torch.sqrt(0.5 - t) * x)(torch.ones(2, dtype=torch.float64))


def test_steps_are_bounded() -> None:
    with pytest.raises(RuntimeError, match="allowed: max_steps=5; give a larger max_steps, rtol or atol"):
        NeuralODE(lambda t, x: torch.cos(100 * t) + 0 * x, max_steps=5)(torch.ones(1, dtype=torch.float64))


def test_a_plain_function_that_hides_parameters() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="a module that has these tensors as its parameters"):
        NeuralODE(lambda x: weight * x)(start(2, 3).requires_grad_())
    x = start(2, 3)  # and autograd follows them where nothing else needs gradients
    end = NeuralODE(lambda x: weight * x, gradient="autograd", rtol=1e-10, atol=1e-12)(x)
    (found,) = torch.autograd.grad(end.sum(), weight)
    torch.testing.assert_close(found, (x * math.e).sum(0), rtol=1e-8, atol=1e-8)


def test_a_field_that_draws_is_told_from_one_that_is_steep() -> None:
    torch.manual_seed(0)
    drawing = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2)).double()
    for adjoint in ("discrete", "continuous"):
        with pytest.raises(RuntimeError, match=r"Two calls of the field at this place differ by \S+: it draws .* eval"):
            NeuralODE(drawing, max_steps=200, adjoint=adjoint)(torch.ones(3, 2, dtype=torch.float64))
    with pytest.raises(RuntimeError) as caught:
        NeuralODE(lambda t, x: torch.cos(100 * t) + 0 * x, max_steps=5)(torch.ones(1, dtype=torch.float64))
    assert "draws" not in str(caught.value)
    assert NeuralODE(drawing.eval(), max_steps=200)(torch.ones(3, 2, dtype=torch.float64)).shape == (3, 2)

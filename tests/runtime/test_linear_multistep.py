"""The module whose weights are arguments: steps and adjoint against the general formula, starts, warnings, refusals."""

from __future__ import annotations

import inspect
import math
import warnings
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from generated.forward_euler import ForwardEuler
from generated.leapfrog import Leapfrog
from generated.linear_multistep import LinearMultistep, NotFiniteError
from generated.rk4 import RK4

torch.set_num_threads(1)
DOUBLE = torch.float64
METHODS = {
    "euler": ([1], [0, 1], 1),
    "leapfrog": ([0, 1], [0, 2, 0], 2),
    "ab2": ([1, 0], [0, 3 / 2, -1 / 2], 2),
    "ab4": ([1, 0, 0, 0], [0, 55 / 24, -59 / 24, 37 / 24, -9 / 24], 4),
    "nystrom": ([0, 1, 0], [0, 7 / 3, -2 / 3, 1 / 3], 3),
    "all weights": ([1 / 4, 1 / 2, 1 / 4], [0, 53 / 24, -2 / 3, 11 / 24], 3),
}
UNSTABLE = {"alpha": [-4, 5], "beta": [0, 4, 2]}


class Field(nn.Module):
    """V tanh(W x + b + c t), counting its calls."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.W, self.V = (nn.Parameter(torch.randn(3, 3, generator=draw, dtype=DOUBLE)) for _ in range(2))
        self.b, self.c = (nn.Parameter(torch.randn(3, generator=draw, dtype=DOUBLE)) for _ in range(2))
        self.calls = 0

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.tanh(x @ self.W.mT + self.b + self.c * t) @ self.V.mT


def x0() -> Tensor:
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)


def marched(field, alpha, beta, first, steps, t0, t1) -> list[Tensor]:
    """States by the formula itself, from given first ones."""
    h, states = (t1 - t0) / steps, list(first)
    while len(states) <= steps:
        n = len(states) - 1
        slopes = [field(torch.tensor(t0 + (n - k) * h, dtype=DOUBLE), states[n - k]) for k in range(len(alpha))]
        past = sum(a * states[n - k] for k, a in enumerate(alpha))
        states.append(past + h * sum(b * f for b, f in zip(beta[1:], slopes, strict=True)))
    return states[: steps + 1]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("steps", [1, 3, 9])
def test_the_states_are_those_of_the_formula(name, steps):
    alpha, beta, _ = METHODS[name]
    field = Field()
    found = LinearMultistep(field, alpha=alpha, beta=beta, steps=steps, t0=0.2, t1=1.1).trajectory(x0())
    expected = marched(field, alpha, beta, found[: len(alpha)], steps, 0.2, 1.1)
    assert found.shape == (steps + 1, 2, 4, 3)
    torch.testing.assert_close(found, torch.stack(expected[: steps + 1]), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_the_adjoint_is_the_deck_s_sum_over_past_multipliers(name, memory):
    """lambda_m = sum_k alpha_k lambda_(m+k+1) + h J_m^T sum_k beta_k lambda_(m+k+1), multipliers of steps from K on."""
    alpha, beta, _ = METHODS[name]
    lags, steps, h = len(alpha), 9, 0.1
    field, x = Field(), x0()
    net = LinearMultistep(field, alpha=alpha, beta=beta, steps=steps, t0=0.0, t1=steps * h, memory=memory)
    states = net.trajectory(x).detach()
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    multipliers = {steps: weight}
    gradients = {key: torch.zeros_like(p) for key, p in field.named_parameters()}
    for m in reversed(range(steps)):
        later = {
            k: multipliers[m + k + 1] for k in range(lags) if lags <= m + k + 1 <= steps and m + k + 1 in multipliers
        }
        bar = h * sum((beta[k + 1] * one for k, one in later.items()), torch.zeros_like(x))
        point = states[m].clone().requires_grad_()
        value = field(torch.tensor(m * h, dtype=DOUBLE), point)
        pulled, *parts = torch.autograd.grad(value, [point, *field.parameters()], bar)
        total = pulled + sum((alpha[k] * one for k, one in later.items()), torch.zeros_like(x))
        multipliers[m] = total
        for key, part in zip(gradients, parts, strict=True):
            gradients[key] += part
    start = x.clone().requires_grad_()
    first = LinearMultistep(field, alpha=alpha, beta=beta, steps=lags - 1, t1=(lags - 1) * h) if lags > 1 else None
    seeds = torch.stack([multipliers[m] for m in range(lags)])
    made = first.trajectory(start) if first is not None else start[None]
    expected = torch.autograd.grad((made * seeds).sum(), [start, *field.parameters()], allow_unused=True)
    x.requires_grad_()
    found = torch.autograd.grad((net(x) * weight).sum(), [x, *field.parameters()])
    torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-12)
    for one, other, key in zip(found[1:], expected[1:], gradients, strict=True):
        torch.testing.assert_close(one, gradients[key] + (0 if other is None else other), rtol=1e-12, atol=1e-12)


IMPLICIT = {
    "backward euler": ([1], [1, 0], 1),
    "bdf2": ([4 / 3, -1 / 3], [2 / 3, 0, 0], 2),
    "am3": ([1, 0], [5 / 12, 2 / 3, -1 / 12], 3),
    "milne-simpson": ([0, 1], [1 / 3, 4 / 3, 1 / 3], 4),
    "bdf4": ([48 / 25, -36 / 25, 16 / 25, -3 / 25], [12 / 25, 0, 0, 0, 0], 4),
}


@pytest.mark.parametrize("solver", ["newton", "krylov"])
@pytest.mark.parametrize("name", IMPLICIT)
def test_implicit_states_satisfy_the_formula(name, solver):
    alpha, beta, _ = IMPLICIT[name]
    field, lags, h = Field(), len(alpha), 0.1
    with torch.no_grad():
        found = LinearMultistep(field, alpha=alpha, beta=beta, steps=9, t1=9 * h, solver=solver, tol=1e-14).trajectory(
            x0()
        )
        slopes = [field(torch.tensor(n * h, dtype=DOUBLE), x) for n, x in enumerate(found)]
        for n in range(lags - 1, 9):
            past = sum(a * found[n - j] for j, a in enumerate(alpha))
            expected = past + h * sum(b * slopes[n + 1 - j] for j, b in enumerate(beta))
            torch.testing.assert_close(found[n + 1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("name", IMPLICIT)
def test_the_implicit_adjoint_is_autograd_s(name, memory):
    """Autograd through fixed-point iterations of the formula, which contract for this step size."""
    alpha, beta, _ = IMPLICIT[name]
    field, lags, h, steps = Field(), len(alpha), 0.02, 7
    weight = torch.randn(x0().shape, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    options = {"alpha": alpha, "beta": beta, "memory": memory, "tol": 1e-14}

    def slope(n, x):
        return field(torch.tensor(n * h, dtype=DOUBLE), x)

    x = x0().requires_grad_()
    first = LinearMultistep(field, **options, steps=max(lags - 1, 1), t1=max(lags - 1, 1) * h, gradient="autograd")
    states = list(first.trajectory(x))[:lags]
    for n in range(lags - 1, steps):
        slopes = [slope(n - j, states[n - j]) for j in range(lags)]
        past = sum(a * states[n - j] for j, a in enumerate(alpha)) + h * sum(
            b * f for b, f in zip(beta[1:], slopes, strict=True)
        )
        new = past
        for _ in range(40):
            new = past + h * beta[0] * slope(n + 1, new)
        states.append(new)
    expected = torch.autograd.grad((states[-1] * weight).sum(), [x, *field.parameters()])
    y = x0().requires_grad_()
    net = LinearMultistep(field, **options, steps=steps, t1=steps * h)
    found = torch.autograd.grad((net(y) * weight).sum(), [y, *field.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", IMPLICIT)
def test_the_implicit_order_shows(name):
    alpha, beta, order = IMPLICIT[name]
    x = torch.tensor([0.5, 1.0], dtype=DOUBLE)

    def field(t, x):
        return torch.sin(t) - x**2

    with torch.no_grad():
        fine = LinearMultistep(field, alpha=METHODS["ab4"][0], beta=METHODS["ab4"][1], steps=4096)(x)
        errors = [
            float((LinearMultistep(field, alpha=alpha, beta=beta, steps=steps, tol=1e-15)(x) - fine).norm())
            for steps in (48, 96)
        ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.12)


def test_a_stiff_decay_stays_bounded_and_explicit_weights_solve_nothing():
    def stiff(t, x):
        return -1e4 * (x - torch.cos(t))

    x = torch.tensor([2.0], dtype=DOUBLE)
    alpha, beta, _ = IMPLICIT["bdf2"]
    end = LinearMultistep(stiff, alpha=alpha, beta=beta, steps=20, start="forward_euler", t0=-1e-5)(x)
    assert abs(float(end) - math.cos(1.0)) < 1e-2
    assert LinearMultistep(stiff, alpha=[1], beta=[0, 1], steps=3).implicit is None
    with pytest.raises(ValueError, match="solver='gmres'; allowed: 'newton', 'krylov'"):
        LinearMultistep(stiff, alpha=[1], beta=[0, 1], steps=3, solver="gmres")


def test_equations_that_are_not_solved_are_an_error_that_names_the_step():
    alpha, beta, _ = IMPLICIT["backward euler"]
    with pytest.raises(RuntimeError, match=r"LinearMultistep: step 0: Newton's iteration did not converge"):
        LinearMultistep(lambda t, x: x**2 + 100, alpha=alpha, beta=beta, steps=1, max_iter=9)(x0())


def test_it_equals_the_modules_of_fixed_schemes():
    field, x = Field(), x0()
    for fixed, name in ((ForwardEuler, "euler"), (Leapfrog, "leapfrog")):
        alpha, beta, _ = METHODS[name]
        given = LinearMultistep(field, alpha=alpha, beta=beta, steps=7)(x)
        torch.testing.assert_close(given, fixed(field, steps=7)(x), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_calls_the_field_once(name):
    alpha, beta, order = METHODS[name]
    field = Field()
    net = LinearMultistep(field, alpha=alpha, beta=beta, steps=20)
    with torch.no_grad():
        net(x0())
    stages = {1: 1, 2: 1, 3: 2, 4: 3}[order]
    assert field.calls == 20 - (len(alpha) - 1) + stages * (len(alpha) - 1)


def test_a_field_of_x_alone_is_called_with_x():
    linear = nn.Linear(3, 3, dtype=DOUBLE)
    alpha, beta, _ = METHODS["ab2"]
    found = LinearMultistep(linear, alpha=alpha, beta=beta, steps=5)(x0())
    timed = LinearMultistep(lambda t, x: linear(x), alpha=alpha, beta=beta, steps=5)(x0())
    torch.testing.assert_close(found, timed)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_shows(name):
    alpha, beta, order = METHODS[name]
    errors = []
    for steps in (256, 512):
        net = LinearMultistep(lambda t, x: torch.sin(t) - x**2, alpha=alpha, beta=beta, steps=steps)
        x = torch.tensor([0.5, 1.0], dtype=DOUBLE)
        fine = LinearMultistep(
            lambda t, x: torch.sin(t) - x**2, alpha=METHODS["ab4"][0], beta=METHODS["ab4"][1], steps=4096
        )
        errors.append(float((net(x) - fine(x)).norm()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_times_and_second_derivatives_are_differentiated():
    alpha, beta, _ = METHODS["ab2"]
    field = Field()

    def run(x: Tensor, t0: Tensor, t1: Tensor) -> Tensor:
        return LinearMultistep(field, alpha=alpha, beta=beta, steps=3, t0=t0, t1=t1)(x).sin()

    inputs = tuple(torch.tensor(v, dtype=DOUBLE, requires_grad=True) for v in ([0.1, -0.4, 0.7], 0.1, 0.6))
    assert torch.autograd.gradcheck(run, inputs)
    assert torch.autograd.gradgradcheck(run, inputs)


def test_under_vmap_and_forward_mode():
    alpha, beta, _ = METHODS["ab4"]
    net, x = LinearMultistep(Field(), alpha=alpha, beta=beta, steps=6), x0()[0]
    torch.testing.assert_close(torch.vmap(net)(x), net(x), rtol=1e-13, atol=1e-13)
    gradient = torch.vmap(torch.func.grad(lambda one: net(one).sin().sum()))(x)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(net(leaf).sin().sum(), leaf)[0], rtol=1e-12, atol=1e-12)


def test_a_start_may_be_chosen_and_one_of_too_low_an_order_is_refused():
    alpha, beta, _ = METHODS["ab4"]
    field, x = Field(), x0()
    auto = LinearMultistep(field, alpha=alpha, beta=beta, steps=5)(x)
    torch.testing.assert_close(LinearMultistep(field, alpha=alpha, beta=beta, steps=5, start="kutta3")(x), auto)
    with pytest.raises(
        ValueError, match=r"start='heun' has order 2, the scheme 4; allowed: .* 3 or more, 'kutta3' or 'rk4'"
    ):
        LinearMultistep(field, alpha=alpha, beta=beta, steps=5, start="heun")
    with pytest.raises(ValueError, match=r"start='rk5'; allowed: 'auto', .* did you mean 'rk4'"):
        LinearMultistep(field, alpha=alpha, beta=beta, steps=5, start="rk5")
    with pytest.raises(ValueError, match="has order 6 and needs a start of order 5; this file has"):
        sixth = [0, 4277 / 1440, -7923 / 1440, 9982 / 1440, -7298 / 1440, 2877 / 1440, -475 / 1440]
        LinearMultistep(field, alpha=[1, 0, 0, 0, 0, 0], beta=sixth, steps=9)


@pytest.mark.parametrize(
    ("alpha", "beta", "complaint"),
    [
        ([1], [0, 1, 0], "1 alphas and 3 betas; allowed: one alpha or more, and one beta more"),
        ([], [0], "0 alphas"),
        ([1, 1], [0, 1, 0], "alpha sums to 2.0; allowed: 1"),
        ([1], [0, math.nan], "finite numbers"),
        (["a"], [0, 1], "a sequence of real numbers"),
        (1.0, [0, 1], "a sequence of real numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(alpha, beta, complaint):
    with pytest.raises((ValueError, TypeError), match=f"LinearMultistep: .*{complaint}"):
        LinearMultistep(Field(), alpha=alpha, beta=beta, steps=5)


@pytest.mark.parametrize(
    ("alpha", "beta", "root"),
    [
        (*UNSTABLE.values(), "modulus 5"),
        ([2, -1], [0, 1, -1], "a double root of modulus 1"),
        ([0, 0, 0, 1], [0, 4, 0, 0, 0], ""),
    ],
)
def test_a_scheme_that_is_not_zero_stable_is_allowed_with_a_warning(alpha, beta, root):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LinearMultistep(Field(), alpha=alpha, beta=beta, steps=5)(x0())
    said = [str(warning.message) for warning in caught if "zero-stable" in str(warning.message)]
    assert bool(said) is bool(root) and all(root in text for text in said)
    assert all(warning.filename == __file__ for warning in caught)
    assert "not zero-stable" in (LinearMultistep.__doc__ or "")


def test_a_scheme_of_another_equation_is_allowed_with_a_warning():
    with pytest.warns(UserWarning, match=r"order 0: it is consistent with x' = 0.666667 f"):
        LinearMultistep(Field(), alpha=[0.5, 0.5], beta=[0, 1, 0], steps=5)


def test_the_finiteness_of_the_result_is_tested_unless_switched_off():
    def explode(t: Tensor, x: Tensor) -> Tensor:
        return 100 * x**9

    alpha, beta, _ = METHODS["ab2"]
    for gradient in ("derived", "autograd"):
        for needed in (False, True):
            x = torch.full((2,), 2.0, requires_grad=needed)
            net = LinearMultistep(explode, alpha=alpha, beta=beta, steps=8, gradient=gradient, memory="recompute")
            with pytest.raises(NotFiniteError, match=r"LinearMultistep: x_\d of x_0 … x_8 is the first"):
                net(x)
            net.check_finite = False
            assert not torch.isfinite(net(x)).all()
            quiet = LinearMultistep(explode, alpha=alpha, beta=beta, steps=8, check_finite=False)
            assert not torch.isfinite(quiet(x)).all()


def test_the_signature_is_the_promised_one():
    names = list(inspect.signature(LinearMultistep).parameters)
    assert names[0] == "field" and {"alpha", "beta", "steps", "start", "t0", "t1", "memory", "check_finite"} <= set(
        names
    )
    kinds = {p.kind for name, p in inspect.signature(LinearMultistep).parameters.items() if name != "field"}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("kind", [RK4, partial(LinearMultistep, alpha=(0, 1), beta=(0, 2, 0))])
def test_why_nothing_is_inverted_is_said(kind):
    with pytest.raises(ValueError, match=r"memory='invert'; allowed: 'store', .*have the mode where the inverse"):
        kind(nn.Linear(2, 2), steps=3, memory="invert")

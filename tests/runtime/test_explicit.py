"""Sweeps in place of written-out fields: every memory mode, tableau and kind of field against plain autograd."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.emission import emit
from codegen.runtime import quick_tanh
from codegen.verification.loaded import load_text
from derive import ODE, ButcherTableau, Spec, constant, cos, matvec, parameter, sigmoid, state, tanh, time, transpose
from derive.operators import dot

DOUBLE = torch.float64
RK38 = ButcherTableau(
    A=[[0, 0, 0, 0], ["1/3", 0, 0, 0], ["-1/3", 1, 0, 0], [1, -1, 1, 0]],
    b=["1/8", "3/8", "3/8", "1/8"],
    c=[0, "1/3", "2/3", 1],
    title="3/8 rule",
)
t = time("t")
x = state("x", "d")
y, z = state("y", ()), state("z", ())
W, V, K = parameter("W", ("p", "d")), parameter("V", ("d", "p")), parameter("K", ("d", "d"))
b, u, a, k = parameter("b", "p"), parameter("u", "d"), parameter("a"), constant("k")
L, q = parameter("L", ("d", "d"), per_layer=True), parameter("q", "d", per_layer=True)

FIELDS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "two layers": ((x,), (matvec(V, tanh(matvec(W, x) + b)) + u,)),
    "products inside": ((x,), ((u - x + matvec(transpose(K), sigmoid(x - u))) / a,)),
    "nested functions": ((x,), (tanh(cos(matvec(K, x)) * a) - 3 * x,)),
    "matrix of parameters": ((x,), (tanh(matvec(K - transpose(K), x) - k * x + u),)),
    "time in vectors": ((x,), (u * cos(a * t) - matvec(K, x) + matvec(K, u * cos(t)) + tanh(u),)),
    "time in a coefficient": ((x,), (-(x**3) * cos(t) * a + 1 + t,)),
    "an inner product": ((x,), (u - dot(u, x) * x * a,)),
    "two scalars": ((y, z), (z, a * (1 - y**2) * z - k * y + cos(a * t))),
    "one scalar": ((y,), (-a * y**2 + cos(t) * tanh(y),)),
    "values of each step": ((x,), (matvec(L, tanh(x)) * cos(a * t) + q,)),
    "no parameters": ((y, z), (z, -y)),
}


@cache
def module(name: str, scheme: Any) -> Any:
    unknowns, velocity = FIELDS[name]
    system = ODE(unknowns, velocity, time=t if any(v.has(t) for v in velocity) else None)
    text = emit(Spec(id="own", class_name="Own", title="own", system=system, scheme=scheme))
    assert "sweeps=ExplicitSweeps(" in text and "_step_adjoint" not in text
    return load_text(text)


def rows_of(name: str, dtype: torch.dtype = DOUBLE) -> dict[str, Any]:
    """Constructor arguments."""
    generator = torch.Generator().manual_seed(3)
    shapes = {"W": (5, 3), "V": (3, 5), "K": (3, 3), "b": (5,), "u": (3,), "a": (), "L": (7, 3, 3), "q": (7, 3)}
    used = {s.name for value in FIELDS[name][1] for s in value.free_symbols}
    found = {n: 0.4 * torch.randn(s, generator=generator, dtype=dtype) + 0.3 for n, s in shapes.items() if n in used}
    return {
        **found,
        **({"a": torch.tensor(0.7, dtype=dtype)} if "a" in used else {}),
        **({"k": 0.8} if "k" in used else {}),
    }


def results(net: nn.Module, point: Tensor, extra: list[Tensor], trajectory: bool) -> list[Tensor]:
    output = net.trajectory(point) if trajectory else net(point)
    weight = torch.linspace(0.5, 1.5, output.numel(), dtype=output.dtype).reshape(output.shape)
    leaves = [point, *extra, *net.parameters()]
    bars = torch.autograd.grad((output * weight).sin().sum(), leaves, materialize_grads=True)
    return [output.detach(), *bars]


def compare(name: str, scheme: Any, batch: tuple[int, ...], trajectory: bool, memory: str = "store") -> None:
    found = []
    for gradient in ("derived", "autograd"):
        times = [torch.tensor(value, dtype=DOUBLE, requires_grad=True) for value in (0.2, 0.9)]
        arguments = rows_of(name)
        clock = {} if "L" in arguments else {"steps": 7, "t0": times[0], "t1": times[1]}
        h = {"step_size": times[0]} if "L" in arguments else {}
        net = module(name, scheme).Own(**arguments, **clock, **h, memory=memory, gradient=gradient)
        unknowns = FIELDS[name][0]
        features = (3,) if unknowns[0].shape else (2,) if len(unknowns) == 2 else ()
        point = torch.randn((*batch, *features), dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
        found.append(results(net, point.requires_grad_(), times, trajectory))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 1e-12 * other.norm().clamp_min(1e-3)


@pytest.mark.parametrize("trajectory", [False, True])
@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_every_kind(name: str, trajectory: bool) -> None:
    compare(name, "rk4", (4, 2), trajectory)


@pytest.mark.parametrize("scheme", ["forward_euler", "midpoint", "heun", RK38], ids=str)
@pytest.mark.parametrize("name", ["two layers", "two scalars", "time in vectors"])
def test_tableaus(name: str, scheme: Any) -> None:
    compare(name, scheme, (3,), trajectory=False)


@pytest.mark.parametrize("memory", ["recompute", "checkpoint"])
@pytest.mark.parametrize("trajectory", [False, True])
@pytest.mark.parametrize("name", ["two layers", "two scalars", "time in a coefficient", "values of each step"])
def test_memory_modes(name: str, memory: str, trajectory: bool) -> None:
    compare(name, "rk4", (3,), trajectory, memory)


@pytest.mark.parametrize("sizes", [(1, 1), (2, 1), (2, 2), (6, 3), (7, 7)])
@pytest.mark.parametrize("name", ["two layers", "two scalars", "one scalar", "time in vectors", "an inner product"])
def test_blocks_of_any_length(name: str, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    support = vars(module(name, "heun"))
    monkeypatch.setitem(support, "block_sizes", lambda *_: support["BlockSizes"](*sizes))
    compare(name, "heun", (3,), trajectory=False, memory="checkpoint")
    compare(name, "heun", (), trajectory=True)


@pytest.mark.parametrize("name", ["two layers", "two scalars"])
def test_an_empty_batch(name: str) -> None:
    net = module(name, "rk4").Own(**rows_of(name), steps=3)
    point = torch.zeros(0, 3 if name == "two layers" else 2, dtype=DOUBLE, requires_grad=True)
    net(point).sum().backward()
    assert point.grad is not None and point.grad.shape == point.shape
    assert all(not parameter.grad.any() for parameter in net.parameters())


def test_frozen_parameters_and_float32() -> None:
    name = "two layers"
    net = module(name, "rk4").Own(**rows_of(name, torch.float32), steps=5)
    net.W.requires_grad_(False)
    net(torch.randn(4, 3)).sum().backward()
    assert net.W.grad is None and all(p.grad.dtype == torch.float32 for p in net.parameters() if p is not net.W)


def test_the_first_step_that_is_not_finite_is_named() -> None:
    net = module("one scalar", "rk4").Own(a=torch.tensor(-40.0), steps=50, t1=5.0)
    with pytest.raises(RuntimeError, match=r"Own: x_\d+ of x_0 … x_50 is the first state that is not finite"):
        net(torch.tensor([3.0], requires_grad=True))


def test_autocast_takes_the_plain_form() -> None:
    name = "two layers"
    net = module(name, "rk4").Own(**rows_of(name, torch.float32), steps=3)
    point = torch.randn(4, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = net(point)
        net.gradient = "autograd"
        assert torch.equal(value, net(point))


def test_transforms_go_through_the_plain_form() -> None:
    name = "two scalars"
    nets = [module(name, "heun").Own(**rows_of(name), steps=3, gradient=form) for form in ("derived", "autograd")]
    point = torch.randn(3, 2, dtype=DOUBLE)

    def results_of(net: nn.Module) -> list[Tensor]:
        function = lambda one: net(one).sin().sum()  # noqa: E731
        per_sample = torch.vmap(torch.func.grad(function))(point)
        second = torch.func.jacrev(torch.func.grad(function))(point[0])
        return [per_sample, second, torch.func.jacrev(net)(point[0])]

    for one, other in zip(*(results_of(net) for net in nets), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "system",
    [
        ODE((x,), (matvec(K * cos(t), x),), time=t),
        ODE((y, z), (a * cos(t), y * z), time=t),
    ],
    ids=["a matrix that moves", "a slope without state"],
)
def test_other_fields_have_steps_written_out(system: ODE) -> None:
    text = emit(Spec(id="own", class_name="Own", title="own", system=system, scheme="rk4"))
    assert "_step_adjoint" in text and "ExplicitSweeps" not in text


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_tanh_in_place_is_as_exact_as_torchs(dtype: torch.dtype) -> None:
    exact = torch.cat(
        [sign * torch.logspace(-30, 3, 4000, dtype=DOUBLE) for sign in (1, -1)] + [torch.zeros(1).double()]
    )
    value = exact.to(dtype)
    found = quick_tanh.tanh_into(value, torch.empty_like(value))
    error = (found.double() - value.double().tanh()).abs()
    assert bool((error <= 4 * torch.finfo(dtype).eps * value.double().tanh().abs()).all())
    odd = torch.tensor([float("inf"), -float("inf"), float("nan")] * quick_tanh.LEAST_EXPM1, dtype=dtype)
    expected = torch.tensor([1.0, -1.0, 7.0] * quick_tanh.LEAST_EXPM1, dtype=dtype)
    assert torch.equal(quick_tanh.tanh_into(odd, odd).nan_to_num(7.0), expected)


def test_many_rows_in_single_precision() -> None:
    """Products and tanh by the kernel for many rows, in blocks of several steps."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"W": (40, 6), "b": (40,), "V": (6, 40), "u": (6,)}
    numbers = {name: 0.3 * torch.randn(size, generator=generator) for name, size in sizes.items()}
    point = torch.randn(1000, 6, generator=generator).requires_grad_()
    found = []
    for dtype, gradient in ((torch.float32, "derived"), (DOUBLE, "autograd")):
        net = module("two layers", RK38).Own(**numbers, steps=20, gradient=gradient).to(dtype)
        found.append(results(net, point.detach().to(dtype).requires_grad_(), [], trajectory=False))
    for one, other in zip(*found, strict=True):
        assert (one - other).norm() <= 3e-6 * other.norm()

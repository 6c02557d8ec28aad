"""Fields V z(W x + b) + u, whose steps are taken in y = W x + b, against plain autograd of the steps of x."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Spec, cos, matvec, parameter, state, tanh, time, transpose

DOUBLE = torch.float64
t = time("t")
x = state("x", "d")
W, V, M, K = (parameter(name, tuple(shape)) for name, shape in zip("WVMK", ("pd", "dq", "qp", "dd"), strict=True))
b, c, u = parameter("b", "p"), parameter("c", "q"), parameter("u", "d")
a = parameter("a")
hidden = tanh(matvec(W, x) + b)

FIELDS: dict[str, Any] = {
    "two hidden layers": matvec(V, tanh(matvec(M, hidden) + c)) + u,
    "no vectors": matvec(V, tanh(matvec(M, tanh(matvec(W, x))))),
    "a matrix of parameters": matvec(K, cos(matvec(K - transpose(K), x) - u)),
    "a scalar inside": matvec(V, tanh(matvec(M, tanh(matvec(W, x) + a)))),
    "linear": matvec(V, matvec(M, matvec(W, x) + b)) + u,
}
OTHERS: dict[str, Any] = {
    "two products": matvec(transpose(W), hidden**2 * cos(matvec(W, x) + b)) - u,
    "the state besides": matvec(V, tanh(matvec(M, hidden) + c)) - x,
    "a scalar behind": matvec(V, tanh(matvec(M, hidden))) + a,
    "the time": matvec(V, tanh(matvec(M, hidden) + c)) + u * cos(t),
    "two matrices": matvec(K, tanh(matvec(K, x))) + matvec(transpose(K), cos(matvec(K, x) + u)),
    "no product behind": tanh(matvec(K, x)),
}


@cache
def module(name: str, scheme: str) -> Any:
    velocity = {**FIELDS, **OTHERS}[name]
    system = ODE((x,), (velocity,), time=t if velocity.has(t) else None)
    return load_text(emit(Spec(id="own", class_name="Own", title="own", system=system, scheme=scheme)))


def arguments(name: str, p: int = 3, q: int = 4, d: int = 5) -> dict[str, Tensor]:
    sizes = {"p": p, "q": q, "d": d}
    generator = torch.Generator().manual_seed(3)
    found = {}
    for quantity in (W, V, M, K, a, b, c, u):
        if {**FIELDS, **OTHERS}[name].has(quantity):
            shape = [sizes[size] for size in quantity.shape]
            found[quantity.name] = 0.5 * torch.randn(shape, generator=generator, dtype=DOUBLE)
    return found


def results(
    net: torch.nn.Module, batch: tuple[int, ...], frozen: tuple[str, ...] = (), repeated: int = 1
) -> list[Tensor]:
    """Output and gradients of x and of all parameters but the frozen ones; the last of some backward passes counts."""
    for name, one in net.named_parameters():
        one.requires_grad_(name not in frozen)
    point = torch.randn((*batch, 5), dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    point.requires_grad_("x" not in frozen)
    output = net(point)
    leaves = [one for one in (point, *net.parameters()) if one.requires_grad]
    for _ in range(repeated):
        bars = torch.autograd.grad(output.sin().sum(), leaves, retain_graph=True)
    return [output.detach(), *bars]


def compare(
    support: Any,
    name: str,
    batch: tuple[int, ...] = (6,),
    memory: str = "store",
    frozen: tuple[str, ...] = (),
    **options: int,
) -> None:
    found = []
    for gradient in ("derived", "autograd"):
        net = support.Own(**arguments(name), steps=9, t0=0.1, t1=1.4, memory=memory, gradient=gradient)
        found.append(results(net, batch, frozen, **options))
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 1e-12 * other.norm().clamp_min(1e-3)


@pytest.fixture
def calls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Counts the sweeps in y of a module."""

    def counted(support: Any) -> list[str]:
        names: list[str] = []
        for name in ("forward_inner", "reverse_inner"):
            function = getattr(support, name)

            def run(*given: Any, name: str = name, function: Any = function) -> Any:
                names.append(name)
                return function(*given)

            monkeypatch.setattr(support, name, run)
        return names

    return counted


@pytest.mark.parametrize("scheme", ["forward_euler", "heun", "rk4", "rk38"])
@pytest.mark.parametrize("name", FIELDS)
def test_gradients_are_those_of_autograd(name: str, scheme: str, calls: Any) -> None:
    support = module(name, scheme)
    names = calls(support)
    compare(support, name)
    assert names == ["forward_inner", "reverse_inner"]


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("batch", [(), (2, 3), (0,)])
def test_memory_and_batch(memory: str, batch: tuple[int, ...]) -> None:
    compare(module("two hidden layers", "rk4"), "two hidden layers", batch, memory)


@pytest.mark.parametrize("frozen", [("x",), ("W", "V"), ("b", "u", "M"), ("x", "W", "V", "M", "b", "c")])
def test_only_wanted_gradients(frozen: tuple[str, ...]) -> None:
    compare(module("two hidden layers", "rk4"), "two hidden layers", frozen=frozen)


def test_a_second_backward_pass_of_one_graph() -> None:
    compare(module("two hidden layers", "rk4"), "two hidden layers", repeated=2)


@pytest.mark.parametrize("case", ["trajectory", "times with gradients", "large products"])
def test_the_state_itself_is_swept_where_it_must_be(case: str, calls: Any) -> None:
    support = module("two hidden layers", "rk4")
    names = calls(support)
    p = 40 if case == "large products" else 3
    t1 = torch.tensor(1.0, dtype=DOUBLE, requires_grad=case == "times with gradients")
    t1 = t1 if case == "times with gradients" else 1.0
    net = support.Own(**arguments("two hidden layers", p=p, q=p), steps=3, t1=t1)
    point = torch.randn(6, 5, dtype=DOUBLE, requires_grad=True)
    (net.trajectory(point) if case == "trajectory" else net(point)).sum().backward()
    assert not names


@pytest.mark.parametrize("name", OTHERS)
def test_other_fields_have_no_inner_one(name: str) -> None:
    support = module(name, "heun")
    assert not hasattr(support, "_inner_value")
    compare(support, name)


def test_second_derivatives_and_vmap_are_those_of_the_plain_form() -> None:
    net = module("two hidden layers", "rk4").Own(**arguments("two hidden layers"), steps=4)
    plain = module("two hidden layers", "rk4").Own(**arguments("two hidden layers"), steps=4, gradient="autograd")
    point = torch.randn(3, 5, dtype=DOUBLE)

    def slope(one: Any, at: Tensor) -> Tensor:
        return torch.func.grad(lambda value: one(value).sin().sum())(at)

    found, expected = (
        (torch.vmap(lambda v, n=n: slope(n, v))(point), torch.func.jacrev(lambda v, n=n: slope(n, v))(point[0]))
        for n in (net, plain)
    )
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-11 * other.norm()

"""Products of the recurrent sweeps: the same from both kernels, in every layout that the sweeps have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codegen.runtime import matrix_products
from codegen.runtime.dense_kernel import KERNEL
from codegen.runtime.matrix_products import (
    LEAST_SIDE,
    LEAST_WORK,
    add_product,
    is_large,
    product,
    set_product,
    sum_of_products,
)
from generated.lstm_peephole import LSTMPeephole

ROWS, INNER, COLUMNS = 64, 256, 192
LAYOUTS: dict[str, Callable[[int, int], Tensor]] = {
    "plain": torch.randn,
    "transposed": lambda n, m: torch.randn(m, n).mT,
    "columns": lambda n, m: torch.randn(n, 3 * m)[:, m : 2 * m],
    "transposed columns": lambda n, m: torch.randn(m, 2 * n)[:, n:].mT,
    "one row for all": lambda n, m: torch.randn(1, m).expand(n, m),
}


def close(found: Tensor, expected: Tensor) -> bool:
    error = torch.linalg.vector_norm(found.double() - expected) / torch.linalg.vector_norm(expected)
    return float(error) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("scale", [1, 8], ids=["large", "small"])
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_every_layout(left: str, right: str, scale: int) -> None:
    torch.manual_seed(0)
    a, b = LAYOUTS[left](ROWS // scale, INNER // scale), LAYOUTS[right](INNER // scale, COLUMNS // scale)
    assert is_large(a, b) == (scale == 1 and KERNEL is not None)
    exact, bias, base = a.double() @ b.double(), torch.randn(b.shape[1]), torch.randn(len(a), b.shape[1])
    target = torch.randn(len(a), 2 * b.shape[1])[:, ::2]
    assert close(product(a, b), exact)
    assert close(product(a, b, bias), exact + bias)
    for given in (None, bias, base):
        set_product(target, a, b, given)
        assert close(target, exact if given is None else exact + given)
    before = target.double()
    add_product(target, a, b, alpha=-2)
    assert close(target, before - 2 * exact)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(LEAST_WORK, 1, 1), (1, LEAST_WORK, 1), (LEAST_SIDE - 1, 1024, 1024)])
def test_thin_products_are_not_for_the_kernel(shape: tuple[int, int, int]) -> None:
    n, k, m = shape
    assert not is_large(torch.empty(n, k), torch.empty(k, m))


@torch.no_grad()
def test_other_numbers_are_not_for_the_kernel() -> None:
    a, b = torch.randn(ROWS, INNER, dtype=torch.float64), torch.randn(INNER, COLUMNS, dtype=torch.float64)
    assert not is_large(a, b)
    assert torch.equal(product(a, b), a @ b)


def test_sweeps_with_large_products() -> None:
    """float32 gradients of sizes that the kernel serves, against autograd in float64."""
    gradients = []
    for gradient, dtype in (("derived", torch.float32), ("autograd", torch.float64)):
        torch.manual_seed(0)
        net = LSTMPeephole(128, 128, gradient=gradient).to(dtype)
        x = torch.randn(6, 40, 128).to(dtype).requires_grad_()
        net(x)[0].sin().sum().backward()
        gradients.append([x.grad, *(parameter.grad for parameter in net.parameters())])
    assert all(close(found, expected) for found, expected in zip(*gradients, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_the_kernel_gets_second_factors_without_gaps(left: str, right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gaps it falls back to a reference implementation."""
    seen: list[Tensor] = []

    def kernel(first: Tensor, second: Tensor, *_: object) -> Tensor:
        seen.append(second)
        return first @ second.mT

    monkeypatch.setattr(matrix_products, "KERNEL", kernel)
    product(LAYOUTS[left](ROWS, INNER), LAYOUTS[right](INNER, COLUMNS))
    product(LAYOUTS[left](COLUMNS, INNER), LAYOUTS[right](INNER, ROWS))
    assert len(seen) == 2 and all(second.is_contiguous() or second.mT.is_contiguous() for second in seen)


@torch.no_grad()
def test_sums_of_products_lie_as_the_products_come_out() -> None:
    weight = torch.randn(ROWS, COLUMNS)
    for count in (INNER * COLUMNS, 1, 0):
        room = sum_of_products(weight, count)
        assert room.shape == weight.shape and not room.any()
        add_product(room, torch.ones(count, ROWS).mT, torch.ones(count, COLUMNS))
        assert torch.equal(room, torch.full_like(weight, count))
    assert sum_of_products(torch.randn(2, ROWS, COLUMNS), INNER * COLUMNS).is_contiguous()

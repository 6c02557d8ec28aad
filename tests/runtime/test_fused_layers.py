"""The kernel for many rows in single precision, against torch in double precision; where it does not serve."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codegen.runtime import affine, fused_layers
from codegen.runtime.fused_layers import LEAST_PRODUCT, LEAST_TANH, kernel_serves

ROWS, INPUTS, OUTPUTS = 8192, 24, 48
assert max(LEAST_TANH, LEAST_PRODUCT) <= ROWS * OUTPUTS


def operands(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """Rows from tiny to those of ones, the matrix with contiguous columns, and a vector."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.logspace(-7, 0, ROWS)[:, None]
    left = torch.randn(ROWS, INPUTS, generator=generator) * sizes
    right = torch.randn(OUTPUTS, INPUTS, generator=generator).mT
    return left.to(dtype), right.to(dtype), torch.randn(OUTPUTS, generator=generator).to(dtype)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference of any number, relative to that number."""
    return float(((found - expected) / expected).abs().amax())


needs_kernel = pytest.mark.skipif(fused_layers.KERNEL is None, reason="torch was built without oneDNN")


@needs_kernel
@pytest.mark.parametrize("biased", [True, False])
def test_products_and_tanh(biased: bool) -> None:
    left, right, vector = operands()
    bias = vector if biased else None
    exact = left.double() @ right.double() + (vector.double() if biased else 0.0)
    with torch.no_grad():
        assert kernel_serves(left, INPUTS)
        product = affine.affine_into(left, right, bias, torch.empty(ROWS, OUTPUTS))
        value = affine.affine_tanh_into(left, right, bias, torch.empty(ROWS, OUTPUTS))
        layer = fused_layers.linear_tanh(left, right.mT, bias)
    rows = exact.norm(dim=1, keepdim=True)
    assert ((product - exact) / rows).abs().amax() <= 1e-6
    assert ((value - exact.tanh()) / exact.tanh().norm(dim=1, keepdim=True)).abs().amax() <= 1e-6
    assert torch.equal(value, layer)


@needs_kernel
def test_tanh_loses_no_digits_near_zero() -> None:
    x = torch.logspace(-30, 1, ROWS)[:, None].expand(ROWS, OUTPUTS) * torch.tensor([1.0, -1.0]).repeat(OUTPUTS // 2)
    with torch.no_grad():
        assert kernel_serves(x, OUTPUTS)
        found = fused_layers.linear_tanh(x, torch.eye(OUTPUTS), None)
    assert relative(found.double(), x.double().tanh()) <= 3e-7


def test_values_that_are_not_finite_stay_so() -> None:
    x = torch.full((ROWS, OUTPUTS), torch.nan)
    with torch.no_grad():
        assert fused_layers.linear_tanh(x, torch.eye(OUTPUTS), None).isnan().all()


@pytest.mark.parametrize("case", ["double", "a graph", "another size", "one axis", "no rows"])
def test_where_it_does_not_serve(case: str) -> None:
    left, _, _ = operands(torch.float64 if case == "double" else torch.float32)
    given: dict[str, Any] = {"another size": left[:, 1:], "one axis": left[0], "no rows": left[:0]}
    with torch.set_grad_enabled(case == "a graph"):
        assert not kernel_serves(given.get(case, left), INPUTS)


def test_few_rows_are_torchs_own() -> None:
    left, right, vector = (one.detach() for one in operands())
    with torch.no_grad():
        found = fused_layers.linear_tanh(left[:8], right.mT, vector)
        assert torch.equal(found, torch.tanh(nn.functional.linear(left[:8], right.mT, vector)))


def test_second_derivatives_and_transforms_see_torchs_own_layers() -> None:
    layer = nn.Linear(INPUTS, OUTPUTS)
    x = operands()[0].requires_grad_()
    value = fused_layers.linear_tanh(x, layer.weight, layer.bias)
    assert value.grad_fn is not None
    assert torch.equal(value, torch.tanh(layer(x)))

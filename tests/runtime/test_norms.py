"""Lengths, directions and the root of a quadratic: no overflow, no cancellation, and gradients at the kink."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from codegen.runtime.norms import quadratic_root, safe_norm, unit_vector


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)


def test_value_and_derivatives():
    v = numbers(4, 3)
    torch.testing.assert_close(safe_norm(v), torch.linalg.vector_norm(v, dim=-1, keepdim=True), rtol=1e-15, atol=0)
    for function in (safe_norm, unit_vector):
        assert gradcheck(function, v, rtol=1e-6) and gradgradcheck(function, v, rtol=1e-6)


@pytest.mark.parametrize("size", [1e-37, 1e-25, 1e25, 1e37])
def test_no_square_overflows_or_underflows(size):
    v = torch.tensor([3.0, -4.0]) * size
    expected = torch.tensor([5.0]) * size
    torch.testing.assert_close(safe_norm(v), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(unit_vector(v), torch.tensor([0.6, -0.8]), rtol=1e-6, atol=0)


def test_the_zero_vector_has_length_direction_and_gradient_zero():
    v = torch.zeros(2, 3, requires_grad=True)
    assert not safe_norm(v).any() and not unit_vector(v).any()
    (found,) = torch.autograd.grad(safe_norm(v).sum(), v)
    assert not found.any()


@pytest.mark.parametrize("p", ["-1e30", "-3", "-1e-8", "0", "1e-8", "2", "1e30"])
@pytest.mark.parametrize("q", ["0", "1e-12", "1", "1e25"])
def test_the_root_keeps_all_digits(p, q):
    with mpmath.workdps(80):
        a, b = (mpmath.mpf(float(torch.tensor(float(text)))) for text in (p, q))
        truth = (-a + mpmath.sqrt(a * a + 4 * b)) / 2
        found = quadratic_root(torch.tensor([float(p)]), torch.tensor([float(q)]))
        assert abs(mpmath.mpf(float(found)) - truth) <= mpmath.mpf("1e-6") * truth + mpmath.mpf("1e-44")


def test_derivatives_of_the_root():
    p, q = numbers(5, 1), numbers(5, 1).detach().exp().requires_grad_()
    assert gradcheck(quadratic_root, (p, q), rtol=1e-6) and gradgradcheck(quadratic_root, (p, q), rtol=1e-6)

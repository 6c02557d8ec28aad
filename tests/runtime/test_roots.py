"""Roots of monotone equations: against mpmath, from bad starts, with derivatives of every order that is asked for."""

from __future__ import annotations

import mpmath
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.func import hessian, jvp, vmap

from codegen.runtime.roots import monotone_root

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own use


def planar(a, start, k):
    """a + k tanh(a) = start."""
    t = torch.tanh(a)
    return a + k * t - start, 1 + k * (1 - t * t)


def falling(a, start):
    """-a^3 - a = start, which falls."""
    return -(a**3) - a - start, -3 * a * a - 1


def root(start, k):
    return monotone_root(planar, start, start, k)


@pytest.mark.parametrize("k", [-1 + 1e-9, -0.999, -0.5, 0.0, 3.0, 1e4])
def test_roots_are_those_of_mpmath(k):
    starts = torch.tensor([-1e6, -30.0, -1.0, -1e-3, 0.0, 1e-9, 0.4, 2.0, 50.0, 1e5], dtype=torch.float64)
    found = root(starts, torch.tensor(k, dtype=torch.float64))
    with mpmath.workdps(60):
        for start, value in zip(starts.tolist(), found.tolist(), strict=True):
            c, slope = mpmath.mpf(start), mpmath.mpf(float(torch.tensor(k, dtype=torch.float64)))
            low, high = c - abs(slope), c + abs(slope)
            for _ in range(220):
                middle = (low + high) / 2
                low, high = (middle, high) if middle + slope * mpmath.tanh(middle) < c else (low, middle)
            rounding = 4e-16 * (1 + abs(c)) / max(1 + slope * (1 - mpmath.tanh(low) ** 2), mpmath.mpf("1e-9"))
            assert abs(mpmath.mpf(value) - low) <= 4 * rounding


def test_falling_equations_too():
    start = torch.linspace(-100, 100, 41, dtype=torch.float64)
    found = monotone_root(falling, start, start)
    torch.testing.assert_close(-(found**3) - found, start, rtol=1e-13, atol=1e-13)


def test_derivatives_by_the_implicit_function():
    start = torch.randn(4, 1, dtype=torch.float64, requires_grad=True)
    k = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert gradcheck(root, (start, k), rtol=1e-6) and gradgradcheck(root, (start, k), rtol=1e-6)


def test_third_derivative():
    """Of the inverse function of a + k tanh(a), against mpmath's."""
    k = torch.tensor(0.7, dtype=torch.float64)
    point = torch.tensor(0.3, dtype=torch.float64)
    third = torch.func.grad(torch.func.grad(torch.func.grad(lambda c: root(c, k))))(point)
    with mpmath.workdps(50):

        def inverse(c):
            return mpmath.findroot(lambda a: a + mpmath.mpf(float(k)) * mpmath.tanh(a) - c, c)

        expected = mpmath.diff(inverse, mpmath.mpf(float(point)), 3)
    assert abs(float(third) - float(expected)) < 1e-8


def test_transforms():
    start = torch.randn(3, 2, 1, dtype=torch.float64)
    k = torch.tensor([0.2, 0.9, 2.0], dtype=torch.float64)
    expected = torch.stack([root(s, c) for s, c in zip(start, k, strict=True)])
    torch.testing.assert_close(vmap(root)(start, k), expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(vmap(root, (0, None))(start, k[0])[1], root(start[1], k[0]), rtol=1e-13, atol=1e-13)
    value, slope = jvp(lambda c: root(c, k[1]), (start[0],), (torch.ones_like(start[0]),))
    torch.testing.assert_close(slope, 1 / (1 + k[1] * (1 - torch.tanh(value) ** 2)), rtol=1e-12, atol=1e-12)
    assert hessian(lambda c: root(c, k[0]).sum())(start[0]).shape == (2, 1, 2, 1)


def test_an_equation_without_a_root_says_so():
    start = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="2 of 2 scalar equations have no root after 240 iterations; allowed"):
        monotone_root(lambda a, c: (torch.exp(a) + 1, torch.exp(a)), start, start)


def test_what_is_not_a_number_comes_through():
    start = torch.tensor([torch.nan, 1.0], dtype=torch.float64)
    found = root(start, torch.tensor(0.5, dtype=torch.float64))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.slow
def test_compiled_in_one_graph_with_the_search_as_one_operation():
    torch.compiler.reset()
    start = torch.tensor([-30.0, -1e-3, 0.4, 2.0, 1e5], dtype=torch.float64, requires_grad=True)
    k = torch.tensor(-0.999, dtype=torch.float64, requires_grad=True)
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    def found(run):
        value = run(start, k)
        return value, *torch.autograd.grad(torch.sin(value).sum(), (start, k))

    torch.compile(root, fullgraph=True, backend=backend)(start, k)
    (graph,) = graphs
    assert len(graph.graph.nodes) < 60, "not an operation for each iteration"
    torch.testing.assert_close(found(torch.compile(root, fullgraph=True)), found(root), rtol=1e-12, atol=1e-12)

"""The stability region in floats, for plots only: points of its boundary locus, and membership of many points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derive.errors import UnsupportedError
from derive.linear_stability.functions import (
    Multistep,
    Polynomials,
    RationalFunction,
    Scheme,
)
from derive.linear_stability.verdicts import polynomials_of

Complex = NDArray[np.complex128]
SLACK = 1e-10


def boundary_locus(scheme: Scheme, n: int = 400) -> Complex:
    r"""Points z at which a root of the stability polynomial is $e^{i\theta}$.

    Args:
        scheme: a Runge-Kutta or multistep scheme without symbols.
        n: number of angles in [0, 2 pi).

    Returns:
        Shape (n, branches): branches = max(deg P, deg Q) for Runge-Kutta, 1 for multistep; infinite where a branch is.

    Raises:
        UnsupportedError: schemes of several parts, or with symbols.
    """
    data = _numeric(scheme)
    circle = np.exp(2j * np.pi * np.arange(n) / n)
    first, second = _floats(data)
    if isinstance(data, Multistep):
        with np.errstate(divide="ignore", invalid="ignore"):
            curve = np.polyval(np.asarray(first, dtype=complex), circle) / np.polyval(second, circle)
        return np.asarray(curve, dtype=complex)[:, None]
    size = max(len(first), len(second))
    padded = [np.concatenate([np.zeros(size - len(p)), p]) for p in (first, second)]
    points = np.full((n, size - 1), np.inf, dtype=complex)
    for row, zeta in zip(points, circle, strict=True):
        roots = np.roots(padded[0] - zeta * padded[1])
        row[: len(roots)] = roots
    return points


def contains(scheme: Scheme, z: Any) -> NDArray[np.bool_]:
    """Whether points belong to the stability region (all roots in the closed unit disc, to rounding).

    Args:
        scheme: a Runge-Kutta or multistep scheme without symbols.
        z: complex numbers of any shape.

    Returns:
        Booleans of the shape of z.

    Raises:
        UnsupportedError: schemes of several parts, or with symbols.
    """
    data = _numeric(scheme)
    points = np.asarray(z, dtype=complex)
    first, second = _floats(data)
    with np.errstate(all="ignore"):
        if isinstance(data, RationalFunction):
            ratio = np.abs(np.polyval(first, points) / np.polyval(second, points))
            return np.asarray(ratio <= 1 + SLACK)
        largest = _largest_root(np.asarray(first) - points[..., None] * np.asarray(second))
    return np.asarray(largest <= 1 + SLACK)


def _largest_root(coefficients: Complex) -> NDArray[np.float64]:
    """Largest modulus of the roots, highest power first on the last axis, by the eigenvalues of companion matrices."""
    degree = coefficients.shape[-1] - 1
    companion = np.zeros((*coefficients.shape[:-1], degree, degree), dtype=complex)
    companion[..., 0, :] = -coefficients[..., 1:] / coefficients[..., :1]
    companion[..., range(1, degree), range(degree - 1)] = 1
    infinite = ~np.isfinite(companion).all(axis=(-2, -1))
    companion[infinite] = 2 * np.eye(degree)
    return np.asarray(np.abs(np.linalg.eigvals(companion)).max(axis=-1))


def _numeric(scheme: Scheme) -> Polynomials:
    data = polynomials_of(scheme)
    if not isinstance(data, RationalFunction | Multistep):
        raise UnsupportedError(f"{scheme.title}: a scheme of several parts has no region in the plane of z")
    if data.domain.is_FractionField:
        raise UnsupportedError(f"{scheme.title}: give values to {', '.join(map(str, data.domain.symbols))} to plot")
    return data


def _floats(data: Polynomials) -> list[Sequence[float]]:
    """Coefficients, highest power first."""
    return [[float(data.domain.to_sympy(a)) for a in reversed(p)] for p in data.coefficients]

"""Roots of polynomials with numbers as coefficients: eigenvalues of the companion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch


def roots_of(coefficients: Sequence[complex]) -> list[complex]:
    """All roots of a polynomial, its coefficients by falling powers, the first of them not zero."""
    first, *others = coefficients
    companion = torch.zeros(len(others), len(others), dtype=torch.complex128)
    companion[0] = torch.tensor([-one / first for one in others], dtype=torch.complex128)
    companion[1:, :-1] = torch.eye(len(others) - 1, dtype=torch.complex128)
    found: list[complex] = torch.linalg.eigvals(companion).tolist()
    return found


@lru_cache(maxsize=256)
def largest_root(coefficients: tuple[complex, ...]) -> float:
    """Modulus of the largest root; inf where the first coefficient is zero or one is not finite."""
    if coefficients[0] == 0 or not all(math.isfinite(abs(one)) for one in coefficients):
        return math.inf
    return max(map(abs, roots_of(coefficients)))

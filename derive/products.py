"""Random products of matrices, by which bounds on the growth of gradients are sampled."""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-9
SAMPLES = 40


def orthogonal(random: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(random.normal(size=(3, 3)))[0]


def chain_violations(slack: float, gamma: float = 1.0, lower: bool = True) -> int:
    """How many products |v J_3 J_2 J_1| / |v| leave the bounds; J = W diag(f') with 0 <= f' <= gamma.

    In every second chain the singular directions are aligned, so that the bounds are attained.
    """
    wrong = 0
    for seed in range(SAMPLES):
        random, aligned = np.random.default_rng(seed), seed % 2
        left, product, sizes = orthogonal(random), np.eye(3), []
        v = left[:, (seed // 2) % 3] if aligned else random.normal(size=3)
        for _ in range(3):
            size, right = np.sort(random.uniform(0.3, 2.0, 3))[::-1], orthogonal(random)
            slope = gamma if aligned or lower else random.uniform(0, gamma, 3)
            product = product @ (left * size) @ right.T * slope
            left = right if aligned else orthogonal(random)
            sizes.append(gamma * size)
        length = np.linalg.norm(v @ product) / np.linalg.norm(v)
        low, high = (np.prod([size[place] for size in sizes]) for place in (-1, 0))
        wrong += length > high * slack * (1 + ROUNDING) or (lower and length < low / slack * (1 - ROUNDING))
    return int(wrong)


def power_violations(slack: float) -> int:
    """How many |W^n| leave [rho^n, kappa rho^n]; every second W is symmetric, which attains both."""
    wrong = 0
    for seed in range(SAMPLES):
        random = np.random.default_rng(seed)
        U, values = orthogonal(random), random.uniform(0.5, 1.2, 3)
        U = U if seed % 2 else U @ (np.eye(3) + 0.5 * random.normal(size=(3, 3)))
        norm = np.linalg.norm(np.linalg.matrix_power((U * values) @ np.linalg.inv(U), 12), 2)
        low = max(values) ** 12
        wrong += not low / slack * (1 - ROUNDING) <= norm <= low * np.linalg.cond(U) * slack * (1 + ROUNDING)
    return int(wrong)

"""How the relations of `bibo` are measured: runs on bounded inputs, the worst ones among them."""

from typing import Any

import mpmath
import numpy as np

from derive.convergence import Values
from derive.operators import Numeric
from derive.recursions.gains import peak_gain

RUNS, STEPS = 40, 60
ROUNDING = 1e-9


def loud(weight: Any, gain: Any, size: Any) -> Numeric:
    """|h| of h -> w h + c x after so many steps that no more comes, with |x| = size and the sign that adds up."""
    h, x = mpmath.mpf(0), mpmath.mpf(size)
    for _ in range(int(mpmath.ceil(150 / -mpmath.log(abs(weight)))) + 1):
        h = weight * h + gain * x
        x = x if weight > 0 else -x
    return abs(h)


def summed(steps: int) -> Numeric:
    """h of h -> h + 1 from 0."""
    h = mpmath.mpf(0)
    for _ in range(steps):
        h = h + 1
    return h


def above_the_gain(factor: Any) -> int:
    """Runs of random matrices on inputs of length 1, the worst for one of them included, that exceed factor * bound."""
    wrong = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        size = 1 + seed % 3
        W, C = random.normal(size=(size, size)), random.normal(size=(size, 1))
        W *= random.uniform(0.2, 0.9) / max(abs(np.linalg.eigvals(W)))
        h = begin = random.normal(size=size)
        gain, first = peak_gain(W.tolist(), C.tolist()).high, np.eye(size)
        signs = np.sign([(np.linalg.matrix_power(W, STEPS - j) @ C)[0, 0] for j in range(STEPS)])
        if size == 1:
            begin = h = 0 * begin
        for t in range(STEPS):
            x = signs[t] if seed % 2 == 0 or size == 1 else random.uniform(-1, 1)
            h, first = W @ h + C[:, 0] * x, W @ first
            bound = np.linalg.norm(first, 2) * np.linalg.norm(begin) + gain
            wrong += bool(np.linalg.norm(h) > float(factor) * bound * (1 + ROUNDING))
    return wrong


def sigmoid(z: Numeric) -> Numeric:
    """In float64."""
    return 1 / (1 + np.exp(-z))


def lstm_above(factor: Any) -> int:
    """Steps at which an LSTM with random or saturated gates has |C_t| > factor * (|C_0| + t) or |h_t| > factor."""
    wrong = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        C = start = random.normal(size=3) if seed % 2 else np.zeros(3)
        for t in range(1, STEPS + 1):
            f, i, o, candidate = random.normal(size=(4, 3)) * 3 if seed % 4 else np.full((4, 3), 100.0)
            C = sigmoid(f) * C + sigmoid(i) * np.tanh(candidate)
            h = sigmoid(o) * np.tanh(C)
            wrong += bool(np.any(abs(C) > float(factor) * (abs(start) + t) * (1 + ROUNDING)))
            wrong += bool(np.any(abs(h) > float(factor) * (1 + ROUNDING)))
    return wrong


def gru_above(factor: Any) -> int:
    """Steps at which a GRU with random or saturated gates leaves max(|h_0|, 1) times a factor."""
    wrong = 0
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        h = start = random.normal(size=3) * (seed % 3)
        for _ in range(STEPS):
            z, candidate = random.normal(size=(2, 3)) * 3 if seed % 4 else np.full((2, 3), 100.0)
            h = (1 - sigmoid(z)) * h + sigmoid(z) * np.tanh(candidate)
            wrong += bool(np.any(abs(h) > float(factor) * np.maximum(abs(start), 1) * (1 + ROUNDING)))
    return wrong


def saturated_cell(known: Values, amount: Any) -> Numeric:
    """C_t after `amount` steps of an LSTM with gates and candidate at 1, from the sampled C_0."""
    (start,) = (value for quantity, value in known.items() if quantity.name == "C_0")
    one = 1 / (1 + mpmath.exp(mpmath.mpf(-400)))
    for _ in range(amount):
        start = one * start + one * mpmath.tanh(mpmath.mpf(400))
    return start

"""How the relations of `deep19_gradient_profile` are measured: Gaussian integrals, and random nets in float64."""

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np

LAYERS, WIDTH, SAMPLES, SEEDS = 19, 300, 8, 3
FAR = 12


def gaussian(function: Callable[[Any], Any], variance: Any) -> Any:
    """E function(z) for a normal z."""
    size = mpmath.sqrt(variance)
    return mpmath.quad(lambda z: function(size * z) * mpmath.npdf(z), [-FAR, 0, FAR])


def sigmoid(z: Any) -> Any:
    """Logistic."""
    return 1 / (1 + mpmath.exp(-z))


def decades_of_sigmoid(weight_variance: Any) -> Any:
    """-log10 sqrt(chi) at the fixed point of q = sigma_w^2 E f^2: what a layer of sigmoids takes from gradients."""
    with mpmath.workdps(15):
        q = mpmath.mpf(1) / 3
        for _ in range(10):
            q = weight_variance * gaussian(lambda z: sigmoid(z) ** 2, q)
        chi = weight_variance * gaussian(lambda z: (sigmoid(z) * (1 - sigmoid(z))) ** 2, q)
        return -mpmath.log10(chi) / 2


def profile(weight_variance: float, f: Callable[[Any], Any], slope: Callable[[Any], Any], seed: int) -> list[float]:
    """log10 of the mean |gradient of the weights of a neuron| in each layer, output first, bias 0."""
    random = np.random.default_rng(seed)
    values, slopes = [random.normal(size=(SAMPLES, WIDTH))], []
    weights = [random.normal(size=(WIDTH, WIDTH)) * np.sqrt(weight_variance / WIDTH) for _ in range(LAYERS)]
    for W in weights:
        z = values[-1] @ W.T
        values.append(f(z))
        slopes.append(slope(z))
    found, carried = [], random.normal(size=(SAMPLES, WIDTH))
    for W, before, steep in zip(weights[::-1], values[-2::-1], slopes[::-1], strict=True):
        delta = carried * steep
        rows = np.linalg.norm(np.einsum("bi,bj->bij", delta, before), axis=2)
        found.append(float(np.log10(rows.mean())))
        carried = delta @ W
    return found


@cache
def measured(name: str) -> float:
    """Decades that a layer takes from the gradients of weights, between the third and the last but third layer."""
    functions: dict[str, Any] = {
        "sigmoid": (
            lambda z: 1 / (1 + np.exp(-z)),
            lambda z: 1 / (2 + np.exp(z) + np.exp(-z)),
        ),
        "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    }
    slopes = []
    f, slope = functions[name]
    for seed in range(SEEDS):
        inner = profile(1.0, f, slope, seed)[3:-3]
        slopes.append(-np.polyfit(range(len(inner)), inner, 1)[0])
    return float(np.mean(slopes))


def sigmoid_misses(claimed: Any) -> int:
    """1 where random nets of sigmoids lose another number of decades per layer than claimed, to 3 %."""
    return int(abs(measured("sigmoid") / float(claimed) - 1) > 0.03)


def relu_misses(claimed: Any) -> int:
    """1 where random nets of rectified units lose another number of decades than claimed, to 0.02."""
    return int(abs(measured("relu") - float(claimed)) > 0.02)


def relu_ratio(layers: int) -> Any:
    """sqrt of (E f'^2 / (E f^2 / q)) per layer: backward over forward factor, after so many layers."""
    back = mpmath.quad(mpmath.npdf, [0, 5, 12, 30])
    forth = mpmath.quad(lambda z: z**2 * mpmath.npdf(z), [0, 5, 12, 30])
    return (back / forth) ** (mpmath.mpf(layers) / 2)


def row_lengths(delta: Any, before: Any) -> Any:
    """Length of each row of the outer product."""
    return np.array([mpmath.sqrt(((d * before) ** 2).sum()) for d in delta], dtype=object)

"""How the relations of `deep19_gradient_profile` are measured: Gaussian integrals, and random nets in float64."""

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np

LAYERS, WIDTH, SAMPLES, SEEDS = 19, 300, 8, 3
UNITS = 1024  # of the net that is spoken of; WIDTH of those beside it, which have the same n * variance and biases
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


Function = Callable[[Any], Any]
# Activation -> the function and its slope, on arrays.
ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda z: 1 / (2 + np.exp(z) + np.exp(-z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
}
# Initialization -> n times the variance of weights, and the variance of biases, in layers of n = UNITS units.
INITIALIZATIONS: dict[str, tuple[float, float]] = {
    f"uniform on +-1/sqrt(n), bias too, n = {UNITS}": (1 / 3, 1 / (3 * UNITS)),
    "normal of variance 1/n": (1.0, 0.0),
    "normal of variance 2/n": (2.0, 0.0),
    f"normal of variance 0.01^2, n = {UNITS}": (0.01**2 * UNITS, 0.0),
}
POINTS = np.linspace(-FAR, FAR, 4801)
WEIGHTS = np.exp(-(POINTS**2) / 2) / np.exp(-(POINTS**2) / 2).sum()


def inner_slope(logs: Any) -> float:
    """Slope of a line through all but the outer three layers on each side, the first layer first."""
    inner = logs[3:-3]
    return float(np.polyfit(range(len(inner)), inner, 1)[0])


@cache
def derived(name: str, weight_variance: float, bias_variance: float) -> float:
    """Decades that a layer takes from gradients of weights on the way to the input, in wide nets.

    Second moments of outputs go forwards, m_k = E f(sqrt(q_k) z)^2, q_k = sigma_w^2 m_(k-1) + sigma_b^2, m_0 = 1;
    |delta_k|^2 = chi_k |delta_(k+1)|^2 goes backwards; the gradient of row j is delta_(k,j) f_(k-1).
    """
    f, slope = ACTIVATIONS[name]
    moments, factors = [1.0], []
    for _ in range(LAYERS):
        z = np.sqrt(weight_variance * moments[-1] + bias_variance) * POINTS
        moments.append(float(WEIGHTS @ f(z) ** 2))
        factors.append(weight_variance * float(WEIGHTS @ slope(z) ** 2))
    deltas = np.cumsum(np.log10(factors)[::-1])[::-1]
    return inner_slope((np.log10(moments[:-1]) + deltas) / 2)


@cache
def measured(name: str, weight_variance: float = 1.0, bias_variance: float = 0.0) -> float:
    """The same of random nets: the mean over neurons, samples and seeds."""
    return float(np.mean([_of_a_net(name, weight_variance, bias_variance, seed) for seed in range(SEEDS)]))


def _of_a_net(name: str, weight_variance: float, bias_variance: float, seed: int) -> float:
    f, slope = ACTIVATIONS[name]
    random = np.random.default_rng(seed)
    values, slopes, weights = [random.normal(size=(SAMPLES, WIDTH))], [], []
    for _ in range(LAYERS):
        weights.append(random.normal(size=(WIDTH, WIDTH)) * np.sqrt(weight_variance / WIDTH))
        z = values[-1] @ weights[-1].T + random.normal(size=WIDTH) * np.sqrt(bias_variance)
        values.append(f(z))
        slopes.append(slope(z))
    found, carried = [], random.normal(size=(SAMPLES, WIDTH))
    for W, before, steep in zip(weights[::-1], values[-2::-1], slopes[::-1], strict=True):
        delta = carried * steep
        found.append(float(np.log10((np.linalg.norm(before, axis=1)[:, None] * np.abs(delta)).mean())))
        carried = delta @ W
    return inner_slope(found[::-1])


def misses(initialization: str, claimed: tuple[float, ...]) -> int:
    """How many activations lose other decades in random nets than claimed, to 0.03 and 3 %."""
    found = (measured(name, *INITIALIZATIONS[initialization]) for name in ACTIVATIONS)
    return sum(abs(one - other) > 0.03 + 0.03 * abs(other) for one, other in zip(found, claimed, strict=True))


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

"""Linear stability of every scheme: exact verdicts with proofs, never a grid, no floats inside a verdict."""

from derive.linear_stability.attributes import StabilityAttributes
from derive.linear_stability.functions import stability_function, stability_polynomial
from derive.linear_stability.verdicts import (
    RootVerdict,
    a_stability,
    alpha_stability,
    imaginary_interval,
    l_stability,
    real_interval,
    zero_stability,
)

__all__ = [
    "RootVerdict",
    "StabilityAttributes",
    "a_stability",
    "alpha_stability",
    "imaginary_interval",
    "l_stability",
    "real_interval",
    "stability_function",
    "stability_polynomial",
    "zero_stability",
]

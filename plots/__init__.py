"""Plots of schemes and systems: data first, then their drawing; matplotlib alone draws.

Importing this package imports matplotlib, which is an optional dependency (`pip install derive[plots]`).
"""

from plots.plotting import plot
from plots.register import kinds_of

__all__ = ["kinds_of", "plot"]

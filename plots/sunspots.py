"""The yearly mean sunspot numbers, 1700 to 2008: a short real series with a cycle; the file names its source."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from plots.runs import Array

UNIT = 100.0  # numbers over this are of size 1


def sunspots() -> tuple[Array, Array]:
    """The years, and the mean number of sunspots in each."""
    text = files("plots").joinpath("data/sunspots.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if line[:1].isdigit()]
    years, numbers = np.array(rows, dtype=float).T
    return years, numbers

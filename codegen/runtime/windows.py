"""Windows: tuples of the last values of a quantity, newest first, which move on without copying anything."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Window = tuple[Tensor, ...]


def windows(state: Window, count: int) -> list[Window]:
    """The windows that a state consists of, all of one length."""
    lags = len(state) // count
    return [state[place : place + lags] for place in range(0, len(state), lags)]


def lag_shift(value: Tensor, past: Window) -> Window:
    """The window one step later: the value in front, the oldest dropped."""
    return (value, *past[:-1])


def lag_unshift(past: Window) -> Window:
    """The window without its newest value, zero at its end."""
    return (*past[1:], torch.zeros_like(past[-1]))


def lag_front(value: Tensor, like: Window) -> Window:
    """The window that has the value in front and is zero elsewhere."""
    return (value, *(torch.zeros_like(past) for past in like[1:]))


def lag_sum(weights: Sequence[float], past: Window) -> Tensor:
    """Sum over the lags of weight times value; a weight of zero costs nothing."""
    terms = [weight * value for weight, value in zip(weights, past, strict=True) if weight != 0.0]
    return sum(terms[1:], terms[0]) if terms else torch.zeros_like(past[0])


def lag_outer(weights: Sequence[float], value: Tensor) -> Window:
    """The window of weight times value."""
    return tuple(weight * value for weight in weights)


def lag_total(first: Window, *others: Window) -> Window:
    """The sum of windows."""
    return tuple(sum(rest, value) for value, *rest in zip(first, *others, strict=True))

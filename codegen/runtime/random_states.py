"""The random state that a block may draw from: read, set, and kept for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def random_state(device: torch.device) -> tuple[Tensor, ...]:
    """State of the generators that a block on `device` may draw from."""
    if device.type == "cuda":
        return (torch.get_rng_state(), torch.cuda.get_rng_state(device))
    return (torch.get_rng_state(),)


@contextlib.contextmanager
def random_state_of(states: tuple[Tensor, ...] | None, device: torch.device) -> Iterator[None]:
    """Run under remembered generator states and put the present ones back; None leaves them alone."""
    if states is None:
        yield
        return
    present = random_state(device)
    set_random_state(states, device)
    try:
        yield
    finally:
        set_random_state(present, device)


def set_random_state(states: tuple[Tensor, ...], device: torch.device) -> None:
    """Set the generators read by `random_state`."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)


def check_generator(owner: str, generator: Any, given: Any, name: str) -> None:
    """Refuse what is no generator, and one that would draw nothing since what it draws is given as `name`."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"{owner}: generator is a {type(generator).__name__}; allowed: a torch.Generator, or None")
    if generator is not None and given is not None:
        raise ValueError(f"{owner}: generator is given with {name}, so that it draws nothing; allowed: one of the two")

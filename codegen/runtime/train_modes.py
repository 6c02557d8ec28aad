"""Train/eval modes of modules, as a second call needs them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from torch import nn


@contextlib.contextmanager
def modes_as_called(modes: Iterable[tuple[nn.Module, bool]]) -> Iterator[None]:
    """Modules in the modes that they had in the first call."""
    changed = [(module, mode) for module, mode in modes if module.training is not mode]
    for module, mode in changed:
        module.training = mode
    try:
        yield
    finally:
        for module, mode in changed:
            module.training = not mode

"""Emitted modules, imported to be run: what the plots of nets share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive.systems import Spec


def module_class(spec: Spec) -> Callable[..., nn.Module]:
    """The main class of the emitted module."""
    kind: Callable[..., nn.Module] = getattr(_loaded(emit(spec)), spec.class_name)
    return kind


@cache
def _loaded(text: str) -> Any:
    return load_text(text)

"""Emitted modules, imported to be run: what the plots of nets share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import nn

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive.systems import Spec


def module_class(spec: Spec) -> Callable[..., nn.Module]:
    """The main class of the emitted module."""
    kind: Callable[..., nn.Module] = getattr(_loaded(emit(spec)), spec.class_name)
    return kind


def recurrent_module(spec: Spec, option: str, features: int, size: int, **more: Any) -> Any:
    """One layer of a variant of a recurrent cell, in float64, all of whose states and outputs have one size."""
    kind = module_class(spec)
    wanted = [one for one in signature(kind).parameters.values() if one.default is one.empty]
    return kind(features, *(size for _ in wanted[1:]), dtype=torch.float64, **spec.chosen(option), **more)


@cache
def _loaded(text: str) -> Any:
    return load_text(text)

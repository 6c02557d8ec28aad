"""Blocks whose gradients are derived: nothing but their arguments and parameters may need gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


def refuse_others(value: Any, known: Iterable[Any]) -> None:
    """Refuse a value that reads tensors needing gradients beside the known ones, whose gradients would be lost.

    Raises:
        ValueError: there are some.
    """
    if not isinstance(value, Tensor) or not value.requires_grad:
        return
    tensors = [one for one in known if isinstance(one, Tensor)]
    leaves = {id(one) for one in tensors}
    seen = {None, *(one.grad_fn for one in tensors)}
    todo = [value.grad_fn]
    if value.grad_fn is None and id(value) not in leaves:
        raise ValueError(OTHERS)
    while todo:
        node: Any = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable") and id(node.variable) not in leaves:
            raise ValueError(OTHERS)
        todo += [earlier for earlier, _ in node.next_functions]


OTHERS = (
    "it uses tensors needing gradients that are not its parameters, which only gradient='autograd' can follow; "
    "allowed: a module that has these tensors as its parameters, or gradient='autograd'"
)


def closed_field(field: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A plain function as field, refused where it uses tensors that need a gradient but are not seen from outside."""

    def closed(*points: Any, call: int | None = None) -> Tensor:
        with torch.enable_grad():
            value = field(*(point.detach() if isinstance(point, Tensor) else point for point in points), call=call)
        if value.requires_grad:
            raise ValueError(
                "the field is a plain function that uses tensors needing gradients, which only memory='store' can "
                "follow; allowed: an nn.Module with these tensors as its parameters, or memory='store'"
            )
        return value

    return closed

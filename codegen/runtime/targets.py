"""What a loss is given: a read-out whole or not at all, and a target that fits the output."""

from __future__ import annotations

import torch
from torch import Tensor


def has_readout(owner: str, output: Tensor, size: str, **given: tuple[Tensor | None, tuple[str, ...]]) -> bool:
    """Whether there is one; refuses a part of one and sizes that differ; `size` names the last axis of `output`."""
    missing = [name for name, (tensor, _) in given.items() if tensor is None]
    if missing:
        if len(missing) < len(given):
            present = " and ".join(name for name in given if name not in missing)
            together = " and ".join(given)
            raise ValueError(
                f"{owner}: {present} without {' and '.join(missing)}; allowed: {together}, or none of them"
            )
        return False
    known = {size: (output.shape[-1], "output")}
    for name, (tensor, axes) in given.items():
        assert tensor is not None
        place = f"{owner}: {name} has shape {tuple(tensor.shape)}"
        if tensor.dim() != len(axes):
            raise ValueError(f"{place}; allowed: {len(axes)} axes ({', '.join(axes)}), read {tensor.dim()}")
        for axis, letter in enumerate(axes):
            wanted, source = known.setdefault(letter, (tensor.shape[axis], name))
            if tensor.shape[axis] != wanted:
                allowed = f"axis {axis} of size {wanted}, which is {letter} of {source}"
                raise ValueError(f"{place}; allowed: {allowed}, read size {tensor.shape[axis]}")
    return True


def checked_target(owner: str, target: Tensor, output: Tensor, *, classes: bool) -> Tensor:
    """The target in the shape of the output; class indices, where they are allowed, as one-hot vectors."""
    if not isinstance(target, Tensor):
        raise TypeError(f"{owner}: target is of type {type(target).__name__}; allowed: a Tensor")
    allowed = f"a floating target of shape {tuple(output.shape)}"
    if classes:
        allowed += f", or integer class indices of shape {tuple(output.shape[:-1])}"
    if target.is_floating_point():
        check_axes(owner, target, tuple(output.shape), allowed)
        return target
    if not classes or target.is_complex() or target.dtype == torch.bool or target.shape == output.shape:
        read = f"target has dtype {target.dtype} and shape {tuple(target.shape)}"
        raise TypeError(f"{owner}: {read}; allowed: {allowed}")
    check_axes(owner, target, tuple(output.shape[:-1]), allowed)
    check_classes(owner, target, output.shape[-1])
    return torch.nn.functional.one_hot(target.long(), output.shape[-1]).to(output.dtype)


def weighed(owner: str, value: Tensor, weights: Tensor | None, features: int) -> Tensor:
    """Losses or their cotangents, each step and sample times its weight; `features` axes at the end have none.

    One weight for all, or an axis for each of the others, of size 1 where the weights along it are the same: a missing
    axis is not guessed.
    """
    if weights is None:
        return value
    shape = tuple(value.shape[: value.dim() - features])
    allowed = f"allowed: a tensor of one number, or with {len(shape)} axes of the sizes {shape} or 1"
    if not isinstance(weights, Tensor):
        raise ValueError(f"{owner}: weights={weights!r}; {allowed}")
    axes = tuple(weights.shape) or (1,) * len(shape)
    if len(axes) != len(shape) or any(size not in (1, whole) for size, whole in zip(axes, shape, strict=True)):
        raise ValueError(f"{owner}: weights has shape {axes}; {allowed}")
    return value * (weights.unsqueeze(-1) if features else weights)


def check_axes(owner: str, target: Tensor, shape: tuple[int, ...], allowed: str) -> None:
    """Error naming the axis and both sizes unless the target has this shape."""
    place = f"{owner}: target has shape {tuple(target.shape)}"
    if target.dim() != len(shape):
        raise ValueError(f"{place}, {target.dim()} axes in place of {len(shape)}; allowed: {allowed}")
    for axis, (read, wanted) in enumerate(zip(target.shape, shape, strict=True)):
        if read != wanted:
            raise ValueError(f"{place}, size {read} on axis {axis} in place of {wanted}; allowed: {allowed}")


def check_classes(owner: str, target: Tensor, count: int) -> None:
    """Refuse class indices out of range, where they can be read."""
    low, high = entries_between(target)
    if low < 0 or high >= count:
        raise ValueError(f"{owner}: class indices from {low} to {high}; allowed: 0 to {count - 1}")


def check_not_negative(owner: str, target: Tensor) -> None:
    """Refuse a target whose logarithm there is not, where its entries can be read."""
    low, _ = entries_between(target)
    if low < 0:
        raise ValueError(f"{owner}: the least entry of target is {low:.6g}; allowed: 0 or more, its logarithm is taken")


def entries_between(target: Tensor) -> tuple[float, float]:
    """Least and greatest entry, with one host read; zeros while compiling or inside vmap, which forbid it."""
    if torch.compiler.is_compiling() or not target.numel():
        return 0, 0
    try:
        low, high = torch.stack(torch.aminmax(target.detach())).tolist()
    except RuntimeError:
        return 0, 0
    return low, high

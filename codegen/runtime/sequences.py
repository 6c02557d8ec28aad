"""Sequences of unequal length as pieces: runs of steps over which the number of living sequences does not change.

Sequences are sorted by falling length, so a piece (steps, living, features) holds the first `living` of them, and the
number of living sequences never rises from one piece to the next. No step is computed for a sequence that has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def pieces_of_packed(packed: PackedSequence) -> list[Tensor]:
    """Views of the packed data, one (steps, living, features) for each run of equal batch sizes."""
    living, counts = torch.unique_consecutive(packed.batch_sizes, return_counts=True)
    sizes, steps = living.tolist(), counts.tolist()
    parts = packed.data.split([step * size for step, size in zip(steps, sizes, strict=True)])
    return [part.unflatten(0, (step, size)) for part, step, size in zip(parts, steps, sizes, strict=True)]


def packed_like(packed: PackedSequence, pieces: list[Tensor]) -> PackedSequence:
    """The pieces as packed data in the order of `packed`."""
    data = torch.cat([piece.flatten(0, 1) for piece in pieces])
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


def checked_lengths(owner: str, lengths: Tensor | Sequence[int], steps: int, sequences: int) -> Tensor:
    """Lengths as a tensor of integers on the host, each from 1 to the number of steps."""
    try:
        values = torch.as_tensor(lengths, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{owner}: lengths is {lengths!r}; allowed: a Tensor or a list of integers") from None
    if values.shape != (sequences,):
        raise ValueError(
            f"{owner}: lengths has shape {tuple(values.shape)}; allowed: ({sequences},), one for each sequence"
        )
    if sequences and (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool):
        raise TypeError(f"{owner}: lengths has dtype {values.dtype}; allowed: integers")
    for place, value in enumerate(values.tolist()):
        if not 1 <= value <= steps:
            raise ValueError(f"{owner}: lengths[{place}] is {value}; allowed: 1 to {steps}, the steps of x")
    return values


def pieces_of_padded(x: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
    """Pieces of the padded input x (T, B, features) and the order (B,) that sorts its sequences by falling length."""
    ordered, order = lengths.sort(descending=True, stable=True)
    order = order.to(x.device)
    x = x.index_select(1, order)
    stops = torch.unique(ordered).tolist()
    pieces = []
    for start, stop in zip([0, *stops], stops, strict=False):
        pieces.append(x[start:stop, : int((ordered >= stop).sum())])
    return pieces, order


def padded(pieces: list[Tensor], steps: int, back: Tensor, empty: Tensor) -> Tensor:
    """The pieces as one padded tensor (steps, B, features), zero after each sequence's end.

    `back` (B,) undoes the sorting of the sequences; `empty` (0, B, features) gives the shape where there is no piece.
    """
    sequences = back.shape[0]
    rows = [torch.nn.functional.pad(piece, (0, 0, 0, sequences - piece.shape[1])) for piece in pieces]
    whole = torch.cat([empty, *rows])
    whole = torch.nn.functional.pad(whole, (0, 0, 0, 0, 0, steps - whole.shape[0]))
    return whole.index_select(1, back)

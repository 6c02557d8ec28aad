"""Check of exact values that parameters start with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from codegen.verification.gradient_checks import EXACT
from codegen.verification.layer_cases import starting_layers
from codegen.verification.measures import Measured, row, worst_difference
from codegen.verification.recurrent_cases import starting_cell
from codegen.verification.report import Row
from derive.chains import Chain
from derive.starting_values import constants_of, filled
from derive.symbols import Quantity
from derive.systems import Spec

GAIN = 3


def value_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """The parameters of a fresh module, entry by entry; nothing where the spec gives no values."""
    if spec.values:
        yield row(
            spec.id, "parameters at the start against their exact values", EXACT, partial(_difference, spec, kind)
        )


def _difference(spec: Spec, kind: Callable[..., nn.Module]) -> Measured:
    """All constants are another whole number, so that none passes for 1."""
    constants = {q: GAIN + place for place, q in enumerate(constants_of(spec.values))}
    given = {q.name: number for q, number in constants.items()}
    chain = isinstance(next(iter(spec.variants.values())), Chain)
    held: Mapping[Quantity, Tensor] = (starting_layers if chain else starting_cell)(kind, spec, given)
    expected = [
        torch.tensor([float(entry) for entry in filled(value, tuple(held[q].shape), constants)]).reshape(held[q].shape)
        for q, value in spec.values.items()
    ]
    found = [held[q] for q in spec.values]
    return worst_difference(found, [value.double() for value in expected], [q.name for q in spec.values])

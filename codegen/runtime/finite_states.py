"""Which state of a loop is the first that is not finite, and what made it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from codegen.runtime.block_errors import StepError, Where, block_name


class NotFiniteError(StepError):
    """The result is not finite."""


def all_finite(values: Sequence[Tensor]) -> Tensor:
    """Whether all numbers of several tensors are finite, as a tensor of shape ()."""
    answers = [torch.isfinite(value).all() for value in values]
    return answers[0] if len(answers) == 1 else torch.stack(answers).all()


def name_bad_step(name: str, trajectories: Sequence[Tensor], has_blocks: bool, watched: Sequence[Where] = ()) -> None:
    """Raise with the first of the states x_0 … x_N that is not finite; `watched`: the networks that were not, first."""
    answers = [torch.isfinite(one).reshape(len(one), -1).all(1) for one in trajectories]
    finite = torch.stack(answers).all(0).tolist()
    step = finite.index(False) if False in finite else len(finite) - 1
    raise not_finite(name, step, len(finite) - 1, has_blocks, next((w for w in watched if w.step == step - 1), None))


def not_finite(name: str, state: int, steps: int, has_blocks: bool, where: Where | None = None) -> NotFiniteError:
    """The error whose first state that is not finite is x_state of x_0 … x_steps, which a network has made."""
    if state == 0:
        return NotFiniteError(f"{name}: the input x has values that are not finite; allowed: finite values")
    maker = f"step {state - 1}" if where is None else f"the value of the {block_name(where)}"
    other = "blocks with smaller values" if has_blocks else "other parameters: none that is divided by may be zero"
    return NotFiniteError(
        f"{name}: x_{state} of x_0 … x_{steps} is the first state that is not finite (made by "
        f"{maker}); allowed: finite states. Try a smaller step size, or {other}"
    )

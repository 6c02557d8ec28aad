"""Random draws that are given to a module and to the reference alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from codegen.verification.measures import uniform
from codegen.verification.step_setting import Setting
from derive.random_recurrence import Draw, RandomRecurrence
from derive.symbols import Quantity


@dataclass(frozen=True)
class GivenDraws:
    """Draws of all steps.

    Attributes:
        label: what kind of draws they are; empty where the steps read none.
        draws: quantity -> (steps,), or (steps, batch axes, components or 1).
        as_drawn: whether the reverse sweep has the draws of the forward one.
    """

    label: str = ""
    draws: Mapping[Quantity, Tensor] = field(default_factory=dict)
    as_drawn: bool = True

    def arguments(self, device: torch.device) -> dict[str, Any]:
        """What a call of the module is given beside its inputs."""
        found = tuple(value.to(device) for value in self.draws.values())
        return {"draws": found if len(found) > 1 else found[0]} if found else {}

    def of_sample(self, setting: Setting, place: int) -> Setting:
        """The setting with the draws of one sample among its values."""
        values = {q: self._of_sample(q, value, setting, place) for q, value in self.draws.items()}
        return replace(setting, values={**setting.values, **values}) if values else setting

    def _of_sample(self, quantity: Quantity, value: Tensor, setting: Setting, place: int) -> Tensor:
        shape = setting.shape(quantity)
        if value.dim() == 1:
            return value.reshape(-1, *(1 for _ in shape)).expand(-1, *shape)
        return value.reshape(len(value), -1, *shape)[:, place]


def given_draws(setting: Setting, batch: Sequence[int]) -> list[GivenDraws]:
    """Draws of each layer and of each sample; draws of the reverse sweep are once the same and once others."""
    system = setting.recurrence
    if not isinstance(system, RandomRecurrence):
        return [GivenDraws()]
    generator = torch.Generator().manual_seed(23)
    found = []
    for label, shared in (("draws of each layer", True), ("draws of each sample", False)):
        made = {draw: _numbers(draw, setting, () if shared else batch, generator) for draw in system.draws}
        found.append(GivenDraws(label, {q: value for draw, value in made.items() for q in draw.quantities}))
    if system.backward:
        other: dict[Quantity, Tensor] = {}
        for draw, value in made.items():
            other[draw.quantity] = value
            if draw.backward is not None:
                other[draw.backward] = uniform(value.shape, -0.8, 0.8, generator)
        found.append(GivenDraws("backward draws of their own", other, as_drawn=False))
    return found


def _numbers(draw: Draw, setting: Setting, batch: Sequence[int], generator: torch.Generator) -> Tensor:
    """Any numbers, whatever the law; those of layers that may be zero are zero and one in turns."""
    if not batch:
        ones = torch.arange(1, setting.steps + 1, dtype=torch.float64) % 2
        return ones if draw.law.may_vanish else uniform((setting.steps,), -0.8, 0.8, generator)
    features = setting.shape(draw.quantity) or (1,) * (len(setting.unknowns) > 1 or bool(setting.unknowns[0].shape))
    return uniform((setting.steps, *batch, *features), -0.8, 0.8, generator)

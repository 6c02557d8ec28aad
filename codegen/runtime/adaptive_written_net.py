"""The module of a written-out field with adaptive steps."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from codegen.runtime.adaptive_net import AdaptiveNet
from codegen.runtime.adaptive_written import WrittenForm
from codegen.runtime.explicit_field import WrittenField


class WrittenAdaptiveNet(AdaptiveNet):
    """Solves x' = field(t, x) of a field whose derived functions are known."""

    written: ClassVar[WrittenField]
    reads: ClassVar[tuple[str, ...]]

    def form_of(self, x: Tensor, shapes: list[torch.Size] | None, event: Any) -> Any:
        """The field in the forms that a solution needs."""
        if shapes is not None or not isinstance(self.field, nn.Module) or self.functions_of_time():
            return super().form_of(x, shapes, event)
        given = (self.owner, x, self.adjoint, self.memory, event)
        return WrittenForm(self.field, self.written, self.reads, *given)

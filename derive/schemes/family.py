"""All linear multistep schemes as one: the weights are arguments of the emitted module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from derive.errors import SpecError
from derive.schemes.multistep import LinearMultistep
from derive.schemes.runge_kutta import ButcherTableau


@dataclass(frozen=True)
class MultistepFamily:
    r"""$x_{n+1} = \sum_j \alpha_j x_{n-j} + h \sum_{j \ge -1} \beta_j f_{n-j}$ for any number of any weights.

    With $\beta_{-1} = 0$ the step is explicit, else it is an equation in $x_{n+1}$: two forms of one step.

    Attributes:
        starts: name -> explicit one-step scheme that may make the first steps, the smallest first.
        samples: schemes of it, which the emitted module is verified with.
        title: its usual name.

    Raises:
        SpecError: no start or an implicit one.
    """

    starts: Mapping[str, ButcherTableau] = field(hash=False)
    samples: Sequence[LinearMultistep] = ()
    title: str = "linear multistep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", tuple(self.samples))
        implicit = [scheme.title for scheme in self.starts.values() if not scheme.explicit]
        if not self.starts or implicit:
            raise SpecError(f"{self.title}: starts {list(self.starts)}, implicit {implicit}; give explicit schemes")

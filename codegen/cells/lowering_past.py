"""Text of values several steps old: the state with what it was before, cut to what each step reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from codegen.cells.plan_program import CellProgram
from derive.past_values import Lags, Past
from derive.symbols import Quantity, Role

TYPES = {True: "tuple[int, ...]", False: "int"}


def many(quantity: Quantity) -> bool:
    """Whether a quantity has one value for each of several lags."""
    return isinstance(quantity, Past) and isinstance(quantity.lag, Lags)


def lag_arguments(program: CellProgram) -> str:
    """Parameters of an emitted function for the lags that it is told, behind the others."""
    told = [f"{lag.name}: {TYPES[isinstance(lag, Lags)]}" for lag in program.told_lags]
    return f", *, {', '.join(told)}" if told else ""


class PastText:
    """How the values of one state, or of the input, are written: the oldest kept one first, then those of all steps.

    Args:
        source: the state before the step, or the input.
        values: what is read of it beyond its last value.
        names: of local variables.
    """

    def __init__(self, source: Quantity, values: Sequence[Past], names: Callable[..., str]) -> None:
        self.source, self.values = source, values
        self.least = 1 if source.role is Role.STATE else 0
        self.all = names(f"{source.name}_all", source)
        self.lag, self.local = names("k", "lag"), names(f"{source.name}_depth", source)
        self.steps = names("steps")

    @property
    def fixed(self) -> int | None:
        """How many values are kept, where that is known."""
        lags = [value.lag for value in self.values]
        return max(lag for lag in lags if isinstance(lag, int)) if all(isinstance(lag, int) for lag in lags) else None

    @property
    def depth(self) -> str:
        """Text of how many values are kept before the first step."""
        return self.local if self.fixed is None else str(self.fixed)

    def measured(self, text: str) -> list[str]:
        """The line that reads how many values are kept, where that is not known."""
        return [f"{self.local} = {text}"] if self.fixed is None else []

    def cut(self, quantity: Quantity, base: str) -> str:
        """What every step reads, in the order of steps: a slice of `base`, a list of slices for several lags."""
        if not isinstance(quantity, Past):
            return self._slice(base, self.least)
        if isinstance(quantity.lag, Lags):
            return f"[{self._slice(base, self.lag)} for {self.lag} in {quantity.lag.name}]"
        return self._slice(base, quantity.lag if isinstance(quantity.lag, int) else quantity.lag.name)

    def _slice(self, base: str, ago: int | str) -> str:
        start = f"{self.depth} - {ago} "
        if self.fixed is not None and isinstance(ago, int):
            start = "" if self.fixed == ago else str(self.fixed - ago)
        if ago == 0:
            return f"{base}[{start or 0}:]" if start != "0" else base
        if self.least:
            return f"{base}[{start}:{' ' if start.endswith(' ') else ''}-{ago}]"
        return f"{base}[{start}:][:{self.steps}]"

    def rows(self, quantity: Quantity, base: str) -> str:
        """What a loop over steps runs over; a tuple at every step for several lags."""
        cut = self.cut(quantity, base)
        return f"tuple(zip(*{cut}, strict=True))" if many(quantity) else cut

    def kept(self, tensor: str) -> str:
        """Kept values (B, K, ...), newest first, as (K, B, ...), oldest first."""
        return f"{tensor}.flip(1).transpose(0, 1)"

    def handed_back(self, tensor: str) -> str:
        """The inverse of `kept`."""
        return f"{tensor}.flip(0).transpose(0, 1)"

"""A loop over steps of a delay equation: past values are those that the steps computed, or the history before t0."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from codegen.runtime.delay_steps import DelayedSteps, DelayRules
from codegen.runtime.delay_sweeps import DelaySweeps
from codegen.runtime.step_net import StepLoop
from codegen.runtime.steps import State


class DelayNet(StepLoop):
    """A loop over the steps of a delay equation; every delay is a whole number of steps.

    `forward(x, history=None)`: x is the value at t0. Without a history the state had that value before t0, too. A
    history has the values at `history_times()`, on a leading axis, oldest first; of several streams a tuple of them.
    """

    steps: int
    t0: float | Tensor
    t1: float | Tensor

    def __init__(self, rules: DelayRules, *, lags: dict[str, int], **options: Any) -> None:
        lags = {name: check_lag(type(self).__name__, name, lag) for name, lag in lags.items()}
        delayed = DelayedSteps(rules, tuple(lags.values()))
        super().__init__(delayed.as_rules()._replace(sweeps=DelaySweeps(delayed)), **options)
        self.lags, self.depth, self.nodes = lags, delayed.depth, rules.nodes

    def history_times(self) -> Tensor:
        """The times before t0 at which a history is read, oldest first: nodes of the steps of the longest delay."""
        start, end = (torch.as_tensor(time, dtype=torch.float64) for time in (self.t0, self.t1))
        begins = torch.arange(-self.depth, 0, dtype=torch.float64, device=start.device)
        nodes = torch.tensor(self.nodes, dtype=torch.float64, device=start.device)
        return start + (end - start) / self.steps * (begins[:, None] + nodes).flatten()

    def forward(self, *given: Tensor, history: Tensor | tuple[Tensor, ...] | None = None) -> Any:
        """Value of every stream at t0, (..., features) -> those at t1 of the same shapes."""
        return self._run(given, history, trajectory=False)

    def trajectory(self, *given: Tensor, history: Tensor | tuple[Tensor, ...] | None = None) -> Any:
        """The same -> all values from t0 to t1, (steps + 1, ..., features)."""
        return self._run(given, history, trajectory=True)

    def _run(self, given: tuple[Tensor, ...], history: Any, trajectory: bool) -> Any:
        names = self.stream_names()
        if len(given) != len(names):
            owner, allowed = type(self).__name__, ", ".join(names)
            raise TypeError(f"{owner}: {len(given)} initial value(s); allowed: {len(names)} ({allowed})")
        x = self.checked(**dict(zip(names, given, strict=True)))
        found = self.run_steps(x, trajectory, self._history(x, history))
        return found[0] if len(names) == 1 else found

    def stream_names(self) -> tuple[str, ...]:
        """Names of the tensors that hold one value of the state."""
        return ("x",)

    def _history(self, x: State, history: Any) -> tuple[Tensor, ...]:
        """The history of every stream, with an axis of one row, which the first step reads."""
        if history is None:
            return ()
        owner, rows = type(self).__name__, self.depth * len(self.nodes)
        given = history if isinstance(history, tuple) else (history,)
        if len(given) != len(x):
            raise ValueError(f"{owner}: history has {len(given)} tensors; allowed: {len(x)}, one for each unknown")
        for one, value in zip(given, x, strict=True):
            if not isinstance(one, Tensor) or one.dtype != value.dtype:
                read = f"dtype {one.dtype}" if isinstance(one, Tensor) else type(one).__name__
                raise TypeError(f"{owner}: history: read {read}; allowed: a tensor of the dtype of x, {value.dtype}")
            if one.shape != (rows, *value.shape):
                raise ValueError(
                    f"{owner}: history has shape {tuple(one.shape)}; allowed: {(rows, *value.shape)}, the values at "
                    "history_times(), oldest first"
                )
        return tuple(one.unsqueeze(0) for one in given)


def check_lag(owner: str, name: str, lag: Any) -> int:
    """A delay in steps, 1 or more."""
    if isinstance(lag, bool) or not isinstance(lag, int) or lag < 1:
        raise ValueError(
            f"{owner}: {name}={lag!r}; allowed: the delay as a whole number of steps, 1 or more: "
            "choose `steps` so that the delay is a whole multiple of (t1 - t0) / steps"
        )
    return lag

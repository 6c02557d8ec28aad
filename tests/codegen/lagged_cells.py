"""Cells that read values several steps old as a user writes them, each beside an independent step in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from derive import (
    Builder,
    Recurrence,
    Spec,
    Stack,
    input_,
    lag,
    lags,
    matvec,
    parameter,
    past,
    sigmoid,
    state,
    tanh,
    taps,
)

Tensors = Mapping[str, Tensor]
History = Sequence[Tensor]
Step = Callable[[Tensors, History, Sequence[History], Mapping[str, Any]], tuple[Tensor, ...]]
"""(parameters, inputs, states, lags) -> output and new states; what was is given newest first, x_t and h_{t-1} at 0."""

x = input_("x", "I", latex="x_t")
h, g = state("h", "H", latex="h_{t-1}"), state("g", "H", latex="g_{t-1}")
LAGS, TAPS, DELAY = lags("lags", (1, 3)), lags("delays", (0, 2)), lag("delay", 2)


@dataclass(frozen=True, eq=False)
class Lagged:
    """A spec, the same step by hand, how many values its states and its input keep, and lags for the constructor."""

    spec: Spec
    by_hand: Step
    depths: tuple[int, ...]
    inputs: int = 0
    told: Mapping[str, Any] = field(default_factory=dict)


def weights(prefix: str, count: int, *shape: str) -> list[Any]:
    return [parameter(f"{prefix}_{place}", shape) for place in range(count)]


def spec(name: str, step: Builder, old: Any, new: Any, output: Any, *stacks: Stack) -> Spec:
    system = Recurrence(step.build((*new, output) if output not in new else new), old, new, (x,), output)
    return Spec(name, "".join(part.capitalize() for part in name.split("_")), name, system, stacks=stacks)


def gated() -> Lagged:
    """Two gates that see the state two steps back through matrices, and three steps back through peepholes."""
    U, V, P, b = weights("U", 2, "H", "I"), weights("V", 2, "H", "H"), weights("P", 2, "H"), weights("b", 2, "H")
    step, second, third = Builder(), past(h, 2), past(h, 3)
    rows = [matvec(U[k], x) + matvec(V[k], second) + P[k] * third + b[k] for k in range(2)]
    z = step.let("z", sigmoid(step.let("a_z", rows[0])))
    candidate = step.let("y", tanh(step.let("a_y", rows[1])))
    new = step.let("h_next", z * h + (1 - z) * candidate + third / 2)
    stacks = (Stack("U", tuple(U)), Stack("V", tuple(V)), Stack("P", tuple(P), separate=True), Stack("b", tuple(b)))

    def by_hand(p: Tensors, xs: History, states: Sequence[History], _: Any) -> tuple[Tensor, ...]:
        (hs,) = states
        a = xs[0] @ p["U"].T + hs[1] @ p["V"].T + p["b"]
        peep = hs[2][:, None] * p["P"]
        a_z, a_y = (part + peep[:, k] for k, part in enumerate(a.chunk(2, -1)))
        z = torch.sigmoid(a_z)
        value = z * hs[0] + (1 - z) * torch.tanh(a_y) + hs[2] / 2
        return value, value

    return Lagged(spec("lagged_gates", step, (h,), (new,), new, *stacks), by_hand, (3,))


def delayed() -> Lagged:
    """A linear state driven by its own nonlinear output some steps ago, a number that the constructor is told."""
    s, r = state("s", "H"), state("r", "H")
    W_s, W_r, W_x, theta = (
        parameter("W_s", ("H", "H")),
        parameter("W_r", ("H", "H")),
        parameter("W_x", ("H", "I")),
        parameter("theta", "H"),
    )
    step = Builder()
    s_new = step.let("s_next", matvec(W_s, s) + matvec(W_r, past(r, DELAY)) + matvec(W_x, x) + theta)
    r_new = step.let("r_next", tanh(s_new))

    def by_hand(p: Tensors, xs: History, states: Sequence[History], told: Any) -> tuple[Tensor, ...]:
        r_s, s_s = states
        value = s_s[0] @ p["W_s"].T + r_s[told["delay"] - 1] @ p["W_r"].T + xs[0] @ p["W_x"].T + p["theta"]
        return torch.tanh(value), torch.tanh(value), value

    return Lagged(spec("lagged_delay", step, (r, s), (r_new, s_new), r_new), by_hand, (4, 0), told={"delay": 4})


def driven() -> Lagged:
    """A state of one step driven by inputs of several: one fixed lag, and lags that the constructor is told."""
    W, V, Q, b = (
        parameter("W", ("H", "H")),
        parameter("V", ("H", "I")),
        parameter("Q", (TAPS.count, "H", "I")),
        parameter("b", "H"),
    )
    step = Builder()
    a = step.let("a", matvec(W, h) + matvec(V, past(x, 1)) + taps(Q, past(x, TAPS)) + b)
    new = step.let("h_next", tanh(a))

    def by_hand(p: Tensors, xs: History, states: Sequence[History], told: Any) -> tuple[Tensor, ...]:
        a = states[0][0] @ p["W"].T + xs[1] @ p["V"].T + p["b"]
        for k, Q_k in zip(told["delays"], p["Q"], strict=True):
            a = a + xs[k] @ Q_k.T
        return torch.tanh(a), torch.tanh(a)

    return Lagged(spec("lagged_input", step, (h,), (new,), new), by_hand, (0,), 5, {"delays": (5, 0, 3)})


def register() -> Lagged:
    """Taps of one state beside a shift register: the other's new value is the first's old one, unchanged."""
    U, W, V, b = (
        parameter("U", ("H", "I")),
        parameter("W", (LAGS.count, "H", "H")),
        parameter("V", ("H", "H")),
        parameter("b", "H"),
    )
    step = Builder()
    new = step.let("h_next", tanh(matvec(U, x) + taps(W, past(h, LAGS)) + matvec(V, g) + b))

    def by_hand(p: Tensors, xs: History, states: Sequence[History], told: Any) -> tuple[Tensor, ...]:
        hs, gs = states
        a = xs[0] @ p["U"].T + gs[0] @ p["V"].T + p["b"]
        for k, W_k in zip(told["lags"], p["W"], strict=True):
            a = a + hs[k - 1] @ W_k.T
        return torch.tanh(a), torch.tanh(a), hs[0]

    return Lagged(spec("lagged_register", step, (h, g), (new, h), new), by_hand, (4, 0), told={"lags": (2, 4)})


def layered() -> Lagged:
    """No state: a gated layer over two past inputs, with a product of its own inside."""
    U, V, W, b = (
        parameter("U", ("H", "I")),
        parameter("V", ("H", "I")),
        parameter("W", ("H", "H")),
        parameter("b", "H"),
    )
    step = Builder()
    z = step.let("z", sigmoid(step.let("a", matvec(U, x) + matvec(V, past(x, 3)) + b)))
    new = step.let("y", z * tanh(step.let("c", matvec(W, z) + matvec(V, x))))

    def by_hand(p: Tensors, xs: History, states: Sequence[History], _: Any) -> tuple[Tensor, ...]:
        z = torch.sigmoid(xs[0] @ p["U"].T + xs[3] @ p["V"].T + p["b"])
        return (z * torch.tanh(z @ p["W"].T + xs[0] @ p["V"].T),)

    return Lagged(spec("lagged_layer", step, (), (), new), by_hand, (), 3)


CELLS = {cell.__name__: cell() for cell in (gated, delayed, driven, register, layered)}

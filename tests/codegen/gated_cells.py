"""Cells as a user writes them, each beside an independent loop over torch's own functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from sympy import Expr, exp, sin
from torch import Tensor

from derive import (
    Builder,
    Quantity,
    Recurrence,
    Spec,
    Stack,
    input_,
    matvec,
    parameter,
    relu,
    sigmoid,
    softplus,
    state,
    tanh,
)

Tensors = Mapping[str, Tensor]
Step = Callable[[Tensors, Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]

x = input_("x", "I")
h = state("h", "H")
c = state("c", "H")
m = state("m", "H")


@dataclass(frozen=True, eq=False)
class Gated:
    """A spec, and the same step by hand: (parameters by name, x_t, states) -> new states."""

    spec: Spec
    by_hand: Step

    @property
    def states(self) -> int:
        (recurrence,) = self.spec.variants.values()
        return len(recurrence.old)


def weights(prefix: str, gates: str, *shape: str) -> dict[str, Quantity]:
    return {gate: parameter(f"{prefix}_{gate}", shape) for gate in gates}


def spec(name: str, step: Builder, old: tuple[Quantity, ...], new: tuple[Expr, ...], *stacks: Stack) -> Spec:
    system = Recurrence(step.build(new), old, new, (x,), new[0])
    return Spec(name, "".join(part.capitalize() for part in name.split("_")), name, system, stacks=stacks)


def coupled_lstm() -> Gated:
    """The input gate is 1 - f; the forget gate sees the cell; gates stacked."""
    gates = "fgo"
    W, R, b = weights("W", gates, "H", "I"), weights("R", gates, "H", "H"), weights("b", gates, "H")
    p = parameter("p_f", "H")
    step = Builder()
    a = {g: matvec(W[g], x) + matvec(R[g], h) + b[g] for g in gates}
    f = step.let("f", sigmoid(a["f"] + p * c))
    g = step.let("g", tanh(a["g"]))
    c_next = step.let("c_next", f * c + (1 - f) * g)
    o = step.let("o", sigmoid(a["o"]))
    h_next = step.let("h_next", o * tanh(c_next))
    stacks = [Stack(n, tuple(q.values())) for n, q in (("weight_ih", W), ("weight_hh", R), ("bias", b))]

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        f, g, o = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT + v["bias"]).chunk(3, -1)
        f = torch.sigmoid(f + v["p_f"] * c)
        c = f * c + (1 - f) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return Gated(spec("coupled_lstm", step, (h, c), (h_next, c_next), *stacks), by_hand)


def gru_before() -> Gated:
    """Reset before the product, nothing stacked, everything in two lines."""
    W, R, b = weights("W", "zrn", "H", "I"), weights("R", "zrn", "H", "H"), weights("b", "zrn", "H")
    step = Builder()
    z, r = (step.let(g, sigmoid(matvec(W[g], x) + matvec(R[g], h) + b[g])) for g in "zr")
    n = step.let("n", tanh(matvec(W["n"], x) + matvec(R["n"], r * h) + b["n"]))
    h_next = step.let("h_next", (1 - z) * h + z * n)

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        z, r = (torch.sigmoid(x @ v[f"W_{g}"].mT + h @ v[f"R_{g}"].mT + v[f"b_{g}"]) for g in "zr")
        n = torch.tanh(x @ v["W_n"].mT + (r * h) @ v["R_n"].mT + v["b_n"])
        return ((1 - z) * h + z * n,)

    return Gated(spec("gru_before", step, (h,), (h_next,)), by_hand)


def gru_after() -> Gated:
    """torch's GRU: the reset gate multiplies a product and its bias."""
    W, R = weights("W", "rzn", "H", "I"), weights("R", "rzn", "H", "H")
    b, d = weights("b", "rzn", "H"), weights("d", "rzn", "H")
    step = Builder()
    r, z = (step.let(g, sigmoid(matvec(W[g], x) + b[g] + matvec(R[g], h) + d[g])) for g in "rz")
    n = step.let("n", tanh(matvec(W["n"], x) + b["n"] + r * (matvec(R["n"], h) + d["n"])))
    h_next = step.let("h_next", (1 - z) * n + z * h)
    names = ("weight_ih", W), ("weight_hh", R), ("bias_ih", b), ("bias_hh", d)

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.gru_cell(x, states[0], v["weight_ih"], v["weight_hh"], v["bias_ih"], v["bias_hh"]),)

    return Gated(spec("gru_after", step, (h,), (h_next,), *(Stack(n, tuple(q.values())) for n, q in names)), by_hand)


def three_states() -> Gated:
    """A slow memory beside the cell; states read each other's old and new values, one gate sees two of them."""
    gates = "ifgs"
    W, R, b = weights("W", gates, "H", "I"), weights("R", gates, "H", "H"), weights("b", gates, "H")
    V = parameter("V", ("H", "H"))
    q = {g: parameter(f"q_{g}", "H") for g in "if"}
    rate, gain = parameter("rate", ()), parameter("gain", "H")
    step = Builder()
    a = {g: matvec(W[g], x) + matvec(R[g], h) + b[g] for g in gates}
    i = step.let("i", sigmoid(a["i"] + q["i"] * m))
    f = step.let("f", sigmoid(a["f"] + q["f"] * m))
    g = step.let("g", tanh(a["g"] + matvec(V, c)))
    s = step.let("s", softplus(a["s"] - m * c / 64))
    c_next = step.let("c_next", f * c + i * g - gain * m)
    m_next = step.let("m_next", tanh(m + rate * (c_next - m)) + s * exp(-s))
    h_next = step.let("h_next", s * tanh(c_next) + sin(m_next) * h)
    stacks = [Stack(n, tuple(v.values())) for n, v in (("weight_ih", W), ("weight_hh", R), ("bias", b))]
    stacks.append(Stack("weight_mh", tuple(q.values()), separate=True))

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, m = states
        i, f, g, s = (x @ v["weight_ih"].mT + h @ v["weight_hh"].mT + v["bias"]).chunk(4, -1)
        i, f = torch.sigmoid(i + v["weight_mh"][0] * m), torch.sigmoid(f + v["weight_mh"][1] * m)
        g, s = torch.tanh(g + c @ v["V"].mT), torch.nn.functional.softplus(s - m * c / 64)
        c = f * c + i * g - v["gain"] * m
        m = torch.tanh(m + v["rate"] * (c - m)) + s * torch.exp(-s)
        return s * torch.tanh(c) + torch.sin(m) * h, c, m

    return Gated(spec("three_states", step, (h, c, m), (h_next, c_next, m_next), *stacks), by_hand)


def plain_rnn(
    name: str = "tanh_rnn",
    function: Callable[[Expr], Expr] = tanh,
    torchs: str = "tanh",
    biases: tuple[str, ...] = ("bias",),
) -> Gated:
    """One state, which is a function of one row."""
    W, R, b = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("b", "H")
    stacks = Stack("weight_ih", (W,)), Stack("weight_hh", (R,)), Stack("bias", (b,), biases)
    step = Builder()
    h_next = step.let("h_next", function(matvec(W, x) + matvec(R, h) + b))

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        a = x @ v["weight_ih"].mT + states[0] @ v["weight_hh"].mT + sum(v[bias] for bias in biases)
        return (a if torchs == "identity" else getattr(torch, torchs)(a),)

    return Gated(spec(name, step, (h,), (h_next,), *stacks), by_hand)


def delayed() -> Gated:
    """States that are shifted and swapped: c takes the old h, m the old c; a row is a state, and is read twice."""
    W, R, S = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("S", ("H", "H"))
    leak, b = parameter("leak", "H"), parameter("b", "H")
    step = Builder()
    h_next = step.let("h_next", matvec(W, x) + matvec(R, tanh(m)) - b + leak * h)
    c_next = step.let("c_next", matvec(S, h_next) + c * sigmoid(h_next) - m)
    new = (h_next, c_next, c)

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c, m = states
        new = x @ v["W"].mT + torch.tanh(m) @ v["R"].mT - v["b"] + v["leak"] * h
        return new, new @ v["S"].mT + c * torch.sigmoid(new) - m, c

    return Gated(spec("delayed", step, (h, c, m), new), by_hand)


def crossing() -> Gated:
    """Each state's cotangent needs the other's before it is overwritten."""
    W, R = parameter("W", ("H", "I")), parameter("R", ("H", "H"))
    step = Builder()
    a = step.let("a", matvec(W, x) + matvec(R, c))
    h_next = step.let("h_next", tanh(a) * c)
    c_next = step.let("c_next", a * h / 3)

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        a = x @ v["W"].mT + c @ v["R"].mT
        return torch.tanh(a) * c, a * h / 3

    return Gated(spec("crossing", step, (h, c), (h_next, c_next)), by_hand)


def without_stacks() -> Gated:
    """Every parameter a tensor of its own; R_s is read twice, and a vector has the name that two matrices would get."""
    W, R = weights("W", "fgo", "H", "I"), weights("R", "fg", "H", "H")
    shared, S, b, p = (
        parameter("R_s", ("H", "H")),
        parameter("S", ("H", "H")),
        weights("bias", "fgo", "H"),
        parameter("R_f_g", "H"),
    )
    step = Builder()
    f = step.let("f", sigmoid(matvec(W["f"], x) + matvec(R["f"], h) + matvec(shared, c) + b["f"]))
    g = step.let("g", tanh(matvec(W["g"], x) + matvec(R["g"], h) + p * c + matvec(shared, c) + b["g"]))
    c_next = step.let("c_next", f * c + (1 - f) * g)
    o = step.let("o", sigmoid(matvec(W["o"], x) + matvec(S, c_next) + b["o"]))
    h_next = step.let("h_next", o * c_next)

    def by_hand(v: Tensors, x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        f = torch.sigmoid(x @ v["W_f"].mT + h @ v["R_f"].mT + c @ v["R_s"].mT + v["bias_f"])
        g = torch.tanh(x @ v["W_g"].mT + h @ v["R_g"].mT + v["R_f_g"] * c + c @ v["R_s"].mT + v["bias_g"])
        c = torch.lerp(g, c, f)
        o = torch.sigmoid(x @ v["W_o"].mT + c @ v["S"].mT + v["bias_o"])
        return o * c, c

    return Gated(spec("without_stacks", step, (h, c), (h_next, c_next)), by_hand)


CELLS = (
    coupled_lstm(),
    gru_before(),
    gru_after(),
    three_states(),
    plain_rnn(),
    plain_rnn("relu_rnn", relu, "relu"),
    plain_rnn("linear_rnn", lambda a: a, "identity"),
    delayed(),
    crossing(),
    without_stacks(),
)

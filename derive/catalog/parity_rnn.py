"""Parity of a sequence of bits by a recurrent network of two units with known weights."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from typing import Any

import numpy as np
from sympy import Expr, Integer, Rational

from derive import (
    ROW,
    IdentityCheck,
    Spec,
    constant,
    identity,
    input_,
    load,
    number,
    on_every_step,
    quantities,
    reachable,
    relation,
    state,
    transitions,
)
from derive.convergence import Values
from derive.losses import SQUARED_ERROR
from derive.operators import Numeric
from derive.recursions.transitions import Transition
from derive.starting_values import filled

DECK = "recurrent networks 2/26/2018, 'parity problem'"
MACHINE, FED_BACK = "The units as a machine", "Fed back through the output"
RNN = load("rnn_hidden")
CELL = RNN.system["heaviside"]
q = quantities(CELL)
gain = constant("gain", latex=r"\kappa", meaning="factor of the arguments of the units; large for sigmoid units")
VALUES = {
    q["U"]: ((gain,), (gain,)),
    q["W"]: ((gain, -gain), (gain, -gain)),
    q["b"]: gain * (Rational(1, 2) - ROW),
    q["V"]: ((1, -1),),
    q["c"]: (0,),
}
BITS, STATES = ((0,), (1,)), ((0, 0), (1, 0), (1, 1))
p, u = state("p", (), meaning="parity of the bits so far, h_1 - h_2"), input_("u", (), meaning="the next bit")


@cache
def table() -> list[Transition]:
    """All states that occur, both bits."""
    return transitions(CELL, SPEC.values, STATES, BITS, {gain: 1})


def bits_of(step: Transition) -> dict[Expr, Fraction]:
    """The parity before a step and what it reads."""
    return {p: step.state[0] - step.state[1], u: step.given[0]}


everywhere = partial(on_every_step, steps=table, known=bits_of, section=MACHINE)


h_1, h_2 = state("h_1", (), meaning="first unit"), state("h_2", (), meaning="second unit")


def every_row(known: Values, _: Any) -> Numeric:
    """The two rows of W h, and V h, with the exact W and V."""
    shapes = {"W": (2, 2), "V": (1, 2)}
    weights = [filled(SPEC.values[q[name]], shape, {gain: 1}) for name, shape in shapes.items()]
    return np.array([int(entry) for part in weights for entry in part]).reshape(3, 2).dot([known[h_1], known[h_2]])


SPEC: Spec = replace(
    RNN,
    id="parity_rnn",
    title="Parity by a recurrent network",
    source=f"{DECK}; rnn_hidden with exact weights",
    system={name: RNN.system[name] for name in ("heaviside", "sigmoid")},
    values=VALUES,
    defaults={"gain": 1},
    loss=SQUARED_ERROR,
    claims=(),
    relations=(
        number(
            "states that occur",
            Integer(3),
            lambda: len(reachable(CELL, SPEC.values, (0, 0), BITS, {gain: 1})),
            r"3 \text{ states: } 00,\; 10,\; 11",
            reason="all that follow from zero: a finite machine, so that its table says all",
            name="states",
            section=MACHINE,
        ),
        everywhere(
            "arguments of the units",
            lambda step: step.lines["a_h"],
            [p + u + Rational(1, 2) - j for j in (1, 2)],
            r"a_j = p + u - \left(j - \tfrac{1}{2}\right), \qquad p = h_1 - h_2",
            "both units read the parity so far and the bit; odd multiples of 1/2, none is at the kink",
            "arguments",
        ),
        everywhere(
            "what the units say",
            lambda step: step.after,
            [p + u - p * u, p * u],
            r"h_1 = p \vee u, \qquad h_2 = p \wedge u",
            "unit j says whether p + u is j or more",
            "units",
        ),
        everywhere(
            "the parity of one more bit",
            lambda step: step.output,
            [p + u - 2 * p * u],
            r"o = h_1 - h_2 = p \oplus u",
            "by induction from p = 0, the output is the parity of all bits so far, for any length",
            "parity",
        ),
        identity(
            "signs make it a product",
            1 - 2 * (p + u - 2 * p * u),
            (1 - 2 * p) * (1 - 2 * u),
            reason="1 - 2 o = (1 - 2 p)(1 - 2 u): over a sequence, 1 - 2 o_T is the product of all 1 - 2 u_t",
            name="product",
            section=MACHINE,
        ),
        relation(
            "the same with the output fed back",
            "identity",
            r"W = \begin{pmatrix} 1 \\ 1 \end{pmatrix} V = \begin{pmatrix} 1 & -1 \\ 1 & -1 \end{pmatrix}",
            text="W h = (1, 1) (V h), V h = h_1 - h_2",
            reason="the hidden state is read through o = V h alone, so a network that is fed its output has one column",
            name="fed_back",
            value=h_1 - h_2,
            check=IdentityCheck(every_row, h_1 - h_2, (h_1, h_2)),
            section=FED_BACK,
        ),
    ),
)

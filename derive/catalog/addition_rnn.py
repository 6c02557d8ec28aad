"""Addition of binary numbers by a recurrent network with known weights: a full adder."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from itertools import product

import mpmath
from sympy import Expr, Integer, Rational

from derive import (
    ROW,
    SampledCheck,
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
from derive.losses import SQUARED_ERROR
from derive.recursions.transitions import Transition

DECK = "recurrent networks 2/26/2018, 'addition problem'"
MACHINE, ALL, SOFT = "The units as a machine", "Numbers of any length", "Sigmoid units"
RNN = load("rnn_hidden")
CELL = RNN.system["heaviside"]
q = quantities(CELL)
gain = constant("gain", latex=r"\kappa", meaning="factor of the arguments of the units; large for sigmoid units")
VALUES = {
    q["U"]: ((gain, gain),) * 3,
    q["W"]: ((0, gain, 0),) * 3,
    q["b"]: gain * (Rational(1, 2) - ROW),
    q["V"]: ((1, -1, 1),),
    q["c"]: (0,),
}
BITS = (0, 1)
PAIRS = list(product(BITS, repeat=2))
carry, a, b = state("carry", ()), input_("a", (), meaning="bit of the first number"), input_("b", ())
some = carry * a + carry * b + a * b


@cache
def table() -> list[Transition]:
    """All states of three units, all pairs of bits."""
    return transitions(CELL, SPEC.values, product(BITS, repeat=3), PAIRS, {gain: 1})


def bits_of(step: Transition) -> dict[Expr, Fraction]:
    """The carry before a step and what it reads."""
    return {carry: step.state[1], a: step.given[0], b: step.given[1]}


everywhere = partial(on_every_step, steps=table, known=bits_of, section=MACHINE)


def least_margin() -> mpmath.mpf:
    """Distance of the arguments of all units from 0, in all states and for all inputs."""
    least = min(abs(entry) for step in table() for entry in step.lines["a_h"])
    return mpmath.mpf(least.numerator) / least.denominator


def unsafe(factor: Expr) -> int:
    """Whether the claimed gain keeps errors of the carry below e, and less does not, for several e."""
    wrong = 0
    for percent in range(1, 45):
        e = mpmath.mpf(percent) / 100
        claimed = mpmath.mpf(factor.p) / factor.q * mpmath.log((1 - e) / e) / (mpmath.mpf(1) / 2 - e)
        for share, kept in ((mpmath.mpf("0.9999"), False), (mpmath.mpf("1.0001"), True)):
            wrong += (worst_error(share * claimed, e) <= e) is not kept
    return wrong


def worst_error(kappa: mpmath.mpf, e: mpmath.mpf) -> mpmath.mpf:
    """Largest error of a sigmoid unit after a step, from a carry that is wrong by e either way."""
    errors = []
    for bits, j, sign in product(range(4), (1, 2, 3), (-1, 1)):
        unit = 1 / (1 + mpmath.exp(-kappa * (bits + sign * e - j + mpmath.mpf(1) / 2)))
        errors.append(abs(unit - (bits >= j)))
    return max(errors)


A, B, S = (state(letter, (), meaning=f"number made of the first t bits of {letter.lower()}") for letter in "ABS")
power, after = constant("power", latex="2^t"), state("carry_next", (), latex="c_{t+1}")
given = a + b + carry - 2 * after
SPEC: Spec = replace(
    RNN,
    id="addition_rnn",
    title="Addition by a recurrent network",
    source=f"{DECK}; rnn_hidden with exact weights",
    system={name: RNN.system[name] for name in ("heaviside", "sigmoid")},
    values=VALUES,
    defaults={"gain": 1},
    loss=SQUARED_ERROR,
    claims=(),
    relations=(
        everywhere(
            "arguments of the units",
            lambda step: step.lines["a_h"],
            [carry + a + b + Rational(1, 2) - j for j in (1, 2, 3)],
            r"a_j = c + a + b - \left(j - \tfrac{1}{2}\right)",
            "every unit reads the sum of both bits and of the carry, which is unit 2; the thresholds differ",
            "arguments",
        ),
        everywhere(
            "what the units say",
            lambda step: step.lines["h_next"],
            [carry + a + b - some + carry * a * b, some - 2 * carry * a * b, carry * a * b],
            r"h_j = [c + a + b \ge j]: \quad h_1 = c \vee a \vee b,\; h_2 = \mathrm{maj}(c, a, b),\; h_3 = c\,a\,b",
            "the arguments are odd multiples of 1/2; unit 2 is the next carry",
            "units",
        ),
        everywhere(
            "the digit",
            lambda step: step.lines["o"],
            [carry + a + b - 2 * some + 4 * carry * a * b],
            r"s = h_1 - h_2 + h_3 = c \oplus a \oplus b",
            "of 0, 1, 2, 3 units the signs 1, -1, 1 make 0, 1, 0, 1",
            "digit",
        ),
        everywhere(
            "one step adds",
            lambda step: [step.output[0] + 2 * step.after[1]],
            [carry + a + b],
            r"s + 2 c_{t+1} = c_t + a + b",
            "a full adder",
            "full_adder",
        ),
        number(
            "states that occur",
            Integer(4),
            lambda: len(reachable(CELL, SPEC.values, (0, 0, 0), PAIRS, {gain: 1})),
            r"4 \text{ states: } 000,\; 100,\; 110,\; 111",
            reason="all that follow from zero: a finite machine, so that the table says all",
            name="states",
            section=MACHINE,
        ),
        number(
            "margin of the arguments",
            Rational(1, 2),
            least_margin,
            r"|a_j| \ge \tfrac{1}{2}",
            reason="no argument is at the kink, so small changes of the weights change nothing",
            name="margin",
            section=MACHINE,
        ),
        identity(
            "induction over the digits",
            S + power * given + 2 * power * after - (A + power * a) - (B + power * b),
            S + power * carry - A - B,
            reason="S_t + 2^t c_t = A_t + B_t holds at t = 0, where all are 0, and each step keeps it, its digit being "
            "a + b + c_t - 2 c_(t+1); a last step with bits (0, 0) gives out the carry: S = A + B for any length",
            name="induction",
            section=ALL,
        ),
        relation(
            "gain that errors of sigmoid units need",
            "inequality",
            r"\kappa \ge \frac{\ln\left((1 - e)/e\right)}{1/2 - e} \iff \text{errors of the units stay below } e",
            text="kappa >= ln((1 - e)/e)/(1/2 - e): errors of the units below e stay there",
            reason="a carry that is wrong by e brings an argument to kappa (1/2 - e) at worst",
            check=SampledCheck(unsafe, Rational(1), lambda factor: factor * Rational(51, 50)),
            section=SOFT,
        ),
    ),
)

"""Parity of N bits by a feed-forward net with one hidden layer of N units and known weights."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
from sympy import Expr, Integer, Rational

from derive import (
    COLUMN,
    ROW,
    Builder,
    Chain,
    DeckClaim,
    ResidualCheck,
    Spec,
    Stack,
    constant,
    identity,
    input_,
    matvec,
    parameter,
    relation,
    sigmoid,
    step,
)
from derive.evaluator import evaluate
from derive.operators import Numeric
from derive.starting_values import filled

DECK = "recurrent networks 2/26/2018, 'parity problem'"
CODE, FEWER = "A code of ones", "Fewer units"
x = input_("x", "n", meaning="input of a layer")
W, b = parameter("W", ("m", "n"), meaning="weights"), parameter("b", "m", meaning="bias")
V, c = parameter("V", ("m", "n"), meaning="weights of the output"), parameter("c", "m", meaning="bias of the output")
gain = constant("gain", latex=r"\kappa", meaning="factor of the arguments of the units; large for sigmoid units")
UNITS = {"heaviside": step, "sigmoid": sigmoid}
VALUES = {
    W: gain,
    b: gain * (Rational(1, 2) - ROW),
    V: gain * (-1) ** (COLUMN + 1),
    c: -gain / 2,
}


def net(activation: str) -> Chain:
    """Units that count, and one that says whether the count is odd."""
    last, hidden = Builder(), Builder()
    a = hidden.let("a", matvec(W, x) + b, meaning="how many ones, beside the threshold")
    h = hidden.let("h", UNITS[activation](a), meaning="whether there are so many")
    o = last.let("o", matvec(V, x) + c, meaning="signed sum of the units")
    y = last.let("y", UNITS[activation](o), meaning="parity")
    return Chain(last=last.build([y]), hidden=hidden.build([h]))


def layer(kind: str, value: Numeric, size: int) -> Numeric:
    """One layer of step units, exactly."""
    program = net("heaviside").layers[kind]
    weights, bias = (W, b) if kind == "hidden" else (V, c)
    known = {x: value}
    for q, shape in ((weights, (size, len(value))), (bias, (size,))):
        numbers = [mpmath.mpf(int(entry.p)) / int(entry.q) for entry in filled(VALUES[q], shape, {gain: 1})]
        known[q] = np.array([*numbers, None], dtype=object)[:-1].reshape(shape)
    return evaluate(program, known)[program.outputs[0]]


LONGEST = 4
n, j = input_("count", (), latex="n", meaning="how many ones"), constant("j", meaning="place of a unit")


def bits_of(length: int) -> list[Numeric]:
    """All words of a length."""
    return [np.array([mpmath.mpf(bit) for bit in word], dtype=object) for word in product((0, 1), repeat=length)]


def residual_of_code(coefficients: tuple[Expr, ...]) -> float:
    """The sum of the units of one and of two hidden layers beside the count, for all words."""
    (claimed,) = coefficients
    worst = mpmath.mpf(0)
    for word in (word for length in range(1, LONGEST + 1) for word in bits_of(length)):
        once = layer("hidden", word, len(word))
        told = mpmath.mpf(str(claimed.xreplace({n: Integer(int(sum(word)))}).evalf(30)))
        ones = [mpmath.mpf(place < told) for place in range(len(word))]
        twice = layer("hidden", once, len(word) + 1)[: len(word)]
        errors = [abs(a - e) + abs(d - e) for a, d, e in zip(once, twice, ones, strict=True)]
        worst = max(worst, abs(sum(once) - told), *errors)
    return float(worst)


def residual_of_parity(coefficients: tuple[Expr, ...]) -> float:
    """The output beside a formula in the count, for all words."""
    (claimed,) = coefficients
    worst = mpmath.mpf(0)
    for word in (word for length in range(1, LONGEST + 1) for word in bits_of(length)):
        (found,) = layer("last", layer("hidden", word, len(word)), 1)
        worst = max(worst, abs(found - mpmath.mpf(str(claimed.xreplace({n: Integer(int(sum(word)))}).evalf(30)))))
    return float(worst)


def of_few(count: int, bits: int, units: int) -> mpmath.mpf:
    """Signed sum of sigmoid units: a gentle one that counts, steep ones that take 2 off after every pair."""
    middle, width = mpmath.mpf(bits) / 2, mpmath.mpf(bits) ** 2
    gentle = 4 * width * (1 / (1 + mpmath.exp(-(count - middle) / width)) - mpmath.mpf(1) / 2)
    steps = [1 / (1 + mpmath.exp(-40 * (count - 2 * k - mpmath.mpf(3) / 2))) for k in range(units - 1)]
    return gentle + (units - 1) - 2 * sum(steps)


NUMBERS = (1, 3, 5, 7, 79, 201)


def residual_of_few(coefficients: tuple[Expr, ...]) -> float:
    """Whether so many units say the parity of odd numbers of bits, and how far the number is from a whole one."""
    (claimed,) = coefficients
    worst = mpmath.mpf(0)
    for bits in NUMBERS:
        units = claimed.xreplace({n: Integer(bits)})
        whole = round(float(units))
        wrong = sum((of_few(count, bits, whole) > 0) != bool(count % 2) for count in range(bits + 1))
        worst = max(worst, mpmath.mpf(wrong), abs(mpmath.mpf(str(units.evalf(30))) - whole))
    return float(worst)


odd = (1 - (-1) ** n) / 2
few = (n + 1) / 2
SPEC = Spec(
    id="parity_mlp",
    class_name="DNN",
    title="Parity by a feed-forward net",
    source=f"{DECK}; dnn with exact weights",
    system={activation: net(activation) for activation in UNITS},
    option="activation",
    stacks=(Stack("weight", (W,)), Stack("bias", (b,)), Stack("weight", (V,)), Stack("bias", (c,))),
    values=VALUES,
    defaults={"gain": 1},
    relations=(
        relation(
            "the units count",
            "identity",
            r"h_j = H\left(\textstyle\sum_i x_i - j + \tfrac{1}{2}\right) = [n \ge j], \qquad \sum_j h_j = n",
            text="h_j = [n >= j], n ones among the bits; sum of h = n",
            reason="n - j + 1/2 is never 0; a second hidden layer makes the same code of it, so any number of hidden "
            "layers of N units or more will do",
            name="code",
            value=n,
            check=ResidualCheck(residual_of_code, (n,), f"all words of up to {LONGEST} bits, exactly"),
            section=CODE,
        ),
        relation(
            "the signed sum is the parity",
            "identity",
            r"\sum_j (-1)^{j+1} [n \ge j] = \frac{1 - (-1)^n}{2}",
            text=f"sum over j of (-1)^(j+1) [n >= j] = {odd}; the unit with threshold 1/2 says it",
            reason="ones come in pairs of opposite sign",
            name="parity",
            value=odd,
            check=ResidualCheck(residual_of_parity, (odd,), f"all words of up to {LONGEST} bits, exactly"),
            section=CODE,
        ),
        identity(
            "induction over the ones",
            (1 - (-1) ** (j + 1)) / 2,
            (1 - (-1) ** j) / 2 + (-1) ** j,
            reason="unit n + 1 adds (-1)^n: the formula holds for n + 1 where it holds for n, and for 0: for every N",
            name="induction",
            section=CODE,
        ),
        relation(
            "sigmoid units that suffice for an odd number of bits",
            "identity",
            r"\frac{N + 1}{2}: \qquad 4 N^2 \left(\sigma\left(\tfrac{n - N/2}{N^2}\right) - \tfrac{1}{2}\right) + M - "
            r"2 \sum_{k=0}^{M-1} \sigma\left(40 \left(n - 2 k - \tfrac{3}{2}\right)\right) > 0 \iff n \text{ odd}, "
            r"\quad M = \tfrac{N - 1}{2}",
            text="(N + 1)/2: one gentle unit that is nearly linear in the count, and (N - 1)/2 steep ones",
            reason="the gentle unit grows by 1 with every one, each steep unit takes 2 off after a pair: +-1/2 but for "
            "the bend of the gentle unit, less than (N/2)^3/(12 N^4) = 1/(96 N), tails below 10^-8: for every odd N",
            name="units",
            value=few,
            check=ResidualCheck(
                residual_of_few, (few,), f"N = {', '.join(map(str, NUMBERS))}: the sign for every number of ones"
            ),
            section=FEWER,
        ),
    ),
    claims=(
        DeckClaim(
            "E003-24",
            f"{DECK}, line 170: at least one hidden layer of size N",
            "units",
            n,
            note="sufficient, not necessary for sigmoid units: N = 3 with 2, N = 5 with 3, N = 7 with 4",
            agrees=False,
        ),
    ),
)

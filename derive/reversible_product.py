r"""The product of an integer and a fraction p/q as a bijection: its two directions as lines, and checks on integers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from sympy import Expr, Integer, Rational, floor, log

from derive.program import Assignment
from derive.symbols import Quantity, Role

SAMPLES = ((1, 2), (-1, 2), (3, 10), (-9, 10), (255, 256), (7, 16), (-3, 8), (1, 1))
LONG = 200
Values = dict[Expr, Expr]


def _integer(name: str, latex: str) -> Quantity:
    return Quantity(name, (), Role.INTERMEDIATE, latex)


VALUE, PRODUCT = _integer("D", "D"), _integer("M", "M(D)")
BEFORE, AFTER = _integer("I", "I"), _integer("I_next", "I'")
FACTOR, BASE, SIGN = _integer("p_abs", "|p|"), _integer("q", "q"), _integer("p_sign", r"\operatorname{sgn}(p)")
QUOTIENT, REMAINDER, DIGIT, JOINED = _integer("u", "u"), _integer("r", "r"), _integer("s", "s"), _integer("J", "J")

MULTIPLY = (
    Assignment(QUOTIENT, floor(VALUE / BASE)),
    Assignment(REMAINDER, VALUE - BASE * QUOTIENT),
    Assignment(JOINED, BEFORE * BASE + REMAINDER),
    Assignment(AFTER, floor(JOINED / FACTOR)),
    Assignment(DIGIT, JOINED - FACTOR * AFTER),
    Assignment(PRODUCT, SIGN * (QUOTIENT * FACTOR + DIGIT)),
)
UNDO = (
    Assignment(QUOTIENT, floor(SIGN * PRODUCT / FACTOR)),
    Assignment(DIGIT, SIGN * PRODUCT - FACTOR * QUOTIENT),
    Assignment(JOINED, AFTER * FACTOR + DIGIT),
    Assignment(BEFORE, floor(JOINED / BASE)),
    Assignment(REMAINDER, JOINED - BASE * BEFORE),
    Assignment(VALUE, QUOTIENT * BASE + REMAINDER),
)


def run(lines: Sequence[Assignment], values: Values) -> Values:
    """All quantities, in exact arithmetic."""
    known = dict(values)
    for line in lines:
        known[line.target] = line.value.xreplace(known)
    return known


def _samples(count: int = 5) -> Iterator[Values]:
    """Random states and buffers, of either sign where a state may be negative, for every sample of p/q."""
    source = random.Random(0)
    for p, q in SAMPLES:
        for _ in range(count):
            state, buffer = source.randint(-(2**44), 2**44), source.randint(0, 2**52)
            yield {VALUE: Integer(state), BEFORE: Integer(buffer), **_factor(p, q)}


def _factor(p: int, q: int) -> Values:
    return {FACTOR: Integer(abs(p)), BASE: Integer(q), SIGN: Integer(1 if p > 0 else -1)}


def round_trip(undo: tuple[Expr, ...]) -> float:
    """Share of the samples whose value and buffer do not come back, with these right-hand sides of the inverse."""
    lines = [Assignment(line.target, value) for line, value in zip(UNDO, undo, strict=True)]
    wrong = count = 0
    for given in _samples():
        after = run(MULTIPLY, given)
        known = {q: after[q] for q in (PRODUCT, AFTER, FACTOR, BASE, SIGN)}
        back = run(lines, known)
        wrong += any(back[q] != given[q] for q in (VALUE, BEFORE))
        count += 1
    return wrong / count


def excess_error(scale: Expr) -> int:
    """Samples in which the product misses p/q D by `scale` |p| or more."""
    wrong = 0
    for given in _samples(50):
        after = run(MULTIPLY, given)
        exact = given[SIGN] * given[FACTOR] * given[VALUE] / given[BASE]
        wrong += bool(abs(after[PRODUCT] - exact) >= scale * given[FACTOR])
    return wrong


def excess_growth(scale: Expr) -> int:
    """Samples in which the buffer, after many products of random integers, has more than `scale` times its bits."""
    source, wrong = random.Random(1), 0
    for p, q in (pair for pair in SAMPLES if abs(pair[0]) < pair[1]):
        known: Values = {BEFORE: Integer(0), **_factor(p, q)}
        for _ in range(LONG):
            after = run(MULTIPLY, {**known, VALUE: Integer(source.randint(-(2**44), 2**44))})
            known[BEFORE] = after[AFTER]
        bound = LONG * log(Rational(q, abs(p)), 2) + log(Rational(q - 1, q - abs(p)), 2)
        wrong += bool(log(known[BEFORE] + Rational(1, 2), 2).evalf() > scale * bound.evalf() + Rational(1, 10**9))
    return wrong

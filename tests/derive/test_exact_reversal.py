"""Which steps are a product with the oldest state plus a rest, and the product that keeps what it rounds away."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from sympy import Integer, Rational, sqrt

from derive import ODE, LinearMultistep, Network, Start, constant, discretize, explain, load, parameter, state
from derive.exact_reversal import WEIGHT, split_off_oldest
from derive.reversible_product import AFTER, BASE, BEFORE, FACTOR, MULTIPLY, PRODUCT, SIGN, UNDO, VALUE, run
from derive.schemes import SCHEMES

X = state("x", "d")
F = Network("f", per_layer=True)
M, S = parameter("m", per_layer=True), parameter("s")
HALF = Rational(1, 2)


def recurrence(alpha, beta=(0, 1, 0)):
    scheme = LinearMultistep(alpha=alpha, beta=beta, start={"plain": Start()})
    return discretize(ODE(state=(X,), velocity=(F(X),)), scheme)


@pytest.mark.parametrize(
    ("alpha", "beta", "weight", "parameter_at_weight"),
    [
        ((1 - M, M), (0, 1, 0), M, WEIGHT),
        ((1 + M, -M), (0, 1, 0), -M, -WEIGHT),
        ((1 - S, S), (0, 2, 0), S, WEIGHT),
        ((2 * M, 1 - 2 * M), (0, 1, 0), 1 - 2 * M, HALF - WEIGHT / 2),
        ((0, 1), (0, 2, 0), 1, WEIGHT),
        ((Rational(2, 3), Rational(1, 3)), (0, M, 0), Rational(1, 3), WEIGHT),
        ((Rational(3, 2), -HALF), (0, 1, 0), -HALF, WEIGHT),
    ],
)
def test_the_oldest_state_is_split_off(alpha, beta, weight, parameter_at_weight):
    split = split_off_oldest(recurrence(alpha, beta))
    assert split.weight == weight
    assert (split.parameter_at_weight - parameter_at_weight).expand() == 0
    assert split.oldest.name == "x_prev" and [q.name for q in split.newer] == ["x"]
    assert split.oldest not in split.rest.inputs


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        ((1 - M**2, M**2), (0, 1, 0)),  # not linear in the parameter
        ((1 - M * S, M * S), (0, 1, 0)),  # two parameters
        ((1 - M, M), (0, 1, 1)),  # the field at the oldest state: no inverse without solving
        ((3, -2), (0, 1, 0)),  # the states would grow
        ((1 - sqrt(2) / 2, sqrt(2) / 2), (0, 1, 0)),  # no fraction
        ((1 - constant("c"), constant("c")), (0, 1, 0)),  # a fixed number, not known to be a fraction
        ((1 - parameter("v", "d"), parameter("v", "d")), (0, 1, 0)),  # a weight for every component
    ],
)
def test_what_is_not_split(alpha, beta):
    assert split_off_oldest(recurrence(alpha, beta)) is None


def test_one_step_schemes_are_not_split():
    assert split_off_oldest(discretize(ODE(state=(X,), velocity=(F(X),)), SCHEMES["forward_euler"])) is None
    assert all("xact reversal" not in section.title for section in explain(load("resnet")).sections)


def test_the_product_by_divisions_with_remainder():
    source = random.Random(0)
    for _ in range(200):
        q = source.randint(2, 1024)
        p = source.choice([-1, 1]) * source.randint(1, q)
        value, buffer = source.randint(-(2**50), 2**50), source.randint(0, 2**60)
        factor = {FACTOR: Integer(abs(p)), BASE: Integer(q), SIGN: Integer(1 if p > 0 else -1)}
        after = run(MULTIPLY, {VALUE: Integer(value), BEFORE: Integer(buffer), **factor})
        quotient, remainder = divmod(value, q)
        left, digit = divmod(buffer * q + remainder, abs(p))
        assert after[AFTER] == left
        assert after[PRODUCT] == (1 if p > 0 else -1) * (quotient * abs(p) + digit)
        assert abs(Fraction(int(after[PRODUCT])) - Fraction(p, q) * value) < abs(p)
        back = run(UNDO, {PRODUCT: after[PRODUCT], AFTER: after[AFTER], **factor})
        assert (back[VALUE], back[BEFORE]) == (value, buffer)


def test_the_derivation_states_what_the_emitted_code_refers_to():
    derivation = explain(load("lm_resnet"))
    names = ("exact.oldest_weight", "exact.rest_of_step", "exact.k", "exact.step", "exact.undone", "exact.bits")
    assert all(derivation.number_of(name) for name in names)
    assert derivation.facts["exact reversal"].startswith("log2(q/|p|) bits per component and step")

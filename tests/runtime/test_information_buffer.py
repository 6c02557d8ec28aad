"""Products with p/q on integers: undone bit for bit, within a unit times |p| of p/q D, in words of 62 bits."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from codegen.runtime.information_buffer import WORD, InformationBuffer, divided, word_starts

FACTORS = ["1/2", "-1/2", "3/10", "-1/10", "9/10", "-9/10", "1", "-1", "1/3", "255/256", "7/16", "1/16", "-3/8"]


def mixed(count: int) -> list[Fraction]:
    source = random.Random(0)
    return [Fraction(source.choice([-1, 1]) * source.randint(1, q), q) for q in source.choices(range(2, 1025), k=count)]


SEQUENCES = {name: [Fraction(name)] * 1000 for name in FACTORS} | {"mixed": mixed(1000)}


def integers(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(-(2**45), 2**45, (7,), generator=generator) for _ in range(count)]


def by_hand(factors: list[Fraction], values: list[int]) -> tuple[list[int], int, int]:
    """Products of one component in Python's integers, with one buffer of any length, and the words' digits alike."""
    products, word, words, bound = [], 0, 0, 1
    for factor, value in zip(factors, values, strict=True):
        p, q = factor.numerator, factor.denominator
        if bound * q > WORD:
            word, bound, words = 0, 1, words + 1
        word = word * q + value % q
        products.append((value // q * abs(p) + word % abs(p)) * (1 if p > 0 else -1))
        word //= abs(p)
        bound = -(-bound * q // abs(p))
    return products, word, words


@pytest.mark.parametrize("factors", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_products_are_undone(factors: list[Fraction]) -> None:
    values = integers(len(factors))
    forward = InformationBuffer(factors)
    products = [forward.multiply(n, value) for n, value in enumerate(values)]
    for factor, value, product in zip(factors, values, products, strict=True):
        error = [abs(Fraction(b) - factor * a) for a, b in zip(value.tolist(), product.tolist(), strict=True)]
        assert max(error) < abs(factor.numerator)
    assert all(int(word.min()) >= 0 and int(word.max()) < WORD for word in forward.all_words())
    expected, word, words = by_hand(factors, [int(value[0]) for value in values])
    assert [int(product[0]) for product in products] == expected
    assert words == len(forward.words) == len(word_starts(factors))
    assert forward.word is None or int(forward.word[0]) == word
    backward = InformationBuffer(factors, forward.all_words())
    for n in reversed(range(len(factors))):
        assert torch.equal(backward.undo(n, products[n]), values[n])
    assert not any(bool(left) for _, left in backward.leftovers())


@pytest.mark.parametrize("name", FACTORS)
def test_bits_of_a_product(name: str) -> None:
    """64 bits hold what log2(q/|p|) says, but for digits that do not fill a word, and nothing at |p| = q."""
    factors = SEQUENCES[name]
    buffer = InformationBuffer(factors)
    for n, value in enumerate(integers(len(factors))):
        buffer.multiply(n, value)
    needed = len(factors) * math.log2(1 / abs(factors[0])) / 62
    assert needed <= len(buffer.all_words()) <= 1.3 * needed + 1


def test_division_with_remainder() -> None:
    (value,) = integers(1)
    for by in (1, 2, 3, 10, 256, 1000):
        quotient, remainder = divided(value, by)
        expected = [divmod(one, by) for one in value.tolist()]
        assert list(zip(quotient.tolist(), remainder.tolist(), strict=True)) == expected


def test_digits_that_were_changed_are_left_over() -> None:
    factors = SEQUENCES["1/2"][:100]
    forward = InformationBuffer(factors)
    products = [forward.multiply(n, value) for n, value in enumerate(integers(100))]
    words = [word.clone() for word in forward.all_words()]
    words[0][3] += 2**61  # a digit that no product has put in
    words[0][3] ^= 2**60
    backward = InformationBuffer(factors, words)
    for n in reversed(range(100)):
        backward.undo(n, products[n])
    assert [bool(left) for _, left in backward.leftovers()].count(True) == 1

"""Products of integers and fractions p/q that can be undone: what rounding would lose is kept, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

WORD = 2**62  # a word of the buffer stays below this, so that no product overflows 64 bits


def word_starts(factors: Sequence[Fraction]) -> set[int]:
    """At which products a new word begins: known from the factors alone, so that nothing needs to be stored of it."""
    starts, bound = set(), 1
    for place, factor in enumerate(factors):
        base, digits = factor.denominator, abs(factor.numerator)
        if bound * base > WORD:
            starts.add(place)
            bound = 1
        bound = -(-bound * base // digits)
    return starts


def divided(value: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """(quotient, remainder in [0, by)) of integers."""
    if by & (by - 1) == 0:
        return value >> (by.bit_length() - 1), value & (by - 1)
    quotient = torch.div(value, by, rounding_mode="floor")
    return quotient, torch.sub(value, quotient, alpha=by)


class InformationBuffer:
    """Multiplies int64 tensors by p/q, 0 < |p| <= q, one after the other; `undo` takes the products back in turn.

    With D = u q + r the product is sign(p) (u |p| + s). The remainder r goes into the buffer as a digit of base q, and
    the digit s of base |p| is taken out of it: a map without loss, under which the buffer grows by log2(q/|p|) bits on
    average. `words` holds the full words of 62 bits, `word` the one in use (None: zero).

    Args:
        factors: p/q of every product, in order.
        words: the words that an earlier buffer was left with; None begins with an empty one.
    """

    def __init__(self, factors: Sequence[Fraction], words: Sequence[Tensor] | None = None) -> None:
        self.factors = factors
        self.starts = word_starts(factors)
        self.words = list(words or ())
        self.word = self.words.pop() if self.words else None
        self.unused: list[tuple[int, Tensor]] = []

    def all_words(self) -> list[Tensor]:
        """What `undo` needs: the full words and the one in use."""
        return [*self.words, *(() if self.word is None else (self.word,))]

    def multiply(self, place: int, value: Tensor) -> Tensor:
        """The product number `place`."""
        factor = self.factors[place]
        base, digits = factor.denominator, abs(factor.numerator)
        if base > 1:
            if place in self.starts and self.word is not None:
                self.words.append(self.word)
                self.word = None
            value, word = divided(value, base)
            if self.word is not None:
                torch.add(word, self.word, alpha=base, out=word)
            if digits > 1:
                word, digit = divided(word, digits)
                value = torch.add(digit, value, alpha=digits)
            self.word = word
        return -value if factor < 0 else value

    def undo(self, place: int, product: Tensor) -> Tensor:
        """The value of which product number `place` was made; products are undone in reverse order."""
        factor = self.factors[place]
        base, digits = factor.denominator, abs(factor.numerator)
        value = -product if factor < 0 else product
        if base > 1 and self.word is not None:
            word = self.word
            if digits > 1:
                value, digit = divided(value, digits)
                word = torch.add(digit, word, alpha=digits)
            self.word, remainder = divided(word, base)
            value = torch.add(remainder, value, alpha=base)
            if place in self.starts:
                self.unused.append((place, self.word.any()))
                self.word = self.words.pop()
        return value

    def leftovers(self) -> list[tuple[int, Tensor]]:
        """(product, whether digits were left that none of the products above it had put in), for every word."""
        last = [] if self.word is None else [(0, self.word.any())]
        return [*self.unused, *last]

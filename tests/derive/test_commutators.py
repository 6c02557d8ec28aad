"""Baker-Campbell-Hausdorff: against the books, and against the same field derived by trees."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from sympy import Rational, cbrt, expand, radsimp

from derive.errors import UnsupportedError
from derive.schemes import SCHEMES, Splitting
from derive.series.commutators import commutators
from derive.series.rk import modified_equation
from derive.series.trees import tree
from derive.series.words import bracketing, lyndon_words

HALF = Rational(1, 2)
LIE_TROTTER = Splitting(((0, 1), (1, 1)))
STRANG = Splitting(((0, HALF), (1, 1), (0, HALF)))
THREE_PARTS = Splitting(((0, HALF), (1, HALF), (2, 1), (1, HALF), (0, HALF)))
OUTER = radsimp(1 / (2 - cbrt(2)))
INNER = expand(1 - 2 * OUTER)
FRACTIONS = (OUTER / 2, OUTER, (OUTER + INNER) / 2, INNER, (OUTER + INNER) / 2, OUTER, OUTER / 2)
YOSHIDA4 = Splitting([(place % 2, fraction) for place, fraction in enumerate(FRACTIONS)])


def test_formulas_of_the_books():
    assert commutators(STRANG, 2)[2] == {"[f,[f,g]]": Rational(-1, 24), "[[f,g],g]": Rational(1, 12)}
    assert commutators(LIE_TROTTER, 2) == {
        0: {"f": 1, "g": 1},
        1: {"[f,g]": HALF},
        2: {"[f,[f,g]]": Rational(1, 12), "[[f,g],g]": Rational(1, 12)},
    }


def test_order_four_leaves_no_commutator_below_h4():
    found = commutators(YOSHIDA4, 4)
    assert not found[1] and not found[2] and not found[3] and len(found[4]) == 6


def grafted(tau, colour):
    """A leaf on every vertex in turn: the derivative of an elementary differential along a part."""
    found = Counter([tree(*tau.branches, tree(colour=colour), colour=tau.colour)])
    for place, branch in enumerate(tau.branches):
        rest = tau.branches[:place] + tau.branches[place + 1 :]
        for grown, ways in grafted(branch, colour).items():
            found[tree(*rest, grown, colour=tau.colour)] += ways
    return found


def top_comma(text):
    depth = 0
    for place, mark in enumerate(text):
        depth += (mark == "[") - (mark == "]")
        if mark == "," and depth == 1:
            return place
    raise AssertionError(text)


def words_of(text):
    """A printed commutator as {word: coefficient}."""
    if not text.startswith("["):
        return {(("f", "g", "f_3").index(text),): 1}
    place = top_comma(text)
    left, right = words_of(text[1:place]), words_of(text[place + 1 : -1])
    found = Counter()
    for a, x in left.items():
        for b, y in right.items():
            found[a + b] += x * y
            found[b + a] -= x * y
    return found


def applied(word):
    *others, last = word
    found = Counter([tree(colour=last)])
    for colour in reversed(others):
        after = Counter()
        for tau, count in found.items():
            for result, ways in grafted(tau, colour).items():
                after[result] += count * ways
        found = after
    return found


@pytest.mark.parametrize("scheme", [LIE_TROTTER, STRANG, THREE_PARTS], ids=["lie", "strang", "three parts"])
def test_commutators_are_the_field_that_trees_give(scheme):
    by_trees = modified_equation(scheme, 3)
    for power, terms in commutators(scheme, 3).items():
        total = Counter()
        for text, coefficient in terms.items():
            for word, count in words_of(text).items():
                for tau, ways in applied(word).items():
                    total[tau] += coefficient * count * ways
        assert {tau: value for tau, value in total.items() if value} == by_trees[power].terms, power


def test_commutators_need_exact_flows():
    with pytest.raises(UnsupportedError, match=re.escape("substep=None")):
        commutators(Splitting(((0, 1), (1, 1)), substep=SCHEMES["forward_euler"]), 1)


@pytest.mark.parametrize(("letters", "length", "count"), [(2, 1, 2), (2, 4, 3), (2, 5, 6), (3, 3, 8), (2, 7, 18)])
def test_lyndon_words_count_the_free_lie_algebra(letters, length, count):
    """Witt's formula."""
    assert len(list(lyndon_words(letters, length))) == count


def test_bracketing_splits_before_the_longest_lyndon_suffix():
    assert bracketing((0, 0, 1)) == (0, (0, 1))
    assert bracketing((0, 1, 1)) == ((0, 1), 1)

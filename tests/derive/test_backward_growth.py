"""How errors grow backwards through a multistep scheme, against the inverse recursion itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sympy import Symbol

from derive import explain, load
from derive.backward_growth import backward_polynomial
from derive.schemes import SCHEMES
from derive.spec_schemes import with_scheme


@pytest.mark.parametrize("scheme", ["bdf2", "bdf3", "bdf4", "bdf6"])
def test_an_error_grows_by_the_largest_root_in_every_inverse_step(scheme):
    """The inverse recursion on x' = 0 from a random error: 200 steps, the mean growth of a step."""
    table = SCHEMES[scheme]
    *later, oldest = (float(a) for a in table.alpha)
    states = list(np.random.default_rng(0).normal(size=table.steps))  # newest first
    size = 0.0
    for _ in range(200):
        first, *others = states
        older = (first - sum(a * x for a, x in zip(later, others, strict=True))) / oldest
        states = [*others, older]
        size += math.log(np.linalg.norm(states))
        states = [x / np.linalg.norm(states) for x in states]
    numbers = [float(c.subs(Symbol("z"), 0)) for c in backward_polynomial(table)]
    assert math.exp(size / 200) == pytest.approx(max(abs(np.roots(numbers))), rel=0.05)


@pytest.mark.parametrize(("scheme", "factor"), [("bdf2", "3 for h to 0"), ("leapfrog", "1 for h to 0")])
def test_the_derivation_says_how_fast_and_is_checked(scheme, factor):
    derivation = explain(with_scheme(load("rk4"), scheme))
    (relation,) = [
        r for s in derivation.sections for r in s.relations if r.title == "how far the inverse can be trusted"
    ]
    assert factor in relation.reason and relation.number == derivation.number_of("inverse_trust")
    outcome = relation.check.run()
    assert outcome.measured <= outcome.tolerance
    for term in range(relation.check.terms):
        changed = relation.check.perturbed(term).run()
        assert changed.measured > changed.tolerance

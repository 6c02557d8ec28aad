"""When a recursion with several taps dies out, as conditions on its weights."""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
from sympy import Expr, Symbol, lambdify

from derive import (
    DeckClaim,
    IdentityCheck,
    Illustration,
    Rational,
    Relation,
    SampledCheck,
    Spec,
    jury,
    number,
    parameter,
    relation,
)
from derive.convergence import Values
from derive.latex import latex
from derive.linear_stability.fields import RealField
from derive.linear_stability.root_condition import is_hurwitz, root_condition
from derive.operators import Numeric

DECK = "recurrent networks 2/26/2018"
ROUTH = "Routh's criterion, read for sequences"
z, s = Symbol("lambda"), parameter("s")
weights = [parameter(f"w_{d}", meaning=f"weight of the tap at lag {d}") for d in range(1, 5)]
SAMPLES = 1500


def characteristic(values: Any) -> Expr:
    """lambda^K - w_1 lambda^(K-1) - ... - w_K."""
    return z ** len(values) - sum(w * z ** (len(values) - d) for d, w in enumerate(values, 1))


def disagreements(size: int, edge: Expr) -> int:
    """Random weights, and such at the edges, for which `condition > 1 - edge` is not what the spectral radius says."""
    conditions = lambdify(weights[:size], jury(characteristic(weights[:size]), z).conditions)
    random, wrong = np.random.default_rng(size), 0
    for w in random.uniform(-1.5, 1.5, (SAMPLES, size)):
        inside = max(abs(np.roots([1, *-w]))) < 1
        wrong += bool(inside) != all(value > 1 - float(edge) for value in conditions(*w))
    return wrong


def at_the_mapped_point(known: Values, size: int) -> Numeric:
    """(1 - s)^K p((1 + s)/(1 - s))."""
    point = (1 + known[s]) / (1 - known[s])
    value = point**size - sum(known[w] * point ** (size - d) for d, w in enumerate(weights[:size], 1))
    return (1 - known[s]) ** size * value


def conditions(size: int) -> tuple[Relation, Relation]:
    """The bilinear map of K taps, and what it asks for."""
    found = jury(characteristic(weights[:size]), z)
    mapped = found.mapped.xreplace({Symbol("s"): s})
    section = f"{size} taps"
    return (
        relation(
            "bilinear map",
            "identity",
            rf"\lambda = \frac{{1 + s}}{{1 - s}}: \qquad q(s) = (1 - s)^{{{size}}} p(\lambda) = {latex(mapped)}",
            text=f"lambda = (1 + s)/(1 - s): q(s) = (1 - s)^{size} p(lambda) = {mapped}",
            reason="the open unit disc becomes the half plane Re s < 0, where Routh's criterion speaks",
            name=f"tested_{size}",
            value=mapped,
            check=IdentityCheck(lambda known, _: at_the_mapped_point(known, size), mapped, (*weights[:size], s)),
            section=section,
        ),
        relation(
            "all modes vanish",
            "inequality",
            r"\rho(A) < 1 \iff " + r",\quad ".join(f"{latex(one)} > 0" for one in found.conditions),
            text="rho < 1 if and only if " + ", ".join(f"{one} > 0" for one in found.conditions),
            reason="Hurwitz' determinants of q, of which Lienard and Chipart need every second one; "
            f"sampled against the spectral radius, {SAMPLES} times",
            name=f"conditions_{size}",
            check=SampledCheck(
                lambda edge: disagreements(size, edge), Rational(1), lambda edge: edge * Rational(11, 10)
            ),
            section=section,
        ),
    )


@cache
def misjudged() -> int:
    """Pairs of weights of which Routh's criterion on p itself gives another answer than Schur and Cohn's."""
    field, wrong = RealField(), 0
    grid = [field.convert(k) / 8 for k in range(-10, 11)]
    for first, second in product(grid, grid):
        p = [-second, -first, field.convert(1)]
        wrong += is_hurwitz(field, p) != root_condition(field, p, strict=True)
    return wrong


def misjudged_by_roots() -> int:
    """The same count, from the roots themselves in float64."""
    wrong = 0
    for first, second in product(np.arange(-10, 11) / 8, repeat=2):
        roots = np.roots([1, -first, -second])
        wrong += bool(max(roots.real) < -1e-12) != bool(max(abs(roots)) < 1 - 1e-12)
    return wrong


def relations() -> tuple[Relation, ...]:
    """What is derived, in order."""
    return (
        *(found for size in (2, 3, 4) for found in conditions(size)),
        number(
            "weights that Routh's criterion misjudges when it is asked of p itself",
            misjudged(),
            misjudged_by_roots,
            r"w_1, w_2 \in \left\{-\tfrac{10}{8}, \dots, \tfrac{10}{8}\right\}: \qquad "
            rf"\text{{Routh of }} p \ne \text{{Routh of }} q\ \text{{at {misjudged()} of 441 points}}",
            reason="Re lambda < 0 is about differential equations; h(t) = h(t-1)/2 dies out with lambda = 1/2 > 0",
            name="misjudged",
            section=ROUTH,
        ),
    )


SPEC = Spec(
    id="jury_stability",
    class_name="",
    title="Stability of several taps: Jury's conditions",
    source=f"{DECK}, 'Stability Analysis'; Jury 1964; Lienard, Chipart 1914",
    system=None,
    relations=relations,
    claims=(
        DeckClaim(
            "E003-14",
            f"{DECK}, lines 496, 517: Routh's criterion tells whether the roots lie in the unit circle",
            "tested_2",
            s**2 - weights[0] * s - weights[1],
            agrees=False,
            note="asked of the polynomial of the taps it tests Re lambda < 0; first the bilinear map, or Jury's table",
        ),
    ),
    illustration=Illustration("multitap_linear", ("modes",)),
    no_module="`derive generate rnn_multitap` emits several taps; `derive.jury(polynomial, unknown)` answers for "
    "weights of your own, with numbers or symbols",
)

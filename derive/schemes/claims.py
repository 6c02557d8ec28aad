"""Whether a scheme has the orders that it claims; where not, the first order condition that fails."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import factorial
from typing import TYPE_CHECKING, Any

from sympy import Expr, Rational

from derive.schemes.findings import Finding, advice, error, shown, to_digits
from derive.series.domains import arithmetic_of, exact
from derive.series.notation import differential, letter, words
from derive.series.trees import Tree, density, trees_up_to
from derive.series.weights import Stages, Weights

if TYPE_CHECKING:
    from derive.schemes.additive import AdditiveTableau
    from derive.schemes.multistep import LinearMultistep
    from derive.schemes.runge_kutta import ButcherTableau
    from derive.schemes.splitting import Splitting


def tableau_claims(tableau: ButcherTableau) -> Iterator[Finding]:
    """Of a Butcher tableau: its order, that of the embedded scheme and that of the dense output."""
    claims = (tableau.order, tableau.embedded_order, tableau.dense_order)
    if claims == (None, None, None):
        return
    stages = Stages(tableau)
    yield from _order(stages, "order", tableau.order, stages.b)
    if tableau.embedded_order is not None:
        yield from _present("embedded_order", "b_error", stages.b_error)
        yield from _order(stages, "embedded order", tableau.embedded_order, stages.b_error)
    if tableau.dense_order is not None:
        yield from _present("dense_order", "dense", tableau.dense)
        yield from _dense_order(
            stages if not tableau.dense_stages else Stages(tableau.dense_tableau), tableau.dense_order
        )


def additive_claims(scheme: AdditiveTableau) -> Iterator[Finding]:
    """Of an additive tableau: its order on every field with so many parts."""
    if scheme.order is not None:
        stages = Stages(scheme)
        yield from _order(stages, "order", scheme.order, stages.b)


def multistep_claims(scheme: LinearMultistep) -> Iterator[Finding]:
    """Of a multistep scheme: its order along the equation u' = sigma(1)/rho'(1) f that it is consistent with."""
    if scheme.order is None:
        return
    for name, value in (("rho'(1)", scheme.slope), ("sigma(1)", sum(scheme.beta))):
        if value == 0:
            yield error(
                "order", f"{name} = 0", f"{name} != 0", f"claims order {scheme.order}; {name} is 0: it has none"
            )
            return
    for q in range(1, scheme.order + 1):
        constant = scheme.error_constant(q)
        if constant != 0:
            text = f"claims order {scheme.order}; C_{q} is {constant}, expected 0: it has order {q - 1}"
            yield error(f"order: C_{q}", constant, 0, text)
            return


def splitting_claims(scheme: Splitting) -> Iterator[Finding]:
    """Of a splitting with exact flows: every word of parts has the coefficient of exp(h (f + g + ...)).

    What substeps make of the order is left to the linter.
    """
    if scheme.order is None or scheme.substep is not None:
        return
    arithmetic = arithmetic_of([exact(fraction) for _, fraction in scheme.stages])
    flows: dict[tuple[int, ...], Any] = {(): arithmetic.domain.one}
    for part, fraction in scheme.stages:
        flows = _followed(flows, part, arithmetic.element(exact(fraction)), scheme.order, arithmetic)
    for length in range(1, scheme.order + 1):
        wanted = Rational(1, factorial(length))
        for word in product(range(scheme.parts), repeat=length):
            found = flows.get(word, arithmetic.domain.zero)
            if found != arithmetic.rational(wanted):
                name = " ".join(letter(part) for part in word)
                value = arithmetic.expression(found)
                text = f"claims order {scheme.order}; the word {name} has the coefficient {value}, expected {wanted}"
                yield error(f"order: {name}", value, wanted, f"{text}: it has order {length - 1}")
                return


def _followed(flows: dict[tuple[int, ...], Any], part: int, fraction: Any, order: int, arithmetic: Any) -> Any:
    """Coefficients of words after one more flow: a product with the exponential of the part over the fraction."""
    found: dict[tuple[int, ...], Any] = {}
    for word, value in flows.items():
        for count in range(order - len(word) + 1):
            longer = word + (part,) * count
            term = value * fraction**count * arithmetic.rational(Rational(1, factorial(count)))
            found[longer] = found.get(longer, arithmetic.domain.zero) + term
    return found


def _present(claim: str, name: str, weights: Any) -> Iterator[Finding]:
    if weights is None:
        yield error(claim, f"no {name}", name, f"claims {claim} but has no {name}: give both or neither")


def _order(stages: Stages, what: str, claimed: int | None, weights: Weights | None) -> Iterator[Finding]:
    """The first condition that fails, of a step with the given weights."""
    if claimed is None or weights is None:
        return
    for tau in trees_up_to(claimed, stages.colours):
        if not stages.vanishes(stages.residual(tau, weights)):
            found = stages.arithmetic.expression(stages.weight(tau, weights))
            yield _failed(
                stages, what, claimed, tau, shown(found, stages.scheme.digits), str(Rational(1, density(tau)))
            )
            return


def _dense_order(stages: Stages, claimed: int) -> Iterator[Finding]:
    """The same for all theta: the weight of a tree of n vertices is theta^n/gamma."""
    for tau in trees_up_to(claimed, stages.colours):
        powers = [stages.weight(tau, weights) for weights in stages.dense or ()]
        wanted = [Rational(int(power == tau.order), density(tau)) for power in range(1, len(powers) + 1)]
        gaps = [found - stages.arithmetic.rational(value) for found, value in zip(powers, wanted, strict=True)]
        if not all(map(stages.vanishes, gaps)):
            values = [shown(stages.arithmetic.expression(value), stages.scheme.digits) for value in powers]
            found = " + ".join(f"({value}) theta^{j}" for j, value in enumerate(values, 1) if value != "0") or "0"
            yield _failed(stages, "dense order", claimed, tau, found, f"theta^{tau.order}/{density(tau)}")
            return


def _failed(stages: Stages, what: str, claimed: int, tau: Tree, found: str, expected: str) -> Finding:
    scheme = stages.scheme
    text = (
        f"claims {what} {claimed}{to_digits(scheme.digits)}; the condition of {differential(tau)} "
        f"({words(tau)}) fails: found {found}, expected {expected}: it has {what} {tau.order - 1}"
        f"{advice(scheme.digits, _weights(scheme))}"
    )
    return error(f"{what}: {differential(tau)}", found, expected, text)


def _weights(scheme: Any) -> Iterator[Expr]:
    return (weight for part in getattr(scheme, "parts", (scheme,)) for weight in part.b)

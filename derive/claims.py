"""Deck claims beside derived results."""

from __future__ import annotations

from collections.abc import Mapping

import mpmath
from sympy import Expr, sympify

from derive.checks import DIGITS, relative_difference
from derive.derivation import ClaimVerdict, Derivation
from derive.errors import UnknownNameError
from derive.evaluator import evaluate, value_of
from derive.latex import latex, plain
from derive.networks import Network
from derive.operators import Numeric
from derive.program import Program, symbols_of
from derive.sampling import Sampler
from derive.symbols import Quantity, Role
from derive.systems import DeckClaim, Spec

Results = Mapping[str, Expr]


def verdicts(spec: Spec, derivation: Derivation) -> tuple[ClaimVerdict, ...]:
    """The claims of a spec beside what is derived of it."""
    found = []
    for claim in spec.claims:
        option = str(claim.option or next(iter(spec.variants), ""))
        results = {**derivation.results, **_of_option(derivation.results, option)}
        found.append(judge(claim, results, derivation.contexts.get(option)))
    return tuple(found)


def _of_option(results: Results, option: str) -> dict[str, Expr]:
    prefix = f"{option}."
    return {name.removeprefix(prefix): value for name, value in results.items() if option and name.startswith(prefix)}


def judge(claim: DeckClaim, results: Results, context: Program | None) -> ClaimVerdict:
    """Compare a claim with the derived result of the name it speaks of.

    Args:
        claim: what a deck says.
        results: derived expressions by name.
        context: program that computes the intermediate quantities both may mention (the step and its adjoint).

    Raises:
        UnknownNameError: the claim speaks of a result that is not derived.
    """
    if claim.about not in results:
        raise UnknownNameError(f"result in claim {claim.id}", claim.about, results)
    derived = results[claim.about]
    says = claim.says.xreplace(dict(claim.where))
    difference = _difference(says, derived.xreplace(dict(claim.where)), context)
    return ClaimVerdict(
        claim.id,
        claim.deck,
        claim.about,
        plain(sympify(claim.says)),
        plain(sympify(derived)),
        difference,
        claim.note,
        latex(sympify(claim.says)),
        latex(sympify(derived)),
        claim.agrees,
    )


def _difference(says: Expr, derived: Expr, context: Program | None) -> float:
    """Relative difference at a random point with 60 digits, each plain symbol a random number of its own."""
    plain = sorted((says.free_symbols | derived.free_symbols), key=lambda s: s.name)
    stand_ins = {
        s: Quantity(f"plain_{s.name}", (), Role.CONSTANT) for s in plain if not isinstance(s, Quantity | Network)
    }
    says, derived = says.xreplace(stand_ins), derived.xreplace(stand_ins)
    mentioned = symbols_of(says) | symbols_of(derived)
    networks = says.atoms(Network) | derived.atoms(Network)
    if context is not None:
        context = context.needed_for(q for q in context.targets if q in mentioned)
        mentioned |= set(context.inputs)
        networks |= set(context.networks())
    with mpmath.workdps(DIGITS):
        sampler = Sampler(mentioned, networks)
        values: dict[Quantity, Numeric] = sampler.values()
        if context is not None:
            values = {**values, **evaluate(context, values, sampler.networks)}
        return relative_difference(
            value_of(says, values, sampler.networks), value_of(derived, values, sampler.networks)
        )

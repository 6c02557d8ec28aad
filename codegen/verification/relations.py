"""Rows of the relations that a derivation shows, and of what the decks claim."""

from __future__ import annotations

from codegen.verification.measures import Measured, judged
from codegen.verification.report import Row
from derive.derivation import Check, ClaimVerdict, Derivation, Outcome, Relation


def relation_rows(derivation: Derivation) -> list[Row]:
    """One row per relation that has a check, in the derivation's order."""
    return [_relation_row(derivation.id, r, r.check) for r in derivation.relations if r.check is not None]


def claim_rows(derivation: Derivation) -> list[Row]:
    """One row per deck claim: a verdict on the deck, never a failure of the module."""
    return [_claim_row(derivation.id, claim) for claim in derivation.claims]


def _relation_row(spec: str, relation: Relation, check: Check) -> Row:
    outcomes: list[Outcome] = []

    def measure() -> Measured:
        outcomes.append(check.run())
        return Measured(outcomes[0].measured, outcomes[0].detail)

    name = f"({relation.number}) {relation.kind.value}: {relation.title}"
    found = judged(spec, name, "0", "", measure, lambda _: outcomes[0].holds)
    tolerance = f"{outcomes[0].tolerance:g}" if outcomes else ""
    return Row(spec, name, found.expected, found.measured, tolerance, found.passed, found.detail)


def _claim_row(spec: str, claim: ClaimVerdict) -> Row:
    detail = f"the deck says {claim.says}; derived: {claim.derived}" + (f"; {claim.note}" if claim.note else "")
    measured = "agrees" if claim.agrees else f"differs by {claim.difference:.2g}"
    expected = {True: "agrees", False: "differs", None: "verdict"}[claim.expected]
    passed = claim.expected in (None, claim.agrees)
    return Row(
        spec, f"deck claim {claim.id}: {claim.about}", expected, measured, f"{claim.tolerance:g}", passed, detail
    )

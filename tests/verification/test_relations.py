"""Relations and deck claims as rows: what is true passes, what is perturbed fails, and verdicts on decks flip."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from random import Random

import pytest

from codegen.verification.relations import claim_rows, relation_rows
from derive import explain, load
from derive.catalog import CATALOG
from derive.checks import PERTURBATION
from derive.derivation import Kind, Section

MOST_TERMS = 4
CHECKED = (Kind.IDENTITY, Kind.ASYMPTOTIC, Kind.INEQUALITY)


@cache
def derivation(name):
    return explain(load(name))


def with_checks(found, change):
    """The derivation with every check replaced by `change(check)`."""
    sections = tuple(
        replace(
            section,
            relations=tuple(r if r.check is None else replace(r, check=change(r.check)) for r in section.relations),
        )
        for section in found.sections
    )
    return replace(found, sections=sections)


@pytest.mark.parametrize("name", CATALOG)
def test_every_relation_that_can_be_checked_has_a_check(name):
    """That it passes is a row of `verify`: those of modules are looked at in `test_verify`, all others here."""
    found = derivation(name)
    assert all((relation.check is not None) is (relation.kind in CHECKED) for relation in found.relations)
    if load(name).no_module:
        rows = relation_rows(found)
        assert [row.check.split(" ")[0] for row in rows] == [
            f"({r.number})" for r in found.relations if r.kind in CHECKED
        ]
        assert all(row.passed and row.spec == name for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize("name", CATALOG)
def test_every_coefficient_of_every_relation_counts(name):
    """Terms of what a relation shows are changed by a thousandth, one at a time: each time its row fails.

    All of them, and of a relation with many the first and a choice.
    """
    found = derivation(name)
    checked = [relation for relation in found.relations if relation.check]
    assert len(checked) >= (2 if load(name).no_module else 5)
    for relation in checked:
        for term in chosen_terms(relation):
            changed = replace(relation, check=relation.check.perturbed(term))
            (row,) = relation_rows(replace(found, sections=(Section("perturbed", (changed,)),)))
            assert not row.passed and row.measured != "could not run", (row, term)


def chosen_terms(relation):
    """The first term, and a choice of all."""
    count = relation.check.terms
    return sorted({0, *Random(relation.title).sample(range(count), min(count, MOST_TERMS))})


def test_a_check_that_raises_is_a_failed_row_that_says_why():
    class Broken:
        def run(self):
            raise ZeroDivisionError("nothing to divide by")

    rows = relation_rows(with_checks(derivation("resnet"), lambda check: Broken()))
    assert all(not row.passed and row.measured == "could not run" for row in rows)
    assert rows[0].detail == "ZeroDivisionError: nothing to divide by"


def derived(name, claim):
    results = derivation(name).results
    name_in_option = f"{claim.option}.{claim.about}"
    return results[name_in_option if name_in_option in results else claim.about]


def verdicts(name, says):
    """Verdict rows of the spec with `says(claim)` in the place of what each claim says."""
    spec = load(name)
    claims = tuple(replace(claim, says=says(claim)) for claim in spec.claims)
    return [row.measured for row in claim_rows(explain(replace(spec, claims=claims)))]


@pytest.mark.parametrize("name", CATALOG)
def test_the_right_formula_turns_every_verdict_to_agrees(name):
    assert set(verdicts(name, lambda claim: derived(name, claim))) <= {"agrees"}


@pytest.mark.parametrize("name", CATALOG)
def test_a_perturbed_formula_turns_every_verdict_to_differs(name):
    found = verdicts(name, lambda claim: derived(name, claim) * PERTURBATION)
    assert all(verdict.startswith("differs by") for verdict in found) and len(found) == len(load(name).claims)


@pytest.mark.parametrize("name", CATALOG)
def test_claims_are_rows_that_never_fail_and_quote_both_sides(name):
    rows = claim_rows(derivation(name))
    assert len(rows) == len(load(name).claims)
    for row in rows:
        assert row.passed and row.detail.startswith("the deck says ") and "; derived: " in row.detail
        assert row.measured == "agrees" or row.measured.startswith("differs by")

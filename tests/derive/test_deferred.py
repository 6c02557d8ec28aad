"""Relations and claims given as functions: asked once, when the derivation is; loading asks nothing."""

from dataclasses import replace

import pytest

from derive import DeckClaim, Integer, Spec, explain, number
from derive.errors import SpecError

CLAIM = DeckClaim("a", "deck", "two", Integer(2), agrees=True)


def statement(**given):
    return Spec(id="own", class_name="", title="Own", system=None, no_module="nothing to emit", **given)


def two():
    return number("two", 2, lambda: 2, "2", reason="counted", name="two")


def test_functions_are_asked_once_and_not_when_the_spec_is_made():
    asked = []

    def relations():
        asked.append("relations")
        yield two()

    def claims():
        asked.append("claims")
        return [CLAIM]

    spec = statement(relations=relations, claims=claims)
    assert not asked
    first, second = explain(spec), explain(spec)
    assert asked == ["relations", "claims"]
    assert [c.id for c in first.claims] == [c.id for c in second.claims] == ["a"]
    assert first.claims[0].difference == 0
    assert spec.relations == tuple(spec.relations)
    assert [r.title for r in replace(spec, id="other").relations] == ["two"]


def test_what_is_given_as_it_is_becomes_a_tuple():
    assert statement(claims=[CLAIM]).claims == (CLAIM,)
    assert statement().relations == () == statement().claims


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: [1], r"own: relations\[0\] is 1 \(int\), which is no Relation"),
        ([CLAIM], r"own: relations\[0\] is DeckClaim"),
        (7, r"own: relations is 7 \(int\); give a tuple of Relations, or a function that returns it"),
        (lambda: 7, r"own: relations is 7 \(int\); give a tuple"),
        (lambda: 1 / 0, "own: the function given as relations raised ZeroDivisionError: division by zero"),
        (lambda: [statement(id="no name")], "own: .*raised TypeError"),
    ],
)
def test_what_is_no_relation_is_refused(given, says):
    with pytest.raises(SpecError, match=says):
        explain(statement(relations=given))

"""The relations of the network that tells parities, where its exact weights are others."""

from dataclasses import replace

import pytest

from derive.catalog import parity_rnn
from derive.catalog.parity_rnn import SPEC, q


def outcome(monkeypatch, **others):
    """What the relation about the output fed back finds, with other values of some parameters."""
    changed = replace(SPEC, values={**SPEC.values, **{q[name]: value for name, value in others.items()}})
    monkeypatch.setattr(parity_rnn, "SPEC", changed)
    (found,) = [item for item in SPEC.relations if item.name == "fed_back"]
    return found.check.run()


def test_the_state_is_read_through_the_output_alone(monkeypatch):
    assert outcome(monkeypatch).holds


@pytest.mark.parametrize(
    "others", [{"V": ((1, 1),)}, {"V": ((2, -1),)}, {"W": ((1, -1), (1, 0))}, {"W": ((1, 1), (1, 1)), "V": ((1, 1),)}]
)
def test_it_holds_for_no_other_weights(monkeypatch, others):
    assert not outcome(monkeypatch, **others).holds

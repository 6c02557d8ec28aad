"""Embedded pairs and the control of step sizes as numbers of an emitted file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sympy import Expr

from codegen.steps.source import tuple_display
from derive.derivation import Derivation
from derive.embedded import EmbeddedPair
from derive.step_control import CONTROL


def pairs_view(methods: Mapping[str, EmbeddedPair], derivation: Derivation) -> dict[str, Any]:
    """What `pairs.jinja` prints."""
    control = CONTROL.safety, CONTROL.alpha, CONTROL.beta, CONTROL.smallest, CONTROL.largest
    return {
        "pairs": [(repr(name), _pair_lines(pair)) for name, pair in methods.items()],
        "control": ", ".join(repr(float(value)) for value in control),
        "control_number": derivation.number_of("factor"),
    }


def _pair_lines(pair: EmbeddedPair) -> list[tuple[str, str]]:
    """Arguments of a pair as numbers."""
    tableau = pair.tableau
    return [
        ("A", tuple_display([_numbers(row) for row in tableau.A])),
        ("c", _numbers(tableau.c)),
        ("error", _numbers(pair.error)),
        ("dense", tuple_display([_numbers(row) for row in pair.dense])),
        ("power", str(pair.power)),
        ("stops", str(pair.is_crude)),
        ("last", str(pair.last)),
    ]


def _numbers(values: Sequence[Expr]) -> str:
    return tuple_display([repr(float(value)) for value in values])

"""What an analysis returns: an exact answer and the steps that prove it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from derive.errors import UnsupportedError


@dataclass(frozen=True)
class Step:
    """One step of a proof.

    Attributes:
        words: what is done and what follows.
        formula: LaTeX of what it is done to; empty where words say all.
    """

    words: str
    formula: str = ""


@dataclass(frozen=True)
class Verdict:
    """An exact answer with its proof.

    Attributes:
        value: a SymPy Boolean, number, pair of numbers, or a condition on the symbols; None where the notion does not
            apply, or where it could not be decided.
        proof: the steps, in order.
        undecided: why a notion that applies was not decided; empty where it was.
    """

    value: Any
    proof: tuple[Step, ...] = ()
    undecided: str = ""


def decided(decide: Callable[[], Verdict]) -> Verdict:
    """The verdict, or one without a value that says why none was found."""
    try:
        return decide()
    except UnsupportedError as error:
        return Verdict(None, undecided=str(error))

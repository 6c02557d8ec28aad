"""What an analysis returns: an exact answer and the steps that prove it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
            apply.
        proof: the steps, in order.
    """

    value: Any
    proof: tuple[Step, ...] = ()

"""First integrals and volumes that a scheme keeps, whatever the field."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import S

from derive.geometry.symplectic import is_symplectic
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.series.weights import Stages
from derive.verdict import Step, Verdict


@dataclass(frozen=True)
class Invariant:
    """A kind of quantity, and whether the scheme keeps it where the field does.

    Attributes:
        kind: "linear first integrals", "quadratic first integrals", "volume in separable systems".
        verdict: the answer and why.
    """

    kind: str
    verdict: Verdict


def invariants(scheme: Scheme) -> tuple[Invariant, ...]:
    """What is kept by the step for every field that keeps it (and, of splittings, whose parts keep it)."""
    found = [Invariant("linear first integrals", Verdict(S.true, (Step(_linear_reason(scheme)),)))]
    if isinstance(scheme, LinearMultistep):
        return tuple(found)
    quadratic = is_symplectic(scheme)
    kind = "quadratic first integrals" if isinstance(scheme, ButcherTableau) else "bilinear first integrals x^T D y"
    found.append(Invariant(kind, quadratic))
    if isinstance(scheme, AdditiveTableau):
        found.append(Invariant("volume in separable systems", _volume(scheme)))
    return tuple(found)


def _linear_reason(scheme: Scheme) -> str:
    if isinstance(scheme, Splitting):
        return "every flow keeps d.x where d.f_p = 0 for its part"
    if isinstance(scheme, AdditiveTableau):
        return "increments are sums of values of the parts, and d.f_p = 0 for each part"
    return "increments are sums of values of the field, and d.f = 0"


def _volume(scheme: AdditiveTableau) -> Verdict:
    """A composition of shears x + c f(y), y + c g(x) has determinant 1 for all f and g.

    The scheme is one where the increments of a stage enter with their full weight or not at all, later stages with all
    that enters earlier ones.
    """
    stages = Stages(scheme)
    for p, (A, b) in enumerate(zip(stages.A, stages.b, strict=True)):
        for i, row in enumerate(A):
            for j, (entry, weight) in enumerate(zip(row, b, strict=True)):
                if not stages.vanishes(entry) and not stages.vanishes(entry - weight):
                    words = f"stage {i + 1} takes a part of increment {j + 1} of part {p + 1}: no composition of shears"
                    return Verdict(S.false, (Step(words),))
                if stages.vanishes(entry) and j < i and not stages.vanishes(weight):
                    words = f"stage {i + 1} leaves out increment {j + 1} of part {p + 1}: no composition of shears"
                    return Verdict(S.false, (Step(words),))
    return Verdict(S.true, (Step("a composition of shears x + c f(y), y + c g(x), each of determinant 1"),))

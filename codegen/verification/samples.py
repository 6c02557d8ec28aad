"""Schemes that a module of a loop over steps is verified with: its own, or samples where its weights are arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from derive.schemes import LinearMultistep, MultistepFamily, Start
from derive.series.rk import order
from derive.systems import Spec


@dataclass(frozen=True)
class Sampled:
    """A class under one scheme.

    Attributes:
        label: the scheme's title; empty where the class has no other.
        kind: the class, with the weights given.
        spec: with the discretization that the reference evaluates.
        inverted: whether the class may have an inverse of the step; with weights as arguments it has none.
    """

    label: str
    kind: Callable[..., nn.Module]
    spec: Spec
    inverted: bool = True

    def titled(self, label: str) -> str:
        """A label behind this one."""
        return ", ".join(part for part in (self.label, label) if part)


def sampled(spec: Spec, kind: Callable[..., nn.Module]) -> list[Sampled]:
    """What the module of a spec is compared with."""
    if not isinstance(spec.scheme, MultistepFamily):
        return [Sampled("", kind, spec)]
    *others, last = spec.scheme.samples  # the last has all weights, so that all that a start makes is read
    found = [_sample(spec, spec.scheme, scheme, kind, 1) for scheme in others]
    return [*found, _sample(spec, spec.scheme, last, kind, len(spec.scheme.starts))]


def _sample(
    spec: Spec, family: MultistepFamily, scheme: LinearMultistep, kind: Callable[..., nn.Module], starts: int
) -> Sampled:
    """One member of a family, with the smallest starts that keep its order."""
    needed = scheme.derived_order - 1
    fitting = [name for name, tableau in family.starts.items() if order(tableau) >= needed]
    weights = {"alpha": [float(w) for w in scheme.alpha], "beta": [float(w) for w in scheme.beta]}
    started = replace(scheme, start={name: Start(family.starts[name]) for name in fitting[:starts]})
    return Sampled(scheme.title, partial(kind, **weights), replace(spec, scheme=started), inverted=False)

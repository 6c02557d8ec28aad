"""Which scheme a spec is discretized with."""

from __future__ import annotations

from derive.adaptive import Adaptive
from derive.explanation import recurrences
from derive.flow import ContinuousFlow
from derive.readings import scheme_read
from derive.schemes import Scheme, single_scheme
from derive.systems import ODE, Spec


def scheme_of(spec: Spec) -> Scheme | None:
    """The scheme of an ODE, or what the first of the spec's readings makes of its step; None where there is neither.

    Raises:
        UnsupportedError: a family of schemes, whose weights are arguments of the emitted module.
    """
    system = spec.system
    if isinstance(system, ODE):
        return single_scheme(spec.scheme)
    if isinstance(system, Adaptive | ContinuousFlow):
        return single_scheme(system.scheme)
    if spec.readings:
        return scheme_read(next(iter(recurrences(spec).values())), spec.readings[0])
    return None

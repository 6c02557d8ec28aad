"""The derivation of a flow: its sections, and what claims can speak of."""

from __future__ import annotations

from derive.discretization import discretize
from derive.drafts import Draft, remember, write_recurrence
from derive.embedded import embedded_pair
from derive.flow import ContinuousFlow, Flow
from derive.flow_programs import adjoint_of, flow_programs
from derive.flow_sections import write_continuous, write_flow
from derive.lagrangian import StepNames
from derive.schemes import scheme_by_name
from derive.step_control import write_control
from derive.truncation import truncation

ADAPTIVE = "dopri5"  # the pair of adaptive steps, unless another one is chosen


def explain_flow(draft: Draft, flow: Flow, names: StepNames) -> None:
    """The map, its log-determinant, when it is invertible, its inverse, densities and adjoints."""
    results, facts = write_flow(draft.author, flow, names)
    draft.results |= results
    draft.facts |= facts
    derived = flow_programs(flow)
    remember(draft, derived.forward, adjoint_of(derived.forward), names.prefix)


def explain_continuous(draft: Draft, flow: ContinuousFlow, names: StepNames) -> None:
    """The field, its divergence, and the step that moves both."""
    draft.results |= write_continuous(draft.author, flow, names)
    draft.facts["direction"] = "data at t0 to base at t1: forward gives (y, log|det dy/dx|)"
    scheme = scheme_by_name(flow.scheme)
    write_recurrence(draft, discretize(flow.augmented, scheme), names)
    draft.results |= write_control(draft.author, embedded_pair(ADAPTIVE).power)
    draft.facts |= {"scheme": scheme.title, "order": str(truncation(flow.augmented, scheme).order)}

"""Sections on an ODE and its scheme: which it gets follows from what both are made of."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, true

from derive.additive_steps import PartsScheme
from derive.analysis import Analysis
from derive.depth_explanation import write_inverse
from derive.derivation import Kind
from derive.discretization import IMPLICIT, discretize, implicit_family
from derive.drafts import Draft, remember, write_recurrence
from derive.equation_sections import write_equations
from derive.equations import systems
from derive.expansion_sections import write_local_error
from derive.family_sections import write_family
from derive.geometry.symmetry import is_symmetric
from derive.inversion import invert
from derive.lagrangian import StepNames, write_step
from derive.linear_step import write_invariants, write_linear_step
from derive.lyapunov import write_lyapunov
from derive.momentum import write_momentum
from derive.phase_space import write_hamiltonian, write_phase_map
from derive.program import unknowns_of
from derive.recurrence import Recurrence
from derive.scheme_report.show import tableau_latex, tableau_text
from derive.scheme_sections import stable_interval, warnings, write_root_condition, write_starts, write_truncation
from derive.schemes import ButcherTableau, LinearMultistep, MultistepFamily, Scheme, scheme_by_name
from derive.systems import ODE
from derive.time_sections import write_varying
from derive.truncation import Truncation, truncation


def explain_ode(draft: Draft, ode: ODE, names: StepNames) -> None:
    """All sections on an ODE, its scheme and its step."""
    author, spec = draft.author, draft.spec
    if isinstance(spec.scheme, MultistepFamily):
        _explain_family(draft, ode, spec.scheme, names)
        return
    scheme = scheme_by_name(spec.scheme)
    recurrence = discretize(ode, scheme)
    draft.results |= write_hamiltonian(author, ode)
    if isinstance(scheme, ButcherTableau):
        author.relation(
            "Butcher tableau",
            Kind.DEFINITION,
            tableau_latex(scheme),
            reason=scheme.title,
            text=tableau_text(scheme),
        )
        author.close("The scheme")
    adjoint = write_recurrence(draft, recurrence, names)
    write_equations(author, recurrence, adjoint)
    write_phase_map(author, recurrence, adjoint)
    write_varying(draft, ode, scheme)
    facts = _write_accuracy(draft, ode, scheme, recurrence)
    if isinstance(scheme, LinearMultistep):
        stable = write_root_condition(author, scheme)
        draft.facts |= {"zero-stable for": stable} if stable else {}
        write_momentum(author, recurrence, scheme)
    draft.results |= write_linear_step(author, ode, recurrence)
    draft.results |= write_invariants(author, ode, recurrence, spec.invariants)
    draft.results |= write_lyapunov(author, ode, spec.lyapunov)
    draft.facts |= facts
    draft.facts["scheme"] = scheme.title
    draft.facts |= warnings(scheme) | Analysis(scheme).stability_facts()
    solved = ["(" + ", ".join(q.name for q in unknowns_of(block)) + ")" for block in systems(recurrence.step)]
    draft.facts |= {"solved for": ", then ".join(solved)} if solved else {}
    if isinstance(scheme, ButcherTableau) and solved and invert(recurrence) is None:
        symmetric = is_symmetric(scheme).value == true
        draft.facts["inverse"] = f"the {'same' if symmetric else 'adjoint'} scheme with -h"
    else:
        write_inverse(draft, recurrence, scheme, names)


def _write_accuracy(draft: Draft, ode: ODE, scheme: Scheme, recurrence: Recurrence) -> dict[str, str]:
    """Sections on order and local error; returns the facts of them."""
    if isinstance(scheme, PartsScheme):
        results = write_local_error(draft.author, ode, scheme, recurrence)
        draft.results |= results
        return {"order": str(results["order"])}
    analysis = truncation(ode, scheme)
    draft.results |= write_truncation(draft.author, analysis)
    starts = write_starts(draft.author, analysis)
    return _facts(analysis, starts, draft.results)


def _explain_family(draft: Draft, ode: ODE, family: MultistepFamily, names: StepNames) -> None:
    """Of a scheme whose weights are arguments, what holds for all weights."""
    recurrence = discretize(ode, family)
    draft.results |= write_hamiltonian(draft.author, ode)
    adjoint = write_recurrence(draft, recurrence, names)
    write_phase_map(draft.author, recurrence, adjoint)
    _explain_implicit_family(draft, ode, family)
    draft.results |= write_family(draft.author, ode, family, recurrence)
    draft.facts |= {"order": "p of the weights: C_0 = ... = C_p = 0", "scheme": family.title}
    draft.facts["zero-stable for"] = "weights that satisfy the root condition"


def _explain_implicit_family(draft: Draft, ode: ODE, family: MultistepFamily) -> None:
    """The step where f_(n+1) has a weight, and its equation."""
    recurrence, names = implicit_family(ode, family), StepNames(IMPLICIT)
    adjoint = write_step(draft.author, recurrence, names, "weight of f_(n+1) not 0")
    remember(draft, recurrence.step, adjoint, IMPLICIT)
    write_equations(draft.author, recurrence, adjoint)
    draft.facts["solved for"] = "(x_next), where beta[0] is not 0"


def _facts(analysis: Truncation, starts: Mapping[str, int], results: Mapping[str, Expr]) -> dict[str, str]:
    order = analysis.order
    higher = [
        f"{order + 1} at {symbol} = {value}" + _stability_there(analysis.scheme, value)
        for symbol, found in analysis.conditions.items()
        for value in found
    ]
    facts = {"order": ", ".join([str(order), *higher])}
    for name, reached in starts.items():
        best = min(order + bool(higher), reached)
        facts[f"order with start {name!r}"] = str(min(order, reached)) + (f", {best} at best" if best > order else "")
    if "effective_field" in results:
        facts["consistent with"] = f"u' = {results['effective_field']}"
    return facts


def _stability_there(scheme: Scheme, value: Expr) -> str:
    stable = not isinstance(scheme, LinearMultistep) or stable_interval(scheme).contains(value)
    return "" if stable else " (not zero-stable there)"

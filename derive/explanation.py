"""Spec -> derivation: which sections a system gets follows from what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sympy import Expr

from derive.additive_steps import PartsScheme
from derive.chains import Chain, input_of
from derive.claims import judge
from derive.derivation import ClaimVerdict, Derivation, Kind
from derive.discretization import discretize
from derive.equation_sections import write_adjoint_scheme, write_equations
from derive.equations import systems
from derive.exact_reversal import write_exact_reversal
from derive.expansion_sections import write_expansion, write_local_error
from derive.family_sections import write_family
from derive.inversion import invert
from derive.lagrangian import StepNames, merged, write_adjoint, write_graph, write_loss, write_program, write_step
from derive.linear_step import write_invariants, write_linear_step
from derive.linear_test import write_linear_test
from derive.lyapunov import write_lyapunov
from derive.momentum import write_momentum
from derive.numbering import Author
from derive.operators import show_shape
from derive.phase_space import write_hamiltonian, write_phase_map
from derive.program import Program, name_functions, unknowns_of
from derive.readings import write_reading
from derive.relations import write_relations
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.reversibility import write_inverse
from derive.scheme_report.show import tableau_latex, tableau_text
from derive.scheme_sections import stable_interval, warnings, write_root_condition, write_starts, write_truncation
from derive.schemes import ButcherTableau, LinearMultistep, MultistepFamily, Scheme, scheme_by_name
from derive.symbols import Quantity, by_name
from derive.systems import ODE, Option, Recurrence, Spec
from derive.truncation import Truncation, truncation


@dataclass
class _Draft:
    """A derivation being written."""

    spec: Spec
    author: Author = field(default_factory=Author)
    results: dict[str, Expr] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Program] = field(default_factory=dict)


def explain_system(spec: Spec) -> Derivation:
    """The derivation of a spec without the sections on its scheme: all that the emitted code refers to."""
    draft = _Draft(spec)
    for option, system in spec.variants.items():
        _WRITERS[type(system)](draft, system, StepNames(str(option)))
    for title, recurrence in spec.beside.items():
        _write_depth(draft, recurrence, StepNames(title))
    for reading in spec.readings:
        for recurrence in recurrences(spec).values():
            draft.results |= write_reading(draft.author, recurrence, reading)
    draft.results |= write_relations(draft.author, spec.relations)
    if spec.loss is not None:
        write_loss(draft.author, spec.loss)
    for formula, source in spec.statements:
        draft.author.relation("statement", Kind.STATEMENT, formula, reason="quoted", source=source)
    draft.author.close("Statements")
    return Derivation(
        spec.id,
        spec.title,
        spec.source,
        _symbol_table(spec),
        tuple(draft.author.sections),
        _claims(draft),
        draft.facts,
        draft.results,
        draft.author.numbers,
    )


def recurrences(spec: Spec) -> Mapping[Option, Recurrence]:
    """Option -> one step of the spec's system, discretized where it is an ODE; nothing of what has no steps."""
    return {
        option: discretize(system, scheme_by_name(spec.scheme)) if isinstance(system, ODE) else system
        for option, system in spec.variants.items()
        if isinstance(system, ODE | Recurrence)
    }


def programs_of(system: Recurrence | Chain | Program) -> tuple[Program, ...]:
    """The program of a step, of each kind of layer, or of a graph without steps."""
    if isinstance(system, Chain):
        return tuple(system.layers.values())
    return (system.step if isinstance(system, Recurrence) else system,)


def _explain_ode(draft: _Draft, ode: ODE, names: StepNames) -> None:
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
    adjoint = _write_recurrence(draft, recurrence, names)
    write_equations(author, recurrence, adjoint)
    write_phase_map(author, recurrence, adjoint)
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
    draft.facts |= warnings(scheme)
    solved = ["(" + ", ".join(q.name for q in unknowns_of(block)) + ")" for block in systems(recurrence.step)]
    draft.facts |= {"solved for": ", then ".join(solved)} if solved else {}
    if isinstance(scheme, ButcherTableau) and solved and invert(recurrence) is None:
        symmetric = write_adjoint_scheme(author, ode, scheme)
        draft.facts["inverse"] = f"the {'same' if symmetric else 'adjoint'} scheme with -h"
    else:
        _write_inverse(draft, recurrence, scheme, names)


def _write_accuracy(draft: _Draft, ode: ODE, scheme: Scheme, recurrence: Recurrence) -> dict[str, str]:
    """Sections on order and local error; returns the facts of them."""
    if isinstance(scheme, PartsScheme):
        results = write_local_error(draft.author, ode, scheme, recurrence)
        draft.results |= results
        return {"order": str(results["order"])}
    analysis = truncation(ode, scheme)
    draft.results |= write_truncation(draft.author, analysis)
    starts = write_starts(draft.author, analysis)
    return _facts(analysis, starts, draft.results)


def _write_inverse(draft: _Draft, recurrence: Recurrence, scheme: Scheme | None, names: StepNames) -> None:
    inverse = write_inverse(draft.author, recurrence, scheme, names)
    draft.facts["inverse"] = "explicit" if inverse is not None else "the solution of an equation"
    exact = write_exact_reversal(draft.author, recurrence, names)
    if exact is not None:
        draft.facts["exact reversal"] = f"log2(q/|p|) bits per component and step at the weight {exact.weight} = p/q"


def _write_depth(draft: _Draft, recurrence: Recurrence, names: StepNames) -> None:
    """Sections of a step that is not made from an ODE: its expansion and its linear stability."""
    results = write_expansion(draft.author, recurrence, names)
    results |= write_linear_test(draft.author, recurrence, names)
    draft.results |= {names.joined(name): value for name, value in results.items()}


def _explain_family(draft: _Draft, ode: ODE, family: MultistepFamily, names: StepNames) -> None:
    """Of a scheme whose weights are arguments, what holds for all weights."""
    recurrence = discretize(ode, family)
    draft.results |= write_hamiltonian(draft.author, ode)
    adjoint = _write_recurrence(draft, recurrence, names)
    write_phase_map(draft.author, recurrence, adjoint)
    draft.results |= write_family(draft.author, ode, family, recurrence)
    draft.facts |= {"order": "p of the weights: C_0 = ... = C_p = 0", "scheme": family.title}
    draft.facts["zero-stable for"] = "weights that satisfy the root condition"


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


def _write_recurrence(draft: _Draft, recurrence: Recurrence, names: StepNames) -> Adjoint:
    adjoint = write_step(draft.author, recurrence, names, names.prefix)
    _remember(draft, recurrence.step, adjoint, names.prefix)
    for name, start in recurrence.starts.items():
        start_names = StepNames(".".join(part for part in (names.prefix, "start", name) if part))
        start_adjoint = reverse_sweep(start)
        write_program(draft.author, start, start_names, "step")
        write_adjoint(draft.author, start, start_adjoint, start_names, "adjoint")
        one = recurrence.lags == 2
        made = "x_1 from x_0" if one else "each value from the one before it"
        draft.author.close(f"The first step{'' if one else 's'}, start {name!r}", f"{made}, and its adjoint.")
    return adjoint


def _remember(draft: _Draft, program: Program, adjoint: Adjoint, option: str) -> None:
    """Keep every derived line as a result that claims can speak of; later options do not replace earlier ones."""
    lines = (*program.assignments, *adjoint.program.assignments)
    prefix = f"{option}." if option else ""
    draft.results |= {f"{prefix}{line.target.name}": line.value for line in lines}
    draft.contexts[option] = merged(program, adjoint.program.assignments)


def _stability_there(scheme: Scheme, value: Expr) -> str:
    stable = not isinstance(scheme, LinearMultistep) or stable_interval(scheme).contains(value)
    return "" if stable else " (not zero-stable there)"


def _explain_recurrence(draft: _Draft, recurrence: Recurrence, names: StepNames) -> None:
    adjoint = _write_recurrence(draft, recurrence, names)
    draft.facts["state"] = ", ".join(q.name for q in recurrence.old)
    if recurrence.in_depth:
        if not names.prefix:
            write_phase_map(draft.author, recurrence, adjoint)
        _write_depth(draft, recurrence, names)
        if not names.prefix:
            _write_inverse(draft, recurrence, None, names)
    if draft.spec.option:
        draft.facts[draft.spec.option] = ", ".join(map(str, draft.spec.variants))


def _explain_graph(draft: _Draft, graph: Program, names: StepNames) -> None:
    program = name_functions(graph)
    adjoint = write_graph(draft.author, program, names)
    _remember(draft, program, adjoint, names.prefix)


def _explain_chain(draft: _Draft, chain: Chain, names: StepNames) -> None:
    """Every kind of layer with its adjoint, and what connects two layers."""
    option = names.prefix
    chosen = f", {draft.spec.option} = {option}" if option else ""
    for kind, layer in chain.layers.items():
        of_kind = StepNames(f"{option}.{kind}" if option else kind)
        adjoint = write_graph(draft.author, layer, of_kind, f"{kind} layer{chosen}")
        _remember(draft, layer, adjoint, of_kind.prefix)
    if draft.spec.option:
        draft.facts[draft.spec.option] = ", ".join(map(str, draft.spec.variants))
    hidden = chain.hidden
    if hidden is None or "between_layers" in draft.author.numbers:
        return
    adjoint, into = reverse_sweep(hidden), input_of(hidden)
    seed, sent = adjoint.seeds[hidden.outputs[0]], adjoint.cotangents[into]
    draft.author.relation(
        "what a layer hears from the next one",
        Kind.DEFINITION,
        rf"{seed.latex} = \left. {sent.latex} \right|_{{\text{{next layer}}}}",
        text=f"{seed} = {sent} of the next layer",
        reason="the output of a layer is the input of the next; the last layer hears from the loss alone",
        name="between_layers",
    )
    draft.author.close("Between the layers")


def _claims(draft: _Draft) -> tuple[ClaimVerdict, ...]:
    verdicts = []
    for claim in draft.spec.claims:
        option = str(claim.option or next(iter(draft.spec.variants), ""))
        results = {**draft.results, **_of_option(draft.results, option)}
        verdicts.append(judge(claim, results, draft.contexts.get(option)))
    return tuple(verdicts)


def _of_option(results: Mapping[str, Expr], option: str) -> dict[str, Expr]:
    prefix = f"{option}."
    return {name.removeprefix(prefix): value for name, value in results.items() if option and name.startswith(prefix)}


def _symbol_table(spec: Spec) -> tuple[tuple[str, str, str, str, str], ...]:
    found: dict[str, Quantity] = {}
    for recurrence in recurrences(spec).values():
        for quantity in by_name({*recurrence.step.inputs, *recurrence.old, *recurrence.new, *recurrence.inputs}):
            found.setdefault(quantity.name, quantity)
    for graph in spec.variants.values():
        for program in programs_of(graph) if isinstance(graph, Program | Chain) else ():
            found |= {quantity.name: quantity for quantity in (*program.inputs, *program.outputs)}
    return tuple((q.latex, q.name, show_shape(q.shape), q.role.value, q.meaning) for _, q in sorted(found.items()))


_WRITERS: dict[type, Callable[[_Draft, Any, StepNames], None]] = {
    ODE: _explain_ode,
    Recurrence: _explain_recurrence,
    Chain: _explain_chain,
    Program: _explain_graph,
}

"""Sections on a delay equation and its discretization: where past values come from, order, the step, its adjoint."""

from __future__ import annotations

from derive.delay import Delay, DelayODE
from derive.delay_checks import order_check, side_by_side_check
from derive.delay_steps import DelayStep, Group, steps_latex, steps_text
from derive.derivation import Kind
from derive.lagrangian import GRADIENTS, OTHERS, StepNames, write_adjoint, write_lagrangian, write_program
from derive.numbering import Author
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role


def write_equation(author: Author, system: DelayODE) -> None:
    """What past values are, and what stands in for them before the initial time."""
    for quantity, (unknown, delay) in system.delayed.items():
        author.relation(
            f"what {quantity.name} is",
            Kind.DEFINITION,
            rf"{quantity.latex}, \qquad {delay_latex(delay)} = {steps_latex(delay)}\, h, \quad "
            rf"{steps_latex(delay)} \in \{{1, 2, \dots\}}",
            text=f"{quantity} = {unknown}(t - {delay_text(delay)}), {delay_text(delay)} = {steps_text(delay)} h",
            reason="a whole number of steps: the kinks that a solution has at t_0 plus delays fall on the grid",
            name=f"past.{quantity.name}",
        )
    start = ", ".join(x.latex for x in system.state)
    author.relation(
        "the history",
        Kind.DEFINITION,
        rf"({start})(t) = \varphi(t) \quad (t < t_0), \qquad \varphi = ({start})(t_0)\ \text{{unless given}}",
        text=f"({', '.join(x.name for x in system.state)})(t) = phi(t) for t < t_0; its value at t_0 unless given",
        reason="a state is a function on the longest delay, not a point",
        name="history",
    )


def delay_latex(delay: Delay) -> str:
    """A delay as time."""
    return delay.latex if isinstance(delay, Quantity) else f"{delay} h"


def delay_text(delay: Delay) -> str:
    """The same in plain characters."""
    return delay.name if isinstance(delay, Quantity) else f"{delay} h"


def write_method_of_steps(author: Author, system: DelayODE, made: DelayStep) -> None:
    """Stretches of the solution side by side are an ODE; the scheme's order on it is that on the delay equation."""
    author.relation(
        "the method of steps",
        Kind.DEFINITION,
        r"y_j(s) = x(t_0 + j\sigma + s), \qquad \dot y_j = F\left(t_0 + j\sigma + s,\, y_j,\, y_{j-q_1}, \dots\right), "
        r"\quad y_j(0) = y_{j-1}(\sigma), \quad \tau_k = q_k \sigma, \quad y_j = \varphi\ (j < 0)",
        text="y_j(s) = x(t_0 + j sigma + s): y_j' = F(t_0 + j sigma + s, y_j, y_(j - q_k)), y_j(0) = y_(j-1)(sigma), "
        "tau_k = q_k sigma, y_j = phi for j < 0",
        reason="on 0 <= s <= sigma these are ODEs side by side, and smooth where F and phi are",
        name="method_of_steps",
    )
    if not system.linearly_implicit:
        author.relation(
            "a step is one of all stretches",
            Kind.IDENTITY,
            r"\Phi_h^{\text{delay}}\big|_{n + jm} = \Phi_h\big|_{y_j,\, n}",
            text=f"step n + j m of the delay equation = step n of y_j by {made.title}",
            reason="past values at the nodes are stages of the stretches before, or the history there",
            name="side_by_side",
            check=side_by_side_check(system, made),
        )
    author.relation(
        "order of the scheme",
        Kind.ASYMPTOTIC,
        rf"x_N - x(t_N) = O(h^{{{made.order}}}) \quad \text{{for fixed delays}}",
        text=f"x_N - x(t_N) = O(h^{made.order}) for fixed delays",
        reason=f"{made.title}: a past value at a stage is the same stage of an earlier step, so the step is that of "
        "the scheme on the stretches side by side, where it has this order",
        name="order",
        check=order_check(system, made),
    )
    author.close("The method of steps", "A delay equation as ODEs side by side.")


def write_step(author: Author, system: DelayODE, made: DelayStep, names: StepNames) -> Adjoint:
    """Sections: the step, its Lagrangian and adjoint, what later steps send back, and the gradients."""
    adjoint = reverse_sweep(made.step)
    write_program(author, made.step, names, "step")
    _write_reads(author, made)
    author.close(
        "The step", f"{made.title}: one step as a program; past values are read where earlier steps left them."
    )
    write_lagrangian(author, made.step, adjoint)
    write_adjoint(author, made.step, adjoint, names, "adjoint", OTHERS)
    _write_chain(author, made, adjoint)
    author.close(
        "The discrete adjoint",
        "Stationarity of the Lagrangian, last line first; a value that is read again later hears from those steps too.",
    )
    write_adjoint(author, made.step, adjoint, names, "adjoint", GRADIENTS)
    _write_sums(author, made, adjoint)
    author.close("Gradients", "What one step contributes; a shared quantity sums over steps and samples.")
    return adjoint


def _write_reads(author: Author, made: DelayStep) -> None:
    """Which earlier step computed each past value."""
    read = set(made.step.inputs)
    for one in made.reads:
        group = made.outputs[made.records[one.record]]
        for past, value in zip(one.values, group, strict=True):
            if past in read:
                author.relation(
                    f"where {past.name} is from",
                    Kind.DEFINITION,
                    rf"{past.latex} = \left. {value.latex} \right|_{{\text{{step }} n - {steps_latex(one.delay)}}}",
                    text=f"{past} = {value} of step n - {steps_text(one.delay)}",
                    reason="of a step before the first: the history at that node",
                    name=f"read.{past.name}",
                )


def _write_chain(author: Author, made: DelayStep, adjoint: Adjoint) -> None:
    """What the outputs of a step are sent: by the next step, and by those that read them as past values."""
    for place, group in enumerate(made.outputs):
        for unknown, value in enumerate(group):
            later = _senders(made, adjoint, place, unknown)
            if place == 0:
                later = [*_next_step(made, adjoint, unknown), *later]
            seed = adjoint.seeds[value]
            author.relation(
                f"what later steps send back for {value.name}",
                Kind.DEFINITION,
                f"{seed.latex} = {' + '.join(formula for formula, _ in later) or '0'}",
                text=f"{seed} = {' + '.join(text for _, text in later) or '0'}",
                reason="a value has one cotangent: the sum over all that read it; steps beyond the last send nothing",
                name=f"chain.{value.name}",
            )


def _next_step(made: DelayStep, adjoint: Adjoint, unknown: int) -> list[tuple[str, str]]:
    before, after = made.old[unknown], made.new[unknown]
    bar = adjoint.cotangents.get(before)
    sent = [(rf"\left. {bar.latex} \right|_{{\text{{step }} n+1}}", f"{bar} of step n + 1")] if bar is not None else []
    return [*sent, (rf"\partial \ell / \partial {after.latex}", f"d loss / d {after}")]


def _senders(made: DelayStep, adjoint: Adjoint, place: int, unknown: int) -> list[tuple[str, str]]:
    """The cotangents of past values that are records of an output."""
    found = []
    for one in made.reads:
        bar = adjoint.cotangents.get(one.values[unknown])
        if made.records[one.record] == place and bar is not None:
            step = rf"\left. {bar.latex} \right|_{{\text{{step }} n + {steps_latex(one.delay)}}}"
            found.append((step, f"{bar} of step n + {steps_text(one.delay)}"))
    return found


def _write_sums(author: Author, made: DelayStep, adjoint: Adjoint) -> None:
    """How the steps' contributions make the gradients of a whole run."""
    bars = adjoint.cotangents
    shared = [q for q in made.step.inputs if q.role in (Role.PARAMETER, Role.STEP_SIZE) and q in bars]
    if shared:
        author.relation(
            "gradients of what all steps share",
            Kind.DEFINITION,
            r"\nabla_p L = \sum_{\text{steps}} \bar p",
            text=f"gradient of p = sum over steps of bar_p, for p in {', '.join(q.name for q in shared)}",
            reason="every step contributes once",
            name="sums",
        )
    old = _bars(made.old, adjoint)
    past = ", ".join(bars[q].latex for one in made.reads for q in one.values if q in bars)
    author.relation(
        "gradients of the initial state and of the history",
        Kind.DEFINITION,
        rf"\nabla_{{z_0}} L = \left. {old} \right|_{{\text{{first step}}}}, \qquad "
        rf"\nabla_{{\varphi}} L = \left. \left({past}\right) \right|_{{\text{{steps that read it}}}}",
        text="gradient of the initial state = its cotangent in the first step; of the history = what the steps that "
        "read it send back; where the history is the initial value both are added",
        reason="nothing comes before them",
        name="initial_state",
    )


def _bars(group: Group, adjoint: Adjoint) -> str:
    return r"\left(" + ", ".join(adjoint.cotangents[q].latex for q in group if q in adjoint.cotangents) + r"\right)"

"""The derivation of an ODE with adaptive steps: gradients in continuous time, steps of the pair, their adjoint."""

from __future__ import annotations

from sympy import Expr

from derive.adaptive import OBSERVED, Adaptive
from derive.adaptive_checks import AdjointGap, inside_at_one, rate_inside
from derive.control_checks import runs_of
from derive.control_gradients import write_gradients
from derive.control_sections import write_adjoint_equations, write_problem
from derive.derivation import Kind
from derive.drafts import Draft, remember
from derive.embedded import EmbeddedStep, order_of
from derive.lagrangian import StepNames, write_adjoint, write_lagrangian, write_program
from derive.latex import latex, plain
from derive.numbering import Author
from derive.program import Builder, Program
from derive.reverse_sweep import reverse_sweep
from derive.step_control import write_control
from derive.symbols import constant, time
from derive.time_sections import TITLE as VARYING
from derive.time_sections import write_rate

START, END = time("t_0", meaning="initial time"), time("t_1", meaning="final time")


def explain_adaptive(draft: Draft, adaptive: Adaptive, names: StepNames) -> None:
    """All sections."""
    author, control = draft.author, adaptive.control
    runs = runs_of(control)
    write_problem(author, control, names)
    draft.results |= write_adjoint_equations(author, control, names)
    draft.results |= write_gradients(author, control, names, runs)
    if draft.spec.may_vary:
        draft.results |= write_rate(author, adaptive.ode, draft.spec.may_vary)
        author.close(VARYING)
        draft.facts["may be functions of time"] = ", ".join(q.name for q in draft.spec.may_vary)
    step = adaptive.step
    _write_step(draft, step, names)
    draft.results |= _write_pair(author, adaptive, step, names)
    draft.results |= write_control(author, adaptive.pair.power)
    _write_grid(draft, names)
    given = adaptive.pair.given
    draft.facts |= {"scheme": given.title, "order": str(order_of(given))}
    draft.facts["error estimate"] = f"O(h^{adaptive.pair.power})"
    draft.facts["gradient"] = "adjoint of the accepted steps; the sizes of the steps count as constants"


def _write_step(draft: Draft, step: EmbeddedStep, names: StepNames) -> None:
    """The step with its outputs inside, and the reverse sweep over both."""
    author = draft.author
    write_program(author, step.program, names, "step")
    author.close(
        f"One step of the pair{names.title}",
        "New state, state inside the step, and estimate of the error: sums of the same slopes with other weights.",
    )
    program = step.program.needed_for((*step.new, *step.inside))
    wanted = [q for q in (*step.old, *program.inputs) if q in program.inputs]
    adjoint = reverse_sweep(program, tuple(dict.fromkeys(wanted)))
    write_lagrangian(author, program, adjoint, "Lagrangian of one step")
    write_adjoint(author, program, adjoint, names, "adjoint")
    author.close(
        f"The discrete adjoint of an accepted step{names.title}",
        "Stationarity of the Lagrangian, last line first; from the cotangents of the next state and of outputs inside "
        "the step. It is exact for the steps that were made.",
    )
    remember(draft, program, adjoint, names.prefix)


def _write_pair(author: Author, adaptive: Adaptive, step: EmbeddedStep, names: StepNames) -> dict[str, Expr]:
    """What holds of the dense output, and how far the two adjoints are apart."""
    results: dict[str, Expr] = {}
    pair, slopes = adaptive.pair, adaptive.pair.slopes(step.theta)
    for place, (inside, new) in enumerate(zip(step.inside, step.new, strict=True)):
        rate = sum((w * f for w, f in zip(slopes, step.slopes[place], strict=True)), step.theta * 0)
        author.relation(
            f"{inside.name} at the end of the step",
            Kind.IDENTITY,
            rf"\left. {inside.latex} \right|_{{{step.theta.latex} = 1}} = {new.latex}",
            text=f"{inside} = {new} at {step.theta} = 1",
            reason="b_i(1) = b_i",
            name=names.joined("ends", inside.name),
            check=inside_at_one(step, place, pair),
        )
        author.relation(
            f"velocity of {inside.name}",
            Kind.IDENTITY,
            rf"\frac{{d}}{{d{OBSERVED.latex}}} {inside.latex} = {latex(rate)}",
            text=f"d {inside} / d{OBSERVED} = {plain(rate)}",
            reason=f"{step.theta} = ({OBSERVED} - t)/h: the gradient in an observation time is its product with what "
            "arrives at the output",
            name=names.joined("rate", inside.name),
            check=rate_inside(step, place, rate),
        )
        results[f"rate_{inside.name}"] = rate
    order = order_of(adaptive.pair.given)
    author.relation(
        "continuous less discrete adjoint after one step",
        Kind.ASYMPTOTIC,
        rf"a_{{\mathrm{{back}}}} - \bar x = O(h^{{{order + 1}}})",
        text=f"costate of the same step on the adjoint equation, backwards from x_next, less bar_x = O(h^{order + 1})",
        reason="both differ from the solution of the adjoint equation by their local errors, which differ: over many "
        f"steps the gradients are O(h^{order}) apart, and only the discrete one is that of the computed solution",
        name=names.joined("gap"),
        check=AdjointGap(adaptive.control, pair, step).check(order + 1),
    )
    author.close(f"Dense output, and the two adjoints{names.title}", "One table serves all of it.")
    return results


def _write_grid(draft: Draft, names: StepNames) -> None:
    """Times and sizes of the accepted steps in the two ends, whose gradients follow."""
    shares = constant("share", latex="s_n", meaning="where a step begins, as a share of the interval")
    width = constant("width", latex=r"\sigma_n", meaning="size of a step, as a share of the interval")
    moment = time("tau", latex=r"\tau", meaning="time of an output")
    builder = Builder()
    begin = builder.let("t_n", START + shares * (END - START), latex="t_n", meaning="beginning of a step")
    size = builder.let("h_n", width * (END - START), latex="h_n", meaning="size of a step")
    theta = builder.let("theta_m", (moment - begin) / size, latex=r"\theta_m", meaning="place of an output in its step")
    program: Program = builder.build((begin, size, theta))
    adjoint = reverse_sweep(program, (START, END, moment))
    write_program(draft.author, program, names, "grid")
    write_adjoint(draft.author, program, adjoint, names, "grid_adjoint")
    draft.author.close(
        f"The accepted grid{names.title}",
        "The shares s_n and sigma_n are what the control chose, and are held: the grid follows its two ends. "
        "Gradients in the ends are sums over the steps. Outputs at times of their own do not depend on t_1: "
        "for them the grid follows t_0 alone, both shares being 0.",
    )

r"""Lagrangian, stationarity, adjoint and gradients of one step: the sections every system with a step has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from derive.checks import StationarityCheck
from derive.derivation import Kind, Relation
from derive.latex import latex, plain
from derive.numbering import Author
from derive.past_values import Lags, read_back
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint, cotangent_latex, reverse_sweep
from derive.symbols import Quantity, Role
from derive.systems import Loss


@dataclass(frozen=True)
class StepNames:
    """How the relations of one program are named: `diagonal.step.c`, `start.plain.x_next`."""

    prefix: str

    def __call__(self, kind: str, quantity: Quantity) -> str:
        """Name of the relation that computes a quantity."""
        return self.joined(kind, quantity.name)

    def joined(self, *words: str) -> str:
        """Name of any other relation of this program."""
        return ".".join(part for part in (self.prefix, *words) if part)

    @property
    def title(self) -> str:
        """What is appended to the titles of this program's own sections."""
        return f" ({self.prefix})" if self.prefix else ""


def write_program(author: Author, program: Program, names: StepNames, kind: str) -> None:
    """One definition per line of a program."""
    for line in program.assignments:
        author.assignment(line, names(kind, line.target))


def write_lagrangian(author: Author, program: Program, adjoint: Adjoint, title: str = "Lagrangian of one step") -> None:
    """S = ell + sum of multipliers times (right-hand side - quantity)."""
    bars = adjoint.cotangents
    lines = [(line, bars[line.target]) for line in program.assignments if line.target in bars]
    outputs = list(adjoint.seeds)
    terms = [
        rf"\left\langle {bar.latex},\, {latex(line.value)} - {line.target.latex}\right\rangle" for line, bar in lines
    ]
    seeds = ", ".join(rf"\partial \ell / \partial {q.latex} = {seed.latex}" for q, seed in adjoint.seeds.items())
    author.relation(
        title,
        Kind.DEFINITION,
        " + ".join([f"S = {_later(outputs)}", *terms]) + rf", \qquad {seeds}",
        text="S = "
        + " + ".join(
            [f"ell({', '.join(map(str, outputs))})"] + [f"<{bar}, ({plain(x.value)}) - {x.target}>" for x, bar in lines]
        )
        + ";  "
        + ", ".join(f"d ell / d {q} = {seed}" for q, seed in adjoint.seeds.items()),
        reason="ell is all that comes after; each line is a constraint, its cotangent the multiplier",
    )


def _later(outputs: Sequence[Quantity]) -> str:
    """ell of the step's outputs, in LaTeX."""
    return r"\ell\left(" + r",\, ".join(q.latex for q in outputs) + r"\right)"


def write_adjoint(
    author: Author, program: Program, adjoint: Adjoint, names: StepNames, kind: str, roles: Iterable[Role] | None = None
) -> None:
    """One identity per line of the adjoint, checked against central differences of the primal program."""
    about = {bar: quantity for quantity, bar in adjoint.cotangents.items() if bar != quantity}
    wanted = None if roles is None else set(roles)
    for line in adjoint.program.assignments:
        if line.target not in about:  # a part of the line below
            author.assignment(line, names(kind, line.target))
            continue
        primal = about[line.target]
        if wanted is None or primal.role in wanted:
            check = StationarityCheck(program, adjoint, line, primal)
            author.assignment(line, names(kind, line.target), check)


def write_chain(author: Author, recurrence: Recurrence, adjoint: Adjoint, prefix: str = "") -> None:
    """What a step receives from later ones: the cotangents that they computed for the same state."""
    newest = recurrence.new[: recurrence.unknowns or len(recurrence.new)]
    for before, after in zip(recurrence.old, recurrence.new, strict=True):
        seed = adjoint.seeds[after]
        given_out = recurrence.output if recurrence.output in recurrence.new else recurrence.new[0]
        judged = after == given_out or (recurrence.output is None and after in newest)
        later = _from_later_steps(recurrence, adjoint, before)
        parts = [formula for formula, _ in later] + [rf"\partial \ell / \partial {after.latex}"] * judged
        text = [words for _, words in later] + [f"d loss / d {after}"] * judged
        reason = "one step's old state is the new state of the step before; the last step receives the loss alone"
        if read_back(recurrence.past, before):
            reason = "every later step that reads this state sends back its part; there is none behind the last step"
        relation = Relation(
            "",
            f"what the next step sends back for {after.name}",
            Kind.DEFINITION,
            f"{seed.latex} = {' + '.join(parts) or '0'}",
            f"{seed} = {' + '.join(text) or '0'}",
            reason,
            f"chain.{after.name}",
        )
        author.shared(relation, prefix)


def _from_later_steps(recurrence: Recurrence, adjoint: Adjoint, old: Quantity) -> list[tuple[str, str]]:
    """What later steps computed for a state, as formulas and as text: the next one, and those that read its past."""
    bars, found = adjoint.cotangents, []
    if old in bars:
        found.append((rf"\left. {bars[old].latex} \right|_{{\text{{next step}}}}", f"{bars[old]} of the next step"))
    for value in recurrence.past:
        if value.source != old or value not in bars:
            continue
        bar = bars[value]
        if isinstance(value.lag, Lags):
            k = value.lag.latex
            formula = rf"\sum_{k} \left. {bar.latex} \right|_{{\text{{step }} t+{k}}}"
            found.append((formula, f"sum over {value.lag.name} of {bar} as many steps later"))
            continue
        ago = value.lag if isinstance(value.lag, int) else value.lag.latex
        shown = value.lag if isinstance(value.lag, int) else value.lag.name
        found.append((rf"\left. {bar.latex} \right|_{{\text{{step }} t+{ago}}}", f"{bar} of the step {shown} later"))
    return found


def write_readout(author: Author, recurrence: Recurrence, adjoint: Adjoint, prefix: str = "") -> None:
    """What an output that is no state receives: from the loss alone."""
    output = recurrence.output
    if output is None or output in recurrence.new:
        return
    seed = adjoint.seeds[output]
    read = seed != adjoint.cotangents[output]
    relation = Relation(
        "",
        f"what the loss sends back for {output.name}",
        Kind.DEFINITION,
        rf"{seed.latex} = \partial \ell / \partial {output.latex}",
        f"{seed} = d loss / d {output}",
        "no later step reads it, but what this one makes of it"
        if read
        else "no later step reads it: without a read-out the loss reaches the state directly",
        f"chain.{output.name}",
    )
    author.shared(relation, prefix)


def write_sums(author: Author, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """How the steps' contributions make the gradients of a whole run."""
    if "initial_state" in author.numbers:
        return
    bars = adjoint.cotangents
    shared = [q for q in recurrence.step.inputs if q.role in (Role.PARAMETER, Role.STEP_SIZE) and q in bars]
    if shared:
        names = ", ".join(q.name for q in shared)
        author.relation(
            "gradients of what all steps share",
            Kind.DEFINITION,
            r"\nabla_p L = \sum_{\text{steps}} \bar p",
            text=f"gradient of p = sum over steps of bar_p, for p in {names}",
            reason="every step contributes once; a layer's own parameter has the contribution of its step alone",
            name="sums",
        )
    if recurrence.past:
        _write_kept(author, recurrence, adjoint)
        return
    found = [bars[q] for q in recurrence.old if q in bars]
    together = ", ".join(bar.latex for bar in found)
    author.relation(
        "gradient of the initial state",
        Kind.DEFINITION,
        rf"\nabla_{{z_0}} L = \left. \left({together}\right) \right|_{{\text{{first step}}}}",
        text=f"gradient of the initial state = ({', '.join(bar.name for bar in found)}) of the first step",
        reason="nothing comes before it",
        name="initial_state",
    )


def _write_kept(author: Author, recurrence: Recurrence, adjoint: Adjoint) -> None:
    """Gradients of what steps read from before the first one."""
    found = [adjoint.cotangents[q] for q in (*recurrence.old, *recurrence.past) if q in adjoint.cotangents]
    author.relation(
        "gradients of the values before the first step",
        Kind.DEFINITION,
        r"\nabla_{z_{s}} L = \sum_{\text{steps that read } z_s} "
        + (found[0].latex if len(found) == 1 else rf"\left({', '.join(bar.latex for bar in found)}\right)"),
        text=f"gradient of a value before the first step = {', '.join(bar.name for bar in found)} of the steps that "
        "read it",
        reason="steps that are less than a lag behind the first one read what was given",
        name="initial_state",
    )


GRADIENTS = (Role.PARAMETER, Role.LAYER_PARAMETER, Role.TIME, Role.STEP_SIZE)
OTHERS = tuple(role for role in Role if role not in GRADIENTS)


def write_step(author: Author, recurrence: Recurrence, names: StepNames, title: str = "") -> Adjoint:
    """Sections: the step, its Lagrangian and adjoint, and the gradients of everything learnable."""
    adjoint = reverse_sweep(recurrence.step)
    suffix = f" ({title})" if title else ""
    write_program(author, recurrence.step, names, "step")
    author.close(f"The step{suffix}", "One step as a program: every quantity is named once, nothing is unrolled.")
    write_lagrangian(author, recurrence.step, adjoint)
    write_adjoint(author, recurrence.step, adjoint, names, "adjoint", OTHERS)
    silent = adjoint.cotangents.keys().isdisjoint(recurrence.arguments)
    if silent:
        write_silence(author, [q for q in recurrence.step.inputs if q not in adjoint.cotangents])
    else:
        write_chain(author, recurrence, adjoint, names.prefix)
        write_readout(author, recurrence, adjoint, names.prefix)
    author.close(
        f"The discrete adjoint{suffix}",
        "Stationarity of the Lagrangian in every quantity of the step, last line first: this is backpropagation.",
    )
    write_adjoint(author, recurrence.step, adjoint, names, "adjoint", GRADIENTS)
    if not silent:
        write_sums(author, recurrence, adjoint)
    author.close(
        f"Gradients{suffix}",
        "What one step contributes; a shared quantity sums over steps, and every one over the batch.",
    )
    return adjoint


def write_silence(author: Author, quantities: Sequence[Quantity]) -> None:
    """What stands before a function without a slope has no gradient."""
    author.relation(
        "what arrives before it",
        Kind.DEFINITION,
        r",\; ".join(f"{cotangent_latex(q.latex)} = 0" for q in quantities),
        text=", ".join(f"gradient of {q} = 0" for q in quantities) + " almost everywhere",
        reason="the slope is zero almost everywhere, so gradient descent hears nothing",
    )


def write_graph(author: Author, program: Program, names: StepNames, what: str = "graph") -> Adjoint:
    """Sections: a computational graph, which has no steps, and its adjoint."""
    adjoint = reverse_sweep(program)
    write_program(author, program, names, "graph")
    author.close(f"The {what}", "A program: every quantity is named once, in the order of computation.")
    write_lagrangian(author, program, adjoint, f"Lagrangian of the {what}")
    write_adjoint(author, program, adjoint, names, "adjoint")
    if not adjoint.cotangents.keys() - adjoint.seeds.keys():
        write_silence(author, program.inputs)
    author.close(
        f"Adjoint of the {what}",
        "Stationarity of the Lagrangian in every quantity, last line first: this is backpropagation. "
        "A parameter's gradient is the sum over the batch.",
    )
    return adjoint


def loss_names(name: str) -> StepNames:
    """How the relations of a loss are named; a spec with one loss has no name for it."""
    return StepNames(name)


def write_loss(author: Author, loss: Loss, name: str = "") -> None:
    """The loss, its cotangent on the output, and what weights of steps and samples make of them."""
    program = loss.program()
    adjoint = reverse_sweep(program, (loss.output,))
    names = loss_names(name)
    write_program(author, program, names, "loss")
    for line in adjoint.program.assignments:
        about = next(q for q, bar in adjoint.cotangents.items() if bar == line.target)
        author.assignment(line, names("loss", line.target), StationarityCheck(program, adjoint, line, about))
    bar = adjoint.cotangents[loss.output]
    author.relation(
        "weights of steps and samples",
        Kind.DEFINITION,
        rf"L = \sum_t m_t\, \ell_t, \qquad {bar.latex} = m_t\, \partial \ell_t / \partial {loss.output.latex}",
        text=f"L = sum of m_t ell_t; {bar} = m_t d ell_t / d {loss.output}",
        reason="only what starts the reverse sweep is weighed, the sweep itself is the same; 1 unless given",
        name=names.joined("loss", "weights"),
    )
    author.close(
        f"The loss: {loss.title}", "Its cotangent starts the reverse sweep; the sum over the batch is the reference."
    )


def merged(primal: Program, lines: Sequence[Assignment]) -> Program:
    """The primal followed by further lines that read it."""
    used = {q for line in lines for q in line.value.atoms(Quantity)}
    known = {*primal.inputs, *primal.targets, *(line.target for line in lines)}
    extra = tuple(sorted(used - known, key=lambda q: q.name))
    return Program((*primal.inputs, *extra), (*primal.assignments, *lines), tuple(line.target for line in lines))


def forward_and_reverse(program: Program) -> Program:
    """A program followed by its adjoint: computes every quantity and every cotangent."""
    return merged(program, reverse_sweep(program).program.assignments)


def quantities(recurrence: Recurrence) -> dict[str, Quantity]:
    """Every quantity of a step and of its adjoint by name: what deck claims are written in."""
    adjoint = reverse_sweep(recurrence.step).program
    found = (*recurrence.step.inputs, *recurrence.step.targets, *adjoint.inputs, *adjoint.targets)
    return {quantity.name: quantity for quantity in found}

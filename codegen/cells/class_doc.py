"""What the docstring of a recurrent class says."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from codegen.cells.lowering import CellText
from codegen.cells.lowering_backward import backward_function
from codegen.cells.lowering_forward import forward_function
from codegen.cells.parts import CellParts
from codegen.cells.plan import CellPlan
from codegen.cells.plan_program import CellProgram
from codegen.cells.prelude import keyword
from derive.past_values import Lags, read_back
from derive.symbols import Dimension, Quantity

DOC_WIDTH = 120
SILENT = "there is no sweep; autograd computes what a read-out's parameters hear."
ADJOINT = ("The discrete adjoint", "Gradients")


def notes(module: CellParts) -> dict[str, str]:
    """What the docstring says of variants without a slope."""
    silent = [name for name, plan in module.plans.items() if plan.silent]
    return {f"{title}{f' ({name})' if name else ''}": SILENT for name in silent for title in ADJOINT}


def class_doc(module: CellParts) -> str:
    """What the class is, its options, and what the loops cost."""
    program = module.plans[module.default].program
    state = ", ".join(q.name for q in program.interface.states) or program.new[0].name
    lines = [
        f"{module.spec.title}, with the arguments of torch.nn.LSTM.",
        "",
        "    `forward(x, state=None, *, lengths=None) -> (output, state)`, all shaped as torch shapes them;",
        *_state_lines(program, module.size_names),
        "",
    ]
    lines += [f"    {name}: {' or '.join(map(repr, values))}." for name, values in module.options.items()]
    lines += [f"    {keyword(q)}: {q.meaning or q.name}, a number that is not learnt." for q in module.constants]
    lines += [
        '    memory: "store" keeps all that the adjoint sweep reads, "chunk" the states; the rest is recomputed.',
        '    gradient: "derived" runs the derived adjoint sweep, "autograd" differentiates the plain form.',
        "    learn_initial: the state before the first step is learnt, where a call gives none; else it is zero.",
        *module.exact.doc,
        "    Truncated backpropagation: give each piece the state after the one before it, detached.",
        "",
    ]
    if module.linear:
        lines.insert(
            -1, "    `spectral_radius()`, `closed_form(k)`, `impulse_response(t)`: of a layer, which is linear."
        )
    if module.readout is not None:
        text = (
            f"    output: size of the read-out {module.readout.output.name} of every step, from the last layer, "
            f"outside of the loops; None leaves it out, and the output is {state.partition(',')[0]}."
        )
        lines.insert(-1, textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
    lines[-1:] = [*_notes(module), ""]
    if program.stateless:
        lines.append("    No step waits for another: all are done at once, without a loop over them.")
    for name, cell in module.plans.items():
        if cell.program.stateless:
            continue
        chosen = ", ".join(f"{each}={value!r}" for each, value in module.spec.chosen(name).items())
        about = f" with {chosen}" if chosen else ""
        if cell.silent:
            text = f"    The slope{about} is zero almost everywhere: what a step gives out has no gradient."
            lines.append(textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
            continue
        counts = describe(cell)
        text = (
            f"    Operations of one step{about}: forward {counts['forward']}, backward {counts['backward']}; "
            f"of these {counts['forward products']} and {counts['backward products']} are matrix products."
        )
        lines.append(textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
    return "\n".join(lines)


def describe(plan: CellPlan) -> Mapping[str, int]:
    """Operations on tensors in one step of the two loops, and how many of them are matrix products.

    A product with a matrix for each of several lags counts once.
    """
    cell = CellText(plan, "", lambda _: "")
    counts = {}
    for name, function in (("forward", forward_function(cell)), ("backward", backward_function(cell))):
        body = loop_body(function.body)
        body = [line for line in body if not line.lstrip().startswith("for ")]
        counts[name] = len(body)
        counts[f"{name} products"] = sum("_product(" in line for line in body)
    return counts


def loop_body(lines: Sequence[str]) -> list[str]:
    """Statements of the loop over steps in the body of a function."""
    start = next(place for place, line in enumerate(lines) if line.lstrip().startswith("for "))
    inside = lines[start][: -len(lines[start].lstrip())] + " "
    stop = next((place for place in range(start + 1, len(lines)) if not lines[place].startswith(inside)), len(lines))
    return list(lines[start + 1 : stop])


def _notes(module: CellParts) -> list[str]:
    """What is to be said of an output that is no state, and of targets."""
    faces = dict(zip(module.twins, module.interfaces, strict=False))
    texts = [f"output: {faces[module.default].output.name} of every step; a further layer reads it."] if faces else []
    taught = [module.spec.chosen(option) for option, face in faces.items() if face.taught]
    if taught:
        found = {name: dict.fromkeys(str(chosen[name]) for chosen in taught) for name in module.options}
        told = [f"{name}={v!r}" for name, some in found.items() if len(some) < len(module.options[name]) for v in some]
        read = f", read with {' or '.join(told)}" if told else ""
        texts.append(f"targets: (T, B, output_size) as x is shaped{read}: of the step before, beside the input.")
    return [textwrap.fill(text, DOC_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8) for text in texts]


def _state_lines(program: CellProgram, sizes: Mapping[Dimension, str]) -> list[str]:
    """What the state of the module is."""
    single: dict[str, list[str]] = {}
    for q in program.interface.states:
        if not program.past_of(q):
            single.setdefault(sizes[q.shape[0]], []).append(q.name)
    shown = [f"{', '.join(names)}, each (layers * directions, B, {size})" for size, names in single.items()]
    lines = [f"    the state is {' and '.join(shown)}."] if shown else []
    for q in program.old:
        if program.past_of(q):
            shape = f"(layers * directions, B, {_depth_text(program, q)}, {sizes[q.shape[0]]})"
            lines.append(f"    the state has the last values of {q.name}, newest first: {shape}.")
    if program.reads_past_input:
        shape = f"(directions, B, {_depth_text(program, program.input)}, features)"
        lines.append(f"    the state has the last inputs of each layer, newest first: {shape}.")
    return lines


def _depth_text(program: CellProgram, source: Quantity) -> str:
    """How many values are kept."""
    lags = read_back(program.past, source)
    fixed = [lag for lag in lags if isinstance(lag, int)]
    told = [f"max({lag.name})" if isinstance(lag, Lags) else lag.name for lag in lags if not isinstance(lag, int)]
    texts = [*([str(max(fixed))] if fixed else []), *told]
    return texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"

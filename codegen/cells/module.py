"""The module class of a recurrence: gated cells over layers, directions and sequences of unequal length."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from codegen.cells.entries import CellEntry, cell_entry
from codegen.cells.lowering import CellText, Numbers
from codegen.cells.lowering_backward import backward_function
from codegen.cells.lowering_batch import recompute_function
from codegen.cells.lowering_forward import forward_function
from codegen.cells.lowering_plain import plain_function
from codegen.cells.plan import CellPlan, plan
from codegen.cells.plan_operands import Operand, operand_shape
from codegen.cells.plan_program import CellProgram
from codegen.cells.prelude import Prelude, held_operands, keyword, split_prelude
from codegen.cells.readout import Readout, split_readout
from codegen.exact_values import ExactValues
from codegen.render import render
from codegen.steps.source import Function, tuple_display
from codegen.views import common_view
from derive.derivation import Derivation
from derive.errors import DeriveError, UnsupportedError
from derive.linearization import is_affine
from derive.past_values import Lag, Lags, read_back
from derive.reverse_sweep import reverse_sweep
from derive.starting_values import table_sizes
from derive.symbols import Quantity, Role
from derive.systems import Recurrence, Spec

DOC_WIDTH = 120
BASES = {"Recurrent": "recurrent", "LinearRecurrent": "linear_recurrent", "RecurrentWithPrelude": "preludes"}
SIZES = ("input_size", "hidden_size")
POSITIONAL = (
    "input_size: int",
    "hidden_size: int",
    "num_layers: int = 1",
    "bias: bool = True",
    "batch_first: bool = False",
    "dropout: float = 0.0",
    "bidirectional: bool = False",
)
KEYWORDS = (
    'memory: str = "store"',
    'gradient: str = "derived"',
    "learn_initial: bool = False",
    "device: torch.device | str | None = None",
    "dtype: torch.dtype | None = None",
)
SILENT = "there is no sweep; autograd computes what a read-out's parameters hear."
ADJOINT = ("The discrete adjoint", "Gradients")
PASSED = ("bias", "batch_first", "dropout", "bidirectional", "memory", "gradient", "learn_initial", "device", "dtype")


def recurrent_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a recurrence.

    Raises:
        UnsupportedError: the step is not that of a gated cell; says what was read and what is allowed.
    """
    module = RecurrentModule(spec, derivation)
    programs = [p for r in module.recurrences.values() for p in (r.step, reverse_sweep(r.step).program)]
    programs += [module.readout.program] if module.readout else []
    view = {
        "functions": module.functions,
        "cells": module.cells,
        "zero_at_start": module.zero_at_start,
        "options": module.option_names,
        "told": module.told_text,
        "readout": module.readout_text,
        "methods": module.methods,
        "class_doc": module.class_doc,
        "bases": ", ".join(module.bases),
        "constants": module.constant_names,
    }
    return render(
        "recurrent_module.py.jinja",
        {**view, **common_view(spec, derivation, programs, command, module.support, (), module.notes)},
    )


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
        counts[f"{name} products"] = sum("addmm" in line or "torch.mm" in line for line in body)
    return counts


def loop_body(lines: Sequence[str]) -> list[str]:
    """Statements of the loop over steps in the body of a function."""
    start = next(place for place, line in enumerate(lines) if line.lstrip().startswith("for "))
    inside = lines[start][: -len(lines[start].lstrip())] + " "
    stop = next((place for place in range(start + 1, len(lines)) if not lines[place].startswith(inside)), len(lines))
    return list(lines[start + 1 : stop])


class RecurrentModule:
    """Everything of an emitted recurrent module that depends on the spec.

    Args:
        spec: what is emitted; its system is a recurrence, or one for each option.
        derivation: for the equation numbers.
    """

    def __init__(self, spec: Spec, derivation: Derivation) -> None:
        self.spec, self.derivation = spec, derivation
        found = {
            str(name): split_readout(system, spec.stacks_of(name))
            for name, system in spec.variants.items()
            if isinstance(system, Recurrence)
        }
        self.recurrences = {name: cell for name, (cell, _) in found.items()}
        self.readout = self._only([readout for _, readout in found.values()])
        self.preludes: dict[str, Prelude | None] = {}
        self.plans = {name: self._plan(name, recurrence) for name, recurrence in self.recurrences.items()}
        self.default = next(iter(self.plans))
        self.exact = ExactValues(spec, derivation.numbers)

    @property
    def notes(self) -> dict[str, str]:
        """What the docstring says of variants without a slope."""
        silent = [name for name, plan in self.plans.items() if plan.silent]
        return {f"{title}{f' ({name})' if name else ''}": SILENT for name in silent for title in ADJOINT}

    def _only(self, readouts: Sequence[Readout | None]) -> Readout | None:
        if any(readout != readouts[0] for readout in readouts):
            raise UnsupportedError(f"{self.spec.id}: the variants differ in their read-out; one class has one, or none")
        return readouts[0]

    def _plan(self, option: str, recurrence: Recurrence) -> CellPlan:
        if option and not f"_{option}".isidentifier():
            raise UnsupportedError(
                f"{self.spec.id}: the option {option!r} becomes part of a name; use letters, digits, _"
            )
        try:
            core, self.preludes[option] = split_prelude(recurrence, self.spec.stacks_of(option))
            return plan(core, self.spec.stacks_of(option))
        except DeriveError as error:
            chosen = [f"{name} = {value!r}" for name, value in self.spec.chosen(option).items()]
            about = ", ".join([self.spec.id, *chosen])
            raise type(error)(f"{about}: {error}") from None

    @property
    def bases(self) -> tuple[str, ...]:
        """Classes of the runtime that the class is derived from."""
        found = {"LinearRecurrent": self.linear, "RecurrentWithPrelude": self.has_prelude}
        return tuple(name for name, holds in found.items() if holds) or ("Recurrent",)

    @property
    def linear(self) -> bool:
        """Whether every cell is linear in its state and input, but for a constant, and reads nothing older."""
        cells = self.recurrences.values()
        return all(not one.past and is_affine(one.step, (*one.old, *one.inputs)) for one in cells)

    @property
    def functions(self) -> tuple[Function, ...]:
        """The four functions of each cell, and the read-out."""
        writers = (plain_function, forward_function, recompute_function, backward_function)
        texts = [CellText(p, f"_{name}" if name else "", self._numbers_of(name, p)) for name, p in self.plans.items()]
        written = [writer(text) for text in texts for writer in (writers[:1] if text.plan.silent else writers)]
        for text, (name, prelude) in zip(texts, self.preludes.items(), strict=True):
            written += (
                prelude.functions(text.suffix, self._numbers(name, prelude.adjoint.cotangents, {})) if prelude else ()
            )
        if self.readout is not None:
            prefix = f"{self.default}.step" if self.default else "step"
            targets = self.readout.program.targets
            written.append(self.readout.function({q: self.derivation.number_of(f"{prefix}.{q.name}") for q in targets}))
        return tuple(written)

    def _numbers_of(self, option: str, plan: CellPlan) -> Numbers:
        return self._numbers(option, plan.adjoint.bars, plan.program.origins)

    def _numbers(self, option: str, bars: Mapping[Quantity, Quantity], origins: Mapping[Quantity, Quantity]) -> Numbers:
        """Numbers of the lines of a step or of a part of it, and of their cotangents."""
        about = {bar: quantity for quantity, bar in bars.items()}

        def number(quantity: Quantity | str) -> str:
            if isinstance(quantity, str):
                return self.derivation.number_of(quantity)
            primal = about.get(quantity, quantity)
            origin = origins.get(primal, primal)
            names = [f"step.{primal.name}", f"step.{origin.name}"]
            if quantity in about:
                prefix = quantity.name.removesuffix(primal.name)
                names = [f"adjoint.{quantity.name}", f"adjoint.{prefix}{origin.name}", *names]
            found = (self.derivation.number_of(f"{option}.{name}" if option else name) for name in names)
            return next((text for text in found if text), "")

        return number

    @property
    def cells(self) -> tuple[CellEntry, ...]:
        """The table option -> cell."""
        return tuple(
            cell_entry(name, list(self.spec.chosen(name).values()), cell, self.preludes[name])
            for name, cell in self.plans.items()
        )

    def _held(self, name: str) -> list[Operand]:
        """Tensors that a layer holds."""
        return held_operands(self.plans[name].program.layout, self.preludes[name])

    @property
    def has_prelude(self) -> bool:
        """Whether any of the cells has one."""
        return any(prelude is not None for prelude in self.preludes.values())

    @property
    def constants(self) -> tuple[Quantity, ...]:
        """Numbers that the constructor takes."""
        return tuple(dict.fromkeys(q for prelude in self.preludes.values() if prelude for q in prelude.constants))

    @property
    def constant_names(self) -> str:
        """Names of these arguments, as a tuple; empty where there is none."""
        return tuple_display([repr(keyword(q)) for q in self.constants]) if self.constants else ""

    @property
    def told_lags(self) -> Mapping[str, Lag | Lags]:
        """Lags that the constructor is told, by name."""
        return {lag.name: lag for cell in self.plans.values() for lag in cell.program.told_lags}

    @property
    def told_text(self) -> str:
        """Their names and defaults; empty where there is none."""
        return _dictionary([(repr(name), repr(lag.default)) for name, lag in self.told_lags.items()])[1:-1]

    @property
    def support(self) -> tuple[str, ...]:
        """Files of the runtime."""
        return (
            *(BASES[name] for name in self.bases),
            "slopes",
            *(["lags"] * bool(self.told_lags)),
            *self.exact.support,
        )

    def _least(self, lag: Lag | Lags) -> int:
        """The smallest value of a lag: 1 where a state is read, which has to be made first."""
        return max(value.least for cell in self.plans.values() for value in cell.program.past if value.lag == lag)

    @property
    def readout_text(self) -> str:
        """What the class says of its read-out; empty where it has none."""
        if self.readout is None:
            return ""
        return f"Readout(_readout, {tuple_display([repr(name) for name in self.readout.names.values()])})"

    @property
    def zero_at_start(self) -> str:
        """Names of the parameters that start at zero, as a tuple; empty where there is none."""
        names = dict.fromkeys(part for o in self._operands() if o.zero for part in o.parts)
        return tuple_display([repr(name) for name in names]) if names else ""

    def _operands(self) -> list[Operand]:
        return [operand for name in self.plans for operand in self._held(name)]

    @property
    def options(self) -> Mapping[str, tuple[str, ...]]:
        """Name of each argument that chooses a cell -> its values, the default first."""
        chosen = [self.spec.chosen(name) for name in self.plans]
        return {name: tuple(dict.fromkeys(str(each[name]) for each in chosen)) for name in self.spec.option_names}

    @property
    def option_names(self) -> str:
        """Names of these arguments, as a tuple; empty where there is none."""
        return tuple_display([repr(name) for name in self.options]) if self.options else ""

    @property
    def methods(self) -> tuple[Function, ...]:
        """Of the class."""
        methods = [self._constructor(), self._parameter_shapes()]
        methods += [_readout_shapes(self.readout)] if self.readout is not None else []
        return tuple([*methods, *self._exact_values()] if self.spec.values else methods)

    def _exact_values(self) -> tuple[Function, ...]:
        """Where the parameters start, and how they are set to it."""
        names = {} if self.readout is None else {q: [name] for q, name in self.readout.names.items()}
        for operand in self._operands():
            joined = [q.name for q in operand.rows if q in self.spec.values]
            if joined and len(operand.rows) > 1:
                raise UnsupportedError(
                    f"{self.spec.id}: {operand.name} joins parameters; exact values of {', '.join(joined)} need "
                    "tensors of their own: leave them out of the stacks"
                )
            names |= {q: list(operand.parts) for q in operand.rows}
        doc = "Exact values of the parameters of a layer and direction, by name; rows and columns count from 1."
        values = self.exact.method("starting_values", doc, {q: names[q] for q in self.spec.values})
        body = ("super().reset_parameters()", "set_exactly(self.owner, self.named_parameters(), self.starting_values)")
        return values, Function("reset_parameters", "self", "None", "All parameters as at the start.", body)

    def _constructor(self) -> Function:
        own = [f"{name}: str = {values[0]!r}" for name, values in self.options.items()]
        body = []
        for name, values in self.options.items():
            shown = f"{self.spec.class_name}: {name}"
            body.append(f"self.{name} = one_of({shown!r}, {name}, {tuple_display([repr(v) for v in values])})")
        for name, lag in self.told_lags.items():
            own.append(f"{name}: {'Iterable[int]' if isinstance(lag, Lags) else 'int'} = {lag.default!r}")
            checked = "checked_lags" if isinstance(lag, Lags) else "checked_lag"
            body.append(f"self.{name} = {checked}({self.spec.class_name!r}, {name!r}, {name}, {self._least(lag)})")
        if not any(part.startswith("bias") for operand in self._operands() for part in operand.parts):
            body += [
                "if not bias:",
                f'    raise ValueError("{self.spec.class_name} has no bias that could be left out")',
            ]
        own += [f"{keyword(q)}: float{self._default(q)}" for q in self.constants]
        for q in self.constants:
            shown, positive = f"{self.spec.class_name}: {keyword(q)}", q.role is Role.STEP_SIZE
            body.append(f"self.{keyword(q)} = finite_number({shown!r}, {keyword(q)}, {positive})")
        body += self.exact.assignments
        if any(q in self.spec.values for o in self._operands() for q in o.rows if o.parts[0].startswith("bias")):
            text = f"{self.spec.class_name}: bias=False; allowed: True, the exact values have biases"
            body += ["if not bias:", f'    raise ValueError("{text}")']
        own += [f"output: int | None = {self._size(self.readout.output)}"] if self.readout is not None else []
        own += self.exact.arguments
        passed = ", ".join(f"{name}={name}" for name in (*PASSED, *(["output"] if self.readout is not None else [])))
        body.append(f"super().__init__(input_size, hidden_size, num_layers, {passed})")
        cell = self.plans[self.default].program
        sizes = [self._size(cell.input), self._size(cell.new[0])]
        known = [] if None in sizes else [f" = {size}" for size in sizes]
        given = [f"{text}{size}" for text, size in zip(POSITIONAL, [*known, "", ""], strict=False)]
        parameters = ", ".join(["self", *given[:2], *POSITIONAL[2:], "*", *own, *KEYWORDS])
        return Function("__init__", parameters, "None", "See the class.", tuple(body))

    def _default(self, constant: Quantity) -> str:
        """The default of a constant, as text; that of a step size is 1."""
        usual = 1.0 if constant.role is Role.STEP_SIZE else None
        value = self.spec.defaults.get(constant.name, usual)
        return "" if value is None else f" = {float(value)!r}"

    def _size(self, quantity: Quantity) -> int | None:
        """The size of a vector, where exact values say it."""
        return table_sizes(self.spec.id, self.spec.values).get(str(quantity.shape[0]))

    def _parameter_shapes(self) -> Function:
        body = ["size = self.hidden_size"]
        tables = {name: self._shapes(name, cell) for name, cell in self.plans.items()}
        common = [entry for entry in tables[self.default] if all(entry in table for table in tables.values())]
        body.append(f"shapes: dict[str, tuple[int, ...]] = {_dictionary(common)}")
        for name, table in tables.items():
            extra = [entry for entry in table if entry not in common]
            if extra:
                conditions = [f"self.{each} == {value!r}" for each, value in self.spec.chosen(name).items()]
                body.append(f"if {' and '.join(conditions)}:")
                body += [f"    shapes[{key}] = {value}" for key, value in extra]
        body.append("return shapes")
        doc = "Name and shape of each parameter of a layer that reads `features` features."
        return Function("parameter_shapes", "self, features: int", "dict[str, tuple[int, ...]]", doc, tuple(body))

    def _shapes(self, name: str, cell: CellPlan) -> list[tuple[str, str]]:
        sizes = {cell.program.input.shape[0]: "features", cell.program.new[0].shape[0]: "size"}
        sizes |= {lag.count: f"len(self.{lag.name})" for lag in cell.program.told_lags if isinstance(lag, Lags)}
        entries = []
        for operand in self._held(name):
            shape = tuple_display(operand_shape(operand, sizes)) if operand.rows[0].shape else "()"
            entries += [(repr(part), shape) for part in operand.parts]
        return entries

    @property
    def class_doc(self) -> str:
        """What the class is, its options, and what the loops cost."""
        program = self.plans[self.default].program
        state = ", ".join(q.name for q in program.old) or program.new[0].name
        parts = [
            f"{self.spec.title}, with the arguments of torch.nn.LSTM.",
            "",
            "    `forward(x, state=None, *, lengths=None) -> (output, state)`, all shaped as torch shapes them;",
            *_state_lines(program),
            "",
        ]
        parts += [f"    {name}: {' or '.join(map(repr, values))}." for name, values in self.options.items()]
        parts += [f"    {keyword(q)}: {q.latex if not q.meaning else q.meaning}, a number." for q in self.constants]
        parts += [
            '    memory: "store" keeps all that the adjoint sweep reads, "chunk" the states; the rest is recomputed.',
            '    gradient: "derived" runs the derived adjoint sweep, "autograd" differentiates the plain form.',
            "    learn_initial: the state before the first step is learnt, where a call gives none; else it is zero.",
            *self.exact.doc,
            "    Truncated backpropagation: give each piece the state after the one before it, detached.",
            "",
        ]
        if self.linear:
            parts.insert(
                -1, "    `spectral_radius()`, `closed_form(k)`, `impulse_response(t)`: of a layer, which is linear."
            )
        if self.readout is not None:
            text = (
                f"    output: size of the read-out {self.readout.output.name} of every step, from the last layer, "
                f"outside of the loops; None leaves it out, and the output is {state.partition(',')[0]}."
            )
            parts.insert(-1, textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
        for name, cell in self.plans.items():
            if cell.program.stateless:
                parts.append("    No step waits for another: all are done at once, without a loop over them.")
                continue
            chosen = ", ".join(f"{each}={value!r}" for each, value in self.spec.chosen(name).items())
            about = f" with {chosen}" if chosen else ""
            if cell.silent:
                text = f"    The slope{about} is zero almost everywhere: what a step gives out has no gradient."
                parts.append(textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
                continue
            counts = describe(cell)
            text = (
                f"    Operations of one step{about}: forward {counts['forward']}, backward {counts['backward']}; "
                f"of these {counts['forward products']} and {counts['backward products']} are matrix products."
            )
            parts.append(textwrap.fill(text, DOC_WIDTH, subsequent_indent=" " * 8))
        return "\n".join(parts)


def _state_lines(program: CellProgram) -> list[str]:
    """What the state of the module is."""
    single = [q.name for q in program.old if not program.past_of(q)]
    lines = [f"    the state is {', '.join(single)}, each (layers * directions, B, hidden_size)."] if single else []
    for q in program.old:
        if program.past_of(q):
            shape = f"(layers * directions, B, {_depth_text(program, q)}, hidden_size)"
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


def _readout_shapes(readout: Readout) -> Function:
    body = (f"return {_dictionary(readout.entries('features', 'size'))}",)
    doc = "Name and shape of each parameter of a read-out of `size` numbers from `features` features."
    return Function("readout_shapes", "self, features: int, size: int", "dict[str, tuple[int, ...]]", doc, body)


def _dictionary(entries: Sequence[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in entries) + "}"

"""Cases of recurrent modules: one for each option of the spec with one layer and direction; two layers, both ways."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.cells.interface import dimensions
from codegen.cells.prelude import CONSTANTS, keyword
from codegen.cells.readout import Readout, split_readout
from codegen.verification.case import Case
from codegen.verification.measures import uniform
from codegen.verification.reference import run_recurrence
from codegen.verification.step_setting import numeric
from derive.errors import DeriveError
from derive.layer_norms import layer_norm
from derive.operators import shape_of
from derive.past_values import Lags, read_back, told_lags
from derive.program import name_functions
from derive.recurrence import Recurrence
from derive.reverse_sweep import reverse_sweep
from derive.starting_values import table_sizes
from derive.symbols import Dimension, Quantity, Shape, by_name
from derive.systems import Spec, Stack

STEPS = 4
BATCH = 5
SMALLEST_SIZE = 2
SMALLEST_WITH_PAST = BATCH + 1  # another size than any axis for steps, sequences or kept values has
SMALLEST_NORMALIZED = 4  # a layer normalization of two components is nearly their signs: no difference quotient holds
LAYER = "_l0"
FIRST_CONSTANT = 0.4


def recurrent_cases(
    kind: Callable[..., nn.Module],
    spec: Spec,
    recurrences: Mapping[str, Recurrence],
    steps: int = STEPS,
    batch: int = BATCH,
) -> list[Case]:
    """One case for each option, the first being the default, and one more for each that has a read-out.

    Options that choose the same step have one case together.
    """
    cells = []
    distinct = dict.fromkeys(map(str, spec.twins.values()))
    for option, recurrence in ((name, recurrences[name]) for name in distinct):
        core, readout = split_readout(recurrence, spec.stacks_of(option))
        cells.append(_Cell(spec, option, core, whole=readout is None))
        cells += [] if readout is None else [_Cell(spec, option, recurrence, readout)]
    return [_case(kind, cell, steps, batch) for cell in cells]


def starting_cell(kind: Callable[..., nn.Module], spec: Spec, given: Mapping[str, Any]) -> dict[Quantity, Tensor]:
    """The parameters of a fresh module of the default variant, with its read-out where it has one."""
    option, recurrence = next((str(name), one) for name, one in spec.variants.items() if isinstance(one, Recurrence))
    _, readout = split_readout(recurrence, spec.stacks_of(option))
    cell = _Cell(spec, option, recurrence, readout, whole=readout is None)
    core, _ = split_readout(recurrence, cell.stacks)
    sizes = cell.shape((*core.inputs[0].shape, *dimensions(core)))
    return cell.parameters(kind(*sizes, **cell.chosen, **given).double())


def lines_over(module: Any, spec: Spec, option: str, x: Tensor) -> dict[Quantity, np.ndarray]:
    """What every line of a variant computes at every step of x (T, I), from zeros: quantity -> (T, *shape).

    By the evaluator, with the first layer of an emitted module of any size, and with its read-out where the cell has
    one. The cell reads nothing but x.
    """
    recurrence = spec.variants[option]
    assert isinstance(recurrence, Recurrence)
    core, readout = split_readout(recurrence, spec.stacks_of(option))
    named = replace(recurrence, step=name_functions(recurrence.step))
    cell = _Cell(spec, option, named, readout, whole=readout is None)
    sizes = (module.input_size, module.hidden_size, *(getattr(module, name) for name in module.further_sizes))
    cell.sizes |= dict(zip((*core.inputs[0].shape, *dimensions(core)), sizes, strict=True))
    cell.sizes |= {} if readout is None else {readout.output.shape[0]: module.output}
    numbers = {q: getattr(module, keyword(q)) for q in cell.constants}
    values = {**numbers, **{q: numeric(value) for q, value in cell.parameters(module).items()}}
    steps, _ = cell.path(values, [x], [np.zeros(shape) for shape in cell.starts().values()])
    return {q: np.stack([known[q] for known in steps]) for q in named.step.targets}


def _case(kind: Callable[..., nn.Module], cell: _Cell, steps: int, batch: int) -> Case:
    generator = torch.Generator().manual_seed(23)
    given = cell.recurrence.inputs
    inputs = {q.name: uniform((steps, batch, *cell.shape(q.shape)), -1.0, 1.0, generator) for q in given}
    for name, shape in cell.starts().items():
        inputs[name] = uniform((1, batch, *shape), -1.0, 1.0, generator)
    return Case(
        label=", ".join(f"{name}={value!r}" for name, value in cell.chosen.items()),
        build=lambda tensors, memory, gradient: cell.build(kind, memory, gradient),
        constructor={},
        inputs=inputs,
        call=partial(_call, len(given) > 1),
        reference=lambda: cell.reference(cell.build(kind, "store", "autograd"), list(inputs.values())),
        memory=("store", "chunk"),
        differentiable=cell.sloped,
        axes=dict.fromkeys(inputs, 1),
        sequence=True,
    )


def stacked_cases(
    kind: Callable[..., nn.Module],
    spec: Spec,
    recurrences: Mapping[str, Recurrence],
    steps: int = STEPS,
    batch: int = BATCH,
) -> list[Case]:
    """The default option with two layers in both directions: sequences of one length, and of several.

    None for cells that read past values or targets, or have states of several sizes.
    """
    option, recurrence = next(iter(recurrences.items()))
    core, readout = split_readout(recurrence, spec.stacks_of(option))
    if core.past or len(core.inputs) > 1 or len(dimensions(core)) > 1:
        return []
    cell = _Cell(spec, option, core, whole=readout is None)
    several = [1 + 3 * place % steps for place in range(batch)]
    return [_stacked(kind, cell, steps, batch, lengths) for lengths in (None, several)]


def _stacked(
    kind: Callable[..., nn.Module], cell: _Cell, steps: int, batch: int, lengths: Sequence[int] | None
) -> Case:
    """One of them; lengths belong to the whole batch, so that with them no sample is taken alone."""
    single = _case(kind, cell, steps, batch)
    generator = torch.Generator().manual_seed(31)
    (x, value), *starts = single.inputs.items()
    rows = {name: uniform((4, *start.shape[1:]), -1.0, 1.0, generator) for name, start in starts}
    inputs = {x: value, **rows}
    chosen = [*([single.label] if single.label else []), "num_layers=2", "bidirectional=True"]

    def build(memory: str, gradient: str) -> nn.Module:
        return cell.build(kind, memory, gradient, num_layers=2, bidirectional=True)

    return replace(
        single,
        label=", ".join([*chosen, *([] if lengths is None else [f"lengths={lengths}"])]),
        build=lambda tensors, memory, gradient: build(memory, gradient),
        inputs=inputs,
        call=partial(_call, False, lengths=lengths),
        reference=lambda: cell.stacked_reference(kind, build("store", "autograd"), list(inputs.values()), lengths),
        axes=dict.fromkeys(inputs, 1 if lengths is None else None),
        sequence=False,
    )


def _call(
    taught: bool, module: nn.Module, inputs: Sequence[Tensor], lengths: Sequence[int] | None = None
) -> tuple[Tensor, ...]:
    """Output of every step and the final state."""
    x, *states = inputs
    more: dict[str, Any] = {"targets": states.pop(0)} if taught else {}
    more |= {} if lengths is None else {"lengths": lengths}
    output, final = module(x, tuple(states) if len(states) > 1 else states[0], **more)
    return (output, *((final,) if isinstance(final, Tensor) else final))


class _Cell:
    """One variant of a recurrent system with sizes for its dimensions."""

    def __init__(
        self, spec: Spec, option: str, recurrence: Recurrence, readout: Readout | None = None, whole: bool = False
    ) -> None:
        self.stacks, self.recurrence, self.whole = spec.stacks_of(option), recurrence, whole
        quantities = by_name({*recurrence.step.inputs, *recurrence.old})
        named = sorted({size for q in quantities for size in q.shape if isinstance(size, str)})
        norms = [node for line in recurrence.step.assignments for node in line.value.atoms(layer_norm)]
        first = SMALLEST_WITH_PAST if recurrence.past else SMALLEST_SIZE
        self.sizes: dict[Dimension, int] = {size: first + place for place, size in enumerate(named)}
        self.sizes.update(dict[Dimension, int](table_sizes(spec.id, spec.values)))
        told = [lag for lag in told_lags(recurrence.past) if isinstance(lag, Lags)]
        self.sizes |= {lag.count: len(lag.default) for lag in told}
        self.sizes |= {size: SMALLEST_NORMALIZED for node in norms for size in shape_of(node)}
        size = {} if readout is None else {"output": self.sizes[readout.output.shape[0]]}
        constants = [q for q in recurrence.step.inputs if q.role in CONSTANTS]
        self.constants = {q: FIRST_CONSTANT + place / 10 for place, q in enumerate(constants)}
        numbers = {keyword(q): value for q, value in self.constants.items()}
        self.chosen: dict[str, Any] = {**spec.chosen(option), **numbers, **size}
        self.of_readout = {} if readout is None else dict(readout.names)
        self.sloped = not reverse_sweep(recurrence.step).cotangents.keys().isdisjoint(recurrence.arguments)

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Numeric sizes of a symbolic shape."""
        return tuple(size if isinstance(size, int) else self.sizes[size] for size in shape)

    def build(
        self, kind: Callable[..., nn.Module], memory: str, gradient: str, features: int | None = None, **more: Any
    ) -> nn.Module:
        """The module in float64 with seeded random parameters, those included that start at zero."""
        core, _ = split_readout(self.recurrence, self.stacks)
        size, *sizes = self.shape((*core.inputs[0].shape, *dimensions(core)))
        bare = {} if self.of_readout or self.whole else {"output": None}
        given = {"memory": memory, "gradient": gradient, **bare, **self.chosen, **more}
        module = kind(size if features is None else features, *sizes, **given).double()
        generator = torch.Generator().manual_seed(29)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(uniform(parameter.shape, -0.8, 0.8, generator))
        return module

    def reference(self, module: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Outputs and final states, sample by sample through the evaluator."""
        values = {**self.constants, **{q: numeric(value) for q, value in self.parameters(module).items()}}
        taken, old = self.recurrence.inputs, self.recurrence.old
        read, starts = inputs[: len(taken)], inputs[len(taken) :]
        outputs, finals = [], []
        for sample in range(read[0].shape[1]):
            rows = [value[:, sample] for value in read]
            path, kept = self.path(values, rows, [numeric(value[0, sample]) for value in starts])
            outputs.append(np.stack([known[self.output] for known in path]))
            ends = {q: [known[q] for known in path[::-1]] for q, _ in zip((*old, taken[0]), starts, strict=False)}
            finals.append([np.stack([*v, *kept[q]][: len(kept[q])]) if q in kept else v[0] for q, v in ends.items()])
        return [
            torch.from_numpy(np.stack(outputs, 1)),
            *(torch.from_numpy(np.stack(parts)[None]) for parts in zip(*finals, strict=True)),
        ]

    def path(
        self, values: Mapping[Quantity, Any], read: Sequence[Tensor], starts: Sequence[Any]
    ) -> tuple[list[dict[Quantity, Any]], dict[Quantity, list[Any]]]:
        """All quantities of every step of one sample, and what is kept before the first step, newest first."""
        taken, old = self.recurrence.inputs, self.recurrence.old
        rows = zip(*read, strict=True)
        given = [{**values, **dict(zip(taken, map(numeric, row), strict=True))} for row in rows]
        found = dict(zip((*old, taken[0]), starts, strict=False))
        kept = {q: list(value) for q, value in found.items() if self.depth(q)}
        initial = [found[q][0] if q in kept else found[q] for q in old]
        return run_recurrence(self.recurrence, None, initial, given, {}, kept), kept

    def stacked_reference(
        self, kind: Callable[..., nn.Module], module: nn.Module, inputs: Sequence[Tensor], lengths: Sequence[int] | None
    ) -> list[Tensor]:
        """The same of two layers in both directions: each sequence of each layer, cut and turned round, by itself."""
        x, *starts = inputs
        steps, batch = x.shape[:2]
        finals: list[list[Tensor]] = []
        for layer, ending in itertools.product(range(2), ("", "_reverse")):
            if not ending:
                read, ways = x, []
            one = self._layer(kind, module, f"_l{layer}{ending}", read.shape[-1])
            outputs, ends = [], []
            for sample, length in enumerate(lengths or [steps] * batch):
                own = read[:length, sample : sample + 1]
                row = [start[len(finals), sample].expand(1, 1, -1) for start in starts]
                output, *end = self.reference(one, [own.flip(0) if ending else own, *row])
                output = output.flip(0) if ending else output
                outputs.append(torch.cat((output, output.new_zeros(steps - length, *output.shape[1:]))))
                ends.append(end)
            ways.append(torch.cat(outputs, 1))
            finals.append([torch.cat(parts, 1) for parts in zip(*ends, strict=True)])
            x = torch.cat(ways, -1)
        return [x, *(torch.cat(parts) for parts in zip(*finals, strict=True))]

    def _layer(self, kind: Callable[..., nn.Module], module: nn.Module, ending: str, features: int) -> nn.Module:
        """One layer and direction of a module as a module."""
        one = self.build(kind, "store", "autograd", features)
        parts = {name: module.get_parameter(name.removesuffix(LAYER) + ending) for name in one.state_dict()}
        one.load_state_dict(parts)
        return one

    def depth(self, source: Quantity) -> int:
        """How many values of a state or the input are kept, under the defaults; 0 where it is the last one alone."""
        lags = read_back(self.recurrence.past, source)
        return max((lag if isinstance(lag, int) else lag.longest for lag in lags), default=0)

    def starts(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of what one sample starts from: the states, and inputs before the first step."""
        x = self.recurrence.inputs[0]
        kept = {q: (self.depth(q),) if self.depth(q) else () for q in (*self.recurrence.old, x)}
        shapes = {q.name: (*kept[q], *self.shape(q.shape)) for q in self.recurrence.old}
        return shapes | (
            {f"{x.name}_past": (*kept[x], *self.shape(x.shape))} if read_back(self.recurrence.past, x) else {}
        )

    @property
    def output(self) -> Quantity:
        """What a step gives out."""
        return self.recurrence.new[0] if self.recurrence.output is None else self.recurrence.output

    def parameters(self, module: nn.Module) -> dict[Quantity, Tensor]:
        """The spec's parameters, cut out of the module's tensors."""
        found: dict[Quantity, Tensor] = {}
        wanted = self.recurrence.parameters
        for stack in self.stacks:
            if set(stack.rows) <= set(wanted) - set(self.of_readout):
                found |= self._rows(module, stack)
        alone = {q: q.name + LAYER for q in wanted if q not in found} | self.of_readout
        return found | {q: module.get_parameter(name).detach() for q, name in alone.items()}

    def _rows(self, module: nn.Module, stack: Stack) -> dict[Quantity, Tensor]:
        parts = [module.get_parameter(name + LAYER).detach() for name in stack.parts or (stack.name,)]
        whole = torch.stack(parts).sum(0)
        sizes = [1 if stack.separate else self.shape(q.shape)[0] for q in stack.rows]
        if sum(sizes) != len(whole):
            raise DeriveError(f"{stack.name} has {len(whole)} rows; its parts have {sum(sizes)}")
        cut = whole.split(sizes)
        return {q: part[0] if stack.separate else part for q, part in zip(stack.rows, cut, strict=True)}

"""A module around a derived recurrent cell, with the arguments, parameters and shapes of torch.nn.LSTM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from codegen.runtime.choices import one_of
from codegen.runtime.precision import casts, lowered, without_autocast
from codegen.runtime.recurrent_checks import check_dropout, check_input, check_sizes, check_switches, checked_state
from codegen.runtime.recurrent_function import Below, Cell, Reach, Readout, Shapes, Values, recurrence
from codegen.runtime.recurrent_names import cells_named_so, plain_name
from codegen.runtime.sequences import checked_lengths, packed_like, padded, pieces_of_packed, pieces_of_padded
from codegen.runtime.state_cotangents import cotangents_of_states

State = Tensor | tuple[Tensor, ...]
"""State of a recurrent module: a tuple with one tensor per state of the cell, or the tensor where there is only one."""


class Recurrent(nn.Module):
    """Layers and directions of one recurrent cell; a subclass says which cell, and what parameters a layer holds.

    Parameters are named as torch names them: `weight_ih_l0`, `weight_ih_l0_reverse`, `weight_ih_l1`, ...
    """

    biases: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that are only added: `bias=False` leaves them out."""

    zero_at_start: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that start at zero; the others are uniform in +-1/sqrt(hidden_size), as in torch."""

    options: ClassVar[tuple[str, ...]] = ()
    """Names of the arguments that choose a cell."""

    cells: ClassVar[Mapping[tuple[str, ...], Cell]] = {}
    """Their values -> the derived cell; the first are the defaults."""

    told: ClassVar[Mapping[str, Any]] = {}
    """Names of the arguments that are numbers of steps -> their defaults."""

    further_sizes: ClassVar[tuple[str, ...]] = ()
    """Names of the arguments that give sizes besides those of the input and the hidden states."""

    readout: ClassVar[Readout | None] = None
    """What is made of the output, where its size is given."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        memory: str,
        gradient: str,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        output: int | None = None,
        learn_initial: bool = False,
    ) -> None:
        super().__init__()
        self.owner = type(self).__name__
        if self.chosen not in self.cells:
            allowed = ", ".join(map(self._shown, self.cells))
            raise ValueError(f"{self._shown(self.chosen)} has no derived cell; allowed: {allowed}")
        sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
        sizes |= {name: getattr(self, name) for name in self.further_sizes}
        check_sizes(self.owner, sizes if output is None else {**sizes, "output": output})
        switches = {"bias": bias, "batch_first": batch_first, "bidirectional": bidirectional}
        check_switches(self.owner, {**switches, "learn_initial": learn_initial}, dtype)
        check_dropout(self.owner, dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, float(dropout), bidirectional
        self.output = output
        self.memory = one_of(f"{self.owner}: memory", memory, ("store", "chunk"))
        self.gradient = one_of(f"{self.owner}: gradient", gradient, ("derived", "autograd"))
        shapes = {
            name + suffix: shape
            for layer in range(num_layers)
            for suffix in self._suffixes(layer)
            for name, shape in self._shapes(layer).items()
        }
        self.learn_initial = learn_initial
        if learn_initial:
            shapes |= {f"initial_{name}": (rows, *rest) for name, (rows, *rest) in self._starts.items()}
        for name, shape in {**shapes, **self._readout_shapes()}.items():
            if bias or plain_name(name) not in self.biases:
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    recurrence = staticmethod(recurrence)
    """The run of a cell over all steps."""

    def state_cotangents(
        self,
        x: Tensor,
        bar_output: Tensor,
        state: State | None = None,
        *,
        bar_state: State | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> State:
        """Total derivative of a loss in every state after every step, of all layers and directions.

        x, state, lengths: as `forward` takes them; x is no PackedSequence.
        bar_output: gradient of the loss in the output, of its shape; bar_state: that in the final state, else zero.

        Returns one tensor (num_layers * directions, T, B, hidden_size) per state of the cell, (..., B, T, hidden_size)
        if batch_first, without B for one sequence; step t of a backward direction is where it has read x_t. Each is
        the derivative in a state before anything is made of it: that of an LSTM's cell goes through its output, too.
        """
        return self._as_state(cotangents_of_states(self, x, bar_output, state, bar_state, lengths))

    def cell(self) -> Cell:
        """The derived cell under the options of this module."""
        cell = self.cells[self.chosen]
        return cell.told({name: getattr(self, name) for name in self.told}) if self.told else cell

    @property
    def state_sizes(self) -> Mapping[str, int]:
        """Names and sizes of the states."""
        return dict.fromkeys(self.cell().states, self.hidden_size)

    @property
    def output_features(self) -> int:
        """Size of the output of one layer and direction."""
        return self.hidden_size

    @property
    def chosen(self) -> tuple[str, ...]:
        """Values of the options."""
        return tuple(getattr(self, name) for name in self.options)

    def parameter_shapes(self, features: int) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each parameter of a layer that reads `features` features, in torch's order."""
        raise NotImplementedError

    def readout_shapes(self, features: int, size: int) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of each parameter of a read-out of `size` numbers from `features` features."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw all parameters afresh, in torch's order."""
        bound = self.hidden_size**-0.5
        starts = {f"initial_{name}" for name in self._starts}
        for name, parameter in self.named_parameters():
            if name in starts or plain_name(name) in self.zero_at_start:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing; code written for torch.nn calls it for cuDNN's copy of the weights, and there is none here."""

    def extra_repr(self) -> str:
        sizes = ("input_size", "hidden_size", *self.further_sizes)
        shown = [", ".join(str(getattr(self, name)) for name in sizes)]
        usual: dict[str, Any] = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
        usual |= {"bidirectional": False, "memory": "store", "gradient": "derived", "output": None}
        usual |= {"learn_initial": False, **self.told}
        shown += [f"{name}={getattr(self, name)!r}" for name in usual if getattr(self, name) != usual[name]]
        default = next(iter(self.cells))
        shown += [f"{n}={v!r}" for n, v, usual in zip(self.options, self.chosen, default, strict=True) if v != usual]
        return ", ".join(shown)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, metadata: Any, strict: bool, *lists: list[str]
    ) -> None:
        """As torch does; tensors that another cell of this class names so, and not this one, are an error always."""
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *lists)
        own = [name for name, _ in self.named_parameters()]
        given = [key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)]
        lists[-1].extend(
            f"the tensors have the names of {self._shown(other)}, this is {self._shown(self.chosen)}, which is another "
            "function: construct it with those options"
            for other in cells_named_so(self.cells, own, given)
        )

    def _shown(self, chosen: tuple[str, ...]) -> str:
        """The class with values of its options."""
        values = zip(self.options, chosen, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | None = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        targets: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run over all steps and return (output, state), shaped as torch.nn.LSTM shapes them.

        x: (T, B, input_size), (B, T, input_size) if batch_first, (T, input_size) without a batch, or a PackedSequence.
        state: one tensor (num_layers * directions, B, hidden_size) per state of the cell, or of the size that
        `state_sizes` says; where not given, zeros or what is learnt. Of a state that is read K steps later, K values
        (num_layers * directions, B, K, hidden_size), newest first; of inputs that are, one tensor (directions, B, K,
        features) per layer, behind the states.
        lengths: (B,) steps of each sequence in a padded input, 1 or more; the output is zero after them, and the final
        state is the state after them.
        targets: what a cell reads in place of its own output, shaped as x is, with the output's features; refused by
        cells that do not read it.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError(f"{self.owner}: lengths is given with a PackedSequence; allowed: its own lengths only")
            return self._forward_packed(x, state, targets)
        if not isinstance(x, Tensor):
            raise TypeError(f"{self.owner}: x is of type {type(x).__name__}; allowed: a Tensor or a PackedSequence")
        if x.dim() not in (2, 3):
            raise ValueError(
                f"{self.owner}: x has shape {tuple(x.shape)}; allowed: 2 axes (one sequence) or 3, read {x.dim()}"
            )
        batched = x.dim() == 3
        check_input(self, x, time_axis=1 if batched and self.batch_first else 0)
        given: Tensor = self._with_targets(x, targets)
        steps = given.unsqueeze(1) if not batched else given.transpose(0, 1) if self.batch_first else given
        states = self._initial_states(state, steps, steps.shape[1], batched)
        if lengths is None:
            (output,), finals = self._run([steps], states)
        else:
            output, finals = self._run_padded(steps, states, lengths)
        if not batched:
            return output.squeeze(1), self._as_state(tuple(final.squeeze(1) for final in finals))
        return output.transpose(0, 1) if self.batch_first else output, self._as_state(finals)

    def _forward_packed(self, packed: PackedSequence, state: State | None, targets: Any) -> tuple[Any, State]:
        """`forward` for a PackedSequence; the state is in the order of the sequences before packing."""
        check_input(self, packed.data, time_axis=0)
        given: PackedSequence = self._with_targets(packed, targets)
        states = self._initial_states(state, packed.data, int(packed.batch_sizes[0]), batched=True)
        if packed.sorted_indices is not None and packed.unsorted_indices is not None:
            states = tuple(value.index_select(1, packed.sorted_indices) for value in states)
        pieces, finals = self._run(pieces_of_packed(given), states)
        if packed.unsorted_indices is not None:
            finals = tuple(value.index_select(1, packed.unsorted_indices) for value in finals)
        return packed_like(packed, pieces), self._as_state(finals)

    def _with_targets(self, x: Any, targets: Any) -> Any:
        """The input and, behind its features, the targets of a cell that reads them."""
        if targets is not None:
            raise ValueError(f"{self.owner}: targets is given, but this cell reads no target; allowed: targets=None")
        return x

    def _run_padded(
        self, x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | Sequence[int]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Output (T, B, features) and final states for a padded input (T, B, I)."""
        steps, sequences = x.shape[:2]
        pieces, order = pieces_of_padded(x, checked_lengths(self.owner, lengths, steps, sequences))
        outputs, finals = self._run(pieces, tuple(value.index_select(1, order) for value in states))
        back = order.argsort()
        empty = finals[0].new_empty(0, sequences, self.output or self.output_features * self._directions)
        return padded(outputs, steps, back, empty), tuple(value.index_select(1, back) for value in finals)

    def _run(self, pieces: list[Tensor], states: tuple[Tensor, ...]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """All layers over pieces (steps, living, features), under autocast in its precision, as torch.nn.LSTM."""
        device = states[0].device.type
        if not casts(device):
            return self._run_layers(pieces, states, None)
        dtype = torch.get_autocast_dtype(device)
        with without_autocast(device):
            pieces = [lowered(piece, dtype) for piece in pieces]
            return self._run_layers(pieces, tuple(lowered(value, dtype) for value in states), dtype)

    def _run_layers(
        self, pieces: list[Tensor], states: tuple[Tensor, ...], dtype: torch.dtype | None
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """All layers over pieces; `dtype` is the precision to lower the parameters to, if any."""
        count, given = len(self.state_sizes), pieces
        rows = [value.unbind(0) for value in states[:count]]
        inputs = [row for value in states[count:] for row in value.unbind(0)]
        finals = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                pieces = [nn.functional.dropout(piece, self.dropout, self.training) for piece in pieces]
            if layer:
                pieces = self._beside(pieces, given)
            ways = []
            for way, suffix in enumerate(self._suffixes(layer)):
                place = layer * self._directions + way
                start = tuple(row[place] for row in (*rows, *([inputs] if inputs else [])))
                operands = self._operands(self.cell(), suffix, layer, dtype)
                outputs, final = self._run_direction(pieces, start, operands, way == 1)
                ways.append(outputs)
                finals.append(final)
            pieces = [torch.cat(pair, -1) for pair in zip(*ways, strict=True)] if len(ways) == 2 else ways[0]
        if self.readout is not None and self.output is not None:
            names = [(name,) for name in self.readout.parameters]
            held = self._held(names, "", self._readout_shapes(), dtype)
            pieces = [self.readout.function(piece, *held) for piece in pieces]
        *ends, last = zip(*finals, strict=True)
        if not inputs:
            return pieces, tuple(torch.stack(values) for values in (*ends, last))
        layers = [last[start : start + self._directions] for start in range(0, len(last), self._directions)]
        return pieces, tuple(torch.stack(values) for values in (*ends, *layers))

    def _run_direction(
        self, pieces: list[Tensor], start: tuple[Tensor, ...], operands: tuple[Tensor, ...], backwards: bool
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """One layer and direction over pieces, from the states `start` (B, H); outputs and the final states (B, H)."""
        outputs, states = [], start
        for piece in reversed(pieces) if backwards else pieces:
            living = piece.shape[1]
            steps = piece.flip(0) if backwards else piece
            output, *moved = self._advance(steps, tuple(value[:living] for value in states), operands)
            outputs.append(output.flip(0) if backwards else output)
            states = tuple(
                new if living == old.shape[0] else torch.cat((new, old[living:]))
                for new, old in zip(moved, states, strict=True)
            )
        return (outputs[::-1] if backwards else outputs), states

    def _advance(self, x: Tensor, states: tuple[Tensor, ...], operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Output of every step of one layer and direction, and its final states."""
        derived, store = self.gradient == "derived", self.memory == "store"
        return self.recurrence(self.cell(), derived, store, x, *states, *operands)

    def _beside(self, pieces: list[Tensor], given: list[Tensor]) -> list[Tensor]:
        """What a further layer reads: the output of the one below, `pieces`, and of `given` what all layers read."""
        return pieces

    def _operands(self, cell: Cell, suffix: str, layer: int, dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        """What the functions of the cell take beside input and states."""
        return self._held(cell.operands, suffix, self._shapes(layer), dtype)

    def _held(self, names: Iterable[tuple[str, ...]], suffix: str, shapes: Shapes, dtype: torch.dtype | None) -> Values:
        """Sums of the named parameters, zero where `bias=False` left them out; those `Below` each other as they are."""
        operands, weight = [], next(self.parameters())
        for parts in names:
            if isinstance(parts, Below):
                operands.append(torch.cat(self._held([(name,) for name in parts], suffix, shapes, dtype)))
                continue
            held = [getattr(self, name + suffix) for name in parts if self.bias or name not in self.biases]
            if dtype is not None:
                held = [lowered(parameter, dtype) for parameter in held]
            operands.append(sum(held[1:], held[0]) if held else weight.new_zeros(shapes[parts[0]], dtype=dtype))
        return tuple(operands)

    @property
    def _starts(self) -> dict[str, tuple[int, ...]]:
        """Name and shape, without the batch, of each state before the first step; then of the inputs of each layer.

        A state is (num_layers * directions, hidden_size); K values of it (num_layers * directions, K, hidden_size), K
        inputs of a layer (directions, K, features).
        """
        cell, rows = self.cell(), self.num_layers * self._directions
        reach = dict(zip(cell.states, cell.reach, strict=False))
        found = {name: (rows, *self._depth(reach.get(name, ())), size) for name, size in self.state_sizes.items()}
        for layer in range(self.num_layers if cell.input_reach else 0):
            features = self.output_features * self._directions if layer else self.input_size
            found[f"x_past_l{layer}"] = (self._directions, *self._depth(cell.input_reach), features)
        return found

    def _depth(self, reach: Reach) -> tuple[int, ...]:
        """How many values are kept of what is read so many steps later; nothing where it is the last value alone."""
        lags = [getattr(self, lag) if isinstance(lag, str) else lag for lag in reach]
        return (max(max(lag) if isinstance(lag, tuple) else lag for lag in lags),) if lags else ()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self, layer: int) -> list[str]:
        """Endings of the parameter names of a layer, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _shapes(self, layer: int) -> Mapping[str, tuple[int, ...]]:
        """Parameter shapes of a layer."""
        return self.parameter_shapes(self.output_features * self._directions if layer else self.input_size)

    def _readout_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Parameter shapes of the read-out."""
        return {} if self.output is None else self.readout_shapes(self.output_features * self._directions, self.output)

    def _initial_states(self, state: State | None, x: Tensor, sequences: int, batched: bool) -> tuple[Tensor, ...]:
        """One tensor (num_layers * directions, B, size) per state of the cell; see `_starts` for past values."""
        names = {name: (rows, sequences, *rest) for name, (rows, *rest) in self._starts.items()}
        if state is None and self.learn_initial:
            return tuple(getattr(self, f"initial_{name}").unsqueeze(1).expand(names[name]) for name in names)
        if state is None:
            return tuple(x.new_zeros(shape) for shape in names.values())
        wanted = names if batched else {name: (shape[0], *shape[2:]) for name, shape in names.items()}
        values = checked_state(self.owner, state, wanted, x)
        return tuple(values if batched else (value.unsqueeze(1) for value in values))

    def _as_state(self, values: tuple[Tensor, ...]) -> State:
        """The state as the caller gets it: a tuple, or the tensor where the cell has one state."""
        return values if len(values) > 1 else values[0]

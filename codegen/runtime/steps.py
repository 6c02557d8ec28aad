"""A loop over steps: the rules of one step, the plan of one call, and the plain straight-line form."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from codegen.runtime.block_errors import (
    CALL_FAILURES,
    PASSED_ON,
    StepError,
    Where,
    check_shape,
    failed_call,
    note_where,
)
from codegen.runtime.blocks import Blocks, Call, Evaluation, Networks, Snapshot, StepTape, as_given, networks_of
from codegen.runtime.finite_states import all_finite, name_bad_step
from codegen.runtime.untouched import call_untouched

LARGEST_Q = 1024  # denominator of a weight p/q with memory="exact": p/q is then known from its value in float32

State = tuple[Tensor, ...]  # newest first: (x_n,), (x_n, x_{n-1}), of two streams (x_n, y_n) or (x_n, y_n, x_{n-1}, …)
Shared = tuple[Any, ...]  # tensors and Python floats used by every step
Cotangents = tuple[tuple[Tensor | None, ...], tuple[Tensor | None, ...], tuple[Tensor | None, ...]]


class InversionError(StepError):
    """A state rebuilt by the inverse does not agree with the stored one."""


class Sweeps(Protocol):
    """Forward and reverse sweep over all steps."""

    def forward(self, plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
        """(outputs, tensors to be stored beside them)."""

    def reverse(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor],
        stored: Sequence[Tensor], bars: State,
    ) -> tuple[Tensor | None, ...]:  # fmt: skip
        """Cotangents of the inputs; before the stored tensors stands the output, where it is a trajectory."""


class StepSweeps(Sweeps, Protocol):
    """Sweeps of the rules of a step, in the place of those that call `step` and `adjoint`."""

    def serves(self, memory: str, casting: bool, per_step: bool) -> bool:
        """Whether they do what the mode asks; where they do not, autograd goes through the plain form.

        `casting`: under autocast; `per_step`: with a size of its own for each step.
        """

    def reading_per_step(self, place: int) -> StepSweeps:
        """The same, with the shared quantity at `place` as the last of the per-step parameters."""


class ExactSweeps(Sweeps, Protocol):
    """Sweeps for memory="exact"."""

    def rounded(
        self, owner: str, q: int, x: Tensor, local: tuple[Tensor, ...], shared: Shared
    ) -> tuple[tuple[Any, ...], Shared]:
        """The parameters that the steps really use."""


class Rules(NamedTuple):
    """The derived equations of one step, as plain torch functions; batch axes lead and are free.

    step(field, state, local, shared) -> new_state
        where a step has several networks, `field` and `linearize` are tuples of one function for each
    adjoint(linearize, state, local, shared, bar_new) -> (bar_state, bar_local, bar_shared)
        `value, pullback = linearize(x)` or `linearize(t, x)`; `pullback(bar_value)` is a tuple, one cotangent for each
        argument; it is called once, and the calls of `linearize` come in the order of those of `field` in `step`.
        None stands for a cotangent that is zero or not wanted.
    inverse(field, new_state, local, shared) -> state
        a network called in another order than in `step` is told which of its calls it is: `field(x, call=1)`
    amplification(local, shared, lipschitz) -> float
        of floats: what one inverse step multiplies an error by; inf where there is no inverse
    growth(undo, new_state) -> measured
        without blocks: what is measured, in the place of their Lipschitz constant, on `undo(new_state) -> state`
    exact: the step in fixed point, whose reversal is exact
    start: for a scheme of more than one step the rules of the first steps.
    streams: how many tensors hold one value of the state: the unknowns, each in a tensor of its own.
    width: how many values of every stream a state holds, of the state or of the field. The first state has the initial
        value in every place: a start reads the newest value only and moves the others on, so that none of them is left
        when the first steps are done.
    sweeps: sweeps of their own in the place of those that call `step` and `adjoint`
    plain: the step for autograd, where the adjoint is not that of the step
    dropped: (which random draw, the rules of a step where it is zero), where these call fewer networks
    """

    step: Callable[..., State]
    adjoint: Callable[..., Cotangents] | None = None
    inverse: Callable[..., State] | None = None
    amplification: Callable[[tuple[float, ...], tuple[float, ...], float], float] | None = None
    growth: Callable[[Callable[[State], State], State], Tensor] | None = None
    start: tuple[Rules, ...] = ()
    streams: int = 1
    width: int = 1
    exact: ExactSweeps | None = None
    sweeps: StepSweeps | None = None
    plain: Callable[..., State] | None = None
    dropped: tuple[tuple[int, Rules], ...] = ()

    def of_step(self, n: int) -> Rules:
        """The rules that make state n+1."""
        return self.start[n] if n < len(self.start) else self


def rules_per_step(rules: Rules, place: int) -> Rules:
    """Rules that read the shared quantity at `place` as the last of the per-step parameters."""

    def whole(local: tuple[Any, ...], shared: Shared) -> tuple[tuple[Any, ...], Shared]:
        return local[:-1], (*shared[:place], local[-1], *shared[place:])

    def step(field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        return rules.step(field, state, *whole(local, shared))

    def plain(field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        assert rules.plain is not None
        return rules.plain(field, state, *whole(local, shared))

    def adjoint(linearize: Any, state: State, local: tuple[Tensor, ...], shared: Shared, bar_new: State) -> Any:
        assert rules.adjoint is not None
        bar_state, bar_local, bar_shared = rules.adjoint(linearize, state, *whole(local, shared), bar_new)
        return bar_state, (*bar_local, bar_shared[place]), (*bar_shared[:place], *bar_shared[place + 1 :])

    def inverse(field: Any, state: State, local: tuple[Tensor, ...], shared: Shared) -> State:
        assert rules.inverse is not None
        return rules.inverse(field, state, *whole(local, shared))

    def amplification(local: tuple[float, ...], shared: tuple[float, ...], lipschitz: float) -> float:
        assert rules.amplification is not None
        return rules.amplification(*whole(local, shared), lipschitz)

    return rules._replace(
        step=step,
        adjoint=adjoint if rules.adjoint else None,
        inverse=inverse if rules.inverse else None,
        amplification=amplification if rules.amplification else None,
        exact=None,
        sweeps=rules.sweeps.reading_per_step(place) if rules.sweeps else None,
        start=tuple(rules_per_step(start, place) for start in rules.start),
        plain=plain if rules.plain else None,
        dropped=tuple((draw, rules_per_step(without, place)) for draw, without in rules.dropped),
    )


@dataclass(frozen=True, eq=False)
class Plan:
    """What one call of a net does, apart from its tensors.

    The tensors travel as one flat tuple: the initial value of every stream, per-step parameters (leading step axis),
    shared tensors, block parameters.
    `shared` has None where a tensor of that tuple belongs and the number itself elsewhere.
    """

    name: str
    rules: Rules
    blocks: Blocks
    steps: int
    memory: str
    tol: float
    trajectory: bool
    check_finite: bool
    local_count: int
    shared: tuple[float | tuple[float, ...] | None, ...]
    device: torch.device
    autocast: tuple[bool, torch.dtype]
    implicit: Any = None  # solves the equations of implicit steps

    @property
    def sweeps(self) -> Sweeps | None:
        """Sweeps of their own, of the mode or of the rules."""
        return self.rules.exact if self.memory == "exact" else self.rules.sweeps

    @property
    def tol_name(self) -> str:
        """What the argument is called that `tol` comes from: an implicit step has another one of that name."""
        return tol_name(self.implicit)

    @property
    def keeps_output(self) -> bool:
        """Whether stored states are made of the output."""
        return self.memory == "invert" or (self.trajectory and self.memory != "exact")

    @property
    def shared_count(self) -> int:
        """How many of the shared quantities are tensors."""
        return sum(value is None for value in self.shared)

    @property
    def streams(self) -> int:
        """How many tensors hold one value of the state."""
        return self.rules.streams

    def split(self, inputs: Sequence[Tensor]) -> tuple[State, Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]]:
        """(initial state, per-step parameters, shared tensors, block parameters)."""
        first = self.streams + self.local_count
        second = first + self.shared_count
        return tuple(inputs[: self.streams]), inputs[self.streams : first], inputs[first:second], inputs[second:]

    def full_shared(self, tensors: Sequence[Tensor]) -> Shared:
        """The shared quantities in the order of the rules."""
        given = iter(tensors)
        return tuple(next(given) if value is None else value for value in self.shared)

    @contextlib.contextmanager
    def as_called(self) -> Iterator[None]:
        """Autocast and train/eval modes as they were when the net was called.

        Without autocast's cache: a weight cast here, outside of the graph, must not be found by later code.
        """
        enabled, dtype = self.autocast
        casting = torch.autocast(self.device.type, dtype=dtype, enabled=enabled, cache_enabled=False)
        with casting, self.blocks.modes_as_called():
            yield

    def without_autocast(self) -> contextlib.AbstractContextManager[Any]:
        """For pulling back through a block: its backward has the precision its forward had."""
        if self.autocast[0]:
            return torch.autocast(self.device.type, enabled=False)
        return contextlib.nullcontext()


def tol_name(implicit: Any) -> str:
    """The name of the constructor's argument for the error that rebuilt states may have."""
    return "tol" if implicit is None else "inverse_tol"


def row_of_step(n: int, steps: int, rows: int) -> int:
    """Row of a per-step parameter that step n reads: aligned to the last step; earlier steps read the first row."""
    return max(0, n - steps + rows)


def rows_of(local: Sequence[Tensor], steps: int) -> list[tuple[Tensor, ...]]:
    """Per-step parameters of each step; a parameter without rows is left out."""
    columns = [column for column in (parameter.unbind(0) for parameter in local) if column]
    return [tuple(column[row_of_step(n, steps, len(column))] for column in columns) for n in range(steps)]


def run_plain(
    rules: Rules,
    field_of: Callable[[int], Any],
    steps: int,
    x: State,
    local: Sequence[Tensor],
    shared: Shared,
    trajectory: bool,
) -> State:
    """The plain form: x_N of shape (..., features), or the trajectory (steps+1, ..., features), of every stream."""
    state = x * rules.width
    visited = [x]
    for n, row in enumerate(rows_of(local, steps)):
        ruled = rules.of_step(n)
        state = (ruled.plain or ruled.step)(field_of(n), state, row, shared)
        if trajectory:
            visited.append(state[: rules.streams])
    return stacked(visited) if trajectory else state[: rules.streams]


def stacked(visited: Sequence[State]) -> State:
    """The trajectory of every stream, (steps+1, ..., features)."""
    return tuple(torch.stack(values) for values in zip(*visited, strict=True))


def run_back(
    rules: Rules,
    field_of: Callable[[int], Any],
    steps: int,
    x: State,
    local: Sequence[Tensor],
    shared: Shared,
    trajectory: bool,
) -> State:
    """The plain form of the inverse: x_0 from x_N, or the states from x_N to x_0, of every stream."""
    assert rules.inverse is not None
    state = x
    visited = [x]
    for n, row in reversed(list(enumerate(rows_of(local, steps)))):
        state = rules.inverse(field_of(n), state, row, shared)
        if trajectory:
            visited.append(state)
    return stacked(visited) if trajectory else state


def solving(field_of: Callable[[int], Any], implicit: Any, changing: bool = False) -> Callable[[int], Any]:
    """The blocks of the plain form; for an implicit scheme they solve equations as well.

    `changing`: whether the first call of a step may change a block.
    """
    return field_of if implicit is None else lambda n: implicit.plain(field_of(n), n, changing)


def checked_fields(
    given: Networks, arities: dict[int, int], owner: str, step: int, titles: Mapping[int, str] = {},
    watched: list[Where] | None = None,
) -> Any:  # fmt: skip
    """The networks of a step for the plain form."""
    row = networks_of(given)
    where = [Where(step, network, len(row), titles.get(id(f), "")) for network, f in enumerate(row)]
    return as_given(
        [checked_field(f, arities[id(f)], owner, place, watched) for f, place in zip(row, where, strict=True)]
    )


def checked_field(
    function: Callable[..., Tensor], arity: int, owner: str, where: Where, watched: list[Where] | None = None
) -> Callable[..., Tensor]:
    """A block for the plain form: drops t where it is not wanted, names the step where it fails, checks the value."""

    def field(*points: Any, call: int | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            value = function(*points[-arity:])
        else:
            try:
                value = call_untouched(function, points[-arity:])
            except PASSED_ON:
                raise
            except CALL_FAILURES as error:
                raise failed_call(owner, where, points[-arity:], error) from error
        check_shape(owner, value, points[-1], where, function)
        note_where(watched, where, value)
        return value

    return field


class Recording:
    """What a call leaves for its reverse sweep, apart from the tensors that autograd saves.

    `snapshots`: for replaying blocks. `kept`: for each stored step state the place and dtype of its tensors in the bank
    (see `state_bank`). `tape`: (state, calls with graphs) of every step where the memory mode keeps them; the first
    reverse sweep uses it up and frees it as it goes, a second one over the same graph runs the steps again.
    `inverted`: steps that the reverse sweep undoes by the inverse.
    """

    def __init__(self) -> None:
        self.snapshots: dict[Call, Snapshot] = {}
        self.kept: dict[int, tuple[tuple[int, torch.dtype], ...]] = {}
        self.tape: list[tuple[State, StepTape]] = []
        self.inverted: set[int] = set()


def state_bank(trajectory: bool, x: State, outputs: Sequence[Tensor], saved: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that stored states are made of: x, the last states or all states, then the saved ones."""
    known = [value for output in outputs for value in output.unbind(0)[1:]] if trajectory else outputs
    return [*x, *known, *saved]


def run_replay(
    plan: Plan, recording: Recording, inputs: Sequence[Tensor], live: bool = False, watched: list[Where] | None = None
) -> State:
    """The plain form as a function of all its tensors, with blocks called again as they were."""
    x, local, shared, parameters = plan.split(inputs)
    evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live)
    evaluation.layer_by_layer, evaluation.watched = False, watched
    with plan.as_called():
        full = plan.full_shared(shared)
        field_of = solving(evaluation.field, plan.implicit, live and plan.blocks.has_buffers)
        return run_plain(plan.rules, field_of, plan.steps, x, local, full, plan.trajectory)


def check_finite(plan: Plan, recording: Recording, inputs: Sequence[Tensor], outputs: State) -> None:
    """One host read of the result; only on failure are the steps run again, to name the first bad one."""
    if plan.check_finite and not bool(all_finite(outputs)):
        watched: list[Where] = []
        states = run_replay(replace(plan, trajectory=True), recording, inputs, watched=watched)
        name_bad_step(plan.name, states, bool(plan.blocks.of_step), watched)

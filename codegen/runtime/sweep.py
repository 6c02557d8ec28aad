"""The derived sweeps of a loop over steps: forward with what the memory mode keeps, and the reverse sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.blocks import Call, Evaluation, StepTape, as_given
from codegen.runtime.closed_calls import closed_field
from codegen.runtime.layer_chains import Linearized
from codegen.runtime.steps import (
    InversionError,
    Plan,
    Recording,
    Shared,
    State,
    check_finite,
    row_of_step,
    rows_of,
    stacked,
)

MEASURE_EVERY = 128  # steps between two measurements of a block's Jacobian
MEASURED_SAMPLES = 16  # of the leading batch axis, at which it is measured
INCREMENT_SLACK = 50.0  # an increment x_{n+1} - x_n may be known this much worse than a state; see InversionSchedule


class InversionSchedule:
    """Decides from which states the inverse starts anew.

    Undoing a step multiplies an error by the step's amplification and adds one rounding. A segment ends where the
    error that would reach its first state exceeds the limit: `tol`, and less where the steps are small, because the
    cotangent of a per-step parameter is made of increments x_{n+1} - x_n, of which the same error is a larger part
    (measured: the error of that cotangent is about 0.07 of the estimate, hence the slack). Per-step parameters are
    read once, before the loop; Jacobian and increment are measured where a segment starts and every MEASURE_EVERY
    steps, with one host read each.
    """

    def __init__(
        self, plan: Plan, evaluation: Evaluation, local: Sequence[Tensor], shared: Shared, dtype: torch.dtype
    ) -> None:
        self.plan = plan
        self.evaluation = evaluation
        columns = [p.detach().double().tolist() if p.dim() == 1 else [math.nan] * len(p) for p in local]
        self.columns = [column for column in columns if column]
        self.given = rows_of(local, plan.steps), shared
        self.shared = tuple(math.nan if isinstance(s, Tensor) and s.dim() else float(s) for s in shared)
        dtypes = [dtype, plan.autocast[1]] if plan.autocast[0] else [dtype]
        self.rounding = max(torch.finfo(one).eps for one in dtypes)
        if plan.implicit:
            self.rounding = plan.implicit.accuracy(self.rounding)
        self.growth = 1.0  # from the newest state of the segment down to its first
        self.error = math.inf  # so that the first step opens a segment
        self.limit = plan.tol
        self.measured = 0.0  # Lipschitz constant of the blocks, or growth
        self.measured_at = -MEASURE_EVERY

    def add_step(self, n: int, old: State, new: State) -> bool:
        """Take step n, just done, into the segment; True where a new segment begins with it."""
        if self._invertible(n) and n - self.measured_at >= MEASURE_EVERY:
            self._measure(n, old, new)
        amplification = self._amplification(n)
        self.growth *= amplification
        self.error += self.rounding * self.growth
        if self.error <= self.limit:
            return False
        if self._invertible(n) and n > self.measured_at:
            self._measure(n, old, new)
            amplification = self._amplification(n)
        self.growth = amplification
        self.error = self.rounding * amplification
        return True

    def trusts(self) -> bool:
        """Whether the newest step can be undone: False only for a step that is a segment of its own."""
        return self.error <= self.limit

    def _invertible(self, n: int) -> bool:
        return math.isfinite(self._amplification(n))

    def _amplification(self, n: int) -> float:
        rules = self.plan.rules.of_step(n)
        if rules.inverse is None or rules.amplification is None:
            return math.inf
        row = tuple(column[row_of_step(n, self.plan.steps, len(column))] for column in self.columns)
        return rules.amplification(row, self.shared, self.measured)

    def _measure(self, n: int, old: State, new: State) -> None:
        pairs = list(zip(new, old, strict=True))[: self.plan.streams]
        shares = [torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(a) for a, b in pairs]
        share = torch.stack(shares).amin() if len(shares) > 1 else shares[0]
        self.measured, share = torch.stack([self._growth(n, new).float(), share.float()]).tolist()
        self.limit = self.plan.tol
        if self.plan.local_count and share > 0.0:  # an increment of exactly zero has no digits to lose
            self.limit *= min(1.0, INCREMENT_SLACK * share)
        self.measured_at = n

    def _growth(self, n: int, new: State) -> Tensor:
        """What the rules call it: of the blocks their Jacobians, of a written-out step that of its inverse."""
        rules = self.plan.rules.of_step(n)
        if rules.growth is None or rules.inverse is None:
            return block_lipschitz(self.evaluation)
        rows, shared = self.given
        calls = StepTape(self.evaluation, n)
        field = self.plan.implicit.undone(calls.field(), calls) if self.plan.implicit else calls.field()
        return rules.growth(partial(rules.inverse, field, local=rows[n], shared=shared), new)


def block_lipschitz(evaluation: Evaluation) -> Tensor:
    """0-dim estimate of the largest norm of the Jacobians of the blocks called last, one of each network of a step."""
    norms = [_lipschitz(evaluation, *last) for last in evaluation.last.values()]
    return torch.stack(norms).amax() if len(norms) > 1 else norms[0]


def _lipschitz(evaluation: Evaluation, call: Call, points: tuple[Any, ...]) -> Tensor:
    """0-dim estimate of the norm of the Jacobian J of one block call: |J^T w| / |w| with w = J v, v random.

    Weighting by J once makes the ratio about 0.7 of the largest singular value of a random matrix; hence the 1.5.
    The block is replayed and v has a generator of its own: buffers and random state are left as they are.
    """
    *times, x = points
    if x.dim() > 1 and not evaluation.blocks.of_step[call[0]][call[1]].buffers:  # a few samples say as much
        x = x[:MEASURED_SAMPLES]
    again = evaluation.for_replay()
    if x.numel() == 0:
        return x.new_zeros((), dtype=torch.float32)
    evaluated = again.linearized(call, (*times, x))
    generator = torch.Generator(x.device).manual_seed(call[0])
    direction = torch.randn(x.shape, generator=generator, device=x.device, dtype=torch.float32).to(x.dtype)
    scale = torch.linalg.vector_norm(x) / math.sqrt(x.numel())
    size = math.sqrt(torch.finfo(x.dtype).eps) * torch.where(scale > 0, scale, 1.0)
    change = again.call(call, (*times, x + size * direction), again.parameters) - evaluated.value.detach()
    pulled = evaluated.pull_back(change, lambda place: False)[0][-1]
    tiny = torch.finfo(change.dtype).tiny
    ratio = torch.linalg.vector_norm(pulled) / torch.linalg.vector_norm(change).clamp_min(tiny)
    return 1.5 * ratio.float()


def forward_sweep(plan: Plan, recording: Recording, inputs: Sequence[Tensor]) -> tuple[State, list[Tensor]]:
    """The steps, recording what the memory mode keeps: (outputs, stored states' tensors beyond x and the outputs)."""
    x, local, shared_tensors, parameters = plan.split(inputs)
    shared = plan.full_shared(shared_tensors)
    evaluation = Evaluation(plan.blocks, parameters, recording.snapshots, plan.device, live=True, closed=True)
    keeping_graphs = keeps_tape(plan)
    hidden = any(not isinstance(block.function, nn.Module) for block in plan.blocks.distinct)
    every = segment_length(plan)
    schedule = InversionSchedule(plan, evaluation, local, shared, x[0].dtype) if plan.memory == "invert" else None
    kept: dict[int, State] = {}
    state = x * plan.rules.width
    visited = [x]
    with plan.as_called():
        for n, row in enumerate(rows_of(local, plan.steps)):
            previous = state
            if keeping_graphs:
                recording.tape.append((previous, StepTape(evaluation, n)))
                field = recording.tape[-1][1].field()
            else:
                field = evaluation.field(n, closed_field if hidden else None)
            if plan.implicit:
                tape = recording.tape[-1][1] if keeping_graphs else None
                field = plan.implicit.forward(field, evaluation, n, tape, hidden)
            state = plan.rules.of_step(n).step(field, previous, row, shared)
            if schedule:
                if schedule.add_step(n, previous, state):
                    kept[n] = previous
                if schedule.trusts():
                    recording.inverted.add(n)
            elif n % every == 0:
                kept[n] = previous
            if plan.trajectory:
                visited.append(state[: plan.streams])
    if schedule:
        kept[plan.steps] = state
    outputs = stacked(visited) if plan.trajectory else state[: plan.streams]
    check_finite(plan, recording, inputs, outputs)
    known = [value for stream in zip(*visited[1:], strict=True) for value in stream] if plan.trajectory else outputs
    return outputs, place_states(recording, kept, [*x, *known])


def keeps_tape(plan: Plan) -> bool:
    """Whether what a step computed is kept for its adjoint: graphs of blocks, solutions of equations."""
    return plan.memory == "store" and bool(plan.blocks.of_step or plan.implicit)


def segment_length(plan: Plan) -> int:
    """Steps from one stored state to the next, where they are evenly spaced."""
    if keeps_tape(plan):
        return plan.steps
    return math.isqrt(plan.steps - 1) + 1 if plan.memory == "checkpoint" else 1


def place_states(recording: Recording, kept: dict[int, State], known: list[Tensor]) -> list[Tensor]:
    """Write down of which tensors of the bank each stored state consists; returns those that the bank still lacks."""
    bank = list(known)
    places = {id(tensor): place for place, tensor in enumerate(bank)}
    for n, state in kept.items():
        for tensor in state:
            if id(tensor) not in places:
                places[id(tensor)] = len(bank)
                bank.append(tensor)
        recording.kept[n] = tuple((places[id(tensor)], tensor.dtype) for tensor in state)
    return bank[len(known) :]


class ReverseSweep:
    """Cotangents of all inputs from the cotangent of the output, one step's derived adjoint after the other."""

    def __init__(
        self, plan: Plan, recording: Recording, needs: Sequence[bool], inputs: Sequence[Tensor], bank: Sequence[Tensor]
    ) -> None:
        self.plan = plan
        self.recording = recording
        self.needs = needs
        self.bank = bank
        x, self.local, shared_tensors, self.parameters = plan.split(inputs)
        self.x = x
        self.shared = plan.full_shared(shared_tensors)
        self.rows = rows_of(self.local, plan.steps)
        self.evaluation = Evaluation(plan.blocks, self.parameters, recording.snapshots, plan.device, live=False)
        self.offset = len(inputs) - len(self.parameters)
        self.bar_parameters: list[Tensor | None] = [None] * len(self.parameters)
        self.bar_local: list[dict[int, Tensor]] = [{} for _ in self.local]
        self.bar_shared: list[Tensor | None] = [None] * len(self.shared)
        self.bar_trajectory: list[State] = []  # of every state, where all are asked for
        self.bar_state: State = ()
        self.mismatches: list[tuple[int, Tensor]] = []

    def run(self, bars: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """Cotangents in the order of the inputs; None where none is wanted or the input is not used."""
        if self.plan.trajectory:
            self.bar_trajectory = list(zip(*(bar.unbind(0) for bar in bars), strict=True))
            newest = self.bar_trajectory[-1]
        else:
            # Views: where no step changes a cotangent it is returned, and a Function must not return its own input.
            newest = tuple(bar.view_as(bar) for bar in bars)
        older = self.plan.rules.width - 1
        self.bar_state = (*newest, *(torch.zeros_like(bar) for _ in range(older) for bar in newest))
        with self.plan.as_called():
            self._reverse_steps()
        self._check_mismatches()
        return self._cotangents()

    def _reverse_steps(self) -> None:
        """All adjoints, segment by segment from the last one to the first."""
        starts = sorted(n for n in self.recording.kept if n < self.plan.steps)
        tape, self.recording.tape = self.recording.tape, []
        end = self.plan.steps
        for start in reversed(starts):
            if self.plan.memory == "invert":
                self._undo(start, end)
            else:
                self._rerun(start, end, tape)
            end = start

    def _stored(self, n: int) -> State:
        return tuple(self.bank[place].to(dtype) for place, dtype in self.recording.kept[n])

    def _rerun(self, start: int, end: int, tape: list[tuple[State, StepTape]]) -> None:
        """Reverse a segment from a tape of its steps; without one, its steps are run again from the stored state."""
        if not tape:
            state = self._stored(start)
            for n in range(start, end):
                calls = StepTape(self.evaluation, n)
                tape.append((state, calls))
                if n + 1 < end:
                    state = self.plan.rules.of_step(n).step(self._field(calls), state, self.rows[n], self.shared)
        while tape:
            state, calls = tape.pop()
            self._adjoint(calls, state)

    def _undo(self, start: int, end: int) -> None:
        """Reverse a segment by the inverse from the state at its end; inverse and adjoint share the block calls."""
        new = self._stored(end)
        stored = self._stored(start)
        for n in reversed(range(start, end)):
            calls = StepTape(self.evaluation, n)
            state = stored
            inverse = self.plan.rules.of_step(n).inverse
            if inverse is not None and n in self.recording.inverted:
                field = self.plan.implicit.undone(calls.field(), calls) if self.plan.implicit else calls.field()
                state = inverse(field, new, self.rows[n], self.shared)
                assert calls.solutions or not self.plan.implicit, "an inverse step knows what the step solved for"
                if n == start:
                    self.mismatches.append((n, relative_mismatch(state, stored)))
            self._adjoint(calls, state)
            new = state

    def _adjoint(self, calls: StepTape, state: State) -> None:
        n = calls.step
        linearize = as_given([partial(self._linearize, calls, network) for network in range(len(calls.read))])
        if self.plan.implicit:
            linearize = self.plan.implicit.reverse(calls, self.evaluation, self._pull_back)
        adjoint = self.plan.rules.of_step(n).adjoint
        assert adjoint is not None, "rules without an adjoint have sweeps of their own"
        bar_state, bar_local, bar_shared = adjoint(linearize, state, self.rows[n], self.shared, self.bar_state)
        whole = tuple(torch.zeros_like(x) if bar is None else bar for x, bar in zip(state, bar_state, strict=True))
        if self.plan.trajectory:
            whole = (*(a + b for a, b in zip(whole, self.bar_trajectory[n], strict=False)), *whole[self.plan.streams :])
        self.bar_state = whole
        for column, bars, bar in zip(self.local, self.bar_local, bar_local, strict=False):
            if bar is not None:
                row = row_of_step(n, self.plan.steps, len(column))
                bars[row] = bars[row] + bar if row in bars else bar
        self.bar_shared = [added(old, bar) for old, bar in zip(self.bar_shared, bar_shared, strict=True)]

    def _field(self, calls: StepTape) -> Any:
        if self.plan.implicit is None:
            return calls.field()
        return self.plan.implicit.forward(calls.field(), self.evaluation, calls.step, calls, hidden=False)

    def _linearize(self, calls: StepTape, network: int, *points: Any) -> tuple[Tensor, Any]:
        evaluated = calls.next(network, points)
        return evaluated.value.detach(), partial(self._pull_back, evaluated)

    def _pull_back(self, evaluated: Linearized, bar: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of the block's arguments; those of its parameters are added up here."""
        with self.plan.without_autocast():
            bars, found = evaluated.pull_back(bar, self._needed)
        for place, one in found:
            self.bar_parameters[place] = added(self.bar_parameters[place], one)
        return bars

    def _needed(self, place: int) -> bool:
        return self.needs[self.offset + place]

    def _check_mismatches(self) -> None:
        if not self.mismatches:
            return
        errors = torch.stack([error for _, error in self.mismatches]).tolist()  # the one host read of the sweep
        for (n, _), error in zip(self.mismatches, errors, strict=True):
            if not error <= self.plan.tol:
                allowed = f"{self.plan.tol_name}={self.plan.tol:g}"
                raise InversionError(
                    f"{self.plan.name}: the state before step {n}, rebuilt by the inverse, differs from the stored one "
                    f"by {error:.2e} (relative); allowed: {allowed}. Errors grow faster than measured: "
                    f"use a smaller {self.plan.tol_name}, or memory='checkpoint'"
                )

    def _cotangents(self) -> tuple[Tensor | None, ...]:
        bars: list[Tensor | None] = [bar.to(x.dtype) for bar, x in zip(self.bar_state, self.x, strict=False)]
        for column, by_row in zip(self.local, self.bar_local, strict=True):
            rows = [by_row[n] if n in by_row else torch.zeros_like(column[n]) for n in range(len(column))]
            bars.append(torch.stack(rows) if by_row else None)
        bars += [bar for bar, number in zip(self.bar_shared, self.plan.shared, strict=True) if number is None]
        bars += self.bar_parameters
        return tuple(bar if wanted else None for bar, wanted in zip(bars, self.needs, strict=True))


def added(total: Tensor | None, term: Tensor | None) -> Tensor | None:
    """Sum of two cotangents of which either may be missing."""
    if total is None or term is None:
        return term if total is None else total
    return total + term


def relative_mismatch(rebuilt: State, stored: State) -> Tensor:
    """Largest norm-relative difference between the tensors of two states, as a 0-dim tensor."""
    errors = []
    for one, other in zip(rebuilt, stored, strict=True):
        size = torch.linalg.vector_norm(other).clamp_min(torch.finfo(other.dtype).tiny)
        errors.append((torch.linalg.vector_norm(one - other) / size).double())
    return torch.stack(errors).amax()

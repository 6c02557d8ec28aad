"""The module that solves an ODE with adaptive steps: arguments, tuple states, outputs, events."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.adaptive_events import Unmapped, with_gradients
from codegen.runtime.adaptive_function import AdaptiveSolve, SolveCall
from codegen.runtime.adaptive_opaque import OpaqueForm
from codegen.runtime.adaptive_pairs import Pair, chosen_pair
from codegen.runtime.adaptive_steps import Control, Options, SolveStats, moving_forward
from codegen.runtime.arguments import choose
from codegen.runtime.arities import field_arity
from codegen.runtime.block_errors import StepError
from codegen.runtime.construction import check_field, check_number

ROUNDINGS = 4  # of a state: a smaller rtol asks for what its dtype does not have
PackedState = Tensor | tuple[Tensor, ...]


class PackedField(nn.Module):
    """A field of tuples as a field of one flat vector."""

    def __init__(self, owner: str, field: Callable[..., Any], shapes: Sequence[torch.Size]) -> None:
        super().__init__()
        self.owner, self.field, self.shapes = owner, field, shapes
        self.arity = field_arity(field)

    def forward(self, t: Tensor, packed: Tensor) -> Tensor:
        """The velocities of all parts, one after the other."""
        parts = unpacked(packed, self.shapes)
        value = self.field(t, parts) if self.arity == 2 else self.field(parts)
        shapes = [tuple(part.shape) for part in value] if isinstance(value, tuple | list) else type(value).__name__
        allowed = [tuple(shape) for shape in self.shapes]
        if shapes != allowed:
            given = f"field was given a tuple of shapes {allowed} and returned {shapes}"
            raise StepError(f"{self.owner}: {given}; allowed: a tuple of the same shapes")
        return torch.cat([part.reshape(-1) for part in value])


def unpacked(packed: Tensor, shapes: Sequence[torch.Size]) -> tuple[Tensor, ...]:
    """The parts of vectors (..., all elements)."""
    lead = packed.shape[:-1]
    parts = packed.split([math.prod(shape) for shape in shapes], -1)
    return tuple(part.reshape(*lead, *shape) for part, shape in zip(parts, shapes, strict=True))


class AdaptiveNet(nn.Module):
    """Solves x' = field(t, x) from t0 to t1 with steps that an embedded pair chooses."""

    methods: Mapping[str, Pair]
    control: Control
    layout = ""  # shape of the state, where the field takes no other

    def __init__(
        self, field: Callable[..., Tensor], *, t0: float | Tensor, t1: float | Tensor, method: Any, rtol: float,
        atol: float, adjoint: str, memory: str, first_step: float | None, max_steps: int, gradient: str,
    ) -> None:  # fmt: skip
        super().__init__()
        owner = self.owner = type(self).__name__
        self.field = check_field(owner, field)
        self.t0, self.t1 = check_number(owner, "t0", t0), check_number(owner, "t1", t1)
        self.pair = chosen_pair(owner, method, self.methods)
        self.method = method if isinstance(method, str) else type(method).__name__
        self.adjoint = choose(owner, "adjoint", adjoint, ["discrete", "continuous"])
        self.memory = choose(owner, "memory", memory, ["recompute", "store"])
        self.gradient = choose(owner, "gradient", gradient, ["derived", "autograd"])
        for name, value in (("rtol", rtol), ("atol", atol), ("first_step", 1.0 if first_step is None else first_step)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{owner}: {name}={value!r}; allowed: a number above 0")
        if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
            raise ValueError(f"{owner}: max_steps={max_steps!r}; allowed: a whole number, 1 or more")
        self.options = Options(
            owner, self.pair, self.control, float(rtol), float(atol), None if first_step is None else float(first_step),
            max_steps,
        )  # fmt: skip
        if self.adjoint == "continuous" and self.gradient == "autograd":
            raise ValueError(
                f"{owner}: adjoint='continuous' with gradient='autograd', which differentiates the accepted steps; "
                "allowed: adjoint='continuous' with gradient='derived', or gradient='autograd' alone"
            )
        self.stats = SolveStats()

    def forward(self, x0: PackedState) -> Any:
        """x(t1) of x(t0) = x0, of the same shape; a tuple of tensors is taken and given as one."""
        x, shapes = self._packed(x0)
        return self._unpacked(self._run(x, shapes, None), shapes)

    def trajectory(self, x0: PackedState, times: Tensor | Sequence[float]) -> Any:
        """x at the given times: (len(times), ...).

        Args:
            x0: the state at t0.
            times: between t0 and t1, in the order in which they are passed; a tensor may need gradients. They are read
                from the dense output: how many there are changes neither steps nor what is kept. Pairs without one of
                their own end a step at each.
        """
        x, shapes = self._packed(x0)
        return self._unpacked(self._run(x, shapes, self._checked_times(x, times)), shapes)

    def until(self, x0: PackedState, event: Callable[..., Tensor]) -> tuple[Tensor, Any]:
        """(time, state) where `event(t, x)` first becomes zero after t0, both with gradients.

        It is read on the dense output at four equidistant points of each accepted step; where it comes nearer to zero
        after one of them and goes away again before the next, also at its smallest size between. A change of its sign
        is located to rounding. What it does besides between two points is not seen: more than one minimum of its size,
        or three zeros and more; smaller tolerances make shorter steps. By the implicit function theorem d(time) = -(dg
        by everything but the time) / (dg/dt along the solution); derivatives up to the third order are exact on the
        accepted steps.

        Args:
            x0: the state at t0.
            event: (t, x) -> a tensor of one element.
        """
        x, shapes = self._packed(x0)
        if not callable(event):
            raise TypeError(f"{self.owner}: event is of type {type(event).__name__}; allowed: a function of (t, x)")
        parts = (x.shape,) if shapes is None else shapes

        def of_parts(t: Tensor, *state: Tensor) -> Tensor:
            value = event(t, *state) if shapes is None else event(t, state)
            if not isinstance(value, Tensor) or value.numel() != 1:
                shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise ValueError(f"{self.owner}: event(t, x) returned {shown}; allowed: a tensor of one element")
            return value

        def of_flat(t: float, flat: Tensor) -> float:
            return float(of_parts(flat.new_tensor(t), *unpacked(flat, parts)))

        call, inputs = self._call(x, shapes, None, of_flat)
        Unmapped.apply(self.owner, *(one for one in inputs if one is not None))
        found = call.find(x.detach(), [parameter.detach() for parameter in inputs[4:]])
        assert found.event is not None and found.velocity is not None
        call.times = [found.event]
        moment = torch.tensor(found.event, dtype=torch.float64, device=x.device)
        velocity = unpacked(found.velocity, parts)

        def at(time: Tensor | None) -> tuple[Tensor, ...]:
            times = None if time is None else time.reshape(1)
            state = self._value(call, (*inputs[:3], times, *inputs[4:]))[0]
            return unpacked(state.reshape(-1), parts)

        time, end = with_gradients(self.owner, of_parts, moment, at, velocity)
        return time, end[0] if shapes is None else tuple(end)

    def _packed(self, x0: PackedState) -> tuple[Tensor, list[torch.Size] | None]:
        if self.layout and not isinstance(x0, Tensor):
            raise TypeError(f"{self.owner}: x0 is a {type(x0).__name__}; allowed: one tensor {self.layout}")
        parts = x0 if isinstance(x0, tuple) else (x0,)
        for part in parts:
            if not isinstance(part, Tensor):
                raise TypeError(f"{self.owner}: x0 has a {type(part).__name__}; allowed: a Tensor or a tuple of them")
            if not part.is_floating_point():
                raise TypeError(f"{self.owner}: x0 has dtype {part.dtype}; allowed: a floating dtype")
        if not isinstance(x0, tuple):
            return x0, None
        if not parts or len({(part.dtype, part.device) for part in parts}) != 1:
            raise ValueError(f"{self.owner}: x0 is a tuple of {len(parts)}; allowed: tensors of one dtype and device")
        return torch.cat([part.reshape(-1) for part in parts]), [part.shape for part in parts]

    @staticmethod
    def _unpacked(value: Tensor, shapes: list[torch.Size] | None) -> Any:
        return value if shapes is None else unpacked(value, shapes)

    def _ends(self) -> tuple[float, float]:
        ends = [float(t.detach()) if isinstance(t, Tensor) else float(t) for t in (self.t0, self.t1)]
        for name, end in zip(("t0", "t1"), ends, strict=True):
            if not math.isfinite(end):
                raise ValueError(f"{self.owner}: {name} = {end}; allowed: a finite number")
        if ends[0] == ends[1]:
            raise ValueError(f"{self.owner}: t0 = t1 = {ends[1]:g}; allowed: two different times")
        return ends[0], ends[1]

    def _checked_times(self, x: Tensor, times: Tensor | Sequence[float]) -> Tensor:
        """One axis of times, in the order of the integration, between the two ends."""
        given = (
            times if isinstance(times, Tensor) else torch.tensor([float(time) for time in times], dtype=torch.float64)
        )
        if given.dim() != 1 or not len(given) or not given.is_floating_point():
            read = f"shape {tuple(given.shape)} and dtype {given.dtype}"
            raise ValueError(f"{self.owner}: times has {read}; allowed: one axis of floating numbers, one or more")
        t0, t1 = self._ends()
        known = given.detach().tolist()
        way = math.copysign(1.0, t1 - t0)
        for n, (earlier, later) in enumerate(pairwise(known)):
            if not (later - earlier) * way >= 0:
                order = "increasing" if way > 0 else "decreasing"
                raise ValueError(
                    f"{self.owner}: times[{n}] = {earlier:g} and times[{n + 1}] = {later:g}; allowed: {order} times, "
                    f"as t0 = {t0:g} and t1 = {t1:g} say"
                )
        slack = 4 * torch.finfo(given.dtype).eps * max(abs(t0), abs(t1))
        for n in (0, len(known) - 1):
            if not min(t0, t1) - slack <= known[n] <= max(t0, t1) + slack:
                raise ValueError(
                    f"{self.owner}: times[{n}] = {known[n]:g}; allowed: times between t0 = {t0:g} and t1 = {t1:g}"
                )
        return given

    def _run(self, x: Tensor, shapes: list[torch.Size] | None, times: Tensor | None) -> Tensor:
        return self._value(*self._call(x, shapes, times))

    def _call(
        self, x: Tensor, shapes: list[torch.Size] | None, times: Tensor | None, event: Any = None
    ) -> tuple[SolveCall, tuple[Any, ...]]:
        """What is asked for, and the tensors (x, t0, t1, times, *parameters) that gradients may flow to."""
        self._check_tolerance(x.dtype)
        ends = self._ends()
        form = self.form_of(x, shapes, event)
        low, high = min(ends), max(ends)
        known = None if times is None else [min(max(time, low), high) for time in times.detach().tolist()]
        ahead = moving_forward()
        given = [t if isinstance(t, Tensor) else None for t in (self.t0, self.t1, times)]
        moving = [None if t is None or not (ahead or t.requires_grad) else t for t in given]
        inputs = (x, *moving, *form.parameters)
        unseen = self.gradient == "autograd" and not self._sees_all()
        asked = unseen or any(isinstance(t, Tensor) and t.requires_grad for t in inputs)
        keep = ahead or (torch.is_grad_enabled() and asked)
        self.stats = SolveStats()
        timed = any(time is not None for time in moving)
        return SolveCall(form, self.options, ends, known, keep, timed, self.stats), inputs

    def _check_tolerance(self, dtype: torch.dtype) -> None:
        """Refuse errors that are smaller than what rounding makes."""
        least = ROUNDINGS * torch.finfo(dtype).eps
        if self.options.rtol < least:
            raise ValueError(
                f"{self.owner}: rtol={self.options.rtol:g} of a state of dtype {dtype}; allowed: {least} or more, "
                "or x0 and field in a dtype of higher precision"
            )

    def _value(self, call: SolveCall, inputs: tuple[Any, ...]) -> Tensor:
        """The solution as a node of the graph, or by plain operations on the accepted steps."""
        if self.gradient == "derived" and not moving_forward():
            value: Tensor = AdaptiveSolve.apply(call, *inputs)
            return value
        x, t0, t1, times, *parameters = inputs
        value = call.solved(x.detach(), [parameter.detach() for parameter in parameters])
        at_moving_times = times is not None and times.requires_grad
        return call.plain(x, t0, t1, times, parameters) if call.keep or at_moving_times else value

    def form_of(self, x: Tensor, shapes: list[torch.Size] | None, event: Any) -> Any:
        """The field in the forms that a solution needs."""
        field = self.field if shapes is None else PackedField(self.owner, self.field, shapes)
        return OpaqueForm(field, self.owner, x, self.adjoint, self.memory, event, self._hides())

    def _hides(self) -> bool:
        """Whether the field may use tensors that need gradients and are not seen from outside."""
        return self.gradient == "derived" and torch.is_grad_enabled()

    def _sees_all(self) -> bool:
        """Whether all that is learned is found in modules."""
        return all(isinstance(one, nn.Module) for one in (self.field, *self.functions_of_time()))

    def functions_of_time(self) -> list[Callable[..., Tensor]]:
        """Parameters of a written-out field that are functions of time."""
        found = (getattr(self.field, name) for name in getattr(self.field, "may_be_functions", ()))
        return [one for one in found if callable(one)]

    def extra_repr(self) -> str:
        t0, t1 = self._ends()
        return (
            f"t0={t0:g}, t1={t1:g}, method={self.method!r}, rtol={self.options.rtol:g}, atol={self.options.atol:g}, "
            f"adjoint={self.adjoint!r}, memory={self.memory!r}, gradient={self.gradient!r}"
        )

"""A field that is written out, at the numbers of one solution; its calls one by one, with the derived pullback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from codegen.runtime.adaptive_field import FieldCalls
from codegen.runtime.blocks import Call
from codegen.runtime.explicit_field import Values, WrittenField, to_columns, unknowns_of
from codegen.runtime.explicit_steps import by_columns
from codegen.runtime.layer_chains import Kept


class FieldAt:
    """A written field with the numbers of one call.

    `start`: the state in columns; `layout`: what the field reads, in its order, None for the step size.
    """

    def __init__(self, field: WrittenField, x: Tensor, layout: Sequence[Tensor | None]) -> None:
        self.field, self.start = field, to_columns(x, field.unknowns).contiguous()
        self.shared = tuple(x.new_ones(()) if one is None else one.detach() for one in layout)
        local = () if field.time < 0 else (x.new_zeros(()),)
        self.held = by_columns(field.held(local, self.shared))
        self.batch = self.start.shape[1:] if field.unknowns else self.start.shape[:1]
        self.shapes, self.bar_shapes = field.shapes(unknowns_of(self.start, field.unknowns), self.held)

    def clock(self, times: Tensor) -> Values:
        """What depends on the time besides; times of any shape, which get axes for what columns have."""
        if self.field.time < 0:
            return ()
        return self.field.clock(times[..., None] if self.field.unknowns else times[..., None, None], self.held)


class WrittenCall(NamedTuple):
    """A slope with what its pullback reads; `places` has the place of each shared quantity in all parameters."""

    value: Tensor
    at: FieldAt
    point: Tensor
    clock: Values
    values: Values
    places: Sequence[int | None]

    def pull_back(
        self, bar: Tensor, needed: Callable[[int], bool]
    ) -> tuple[tuple[Tensor | None, ...], list[tuple[int, Tensor | None]]]:
        """Cotangents of (t, x), and those of the parameters that are needed, with their places."""
        field, held, batch = self.at.field, self.at.held, self.at.batch
        state, slope, bar_slope = (self.point,), (self.value,), (bar.reshape(self.point.shape),)
        bars = tuple(self.point.new_empty(*batch, *shape) for shape in self.at.bar_shapes)
        bar_point = self.point.new_empty(self.point.shape)
        coefficients = field.coefficients(state, self.clock, held, self.values, slope)
        field.pull_back(state, self.values, slope, coefficients, held, bar_slope, bars, (bar_point,))
        local, shared = field.gradients(state, self.clock, held, self.values, slope, bar_slope, bars)
        bar_t = None if not local or local[0] is None else local[0].reshape(())
        terms = zip(self.places, shared, strict=True)
        return (bar_t, bar_point), [(place, one) for place, one in terms if place is not None and needed(place)]


class WrittenCalls(FieldCalls):
    """Calls of a written field of one vector.

    Args:
        at: the field with its numbers.
        places: of each shared quantity, the place in all parameters.
        given: the arguments of `FieldCalls`.
    """

    quick = True

    def __init__(self, at: FieldAt, places: Sequence[int | None], *given: Any) -> None:
        super().__init__(*given)
        self.at, self.places = at, places

    def call(
        self,
        call: Call,
        points: tuple[Any, ...],
        parameters: Sequence[Tensor] | Mapping[int, Tensor],
        kept: list[Kept] | None = None,
    ) -> Tensor:
        """Value of the field at (t, x)."""
        return self.linearized(call, points).value

    def linearized(self, call: Call, points: tuple[Any, ...]) -> WrittenCall:
        """Value of the field with its pullback."""
        at, (t, x) = self.at, points
        point = x.reshape(at.start.shape)
        clock = () if at.field.time < 0 else at.clock(t)
        values, slope = tuple(point.new_empty(*at.batch, *shape) for shape in at.shapes), point.new_empty(point.shape)
        at.field.value((point,), clock, at.held, values, (slope,))
        return WrittenCall(slope, at, point, clock, values, self.places)

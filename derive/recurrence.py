"""One step of a loop: a recurrent cell, a layer, or a discretized ODE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from derive.cell_checks import check_cell, check_output, check_quantities
from derive.errors import SpecError
from derive.operators import show_shape
from derive.past_values import Past, check_past, past_of
from derive.program import Program, name_functions, returning
from derive.symbols import Quantity, Role
from derive.system import System


@dataclass(frozen=True)
class Recurrence(System):
    """One step of a loop.

    Attributes:
        step: program that reads `old`, `inputs` and parameters, and computes `new`; of a state or an input also what
            it was several steps before (`derive.past`).
        old: the state before the step; for a multistep scheme newest first.
        new: the state after it, in the same order; a shifted multistep state may be an old one.
        inputs: what is read afresh at every step.
        output: what the step gives out: a new state or, of a cell, any other line of the step.
        starts: for a state of several past values, how the first steps are made: name -> program, state to state.
        lags: how many consecutive times the state reaches back over; lags - 1 steps are made by a start.
        unknowns: how many of the first parts of the state are its newest values, before past ones; all where it is 0.

    Raises:
        SpecError: the two states do not fit, the output is not computed by the step, a state of several past values has
            no start, or past values are read of what the recurrence does not have.
    """

    has_values = True
    step: Program
    old: tuple[Quantity, ...]
    new: tuple[Quantity, ...]
    inputs: tuple[Quantity, ...] = ()
    output: Quantity | None = None
    starts: Mapping[str, Program] = field(default_factory=dict)
    lags: int = 1
    unknowns: int = 0

    def __post_init__(self) -> None:
        for name in ("old", "new", "inputs"):
            object.__setattr__(self, name, check_quantities(name, getattr(self, name)))
        if len(self.old) != len(self.new):
            raise SpecError(f"the state has {len(self.old)} parts before the step and {len(self.new)} after it")
        for before, after in zip(self.old, self.new, strict=True):
            if before.shape != after.shape:
                raise SpecError(
                    f"{before.name} has shape {show_shape(before.shape)}, after the step {show_shape(after.shape)}"
                )
        if self.inputs:
            check_cell(self.step, self.old, self.new, self.inputs, self.output)
        if self.output is not None:
            check_output(self.output, self.step, self.new, self.in_depth)
        if self.in_depth:
            object.__setattr__(self, "step", name_functions(self.step))
        if self.lags > 1 and not self.starts:
            raise SpecError(f"a state of {self.lags} times needs a start for its first {self.lags - 1} step(s)")
        names = (q.name for q in (*self.step.inputs, *self.step.targets))
        check_past(self.past, (*self.old, *self.inputs), names, not self.in_depth and self.lags == 1)
        if not self.in_depth:
            given_out = (self.output,) if self.output is not None else ()
            object.__setattr__(self, "step", returning(self.step, (*self.new, *given_out)))

    @property
    def arguments(self) -> tuple[Quantity, ...]:
        """What a step reads beside parameters: the state, the inputs, and what they were before."""
        return (*self.old, *self.inputs, *self.past)

    @property
    def past(self) -> tuple[Past, ...]:
        """What the step reads of states and inputs as they were several steps before, by name."""
        return past_of(self.step.inputs)

    @property
    def explained_by(self) -> tuple[str, str]:
        """Where its sections are written: layers have some that cells do not need."""
        return ("depth_explanation", "explain_layer") if self.in_depth else ("drafts", "explain_cell")

    @property
    def programs(self) -> tuple[Program, ...]:
        """The step."""
        return (self.step,)

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What a step has stands in the table anyway."""
        return ()

    @property
    def in_depth(self) -> bool:
        """Whether the steps are layers: nothing but the state comes from outside."""
        return not self.inputs and all(q.role is not Role.INPUT for q in self.step.inputs)

    @property
    def quantities(self) -> set[Quantity]:
        """Everything the step reads."""
        return set(self.step.inputs)

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """Learnable quantities of the step, by name."""
        return tuple(q for q in self.step.inputs if q.role in (Role.PARAMETER, Role.LAYER_PARAMETER))

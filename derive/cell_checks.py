"""What cells and the layout of their parameters have to fulfil, whatever is made of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from derive.errors import SpecError, shown
from derive.past_values import past_of
from derive.program import Program
from derive.symbols import Quantity, Role, by_name, check_name

if TYPE_CHECKING:
    from derive.spec_parts import Stack

INITIAL = ("uniform", "zeros")


def check_quantities(about: str, given: Any) -> tuple[Quantity, ...]:
    """Several quantities as a tuple.

    Raises:
        SpecError: it is a single one, or holds what is none.
    """
    if not isinstance(given, tuple | list):
        raise SpecError(f"{about} is {shown(given)}; give a tuple of quantities, as (h,)")
    for place, quantity in enumerate(given):
        if not isinstance(quantity, Quantity):
            raise SpecError(
                f"{about}[{place}] is {shown(quantity)}; give a quantity: step.let(name, value) returns one"
            )
    return tuple(given)


def check_cell(
    step: Program,
    old: tuple[Quantity, ...],
    new: tuple[Quantity, ...],
    inputs: tuple[Quantity, ...],
    output: Quantity | None,
) -> None:
    """A step that reads a sequence.

    Raises:
        SpecError: it has no state, reads a state or an input that it does not list, has a state that never changes,
            or computes what nothing it returns depends on.
    """
    past = past_of(step.inputs)
    if not old and not past:
        raise SpecError("the step has no state and reads no past inputs: give old=(h,) and new=(h_next,)")
    for place, state in enumerate(old):
        if state.role is not Role.STATE:
            raise SpecError(f"old[{place}] is {state.name}, a {state.role.value}; declare it with state(...)")
        if state in old[:place]:
            raise SpecError(f"old lists the state {state.name} twice")
        if new[place] == state:
            raise SpecError(
                f"the state {state.name} is not updated: its new value is {state.name} itself; give what it becomes, "
                "or make it a parameter or an input"
            )
    for quantity in (q for q in step.inputs if q not in past):
        if quantity.role is Role.STATE and quantity not in (*old, *inputs):
            names = ", ".join(q.name for q in old)
            raise SpecError(
                f"the step reads the state {quantity.name}, which is not updated: old has {names}; give it there, and "
                "its new value in new"
            )
        if quantity.role is Role.INPUT and quantity not in inputs:
            raise SpecError(
                f"the step reads the input {quantity.name}, and inputs has {', '.join(q.name for q in inputs)}; "
                "give it there"
            )

    returned = (*new, *(() if output is None else (output,)))
    needed = set(step.needed_for([q for q in returned if q in step.targets]).targets)
    idle = [target.name for target in step.targets if target not in needed]
    if idle:
        raise SpecError(f"nothing that the step returns depends on {', '.join(idle)}: leave it out")


def check_output(output: Quantity, step: Program, new: tuple[Quantity, ...], in_depth: bool) -> None:
    """What a step gives out.

    Raises:
        SpecError: nothing computes it, it is the same at every step, or layers give out what is no state.
    """
    if output in new:
        return
    states = ", ".join(q.name for q in new)
    if in_depth:
        raise SpecError(f"the output {output} is no state: layers give out {states}; leave output out, or give one")
    if output not in step.targets:
        raise SpecError(f"the output {output} is not computed by the step: give a quantity that step.let returned")
    if not output.role.batched:
        raise SpecError(
            f"the output {output} is made of parameters alone and the same at every step; allowed are {states} and "
            "lines that read a state or an input"
        )


def check_are_stacks(owner: str, stacks: Any) -> None:
    """Refuse what is no tuple of stacks.

    Raises:
        SpecError: naming it.
    """
    if not isinstance(stacks, tuple | list):
        raise SpecError(f"{owner}: stacks is {shown(stacks)}; give a tuple of Stack(...), as (Stack('w', (W,)),)")
    for place, stack in enumerate(stacks):
        if not hasattr(stack, "rows"):
            raise SpecError(f"{owner}: stacks[{place}] is {shown(stack)}; give Stack(name, rows)")


def check_stack(stack: Stack) -> None:
    """One stack by itself.

    Raises:
        SpecError: a name that cannot become code, no rows or one twice, rows that are no parameters, or an unknown
            initial value.
    """
    check_name(stack.name)
    about = f"the stack {stack.name}"
    rows = check_quantities(f"{about}: rows", stack.rows)
    if not rows:
        raise SpecError(f"{about} has no rows")
    for place, row in enumerate(rows):
        if row.role is not Role.PARAMETER:
            raise SpecError(f"{about}: {row.name} is a {row.role.value}; the rows of a stack are parameters")
        if row in rows[:place]:
            raise SpecError(f"{about} lists {row.name} twice")
    parts: Any = stack.parts
    if not isinstance(parts, tuple | list):
        raise SpecError(f"{about}: parts is {shown(parts)}; give a tuple of names")
    for part in parts:
        check_name(part)
    if stack.initial not in INITIAL:
        raise SpecError(f"{about}: initial is {stack.initial!r}; allowed: {' or '.join(map(repr, INITIAL))}")


def check_stacks(stacks: Iterable[Stack], read: set[Quantity]) -> None:
    """The stacks of one variant together, those that hold something of what it reads.

    Raises:
        SpecError: two have one name, one parameter stands in two, or one has the name of a parameter that stands alone.
    """
    names: set[str] = set()
    held: dict[Quantity, str] = {}
    for stack in (stack for stack in stacks if read.intersection(stack.rows)):
        for part in (stack.name, *(part for part in stack.parts if part != stack.name)):
            if part in names:
                raise SpecError(f"two stacks are called {part}: rename one")
            names.add(part)
        for row in stack.rows:
            if row in held:
                raise SpecError(f"{row.name} stands in the stacks {held[row]} and {stack.name}; one tensor holds it")
            held[row] = stack.name
    for quantity in by_name(read):
        if quantity.role is Role.PARAMETER and quantity not in held and quantity.name in names:
            raise SpecError(
                f"a stack is called {quantity.name} as the parameter that stands in no stack: rename the stack"
            )


def check_layout(owner: str, stacks: Sequence[Stack], cells: Sequence[tuple[Sequence[Stack], set[Quantity]]]) -> None:
    """The stacks of a spec, given those of each variant and what it reads.

    Raises:
        SpecError: a stack holds what no step reads, or those of a variant do not go together.
    """
    read = set[Quantity]().union(*(quantities for _, quantities in cells))
    for place, stack in enumerate(stacks):
        if read and not read.intersection(stack.rows):
            names = ", ".join(row.name for row in stack.rows)
            raise SpecError(f"{owner}: stacks[{place}], {stack.name}, holds {names}, which no step reads")
    for own, quantities in cells:
        check_stacks(own, quantities)

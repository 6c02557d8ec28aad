"""What a cell shows to its caller, and the step that its functions compute: they differ where an output is fed back.

A state that becomes an input of the step is known beforehand: it is an input one step late, and no state of the loop.
An output that is no state is kept for every step beside the states, as one that no step reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from derive.errors import UnsupportedError
from derive.operators import show_shape
from derive.program import Assignment, symbols_of
from derive.recurrence import Recurrence
from derive.symbols import Dimension, Quantity, Role


@dataclass(frozen=True)
class Interface:
    """A cell as its functions see it, and as the caller of the module does.

    Attributes:
        step: the recurrence of the functions; the first of its inputs is read afresh, the others are taught states.
        states: of the caller, before the step.
        taught: states that the targets of the steps before replace.
        carried: whether the first state of `step` is its output and nothing else.
    """

    step: Recurrence
    states: tuple[Quantity, ...]
    taught: tuple[Quantity, ...] = ()
    carried: bool = False

    @property
    def output(self) -> Quantity:
        """What a step gives out."""
        return output_of(self.step)

    @property
    def plain(self) -> bool:
        """Whether there is no more to it than states of one size, of which the first is the output."""
        sizes = {q.shape for q in (*self.states, self.output)}
        return not self.taught and not self.carried and len(sizes) == 1


def interface_of(recurrence: Recurrence) -> Interface:
    """The interface of a cell.

    Raises:
        UnsupportedError: it reads no input, or several of which one does not merely become a state; without states it
            has no output or reads no past inputs.
    """
    taught = {new: place for place, new in enumerate(recurrence.new) if source_of(recurrence, new) is not None}
    late = tuple(recurrence.old[place] for place in taught.values())
    _check_inputs(recurrence, {source_of(recurrence, new) for new in taught})
    if not recurrence.old and (recurrence.output is None or not recurrence.past):
        raise UnsupportedError("a step without states needs an output, and reads inputs of earlier steps")
    output = output_of(recurrence)
    if output in taught:
        raise UnsupportedError(f"the output of the step is {output}, which is its target; give what the step computes")
    if not taught and (output in recurrence.new or not recurrence.old):
        return Interface(recurrence, recurrence.old)
    pairs = [(old, new) for old, new in zip(recurrence.old, recurrence.new, strict=True) if new not in taught]
    if taught and recurrence.past:
        names = ", ".join(q.name for q in recurrence.past)
        raise UnsupportedError(f"a step that reads targets reads {names}, which is several steps old: one of both")
    carried = output not in [new for _, new in pairs]
    if carried:
        pairs = [(_unread(recurrence, output), output), *pairs]
    old, new = zip(*pairs, strict=True)
    step = recurrence.step.needed_for(dict.fromkeys(new))
    unread = [q.name for q in late if q not in step.inputs]
    if unread:
        raise UnsupportedError(f"the target becomes the state {', '.join(unread)}, which no line of the step reads")
    core = replace(
        recurrence, step=step, old=tuple(old), new=tuple(new), inputs=(*recurrence.inputs[:1], *late), output=output
    )
    return Interface(core, recurrence.old, late, carried)


def output_of(recurrence: Recurrence) -> Quantity:
    """What a step gives out: the first new state unless it says otherwise."""
    return recurrence.new[0] if recurrence.output is None else recurrence.output


def dimensions(
    recurrence: Recurrence, states: Sequence[Quantity] = (), lines: Sequence[Assignment] = ()
) -> tuple[Dimension, ...]:
    """Sizes of what a step computes and carries, that of the output last.

    Args:
        recurrence: the step.
        states: further ones that the caller sees.
        lines: of the step in another form.

    Raises:
        UnsupportedError: there are more than two, or one is no name.
    """
    targets = (*recurrence.step.targets, *(line.target for line in lines))
    vectors = [q for q in (*recurrence.old, *states, *targets) if q.role.batched]
    found = dict.fromkeys(size for q in vectors for size in q.shape)
    output = output_of(recurrence).shape
    ordered = (*(size for size in found if size not in output), *output)
    if len(ordered) > 2:
        raise UnsupportedError(
            f"the step has vectors of the sizes {', '.join(map(str, ordered))}; a recurrent module has a hidden_size "
            "and, where its output is of another size, an output_size"
        )
    return ordered


def source_of(recurrence: Recurrence, new: Quantity) -> Quantity | None:
    """The further input that a state becomes, and that nothing else reads."""
    value = recurrence.step.value(new)
    if value not in recurrence.inputs[1:]:
        return None
    readers = [line.target for line in recurrence.step.assignments if value in symbols_of(line.value)]
    return value if set(readers) <= {new} else None


def _check_inputs(recurrence: Recurrence, sources: set[Quantity | None]) -> None:
    stray = [q for q in recurrence.inputs[1:] if q not in sources]
    if recurrence.inputs and not stray:
        return
    about = "a recurrent module reads one input per step; this one reads"
    if not stray:
        raise UnsupportedError(f"{about} none: give inputs=(x,), of a step that reads x = input_('x', 'I')")
    read = [q for q in recurrence.inputs if q not in sources]
    shown, names = ", ".join(f"{q} of {show_shape(q.shape)}" for q in read), ", ".join(map(str, read))
    raise UnsupportedError(
        f"{about} {shown}: declare one in their place, with matrices for all of it, and call the module with "
        f"torch.cat(({names}), -1); a second input that only becomes a state, and is read nowhere else, is a target"
    )


def _unread(recurrence: Recurrence, output: Quantity) -> Quantity:
    """A state for an output to become."""
    taken = {q.name for q in (*recurrence.old, *recurrence.step.inputs, *recurrence.step.targets)}
    name = f"{output.name}_before"
    while name in taken:
        name += "_"
    return output.renamed(name, role=Role.STATE)

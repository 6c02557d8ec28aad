"""Ordering of operations: each after those it needs, operations of one kind on neighbouring rows as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Task(Generic[T]):
    """One operation that waits for others.

    Attributes:
        operation: what is done.
        rank: place in the program; among operations that may run, the lowest runs first.
        provides: what is complete once this, and every other task that provides it, has run.
        needs: what must be complete before.
    """

    operation: T
    rank: int
    provides: frozenset[object] = frozenset()
    needs: frozenset[object] = frozenset()


@dataclass
class Schedule(Generic[T]):
    """Tasks in the making.

    Args:
        merge: the operation that does two at once, or None where they cannot be done so.
    """

    merge: Callable[[T, T], T | None]
    tasks: list[Task[T]] = field(default_factory=list)

    def add(self, operation: T, rank: int, provides: Iterable[object], needs: Iterable[object]) -> None:
        """Add a task."""
        self.tasks.append(Task(operation, rank, frozenset(provides), frozenset(needs)))

    def ordered(self) -> list[T]:
        """All operations in order, merged where that makes no operation wait for itself."""
        tasks = self.tasks
        while (shorter := self._merged_once(tasks)) is not None:
            tasks = shorter
        order = sorted_tasks(tasks)
        assert order is not None, "a program in single-assignment form has an order"
        return [task.operation for task in order]

    def _merged_once(self, tasks: Sequence[Task[T]]) -> list[Task[T]] | None:
        for one in tasks:
            for other in tasks:
                joint = None if one is other else self.merge(one.operation, other.operation)
                if joint is None:
                    continue
                both = Task(joint, min(one.rank, other.rank), one.provides | other.provides, one.needs | other.needs)
                left = [both if t is one else t for t in tasks if t is not other]
                if sorted_tasks(left) is not None:
                    return left
        return None


def sorted_tasks(tasks: Sequence[Task[T]]) -> list[Task[T]] | None:
    """Tasks in an order in which each finds complete what it needs; None where there is no such order."""
    waiting, order = list(tasks), []
    while waiting:
        pending = frozenset().union(*(task.provides for task in waiting))
        ready = [task for task in waiting if not task.needs & pending]
        if not ready:
            return None
        chosen = min(ready, key=lambda task: task.rank)
        waiting.remove(chosen)
        order.append(chosen)
    return order

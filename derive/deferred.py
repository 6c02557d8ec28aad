"""Parts of a spec that are worked out when somebody asks for them: what derives may be slow, loading a spec may not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, overload

from derive.errors import DeriveError, SpecError, shown

Item = TypeVar("Item")
Given = Iterable[Item] | Callable[[], Iterable[Item]]


class Deferred(Generic[Item]):
    """A field of a data class: several things, or a function that returns them and is called once, at the first look.

    Args:
        kind: what each of them has to be.
    """

    def __init__(self, kind: type[Item]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> tuple[Item, ...]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> tuple[Item, ...]: ...
    def __get__(self, instance: Any, owner: type) -> tuple[Item, ...]:
        """What was given, as a tuple; the default is nothing."""
        if instance is None:
            return ()
        found = vars(instance)[self._name]
        if not isinstance(found, tuple):
            found = vars(instance)[self._name] = self._checked(instance, self._asked(instance, found))
        return found

    def __set__(self, instance: Any, given: Given[Item]) -> None:
        """Keep a function as it is, and look at everything else."""
        vars(instance)[self._name] = given if callable(given) else self._checked(instance, given)

    def _asked(self, instance: Any, make: Callable[[], Iterable[Item]]) -> Iterable[Item]:
        try:
            return make()
        except DeriveError as error:
            raise SpecError(f"{instance.id}: {self._name} cannot be worked out: {error}") from error
        except Exception as error:
            raise SpecError(
                f"{instance.id}: the function given as {self._name} raised {type(error).__name__}: {error}"
            ) from error

    def _checked(self, instance: Any, given: Iterable[Item]) -> tuple[Item, ...]:
        wanted = self._kind.__name__
        if not isinstance(given, Iterable):
            raise SpecError(
                f"{instance.id}: {self._name} is {shown(given)}; give a tuple of {wanted}s, or a function that "
                "returns it"
            )
        found = tuple(given)
        for place, item in enumerate(found):
            if not isinstance(item, self._kind):
                raise SpecError(f"{instance.id}: {self._name}[{place}] is {shown(item)}, which is no {wanted}")
        return found

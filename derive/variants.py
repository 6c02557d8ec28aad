"""Variants of one class: which arguments choose among them, and how the parameters of each are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from derive.errors import SpecError
from derive.program import Program
from derive.spec_parts import Stack
from derive.symbols import check_name
from derive.system import System

Option = str | int
Options = Option | tuple[Option, ...]
"""The value of a constructor's argument that chooses a variant; of several arguments, their values."""


class Variants:
    """What a spec knows of its variants; see there for the attributes."""

    id: str
    class_name: str
    no_module: str
    system: System | Mapping[Options, System] | Mapping[Option, System] | Program | None
    option: str
    options: tuple[str, ...]
    stacks: tuple[Stack, ...]
    defaults: Mapping[str, Any]

    @property
    def variants(self) -> Mapping[Option, System | Program]:
        """Option value -> system; a single nameless one where the spec has no option, joined names for several."""
        if self.system is None:
            return {}
        if not isinstance(self.system, Mapping):
            return {"": self.system}
        return {"_".join(map(str, key)) if isinstance(key, tuple) else key: one for key, one in self.system.items()}

    @property
    def default_option(self) -> Option:
        """The variant that is chosen unless one is named: the first, or what the defaults say."""
        return self.defaults.get(self.option, next(iter(self.variants)))

    @property
    def option_names(self) -> tuple[str, ...]:
        """Names of the constructor's arguments that choose among variants."""
        return self.options or ((self.option,) if self.option else ())

    def chosen(self, variant: Option) -> dict[str, Option]:
        """The arguments that choose a variant, by name."""
        if not self.options:
            return {self.option: variant} if self.option else {}
        return dict(zip(self.options, self._key(variant), strict=True))

    @property
    def twins(self) -> Mapping[Option, Option]:
        """Variant -> the first one that is the same system with parameters laid out alike: itself for most."""
        found: dict[Option, Option] = {}
        variants = self.variants
        for name, system in variants.items():
            alike = (one for one in dict.fromkeys(found.values()) if variants[one] == system)
            found[name] = next((one for one in alike if self.stacks_of(one) == self.stacks_of(name)), name)
        return found

    def stacks_of(self, variant: Option) -> tuple[Stack, ...]:
        """How a variant's parameters are laid out."""
        return tuple(stack for stack in self.stacks if not stack.only or self._key(variant) in stack.only)

    def _key(self, variant: Option) -> Any:
        """What the table of systems calls a variant."""
        keys = self.system if isinstance(self.system, Mapping) else ("",)
        return dict(zip(self.variants, keys, strict=True))[variant]

    def check_class_name(self) -> None:
        """Refuse a spec with neither a class nor a reason for having none, and one with both.

        Raises:
            SpecError: saying what to give.
        """
        if bool(self.class_name) == bool(self.no_module):
            raise SpecError(
                f"{self.id}: give either class_name='...' of the emitted class, or class_name='' and "
                "no_module='why nothing is emitted, and which module to take instead'"
            )
        if self.class_name:
            check_name(self.class_name)

    def check_options(self, table: Mapping[Any, Any]) -> None:
        """Refuse a table of systems whose keys are not values of the options.

        Raises:
            SpecError: naming the key, and what is allowed.
        """
        for stack in self.stacks:
            stray = [key for key in stack.only if key not in table]
            if stray:
                allowed = ", ".join(map(repr, table))
                raise SpecError(f"{self.id}: the stack {stack.name} is for {stray[0]!r}; the variants are {allowed}")
        if not self.options:
            return
        if self.option or len(self.options) < 2 or not self.class_name:
            raise SpecError(f"{self.id}: give option='name' of one argument, or options=('one', 'other') of several")
        for key in table:
            if not isinstance(key, tuple) or [type(value) for value in key] != [str] * len(self.options):
                named = ", ".join(self.options)
                raise SpecError(
                    f"{self.id}: system[{key!r}] needs one name for each of the options ({named}), as a tuple"
                )
        if len(self.variants) < len(table):
            names = ", ".join(map(str, self.variants))
            raise SpecError(f"{self.id}: two variants have the same names, joined by '_': {names}")

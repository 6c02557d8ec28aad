"""What a spec says beside its system: the layout of parameters, the loss, and what lecture decks claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sympy import Expr, sympify

from derive.cell_checks import check_stack
from derive.errors import SpecError, shown
from derive.networks import Network
from derive.operators import shape_of, show_shape
from derive.program import Assignment, Program, check_numbers, name_functions, symbols_of, undeclared
from derive.symbols import Quantity, Role, by_name, check_name


@dataclass(frozen=True)
class Stack:
    """A tensor of the emitted module that holds several parameters as consecutive row blocks.

    Attributes:
        name: attribute of the module; recurrent modules append `_l{layer}`.
        rows: parameters in order, each of shape (H, ...) or (H,).
        parts: names of tensors that are added up to it (torch's two biases), where there are several.
        initial: "uniform" as torch.nn's recurrent cells, or "zeros".
        separate: stack along a new first axis instead of joining rows.
        only: variants that lay out these parameters so, as keys of the spec's system; all unless given.
    """

    name: str
    rows: tuple[Quantity, ...]
    parts: tuple[str, ...] = ()
    initial: str = "uniform"
    separate: bool = False
    only: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        check_stack(self)


@dataclass(frozen=True)
class Loss:
    """A loss of one output (or logit) vector against a target, and where it comes from.

    Attributes:
        output: the vector that is judged; `target` what it is compared with.
        value: the scalar loss as an expression in both.
        readout: the output as an expression in the state, for a learnable read-out; None for the identity.
        title: its name.
        classes: whether targets may be class indices, which stand for one-hot vectors.
    """

    output: Quantity
    target: Quantity
    value: Expr
    readout: Expr | None = None
    title: str = ""
    classes: bool = False

    def __post_init__(self) -> None:
        check_numbers(f"the loss {self.title}".strip(), self.value)
        if shape_of(self.value) != ():
            raise SpecError(
                f"a loss is a scalar; {self.title or 'this one'} has shape {show_shape(shape_of(self.value))}"
            )
        stray = [q.name for q in by_name(symbols_of(self.value)) if q not in (self.output, self.target)]
        if stray or undeclared(self.value):
            raise SpecError(
                f"the loss uses {', '.join(stray + undeclared(self.value))}; only output and target are allowed"
            )

    def program(self) -> Program:
        """`value = ...` as a program in output and target."""
        target = Quantity("value", (), Role.INTERMEDIATE, r"\ell", "loss of one sample")
        return name_functions(Program((self.output, self.target), (Assignment(target, self.value),), (target,)))


@dataclass(frozen=True)
class Reading:
    """A way to read a step with several networks as a Runge-Kutta scheme of one field f.

    Attributes:
        title: its name in the derivation and in its results.
        networks: network -> the multiple of f that it stands for.
        where: values of parameters of the step.
    """

    title: str
    networks: Mapping[Network, Any]
    where: Mapping[Quantity, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("networks", "where"):
            found = {key: sympify(value) for key, value in getattr(self, name).items()}
            object.__setattr__(self, name, found)


@dataclass(frozen=True)
class Illustration:
    """Which system shows what a statement says.

    Attributes:
        system: its id or file.
        plots: the kinds of `derive plot` that do, the most telling first.
    """

    system: str
    plots: tuple[str, ...]


@dataclass(frozen=True)
class Lyapunov:
    """A quantity that never grows along solutions.

    Attributes:
        value: the quantity.
        rate: its derivative along solutions, in a form whose sign is seen; it may mention right-hand sides by
            `velocity_of(x)`.
        where: what holds of the parameters (`{w: (w + transpose(w)) / 2}`: w is symmetric).
        positive: parameters that are above zero.
    """

    value: Expr
    rate: Expr
    where: Mapping[Quantity, Expr] = field(default_factory=dict)
    positive: tuple[Quantity, ...] = ()


@dataclass(frozen=True)
class DeckClaim:
    """What a lecture deck says, in the spec's symbols, for comparison with what is derived.

    Attributes:
        id: its number in the list of errata, or a name.
        deck: where: deck and line.
        about: name of the derived result it speaks of.
        says: the deck's expression.
        where: substitutions that hold in the deck's setting (t = n h).
        option: the variant of the spec that it speaks of, where there are several: values of options, joined by _.
        note: what is wrong with it, or what it leaves out.
        agrees: the verdict that verification expects; None where it is only to be reported.
    """

    id: str
    deck: str
    about: str
    says: Expr
    where: Mapping[Quantity, Expr] = field(default_factory=dict)
    option: str | int = ""
    note: str = ""
    agrees: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "says", sympify(self.says))


def check_may_vary(owner: str, given: Iterable[Quantity], quantities: Iterable[Quantity]) -> None:
    """Refuse what cannot be given with a value for each step.

    Raises:
        SpecError: naming it, and the parameters that can.
    """
    parameters = by_name({q for q in quantities if q.role is Role.PARAMETER})
    for quantity in given:
        if quantity not in parameters:
            names = ", ".join(q.name for q in parameters) or "none"
            allowed = f"parameters of an ODE that have one value for all steps unless given for each ({names})"
            raise SpecError(f"{owner}: may_vary has {quantity}; allowed: {allowed}")


def named_losses(owner: str, given: Loss | Mapping[str, Loss] | None) -> Mapping[str, Loss]:
    """Name -> loss; a single one has no name.

    Raises:
        SpecError: what is no loss, or one of several that has a read-out.
    """
    if given is None or isinstance(given, Loss):
        return {} if given is None else {"": given}
    if not isinstance(given, Mapping) or not given or not all(isinstance(one, Loss) for one in given.values()):
        raise SpecError(f"{owner}: loss is {shown(given)}; give a Loss, or a table of them by name")
    for name, loss in given.items():
        check_name(name)
        if loss.readout is not None:
            raise SpecError(f"{owner}: the loss {name} has a read-out; allowed: of a single loss, not of several")
    return given


def is_real(value: Any) -> bool:
    """Whether a value is a finite real number."""
    try:
        return not isinstance(value, str | bytes) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False

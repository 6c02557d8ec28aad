"""The one factory of typed symbols.

A vector is written by its *generic component*: an ordinary real SymPy symbol with a shape beside it. `*` is then the
elementwise product and SymPy's scalar calculus is the elementwise calculus. What mixes components is an operator
(`derive.operators`).
"""

from __future__ import annotations

import builtins
import keyword
import re
from enum import Enum
from typing import Any, cast

import sympy

from derive.errors import SpecError
from derive.reserved import WORDS

Dimension = str | int
Shape = tuple[Dimension, ...]

# Names that an emitted file uses itself: a quantity of that name would shadow them.
RESERVED_NAMES = WORDS
# A file of such a name would hide a module that it imports itself.
RESERVED_FILES = frozenset({"torch", "math", "cmath"})
LONGEST_NAME = 40
GREEK = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi chi psi omega".split()
)
GREEK_CAPITALS = frozenset("Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega".split())  # the others are Latin letters


class Role(Enum):
    """What a quantity is to a system; roles decide which axes it has and how its gradient is reduced."""

    STATE = "state"
    INPUT = "input"
    TARGET = "target"
    PARAMETER = "parameter"
    LAYER_PARAMETER = "layer parameter"
    CONSTANT = "constant"
    LAYER_CONSTANT = "layer constant"
    DRAW = "random draw"
    TIME = "time"
    STEP_SIZE = "step size"
    INTERMEDIATE = "intermediate"
    COTANGENT = "cotangent"
    TANGENT = "tangent"

    @property
    def batched(self) -> bool:
        """Whether quantities of this role carry the batch axes (parameters, times and constants never do)."""
        return self in _BATCHED

    @property
    def fixed(self) -> bool:
        """Whether nothing is differentiated in quantities of this role unless it is asked for."""
        return self in _FIXED

    @property
    def per_step(self) -> bool:
        """Whether such a quantity has a value of its own in every step."""
        return self in _PER_STEP


_BATCHED = frozenset({Role.STATE, Role.INPUT, Role.TARGET, Role.INTERMEDIATE, Role.COTANGENT, Role.TANGENT, Role.DRAW})
_FIXED = frozenset({Role.CONSTANT, Role.LAYER_CONSTANT, Role.DRAW})
_PER_STEP = frozenset({Role.LAYER_PARAMETER, Role.LAYER_CONSTANT, Role.TIME, Role.DRAW})


class Quantity(sympy.Symbol):
    """A named real quantity with a shape: the generic component of a vector or matrix, or a scalar.

    Attributes:
        shape: named or fixed feature dimensions, `()` for a scalar; batch, step and layer axes are never part of it.
        role: see `Role`.
        latex: how it is written in a formula.
        meaning: one phrase for the table of symbols.
    """

    __slots__ = ("latex", "meaning", "role", "shape")

    shape: Shape
    role: Role
    latex: str
    meaning: str

    def __new__(cls, name: str, shape: Shape, role: Role, latex: str = "", meaning: str = "") -> Quantity:
        check_name(name)
        symbol = cast(Quantity, sympy.Symbol.__xnew__(cls, name, real=True))
        symbol.shape = tuple(shape)
        symbol.role = role
        symbol.latex = latex or default_latex(name)
        symbol.meaning = meaning
        return symbol

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.name, self.shape, self.role, self.latex, self.meaning), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.name, str(self.shape), self.role.value, self.latex, self.meaning)

    def _latex(self, printer: Any) -> str:
        return self.latex

    def renamed(self, name: str, latex: str = "", role: Role | None = None, meaning: str = "") -> Quantity:
        """The same kind of quantity under another name (a cotangent, a tangent, a shifted state)."""
        return Quantity(name, self.shape, role or self.role, latex, meaning)


def check_name(name: str, reserved: frozenset[str] = RESERVED_NAMES) -> None:
    """Refuse what cannot be a Python name in an emitted file.

    Raises:
        SpecError: not an identifier, a keyword, a name the emitted file uses itself, or too long.
    """
    if not isinstance(name, str) or not name.isidentifier() or not name.strip("_"):
        raise SpecError(f"{name!r} is not a Python identifier; names become code: use letters, digits and _")
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise SpecError(f"{name!r} is a Python keyword; rename it, for example to {name + '_'!r}")
    if name.startswith("_"):
        raise SpecError(f"{name!r} begins with _, as the names of the emitted file do; rename it")
    if name in reserved or hasattr(builtins, name):
        raise SpecError(f"{name!r} is used by the emitted file itself; rename it, for example to {name + '_0'!r}")
    if len(name) > LONGEST_NAME:
        raise SpecError(f"{name!r} has {len(name)} characters; {LONGEST_NAME} are allowed")


def default_latex(name: str) -> str:
    """LaTeX of a name: Greek letters spelt out become symbols, what follows the first `_` becomes the index."""
    head, *rest = [part for part in name.split("_") if part]
    return with_index(_letter(head), *(_letter(part) for part in rest))


def with_index(latex: str, *indices: str) -> str:
    """LaTeX of a letter with further indices: `x_{1}` at n is `x_{1,n}`, since a second subscript would not compile."""
    base, mark, index = latex.partition("_")
    if "{" in base and mark:  # an underscore inside a group is no index of the whole
        return f"{{{latex}}}_{{{','.join(indices)}}}" if indices else latex
    old = [index.removeprefix("{").removesuffix("}")] if mark else []
    return f"{base}_{{{','.join([*old, *indices])}}}" if old or indices else latex


def _letter(word: str) -> str:
    match = re.fullmatch(r"([A-Za-z]+)(\d*)", word)
    if match is None:
        return word if word.isdecimal() else rf"\mathrm{{{word}}}"
    letters, digits = match.groups()
    if letters in GREEK or letters in GREEK_CAPITALS:
        letters = f"\\{letters}"
    elif len(letters) > 1:
        letters = rf"\mathrm{{{letters}}}"
    return f"{letters}_{{{digits}}}" if digits else letters


def _as_shape(shape: Dimension | Shape) -> Shape:
    return shape if isinstance(shape, tuple) else (shape,)


def state(name: str, shape: Dimension | Shape = "d", *, latex: str = "", meaning: str = "") -> Quantity:
    """A quantity carried from step to step, one per sample."""
    return Quantity(name, _as_shape(shape), Role.STATE, latex, meaning)


def input_(name: str, shape: Dimension | Shape = "I", *, latex: str = "", meaning: str = "") -> Quantity:
    """A quantity read afresh at every step, one per sample."""
    return Quantity(name, _as_shape(shape), Role.INPUT, latex, meaning)


def target(name: str, shape: Dimension | Shape = "K", *, latex: str = "", meaning: str = "") -> Quantity:
    """What a loss compares with."""
    return Quantity(name, _as_shape(shape), Role.TARGET, latex, meaning)


def parameter(
    name: str, shape: Dimension | Shape = (), *, per_layer: bool = False, latex: str = "", meaning: str = ""
) -> Quantity:
    """A learnable quantity, shared by the batch; `per_layer` ones have a value of their own at every step."""
    role = Role.LAYER_PARAMETER if per_layer else Role.PARAMETER
    return Quantity(name, _as_shape(shape), role, latex, meaning)


def constant(name: str, *, per_layer: bool = False, latex: str = "", meaning: str = "") -> Quantity:
    """A real number fixed at construction of the module; it has no gradient.

    `per_layer` ones have a value of their own at every step.
    """
    return Quantity(name, (), Role.LAYER_CONSTANT if per_layer else Role.CONSTANT, latex, meaning)


def draw(name: str, shape: Dimension | Shape = (), *, latex: str = "", meaning: str = "") -> Quantity:
    """A random number that every step draws afresh: one per sample, or one for each component of a shape."""
    return Quantity(name, _as_shape(shape), Role.DRAW, latex, meaning)


def time(name: str = "t", *, latex: str = "", meaning: str = "time") -> Quantity:
    """The independent variable of an ODE."""
    return Quantity(name, (), Role.TIME, latex, meaning)


def step_size(name: str = "h", *, latex: str = "", meaning: str = "step size") -> Quantity:
    """The step of a discretization."""
    return Quantity(name, (), Role.STEP_SIZE, latex, meaning)


def by_name(quantities: Any) -> list[Quantity]:
    """Any collection of quantities in one fixed order (sets of symbols have none)."""
    return sorted(quantities, key=lambda quantity: quantity.name)


def velocity_of(unknown: Quantity) -> Quantity:
    """The quantity that names the right-hand side of an unknown."""
    return unknown.renamed(
        f"F_{unknown.name}", rf"F_{{{unknown.latex}}}", Role.INTERMEDIATE, f"velocity of {unknown.name}"
    )

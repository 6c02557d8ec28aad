"""Values several steps old: what a recurrence reads of its states and inputs beyond the last step."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Expr, Integer

from derive.errors import SpecError, shown
from derive.operator_base import Operator, factor_latex, shape_of
from derive.operators import Numeric, matvec
from derive.program import Assignment, Program, symbols_of
from derive.symbols import Quantity, Role, Shape, check_name, with_index

EARLIER = re.compile(r"(?P<letter>.+)_\{?(?P<index>[a-z])(?P<last>-1)?\}?$")


@dataclass(frozen=True)
class Lag:
    """A whole number of steps that the constructor of the module is told.

    Attributes:
        name: of the constructor's argument.
        default: its default.
        latex: how it is written in formulas.
    """

    name: str
    default: int
    latex: str

    @property
    def longest(self) -> int:
        """The largest of the defaults."""
        return self.default


@dataclass(frozen=True)
class Lags:
    """Several whole numbers of steps that the constructor of the module is told.

    Attributes:
        name: of the constructor's argument.
        default: its default.
        latex: how one of them is written in formulas.
        count: the dimension of what has an entry for each of them.
    """

    name: str
    default: tuple[int, ...]
    latex: str
    count: str

    @property
    def longest(self) -> int:
        """The largest of the defaults."""
        return max(self.default)


AnyLag = int | Lag | Lags


def lag(name: str, default: int = 1, *, latex: str = "") -> Lag:
    """A number of steps, 1 or more, as an argument of the constructor.

    Raises:
        SpecError: the name is none, or the default no such number.
    """
    check_name(name)
    check_steps(name, default)
    return Lag(name, default, latex or "m")


def lags(name: str, default: Iterable[int], *, latex: str = "k", count: str = "") -> Lags:
    """Different numbers of steps as an argument of the constructor; `count` names the dimension of their number.

    Raises:
        SpecError: the name is none, or the defaults are no such numbers.
    """
    check_name(name)
    values = tuple(default)
    for value in values:
        check_steps(name, value, least=0)
    if not values or len(set(values)) < len(values):
        raise SpecError(f"{name} has the default {shown(values)}; allowed: one or more numbers of steps, all different")
    return Lags(name, values, latex, count or f"n_{name}")


def check_steps(what: str, value: Any, least: int = 1) -> None:
    """Refuse what is no number of steps.

    Raises:
        SpecError: no whole number, or too small a one.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{what} is {shown(value)}; allowed: a whole number of steps, {least} or more")


class Past(Quantity):
    """What a state or an input was some steps ago; of several lags, one value for each of them.

    Attributes:
        source: the state before the step, or the input.
        lag: how many steps before the new state, or before the input of the step.
    """

    __slots__ = ("lag", "source")

    source: Quantity
    lag: AnyLag

    def __new__(cls, source: Quantity, lag: AnyLag, name: str, latex: str, meaning: str) -> Past:
        shape = (lag.count, *source.shape) if isinstance(lag, Lags) else source.shape
        found = super().__new__(cls, name, shape, source.role, latex, meaning)
        found.source, found.lag = source, lag
        return found

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return (self.source, self.lag, self.name, self.latex, self.meaning), {}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (*super()._hashable_content(), self.source, self.lag)

    @property
    def least(self) -> int:
        """The smallest lag that is one: a new state cannot be read before it is made."""
        return 1 if self.role is Role.STATE else 0


def past(source: Quantity, lag: AnyLag, *, name: str = "", latex: str = "") -> Quantity:
    """The value of a state or an input some steps ago, as a quantity that steps are written in.

    Args:
        source: a state before the step, h_{t-1}, or an input of the step, x_t.
        lag: a whole number of steps, `lag(...)` or `lags(...)`; counted from the new state h_t, or from x_t: with lag
            1 of a state and with lag 0 of an input the value is the source itself.
        name: of the quantity, unless it follows from the source's.
        latex: how it is written, likewise.

    Raises:
        SpecError: the source is neither a state nor an input, or the lag is none.
    """
    if not isinstance(source, Quantity) or source.role not in (Role.STATE, Role.INPUT) or isinstance(source, Past):
        raise SpecError(f"past({shown(source)}, ...): allowed: a state or an input as the step reads it")
    least = 1 if source.role is Role.STATE else 0
    if not isinstance(lag, Lag | Lags):
        check_steps(f"the lag of {source.name}", lag, least)
        if lag == least:
            return source
    elif lag.longest < least or (isinstance(lag, Lags) and min(lag.default) < least):
        raise SpecError(f"{lag.name} has the default {lag.default}; the lags of {source.name} are {least} or more")
    index, ago = (f"lag{lag}", str(lag)) if isinstance(lag, int) else (lag.name, lag.latex)
    meaning = f"{source.meaning or source.name}, {index if not isinstance(lag, int) else lag} steps before"
    if source.role is Role.STATE:
        meaning = f"{source.name} as it was {ago} steps before the new one"
    return Past(source, lag, name or f"{source.name}_{index}", latex or earlier_latex(source.latex, ago), meaning)


def earlier_latex(latex: str, ago: str) -> str:
    r"""LaTeX of a value some steps ago: of `h_{t-1}` and of `x_t` with 3, `h_{t-3}` and `x_{t-3}`."""
    found = EARLIER.match(latex)
    if found is None:
        return with_index(latex, f"-{ago}")
    return f"{found['letter']}_{{{found['index']}-{ago}}}"


def past_of(quantities: Iterable[Quantity]) -> tuple[Past, ...]:
    """The past values among some quantities, by name."""
    return tuple(sorted((q for q in quantities if isinstance(q, Past)), key=lambda q: q.name))


def check_past(values: Sequence[Past], owned: Sequence[Quantity], names: Iterable[str], allowed: bool) -> None:
    """Refuse past values where there can be none, of what is not there, and lags whose name is something else.

    Args:
        values: past values that a step reads.
        owned: its states and inputs.
        names: of its quantities.
        allowed: whether there can be past values.

    Raises:
        SpecError: see above.
    """
    told = {value.lag for value in values if not isinstance(value.lag, int)}
    taken = [*names, *(lag.name for lag in told)]
    for name in sorted({lag.name for lag in told}):
        if taken.count(name) > 1:
            raise SpecError(
                f"{name} names a lag and something else, or two lags; names of lags are arguments of their own"
            )
    for value in values:
        if not allowed:
            raise SpecError(f"{value.name}: past values are for cells that read an input at every step")
        if value.source not in owned:
            names = ", ".join(q.name for q in owned)
            raise SpecError(f"{value.name} is a past value of {value.source.name}; allowed: of {names}")


def read_back(values: Iterable[Past], source: Quantity) -> tuple[AnyLag, ...]:
    """Lags of a state or an input among some past values, each once."""
    return tuple(dict.fromkeys(value.lag for value in values if value.source == source))


def told_lags(values: Iterable[Past]) -> tuple[Lag | Lags, ...]:
    """Lags that the constructor of a module is told, by name."""
    found = {value.lag.name: value.lag for value in values if not isinstance(value.lag, int)}
    return tuple(found[name] for name in sorted(found))


class _Taps(Operator):
    """Linear in both arguments, of which every entry along the lags is treated alike."""

    nargs = (2,)
    ranks = (0, 0)
    bracketed = True

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        left, right = self.args
        parts = ((tangent(left), right), (left, tangent(right)))
        return sum((type(self)(a, b) for a, b in parts if a != 0 and b != 0), Integer(0))

    def _checked(self, wanted: str) -> tuple[Shape, Shape]:
        shapes = tuple(shape_of(argument) for argument in self.args)
        if tuple(map(len, shapes)) != self.ranks:
            raise self._refuse(wanted)
        return shapes[0], shapes[1]


class taps(_Taps):
    r"""$\sum_k W_k v_k$ over the lags: every past value times a matrix of its own."""

    ranks = (3, 2)

    def shape(self) -> Shape:
        wanted = "matrices (lags, m, n) and vectors (lags, n) are needed"
        matrices, vectors = self._checked(wanted)
        if (matrices[0], matrices[2]) != vectors:
            raise self._refuse(wanted)
        return matrices[1:2]

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        matrices, vectors = self.args
        return (matrices, tap_outers(u, vectors)), (vectors, tap_backs(matrices, u))

    @staticmethod
    def numeric(matrices: Numeric, vectors: Numeric) -> Numeric:
        return sum((W * v[None, :]).sum(axis=1) for W, v in zip(matrices, vectors, strict=True))

    def _latex(self, printer: Any) -> str:
        matrices, vectors = (factor_latex(printer, argument) for argument in self.args)
        return rf"\sum_k {matrices}\, {vectors}"


class tap_backs(_Taps):
    r"""The vectors $W_k^\top u$, one for each lag."""

    ranks = (3, 1)

    def shape(self) -> Shape:
        wanted = "matrices (lags, m, n) and a vector (m,) are needed"
        matrices, vector = self._checked(wanted)
        if matrices[1:2] != vector:
            raise self._refuse(wanted)
        return (matrices[0], matrices[2])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        matrices, vector = self.args
        return (matrices, tap_outers(vector, u)), (vector, taps(matrices, u))

    @staticmethod
    def numeric(matrices: Numeric, vector: Numeric) -> Numeric:
        return np.stack([(W * vector[:, None]).sum(axis=0) for W in matrices])

    def _latex(self, printer: Any) -> str:
        matrices, vector = (factor_latex(printer, argument) for argument in self.args)
        return rf"\left({{{matrices}}}^{{\top}} {vector}\right)_k"


class tap_outers(_Taps):
    r"""The matrices $u v_k^\top$, one for each lag."""

    ranks = (1, 2)

    def shape(self) -> Shape:
        vector, vectors = self._checked("a vector (m,) and vectors (lags, n) are needed")
        return (vectors[0], *vector, vectors[1])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        vector, vectors = self.args
        return (vector, taps(u, vectors)), (vectors, tap_backs(u, vector))

    @staticmethod
    def numeric(vector: Numeric, vectors: Numeric) -> Numeric:
        return np.stack([vector[:, None] * v[None, :] for v in vectors])

    def _latex(self, printer: Any) -> str:
        vector, vectors = (factor_latex(printer, argument) for argument in self.args)
        return rf"\left({vector}\, {{{vectors}}}^{{\top}}\right)_k"


def tap(quantity: Quantity, steps: int) -> Quantity:
    """The entry for one lag of a quantity that has one for each."""
    letter = quantity.latex.removesuffix("_k")
    return Quantity(
        f"{quantity.name}_{steps}", quantity.shape[1:], quantity.role, with_index(letter, str(steps)), quantity.meaning
    )


def with_lags(step: Program, values: Mapping[Lag | Lags, int | Sequence[int]]) -> Program:
    """A step with numbers for lags that a constructor is told: sums over several lags are written out.

    Raises:
        SpecError: a sum over lags that is not of a parameter and a past value.
    """
    lines = tuple(
        Assignment(line.target, _written_out(line.value, values), line.reason, line.solve) for line in step.assignments
    )
    used = {q for line in lines for q in symbols_of(line.value)} - {line.target for line in lines}
    kept = [q for q in step.inputs if q in used]
    fresh = sorted(used - set(kept), key=lambda q: q.name)
    return Program((*kept, *fresh), lines, step.outputs)


def _written_out(value: Expr, values: Mapping[Lag | Lags, int | Sequence[int]]) -> Expr:
    table: dict[Expr, Expr] = {}
    for node in sorted(value.atoms(taps), key=str):
        matrices, vectors = node.args
        if not isinstance(vectors, Past) or not isinstance(matrices, Quantity) or not isinstance(vectors.lag, Lags):
            raise SpecError(f"{node}: allowed: taps(W, past(h, lags(...))) with a parameter W")
        steps = values.get(vectors.lag, vectors.lag.default)
        assert not isinstance(steps, int)
        terms = (matvec(tap(matrices, k), past(vectors.source, k)) for k in steps)
        table[node] = sum(terms, Integer(0))
    for found in past_of(symbols_of(value)):
        if isinstance(found.lag, Lag):
            steps = values.get(found.lag, found.lag.default)
            assert isinstance(steps, int)
            table[found] = past(found.source, steps)
    return value.xreplace(table)


class Memory:
    """The values of a state or an input so far, as a run in numbers keeps them.

    Args:
        before: those before the first step, newest first.
        values: what is read of it.
        lags: numbers for lags that a constructor is told; the defaults unless given.
    """

    def __init__(
        self, before: Sequence[Numeric], values: Sequence[Past], lags: Mapping[str, int | Sequence[int]] = {}
    ) -> None:
        self.kept, self.values, self.lags = list(before), values, lags

    def known(self) -> dict[Quantity, Numeric]:
        """What the step at hand reads; the newest value is that of one step before for a state."""
        return {value: self._of(value) for value in self.values}

    def _of(self, value: Past) -> Numeric:
        steps = value.lag if isinstance(value.lag, int) else self.lags.get(value.lag.name, value.lag.default)
        if isinstance(steps, int):
            return self.kept[steps - value.least]
        return np.stack([self.kept[k - value.least] for k in steps])

    def append(self, value: Numeric) -> None:
        """Keep a further value."""
        self.kept.insert(0, value)

r"""The Jacobian of a step in its state, block by block, read from its linearization.

Every block is a sum of diagonal matrices and of products $\operatorname{diag}(v)\, W \cdots$; a new state that another
one is computed from stands in it by the name of its own block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Add, Expr, Integer, Mul, S

from derive.diagonal_matrices import diagonal
from derive.errors import UnsupportedError
from derive.linearization import Linearization, forward_sweep
from derive.operators import dot, fill, identity_like, linear_solve, matmul, matvec, outer, shape_of, total, transpose
from derive.past_values import Past
from derive.program import Assignment, symbols_of
from derive.recurrence import Recurrence
from derive.symbols import Quantity, Role


@dataclass(frozen=True)
class Form:
    r"""A linear map of the tangent of one vector: $\operatorname{diag}(D) + \sum \operatorname{diag}(s) M$.

    Attributes:
        diagonal: D, a vector, or a number times the identity.
        terms: matrix M -> s, a vector or a number.
        row: of a map to numbers: the vector that the tangent is multiplied by; 0 of a map to vectors.
    """

    diagonal: Expr = S.Zero
    terms: Mapping[Expr, Expr] = field(default_factory=dict)
    row: Expr = S.Zero

    def __add__(self, other: Form) -> Form:
        matrices = dict.fromkeys((*self.terms, *other.terms))
        zero = Integer(0)
        terms = {matrix: self.terms.get(matrix, zero) + other.terms.get(matrix, zero) for matrix in matrices}
        kept = {matrix: scale for matrix, scale in terms.items() if scale != 0}
        return Form(self.diagonal + other.diagonal, kept, self.row + other.row)

    def times(self, factor: Expr) -> Form:
        """With every row multiplied by its component of a factor; a map to numbers becomes one to vectors."""
        terms = {matrix: factor * scale for matrix, scale in self.terms.items()}
        if self.row == 0 or not shape_of(factor):
            return Form(factor * self.diagonal, terms, factor * self.row)
        return Form(terms={outer(factor, self.row): Integer(1)})

    def after(self, matrix: Expr, way: Quantity) -> Form:
        """With a matrix multiplied by it."""
        plain = self.diagonal == 1 and not self.terms
        return Form(terms={matrix if plain else matmul(matrix, self.matrix(way)): Integer(1)})

    def contracted(self, covector: Expr) -> Form:
        """The inner product of a covector with it."""
        parts = [matvec(transpose(matrix), scale * covector) for matrix, scale in self.terms.items()]
        return Form(row=Add(self.diagonal * covector, *parts))

    def matrix(self, way: Quantity) -> Expr:
        """As a matrix; `way` has the shape of the vector."""
        own = [] if self.diagonal == 0 else [diagonal(_spread(self.diagonal, way))]
        return Add(*own, *(_scaled(scale, matrix) for matrix, scale in self.terms.items()))


def _spread(value: Expr, like: Quantity) -> Expr:
    return value if shape_of(value) else fill(value, like)


def _scaled(scale: Expr, matrix: Expr) -> Expr:
    return matmul(diagonal(scale), matrix) if shape_of(scale) else scale * matrix


Forms = Mapping[Quantity, Form]


@dataclass(frozen=True)
class Blocks:
    """The Jacobian of a step in its state.

    Attributes:
        columns: what the step reads of its state: old states, and what they were several steps before.
        names: (new state, column) -> the quantity that names the block.
        lines: one assignment for each block that is not 0, in an order in which they can be computed.
        diagonal: the blocks that are diagonal matrices.
    """

    columns: tuple[Quantity, ...]
    names: Mapping[tuple[Quantity, Quantity], Quantity]
    lines: tuple[Assignment, ...]
    diagonal: tuple[Quantity, ...]


def state_jacobian(recurrence: Recurrence) -> Blocks:
    """Blocks of d(new state)/d(old state) of a step whose states are vectors, and of d(new state)/d(an older one).

    Raises:
        UnsupportedError: there is no state, or one that is no vector, or is read a number of steps later that is an
            argument of the module; or the linearization has something that is not read as a matrix.
    """
    if not recurrence.old:
        raise UnsupportedError("the step has no state, and so no Jacobian in it")
    columns = tuple(q for q in (*recurrence.old, *read_later(recurrence)) if q in recurrence.step.inputs)
    told = [q.name for q in columns if isinstance(q, Past) and not isinstance(q.lag, int)]
    if told:
        raise UnsupportedError(f"{', '.join(told)}: how old it is, the module is told; with_lags puts a number for it")
    _check_names(columns)
    odd = [q.name for q in recurrence.old if len(q.shape) != 1]
    if odd:
        raise UnsupportedError(f"{', '.join(odd)}: the blocks of a Jacobian are those of vectors")
    reader = _Reader(recurrence, forward_sweep(recurrence.step, columns), columns)
    names: dict[tuple[Quantity, Quantity], Quantity] = {}
    lines, plain = [], []
    for new, forms in reader.new_states():
        for old in columns:
            value = _chained(forms, names, old)
            if value == 0:
                continue
            name = names[new, old] = _block(new, old)
            lines.append(Assignment(name, value, _reason(forms, names, old)))
            if isinstance(value, diagonal):
                plain.append(name)
    return Blocks(columns, names, tuple(lines), tuple(plain))


def _check_names(columns: Sequence[Quantity]) -> None:
    found: dict[tuple[Quantity, int], str] = {}
    for value in columns:
        where = (value.source, int(str(value.lag))) if isinstance(value, Past) else (value, 1)
        if where in found:
            raise UnsupportedError(f"{found[where]} and {value.name} are the same value; its derivative is that of one")
        found[where] = value.name


def read_later(recurrence: Recurrence) -> tuple[Past, ...]:
    """What a step reads of its states as they were more than a step before."""
    return tuple(q for q in recurrence.past if q.source in recurrence.old)


def _chained(forms: Forms, names: Mapping[tuple[Quantity, Quantity], Quantity], old: Quantity) -> Expr:
    """What reaches a new state from an old one directly, and through new states that are computed before it."""
    parts = [form.matrix(way) if way == old else _through(form, names.get((way, old)), way)
             for way, form in forms.items() if way == old or (way, old) in names]  # fmt: skip
    return Add(*parts)


def _through(form: Form, block: Quantity | None, way: Quantity) -> Expr:
    assert block is not None
    if form.terms:
        return matmul(form.matrix(way), block)
    return _scaled(form.diagonal, block)


def _reason(forms: Forms, names: Mapping[tuple[Quantity, Quantity], Quantity], old: Quantity) -> str:
    through = [way.name for way in forms if (way, old) in names]
    return "chain rule, line by line" + (f"; the rest reaches it through {', '.join(through)}" if through else "")


def _block(new: Quantity, old: Quantity) -> Quantity:
    latex = rf"\frac{{\partial {new.latex}}}{{\partial {old.latex}}}"
    meaning = f"derivative of {new.name} in {old.name}"
    return Quantity(f"J_{new.name}_{old.name}", (*new.shape, *old.shape), Role.INTERMEDIATE, latex, meaning)


class _Reader:
    """Reads the lines of a linearization, which are linear in tangents, as matrices times tangents."""

    def __init__(self, recurrence: Recurrence, sweep: Linearization, columns: tuple[Quantity, ...]) -> None:
        self.recurrence, self.sweep, self.columns = recurrence, sweep, columns
        self.forms: dict[Quantity, Forms] = {sweep.tangents[q]: {q: Form(Integer(1))} for q in columns}
        self.rules: dict[type, Callable[[Expr], Forms]] = {
            Add: lambda value: _sum([self._spread(self.read(term), term, value) for term in value.args]),
            Mul: self._product,
            matvec: self._matvec,
            linear_solve: self._solve,
            dot: self._dot,
            total: self._total,
            fill: lambda value: self._spread(self.read(value.args[0]), value.args[0], value),
        }

    def new_states(self) -> list[tuple[Quantity, Forms]]:
        """The new states in the order in which they are computed, each in the old ones and in those before it."""
        about = {self.sweep.tangents[q]: q for q in self.recurrence.new if q in self.sweep.tangents}
        found = {q: self.forms[self.sweep.tangents[q]] for q in self.recurrence.new if q in self.columns}
        for line in self.sweep.program.assignments:
            if line.solve is not None:
                raise UnsupportedError(f"{line.target.name} is the solution of equations; its Jacobian is not read")
            self.forms[line.target] = self.read(line.value)
            if line.target in about:
                new = about[line.target]
                found[new] = self.forms[line.target]
                self.forms[line.target] = {new: Form(Integer(1))}
        return list(found.items())

    def moves(self, value: Expr) -> bool:
        """Whether an expression has a tangent in it."""
        return any(q in self.forms for q in symbols_of(value))

    def read(self, value: Expr) -> Forms:
        """The form of an expression in each tangent that it depends on."""
        if not self.moves(value):
            return {}
        if isinstance(value, Quantity):
            return self.forms[value]
        if value.func not in self.rules:
            raise UnsupportedError(f"{value} is not read as a matrix times a tangent")
        return self.rules[value.func](value)

    def ones(self, like: Expr) -> Expr:
        """The vector of ones of the shape of an expression, in quantities of the step."""
        step, shape = self.recurrence.step, shape_of(like)
        return fill(Integer(1), next(q for q in (*step.inputs, *step.targets) if q.shape == shape))

    def _spread(self, forms: Forms, value: Expr, like: Expr) -> Forms:
        """What moves a number moves every component of what it is spread over."""
        if shape_of(value) or not shape_of(like):
            return forms
        return _each(forms, lambda form, _: form.times(self.ones(like)))

    def _total(self, value: Expr) -> Forms:
        ones = self.ones(value.args[0])
        return _each(self.read(value.args[0]), lambda form, _: form.contracted(ones))

    def _product(self, value: Expr) -> Forms:
        (moving,) = [factor for factor in value.args if self.moves(factor)]
        rest = Mul(*(factor for factor in value.args if factor != moving))
        return _each(self.read(moving), lambda form, _: form.times(rest))

    def _matvec(self, value: Expr) -> Forms:
        matrix, vector = value.args
        if self.moves(matrix):
            raise UnsupportedError(f"the matrix {matrix} depends on the state")
        return _each(self.read(vector), lambda form, way: form.after(matrix, way))

    def _solve(self, value: Expr) -> Forms:
        matrix, vector = value.args
        if self.moves(matrix):
            raise UnsupportedError(f"the matrix {matrix} depends on the state")
        return _each(self.read(vector), lambda form, way: form.after(linear_solve(matrix, identity_like(matrix)), way))

    def _dot(self, value: Expr) -> Forms:
        left, right = value.args
        covector, moving = (left, right) if self.moves(right) else (right, left)
        return _each(self.read(moving), lambda form, _: form.contracted(covector))


def _each(forms: Forms, change: Callable[[Form, Quantity], Form]) -> Forms:
    return {way: change(form, way) for way, form in forms.items()}


def _sum(forms: list[Forms]) -> Forms:
    ways = dict.fromkeys(way for each in forms for way in each)
    return {way: sum((each[way] for each in forms if way in each), Form()) for way in ways}

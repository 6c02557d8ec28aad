r"""The Jacobian of a map, read from its linearization: $\operatorname{diag}(D) + \sum_i u_i v_i^\top$, part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sympy import Add, Expr, Integer, Mul, S

from derive.inner_products import expanded
from derive.linearization import forward_sweep
from derive.operators import dot, fill, shape_of, total
from derive.program import Program, name_functions
from derive.reverse_sweep import computed_values
from derive.symbols import Quantity


@dataclass(frozen=True)
class Form:
    r"""A linear map of the tangent of one part: $\operatorname{diag}(D) + \sum_i u_i v_i^\top$.

    Attributes:
        diagonal: D, a vector or, times the identity, a scalar; 0 for a scalar's form and where there is none.
        terms: the pairs (u, v); of a scalar's form u is a scalar.
        dense: whether there is something else in it, which is not read.
    """

    diagonal: Expr = S.Zero
    terms: tuple[tuple[Expr, Expr], ...] = ()
    dense: bool = False

    def __add__(self, other: Form) -> Form:
        rows = dict.fromkeys(v for _, v in (*self.terms, *other.terms))
        sums = {row: Add(*(u for u, v in (*self.terms, *other.terms) if v == row)) for row in rows}
        terms = tuple((u, v) for v, u in sums.items() if u != 0)
        return Form(self.diagonal + other.diagonal, terms, self.dense or other.dense)

    def times(self, factor: Expr) -> Form:
        """With every row multiplied by its component of a factor, or all by a scalar."""
        return Form(factor * self.diagonal, tuple((factor * u, v) for u, v in self.terms), self.dense)

    def contracted(self, covector: Expr, like: Expr) -> Form:
        """The form of the inner product of a covector and what this is the form of; `like` has the part's shape."""
        own = [(Integer(1), covector * self.diagonal)] if self.diagonal != 0 else []
        shaped = [(u, fill(v, like) if not shape_of(v) else v) for u, v in own]
        return sum((Form(terms=(pair,)) for pair in [*shaped, *((dot(covector, u), v) for u, v in self.terms)]),
                   Form(dense=self.dense))  # fmt: skip

    @property
    def is_zero(self) -> bool:
        """Whether nothing is in it."""
        return self.diagonal == 0 and not self.terms and not self.dense


Forms = Mapping[Quantity, Form]


def jacobian(program: Program, parts: tuple[Quantity, ...]) -> dict[Quantity, dict[Quantity, Form]]:
    """Output -> part -> the block of the Jacobian of a program, in the quantities that it computes."""
    named = name_functions(program)
    reader = _Reader(named, parts)
    sweep = forward_sweep(named, parts)
    for line in sweep.program.assignments:
        reader.forms[line.target] = reader.read(line.value)
    zero = {part: Form() for part in parts}
    found = {}
    for output in named.outputs:
        forms = reader.forms.get(sweep.tangents[output], {}) if output in sweep.tangents else {}
        found[output] = {part: reader.tidied(forms.get(part, zero[part])) for part in parts}
    return found


class _Reader:
    """Reads expressions that are linear in tangents, line by line."""

    def __init__(self, program: Program, parts: tuple[Quantity, ...]) -> None:
        self.parts = parts
        self.known = computed_values(program)
        tangents = forward_sweep(program, parts).tangents
        self.rules: dict[type, Callable[[Expr], Forms]] = {
            Add: lambda value: self._sum([self.read(term) for term in value.args]),
            Mul: self._product,
            dot: self._dot,
            total: lambda value: self._contracted(fill(Integer(1), value.args[0]), value.args[0]),
            fill: self._fill,
        }
        self.forms: dict[Quantity, Forms] = {tangents[part]: {part: Form(Integer(1))} for part in parts}

    def moves(self, value: Expr) -> bool:
        """Whether an expression has a tangent in it."""
        return any(q in self.forms for q in value.atoms(Quantity))

    def read(self, value: Expr) -> Forms:
        """The form of an expression in the tangent of every part that it depends on."""
        if not self.moves(value):
            return {}
        if isinstance(value, Quantity):
            return self.forms[value]
        rule = self.rules.get(value.func, self._not_read)
        return rule(value)

    def _sum(self, forms: list[Forms]) -> Forms:
        return {
            part: sum((form[part] for form in forms if part in form), Form())
            for part in self.parts
            if any(part in form for form in forms)
        }

    def _product(self, value: Expr) -> Forms:
        moving = [factor for factor in value.args if self.moves(factor)]
        rest = Mul(*(factor for factor in value.args if factor not in moving))
        return {part: form.times(rest) for part, form in self.read(moving[0]).items()}

    def _dot(self, value: Expr) -> Forms:
        left, right = value.args
        return self._contracted(left, right) if self.moves(right) else self._contracted(right, left)

    def _fill(self, value: Expr) -> Forms:
        ones = fill(Integer(1), value.args[1])
        return {part: form.times(ones) for part, form in self.read(value.args[0]).items()}

    def _not_read(self, value: Expr) -> Forms:
        found = [q for q in self.forms if q in value.atoms(Quantity)]
        return {part: Form(dense=True) for q in found for part in self.forms[q]}

    def _contracted(self, covector: Expr, inner: Expr) -> Forms:
        return {part: form.contracted(covector, part) for part, form in self.read(inner).items()}

    def tidied(self, form: Form) -> Form:
        """With inner products written out and what has a name called by it."""
        terms = tuple((expanded(u, self.known), expanded(v, self.known)) for u, v in form.terms)
        return Form(expanded(form.diagonal, self.known), terms, form.dense)

r"""Log-determinants, read from the Jacobian of a map.

* A map that replaces its parts one after the other has the product of the determinants of image in part; a block
  triangular Jacobian is of this kind.
* $\det(\operatorname{diag}(D) + U V^\top) = \prod_i D_i \, \det(I_k + V^\top D^{-1} U)$ (determinant lemma).
* $\det(D I + U V^\top) = D^{d-k} \det(D I_k + V^\top U)$ for a scalar D.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from sympy import Abs, Add, Expr, Integer, Matrix, Mul, apart, log, together

from derive.errors import UnsupportedError
from derive.functions import logabs
from derive.inner_products import expanded
from derive.jacobians import Form, jacobian
from derive.norms import components
from derive.operators import Operator, dot, shape_of, total
from derive.program import Program, name_functions
from derive.reverse_sweep import computed_values
from derive.symbols import Quantity

LARGEST_RANK = 3


@dataclass(frozen=True)
class Factor:
    """A factor of a determinant.

    Attributes:
        value: a scalar, or a vector that stands for the product of its components.
        power: how often a scalar one occurs.
        rule: where it is from.
    """

    value: Expr
    power: Expr
    rule: str

    @property
    def log(self) -> Expr:
        """What it adds to the logarithm of the determinant's size."""
        if self.value.is_number:
            return self.power * log(Abs(self.value))
        return total(logabs(self.value)) if shape_of(self.value) else self.power * logabs(self.value)


LEMMA, SCALED, DIAGONAL = "determinant lemma", "rank one plus scaled identity", "diagonal"


@cache
def determinant(program: Program, parts: tuple[Quantity, ...]) -> tuple[Factor, ...]:
    """The factors of the determinant of a map, in the quantities that it computes; those that are 1 are left out.

    Raises:
        UnsupportedError: the Jacobian has a part on its diagonal that none of the rules reads.
    """
    named = name_functions(program)
    known = computed_values(named)
    factors: list[Factor] = []
    for output, part, stage in _stages(named, parts):
        form = jacobian(stage, (part,))[output][part]
        if form.dense or not shape_of(part):
            raise UnsupportedError(
                f"the determinant of {output} in {part} is not read from its linearization; read are diagonal ones "
                f"plus up to {LARGEST_RANK} outer products, and triangular arrangements of such parts; write the map "
                "so, or as the solution of an ODE, ContinuousFlow(ODE(...)), whose log-determinant is an integral"
            )
        factors += _block(form, part, known)
    return tuple(factor for factor in factors if factor.value != 1)


def log_determinant(factors: tuple[Factor, ...]) -> Expr:
    """log |det| as the sum over its factors."""
    return Add(*(factor.log for factor in factors))


def _stages(program: Program, parts: tuple[Quantity, ...]) -> Iterator[tuple[Quantity, Quantity, Program]]:
    """The map as a sequence of maps, each of which replaces one part by its image and keeps all others.

    Its determinant is the product of those of image in part, everything else held fixed.
    """
    pairs = list(zip(program.outputs, parts, strict=True))
    for order in permutations(pairs):
        stages = [
            _stage(program, output, [image for image, _ in order[:place]]) for place, (output, _) in enumerate(order)
        ]
        gone = [{part for _, part in order[:place]} for place in range(len(order))]
        if all(not lost & set(stage.inputs) for lost, stage in zip(gone, stages, strict=True)):
            yield from ((output, part, stage) for (output, part), stage in zip(order, stages, strict=True))
            return
    names = ", ".join(
        f"{output} reads {', '.join(q.name for q in _stage(program, output, []).inputs if q in parts)}"
        for output, _ in pairs
    )
    raise UnsupportedError(f"the Jacobian is not block triangular, nor a product of such: {names}")


def _stage(program: Program, output: Quantity, given: list[Quantity]) -> Program:
    """What computes an output, where some other ones are given."""
    lines = tuple(line for line in program.assignments if line.target not in given)
    return Program((*program.inputs, *given), lines, (output,)).needed_for((output,))


def _block(form: Form, part: Quantity, known: Mapping[Expr, Expr]) -> list[Factor]:
    diagonal, rank = form.diagonal, len(form.terms)
    if rank > LARGEST_RANK:
        raise UnsupportedError(f"the Jacobian has {rank} outer products beside its diagonal; {LARGEST_RANK} are read")
    if not rank:
        power = Integer(1) if shape_of(diagonal) else components(part)
        return [Factor(diagonal, power, DIAGONAL)]
    scalar = not shape_of(diagonal)
    if scalar and diagonal == 0:
        raise UnsupportedError("the Jacobian has outer products and no diagonal: the map is not invertible")
    scale, base = (Integer(1), diagonal) if scalar else (1 / diagonal, Integer(1))
    small = Matrix(
        [
            [base * int(i == j) + expanded(dot(v, scale * u), known) for j, (u, _) in enumerate(form.terms)]
            for i, (_, v) in enumerate(form.terms)
        ]
    ).det(method="berkowitz")
    rest = Factor(_tidied(small), Integer(1), LEMMA if base == 1 else SCALED)
    if not scalar:
        return [Factor(diagonal, Integer(1), DIAGONAL), rest]
    return [Factor(diagonal, components(part) - rank, SCALED), rest]


def _tidied(value: Expr) -> Expr:
    """Partial fractions where it is a rational function, with poles, of one scalar with batch axes."""
    batched = [q for q in sorted(value.atoms(Quantity), key=str) if q.role.batched and not q.shape]
    plain = not value.atoms(Operator) and all(not shape_of(q) for q in value.atoms(Quantity))
    if len(batched) != 1 or not plain:
        return value
    (scalar,) = batched
    whole = together(value)
    if not whole.is_rational_function(scalar) or not whole.as_numer_denom()[1].has(scalar):
        return value
    return apart(whole, scalar)


def product(factors: tuple[Factor, ...]) -> Expr | None:
    """The determinant itself, where all its factors are scalars."""
    if any(shape_of(factor.value) for factor in factors):
        return None
    return Mul(*(factor.value**factor.power for factor in factors))

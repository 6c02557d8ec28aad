r"""Broyden's update: the matrix nearest to the old one that satisfies the secant condition, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Add, Expr, Integer, Mul, cancel, diff

from derive.gradients import collected, eliminated
from derive.inner_products import expanded, split_scalars
from derive.operators import dot, matvec, outer, shape_of, transpose
from derive.program import Assignment, Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Dimension, Quantity, Role


@dataclass(frozen=True)
class LeastChange:
    r"""$\min \tfrac12 |A_+ - A|_F^2$ subject to $A_+ \Delta z = \Delta g$, solved by a Lagrange multiplier.

    Attributes:
        lagrangian: the program of the Lagrangian in `changed`, `multiplier` and what is given.
        matrix, changed, multiplier: A, A_+ and the multiplier of the secant condition.
        step, difference: what z and g have changed by.
        inverse: B, the inverse of A.
        image: B times `difference`, as a name.
        stationary: A_+ as stationarity gives it, with the multiplier in it.
        solved: the multiplier, from the condition.
        slope: the scalar product of the denominator of the inverse's update, with `image` for B times `difference`.
        left, right: the columns whose outer product is added to B; `left` reads `image`, `right` is B^T `step`.
        tried: -B g at the new state, B being the old one: the step that would follow without an update.
        following: the step that follows, in `step` and `tried`; it is -B_+ g.
        gap: the denominator of `following`.
    """

    lagrangian: Program
    matrix: Quantity
    changed: Quantity
    multiplier: Quantity
    step: Quantity
    difference: Quantity
    inverse: Quantity
    image: Quantity
    stationary: Expr
    solved: Expr
    slope: Expr
    left: Expr
    right: Expr
    tried: Quantity
    following: Expr
    gap: Expr

    @property
    def updated(self) -> Expr:
        """A_+ in what is given."""
        return self.stationary.xreplace({self.multiplier: self.solved})

    @property
    def updated_inverse(self) -> Expr:
        """The inverse of A_+ in B and what is given."""
        image = matvec(self.inverse, self.difference)
        return self.inverse + outer(self.left.xreplace({self.image: image}), self.right)

    @property
    def next_step(self) -> Quantity:
        """The step that follows, as a name."""
        return self.step.renamed("delta_z_next", r"\Delta z_{+}", meaning="the step that follows")

    @property
    def column(self) -> Quantity:
        """What is added to B, over B^T of the last step, as a name."""
        return self.step.renamed("column", "u", meaning="column that the update of B adds")

    @property
    def following_program(self) -> Program:
        """After a full step: the column of the update, and the step that follows."""
        gap = Quantity("gap", (), Role.INTERMEDIATE, r"\varrho", "denominator of the update")
        lines = (
            Assignment(gap, self.gap),
            Assignment(self.column, self.tried / gap),
            Assignment(self.next_step, self.column * (self.following * self.gap / self.tried)),
        )
        return Program((self.step, self.tried), lines, (self.next_step, self.column, gap))

    @property
    def product_program(self) -> Program:
        """B_+ v from B v: the update as a factor on the left of B."""
        carried, passed = (
            Quantity(name, self.step.shape, Role.INTERMEDIATE, latex, meaning)
            for name, latex, meaning in (
                ("carried", "B v", "a vector after B"),
                ("passed", "B_{+} v", "a vector after the updated B"),
            )
        )
        value = carried + self.column * dot(self.step, carried)
        return Program((self.step, self.column, carried), (Assignment(passed, value),), (passed,))


def least_change(size: Dimension) -> LeastChange:
    """The update for vectors of a size: stationarity by the reverse sweep, the inverse by Sherman and Morrison."""
    square, vector = (size, size), (size,)
    matrix = Quantity("A", square, Role.INTERMEDIATE, "A", "what stands for the Jacobian of the residual")
    changed = Quantity("A_next", square, Role.INTERMEDIATE, "A_{+}", "the same after the update")
    multiplier = Quantity("mu", vector, Role.INTERMEDIATE, r"\mu", "multiplier of the secant condition")
    step = Quantity("delta_z", vector, Role.INTERMEDIATE, r"\Delta z", "the last step")
    difference = Quantity("delta_g", vector, Role.INTERMEDIATE, r"\Delta g", "change of the residual in it")
    inverse = Quantity("B", square, Role.INTERMEDIATE, "B", "inverse of A")
    image = Quantity("B_delta_g", vector, Role.INTERMEDIATE, r"B \Delta g", "B times the change of the residual")
    value = Quantity("S", (), Role.INTERMEDIATE, "S", "Lagrangian")
    change = changed - matrix
    objective = dot(change, change) / 2 + dot(multiplier, difference - matvec(changed, step))
    lagrangian = Program((matrix, changed, multiplier, step, difference), (Assignment(value, objective),), (value,))
    adjoint = reverse_sweep(lagrangian, (changed,))
    (seed,) = adjoint.seeds.values()
    gradient = eliminated(adjoint, changed).xreplace({seed: Integer(1)})
    stationary = collected(changed - gradient / diff(gradient, changed))
    condition = difference - applied(stationary, step)
    solved = -condition.xreplace({multiplier: Integer(0)}) / diff(condition, multiplier)
    slope, left = _of_inverse(solved, step, image)
    tried = Quantity("tried", vector, Role.INTERMEDIATE, "w", "-B g with the old B")
    following, gap = _following(left, step, image, tried)
    return LeastChange(
        lagrangian, matrix, changed, multiplier, step, difference, inverse, image, stationary, solved, slope, left,
        matvec(transpose(inverse), step), tried, following, gap,
    )  # fmt: skip


def _following(left: Expr, step: Quantity, image: Quantity, tried: Quantity) -> tuple[Expr, Expr]:
    """The step -B_+ g after a full one, which was -B times the last residual: so B Delta g = Delta z - tried."""
    inner = _ordered(step, tried)
    value = tried + left.xreplace({image: step - tried}) * inner
    written = expanded(value)
    lengths = {dot(step, step): Quantity("length_0", (), Role.INTERMEDIATE),
               inner: Quantity("length_1", (), Role.INTERMEDIATE)}  # fmt: skip
    numerator, gap = cancel(written.xreplace(lengths)).as_numer_denom()
    back = {name: node for node, name in lengths.items()}
    sign = -1 if gap.coeff(lengths[dot(step, step)]) < 0 else 1
    gap = (sign * gap).expand()
    return ((sign * numerator).expand() / gap).xreplace(back), gap.xreplace(back)


def _of_inverse(solved: Expr, step: Quantity, image: Quantity) -> tuple[Expr, Expr]:
    r"""Of $(A + u\, v^\top)^{-1} = B - B u\, (B^\top v)^\top / (1 + v \cdot B u)$ with v the step: denominator, column.

    B u is found from u = (Delta g - A Delta z) / ..., since B Delta g has a name and B A Delta z = Delta z.
    """
    scalars, vector = split_scalars(solved)
    column = scalars * Add(*(_times_inverse(term, step, image) for term in Add.make_args(vector)))
    lengths = {node: Quantity(f"length_{place}", (), Role.INTERMEDIATE)
               for place, node in enumerate((dot(step, step), _ordered(step, image)))}  # fmt: skip
    denominator = cancel(1 + expanded(dot(step, column)).xreplace(lengths))
    left = cancel(-column.xreplace(lengths) / denominator)
    back = {name: node for node, name in lengths.items()}
    numerator, slope = left.as_numer_denom()
    return slope.xreplace(back), (numerator / slope).xreplace(back)


def _ordered(left: Expr, right: Expr) -> Expr:
    """The inner product as `expanded` writes it."""
    return expanded(dot(left, right))


def _times_inverse(term: Expr, step: Quantity, image: Quantity) -> Expr:
    """B times a term of the multiplier."""
    sign, inner = term.as_coeff_Mul()
    return sign * (step if isinstance(inner, matvec) else image)


def applied(matrix: Expr, vector: Expr) -> Expr:
    """A matrix times a vector, term by term: linear in the matrix, and (u v^T) w = (v . w) u."""
    terms = []
    for term in Add.make_args(matrix):
        scalars = Mul(*(factor for factor in Mul.make_args(term) if not shape_of(factor)))
        inner = Mul(*(factor for factor in Mul.make_args(term) if shape_of(factor)))
        if isinstance(inner, outer):
            terms.append(scalars * dot(inner.args[1], vector) * inner.args[0])
        else:
            terms.append(scalars * matvec(inner, vector))
    return Add(*terms)

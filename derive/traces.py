"""The divergence of a field, read from its linearization."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Mul

from derive.errors import UnsupportedError
from derive.inner_products import expanded
from derive.linearization import pushforward
from derive.operators import dot, fill, identity_like, matvec, shape_of, total, transpose
from derive.symbols import Quantity, Role
from derive.systems import ODE


def divergence(ode: ODE) -> Expr | None:
    """tr dF/dx; None where the linearization holds something that has no closed trace (an opaque network)."""
    try:
        return sum((_trace_of(f, x) for x, f in zip(ode.state, ode.velocity, strict=True)), Integer(0))
    except UnsupportedError:
        return None


def named_divergence(ode: ODE) -> Expr:
    """The divergence in the quantities that the program of the field computes.

    Raises:
        UnsupportedError: the linearization has no closed trace.
    """
    found = divergence(ode)
    if found is None:
        names = ", ".join(q.name for q in ode.state)
        raise UnsupportedError(f"the trace of the field in {names} is not read from its linearization")
    for line in ode.field_program().assignments:
        found = found.xreplace({line.value: line.target})
    return found


def _trace_of(value: Expr, unknown: Quantity) -> Expr:
    way = unknown.renamed("trace_direction", role=Role.TANGENT)
    return trace(pushforward(value, {unknown: way}), way).xreplace({way: unknown})


def trace(form: Expr, way: Quantity) -> Expr:
    """Trace of the linear map `way -> form`; where ones are needed they are made in the shape of `way`.

    Raises:
        UnsupportedError: no rule reads it.
    """
    terms = [_split(term, way) for term in Add.make_args(form) if way in term.atoms(Quantity)]
    return Add(*(_scaled(front, linear, way) for front, linear in terms))


def _split(term: Expr, way: Quantity) -> tuple[Expr, Expr]:
    """A term as factors times the one that is linear in the direction."""
    inside = [factor for factor in Mul.make_args(term) if way in factor.atoms(Quantity)]
    if len(inside) != 1:
        raise UnsupportedError(f"{term} is not linear in {way.name}")
    return Mul(*(factor for factor in Mul.make_args(term) if way not in factor.atoms(Quantity))), inside[0]


def _scaled(front: Expr, linear: Expr, way: Quantity) -> Expr:
    """Trace of the elementwise multiple of a linear map."""
    if linear == way:
        scalars, vectors = _factors(front)
        return scalars * total(fill(Integer(1), way) if vectors is None else vectors) if way.shape else front
    if isinstance(linear, Add):
        return trace(Add(*(front * term for term in linear.args)), way)
    if isinstance(linear, fill):
        return _scaled(front * fill(Integer(1), way), linear.args[0], way)
    if way.shape and not shape_of(linear):
        return _of_outer_product(front, linear, way)
    if isinstance(linear, matvec) and way not in linear.args[0].atoms(Quantity):
        return Add(*(_through(front, linear.args[0], *_split(term, way)) for term in Add.make_args(linear.args[1])))
    raise UnsupportedError(f"no rule for the trace of {linear}")


def _of_outer_product(front: Expr, form: Expr, way: Quantity) -> Expr:
    """Trace of v -> f g(v) for a vector f and a scalar form g: it is g(f)."""
    vector = front if shape_of(front) else fill(front, way)
    return expanded(form.xreplace({way: vector}))


def _through(front: Expr, matrix: Expr, scale: Expr, linear: Expr) -> Expr:
    """Trace of v -> front * matrix (scale * v), or of v -> front * matrix (scale * (other v))."""
    if isinstance(linear, Quantity):
        return _double_sum(front, matrix, identity_like(matrix), scale)
    if isinstance(linear, matvec) and isinstance(linear.args[1], Quantity):
        return _double_sum(front, matrix, transpose(linear.args[0]), scale)
    raise UnsupportedError(f"no rule for the trace of a matrix after {linear}")


def _double_sum(front: Expr, matrix: Expr, other: Expr, scale: Expr) -> Expr:
    """sum_ij front_i matrix_ij other_ij scale_j."""
    (first, left), (second, right) = _factors(front), _factors(scale)
    if left is None and right is None:
        return first * second * dot(matrix, other)
    if left is None or right is None:
        product = matvec(matrix * other, right) if right is not None else matvec(transpose(matrix * other), left)
        return first * second * total(product)
    return first * second * dot(left, matvec(matrix * other, right))


def _factors(value: Expr) -> tuple[Expr, Expr | None]:
    """The scalar factors of a product, and those with components where there are any."""
    factors = Mul.make_args(value)
    vectors = [factor for factor in factors if shape_of(factor)]
    return Mul(*(factor for factor in factors if not shape_of(factor))), Mul(*vectors) if vectors else None

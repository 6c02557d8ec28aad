r"""Inner products written out: linear in both factors, with $v \cdot v / |v|$ known to be $|v|$."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sympy import Add, Expr, Integer, Mul, default_sort_key

from derive.norms import norm, unit
from derive.operators import dot, fill, shape_of, total


def expanded(value: Expr, known: Mapping[Expr, Expr] | None = None) -> Expr:
    """An expression with every inner product as a sum of scalars times inner products of single vectors.

    Args:
        value: any expression over quantities and operators.
        known: values that have a name already; a length among them also stands for the square root of its square.
    """
    known = known or {}
    written = value.replace(dot, lambda a, b: inner_product(a, b, known)).replace(total, _sum)
    return written.xreplace(dict(known))


def inner_product(left: Expr, right: Expr, known: Mapping[Expr, Expr]) -> Expr:
    """The inner product of two vectors, expanded."""
    if left == 0 or right == 0:
        return Integer(0)
    special = _of_one_vector(left, right, known)
    if special is not None:
        return special
    pairs = [(a, b) for a in vector_terms(left) for b in vector_terms(right)]
    return Add(*(a * b * _single(v, w, known) for (a, v), (b, w) in pairs))


def vector_terms(value: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Pairs (scalar, vector) whose products add up to a vector."""
    for term in Add.make_args(value):
        scalars, vector = split_scalars(term)
        inner = [part for part in Mul.make_args(vector) if part.is_Add]
        if len(inner) == 1 and vector == inner[0]:
            yield from ((scalars * scalar, part) for scalar, part in vector_terms(vector))
        else:
            yield scalars, vector


def split_scalars(term: Expr) -> tuple[Expr, Expr]:
    """The scalar factors of a product, and the others."""
    factors = Mul.make_args(term)
    scalars = [factor for factor in factors if not shape_of(factor)]
    return Mul(*scalars), Mul(*(factor for factor in factors if shape_of(factor)))


def _of_one_vector(left: Expr, right: Expr, known: Mapping[Expr, Expr]) -> Expr | None:
    """The inner product of a vector or its direction with itself; None of any other two."""
    (a, v), (b, w) = split_scalars(left), split_scalars(right)
    if isinstance(w, unit):
        (a, v), (b, w) = (b, w), (a, v)
    if isinstance(v, unit):
        length = norm(v.args[0])
        return a * b if v == w else a * b * length if w == v.args[0] else None
    return a * b * norm(v) ** 2 if v == w and norm(v) in known else None


def _single(left: Expr, right: Expr, known: Mapping[Expr, Expr]) -> Expr:
    special = _of_one_vector(left, right, known)
    if special is not None:
        return special
    for one, other in ((left, right), (right, left)):
        if isinstance(one, fill):
            return one.args[0] * _sum(other)
    return dot(*sorted((left, right), key=default_sort_key))


def _sum(value: Expr) -> Expr:
    """The sum of components, linear in the vector; of a scalar that stands for one component it stays as it is."""
    if not shape_of(value):
        return total(value)
    return Add(*(scalar * total(vector) for scalar, vector in vector_terms(value)))

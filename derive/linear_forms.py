"""Expressions that are linear in a quantity: distributed over sums, split into parts, solved."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Add, Expr, Integer, Mul, expand

from derive.gradients import collected, unfilled
from derive.linearization import pushforward
from derive.operators import dot, identity_like, linear_solve, matvec, shape_of
from derive.symbols import Quantity, Role


def distributed(value: Expr) -> Expr:
    """Products and matrices distributed over sums, numbers in front: equal terms add up."""
    plain = expand(unfilled(value))
    spread = plain.replace(matvec, _over_sums(matvec)).replace(linear_solve, _over_sums(linear_solve))
    return expand(spread.replace(dot, _bilinear))


def _bilinear(left: Expr, right: Expr) -> Expr:
    pairs = [(a, b) for a in map(_scaled, Add.make_args(left)) for b in map(_scaled, Add.make_args(right))]
    return collected(Add(*(a * b * dot(u, v) for (a, u), (b, v) in pairs)))


def _scaled(term: Expr) -> tuple[Expr, Expr]:
    """The scalar factors of a term, and the rest."""
    factors = Mul.make_args(term)
    return Mul(*(f for f in factors if not shape_of(f))), Mul(*(f for f in factors if shape_of(f)))


def _over_sums(operator: type) -> Callable[[Expr, Expr], Expr]:
    def spread(matrix: Expr, vector: Expr) -> Expr:
        terms = map(_scaled, Add.make_args(expand(vector)))
        return Add(*(scalars * operator(matrix, rest) for scalars, rest in terms if scalars != 0))

    return spread


def linear_part(value: Expr, about: Quantity) -> Expr | None:
    """The part of an affine expression that is linear in a quantity; None where the expression is not affine in it."""
    whole = distributed(value)
    part = distributed(pushforward(whole, {about: about}))
    rest = expand(whole - part)
    twice = distributed(pushforward(part, {about: about}))
    affine = about not in rest.atoms(Quantity) and expand(twice - part) == 0
    return part if affine else None


def solved(value: Expr, about: Quantity) -> Expr | None:
    """The value of a quantity at which an affine expression of its shape vanishes; None where no rule solves it."""
    part = linear_part(value, about)
    if part is None or part == 0:
        return None
    rest = expand(distributed(value) - part)
    way = about.renamed("direction", role=Role.TANGENT)
    front, matrix = _as_map(part.xreplace({about: way}), way)
    if matrix is None:
        return None if front is None else expand(-rest / front)
    if front is None or shape_of(front):
        return None
    whole = matrix if front == 0 else matrix + front * identity_like(matrix)
    return distributed(-linear_solve(whole, rest)) if rest != 0 else Integer(0)


def _as_map(part: Expr, way: Quantity) -> tuple[Expr | None, Expr | None]:
    """Elementwise factor and matrix of a linear map; the factor is None where a term is neither."""
    front, matrices = Integer(0), []
    for term in Add.make_args(part):
        inside = [factor for factor in Mul.make_args(term) if way in factor.atoms(Quantity)]
        rest = Mul(*(factor for factor in Mul.make_args(term) if way not in factor.atoms(Quantity)))
        if inside == [way]:
            front += rest
        elif len(inside) == 1 and isinstance(inside[0], matvec) and inside[0].args[1] == way and not shape_of(rest):
            matrices.append(rest * inside[0].args[0])
        else:
            return None, None
    return front, Add(*matrices) if matrices else None

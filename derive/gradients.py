"""Gradients as expressions: every cotangent of a sweep eliminated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from sympy import Expr, Integer, factor

from derive.operators import Operator, dot, fill, matvec, outer, shape_of
from derive.program import Assignment, Program, symbols_of
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.symbols import Quantity, Role, by_name


def eliminated(adjoint: Adjoint, about: Quantity) -> Expr:
    """The cotangent of a quantity as an expression in what the program reads and in the seeds."""
    found: dict[Expr, Expr] = {}
    for line in adjoint.program.assignments:
        value = unfilled(line.value.xreplace(found))
        found[line.target] = value if value.atoms(Operator) else factor(value)
    return found[adjoint.cotangents[about]]


def gradient_of(value: Expr, about: Quantity) -> Expr:
    """Gradient of a scalar expression in one of its quantities; 0 where it does not occur."""
    if about not in symbols_of(value):
        return Integer(0)
    target = Quantity("scalar_value", (), Role.INTERMEDIATE)
    program = Program(tuple(by_name(symbols_of(value))), (Assignment(target, value),), (target,))
    adjoint = reverse_sweep(program, (about,))
    if about not in adjoint.cotangents:
        return Integer(0)
    (seed,) = adjoint.seeds.values()
    return collected(unfilled(eliminated(adjoint, about).xreplace({seed: Integer(1)})))


def unfilled(value: Expr) -> Expr:
    """Without the spreading of scalars where the other factors have the shape already."""
    plain = value.replace(fill, lambda scalar, _: scalar)
    return plain if shape_of(plain) == shape_of(value) else value


def collected(value: Expr) -> Expr:
    """Inner products with their sides in one order, numbers before products: equal terms add up."""
    for product in (matvec, outer, dot):
        value = value.replace(product, partial(_numbers_first, product))
    return value.replace(dot, lambda *sides: dot(*sorted(sides, key=lambda side: (len(str(side)), str(side)))))


def _numbers_first(product: Callable[[Expr, Expr], Expr], left: Expr, right: Expr) -> Expr:
    (first, left), (second, right) = left.as_coeff_Mul(), right.as_coeff_Mul()
    return first * second * product(left, right)

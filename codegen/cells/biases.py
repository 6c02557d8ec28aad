"""Biases: parameters that a step only adds, which `bias=False` leaves out."""

from __future__ import annotations

from collections import Counter

from sympy import Add, preorder_traversal

from derive.program import Program
from derive.symbols import Quantity, Role


def biases_of(program: Program) -> frozenset[Quantity]:
    """Vectors and numbers that are learnt and occur as a term of a sum, with a sign at most, and nowhere else."""
    every: Counter[Quantity] = Counter()
    added: Counter[Quantity] = Counter()
    for line in program.assignments:
        for node in preorder_traversal(line.value):
            if isinstance(node, Quantity):
                every[node] += 1
            elif isinstance(node, Add):
                terms = (term.as_coeff_Mul() for term in node.args)
                added.update(rest for sign, rest in terms if isinstance(rest, Quantity) and sign in (1, -1))
    return frozenset(q for q in added if q.role is Role.PARAMETER and len(q.shape) < 2 and added[q] == every[q])

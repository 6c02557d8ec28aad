r"""Where W^t h goes: an exact verdict by the root condition, of the characteristic and of the minimal polynomial.

$W^t \to 0$ if and only if all eigenvalues lie in the open unit disc. $W^t$ stays bounded if and only if the *minimal*
polynomial has its roots in the closed disc and those on the circle are simple: an eigenvalue is semisimple where it is
a simple root of that polynomial.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sympy import Expr, Matrix, Poly, Symbol
from sympy.polys.matrices import DomainMatrix

from derive.errors import UnsupportedError
from derive.linear_stability.fields import common_domain, field_of
from derive.linear_stability.formulas import formula
from derive.linear_stability.polynomials import derivative, gcd
from derive.linear_stability.root_condition import ZETA, root_condition
from derive.recurrence import Recurrence
from derive.recursions.jury import jury
from derive.recursions.powers import square
from derive.verdict import Step, Verdict

LAMBDA = Symbol("lambda")


@dataclass(frozen=True)
class LongRun(Verdict):
    """What W^t does for large t; `value` is whether it vanishes.

    Attributes:
        bounded: whether it stays bounded; None where W has symbols.
        defective: whether W has fewer eigenvectors than rows; None where W has symbols.
        characteristic: the polynomial of the eigenvalues in lambda.
    """

    bounded: bool | None = None
    defective: bool | None = None
    characteristic: Expr = field(kw_only=True)


def long_run(matrix: Any) -> LongRun:
    """Whether W^t vanishes, stays bounded or grows; with symbols, the condition for it to vanish.

    Raises:
        SpecError: the matrix is not square.
        UnsupportedError: entries that are not real, or mix symbols with roots of numbers.
    """
    W = square(matrix)
    size = W.rows
    domain, flat = common_domain(list(W))
    entries = DomainMatrix([flat[i * size : (i + 1) * size] for i in range(size)], (size, size), domain)
    p = list(reversed(entries.charpoly()))
    characteristic = Poly([domain.to_sympy(a) for a in reversed(p)], LAMBDA).as_expr()
    if domain.is_FractionField:
        found = jury(characteristic, LAMBDA)
        return LongRun(found.value, found.proof, characteristic=characteristic)
    numbers, proof = field_of(domain), [Step("characteristic polynomial", formula(domain, p, ZETA))]
    vanishes = root_condition(numbers, p, proof, strict=True)
    minimal = _minimal(entries)
    proof.append(Step("minimal polynomial", formula(domain, minimal, ZETA)))
    bounded = vanishes or root_condition(numbers, minimal, proof)
    repeated = len(gcd(numbers, minimal, derivative(minimal))) > 1
    return LongRun(vanishes, tuple(proof), bounded=bounded, defective=repeated, characteristic=characteristic)


def _minimal(W: DomainMatrix) -> list[Any]:
    """The minimal polynomial, constant term first: the first power that depends on those before it."""
    size, domain = W.shape[0], W.domain
    power, powers = DomainMatrix.eye(size, domain).to_dense(), []
    while True:
        powers.append([power[i, j].element for i in range(size) for j in range(size)])
        rows = DomainMatrix(powers, (len(powers), size * size), domain)
        relations = rows.transpose().nullspace().to_Matrix()
        if relations.rows:
            found = [domain.from_sympy(a) for a in relations.row(0)]
            return [a / found[-1] for a in found]
        power = power * W


def transition(recurrence: Recurrence) -> Matrix:
    """The matrix that a linear step of scalars applies to its state; what comes from outside is left out.

    Raises:
        UnsupportedError: the state has vectors, or the step is not linear in it.
    """
    vectors = [q.name for q in recurrence.old if q.shape]
    if vectors:
        raise UnsupportedError(f"{', '.join(vectors)}: a matrix with entries is that of a step of scalars")
    values: dict[Expr, Expr] = {}
    for line in recurrence.step.assignments:
        values[line.target] = line.value.xreplace(values)
    found = Matrix([values.get(q, q) for q in recurrence.new]).jacobian(Matrix(recurrence.old))
    if found.has(*recurrence.old):
        raise UnsupportedError("the step is not linear in its state; derive.ScalarRecursion linearizes it")
    return found

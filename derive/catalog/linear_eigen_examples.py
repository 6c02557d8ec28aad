"""Matrices that decide about what the decks say of the linear recursion, and those claims."""

from typing import Any

import mpmath
from sympy import Integer, Matrix, Rational, eye, log, sqrt

from derive import DeckClaim, number
from derive.catalog.linear_eigen_checks import changes_of_sign, length, states

DECK = "recurrent networks 2/26/2018"
HEADING = "Examples that decide"


def ratio(matrix: Any, begin: Any, steps: int) -> Any:
    """How much longer the state gets in the last step."""
    *_, before, after = states(matrix, begin, steps)
    return length(after) / length(before)


EXAMPLES = (
    number(
        "eigenvectors of a Jordan block",
        Integer(1),
        lambda: len((Matrix([[2, 1], [0, 2]]) - 2 * eye(2)).nullspace()),
        r"\dim \ker \left(J - \lambda I\right) = 1",
        reason="no basis: U Lambda U^-1 does not exist",
        name="eigenvectors",
        section=HEADING,
    ),
    number(
        "growth of diag(1/2, -2) from (1, 1)",
        Integer(2),
        lambda: ratio([[Rational(1, 2), 0], [0, -2]], (1, 1), 200),
        r"W = \operatorname{diag}\left(\tfrac12, -2\right): \qquad \lim |W^{t+1} h| / |W^t h| = 2",
        reason="the largest modulus leads, not the largest eigenvalue",
        name="rate",
        section=HEADING,
    ),
    number(
        "growth of a quarter turn times 1.1",
        Rational(11, 10),
        lambda: ratio([[0, -Rational(11, 10)], [Rational(11, 10), 0]], (1, 0), 50),
        r"W = 1.1\, R(90^\circ): \qquad |W^{t+1} h| / |W^t h| = |\lambda| = 1.1, \quad \operatorname{Re} \lambda = 0",
        reason="the modulus decides, not the real part",
        name="modulus",
        section=HEADING,
    ),
    number(
        "ten steps of a shear from (0, 1)",
        sqrt(101),
        lambda: length(states([[1, 1], [0, 1]], (0, 1), 10)[-1]),
        r"W = \begin{pmatrix} 1 & 1 \\ 0 & 1 \end{pmatrix}: \qquad |W^{10} h| = \sqrt{101}",
        reason="|lambda| = 1, defective: linear growth; a rotation keeps every length",
        name="sheared",
        section=HEADING,
    ),
    number(
        "time constant of 0.99",
        -1 / log(Rational(99, 100)),
        lambda: mpmath.findroot(lambda t: (mpmath.mpf(99) / 100) ** t - mpmath.exp(-1), 100),
        r"|\lambda|^{\tau} = e^{-1}: \qquad \tau = -1 / \ln |\lambda|, \qquad \tau(0.99) \approx 99.5",
        reason="as long as this |lambda| < 1 remembers",
        name="memory",
        section=HEADING,
    ),
    number(
        "what a matrix with rho = 0.9 makes of (0, 1)",
        Rational(9, 10) ** 9 * sqrt(10001),
        lambda: max(map(length, states([[Rational(9, 10), 10], [0, Rational(9, 10)]], (0, 1), 100))),
        r"W = \begin{pmatrix} 0.9 & 10 \\ 0 & 0.9 \end{pmatrix}: \qquad \max_t |W^t h| = |W^9 h| = 0.9^9 \sqrt{10001} "
        r"\approx 38.744",
        reason="far from normal: eigenvalues say nothing of middling t",
        name="peak",
        section=HEADING,
    ),
    number(
        "how often diag(1/3, -1/2) changes the sign of a component in eight steps",
        Integer(8),
        lambda: changes_of_sign(states([[Rational(1, 3), 0], [0, -Rational(1, 2)]], (1, 1), 8)),
        r"W = \operatorname{diag}\left(\tfrac13, -\tfrac12\right): \qquad 8",
        reason="symmetric, real eigenvalues: negative ones alternate; smooth are symmetric positive semidefinite ones",
        name="changes",
        section=HEADING,
    ),
)

CLAIMS = (
    DeckClaim(
        "E003-4",
        f"{DECK}, lines 304, 322, 338: m = argmax lambda_j",
        "rate",
        Rational(1, 2),
        agrees=False,
        note="argmax |lambda_j|: diag(1/2, -2) grows by 2 in each step, its largest eigenvalue is 1/2",
    ),
    DeckClaim(
        "E003-5",
        f"{DECK}, lines 344, 363: if |Re(lambda_max)| > 1 it will blow up",
        "modulus",
        Integer(0),
        agrees=False,
        note="|lambda| > 1: the real part of the eigenvalues of 1.1 R(90 degrees) is 0",
    ),
    DeckClaim(
        "E003-6",
        f"{DECK}, lines 344, 363: otherwise it will contract and shrink to 0 rapidly",
        "sheared",
        Integer(0),
        agrees=False,
        note="|lambda| = 1 keeps or grows; 0.99 needs 99.5 steps for a factor e; what is not normal grows first",
    ),
    DeckClaim(
        "E003-7",
        f"{DECK}, lines 298, 314: W = U Lambda U^-1, for every W",
        "eigenvectors",
        Integer(2),
        agrees=False,
        note="a Jordan block has one eigenvector only; line 365 is not readable",
    ),
    DeckClaim(
        "E003-8",
        f"{DECK}, lines 410-413: symmetric matrices give smooth responses",
        "changes",
        Integer(0),
        agrees=False,
        note="real negative eigenvalues alternate; smooth are symmetric positive semidefinite matrices",
    ),
)

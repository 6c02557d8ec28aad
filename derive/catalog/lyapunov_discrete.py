"""Lyapunov functions of recursions: quadratic ones where the step is linear, diagonal ones beyond."""

from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer, Matrix, Rational, cancel, eye, factor, sqrt

from derive import IdentityCheck, Spec, discrete_lyapunov, number, parameter, relation, state
from derive.catalog.vector_nonlinear_checks import TRAP, growth, rectified
from derive.checks import bound_check
from derive.convergence import Values
from derive.operators import Numeric

DECK = "recurrent networks 2/26/2018"
LINEAR, BEYOND = "Linear recursions", "Activations that do not expand"
a, b, d = (parameter(name) for name in "abd")
h_1, h_2 = state("h_1", ()), state("h_2", ())
W, Q = Matrix([[a / 2, b], [0, d / 2]]), eye(2)
P = discrete_lyapunov(W, Q).applyfunc(cancel)


def entry(known: Values, row: int, column: int) -> Numeric:
    """Of sum (W^T)^k Q W^k, summed until nothing is left."""
    M = mpmath.matrix([[known[a] / 2, known[b]], [0, known[d] / 2]])
    total, term = mpmath.matrix(2), mpmath.eye(2)
    for _ in range(260):
        total, term = total + term, M.T * term * M
    return total[row, column]


def series(row: int, column: int, name: str) -> Any:
    """One entry of P in closed form."""
    value: Expr = factor(P[row, column])
    return relation(
        f"entry {row + 1}, {column + 1} of P for W = [[a/2, b], [0, d/2]], Q = I",
        "identity",
        rf"P_{{{row + 1}{column + 1}}} = \sum_k \left((W^\top)^k\, Q\, W^k\right)_{{{row + 1}{column + 1}}}",
        text=f"P_{row + 1}{column + 1} = {value}",
        reason="the linear equation W^T P W - P = -Q, solved exactly; against the sum",
        name=name,
        value=value,
        check=IdentityCheck(lambda known, _: entry(known, row, column), value, (a, b, d)),
        section=LINEAR,
    )


def change(known: Values) -> Numeric:
    """V(W h) - V(h)."""
    numbers = mpmath.matrix([[entry(known, i, j) for j in range(2)] for i in range(2)])
    M = mpmath.matrix([[known[a] / 2, known[b]], [0, known[d] / 2]])
    h = mpmath.matrix([known[h_1], known[h_2]])
    before, after = ((v.T * numbers * v)[0] for v in (h, M * h))
    return after - before


def positive(radius: Any) -> bool:
    """Whether the solution for Q = I is positive definite, for random matrices with this spectral radius."""
    found = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        sample = random.normal(size=(3, 3))
        sample *= float(radius) / max(abs(np.linalg.eigvals(sample)))
        rounded = [[Rational(round(x * 10**6), 10**6) for x in row] for row in sample]
        numbers = np.array(discrete_lyapunov(rounded, eye(3)).tolist(), dtype=float)
        found.append(np.linalg.eigvalsh(numbers)[0] > 0)
    return all(found)


def contracts(size: Any) -> bool:
    """Whether |D f(W h)|, D diagonal, falls from every sampled h where sigma_max(D W D^-1) is this, f tanh or relu."""
    for seed in range(40):
        random = np.random.default_rng(seed)
        scaled, D = random.normal(size=(3, 3)), random.uniform(0.2, 5, 3)
        scaled = np.eye(3) if seed % 4 == 0 else scaled / np.linalg.norm(scaled, 2)
        matrix = float(size) * scaled / D[:, None] * D[None, :]
        for f in (np.tanh, lambda z: np.maximum(z, 0)):
            for h in (abs(random.normal(size=3)), random.normal(size=3) * 1e-6):
                if np.linalg.norm(D * f(matrix @ h)) >= np.linalg.norm(D * h):
                    return False
    return True


SPEC = Spec(
    id="lyapunov_discrete",
    class_name="",
    title="Lyapunov functions of recursions",
    source=f"{DECK}, 'Stability Analysis'; Stein 1952; Kaszkurewicz, Bhaya 2000",
    system=None,
    relations=(
        series(0, 0, "P_11"),
        series(0, 1, "P_12"),
        series(1, 1, "P_22"),
        relation(
            "it falls in every step",
            "identity",
            r"V(h) = h^\top P h: \qquad V(W h) - V(h) = -h^\top Q h",
            text="V(h) = h^T P h: V(W h) - V(h) = -h^T Q h",
            reason="by the equation that P solves",
            name="fall",
            value=-(h_1**2) - h_2**2,
            check=IdentityCheck(lambda known, _: change(known), -(h_1**2) - h_2**2, (a, b, d, h_1, h_2)),
            section=LINEAR,
        ),
        relation(
            "it is positive where powers vanish",
            "inequality",
            r"W^\top P W - P = -Q \prec 0: \qquad P \succ 0 \iff \rho(W) < 1",
            text="W^T P W - P = -Q < 0: P > 0 if and only if rho(W) < 1",
            reason="the sum converges there; else V would fall along an eigenvector that does not shrink",
            check=bound_check(positive, Integer(1)),
            section=LINEAR,
        ),
        relation(
            "one diagonal P serves tanh and relu",
            "inequality",
            r"|f(z)| \le |z|,\ P \text{ diagonal}: \qquad W^\top P W \prec P \Rightarrow V(f(W h)) < V(h); \qquad "
            r"\sigma_{\max}\left(P^{1/2} W P^{-1/2}\right) < 1",
            text="|f(z)| <= |z|, P diagonal: W^T P W < P gives V(f(W h)) < V(h); sigma_max(D W D^-1) < 1, D = P^(1/2)",
            reason="f shrinks every component, and a diagonal P weighs components alone; "
            "with P = I, sigma_max(W) < 1 suffices",
            check=bound_check(contracts, Integer(1)),
            section=BEYOND,
        ),
        number(
            "spectral radius of a trap",
            1 / sqrt(2),
            lambda: max(map(abs, mpmath.polyroots([1, mpmath.mpf(-1) / 2, mpmath.mpf(1) / 2], maxsteps=100))),
            r"W = \begin{pmatrix} 3/2 & 2 \\ -1 & -1 \end{pmatrix}: \qquad \rho(W) = 1/\sqrt{2}",
            reason="the linear recursion dies out",
            name="rho",
            section=BEYOND,
        ),
        number(
            "growth of relu on it from (1, 0)",
            Rational(3, 2),
            lambda: growth(rectified, TRAP, (1, 0)),
            r"h_{t+1} = \operatorname{relu}\left(W h_t\right),\ h_0 = (1, 0): \qquad h_t = "
            r"\left(\tfrac32\right)^t (1, 0)",
            reason="the second unit is cut off: relu iterates the principal submatrix (3/2); rho(W) < 1 is not enough",
            name="grown",
            section=BEYOND,
        ),
    ),
    no_module="`derive generate rnn_hidden` emits such recursions; `derive.discrete_lyapunov(W, Q)` solves the "
    "equation for matrices of your own, with numbers or symbols",
)

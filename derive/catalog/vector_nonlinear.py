"""Recursions of vectors with an activation: what rectifying cuts off, and how long anything is remembered."""

from collections.abc import Callable

import mpmath
from sympy import Abs, Expr, Integer, Rational, log, sqrt

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Recurrence,
    Spec,
    constant,
    input_,
    matvec,
    number,
    parameter,
    relation,
    relu,
    state,
    tanh,
)
from derive.catalog import vector_nonlinear_checks as checks

DECK = "recurrent networks 2/26/2018"
CONES, BLOW, MEMORY = "Signs", "Which one blows up", "Memory"
STEPS = 4
h, x = state("h", "H", latex="h_t", meaning="state"), input_("x", "I", meaning="input")
W, C = parameter("W", ("H", "H"), meaning="weights of the state"), parameter("C", ("H", "I"), meaning="of the input")
scale = constant("k", meaning="a positive number")


def recursion(f: Callable[[Expr], Expr]) -> Recurrence:
    """h(t) = f(W h(t-1) + C x(t))."""
    step = Builder()
    after = step.let("h_next", f(matvec(W, h) + matvec(C, x)), latex="h_{t+1}", meaning="state after the step")
    return Recurrence(step.build([after]), old=(h,), new=(after,), inputs=(x,), output=after)


def repeated(matrix: Expr, start: Expr, f: Callable[[Expr], Expr]) -> Expr:
    """STEPS steps as one expression."""
    for _ in range(STEPS):
        start = f(matvec(matrix, start))
    return start


positive = repeated(Abs(W), Abs(h), lambda z: z)
odd = -repeated(W, h, tanh)

SPEC = Spec(
    id="vector_nonlinear",
    class_name="",
    title="Vector recursions with an activation",
    source=f"{DECK}, 'Vector Process': h(t) = f(W h(t-1) + C x(t)), starts +-[1, ..., 1]/sqrt(N)",
    system={f.__name__: recursion(f) for f in (relu, tanh)},
    option="activation",
    relations=(
        relation(
            "positive weights, positive start",
            "identity",
            r"W \ge 0,\ h_0 \ge 0: \qquad h_t = W^t h_0 \text{ with relu}",
            text="W >= 0, h_0 >= 0: relu recursion = W^t h_0 (checked with |W| and |h|)",
            reason=f"nothing is cut off: it blows up if and only if rho(W) > 1; checked at t = {STEPS}",
            name="positive",
            value=positive,
            check=IdentityCheck(
                lambda known, _: checks.run(checks.rectified, abs(known[W]), abs(known[h]), STEPS)[-1], positive, (W, h)
            ),
            section=CONES,
        ),
        relation(
            "positive weights, negative start",
            "identity",
            r"W \ge 0,\ h_0 \le 0: \qquad h_t = 0 \text{ for } t \ge 1 \text{ with relu}",
            text="W >= 0, h_0 <= 0: h_t = 0 for t >= 1",
            reason="every component is cut off at once",
            name="negative",
            value=Integer(0),
            check=IdentityCheck(
                lambda known, _: checks.run(checks.rectified, abs(known[W]), -abs(known[h]), 1)[-1], Integer(0), (W, h)
            ),
            section=CONES,
        ),
        relation(
            "tanh is odd",
            "identity",
            r"h_t(-h_0) = -h_t(h_0) \text{ with tanh}",
            text=f"h_t(-h_0) = -h_t(h_0); checked at t = {STEPS}",
            reason="a negative start flips the trajectory, whatever W",
            name="odd",
            value=odd,
            check=IdentityCheck(
                lambda known, _: checks.run(checks.saturated, known[W], -known[h], STEPS)[-1], odd, (W, h)
            ),
            section=CONES,
        ),
        relation(
            "relu keeps factors",
            "identity",
            r"h_t(k h_0) = k\, h_t(h_0), \quad k > 0, \text{ with relu}",
            text=f"h_t(k h_0) = k h_t(h_0), k > 0; checked at t = {STEPS}",
            reason="positively homogeneous and unbounded: what grows once grows for ever; tanh saturates",
            name="homogeneous",
            value=scale * repeated(W, h, relu),
            check=IdentityCheck(
                lambda known, _: checks.run(checks.rectified, known[W], known[scale] * known[h], STEPS)[-1],
                scale * repeated(W, h, relu),
                (W, h, scale),
            ),
            section=BLOW,
        ),
        number(
            "modulus of the eigenvalues of a trap",
            1 / sqrt(2),
            lambda: max(map(abs, mpmath.polyroots([1, mpmath.mpf(-1) / 2, mpmath.mpf(1) / 2], maxsteps=100))),
            r"W = \begin{pmatrix} 3/2 & 2 \\ -1 & -1 \end{pmatrix}: \qquad |\lambda| = 1/\sqrt2",
            reason="the linear recursion dies out",
            name="trap_linear",
            section=BLOW,
        ),
        number(
            "relu on the trap, from (1, 0)",
            Rational(3, 2),
            lambda: checks.growth(checks.rectified, checks.TRAP, (1, 0)),
            r"h_0 = (1, 0): \qquad |h_{t+1}| / |h_t| = \tfrac32",
            reason="the second unit is cut off: relu iterates principal submatrices of W, here (3/2)",
            name="trap_rectified",
            section=BLOW,
        ),
        number(
            "relu over linear for W = -2 I, after ten steps from (1, 1)",
            Integer(0),
            lambda: checks.against_linear(checks.TURN_BACK, (1, 1), 10),
            r"W = -2 I: \qquad |h_{10}^{\text{relu}}| / |h_{10}^{\text{linear}}| = 0",
            reason="the linear recursion grows by 2 in each step; relu cuts all of it off",
            name="against_linear",
            section=BLOW,
        ),
        number(
            "what relu keeps of a normal number's mean square",
            Rational(1, 2),
            checks.kept,
            r"E\, \operatorname{relu}(z)^2 = \tfrac12, \qquad W_{ij} \sim N(0, \sigma^2/N): \quad "
            r"E |\operatorname{relu}(W h)|^2 = \tfrac{\sigma^2}{2} |h|^2, \quad E |W h|^2 = \sigma^2 |h|^2",
            reason="so that with random weights of mean 0 relu grows later than linear: its threshold is near "
            "sqrt(2), that of the linear recursion near 1",
            name="kept",
            section=BLOW,
        ),
        number(
            "time constant of the eigenvalue 1/2",
            1 / log(2),
            lambda: mpmath.findroot(lambda t: mpmath.mpf(2) ** -t - mpmath.exp(-1), 1),
            r"\tau(\lambda) = -1 / \ln |\lambda|: \qquad \tau(\tfrac12) \approx 1.44, \quad \tau(0.99) \approx 99.5",
            reason="memory grows with |lambda| up to 1; well below 1 everything is forgotten at once",
            name="memory",
            section=MEMORY,
        ),
    ),
    claims=(
        DeckClaim(
            "E003-12",
            f"{DECK}, lines 453, 478: ReLU is more prone to blowing up (than the linear recursion)",
            "kept",
            Integer(1),
            agrees=False,
            note="it depends on W: true of the trap, false of -2 I; random weights of mean 0 keep half the mean square",
        ),
        DeckClaim(
            "E003-13",
            f"{DECK}, line 454: eigenvalues less than 1.0 retain the most memory",
            "memory",
            -1 / log(Rational(99, 100)),
            agrees=False,
            note="read: just below 1; smaller ones forget faster, like |lambda|^t",
        ),
    ),
    no_module="`derive generate rnn_hidden` emits such recursions with any activation",
)

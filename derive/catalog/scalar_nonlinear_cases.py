"""What becomes of starts: tanh, sigmoid and rectified recursions of one number, and the claims of the deck on them."""

import mpmath
from sympy import Integer, Rational

from derive import (
    DeckClaim,
    IdentityCheck,
    Relation,
    branch,
    constant,
    input_,
    number,
    parameter,
    relation,
    sigmoid,
    state,
    tanh,
)
from derive.catalog import scalar_nonlinear_checks as checks
from derive.catalog.scalar_nonlinear_checks import RELU, TANH, h, w
from derive.checks import bound_check

DECK = "recurrent networks 2/26/2018"
OF_TANH, OF_SIGMOID, OF_RELU, STARTS = "tanh", "Sigmoid", "ReLU", "Starts"
STEPS = 5
x, c = input_("x", (), meaning="input"), parameter("c", meaning="weight of the input")
u, size = state("u", (), meaning="argument of f"), constant("p", meaning="a positive number")
begin = constant("b", meaning="a positive start")
SECOND = tanh(w * tanh(-w * h))

TANH_CASES = (
    relation(
        "fixed points of tanh",
        "inequality",
        r"h^* = 0 \text{ alone} \iff w \le 1; \qquad w > 1: \pm h^*(w),\ \mu = 2u / \sinh 2u < 1",
        text="h* = 0 alone if and only if w <= 1; beyond, +-h*(w) with mu = 2u/sinh(2u) < 1, 0 has mu = w",
        reason="u/tanh(u) >= 1; the sign of the start decides which one is reached",
        check=bound_check(checks.alone, Integer(1), at_bound=True),
        section=OF_TANH,
    ),
    relation(
        "where 0 attracts under tanh",
        "inequality",
        r"h_t \to 0 \text{ from every } h_0 \iff |w| \le 1",
        text="h_t -> 0 from every h_0 if and only if |w| <= 1",
        reason="mu = w at 0; |tanh(w h)| < |h| for w = 1 and w = -1 too, where the cubic term decides",
        check=bound_check(checks.dies_out, Integer(1), at_bound=True),
        section=OF_TANH,
    ),
    number(
        "tanh with w = 1",
        Rational(2, 3),
        lambda: 1 / checks.last(TANH, mpmath.mpf("1e-10"), 1, 1) ** 2 - mpmath.mpf("1e20"),
        r"w = 1: \qquad \frac{1}{h_{t+1}^2} - \frac{1}{h_t^2} \to \frac{2}{3}, \quad h_t \sqrt{t} \to \sqrt{3/2}",
        reason="mu = 1 at 0: the cubic term decides, and the state dies out like a power of t",
        name="cubic",
        tolerance=1e-18,
        section=OF_TANH,
    ),
    relation(
        "cycle of two of tanh",
        "inequality",
        r"w < -1: \qquad h_t \to \pm h^*(|w|) \text{ in turn}, \qquad \text{none} \iff w \ge -1",
        text="w < -1: a cycle of two, +-h*(|w|) in turn; none if and only if w >= -1",
        reason="tanh is odd: what is fixed for |w| changes its sign for w; the multiplier of 0 is w",
        check=bound_check(checks.without_cycle, Integer(1), at_bound=True),
        section=OF_TANH,
    ),
)

OTHER_CASES = (
    relation(
        "positive start",
        "identity",
        r"h_0 > 0,\ w > 0: \quad h_t = w^t h_0; \qquad w \le 0: \quad h_t = 0 \text{ for } t \ge 1",
        text="h_0 > 0, w > 0: h_t = w^t h_0; w <= 0: h_t = 0 for t >= 1",
        reason="a recursion that is linear as long as it is positive",
        check=IdentityCheck(
            lambda known, _: checks.last(RELU, known[begin], known[size], STEPS), size**STEPS * begin, (size, begin)
        ),
        section=OF_RELU,
    ),
    relation(
        "negative start and negative weight",
        "identity",
        r"h_0 < 0,\ w < 0: \quad h_1 = w h_0 > 0,\ h_t = 0 \text{ for } t \ge 2; \qquad w \ge 0: \quad h_t = 0",
        text="h_0 < 0, w < 0: h_1 = w h_0 > 0, then 0; w >= 0: 0 at once (checked: h_1 + h_2, h_0 = -b, w = -p)",
        reason="the product is positive once",
        name="answer",
        value=size * begin,
        check=IdentityCheck(
            lambda known, _: sum(RELU.run(-known[begin], 2, {w: -known[size]})[1:]), size * begin, (size, begin)
        ),
        section=OF_RELU,
    ),
    relation(
        "impulse as a start",
        "identity",
        r"h_0 = f(c\, x_0),\ x_t = 0: \qquad h_t = f(w h_{t-1})",
        text="an impulse x_0 into h = 0 is the start h_0 = f(c x_0); its sign is that of c: f((-c) x_0) = f(c (-x_0))",
        reason="both conventions give the same runs; checked with tanh, one step after the impulse",
        check=IdentityCheck(
            lambda known, _: checks.last(TANH, mpmath.tanh(-known[c] * known[x]), known[w], 1),
            tanh(w * tanh(c * (-x))),
            (w, c, x),
        ),
        section=STARTS,
    ),
    relation(
        "two steps from -h",
        "identity",
        r"h_2(-h; w) = \tanh\left(w \tanh(-w h)\right) = -h_2(h; w) = -h_2(h; -w)",
        text=f"h_2 = {SECOND} from -h with w, and minus that from h with -w",
        reason="tanh is odd: the start flips the trajectory; w flips every second step only",
        name="second",
        value=SECOND,
        check=IdentityCheck(lambda known, _: checks.last(TANH, -known[h], known[w], 2), SECOND, (w, h)),
        section=STARTS,
    ),
)


def of_the_sigmoid() -> tuple[Relation, ...]:
    """Where its fixed point is stable, in closed form."""
    (onset,), (steepest,) = branch(sigmoid, u).where(-1), branch(sigmoid, u).extremes()
    return (
        number(
            "onset of oscillation of the sigmoid",
            onset["weight"],
            checks.onset,
            r"\mu = -1: \qquad w_c = -\frac{(1 + L)^2}{L} \approx -5.86958601943, \quad L = W_0(1/e)",
            reason="u f'(u)/f(u) = -1 is u + 1 = -e^u, which Lambert's function solves",
            name="onset",
            section=OF_SIGMOID,
        ),
        number(
            "largest multiplier of the sigmoid with w > 0",
            steepest["multiplier"],
            checks.steepest,
            r"\mu \le W_0(1/e) \approx 0.278464542761, \qquad w > 0",
            reason="stationary on the curve of fixed points: both starts reach the same value, within a few steps",
            name="steepest",
            tolerance=1e-20,
            section=OF_SIGMOID,
        ),
        relation(
            "the sigmoid settles",
            "inequality",
            r"h^* \text{ stable} \iff w \ge w_c",
            text="h* is stable, without a cycle of two beside it, if and only if w >= w_c",
            reason="one fixed point for every w; for w < 0 its multiplier falls through -1 at w_c, and there the cubic "
            "term still attracts",
            check=bound_check(checks.settles, -onset["weight"], at_bound=True),
            section=OF_SIGMOID,
        ),
        number(
            "the sigmoid at the onset",
            onset["weight"] ** 2 / 3,
            checks.slow_rate,
            r"w = w_c: \qquad \frac{1}{(h_{t+2} - h^*)^2} - \frac{1}{(h_t - h^*)^2} \to \frac{w_c^2}{3}, \quad "
            r"|h_t - h^*| \sqrt{t} \to \frac{\sqrt 6}{|w_c|} \approx 0.417317",
            reason="mu = -1: two steps take d to d - 2 (a^2 + b) d^3, with a^2 + b = w_c^2 / 12 from the slopes of f",
            name="slow",
            tolerance=1e-12,
            section=OF_SIGMOID,
        ),
        number(
            "values that the sigmoid with w = -7 visits in the long run",
            Integer(2),
            lambda: checks.values_in_the_long_run(-7),
            r"w = -7: \qquad h_t \in \left\{0.0562998413,\ 0.4027309672\right\} \text{ in turn}",
            reason="beyond the onset: a stable cycle of two",
            name="visited",
            section=OF_SIGMOID,
        ),
    )


CLAIMS = (
    DeckClaim(
        "E003-9",
        f"{DECK}, lines 421, 438: sigmoid saturates, regardless of w",
        "visited",
        Integer(1),
        agrees=False,
        note="it oscillates for w < -5.8696",
    ),
    DeckClaim(
        "E003-10",
        f"{DECK}, line 436: a negative start is equivalent to a negative weight",
        "second",
        SECOND.xreplace({h: -h, w: -w}),
        agrees=False,
        note="true of the weight of the input and an impulse, not of the recurrent weight beyond the first step",
    ),
    DeckClaim(
        "E003-11",
        f"{DECK}, line 440: ReLU has no response for negative starts",
        "answer",
        Integer(0),
        agrees=False,
        note="for w >= 0, or an impulse with c x_0 < 0; with w < 0 there is one response, w h_0",
    ),
)

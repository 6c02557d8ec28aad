"""Bounded inputs: when responses stay bounded, and by how much."""

from sympy import Abs, Integer, Rational

from derive import IdentityCheck, SampledCheck, Spec, constant, number, parameter, relation, state
from derive.catalog import bibo_checks as checks

DECK = "recurrent networks 2/26/2018"
LINEAR, GATED = "Linear recursions", "Bounded activations and gates"
STEPS = 25
w, c, M = parameter("w"), parameter("c"), constant("M", meaning="bound of the input")
C_0 = state("C_0", (), meaning="cell at the start")
loudest = Abs(c) * M / (1 - Abs(w))


def tightened(factor: Rational) -> Rational:
    """Two hundredths less."""
    return factor * Rational(49, 50)


SPEC = Spec(
    id="bibo",
    class_name="",
    title="Bounded inputs, bounded outputs",
    source=f"{DECK}, 'BIBO Stability'",
    system=None,
    relations=(
        relation(
            "gain of a linear recursion",
            "inequality",
            r"h_k = W h_{k-1} + C x_k: \qquad |h_k| \le \|W^{k+1}\|\, |h_{-1}| + \sup_j |x_j| \sum_{j \ge 0} "
            r"\|W^j C\|, \qquad \text{finite if } \rho(W) < 1",
            text="|h_k| <= |W^(k+1)| |h_-1| + sup |x| sum of |W^j C|, finite where rho(W) < 1",
            reason="the closed form and the triangle inequality; attained by scalars on the worst input",
            check=SampledCheck(checks.above_the_gain, Rational(1), tightened),
            section=LINEAR,
        ),
        relation(
            "loudest response of a scalar",
            "identity",
            r"\sup_{|x| \le M} |h| = \frac{|c| M}{1 - |w|}, \qquad |w| < 1",
            text=f"sup over |x| <= M of |h| = {loudest}",
            reason="a geometric series; attained by a constant input where w > 0, by an alternating one where w < 0",
            name="loudest",
            value=loudest,
            check=IdentityCheck(lambda known, _: checks.loud(known[w], known[c], known[M]), loudest, (w, c, M)),
            section=LINEAR,
        ),
        number(
            f"a memory that loses nothing, after {STEPS} inputs of 1",
            Integer(STEPS),
            lambda: checks.summed(STEPS),
            rf"w = c = 1,\ x = 1: \qquad h_{{{STEPS}}} = {STEPS}",
            reason="rho = 1: bounded powers, unbounded sums; not stable in this sense",
            name="lossless",
            section=LINEAR,
        ),
        relation(
            "cell of an LSTM",
            "inequality",
            r"|C_t| \le |C_0| + t, \qquad |h_t| \le 1",
            text="|C_t| <= |C_0| + t, |h_t| <= 1",
            reason="gates lie in (0, 1), the candidate in (-1, 1); bounded activations bound outputs whatever the "
            "weights, but no bound on C_t holds for all t",
            check=SampledCheck(checks.lstm_above, Rational(1), tightened),
            section=GATED,
        ),
        relation(
            "it is attained where gates saturate",
            "asymptotic",
            r"f_t, i_t, \tilde C_t \to 1: \qquad C_t \to C_0 + t",
            text="gates and candidate at 1: C_t = C_0 + t",
            reason=f"an LSTM counts; checked at t = {STEPS}, all arguments 400",
            name="counter",
            value=C_0 + STEPS,
            check=IdentityCheck(lambda known, _: checks.saturated_cell(known, STEPS), C_0 + STEPS, (C_0,)),
            section=GATED,
        ),
        relation(
            "state of a GRU",
            "inequality",
            r"|h_t| \le \max\left(|h_0|, 1\right)",
            text="|h_t| <= max(|h_0|, 1)",
            reason="a convex combination of the last state and of a candidate in (-1, 1)",
            check=SampledCheck(checks.gru_above, Rational(1), tightened),
            section=GATED,
        ),
    ),
    no_module="`derive generate linear_recursion`, `lstm_peephole`, `gru` emit what is bounded here; "
    "`derive.peak_gain(W, C)` bounds a linear recursion of your own",
)

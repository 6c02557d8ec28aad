"""The linear recursion with several taps: K taps are K modes."""

import mpmath
from sympy import Integer, Mul

from derive import (
    Builder,
    IdentityCheck,
    Rational,
    Recurrence,
    Relation,
    Spec,
    companion,
    constant,
    input_,
    number,
    parameter,
    relation,
    state,
)
from derive.convergence import Values
from derive.linear_stability.formulas import ordered
from derive.operators import Numeric
from derive.recursions.long_run import LAMBDA, long_run
from derive.sampling import Sampler

DECK = "recurrent networks 2/26/2018"
MODES, LEADS = "Taps and modes", "The example of the deck"
STEPS = 9

x, c = input_("x", (), meaning="input"), parameter("c", meaning="weight of the input")
w = {d: parameter(f"w_{d}", meaning=f"weight of the tap at lag {d}") for d in (1, 2, 3, 5)}


def taps(size: int, used: tuple[int, ...]) -> Recurrence:
    """h(t) from the last `size` values, with weights at the lags that are used."""
    past = [state(f"h_{d}", (), latex=f"h_{{t-{d}}}", meaning=f"value {d} steps ago") for d in range(1, size + 1)]
    step = Builder()
    newest = step.let("h", sum((w[d] * past[d - 1] for d in used), c * x), latex="h_t", meaning="response")
    kept = [step.let(f"kept_{d}", past[d - 1], latex=f"h_{{t-{d}}}^{{+}}") for d in range(1, size)]
    return Recurrence(step.build([newest, *kept]), tuple(past), (newest, *kept), (x,), output=newest)


K = 3
lam = [constant(f"lambda_{j}", latex=rf"\lambda_{j}", meaning="eigenvalue") for j in range(1, K + 1)]
modes = sum(c * root ** (STEPS + K - 1) / Mul(*(root - other for other in lam if other is not root)) for root in lam)


def impulse_response(known: Values, _: Sampler) -> Numeric:
    """h(STEPS) by the recursion from h = 0 with x = 1 at t = 0 alone; the weights are those with these roots."""
    numbers = {root: known[root] for root in lam}
    own = [-a for a in _coefficients([numbers[root] for root in lam])]
    past = [mpmath.mpf(0)] * K
    for t in range(STEPS + 1):
        past = [sum((a * h for a, h in zip(own, past, strict=True)), known[c] * (t == 0)), *past[:-1]]
    return past[0]


def _coefficients(roots: list[Numeric]) -> list[Numeric]:
    """Of the monic polynomial with these roots, highest power first, without the leading one."""
    found = [mpmath.mpf(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([*found, 0], [0, *found], strict=True)]
    return found[1:]


def determinant(known: Values, size: int) -> Numeric:
    """det(lambda I - A), by elimination."""
    matrix = known[at] * mpmath.eye(size)
    for d in range(size):
        matrix[0, d] -= known[parameter(f"w_{d + 1}")]
        if d:
            matrix[d, d - 1] -= 1
    return mpmath.det(matrix)


at = parameter("lambda_", latex=r"\lambda")


def of_the_matrix(size: int) -> Relation:
    """The characteristic polynomial of the companion matrix."""
    symbols = [parameter(f"w_{d}") for d in range(1, size + 1)]
    found = long_run(companion(symbols)).characteristic.xreplace({LAMBDA: at})
    return relation(
        f"characteristic polynomial of {size} taps",
        "identity",
        rf"\det\left(\lambda I - A\right) = {ordered(found, at)}",
        text=f"det(lambda I - A) = {found}",
        reason="A is the companion matrix: what takes (h(t-1), ..., h(t-K)) a step further",
        name=f"characteristic_{size}",
        value=found,
        check=IdentityCheck(lambda known, _: determinant(known, size), found, (*symbols, at)),
        section=MODES,
    )


DECK_WEIGHTS = (Rational(1, 2), Integer(0), Integer(0), Integer(0), Rational(1, 4))


def grows_by() -> Numeric:
    """h(t + 1) / h(t) of the deck's example, late."""
    past = [mpmath.mpf(1), *[mpmath.mpf(0)] * 4]
    for _ in range(1200):
        past = [past[0] / 2 + past[4] / 4, *past[:-1]]
    return past[0] / past[1]


def relations() -> tuple[Relation, ...]:
    """What is derived, in order."""
    roots = long_run(companion(DECK_WEIGHTS)).characteristic.as_poly(LAMBDA)
    return (
        *map(of_the_matrix, (2, 3, 4)),
        relation(
            "impulse response: as many modes as taps",
            "identity",
            r"h_0(t) = c \left(A^t\right)_{11} = c \sum_j \frac{\lambda_j^{t + K - 1}}{\prod_{i \ne j} "
            r"\left(\lambda_j - \lambda_i\right)}",
            text="h_0(t) = c (A^t)_11 = c sum over j of lambda_j^(t + K - 1) / prod over i != j of "
            "(lambda_j - lambda_i)",
            reason=f"partial fractions, where the roots are distinct; checked with K = {K} at t = {STEPS}",
            name="impulse_response",
            value=modes,
            check=IdentityCheck(impulse_response, modes, (*lam, c)),
            section=MODES,
        ),
        number(
            "growth of h(t) = h(t-1)/2 + h(t-5)/4",
            max((root for root in roots.real_roots()), key=abs),
            grows_by,
            r"h(t) = \tfrac12 h(t-1) + \tfrac14 h(t-5): \qquad \lambda^5 - \tfrac12 \lambda^4 - \tfrac14 = 0, \quad "
            r"\lambda_{\max} \approx 0.8930464",
            reason="one real mode leads two complex pairs: the response ends smoothly",
            name="leading",
            section=LEADS,
        ),
        number(
            "complex modes of it",
            Integer(4),
            lambda: sum(abs(mpmath.im(root)) > 0.01 for root in mpmath.polyroots([1, -0.5, 0, 0, 0, -0.25])),
            r"\# \left\{j: \operatorname{Im} \lambda_j \ne 0\right\} = 4",
            reason="five taps, five modes: Sturm's theorem counts one real root",
            name="complex_modes",
            section=LEADS,
        ),
    )


SPEC = Spec(
    id="multitap_linear",
    class_name="",
    title="The linear recursion with several taps",
    source=f"{DECK}, 'How about deeper recursion', 'Stability Analysis'",
    system={2: taps(2, (1, 2)), 3: taps(3, (1, 2, 3)), 5: taps(5, (1, 5))},
    option="taps",
    defaults={"w_1": 0.5, "w_2": -0.75, "w_3": -0.5, "w_5": 0.25, "c": 1.0},
    relations=relations,
    no_module="`derive generate rnn_multitap` emits several taps with matrices and an activation; `derive.jury` and "
    "`derive.long_run(derive.companion(weights))` answer for weights of your own",
)

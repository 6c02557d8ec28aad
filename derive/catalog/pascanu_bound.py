"""Products of Jacobians through time: what bounds them, in which order they stand, and which norm decides."""

from sympy import Expr, Integer, Rational

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Recurrence,
    SampledCheck,
    Spec,
    input_,
    matvec,
    number,
    parameter,
    pushforward,
    relation,
    state,
    tanh,
    transpose,
)
from derive.catalog import pascanu_bound_checks as checks
from derive.checks import bound_check

DECK = "LSTM theory and workflows, 'BPTT and exploding/vanishing gradients'"
PASCANU = "Pascanu, Mikolov, Bengio, arXiv:1211.5063"
ORDER, BOUND, WHICH = "The product", "Its size", "Singular values, not eigenvalues"
STEPS = 3
x, u = state("x", "H", latex="x_{t-1}", meaning="state before the activation"), input_("u", "I", meaning="input")
W, U = parameter("W", ("H", "H"), latex=r"W_{rec}"), parameter("U", ("H", "I"), latex=r"W_{in}")
b, v, g = parameter("b", "H"), state("v", "H", meaning="a direction"), state("g", "H", meaning="a covector")
V = parameter("V", ("H", "H"), meaning="a direction of W")
step = Builder()
after = step.let("x_next", matvec(W, tanh(x)) + matvec(U, u) + b, latex="x_t", meaning="state after the step")

states: list[Expr] = [x]
for _ in range(STEPS):
    states.append(matvec(W, tanh(states[-1])) + b)
slopes = [1 - tanh(one) ** 2 for one in states]


def carried(start: Expr, matrix: Expr = W) -> Expr:
    """The Jacobian of STEPS steps applied to a vector: the first step first."""
    for slope in slopes[:STEPS]:
        start = matvec(matrix, slope * start)
    return start


by_weights = matvec(V, tanh(states[0]))
for place in range(1, STEPS):
    by_weights = matvec(V, tanh(states[place])) + matvec(W, slopes[place] * by_weights)
pulled: Expr = g
for slope in reversed(slopes[:STEPS]):
    pulled = slope * matvec(transpose(W), pulled)
hidden = pushforward(tanh(matvec(W, x) + b), {x: v})
EIGHT = [[8, 8], [-8, -8]]

SPEC = Spec(
    id="pascanu_bound",
    class_name="",
    title="Vanishing and exploding gradients through time",
    source=f"{DECK}; {PASCANU}: x_t = W_rec sigma(x_(t-1)) + W_in u_t + b, x before the activation",
    system=Recurrence(step.build([after]), old=(x,), new=(after,), inputs=(u,), output=after),
    relations=(
        relation(
            "Jacobian of t - k steps",
            "identity",
            r"\frac{\partial x_t}{\partial x_k} = \prod_{i=t}^{k+1} W_{rec} \operatorname{diag}\left(\sigma'(x_{i-1})"
            r"\right), \qquad i \text{ falling from left to right}",
            text=f"d x_t / d x_k along v = {carried(v)}",
            reason=f"the chain rule in rows and columns as they are; checked with tanh over {STEPS} steps",
            name="jacobian",
            value=carried(v),
            check=IdentityCheck(
                lambda known, _: checks.along(known[W], known[b], known[x], STEPS, 0 * known[W], known[v]),
                carried(v),
                (W, b, x, v),
            ),
            section=ORDER,
        ),
        relation(
            "gradients as columns",
            "identity",
            r"\nabla_{x_k} \mathcal E = \prod_{i=k+1}^{t} \operatorname{diag}\left(\sigma'(x_{i-1})\right) "
            r"W_{rec}^\top\, \nabla_{x_t} \mathcal E, \qquad i \text{ rising from left to right}",
            text=f"gradient of g . x_t in x_k = {pulled}",
            reason="the transpose of the product: every factor is transposed and their order is reversed",
            name="gradient",
            value=pulled,
            check=IdentityCheck(
                lambda known, _: checks.gradient(known[W], known[b], known[x], STEPS, known[g]), pulled, (W, b, x, g)
            ),
            section=ORDER,
        ),
        relation(
            "of the hidden state",
            "identity",
            r"h_t = f(a_t),\ a_t = W h_{t-1} + b: \qquad \frac{\partial h_t}{\partial h_{t-1}} = "
            r"\operatorname{diag}\left(f'(a_t)\right) W",
            text=f"d h_t / d h_(t-1) along v = {hidden}",
            reason="the same factors, cut at another place",
            name="hidden",
            value=hidden,
            check=IdentityCheck(
                lambda known, _: checks.hidden_along(known[W], known[b], known[x], known[v]), hidden, (W, b, x, v)
            ),
            section=ORDER,
        ),
        relation(
            "sum over all earlier steps",
            "identity",
            r"\frac{\partial \mathcal E_t}{\partial \theta} = \sum_{k=1}^{t} "
            r"\frac{\partial \mathcal E_t}{\partial x_t} \frac{\partial x_t}{\partial x_k} "
            r"\frac{\partial^+ x_k}{\partial \theta}",
            text=f"d x_t / d W along V = {by_weights}",
            reason="every step is one occurrence of the weights",
            name="by_weights",
            value=by_weights,
            check=IdentityCheck(
                lambda known, _: checks.along(known[W], known[b], known[x], STEPS, known[V], 0 * known[x]),
                by_weights,
                (W, b, x, V),
            ),
            section=ORDER,
        ),
        relation(
            "bound",
            "inequality",
            r"\left\|\frac{\partial x_t}{\partial x_k}\right\|_2 \le "
            r"\left(\gamma\, \sigma_{\max}(W_{rec})\right)^{t-k}, \qquad |\sigma'| \le \gamma",
            text="|d x_t / d x_k| <= (gamma sigma_max(W))^(t - k), |f'| <= gamma",
            reason="the norm of a product; attained by symmetric W where all slopes are gamma",
            check=SampledCheck(checks.violations, Rational(1), lambda factor: factor * Rational(49, 50)),
            section=BOUND,
        ),
        relation(
            "gradients must vanish",
            "inequality",
            r"\gamma\, \sigma_{\max}(W_{rec}) < 1 \Rightarrow \frac{\partial x_t}{\partial x_k} \to 0; \qquad "
            r"\text{exploding needs } \sigma_{\max} > 1 / \gamma",
            text="gamma sigma_max(W) < 1: d x_t / d x_k -> 0; to explode needs sigma_max > 1/gamma",
            reason="by the bound; sharp for orthogonal W and slopes of gamma",
            check=bound_check(checks.vanishes, Integer(1)),
            section=BOUND,
        ),
        number(
            "forty steps with sigma_max = 2",
            Integer(1),
            lambda: checks.aligned_or_not([[0, 2], ["0.5", 0]], 40),
            r"W = \begin{pmatrix} 0 & 2 \\ 1/2 & 0 \end{pmatrix},\ f = \tanh,\ x = 0: \qquad \left\|\frac{\partial "
            r"x_{40}}{\partial x_0}\right\|_2 = 1",
            reason="sigma_max > 1/gamma is necessary to explode, not sufficient: directions of steps are not aligned",
            name="kept",
            section=BOUND,
        ),
        number(
            "a nilpotent matrix with an expanding Jacobian",
            Integer(2),
            lambda: checks.radius_at(*checks.of_the_matrix(EIGHT)),
            r"W = \begin{pmatrix} 8 & 8 \\ -8 & -8 \end{pmatrix},\ x^* = "
            r"\left(0, \operatorname{artanh}\tfrac12\right): \qquad "
            r"\rho(W) = 0, \quad \rho\left(\frac{\partial x_t}{\partial x_{t-1}}\right) = 2",
            reason="W diag(1, 3/4) has the eigenvalues 0 and 2: gradients explode at this fixed point",
            name="radius",
            section=WHICH,
        ),
    ),
    claims=(
        DeckClaim(
            "E004-2",
            f"{DECK}, line 146: product of W_rec^T diag(sigma'(x_(i-1))), as in {PASCANU}",
            "jacobian",
            carried(v, transpose(W)),
            agrees=False,
            note="W in this order; with gradients as columns it is diag(sigma') W^T, in the other order",
        ),
        DeckClaim(
            "eigenvalue",
            f"{PASCANU}, first version: the largest eigenvalue of W_rec below 1/gamma is sufficient to vanish",
            "radius",
            Integer(0),
            agrees=False,
            note="the largest singular value: with rho(W) = 0 the Jacobian of tanh at a fixed point has rho = 2",
        ),
    ),
    no_module="`derive generate rnn_hidden` emits the recursion with its derived backward",
)

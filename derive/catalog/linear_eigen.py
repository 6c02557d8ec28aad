"""The linear recursion in its eigenvectors, and without them: where W^t h goes, and what happens on the way."""

from typing import Any

import mpmath
from sympy import Abs, I, Matrix, eye, im

from derive import (
    DeckClaim,
    IdentityCheck,
    Illustration,
    Integer,
    Relation,
    SampledCheck,
    Spec,
    constant,
    exp,
    matrix_power,
    norm,
    parameter,
    relation,
    sqrt,
    state,
)
from derive.catalog import linear_eigen_checks as checks
from derive.catalog.linear_eigen_examples import CLAIMS, EXAMPLES
from derive.checks import bound_check
from derive.convergence import Values

FORM, LEADS, CRITERION, BEFORE = "Closed form", "Which mode leads", "When it vanishes", "On the way"
STEPS, LATE = 7, 400
FIXED = [mpmath.mpf(9) / 10, mpmath.mpf(-1) / 2, mpmath.mpf(1) / 3]

u = [state(f"u_{j}", 3, meaning="eigenvector") for j in (1, 2, 3)]
a = [parameter(f"a_{j}", meaning="component of the start along u_j") for j in (1, 2, 3)]
lam = [parameter(f"lambda_{j}", latex=rf"\lambda_{j}", meaning="eigenvalue") for j in (1, 2, 3)]
modes = sum(a_j * lam_j**STEPS * u_j for a_j, lam_j, u_j in zip(a, lam, u, strict=True))
p, h_1, h_2 = parameter("p"), state("h_1", ()), state("h_2", ())
r, theta = constant("r", meaning="modulus"), constant("theta", latex=r"\theta", meaning="angle")
start, sheared = Matrix([h_1, h_2]), Matrix([[1, p], [0, 1]])
z = r * exp(I * theta)


def modes_in_steps(known: Values, values: list[Any], steps: int) -> Any:
    """W^t (a_1 u_1 + a_2 u_2 + a_3 u_3), one product at a time."""
    begin = sum(known[a_j] * known[u_j] for a_j, u_j in zip(a, u, strict=True))
    return checks.with_modes([known[u_j] for u_j in u], values, begin, steps)


def power(title: str, W: Matrix, claimed: Matrix, formula: str, text: str, reason: str, name: str = "") -> Relation:
    """The first component of W^t h in closed form against t products."""
    stepped = start
    for _ in range(STEPS):
        stepped = (W * stepped).applyfunc(lambda entry: entry)
    value = (claimed * start)[0]
    check = IdentityCheck(stepped[0], value, (r, theta, p, h_1, h_2))
    named = {"name": name, "value": value} if name else {}
    return relation(title, "identity", formula, text=text, reason=reason, check=check, section=FORM, **named)


def closed_forms() -> tuple[Relation, ...]:
    """Powers of matrices that have no basis of real eigenvectors."""
    defective = sheared * Matrix([[r, 1], [0, r]]) * sheared.inv()
    turning = sheared * Matrix([[z.as_real_imag()[0], -im(z)], [im(z), z.as_real_imag()[0]]]) * sheared.inv()
    stretch = im(z**STEPS) / im(z)
    of_pair = ((z**STEPS).as_real_imag()[0] - z.as_real_imag()[0] * stretch) * eye(2) + stretch * turning
    return (
        power(
            "without a basis of eigenvectors",
            defective,
            matrix_power(defective, Integer(STEPS), (r, r)),
            r"W^t = \sum_k \lambda^t[\lambda_1, \dots, \lambda_k] \prod_{j < k} \left(W - \lambda_j I\right), \qquad "
            r"\lambda_1 = \lambda_2 = r: \quad W^t = r^t I + t\, r^{t-1} \left(W - r I\right)",
            "W^t = r^t I + t r^(t-1) (W - r I) for a double eigenvalue r: Newton's interpolation of lambda^t",
            "Cayley and Hamilton: any polynomial that agrees with lambda^t on the spectrum, derivatives included",
        ),
        power(
            "two conjugate eigenvalues",
            turning,
            of_pair,
            r"\lambda = r e^{\pm i \theta}: \qquad W^t = r^t \left(\cos t\theta\, I + \frac{\sin t\theta}"
            r"{r \sin\theta} \left(W - r \cos\theta\, I\right)\right)",
            "W^t = r^t (cos(t theta) I + sin(t theta)/(r sin theta) (W - r cos theta I)); period 2 pi/theta",
            "the same interpolation; its divided difference of a pair is Im lambda^t / Im lambda",
        ),
    )


IN_EIGENVECTORS = relation(
    "in eigenvectors",
    "identity",
    r"h_0 = \sum_j a_j u_j, \quad W u_j = \lambda_j u_j: \qquad W^t h_0 = \sum_j a_j\, \lambda_j^t\, u_j",
    text="W^t h_0 = sum of a_j lambda_j^t u_j, where W has a basis of eigenvectors",
    reason=f"each mode is multiplied by its eigenvalue; checked at t = {STEPS}",
    check=IdentityCheck(
        lambda known, _: modes_in_steps(known, [known[each] for each in lam], STEPS), modes, (*u, *a, *lam)
    ),
    section=FORM,
)

LONG_RUN = (
    relation(
        "the leading mode",
        "asymptotic",
        r"\lambda_m^{-t}\, W^t h_0 \to a_m u_m, \qquad m = \operatorname{argmax}_{j: a_j \ne 0} |\lambda_j|"
        r"\ \text{(if there is one)}",
        text="lambda_m^-t W^t h_0 -> a_m u_m, m = argmax |lambda_j| over a_j != 0",
        reason=f"all others fall behind; checked with eigenvalues 9/10, -1/2, 1/3 at t = {LATE}",
        check=IdentityCheck(
            lambda known, _: modes_in_steps(known, FIXED, LATE) / FIXED[0] ** LATE, a[0] * u[0], (*u, *a)
        ),
        section=LEADS,
    ),
    relation(
        "its length",
        "asymptotic",
        r"|W^t h_0| \sim |\lambda_m|^t\, |a_m|\, |u_m|",
        text="|W^t h_0| / |lambda_m|^t -> |a_m| |u_m|",
        reason="a number on both sides; where |lambda_m| is shared the ratio need not converge",
        name="length",
        value=Abs(a[0]) * norm(u[0]),
        check=IdentityCheck(
            lambda known, _: checks.length(modes_in_steps(known, FIXED, LATE)) / FIXED[0] ** LATE,
            Abs(a[0]) * norm(u[0]),
            (*u, *a),
        ),
        section=LEADS,
    ),
    relation(
        "powers vanish",
        "inequality",
        r"W^t \to 0 \iff \rho(W) = \max_j |\lambda_j| < 1",
        text="W^t -> 0 if and only if rho(W) = max |lambda_j| < 1",
        reason="by the closed form: |lambda|^t beats any power of t",
        check=bound_check(checks.vanishes, Integer(1), at_bound=False),
        section=CRITERION,
    ),
    relation(
        "powers stay bounded",
        "inequality",
        r"\sup_t \|W^t\| < \infty \iff \text{the minimal polynomial of } W \text{ has no root outside the unit disc "
        r"and only simple ones on it}",
        text="W^t is bounded if and only if the minimal polynomial of W satisfies the root condition",
        reason="a double root there is a factor t lambda^(t-1); that of the characteristic polynomial may have a basis",
        check=SampledCheck(checks.misjudged, "minimal", lambda _: "characteristic"),
        section=CRITERION,
    ),
    relation(
        "normal matrices contract at once",
        "identity",
        r"W = r R(\theta): \qquad |W^t h| = r^t |h|",
        text="W = r R(theta): |W^t h| = r^t |h|, while components oscillate",
        reason="rotations keep lengths",
        check=IdentityCheck(
            lambda known, _: checks.turned(known[r], known[theta], [known[h_1], known[h_2]], STEPS),
            r**STEPS * sqrt(h_1**2 + h_2**2),
            (r, theta, h_1, h_2),
        ),
        section=BEFORE,
    ),
)

LIMIT = DeckClaim(
    "E003-3",
    "recurrent networks 2/26/2018, lines 304, 322, 338, 355, 377: lim |W^t h| = a_m lambda_m^t u_m",
    "length",
    a[0] * u[0],
    agrees=False,
    note="a number on the left, a vector on the right, and both depend on t; over lambda_m^t the vector converges",
)

SPEC = Spec(
    id="linear_eigen",
    class_name="",
    title="The linear recursion in eigenvectors",
    source="recurrent networks 2/26/2018, 'Linear recursions', 'Linear recursions: Vector version'",
    system=None,
    relations=lambda: (IN_EIGENVECTORS, *closed_forms(), *LONG_RUN, *EXAMPLES),
    claims=(LIMIT, *CLAIMS),
    illustration=Illustration("multitap_linear", ("modes",)),
    no_module="`derive generate linear_recursion` emits the recursion; `derive.long_run(W)` and "
    "`derive.matrix_power(W, t)` answer for a matrix of your own",
)

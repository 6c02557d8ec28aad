"""Entropy and information along flows: entropy changes by the mean divergence, mutual information does not change."""

from sympy import log

from derive import (
    DeckClaim,
    IdentityCheck,
    Illustration,
    Integer,
    Rational,
    ResidualCheck,
    SampledCheck,
    Spec,
    constant,
    dot,
    relation,
)
from derive.catalog import information_checks as checks
from derive.catalog.information_checks import A, F, F_x, P, P_x, root
from derive.operators import identity_like

DECK = "deck B, 'How do neural ODEs learn?'"
ENTROPY, INFORMATION = "Entropy", "Mutual information"
through = (F_x * P + F * P_x) * (log(P) + 1)
rate = dot(A, identity_like(A))
c, sigma = constant("c"), constant("sigma")

SPEC = Spec(
    id="information",
    class_name="",
    title="Entropy and information along flows",
    source="Ruseckas, Differential equations and neural networks; " + DECK,
    system=None,
    illustration=Illustration("cubic_ode", ("trajectory", "crossing")),
    no_module="a normalizing flow is the module that carries densities along; `derive generate resnet` emits the net",
    relations=(
        relation(
            "continuity equation",
            "definition",
            r"\partial_t P = -\partial_x (F P)",
            text="dP/dt = -d(F P)/dx",
            reason="probability moves with the flow",
            section=ENTROPY,
        ),
        relation(
            "the integrand of the entropy's rate",
            "identity",
            r"-\partial_t (P \log P) = \partial_x (F P \log P) + P\, \partial_x F",
            text=f"-d(P log P)/dt = d(F P log P)/dx + P dF/dx = {through}",
            reason="continuity equation; the first part integrates to nothing where F P log P vanishes at infinity",
            name="integrand",
            value=through,
            check=IdentityCheck(checks.flux_and_divergence, through, (F, F_x, P, P_x)),
            section=ENTROPY,
        ),
        relation(
            "entropy of a Gaussian under a linear field",
            "identity",
            r"\dot{\mathcal H} = \mathbb{E}[\operatorname{tr} F_x] = \operatorname{tr} A, \quad F = A x",
            text=f"dH/dt = tr A = {rate}, for F = A x",
            reason="H = log det(2 pi e S)/2 of the covariance S, which becomes exp(A t) S exp(A t)^T",
            name="entropy_rate",
            value=rate,
            check=IdentityCheck(checks.gaussian_rate, rate, (A, root)),
            section=ENTROPY,
        ),
        relation(
            "entropy under the cubic field",
            "identity",
            r"F = -\gamma x^3,\ x_0 \sim \mathcal N(0, 1): \quad \mathcal H(T) - \mathcal H(0) = "
            r"\mathbb{E} \log \phi_T' = -\tfrac32\, \mathbb{E} \log\left(1 + 2 \gamma x_0^2 T\right)",
            text="F = -gamma x^3, x_0 ~ N(0, 1): H(T) - H(0) = E log phi' = -3/2 E log(1 + 2 gamma x_0^2 T)",
            reason="the entropy of the transported density by quadrature, against the mean over x_0",
            name="cubic_entropy",
            check=ResidualCheck(checks.cubic_entropy, (Rational(-3, 2),), "quadrature, gamma T = 0.7", 1e-15),
            section=ENTROPY,
        ),
        relation(
            "its rate is the mean divergence",
            "identity",
            r"\dot{\mathcal H}(T) = \mathbb{E}[F_x(x(T))] = -3 \gamma\, \mathbb{E}\left[x(T)^2\right]",
            text="dH/dT = E[F_x] = -3 gamma E[x(T)^2]",
            reason="central difference of the entropy of the transported density, against the mean over that density",
            name="cubic_rate",
            check=ResidualCheck(checks.cubic_rate, (Integer(-3),), "quadrature, gamma = 0.7, T = 1", 1e-9),
            section=ENTROPY,
        ),
        relation(
            "entropy depends on coordinates",
            "identity",
            r"\mathcal H(c X) = \mathcal H(X) + \log |c|",
            text=f"H(c X) - H(X) = {log(c)} for c > 0",
            reason="it is differential entropy; checked on Gaussians",
            name="coordinates",
            value=log(c),
            check=IdentityCheck(log(c**2 * sigma**2) / 2 - log(sigma**2) / 2, log(c), (c, sigma)),
            section=ENTROPY,
        ),
        relation(
            "information of Gaussians under a linear flow",
            "identity",
            r"I(Y; e^{A t} X) = I(Y; X)",
            text="I(Y; exp(A t) X) = I(Y; X)",
            reason="the determinants of the flow cancel",
            name="gaussian_information",
            check=ResidualCheck(checks.gaussian_information, (Integer(1),), "exact covariances, 60 digits", 1e-30),
            section=INFORMATION,
        ),
        relation(
            "information of a label under the cubic flow",
            "identity",
            r"Y = \pm 1,\ X \mid Y \sim \mathcal N(Y, 1): \qquad I(Y; \phi_T(X)) = I(Y; X)",
            text="Y = +-1, X | Y ~ N(Y, 1): I(Y; phi(X)) = I(Y; X)",
            reason="the flow is a diffeomorphism that all samples share: densities change by the same factor",
            name="label_information",
            check=ResidualCheck(checks.label_information, (Integer(1),), "quadrature, gamma T = 0.35", 1e-12),
            section=INFORMATION,
        ),
        relation(
            "a step can lose information",
            "inequality",
            r"x \mapsto x - h x: \qquad I(Y; (1 - h) X) < I(Y; X) \iff h = 1",
            text="x -> x - h x: I(Y; (1 - h) X) < I(Y; X) if and only if h = 1",
            reason="I + h J is singular there, as no flow is",
            name="lossy_step",
            check=SampledCheck(checks.lost_elsewhere, Integer(1), lambda size: size * Rational(51, 50)),
            section=INFORMATION,
        ),
    ),
    claims=(
        DeckClaim(
            id="entropy",
            deck=DECK + ": dH/dt = integral of Tr(dF/dx) P",
            about="entropy_rate",
            says=rate,
            note="correct given that F P log P vanishes at infinity, which the deck does not say",
            agrees=True,
        ),
    ),
)

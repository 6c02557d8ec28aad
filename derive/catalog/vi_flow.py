"""Variational inference with normalizing flows: the free energy, and where it has a closed form."""

from collections.abc import Callable
from typing import Any

import mpmath
from sympy import Expr, diff, log, pi

from derive import DeckClaim, IdentityCheck, Illustration, Relation, Spec, constant, relation
from derive.latex import latex
from derive.operators import Numeric
from derive.symbols import Quantity

DECK = "deck A, Algorithm 1 'Variational Inference with Normalizing Flows'"
ENERGY, GAUSS = "The free energy", "An affine flow and Gaussians: everything in closed form"

m, s = constant("m", meaning="shift of the flow"), constant("s", meaning="scale of the flow, above 0")
c, sigma = constant("c", meaning="x = c z + noise"), constant("sigma", meaning="standard deviation of the noise")
x, z = constant("x_0", latex="x", meaning="observation"), constant("z_1", latex="z_1", meaning="latent")
given = (m, s, c, sigma, x)

divergence = (s**2 + m**2 - 1) / 2 - log(s)
misfit = log(2 * pi * sigma**2) / 2 + ((x - c * m) ** 2 + c**2 * s**2) / (2 * sigma**2)
energy = divergence + misfit
pushed = -(((z - m) / s) ** 2) / 2 - log(2 * pi) / 2 - log(s)
REACH, NODES_PER_UNIT = 18, 8


def normal(value: Any, mean: Any, deviation: Any) -> Any:
    """Logarithm of the normal density."""
    return -(((value - mean) / deviation) ** 2) / 2 - mpmath.log(2 * mpmath.pi * deviation**2) / 2


def integrand(known: dict[Quantity, Any], z_0: Any) -> Any:
    """ln q_0(z_0) - ln |det| - ln p(x, z_1) for z_1 = m + s z_0."""
    latent = known[m] + known[s] * z_0
    joint = normal(latent, 0, 1) + normal(known[x], known[c] * latent, known[sigma])
    return normal(z_0, 0, 1) - mpmath.log(known[s]) - joint


def mean(value: Callable[[dict[Quantity, Any], Any], Any]) -> Callable[[dict[Quantity, Numeric], Any], Numeric]:
    """Expectation over z_0 ~ N(0, 1) by the trapezoid rule, exact to exp(-2 pi^2 64) for such integrands."""

    def measure(known: dict[Quantity, Any], _: Any) -> Any:
        nodes = [mpmath.mpf(n) / NODES_PER_UNIT for n in range(-REACH * NODES_PER_UNIT, REACH * NODES_PER_UNIT + 1)]
        return sum(mpmath.exp(normal(node, 0, 1)) * value(known, node) for node in nodes) / NODES_PER_UNIT

    return measure


def slope_in(quantity: Quantity) -> Callable[[dict[Quantity, Any], Any], Any]:
    """The integrand's derivative along the sample path z_0 -> z_1, by central differences."""

    def slope(known: dict[Quantity, Any], z_0: Any) -> Any:
        nudge = mpmath.mpf("1e-20")
        ends = [integrand({**known, quantity: known[quantity] + sign * nudge}, z_0) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * nudge)

    return slope


def closed(title: str, left: str, value: Expr, check: IdentityCheck, reason: str, name: str) -> Relation:
    """One identity of the Gaussian case."""
    return relation(
        title,
        "identity",
        f"{left} = {latex(value)}",
        text=f"{name} = {value}",
        reason=reason,
        name=name,
        value=value,
        check=check,
        section=GAUSS,
    )


SPEC = Spec(
    id="vi_flow",
    class_name="",
    title="Variational inference with normalizing flows",
    source=f"{DECK}; Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015",
    system=None,
    no_module="`derive generate planar_flow` and the other flows emit the maps; the free energy is a mean over "
    "draws of a base z_0 of log q_0(z_0) + log_det of their inverse - log p(x, z)",
    illustration=Illustration("planar_flow", ("density",)),
    relations=(
        relation(
            "free energy",
            "definition",
            r"\mathcal F(x) = \mathbb E_{q_0}\left[\ln q_0(z_0) - \sum_k \ln\left|\det \frac{\partial f_k}"
            r"{\partial z_{k-1}}\right| - \ln p_\theta(x, z_K)\right]",
            text="F(x) = E_q0[ln q_0(z_0) - sum_k ln|det df_k/dz_(k-1)| - ln p(x, z_K)]",
            reason="-ln p(x) <= F(x), with equality for the exact posterior: the gap is KL(q_K || p(z | x))",
            name="free_energy",
            section=ENERGY,
        ),
        relation(
            "its gradients",
            "definition",
            r"\nabla_\theta \mathcal F = - \mathbb E_{q_0} \nabla_\theta \ln p_\theta(x, z_K), \qquad \nabla_\phi "
            r"\mathcal F = - \mathbb E_{q_0} \nabla_\phi \left[\sum_k \ln\left|\det \frac{\partial f_k}"
            r"{\partial z_{k-1}}\right| + \ln p_\theta(x, z_K)\right]",
            text="grad_theta F = -E grad_theta ln p(x, z_K); grad_phi F = -E grad_phi [sum ln|det| + ln p(x, z_K)], "
            "through the samples z_K; steps go against them",
            reason="q_0 does not depend on the parameters, so the gradient goes into the mean",
            name="gradients",
            section=ENERGY,
        ),
        closed(
            "density of the latent, z_1 = m + s z_0",
            r"\ln q_1(z_1)",
            pushed,
            IdentityCheck(lambda known, _: normal(known[z], known[m], known[s]), pushed, (*given, z)),
            "ln q_0(z_0) - ln |det|; the map makes of N(0, 1) the normal density of mean m and deviation s",
            "log_q_1",
        ),
        closed(
            "free energy",
            r"\mathcal F",
            energy,
            IdentityCheck(mean(integrand), energy, given),
            "KL(N(m, s^2) || N(0, 1)) + E[-ln p(x | z)]; checked by quadrature over z_0",
            "energy",
        ),
        *(
            closed(
                f"its gradient in {q.name}",
                rf"\partial_{{{q.latex}}} \mathcal F",
                diff(energy, q),
                IdentityCheck(mean(slope_in(q)), diff(energy, q), given),
                "checked against the mean of the gradient along sample paths",
                f"energy_{q.name}",
            )
            for q in (m, s)
        ),
    ),
    claims=(
        DeckClaim(
            id="E23",
            deck="deck A, 'Normalizing Flows', slide 2: ln q_K(z_K) = ln q_0(z_0) - sum ln |det df_k/dz_(k-1)|",
            about="log_q_1",
            says=-(((z - m) / s) ** 2) / 2 - log(2 * pi) / 2 - log(s),
            agrees=True,
            note="from base to data; the module's forward goes from data to base and adds its log-determinant",
        ),
    ),
)

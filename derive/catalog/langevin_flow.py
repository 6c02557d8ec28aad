"""Langevin flow: dz = F dt + G dW moves densities by the Fokker-Planck equation."""

from sympy import Expr, Function, Symbol, diff, exp, sqrt

from derive import (
    SDE,
    DeckClaim,
    IdentityCheck,
    Network,
    Spec,
    constant,
    identity,
    moments,
    of_every_noise,
    parameter,
    relation,
    state,
    stationarity,
    time,
    total,
)
from derive.latex import latex
from derive.sde_checks import rate_of_density
from derive.sde_moments import ELAPSED

DECK = "deck A, 'Langevin Flow'"
OPERATOR, STATIONARY, LINEAR = "One component", "A density that stays", "Ornstein and Uhlenbeck's process"

z, t = state("z", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)

# One component, all derivatives as numbers of their own.
y = Symbol("y")
F, G, q = (Function(name)(y) for name in ("F", "G", "q"))
numbers = {
    diff(value, y, order) if order else value: constant(f"{name}_{order}", latex=name + "'" * order)
    for name, value in (("F", F), ("G", G), ("q", q))
    for order in (2, 1, 0)
}


def in_numbers(value: Expr) -> Expr:
    """With functions and their derivatives replaced."""
    return value.doit().expand().subs(list(numbers.items()))


velocity = F - diff(G**2, y) / 2 - G**2 * diff(q, y) / q / 2
transport = in_numbers(-diff(velocity * q, y))
operator = in_numbers(-diff(F * q, y) + diff(G**2 * q, y, 2) / 2)
moved_drift = in_numbers(operator - diff(G * diff(G, y) * q, y) / 2)
stratonovich = in_numbers(-diff(F * q, y) + diff(G * diff(G * q, y), y) / 2)

# F = -grad L, G = sqrt(2): L = k z^2/2 + b z^4/4 in every component.
k, b = parameter("k", meaning="stiffness"), parameter("b", meaning="stiffness of fourth degree")
descent = SDE(z, -k * z - b * z**3, sqrt(2))
potential = total(k * z**2 / 2 + b * z**4 / 4)
residual = stationarity(descent, -potential)

theta, mu, sigma = constant("theta"), constant("mu"), constant("sigma")
process = moments(SDE(z, theta * (mu - z), sigma))
mean, second = process.solutions[1], process.solutions[2]
start, squared = process.initial(1), process.initial(2)
limit = sigma**2 / (2 * theta)
spread = limit + (squared - start**2 - limit) * exp(-2 * theta * ELAPSED)

SPEC = Spec(
    id="langevin_flow",
    class_name="LangevinFlow",
    title="Langevin flow",
    source=f"{DECK}; Rezende, Mohamed 2015; Risken, The Fokker-Planck Equation",
    option="noise",
    system=of_every_noise(z, f(t, z), t),
    relations=(
        relation(
            "rate of the density, in Ito's calculus",
            "identity",
            rf"\partial_t q = -(v q)' = {latex(operator)}, \qquad v = F - \tfrac12 (G^2)' - \tfrac12 G^2 q'/q",
            text=f"q_t = -(v q)' = {operator}",
            reason="of one component; primes are derivatives in it",
            name="fokker_planck",
            value=operator,
            check=IdentityCheck(transport, operator, tuple(numbers.values())),
            section=OPERATOR,
        ),
        relation(
            "rate of the density, in Stratonovich's calculus",
            "identity",
            rf"\partial_t q = -(F q)' + \tfrac12 (G (G q)')' = {latex(stratonovich)}",
            text=f"q_t = -(F q)' + 1/2 (G (G q)')' = {stratonovich}",
            reason="Ito's operator with the drift F + G G'/2: the correction moves under the derivative",
            name="stratonovich_operator",
            value=stratonovich,
            check=IdentityCheck(moved_drift, stratonovich, tuple(numbers.values())),
            section=OPERATOR,
        ),
        relation(
            "exp(-L) is stationary under F = -grad L, G = sqrt(2)",
            "identity",
            rf"\nabla \cdot v + v \cdot \nabla \log q = {latex(residual)}, \qquad \log q = -L = {latex(-potential)}",
            text=f"div v + v . grad log q = {residual} for log q = -L = {-potential}",
            reason="v = F - grad log q vanishes: descent with this noise samples from exp(-L); checked with the "
            "Fokker-Planck operator in its usual form",
            name="stationary",
            value=residual,
            check=IdentityCheck(rate_of_density(descent, -potential), residual, (z, k, b)),
            section=STATIONARY,
        ),
        identity(
            "variance of dz = theta (mu - z) dt + sigma dW",
            spread,
            second - mean**2,
            reason="second moment minus the square of the mean, both from the equations of the moments",
            name="variance",
            section=LINEAR,
        ),
    ),
    claims=(
        DeckClaim(
            id="variance of the linear process",
            deck="v = sigma^2/(2 theta) + (v_0 - sigma^2/(2 theta)) exp(-2 theta t)",
            about="variance",
            says=spread,
            agrees=True,
        ),
        DeckClaim(
            id="Fokker-Planck operator",
            deck=f"{DECK}: q_t = -d(F q) + 1/2 dd(G^2 q)",
            about="fokker_planck",
            says=in_numbers(-diff(F, y) * q - F * diff(q, y) + (G**2 * q).diff(y, 2) / 2),
            note="right for Ito's integral; Stratonovich's has another second term",
            agrees=True,
        ),
    ),
)

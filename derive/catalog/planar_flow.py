"""Planar flow: space is squeezed and stretched across one hyperplane."""

import mpmath
from sympy import Abs, Integer, Matrix, eye

from derive import (
    Builder,
    DeckClaim,
    Flow,
    IdentityCheck,
    Spec,
    dot,
    parameter,
    relation,
    softplus,
    state,
    tanh,
)
from derive.flow_programs import LOG_DET
from derive.flow_sections import BASE, DENSITY
from derive.latex import latex
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.symbols import Quantity

DECK = "deck A, 'Normalizing Flows'"

x = state("x", "d", meaning="data")
u, w = parameter("u", "d", meaning="direction of the shift"), parameter("w", "d", meaning="normal of the hyperplane")
b = parameter("b", meaning="place of the hyperplane")

graph = Builder()
a = graph.let("a", dot(w, x) + b, meaning="distance from the hyperplane, times |w|")
t = graph.let("t", tanh(a), meaning="how far the point is shifted")
y = graph.let("y", x + u * t, meaning="image")
along = dot(u, w)

u1, u2, p1, p2 = parameter("u_1"), parameter("u_2"), parameter("psi_1"), parameter("psi_2")
jacobian = eye(2) + Matrix([u1, u2]) * Matrix([[p1, p2]])
SIZE = Abs(1 + u1 * p1 + u2 * p2)


def eliminated(known: dict[Quantity, Numeric], _: Sampler) -> Numeric:
    """The determinant of numbers."""
    rows = [[int(i == j) + known[a] * known[b] for j, b in enumerate((p1, p2))] for i, a in enumerate((u1, u2))]
    return abs(mpmath.det(mpmath.matrix(rows)))


SPEC = Spec(
    id="planar_flow",
    class_name="PlanarFlow",
    title="Planar flow",
    source=f"{DECK}; Rezende and Mohamed, Variational Inference with Normalizing Flows, 2015",
    system=Flow(
        graph.build([y]),
        constrained={u: u + (softplus(along) - 1 - along) * w / dot(w, w)},
    ),
    relations=(
        relation(
            "size of the determinant for d = 2, psi = h'(a) w",
            "identity",
            rf"\left|\det\left(I + u \psi^{{\top}}\right)\right| = {latex(SIZE)}",
            text=f"|det(I + u psi^T)| = {SIZE}",
            reason="the determinant lemma, written out; checked by elimination in numbers",
            name="abs_det_2",
            value=SIZE,
            check=IdentityCheck(eliminated, SIZE, (u1, u2, p1, p2)),
            section="The determinant in two dimensions",
        ),
    ),
    claims=(
        DeckClaim(
            id="E23 (data to base)",
            deck=f"{DECK}, slide 1: p_X(x) = p_Y(f(x)) |det df/dx|",
            about="log_p",
            says=BASE + LOG_DET,
            agrees=True,
            note="the density of the data, for the map from data to base",
        ),
        DeckClaim(
            id="E23 (base to data)",
            deck=f"{DECK}, slide 2: ln q_K(z_K) = ln q_0(z_0) - sum ln |det df_k/dz_(k-1)|",
            about="log_q",
            says=DENSITY - LOG_DET,
            agrees=True,
            note="the density of the image: the other direction, and therefore the other sign",
        ),
        DeckClaim(
            id="E24",
            deck=f"{DECK}: det |df/dz|",
            about="abs_det_2",
            says=Abs(jacobian[0, 0]) * Abs(jacobian[1, 1]) - Abs(jacobian[0, 1]) * Abs(jacobian[1, 0]),
            where={p1: Integer(1), p2: Integer(-1), u2: u1},
            agrees=False,
            note="seen where off-diagonal entries differ in sign: it is the size of the determinant, |det df/dz|",
        ),
    ),
)

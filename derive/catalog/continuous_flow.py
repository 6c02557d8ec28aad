"""Continuous normalizing flow: the map is the solution of an ODE, the log-determinant an integral along it."""

from derive import (
    ODE,
    ContinuousFlow,
    DeckClaim,
    IdentityCheck,
    Network,
    Spec,
    divergence,
    dot,
    parameter,
    relation,
    state,
    tanh,
    time,
)
from derive.flow_checks import trace_of
from derive.latex import latex

DECK = "deck A, 'Continuous Normalizing Flows'"

z, t = state("z", "d", meaning="state"), time("t")
f = Network("f", takes_time=True)
u, w, b = parameter("u", "d"), parameter("w", "d"), parameter("b")

planar = ODE(state=(z,), velocity=(u * tanh(dot(w, z) + b),))
program = planar.field_program()
slope = divergence(planar)

SPEC = Spec(
    id="continuous_flow",
    class_name="ContinuousFlow",
    title="Continuous normalizing flow",
    source=f"{DECK}; Chen et al. 2018; Grathwohl et al., FFJORD, 2019",
    system=ContinuousFlow(ODE(state=(z,), velocity=(f(t, z),), time=t)),
    relations=(
        relation(
            "trace of a planar field F = u h(w . z + b)",
            "identity",
            rf"\operatorname{{tr}} \partial_z F = {latex(slope)}",
            text=f"tr dF/dz = {slope}",
            reason="the linearization is u psi^T with psi = h' w: the limit of planar flows with u/N",
            name="planar_trace",
            value=slope,
            check=IdentityCheck(trace_of(program, z), slope, program.inputs),
            section="A field that is written out",
        ),
    ),
    claims=(
        DeckClaim(
            id="planar continuous flow",
            deck=f"{DECK}: tr = u^T psi",
            about="planar_trace",
            says=dot(u, (1 - tanh(dot(w, z) + b) ** 2) * w),
            agrees=True,
        ),
    ),
)

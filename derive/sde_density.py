r"""What an equation does to densities: the Fokker-Planck equation as transport by a velocity.

With $D = G G^\top$ and Ito's drift f, the equation
$\partial_t q = -\sum_i \partial_i (f_i q) + \frac12 \sum_{ij} \partial_i \partial_j (D_{ij} q)$ is
$\partial_t q = -\nabla \cdot (v q)$ with $v = f - \frac12 \nabla \cdot D - \frac12 D \nabla \log q$: a density is
stationary where $\nabla \cdot v + v \cdot \nabla \log q$ vanishes.
"""

from __future__ import annotations

from sympy import Expr, Integer, expand

from derive.errors import SpecError, UnsupportedError
from derive.functions import as_expression
from derive.gradients import gradient_of, unfilled
from derive.operators import dot, matvec, shape_of, transpose
from derive.program import symbols_of
from derive.sde import SDE
from derive.sde_calculus import HALF, correction, drift_in, reads_state
from derive.symbols import Quantity, Role
from derive.systems import ODE
from derive.traces import divergence


def score_of(sde: SDE) -> Quantity:
    """The quantity that names the gradient of the logarithm of the density."""
    return Quantity("score", sde.state.shape, Role.INTERMEDIATE, r"\nabla \log q", "gradient of the log-density")


def velocity(sde: SDE, score: Expr) -> Expr:
    """v: a flow by it moves densities as the equation does.

    Raises:
        UnsupportedError: a term has no closed form.
    """
    return drift_in(sde, "ito") - half_divergence(sde) - HALF * applied(sde, score)


def half_divergence(sde: SDE) -> Expr:
    r"""$\frac12 \nabla \cdot D$: 2 c of diagonal noise, $c + \frac12 g\, \nabla \cdot g$ of a vector g.

    Raises:
        UnsupportedError: the divergence of the diffusion is not read.
    """
    if not reads_state(sde):
        return Integer(0)
    if sde.noise == "diagonal":
        return 2 * correction(sde)
    if sde.is_matrix:
        raise UnsupportedError("the divergence of a matrix that reads the state is not derived")
    return correction(sde) + HALF * sde.diffusion * _divergence(sde, sde.diffusion)


def applied(sde: SDE, score: Expr) -> Expr:
    """D times a vector."""
    g = sde.diffusion
    if sde.is_matrix:
        return matvec(g, matvec(transpose(g), score))
    return g**2 * score if sde.noise == "diagonal" or not sde.state.shape else g * dot(g, score)


def stationarity(sde: SDE, log_density: Expr) -> Expr:
    """The residual of a density given by its logarithm: it is stationary where this is zero.

    Raises:
        SpecError: the logarithm is no scalar, or does not read the state.
        UnsupportedError: a term has no closed form.
    """
    value = as_expression(log_density)
    if shape_of(value) != () or sde.state not in symbols_of(value):
        raise SpecError(
            f"the logarithm of a density is a scalar that reads {sde.state.name}; {value} is not: use total"
        )
    score = gradient_of(value, sde.state)
    v = expand(unfilled(velocity(sde, unfilled(score))))
    if v == 0:
        return v
    along = dot(v, score) if sde.state.shape else v * score
    return _divergence(sde, v) + along


def _divergence(sde: SDE, value: Expr) -> Expr:
    if value == 0:
        return value
    found = divergence(ODE(state=(sde.state,), velocity=(value,), time=sde.time))
    if found is None:
        raise UnsupportedError(f"the divergence of {value} is not read from its linearization")
    return found

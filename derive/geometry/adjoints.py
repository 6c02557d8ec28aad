r"""What discretization does to the costate: partner tableaus, and whether discretizing and optimizing commute.

The reverse sweep of a Runge-Kutta step is itself a Runge-Kutta step for the costate, with
$\hat a_{ij} = b_j - b_j a_{ji}/b_i$ forward in time, where no b_i vanishes (Hager 2000; Sanz-Serna 2016). The
recursion $\mu_i = b_i \lambda + h \sum_j a_{ji} J_j^T \mu_j$ is the same thing, divides by nothing and is what is
emitted. Solving the adjoint equation by the scheme itself gives another gradient unless the scheme is symplectic; the
two differ by $O(h^q)$, q the order up to which the scheme is.
"""

from __future__ import annotations

from sympy import Integer, oo

from derive.geometry.stages import rebuilt
from derive.geometry.symplectic import symplecticity_order
from derive.schemes import ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.series.weights import Stages


def hager_partner(tableau: ButcherTableau) -> ButcherTableau | None:
    """The tableau of the costate, forward in time; None where some b_i is 0. Its c are its own row sums."""
    stages = Stages(tableau)
    (A,), (b,) = stages.A, stages.b
    if any(stages.vanishes(weight) for weight in b):
        return None
    found = rebuilt(
        stages, lambda p, i, j: b[j] - b[j] * A[j][i] / b[i], stages.b, f"partner of {tableau.title} for the costate"
    )
    assert isinstance(found, ButcherTableau)
    return found


def backward_tableau(tableau: ButcherTableau) -> ButcherTableau | None:
    """The same scheme read from t_(n+1) to t_n on the stored stages, newest first; None where some b_i is 0."""
    stages = Stages(tableau)
    (A,), (b,) = stages.A, stages.b
    if any(stages.vanishes(weight) for weight in b):
        return None
    last = stages.count - 1
    found = rebuilt(
        stages,
        lambda p, i, j: b[last - j] * A[last - j][last - i] / b[last - i],
        [row[::-1] for row in stages.b],
        f"{tableau.title} for the costate, backward",
    )
    assert isinstance(found, ButcherTableau)
    return found


def adjoint_gap_order(scheme: Scheme) -> Integer | None:
    """q: the gradient of the discrete problem and that of the discretized adjoint equation differ by O(h^q).

    oo where they are equal; None for multistep schemes, whose reverse sweep is another scheme near both ends. Of two
    parts it is the order for separable fields, x' = f(y), y' = g(x): trees in which no part acts on itself.
    """
    if isinstance(scheme, LinearMultistep):
        return None
    if isinstance(scheme, Splitting):
        return oo if scheme.substep is None else symplecticity_order(scheme.substep)
    return symplecticity_order(scheme)

"""Control of a population: one control for all samples, in the mean over initial states and targets."""

from sympy import diff, together

from derive import (
    ODE,
    Assignment,
    IdentityCheck,
    Integer,
    OptimalControl,
    Program,
    Spec,
    StationarityCheck,
    constant,
    discretize,
    fill,
    parameter,
    relation,
    state,
    target,
    time,
    total,
)
from derive.checks import central_difference
from derive.linear_forms import solved
from derive.operators import Numeric
from derive.reverse_sweep import reverse_sweep

SOURCE = "E, Han, Li, A mean-field optimal control formulation of deep learning, arXiv:1807.01083"
x, y = state("x", (), meaning="state of a sample"), target("y", (), meaning="its target")
theta = parameter("theta", meaning="control, the same for all samples")
rho, t, T = constant("rho", meaning="price of the control"), time("t"), time("T", meaning="final time")
problem = OptimalControl(
    ODE((x,), (theta,)),
    terminal=(x - y) ** 2 / 2,
    running=rho * theta**2 / 2,
    controls=(theta,),
    end=T,
    population=True,
)

# The closed form on [0, T]: of the population only the mean m and the variance of x_0 - y matter.
m, variance, horizon = constant("m"), constant("variance", latex="V"), constant("horizon", latex="T")
cost = variance / 2 + (m + horizon * theta) ** 2 / 2 + horizon * rho * theta**2 / 2
best = together(solved(diff(cost, theta), theta))
lowest = variance / 2 + together(cost.xreplace({theta: best}) - variance / 2).factor()
worth = variance / 2 + rho * m**2 / (2 * (horizon - t + rho))

starts, aims = state("starts", "n", latex="x_0"), target("aims", "n", latex="y")
one = fill(Integer(1), starts)
moments = Program(
    (starts, aims),
    (
        Assignment(m, total(starts - aims) / total(one)),
        Assignment(variance, total((starts - aims - m) ** 2) / total(one)),
    ),
    (m, variance),
)


def spent(known: dict[object, Numeric], control: int) -> Numeric:
    """The mean cost of a constant control over the samples."""
    ends = known[starts] + known[horizon] * control - known[aims]
    return (ends**2).sum() / len(ends) / 2 + known[horizon] * known[rho] * control**2 / 2


def lowest_point(known: dict[object, Numeric]) -> tuple[Numeric, Numeric]:
    """Where the parabola through three values of the cost is lowest, and how low."""
    below, here, above = (spent(known, control) for control in (-1, 0, 1))
    slope, bend = (above - below) / 2, above - 2 * here + below
    return -slope / bend, here - slope**2 / bend / 2


euler = discretize(ODE((x, state("spent", ())), (theta, rho * theta**2 / 2)), "forward_euler")
sweep = reverse_sweep(euler.step)
(line,) = (each for each in sweep.program.assignments if each.target == sweep.cotangents[theta])
SAMPLED, CLOSED = (starts, aims, rho, horizon), "Closed form"

SPEC = Spec(
    id="mean_field_control",
    class_name="",
    title="Mean-field control of a population",
    source=SOURCE + "; deck A, 'A mean-field control perspective' (only the citation survives)",
    system=problem,
    no_module="`derive generate resnet` emits the net; its loss is the mean over the batch",
    relations=(
        relation(
            "optimal control of the population",
            "identity",
            r"\theta^* = -\frac{m}{T + \rho}, \quad m = \mathbb{E}[x_0 - y]",
            text=f"theta* = {best}, m = E[x_0 - y], constant in time",
            reason="a' = 0, so that E a and with it theta* are constant; checked on samples by the cost's own parabola",
            name="theta_star",
            value=best,
            check=IdentityCheck(lambda known, _: lowest_point(known)[0], best, SAMPLED, given=moments),
            section=CLOSED,
        ),
        relation(
            "lowest cost",
            "identity",
            r"J^* = \tfrac{V}{2} + \frac{\rho m^2}{2 (T + \rho)}, \quad V = \operatorname{Var}[x_0 - y]",
            text=f"J* = {lowest}, variance = Var[x_0 - y]",
            reason="the variance is beyond the reach of a control that all samples share",
            name="lowest_cost",
            value=lowest,
            check=IdentityCheck(lambda known, _: lowest_point(known)[1], lowest, SAMPLED, given=moments),
            section=CLOSED,
        ),
        relation(
            "mean costate",
            "identity",
            r"\mathbb{E}[a] = m + T \theta^* = -\rho \theta^*, \quad \mathbb{E}[p] = \rho \theta^*\ (p = -a)",
            text=f"E[a] = m + T theta* = {-rho * best}",
            reason="stationarity in the mean, E dH/dtheta = 0; the sign of E, Han, Li is p = -a",
            name="mean_costate",
            value=-rho * best,
            check=IdentityCheck(
                lambda known, _: known[m] + known[horizon] * lowest_point(known)[0], -rho * best, SAMPLED, given=moments
            ),
            section=CLOSED,
        ),
        relation(
            "value function of the population",
            "identity",
            r"v = \tfrac{V}{2} + \frac{\rho m^2}{2 (T - t + \rho)}: \quad \partial_t v = (\partial_m v)^2 / (2 \rho)",
            text=f"v = {worth}: dv/dt = (dv/dm)^2/(2 rho)",
            reason="Hamilton-Jacobi-Bellman equation on the mean: min of theta v_m + rho theta^2/2",
            name="population_value",
            value=worth,
            check=IdentityCheck(
                lambda known, sampler: central_difference(worth, known, {t: 1}, sampler),
                diff(worth, m) ** 2 / (2 * rho),
                (m, variance, rho, t, horizon),
            ),
            section=CLOSED,
        ),
        relation(
            "gradient of a layer's control",
            "identity",
            r"\frac{\partial J}{\partial \theta_n} = h \left(\mathbb{E}[f_\theta^\top \lambda_{n+1}] "
            r"+ \ell_\theta\right) = h \left(\mathbb{E}[\lambda_{n+1}] + \rho \theta_n\right)",
            text=f"per sample, with the cotangent of the spent cost 1: {line.value}; the mean over the batch",
            reason="reverse sweep over forward Euler on state and spent cost",
            name="layer_gradient",
            value=line.value,
            check=StationarityCheck(euler.step, sweep, line, theta),
            section="In steps",
        ),
    ),
)

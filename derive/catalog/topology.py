"""What flows cannot do, and the two ways out: more dimensions, or steps of finite size."""

from sympy import Integer, Interval, Rational

from derive import IdentityCheck, Illustration, SampledCheck, Spec, dot, relation
from derive.catalog import topology_checks as checks
from derive.catalog.topology_checks import T, a, c, u, x, x_1, x_2
from derive.checks import bound_check

DUPONT = "Dupont, Doucet, Teh, Augmented Neural ODEs, arXiv:1904.01681"
ORDER, AUGMENT, STEP, CROSS = "What flows keep", "Way out: a dimension more", "Way out: finite steps", "Crossing"


def moved(region: Interval) -> Interval:
    """The same interval a little to the right."""
    return Interval.open(region.start + Rational(1, 50), region.end + Rational(1, 50))


SPEC = Spec(
    id="topology",
    class_name="",
    title="Topology: what flows keep, and how nets escape",
    source="Ruseckas; deck B, 'Let us consider two-dimensional function' (the figure is lost); " + DUPONT,
    system=None,
    illustration=Illustration("resnet", ("activations", "crossing")),
    no_module="`derive generate resnet` emits finite steps; a state with more dimensions than the data has the way out "
    "by augmentation",
    relations=(
        relation(
            "flows of the line increase",
            "identity",
            r"\frac{\partial u(T)}{\partial u(0)} = \exp \int_0^T f_u(u(t), t)\, dt > 0",
            text="d u(T) / d u(0) = exp(integral of f_u along the solution) > 0",
            reason="the linearized flow v' = f_u v; so no flow maps u to -u",
            check=IdentityCheck(checks.slope_of_the_flow, Integer(1), (u, a), tolerance=1e-8, points=1),
            section=ORDER,
        ),
        relation(
            "the inside stays inside",
            "inequality",
            r"\max_{|x| = \rho} v \cdot \phi_T(x) < \max_{|x| = r} v \cdot \phi_T(x)\ \text{for all } v \iff \rho < r",
            text="max of v . phi(x) on |x| = rho below that on |x| = r for all v, if and only if rho < r",
            reason="phi maps the ball onto what the image of the sphere encloses; a linear function has its maximum on "
            "the boundary: a half-space that holds the image of the sphere holds that of the ball",
            check=bound_check(checks.inside, Integer(1), at_bound=False),
            section=ORDER,
        ),
        relation(
            "no flow and hyperplane tells the ball from the shell around it",
            "statement",
            r"g(x) = -1\ (|x| \le r_1), \quad g(x) = 1\ (r_2 \le |x| \le r_3), \quad r_1 < r_2: \qquad "
            r"g \ne \operatorname{sign}\left(v \cdot \phi_T - s\right)\ \text{for every flow}",
            text="g(x) = -1 for |x| <= r_1, 1 for r_2 <= |x| <= r_3, r_1 < r_2: not sign(v . phi_T(x) - s), any flow",
            source=DUPONT
            + "; Jordan-Brouwer. It needs the exact flow, a linear read-out and no further dimension (E36)",
            section=ORDER,
        ),
        relation(
            "one more unknown",
            "identity",
            r"\dot x = 0,\ \dot q = |x|^2 - c,\ q(0) = 0: \qquad q(T) = T \left(|x|^2 - c\right)",
            text="x' = 0, q' = |x|^2 - c, q(0) = 0: q(T) = T (|x|^2 - c)",
            reason="the right-hand side is constant in time",
            check=IdentityCheck(checks.lifted, T * (dot(x, x) - c), (x, c, T)),
            section=AUGMENT,
        ),
        relation(
            "its sign is the function",
            "inequality",
            r"\operatorname{sign} q(T) = g(x) \iff r_1^2 < c < r_2^2",
            text="sign q(T) = g(x) if and only if r_1^2 < c < r_2^2 (checked at r = 1/2, 1, 2)",
            reason="q = 0 is a hyperplane in the space with one dimension more",
            check=SampledCheck(checks.separates, Interval.open(Rational(1, 4), 1), moved),
            section=AUGMENT,
        ),
        relation(
            "one Euler step reflects",
            "identity",
            r"f(x) = -2 x,\ h = 1: \qquad x + h f(x) = -x",
            text="f(x) = -2 x, h = 1: x + h f(x) = -x; the flow e^(-2 t) x keeps every sign",
            reason="h Lip = 2: trajectories jump across each other",
            check=IdentityCheck(lambda known, _: checks.one_step(known, checks.mirror), -x, (x,)),
            section=STEP,
        ),
        relation(
            "one Euler step folds the plane",
            "identity",
            r"f(x) = (|x|^2 - x_1, 0),\ h = 1: \qquad x + h f(x) = (|x|^2, x_2)",
            text="f(x) = (|x|^2 - x_1, 0), h = 1: x + h f(x) = (|x|^2, x_2)",
            reason="the first coordinate is then the squared radius: a line tells the ball from the shell",
            check=IdentityCheck(
                lambda known, _: checks.one_step(known, checks.fold), x_1**2 + x_2**2 + 2 * x_2, (x_1, x_2)
            ),
            section=STEP,
        ),
        relation(
            "how close a step brings two points",
            "inequality",
            r"|x^+ - y^+| \ge (1 - h\, \mathrm{Lip} f)\, |x - y|",
            text="|x+ - y+| >= (1 - h Lip f) |x - y|, with equality for f = -Lip x",
            reason="the triangle inequality; trajectories cross if and only if the step is not injective",
            check=SampledCheck(checks.distances, Integer(1), lambda factor: factor * Rational(51, 50)),
            section=CROSS,
        ),
        relation(
            "no crossing up to h Lip = 1",
            "inequality",
            r"h\, \mathrm{Lip} f < 1 \Rightarrow x \mapsto x + h f(x)\ \text{is injective; sharp for } f = -L \sin",
            text="h Lip f < 1: x + h f(x) is injective; beyond, x - h L sin x is not",
            reason="the bound above is positive; 1 - h L is the slope of x - h L sin x at 0",
            check=bound_check(checks.injective, Integer(1)),
            section=CROSS,
        ),
        relation(
            "the step undone",
            "identity",
            r"x = \lim_k x_k, \qquad x_{k+1} = x^+ - h f(x_k), \qquad h\, \mathrm{Lip} f < 1",
            text="x <- x+ - h f(x) converges to x where h Lip f < 1",
            reason="a contraction with factor h Lip f; checked with h f = tanh/2",
            check=IdentityCheck(checks.undone, x, (x,)),
            section=CROSS,
        ),
        relation(
            "finitely many points are no obstacle",
            "statement",
            r"\text{flows of the plane separate any two disjoint finite sets}",
            text="flows of the plane separate any two disjoint finite sets: they squeeze through the gaps",
            source="deck B; diffeomorphisms of two and more dimensions move any points to any others",
            section=CROSS,
        ),
    ),
)

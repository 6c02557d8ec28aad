"""Order and local error by trees, against tables of books and against power series of map and flow."""

import pytest
from polynomial_fields import Fields
from sympy import QQ, Rational, Symbol, cancel, cos, sin, sqrt

from derive.elementary import derivative_along_flow, elementary_differential
from derive.errors import UnsupportedError
from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau
from derive.series.notation import parse
from derive.series.rk import error_terms, order, principal_error
from derive.series.trees import tree, trees
from derive.series.weights import Stages
from derive.symbols import state, time
from derive.systems import ODE

R = Rational
FORWARD_EULER, HEUN, MIDPOINT, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "midpoint", "rk4"))
s3 = sqrt(3)
KUTTA3 = ButcherTableau(A=[[0, 0, 0], [R(1, 2), 0, 0], [-1, 2, 0]], b=[R(1, 6), R(2, 3), R(1, 6)], c=[0, R(1, 2), 1])
BACKWARD = ButcherTableau(A=[[1]], b=[1], c=[1])
TRAPEZOID = ButcherTableau(A=[[0, 0], [R(1, 2), R(1, 2)]], b=[R(1, 2), R(1, 2)], c=[0, 1])
GAUSS4 = ButcherTableau(
    A=[[R(1, 4), R(1, 4) - s3 / 6], [R(1, 4) + s3 / 6, R(1, 4)]],
    b=[R(1, 2), R(1, 2)],
    c=[R(1, 2) - s3 / 6, R(1, 2) + s3 / 6],
)
IIIB = ButcherTableau(A=[[R(1, 2), 0], [R(1, 2), 0]], b=[R(1, 2), R(1, 2)], c=[R(1, 2), R(1, 2)])
VERLET = AdditiveTableau(parts=(TRAPEZOID, IIIB))
SYMPLECTIC_EULER = AdditiveTableau(parts=(FORWARD_EULER, BACKWARD))
THIRD = R(333333, 10**6)
RK4_ROUNDED = ButcherTableau(A=RK4.A, b=(R(1, 2) - THIRD, THIRD, THIRD, R(1, 2) - THIRD), c=RK4.c, digits=6)

ONE = {
    "forward Euler": (FORWARD_EULER, 1),
    "backward Euler": (BACKWARD, 1),
    "midpoint": (MIDPOINT, 2),
    "trapezoid": (TRAPEZOID, 2),
    "Heun": (HEUN, 2),
    "Kutta": (KUTTA3, 3),
    "RK4": (RK4, 4),
    "Gauss": (GAUSS4, 4),
}
MANY = {
    "symplectic Euler": (SYMPLECTIC_EULER, 1),
    "Verlet": (VERLET, 2),
    "twice Heun": (AdditiveTableau((HEUN, HEUN)), 2),
}
ALL = ONE | MANY


def tableaus(scheme):
    return getattr(scheme, "parts", (scheme,))


@pytest.mark.parametrize("name", ALL)
def test_orders(name):
    scheme, p = ALL[name]
    assert order(scheme) == p


def test_principal_error_of_rk4():
    """The nine trees of the catalogue, part I."""
    assert principal_error(RK4) == {
        "f^{(4)}ffff": R(-1, 2880),
        "f'''(f,f,f'f)": R(-1, 480),
        "f''(f,f''(f,f))": R(1, 480),
        "f''(f,f'f'f)": R(-1, 120),
        "f''(f'f,f'f)": R(-1, 160),
        "f'f'''(f,f,f)": R(1, 720),
        "f'f''(f,f'f)": R(1, 240),
        "f'f'f''(f,f)": R(-1, 480),
        "f'f'f'f'f": R(1, 120),
    }


def test_principal_errors_of_low_order():
    assert principal_error(FORWARD_EULER) == {"f'f": R(1, 2)}
    assert principal_error(BACKWARD) == {"f'f": R(-1, 2)}
    assert principal_error(HEUN) == {"f''(f,f)": R(-1, 12), "f'f'f": R(1, 6)}
    assert principal_error(MIDPOINT) == {"f''(f,f)": R(1, 24), "f'f'f": R(1, 6)}
    assert principal_error(TRAPEZOID) == {"f''(f,f)": R(-1, 12), "f'f'f": R(-1, 12)}
    assert principal_error(SYMPLECTIC_EULER) == {"f'f": R(1, 2), "f'g": R(-1, 2), "g'f": R(1, 2), "g'g": R(-1, 2)}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("dimension", "seed"), [(1, 3), (2, 5)])
def test_error_terms_against_power_series(name, dimension, seed):
    """Every power of h up to p + 2: the flow minus the map of a random polynomial field."""
    scheme, p = ALL[name]
    domain = QQ.algebraic_field(s3) if scheme is GAUSS4 else QQ
    limit = min(p + 2, 5) - (len(tableaus(scheme)) == 2)
    fields = Fields(seed, dimension, len(tableaus(scheme)), degree=4 - dimension, limit=limit, domain=domain)
    gap = [a - b for a, b in zip(fields.flow(fields.whole()), fields.numerical(tableaus(scheme)), strict=True)]
    for power in range(1, limit + 1):
        claimed = fields.here(fields.combined(error_terms(scheme, power)))
        assert claimed == fields.coefficients(gap, power)
        assert (power <= p) == (claimed == [0] * dimension)


def test_a_perturbed_tableau_loses_its_order():
    tiny = R(1, 10**12)
    weights = ButcherTableau(A=RK4.A, b=(R(1, 6) + tiny, R(1, 3) - tiny, R(1, 3), R(1, 6)), c=RK4.c)
    assert order(weights) == 1
    inner = ButcherTableau(
        A=[[0] * 4, [R(1, 2), 0, 0, 0], [tiny, R(1, 2) - tiny, 0, 0], [0, 0, 1, 0]], b=RK4.b, c=RK4.c
    )
    assert order(inner) == 2


def test_published_decimals_hold_to_their_digits():
    assert order(RK4_ROUNDED) == 4
    assert order(ButcherTableau(A=RK4.A, b=RK4_ROUNDED.b, c=RK4.c)) == 2
    assert len(principal_error(RK4_ROUNDED)) == 9


def test_families_keep_their_symbols():
    s, theta = Symbol("s", positive=True), Symbol("theta")
    family = ButcherTableau(A=[[0, 0], [s, 0]], b=[1 - 1 / (2 * s), 1 / (2 * s)], c=[0, s])
    assert order(family) == 2
    assert cancel(principal_error(family)["f''(f,f)"] - (R(1, 6) - s / 4)) == 0
    thetas = ButcherTableau(A=[[0, 0], [1 - theta, theta]], b=[1 - theta, theta], c=[0, 1])
    assert order(thetas) == 1
    assert cancel(principal_error(thetas)["f'f"] - (R(1, 2) - theta)) == 0


def test_symbols_beside_radicals_stay_exact():
    k = Symbol("k")
    node = sqrt(2) * k
    scaled = ButcherTableau(A=[[0, 0], [node, 0]], b=[1 - 1 / (2 * node), 1 / (2 * node)], c=[0, node])
    assert order(scaled) == 2
    assert cancel((principal_error(scaled)["f''(f,f)"] - (R(1, 6) - node / 4)).expand()) == 0


def test_entries_outside_radicals_and_symbols_still_work():
    k = Symbol("k", positive=True)
    odd = ButcherTableau(A=[[0, 0], [sqrt(k), 0]], b=[1 - 1 / (2 * sqrt(k)), 1 / (2 * sqrt(k))], c=[0, sqrt(k)])
    assert order(odd) == 2


def test_multistep_schemes_have_no_trees_here():
    with pytest.raises(UnsupportedError, match="ButcherTableau"):
        order(SCHEMES["leapfrog"])


def test_order_three_family_with_two_symbols():
    """Weights that are rational in the nodes c_2, c_3 (Kutta 1901): order 3 identically."""
    p, q = Symbol("p"), Symbol("q")
    b2, b3 = (2 - 3 * q) / (6 * p * (p - q)), (2 - 3 * p) / (6 * q * (q - p))
    inner = q * (q - p) / (p * (2 - 3 * p))
    family = ButcherTableau(A=[[0, 0, 0], [p, 0, 0], [q - inner, inner, 0]], b=[1 - b2 - b3, b2, b3], c=[0, p, q])
    assert order(family) == 3


def test_elementary_weights():
    heun, rk4 = Stages(HEUN), Stages(RK4)
    assert rk4.weight(tree()) == 1
    assert rk4.weight(parse("f'f'f'f'f")) == 0
    assert heun.weight(parse("f''(f'f,f'f)")) == 0
    assert heun.weight(parse("f^{(3)}fff")) == QQ(1, 2)


@pytest.mark.parametrize("colours", [1, 2])
def test_elementary_differentials_of_a_concrete_field(colours):
    """F(tau) through placeholders and the linearization of a program, against nested derivatives."""
    known = Fields(8, 2, colours, degree=3)
    unknowns = [state("x1"), state("x2")]
    fields = [tuple(f.subs(dict(zip(known.x, unknowns, strict=True))) for f in part) for part in known.parts]
    ode = ODE(unknowns, fields[0])
    for n in range(1, 5 - (colours == 2)):
        for tau in trees(n, colours):
            found = elementary_differential(ode, tau, fields if colours == 2 else ())
            wanted = [v.subs(dict(zip(known.x, unknowns, strict=True))) for v in known.differential(tau)]
            assert [(a - b).expand() for a, b in zip(found, wanted, strict=True)] == [0, 0]


def test_time_moves_with_velocity_one():
    x, t = state("x"), time("t")
    ode = ODE((x,), (sin(t) * x**2,), time=t)
    assert elementary_differential(ode, parse("f'f"))[0].expand() == (cos(t) * x**2 + 2 * sin(t) ** 2 * x**3).expand()
    assert derivative_along_flow(ode, 2) == elementary_differential(ode, parse("f'f"))
    parts = [(sin(t) * x,), (x**2,)]
    assert elementary_differential(ode, parse("f'g"), parts)[0].expand() == sin(t) * x**2
    assert elementary_differential(ode, parse("f'f"), parts)[0].expand() == cos(t) * x + sin(t) ** 2 * x

"""Composition, inverse, adjoint, substitution and backward error analysis, against maps, flows and other tableaus."""

import pytest
from polynomial_fields import STEP, Fields
from sympy import QQ, Rational, Symbol, cancel
from test_series_order import ALL, BACKWARD, GAUSS4, KUTTA3, SYMPLECTIC_EULER, TRAPEZOID, VERLET, s3, tableaus

from derive.schemes import SCHEMES, AdditiveTableau, ButcherTableau, LinearMultistep, Splitting
from derive.series.bseries import adjoint, compose, difference, exact_flow, inverse, order_of, rescaled, substitute
from derive.series.modified import flow, modified_field
from derive.series.multistep import MultistepVerdicts
from derive.series.one_step import step_series
from derive.series.rk import error_terms, modified_equation, order, principal_error
from derive.series.trees import trees, trees_up_to

R = Rational
FORWARD_EULER, HEUN, MIDPOINT, RK4 = (SCHEMES[name] for name in ("forward_euler", "heun", "midpoint", "rk4"))
k = Symbol("k")
LIE = Splitting(((0, 1), (1, 1)))
STRANG = Splitting(((0, R(1, 2)), (1, 1), (0, R(1, 2))))


def equal(left, right, up_to=5):
    arithmetic = left.arithmetic
    return all(
        cancel(arithmetic.expression(left(tau)) - right.arithmetic.expression(right(tau))) == 0
        for tau in trees_up_to(up_to, left.colours)
    )


def one_after_the_other(first, then):
    """The tableau of two half steps."""
    half = R(1, 2)
    A = [[half * a for a in row] + [0] * then.stages for row in first.A]
    A += [[half * b for b in first.b] + [half * a for a in row] for row in then.A]
    b = [half * w for w in (*first.b, *then.b)]
    return ButcherTableau(A=A, b=b, c=[sum(row) for row in A])


def adjoint_tableau(tableau):
    """Hairer, Norsett, Wanner II.8: a*_ij = b_(s+1-j) - a_(s+1-i, s+1-j)."""
    last = tableau.stages - 1
    A = [[tableau.b[last - j] - tableau.A[last - i][last - j] for j in range(last + 1)] for i in range(last + 1)]
    return ButcherTableau(A=A, b=tableau.b[::-1], c=[sum(row) for row in A])


@pytest.mark.parametrize(("first", "then"), [(HEUN, KUTTA3), (KUTTA3, HEUN), (FORWARD_EULER, BACKWARD)])
def test_composition_is_one_step_after_the_other(first, then):
    a, b = (rescaled(step_series(scheme), QQ(1, 2)) for scheme in (first, then))
    assert equal(compose(a, b), step_series(one_after_the_other(first, then)))
    assert not equal(compose(b, a), step_series(one_after_the_other(first, then)))


def test_composition_of_two_colours():
    first, then = AdditiveTableau((HEUN, MIDPOINT)), AdditiveTableau((TRAPEZOID, HEUN))
    whole = AdditiveTableau((one_after_the_other(HEUN, TRAPEZOID), one_after_the_other(MIDPOINT, HEUN)))
    a, b = (rescaled(step_series(scheme), QQ(1, 2)) for scheme in (first, then))
    assert equal(compose(a, b), step_series(whole), 4)


@pytest.mark.parametrize("scheme", [HEUN, RK4, TRAPEZOID, VERLET, STRANG], ids=lambda s: s.title)
def test_the_inverse_undoes_the_step(scheme):
    step = step_series(scheme)
    for both in (compose(step, inverse(step)), compose(inverse(step), step)):
        assert all(not both(tau) for tau in trees_up_to(5, step.colours))


@pytest.mark.parametrize("scheme", [FORWARD_EULER, HEUN, KUTTA3, RK4, BACKWARD], ids=lambda s: s.title)
def test_adjoint_method(scheme):
    assert equal(adjoint(step_series(scheme)), step_series(adjoint_tableau(scheme)))


def test_which_methods_are_their_own_adjoint():
    own = {name: equal(adjoint(step_series(s)), step_series(s), 7 - len(tableaus(s))) for name, (s, _) in ALL.items()}
    assert {name for name, value in own.items() if value} == {"trapezoid", "Gauss", "Verlet"}
    assert equal(adjoint(step_series(FORWARD_EULER)), step_series(BACKWARD))
    assert equal(adjoint(step_series(STRANG)), step_series(STRANG))
    assert not equal(adjoint(step_series(LIE)), step_series(LIE))


@pytest.mark.parametrize("scheme", [HEUN, RK4, BACKWARD, SYMPLECTIC_EULER, STRANG], ids=lambda s: s.title)
def test_flow_of_the_modified_field_is_the_step(scheme):
    step = step_series(scheme)
    field = modified_field(step)
    assert equal(flow(field), step)
    assert equal(substitute(field, exact_flow(step.arithmetic, 1)), step)
    assert equal(compose(flow(field), flow(field)), flow(field, 2), 4)


def test_fields_compose_with_maps():
    """f taken at the end of a step: the weights of a last stage."""
    heun = step_series(HEUN)
    dot = heun.derived(lambda tau: QQ(int(tau.order == 1)), is_map=False)
    last = ButcherTableau(A=[[0, 0, 0], [1, 0, 0], [R(1, 2), R(1, 2), 0]], b=[0, 0, 1], c=[0, 1, 1])
    assert equal(compose(heun, dot), step_series(last))


def test_substitution_into_several_parts():
    """A scheme of modified parts f + h f'g, g - h g'f: B-series against the map itself."""
    scheme = AdditiveTableau((HEUN, MIDPOINT))
    fields = Fields(11, 2, 2, degree=2, limit=3)
    step = step_series(scheme)
    pieces = {tau: 1 if tau.order == 1 else 0 for tau in trees_up_to(3, 2)}
    f_g, g_f = (t for t in trees(2, 2) if t.colour != t.branches[0].colour)
    pieces |= {f_g: 1, g_f: -1}
    field = step.derived(lambda tau: QQ(pieces[tau]), is_map=False)
    corrections = [fields.differential(f_g), fields.differential(g_f)]
    parts = [
        [(f + sign * STEP * extra).expand() for f, extra in zip(part, correction, strict=True)]
        for part, sign, correction in zip(fields.parts, (1, -1), corrections, strict=True)
    ]
    numerical = fields.numerical(scheme.parts, parts)
    series = substitute(field, step)
    for power in range(1, 4):
        claimed = fields.here(fields.combined(series.table(power)))
        assert claimed == fields.coefficients(numerical, power)


def test_modified_equations_of_the_catalogue():
    assert modified_equation(FORWARD_EULER, 2) == {
        0: {"f": 1},
        1: {"f'f": R(-1, 2)},
        2: {"f''(f,f)": R(1, 12), "f'f'f": R(1, 3)},
    }
    assert modified_equation(BACKWARD, 2)[2] == {"f''(f,f)": R(1, 12), "f'f'f": R(1, 3)}
    assert modified_equation(BACKWARD, 2)[1] == {"f'f": R(1, 2)}
    assert modified_equation(TRAPEZOID, 2) == {0: {"f": 1}, 1: {}, 2: {"f''(f,f)": R(1, 12), "f'f'f": R(1, 12)}}
    assert modified_equation(HEUN, 2)[2] == {"f''(f,f)": R(1, 12), "f'f'f": R(-1, 6)}
    found = modified_equation(RK4, 4)
    assert [len(found[power]) for power in range(5)] == [1, 0, 0, 0, 9]
    assert found[4] == {key: -value for key, value in principal_error(RK4).items()}


def with_symbols():
    theta, alpha, beta = Symbol("theta"), Symbol("alpha"), Symbol("beta")
    thetas = ButcherTableau(A=[[0, 0], [1 - theta, theta]], b=[1 - theta, theta], c=[0, 1])
    fractal = ButcherTableau(A=[[0, 0], [alpha, 0]], b=[1 - beta, beta], c=[0, alpha])
    return thetas, fractal, theta, alpha, beta


def test_modified_equations_keep_symbols():
    thetas, fractal, theta, alpha, beta = with_symbols()
    assert cancel(modified_equation(thetas, 1)[1]["f'f"] - (theta - R(1, 2))) == 0
    assert cancel(modified_equation(fractal, 1)[1]["f'f"] - (alpha * beta - R(1, 2))) == 0
    for value, scheme in ((0, FORWARD_EULER), (1, BACKWARD), (R(1, 2), TRAPEZOID)):
        found, wanted = modified_equation(thetas, 3), modified_equation(scheme, 3)
        for power in range(4):
            assert {key: v.subs(theta, value) for key, v in found[power].items()} == {
                **dict.fromkeys(found[power], 0),
                **wanted[power],
            }


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("dimension", "seed"), [(1, 2), (2, 7)])
def test_modified_equation_against_power_series(name, dimension, seed):
    """The flow of the modified field of a random polynomial field is the numerical map, up to h^limit."""
    scheme, _ = ALL[name]
    domain = QQ.algebraic_field(s3) if scheme is GAUSS4 else QQ
    limit = (3 if dimension == 2 else 5) - (len(tableaus(scheme)) == 2)
    fields = Fields(seed, dimension, len(tableaus(scheme)), degree=3, limit=limit, domain=domain)
    assert fields.flow(modified(fields, modified_equation(scheme, limit - 1))) == fields.numerical(tableaus(scheme))


def modified(fields, tables):
    """The field of a modified equation as polynomials in the unknowns and the step."""
    total = [R(0) for _ in fields.x]
    for power, table in tables.items():
        total = [(t + STEP**power * v).expand() for t, v in zip(total, fields.combined(table), strict=True)]
    return total


@pytest.mark.parametrize(("scheme", "p"), [(LIE, 1), (STRANG, 2)])
def test_splittings_against_power_series(scheme, p):
    fields = Fields(4, 2, 2, degree=2, limit=3)
    point = fields.constant(fields.start)
    for part, fraction in scheme.stages:
        point = fields.flow([fraction * f for f in fields.parts[part]], start=point)
    assert order(scheme) == p
    gap = [a - b for a, b in zip(fields.flow(fields.whole()), point, strict=True)]
    for power in range(1, 4):
        assert fields.here(fields.combined(error_terms(scheme, power))) == fields.coefficients(gap, power)
    assert fields.flow(modified(fields, modified_equation(scheme, 2))) == point


def test_splitting_with_a_scheme_in_place_of_the_flows():
    """Strang with Heun's method for each flow keeps order 2, with forward Euler it does not."""
    heun, euler = (Splitting(STRANG.stages, substep=s) for s in (HEUN, FORWARD_EULER))
    assert (order(heun), order(euler)) == (2, 1)
    whole = order_of(step_series(Splitting(STRANG.stages, substep=RK4)), 4)
    assert whole == 2
    assert principal_error(Splitting(STRANG.stages, substep=RK4)) == principal_error(STRANG)


def test_fourth_order_triple_jump():
    """Order 4 needs the cube root of 2: exact in Q<2^(1/3)>."""
    a = 1 / (2 - 2 ** R(1, 3))
    fractions = [a / 2, a, (1 - a) / 2, 1 - 2 * a, (1 - a) / 2, a, a / 2]
    jump = Splitting(tuple((place % 2, fraction) for place, fraction in enumerate(fractions)))
    assert order(jump) == 4
    field = modified_equation(jump, 4)
    assert not any(field[power] for power in (1, 2, 3)) and len(field[4]) > 0


MULTISTEP = {
    "leapfrog": (LinearMultistep(alpha=(0, 1), beta=(0, 2, 0)), 2, R(1, 3)),
    "AB2": (LinearMultistep(alpha=(1, 0), beta=(0, R(3, 2), R(-1, 2))), 2, R(5, 12)),
    "AM3": (LinearMultistep(alpha=(1, 0), beta=(R(5, 12), R(8, 12), R(-1, 12))), 3, R(-1, 24)),
    "BDF2": (LinearMultistep(alpha=(R(4, 3), R(-1, 3)), beta=(R(2, 3), 0, 0)), 2, R(-2, 9)),
    "Milne-Simpson": (LinearMultistep(alpha=(0, 1), beta=(R(1, 3), R(4, 3), R(1, 3))), 4, R(-1, 90)),
    "LM-ResNet at k = 1/3": (LinearMultistep(alpha=(R(2, 3), R(1, 3)), beta=(0, 1, 0)), 1, R(1, 3)),
}


@pytest.mark.parametrize("name", MULTISTEP)
def test_multistep_order_and_principal_branch(name):
    """The flow of the modified field satisfies the recursion up to h^limit, starting from a random polynomial field."""
    scheme, p, constant = MULTISTEP[name]
    verdicts = MultistepVerdicts(scheme)
    assert (verdicts.order, verdicts.error_constant) == (p, constant)
    fields = Fields(9, 2, degree=2, limit=4)
    field = modified(fields, verdicts.modified_equation(3))
    after = fields.flow(field, 1)
    points = {lag: fields.flow(field, -lag) for lag in range(scheme.steps)}
    for place, x in enumerate(fields.parts[0]):
        right = sum((fields.domain.from_sympy(a) * points[j][place] for j, a in enumerate(scheme.alpha)), 0)
        slopes = [fields.at(x, after), *(fields.at(x, points[j]) for j in range(scheme.steps))]
        right += fields.h * sum((fields.domain.from_sympy(b) * f for b, f in zip(scheme.beta, slopes, strict=True)), 0)
        assert fields.cut(after[place] - right) == 0


@pytest.mark.parametrize("name", ["leapfrog", "AM3", "LM-ResNet at k = 1/3"])
def test_multistep_local_error(name):
    """Exact minus numerical after one step from exact values of u' = s f."""
    scheme, p, _ = MULTISTEP[name]
    fields = Fields(9, 2, degree=2, limit=5)
    speed = scheme.speed
    field = [speed * f for f in fields.whole()]
    exact = {lag: fields.flow(field, -lag) for lag in range(-1, scheme.steps)}
    claimed = MultistepVerdicts(scheme)
    for place, f in enumerate(fields.parts[0]):
        gap = exact[-1][place] - sum(QQ.from_sympy(a) * exact[j][place] for j, a in enumerate(scheme.alpha))
        gap -= fields.h * sum(QQ.from_sympy(b) * fields.at(f, exact[j - 1]) for j, b in enumerate(scheme.beta))
        for power in range(1, 6):
            wanted = fields.here(fields.combined(claimed.error_terms(power)))[place]
            assert fields.coefficients([fields.cut(gap)], power) == [wanted]
            assert power > p or wanted == 0


def test_multistep_with_a_symbol():
    """The closed form of LM-ResNet."""
    found = MultistepVerdicts(LinearMultistep(alpha=(1 - k, k), beta=(0, 1, 0))).modified_equation(2)
    wanted = {
        "f": 1 / (1 + k),
        "f'f": (k - 1) / (2 * (1 + k) ** 3),
        "f''(f,f)": (k**2 - 10 * k + 1) / (12 * (1 + k) ** 5),
        "f'f'f": (k**2 - 4 * k + 1) / (3 * (1 + k) ** 5),
    }
    for table in found.values():
        assert all(cancel(value - wanted[key]) == 0 for key, value in table.items())
    assert sum(map(len, found.values())) == 4


def test_difference_of_maps_is_a_field():
    step = step_series(HEUN)
    assert not difference(step, step).is_map
    assert difference(step, difference(step, step)).is_map

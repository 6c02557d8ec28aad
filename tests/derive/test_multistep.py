"""Linear multistep schemes: error constants, root condition, the equation they are consistent with."""

import numpy as np
import pytest
from sympy import Interval, Rational, S, Symbol, exp, factor, series, simplify, symbols

from derive.catalog.lm_resnet import SPEC as LM_RESNET
from derive.catalog.lm_resnet import k
from derive.errors import SpecError
from derive.expansion import field_weights, modified_equation, solution_weights
from derive.networks import Network
from derive.numbering import Author
from derive.scheme_sections import stable_interval, write_root_condition
from derive.schemes import SCHEMES, LinearMultistep
from derive.symbols import parameter, state
from derive.systems import ODE
from derive.truncation import truncation

R = Rational
LEAPFROG = SCHEMES["leapfrog"]
LM = LM_RESNET.scheme
ODE_OF_F = ODE(state=(state("x"),), velocity=(Network("f")(state("x")),))


def bashforth(*weights):
    """An Adams-Bashforth scheme of s steps: alpha = (1, 0, ...), beta_{-1} = 0."""
    return LinearMultistep(alpha=(1, *[0] * (len(weights) - 1)), beta=(0, *weights))


# Scheme, order p, C_(p+1): catalogue, part I, `linear_multistep`.
KNOWN = {
    "forward Euler": (bashforth(1), 1, R(1, 2)),
    "backward Euler": (LinearMultistep(alpha=(1,), beta=(1, 0)), 1, R(-1, 2)),
    "leapfrog": (LEAPFROG, 2, R(1, 3)),
    "trapezoid": (LinearMultistep(alpha=(1,), beta=(R(1, 2), R(1, 2))), 2, R(-1, 12)),
    "AB2": (bashforth(R(3, 2), R(-1, 2)), 2, R(5, 12)),
    "AB3": (bashforth(R(23, 12), R(-16, 12), R(5, 12)), 3, R(3, 8)),
    "AB4": (bashforth(R(55, 24), R(-59, 24), R(37, 24), R(-9, 24)), 4, R(251, 720)),
    "AM3": (LinearMultistep(alpha=(1, 0), beta=(R(5, 12), R(8, 12), R(-1, 12))), 3, R(-1, 24)),
    "BDF2": (LinearMultistep(alpha=(R(4, 3), R(-1, 3)), beta=(R(2, 3), 0, 0)), 2, R(-2, 9)),
    "Milne-Simpson": (LinearMultistep(alpha=(0, 1), beta=(R(1, 3), R(4, 3), R(1, 3))), 4, R(-1, 90)),
    "not zero-stable": (LinearMultistep(alpha=(-4, 5), beta=(0, 4, 2)), 3, R(1, 6)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_order_and_error_constant(name):
    scheme, p, constant = KNOWN[name]
    assert scheme.speed == 1
    assert [scheme.error_constant(q) for q in range(p + 2)] == [0] * (p + 1) + [constant]


@pytest.mark.parametrize("name", ["forward Euler", "leapfrog", "AB2", "AB3", "AB4", "not zero-stable"])
def test_truncation_reports_them(name):
    scheme, p, constant = KNOWN[name]
    found = truncation(ODE_OF_F, scheme)
    assert (found.order, found.coefficients, found.conditions) == (p, (constant,), {})


@pytest.mark.parametrize("name", KNOWN)
def test_error_constant_by_the_step_on_the_exponential(name):
    """exp(h) - sum alpha_j exp(-jh) - h sum beta_j exp(-jh) = C h^(p+1) + O(h^(p+2)): an independent expansion."""
    scheme, p, constant = KNOWN[name]
    h = Symbol("h")
    residual = exp(h) - sum(a * exp(-j * h) for j, a in enumerate(scheme.alpha))
    residual -= h * sum(b * exp(-(j - 1) * h) for j, b in enumerate(scheme.beta))
    assert series(residual, h, 0, p + 2).removeO().expand() == constant * h ** (p + 1)


@pytest.mark.parametrize("name", KNOWN)
def test_explicit_or_implicit(name):
    implicit = {"backward Euler", "trapezoid", "AM3", "BDF2", "Milne-Simpson"}
    assert KNOWN[name][0].explicit is (name not in implicit)


def test_lm_resnet_with_symbolic_k():
    """Catalogue: u' = f/(1 + k); C_2 = (1 - k)/2 and C_3 = (1 + k)/6 along its solutions."""
    assert simplify(LM.speed - 1 / (1 + k)) == 0
    assert LM.error_constant(0) == 0 and LM.error_constant(1) == 0
    assert simplify(LM.error_constant(2) - (1 - k) / 2) == 0
    assert simplify(LM.error_constant(3) - (1 + k) / 6) == 0
    found = truncation(LM_RESNET.system, LM)
    assert found.order == 1 and found.conditions == {k: (1,)}


def test_modified_equation_of_lm_resnet():
    weights = solution_weights(LM, 4)
    expected = [1 + k, (1 - k) / 2, (1 + k) / 6, (1 - k) / 24]
    assert all(simplify(a - b) == 0 for a, b in zip(weights, expected, strict=True))


def test_modified_equation_weights_by_expansion():
    """(u(t + h) - sum alpha_j u(t - jh))/h on u = exp(t)."""
    h = Symbol("h")
    for scheme in (LM, LEAPFROG, KNOWN["AB3"][0]):
        step = (exp(h) - sum(a * exp(-j * h) for j, a in enumerate(scheme.alpha))) / h
        expected = series(step, h, 0, 4).removeO()
        found = sum(w * h**q for q, w in enumerate(solution_weights(scheme, 4)))
        assert simplify(found - expected) == 0


def test_both_sides_of_the_modified_equation_make_the_error_constants():
    """With f = u' the difference of the sides is C_q h^(q-1) u^(q); the betas must enter."""
    for name in ("AB2", "AB3", "AB4"):
        scheme = KNOWN[name][0]
        order = truncation(LM_RESNET.system, scheme).order
        left, right = solution_weights(scheme, order + 1), field_weights(scheme, order + 1)
        gaps = [a - b for a, b in zip(left, right, strict=True)]
        assert gaps[:-1] == [0] * order and gaps[-1] == scheme.error_constant(order + 1)


def test_the_modified_equation_shows_the_betas():
    assert modified_equation(LEAPFROG, 3).latex().endswith(r"2\, f(u)")
    assert r"\frac{1}{2}\, h\, f^{(1)}(u)" in modified_equation(KNOWN["AB2"][0], 3).latex()


def test_consistent_variants_of_lm_resnet():
    """beta_0 = 1 + k is consistent with f itself; the second has order 2 for every k (catalogue, E12)."""
    first = LinearMultistep(alpha=(1 - k, k), beta=(0, 1 + k, 0))
    assert simplify(first.speed - 1) == 0 and simplify(first.error_constant(2) - (1 - k) / 2) == 0
    second = LinearMultistep(alpha=(1 - k, k), beta=(0, (3 + k) / 2, -(1 - k) / 2))
    assert simplify(second.speed - 1) == 0 and second.error_constant(2) == 0
    assert simplify(second.error_constant(3) - (5 - k) / 12) == 0


def roots_of(scheme, **values):
    zeta = Symbol("zeta")
    return sorted(
        np.roots([float(c) for c in scheme.characteristic(zeta).subs(values).as_poly(zeta).all_coeffs()]), key=abs
    )


def test_characteristic_polynomials():
    zeta, z = symbols("zeta z")
    assert factor(LM.characteristic(zeta)) == (zeta - 1) * (zeta + k)
    assert LEAPFROG.characteristic(zeta, z).expand() == zeta**2 - 1 - 2 * z * zeta
    assert KNOWN["trapezoid"][0].characteristic(zeta, z).expand() == (zeta - 1 - z * (zeta + 1) / 2).expand()
    assert abs(roots_of(KNOWN["not zero-stable"][0])[-1]) == pytest.approx(5)


def test_root_condition_of_lm_resnet():
    assert stable_interval(LM) == Interval.Lopen(-1, 1)
    author = Author()
    assert write_root_condition(author, LM) == "-1 < k <= 1"
    (relation,) = [r for section in author.sections for r in section.relations if r.name == "root_condition"]
    assert relation.check.run().holds and not relation.check.perturbed().run().holds


@pytest.mark.parametrize("name", KNOWN)
def test_root_condition_of_a_scheme_without_symbols(name):
    stable = name != "not zero-stable"
    assert stable_interval(KNOWN[name][0]) == (S.Reals if stable else S.EmptySet)
    author = Author()
    said = write_root_condition(author, KNOWN[name][0])
    assert said == ("every field" if stable else "no field")
    text = " ".join(r.title for section in author.sections for r in section.relations)
    assert ("not zero-stable" in text) is not stable


def test_root_condition_sees_double_roots_on_the_circle():
    """rho = (zeta - 1)^2 (zeta - c) is unstable for every c; (zeta - 1)(zeta - c)^2 only inside the circle."""
    c = parameter("c")
    twice_one = LinearMultistep(alpha=(2 + c, -1 - 2 * c, c), beta=(0, 1, 0, 0))
    twice_c = LinearMultistep(alpha=(1 + 2 * c, -2 * c - c**2, c**2), beta=(0, 1, 0, 0))
    assert stable_interval(twice_one) == S.EmptySet
    assert stable_interval(twice_c) == Interval.open(-1, 1)


def test_root_condition_of_a_rational_root():
    """rho = (zeta - 1)(zeta + c/(1 + c)): |c| <= |1 + c|, simple where -c/(1 + c) is not 1."""
    c = parameter("c")
    region = stable_interval(LinearMultistep(alpha=(1 / (1 + c), c / (1 + c)), beta=(0, 1, 0)))
    assert all(R(n, 10) in region for n in (-4, 0, 20, 500)) and all(R(n, 10) not in region for n in (-5, -6, -30))


def test_root_condition_of_roots_that_may_be_complex():
    """rho = (zeta - 1)(zeta^2 + c): roots of modulus sqrt |c|, at 1 itself for c = -1."""
    c = parameter("c")
    assert stable_interval(LinearMultistep(alpha=(1, -c, c), beta=(0, 1, 0, 0))) == Interval.Lopen(-1, 1)


@pytest.mark.parametrize(
    ("alpha", "beta", "complaint"),
    [
        ((1,), (0,), "1 alphas need 2 betas"),
        ((1, 0), (0, 1), "2 alphas need 3 betas"),
        ((1,), (0, 1, 0), "3 given"),
        ((1, 1), (0, 1, 0), "sums to 2, not 1"),
        ((k,), (0, 1), "not 1"),
    ],
)
def test_weights_that_do_not_fit_are_refused(alpha, beta, complaint):
    with pytest.raises(SpecError, match=complaint):
        LinearMultistep(alpha=alpha, beta=beta)


def test_weights_that_sum_to_one_only_after_simplification_are_taken():
    s = Symbol("s")
    assert LinearMultistep(alpha=((1 - s) ** 2, 2 * s - s**2), beta=(0, 1, 0)).steps == 2

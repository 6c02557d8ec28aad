"""One analysis of a shipped scheme against another: trees, stability function, geometry, power series."""

import mpmath
import pytest
from sympy import Poly, Rational, Symbol, cancel, exp, factorial, fraction, oo, series, true

import derive
from derive.scheme_report.geometry_residuals import quadratic_disagreements
from derive.scheme_report.residuals import error_terms_residual, tolerance
from derive.schemes import SCHEMES, ButcherTableau, LinearMultistep
from derive.series.trees import tree

z = Symbol("z")
EXACT = [name for name, scheme in SCHEMES.items() if getattr(scheme, "digits", None) is None]
RUNGE_KUTTA = [name for name in EXACT if isinstance(SCHEMES[name], ButcherTableau)]


def tall(order):
    tau = tree()
    for _ in range(order - 1):
        tau = tree(tau)
    return tau


def taylor(function, order):
    """Coefficients of a rational function up to z^order, by long division."""
    above, below = (Poly(part, z).all_coeffs()[::-1] for part in fraction(cancel(function)))
    found = []
    for power in range(order + 1):
        value = above[power] if power < len(above) else 0
        value -= sum(below[j] * found[power - j] for j in range(1, min(power, len(below) - 1) + 1))
        found.append(cancel(value / below[0]))
    return found


@pytest.mark.parametrize("name", SCHEMES)
def test_the_derived_order_is_the_claimed_one(name):
    scheme = SCHEMES[name]
    assert scheme.order is None or derive.analyse(name).order == scheme.order


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_the_stability_function_is_the_exponential_up_to_the_tall_tree(name):
    found = derive.analyse(name)
    p = int(found.order)
    coefficients = taylor(found.stability_function, p + 1)
    assert all(cancel(c - 1 / factorial(power)) == 0 for power, c in enumerate(coefficients[: p + 1]))
    gap = 1 / factorial(p + 1) - coefficients[p + 1]
    assert cancel(gap - found.principal_error[tall(p + 1)]) == 0


@pytest.mark.parametrize("name", EXACT)
def test_symmetric_schemes_have_even_order(name):
    found = derive.analyse(name)
    if found.is_symmetric != true:
        return
    assert found.order % 2 == 0
    if isinstance(found.scheme, ButcherTableau):
        function = found.stability_function
        assert cancel(function * function.subs(z, -z)) == 1  # |R(iy)| = 1


@pytest.mark.parametrize("name", EXACT)
def test_symplectic_schemes_have_no_gap(name):
    found = derive.analyse(name)
    assert (found.is_symplectic == true) == (found.adjoint_gap_order == oo)
    if isinstance(found.scheme, ButcherTableau) and found.is_symplectic == true:
        assert quadratic_of(found.scheme, oo) == 0


def quadratic_of(scheme, order):
    with mpmath.workdps(60):
        return quadratic_disagreements(scheme, order)


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in ("ruth4", "yoshida4", "dop853")])
def test_leading_errors_by_truncated_power_series(name):
    scheme, table = SCHEMES[name], derive.analyse(name).principal_error
    with mpmath.workdps(60):
        order = int(derive.analyse(name).order)
        coefficients = tuple(table.terms.values())
        assert error_terms_residual(scheme, tuple(table.terms), order, coefficients) <= tolerance(scheme)
        wrong = (coefficients[0] * Rational(1001, 1000), *coefficients[1:])
        assert error_terms_residual(scheme, tuple(table.terms), order, wrong) > tolerance(scheme)


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if isinstance(scheme, LinearMultistep)])
def test_error_constants_are_those_of_the_logarithm(name):
    """rho(zeta)/sigma(zeta) - log(zeta) at zeta = e^h starts with C_(p+1)/sigma(1) h^(p+1)."""
    found = derive.analyse(name)
    scheme, p = found.scheme, int(found.order)
    h = Symbol("h")
    rho = scheme.characteristic(exp(h))
    sigma = rho - scheme.characteristic(exp(h), 1)
    expansion = series(rho - h * sigma, h, 0, p + 2).removeO()
    assert cancel(expansion.coeff(h, p + 1) - found.error_constant) == 0
    assert all(expansion.coeff(h, power) == 0 for power in range(p + 1))

"""`derive.analyse` and `derive.modified_equation`: what they take, what they answer, how it is shown."""

import re

import pytest
from sympy import Eq, Rational, false, sqrt, symbols, true
from test_series_order import RK4_ROUNDED, SYMPLECTIC_EULER
from test_series_verdicts import BS32

import derive
from derive.analysis import Analysis
from derive.errors import DeriveError, UnknownNameError, UnsupportedError
from derive.schemes import SCHEMES, ButcherTableau, Splitting

R = Rational
SCHEME_FILE = """
from derive import ButcherTableau, Rational
MINE = ButcherTableau(A=[[0, 0], [Rational(2, 3), 0]], b=[Rational(1, 4), Rational(3, 4)], c=[0, Rational(2, 3)])
"""
SPEC_FILE = """
from derive import ODE, Spec, state
x = state("x")
SPEC = Spec(id="own_decay", class_name="OwnDecay", title="Decay", system=ODE((x,), (-x,)), scheme=MINE)
"""


def test_an_embedded_pair_has_everything():
    found = derive.analyse(BS32)
    assert (found.order, found.stage_order, found.embedded_order, found.dense_order) == (3, 1, 2, 3)
    assert found.label == "exact"
    assert found.principal_error["f'f'f'f"] == R(1, 24)
    assert found.principal_error_norm == sqrt(sum(v**2 for v in found.principal_error.values()))
    assert found.error_terms(3) == {}
    assert found.order_conditions == {}
    assert found.error_constant is None is found.error_constant_normalized
    assert all(value.is_Integer for value in (found.order, found.stage_order, found.embedded_order))


def test_error_constants_of_one_step():
    """Part I of the catalogue; where the leading term is no multiple of one derivative there is none."""
    theta = symbols("theta")
    known = {"forward_euler": R(1, 2), "backward_euler": R(-1, 2), "trapezoid": R(-1, 12), "lobatto3a_s2": R(-1, 12)}
    for name, constant in known.items():
        found = derive.analyse(name)
        assert found.error_constant == found.error_constant_normalized == constant
    assert (derive.analyse("theta").error_constant - (R(1, 2) - theta)).expand().subs(theta, 3) == 0
    for name in ("heun", "rk4", "implicit_midpoint", "strang", "symplectic_euler", "gauss4"):
        assert derive.analyse(name).error_constant is None is derive.analyse(name).error_constant_normalized
    # Both parts by one tableau: the trees of all colours.
    both = derive.AdditiveTableau((SCHEMES["trapezoid"], SCHEMES["trapezoid"]))
    assert derive.analyse(both).error_constant == R(-1, 12)


def test_tables_hold_one_order():
    table = derive.analyse("heun").principal_error
    for ask in (lambda: table["f'f'f'f"], lambda: derive.modified_equation("heun", 2)[1]["f"]):
        with pytest.raises(DeriveError, match=r"is of order .; this table holds order . only") as caught:
            ask()
        assert isinstance(caught.value, KeyError)
    assert "f'f'f'f" not in table and table.get("f'f'f'f") is None


@pytest.mark.parametrize("order", [-1, 2.5, "2", None, True])
def test_orders_are_whole_numbers(order):
    for ask in (derive.analyse("heun").modified_equation, derive.analyse("heun").error_terms):
        with pytest.raises(DeriveError, match=r"give a whole number from [01] on"):
            ask(order)


def test_a_step_that_is_read_as_a_scheme_is_analysed_as_it():
    """FractalNet: consistent where k1 + k2 = 1 and k2 alpha + beta = 1, of order 2 where alpha beta = 1/2 besides."""
    found = derive.analyse("fractalnet")
    (first, second), ((_, _), (row, _)) = found.scheme.b, found.scheme.A
    assert (first + second - 1).expand() == 0 and found.order == 1
    condition = found.order_conditions[2]
    symbols_left = sorted(condition.free_symbols, key=str)
    heun = {s: {"alpha": 1, "beta": R(1, 2), "k2": R(1, 2)}[str(s)] for s in symbols_left}
    assert condition.subs(heun) == true and row.subs(heun) == 1 and second.subs(heun) == R(1, 2)
    assert condition.subs(heun | {symbols_left[0]: R(1, 3)}) == false
    assert found.is_a_stable == found.is_symplectic == false


def test_what_is_no_scheme_is_told_what_is():
    for function in (derive.analyse, derive.lint):
        for source in (3, None):
            with pytest.raises(DeriveError, match=r"is no scheme: give an id .* a ButcherTableau"):
                function(source)
        with pytest.raises(UnknownNameError, match="nosuch"):
            function("nosuch")
    assert derive.lint("rk4") == derive.lint(SCHEMES["rk4"])


def test_a_spec_is_its_solver_or_has_none():
    assert derive.lint("neural_ode") == derive.lint("dopri5")
    assert derive.analyse("continuous_flow").scheme == SCHEMES["rk4"]
    for function in (derive.analyse, derive.lint):
        with pytest.raises(UnsupportedError, match=r"nice has no scheme of an ODE or SDE: give an id"):
            function("nice")


def test_what_does_not_apply_is_none():
    assert derive.analyse("rk4").embedded_order is None is derive.analyse("rk4").dense_order
    leapfrog = derive.analyse("leapfrog")
    assert leapfrog.stage_order is None is leapfrog.embedded_order
    assert (leapfrog.order, leapfrog.error_constant, leapfrog.error_constant_normalized) == (2, R(1, 3), R(1, 6))
    assert leapfrog.principal_error == {"f''(f,f)": R(1, 3), "f'f'f": R(1, 3)}


def test_geometry():
    rk4, leapfrog = derive.analyse("rk4"), derive.analyse("leapfrog")
    assert (rk4.is_symplectic, rk4.is_symmetric, rk4.adjoint_gap_order) == (false, false, 4)
    assert (leapfrog.is_symplectic, leapfrog.is_symmetric, leapfrog.adjoint_gap_order) == (None, true, None)
    shown = str(derive.analyse(SYMPLECTIC_EULER))
    assert re.search(r"symplectic +yes\n +symmetric +no\n +order of the adjoint gap +oo\n", shown)
    assert r"| symplectic | $\text{yes}$ |" in derive.analyse(SYMPLECTIC_EULER)._repr_markdown_()


def test_conditions_of_a_family():
    alpha, beta = symbols("alpha beta")
    found = derive.analyse(ButcherTableau(A=[[0, 0], [alpha, 0]], b=[1 - beta, beta], c=[0, alpha]))
    assert found.order == 1
    assert found.order_conditions == {2: Eq(alpha * beta, R(1, 2))}
    assert "order 2 iff" in str(found) and "alpha*beta = 1/2" in str(found)


def test_higher_orders_are_followed_until_no_value_reaches_them():
    c2, c3, b2, b3, a = symbols("c2 c3 b2 b3 a32")
    third = ButcherTableau(A=[[0, 0, 0], [c2, 0, 0], [c3 - a, a, 0]], b=[1 - b2 - b3, b2, b3], c=[0, c2, c3])
    found = derive.analyse(third).order_conditions
    assert list(found) == [2, 3]
    kutta = {c2: R(1, 2), c3: 1, b2: R(2, 3), b3: R(1, 6), a: 2}
    assert found[2].subs(kutta) == found[3].subs(kutta) == true
    assert found[3].subs(kutta | {a: 1}) == false


def test_published_decimals_carry_their_label():
    found = derive.analyse(RK4_ROUNDED)
    assert found.label == "to 6 digits" and found.order == 4
    assert "to 6 digits" in str(found)


def test_sources(tmp_path):
    assert derive.analyse("lm_resnet").order_conditions == derive.analyse(derive.load("lm_resnet")).order_conditions
    assert derive.analyse("resnet").scheme == SCHEMES["forward_euler"]
    assert derive.analyse(SYMPLECTIC_EULER).order == 1
    assert derive.analyse(Splitting(((0, 1), (1, 1)))).order == 1
    path = tmp_path / "mine.py"
    path.write_text(SCHEME_FILE)
    assert derive.analyse(path).order == derive.analyse(f"{path}:MINE").order == 2
    path.write_text(SCHEME_FILE + SPEC_FILE)
    assert derive.analyse(str(path)).principal_error == {"f'f'f": R(1, 6)}
    assert derive.analyse(f"{path}:MINE").order == derive.analyse(f"{path}:SPEC").order == 2


def test_what_cannot_be_analysed_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="lstm_peephole has no scheme of an ODE"):
        derive.analyse("lstm_peephole")
    with pytest.raises(UnknownNameError, match="did you mean rk4"):
        derive.analyse("rk44")
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(DeriveError, match="no spec or scheme"):
        derive.analyse(path)
    path.write_text(SCHEME_FILE + SCHEME_FILE.replace("MINE", "OTHER"))
    with pytest.raises(DeriveError, match=r"name one, as in .*:MINE"):
        derive.analyse(path)


def test_modified_equations():
    assert derive.modified_equation("heun", 2) == {0: {"f": 1}, 1: {}, 2: {"f''(f,f)": R(1, 12), "f'f'f": R(-1, 6)}}
    k = next(iter(derive.load("lm_resnet").scheme.alpha[1].free_symbols))
    found = derive.modified_equation("lm_resnet", 4)
    assert list(found) == [0, 1, 2, 3, 4]
    assert found[1] == {"f'f": (k - 1) / (2 * (k + 1) ** 3)}
    assert [len(found[power]) for power in found] == [1, 1, 2, 4, 9]


def test_how_it_is_shown():
    shown = str(derive.analyse("rk4"))
    assert shown.startswith("classical Runge-Kutta (exact)\n  order")
    assert re.search(r"norm of the principal error +sqrt\(1745\)/2880", shown)
    assert re.search(r"A-stable +no\n.*\n.*alpha +0\n +real interval +\[-2\.78529\.\.\., 0\]", shown)
    assert "-1/2880  f^{(4)}ffff: the fourth derivative of f along f, f, f and f" in shown
    assert repr(derive.analyse("rk4")) == shown
    table = derive.analyse("rk4")._repr_markdown_()
    assert "| order | $4$ |" in table and r"| $f'f'f'f'f$ | $\frac{1}{120}$ |" in table


def test_long_tables_and_long_numbers_are_cut_only_where_they_are_shown():
    long = R(10**40 + 1, 3 * 10**40)
    scheme = ButcherTableau(A=[[0, 0], [long, 0]], b=[R(1, 2), R(1, 2)], c=[0, long])
    assert "0.333333..." in str(Analysis(scheme)) and "\\dots" in Analysis(scheme)._repr_markdown_()
    assert Analysis(scheme).principal_error["f'f"] == R(1, 2) - long / 2
    many = Splitting(((0, R(1, 2)), (1, 1), (0, R(1, 2))))
    assert str(Analysis(many)).count("\n    ") == len(Analysis(many).principal_error) == 10
    more = derive.analyse(derive.AdditiveTableau((SCHEMES["rk4"], SCHEMES["rk4"])))
    assert f"and {len(more.principal_error) - 12} more" in str(more)

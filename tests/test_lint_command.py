"""`derive lint` and `derive list --schemes`: what is printed, and with which exit status."""

import json

import pytest

from tests.test_cli import SPEC, refused, run

TABLES = """
from derive import ButcherTableau, LinearMultistep, Rational as R, Splitting
GOOD = ButcherTableau(A=[[0, 0], [R(1, 4), 0]], b=[-1, 2], c=[0, R(1, 4)], order=2, title="of my own")
TYPO = ButcherTableau(A=[[0, 0], [1, 0]], b=[R(1, 2), R(1, 3)], c=[0, R(1, 2)], title="mistyped")
_HIDDEN = LinearMultistep(alpha=(1,), beta=(0, 2, 0))
UNSTABLE = LinearMultistep(alpha=(-4, 5), beta=(0, 4, 2), order=3, title="two steps")
ALIAS = TYPO
"""

SOLVED = """
from dataclasses import replace
from derive import Adaptive, load, scheme_by_name
_PAIR = replace(scheme_by_name("bs32"), order=4, title="mistyped")
_NODE = load("neural_ode")
SPEC = replace(_NODE, system=Adaptive(_NODE.system.ode, scheme=_PAIR), claims=())
"""


STOCHASTIC = """
from derive import Rational as R, StochasticRungeKutta as Table
HEUN = dict(A=[[0, 0], [1, 0]], B=[[0, 0], [1, 0]], alpha=[R(1, 2), R(1, 2)])
MINE = Table(
    A=[[0, 0], [R(1, 2), 0]], B=[[0, 0], [R(1, 2), 0]], alpha=[0, 1], beta=[0, 1], calculus="stratonovich",
    strong_order={"general": R(1, 2), "commutative": 1}, weak_order=1, title="midpoint",
)
TYPO = Table(**HEUN, beta=[R(1, 2), R(1, 3)], calculus="stratonovich", title="mistyped")
LATER = Table(A=[[0, 1], [0, 0]], B=[[0, 0], [1, 0]], alpha=[0, 1], beta=[0, 1], title="not explicit")
PROUD = Table(**HEUN, beta=[R(1, 2), R(1, 2)], calculus="stratonovich", strong_order=1, weak_order=3, title="proud")
MEANT = Table(**HEUN, beta=[R(1, 2), R(1, 2)], strong_order={"additive": 1}, weak_order={"additive": 2}, title="Ito")
SAME = Table(A=[[0]], B=[[0]], alpha=[1], beta=[1], strong_order={"general": R(1, 2), "additive": 1}, weak_order=1)
"""


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables.py").write_text(TABLES, encoding="utf-8")
    return tmp_path / "tables.py"


def test_a_shipped_scheme_is_fine():
    result = run("lint", "rk4", "dop853")
    assert (result.exit_code, result.stdout) == (
        0,
        "rk4 (classical Runge-Kutta): nothing found\ndop853 (Dormand-Prince 8(5)): nothing found\n",
    )


def test_a_file_is_linted_whole_and_an_error_is_a_finding(tables):
    result = run("lint", "tables.py")
    unstable = "rho has a root outside the unit circle, or a double one on it; it does not converge"
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "GOOD (of my own): nothing found",
        "TYPO (mistyped):",
        "  error: row 2 of A sums to 1, c_2 is 1/2",
        "  error: b sums to 5/6, not 1",
        "UNSTABLE (two steps):",
        f"  warning: not zero-stable: {unstable}",
        "  info: this is explicit, 2 steps, order 3, unstable, shipped as 'unstable_explicit_2step'",
    ]


def test_one_scheme_of_a_file(tables):
    assert run("lint", "tables.py:UNSTABLE").exit_code == 0
    assert run("lint", "tables.py:TYPO").exit_code == 1
    assert "did you mean TYPO" in refused("lint", "tables.py:TYPE")


def test_the_scheme_of_a_spec(tables):
    result = run("lint", "lm_resnet")
    assert result.exit_code == 0 and "warning: sigma(1) is 1, rho'(1) is k + 1" in result.stdout
    tables.write_text(SPEC, encoding="utf-8")
    assert run("lint", "tables.py").stdout == "SPEC (Heun): nothing found\n"


def test_a_spec_without_an_ode_loads_and_has_no_scheme(tables):
    result = run("lint", "nice", "shake_shake", "deq", "lstm_peephole")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{name}: loads; it has no scheme to lint" for name in ("nice", "shake_shake", "deq", "lstm_peephole")
    ]
    (tables.parent / "spec.py").write_text("from derive import load\nSPEC = load('nice')\n", encoding="utf-8")
    assert run("lint", "spec.py").stdout == "SPEC: loads; it has no scheme to lint\n"


def test_a_solver_inside_a_system_is_its_scheme(tables):
    result = run("lint", "neural_ode")
    assert (result.exit_code, result.stdout) == (0, "neural_ode (Dormand-Prince 5(4)): nothing found\n")
    (tables.parent / "spec.py").write_text(SOLVED, encoding="utf-8")
    result = run("lint", "spec.py")
    assert result.exit_code == 1 and "SPEC (mistyped):\n  error: claims order 4" in result.stdout


def test_what_cannot_be_linted_is_refused(tables):
    assert "did you mean rk4" in refused("lint", "rk44")
    assert "there is no file" in refused("lint", "absent.py")
    tables.write_text("x = 1\n", encoding="utf-8")
    assert "defines no scheme" in refused("lint", "tables.py")
    tables.write_text(TABLES + "1 / 0\n", encoding="utf-8")
    assert "ZeroDivisionError" in refused("lint", "tables.py")


def test_bad_tables_are_still_refused_elsewhere(tables):
    run("lint", "tables.py")
    assert "row 2 of A sums to 1, c_2 is 1/2" in refused("generate", "cubic_ode", "--scheme", "tables.py")


def test_schemes_are_listed():
    lines = run("list", "--schemes").stdout.splitlines()
    assert len(lines) == 62 and lines[0].split() == [
        "forward_euler",
        "Runge-Kutta",
        "1",
        "stage",
        "1",
        "forward",
        "Euler",
    ]
    rows = json.loads(run("list", "--schemes", "--json").stdout)
    assert {"id": "ruth3", "kind": "partitioned", "size": "5 stages", "order": 3, "title": "Ruth, order 3"} in rows
    assert {"id": "bdf6", "kind": "multistep", "size": "6 steps", "order": 6, "title": "BDF6"} in rows
    assert {"id": "strang", "kind": "splitting", "size": "3 flows", "order": 2, "title": "Strang"} in rows
    heun = {"id": "stochastic_heun", "kind": "stochastic", "size": "2 stages", "order": "strong 1/2-1, weak 1-2"}
    assert heun | {"title": "stochastic Heun"} in rows


def test_stochastic_tables_are_linted_like_the_others(tables):
    assert run("lint", "milstein", "stochastic_heun", "neural_sde").stdout.splitlines() == [
        "milstein (Milstein): nothing found",
        "stochastic_heun (stochastic Heun): nothing found",
        "neural_sde (Euler-Maruyama): nothing found",
    ]
    tables.write_text(STOCHASTIC, encoding="utf-8")
    result = run("lint", "tables.py")
    swapped = "coefficient of g_1'g_2: 1/2*J_12 + 1/2*J_21 in the scheme, J_21 in the solution"
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:7] == [
        "MINE (midpoint): nothing found",
        "TYPO (mistyped):",
        "  error: the weights beta sum to 5/6; a consistent scheme has 1",
        "LATER (not explicit):",
        "  error: row 1 of A reads a stage that is not computed yet; schemes are explicit",
        "PROUD (proud):",
        f"  error: claims strong order 1 for general noise; {swapped}: it has strong order 1/2",
    ]
    assert lines[7].startswith("  error: claims weak order 3 for general noise; mean coefficient of ")
    assert lines[7].endswith(": it has weak order 1")
    assert "does not converge" in lines[9] and "calculus='stratonovich' it has strong order 1/2 for all" in lines[9]
    assert lines[-1] == "  info: this is Euler-Maruyama, shipped as 'euler_maruyama'"
    assert "mistyped: the weights beta sum to 5/6" in refused("generate", "neural_sde", "--scheme", "tables.py:MINE")


def test_a_stochastic_table_of_ones_own_solves_the_systems_that_it_can(tables):
    tables.write_text(STOCHASTIC[: STOCHASTIC.index("TYPO")], encoding="utf-8")
    for name in ("neural_sde", "langevin_flow"):
        assert run("generate", name, "--scheme", "tables.py", "-o", ".").exit_code == 0
        text = (tables.parent / f"{name}.py").read_text(encoding="utf-8")
        assert "scheme: str = 'midpoint'" in text.replace('"', "'")
        assert f"regenerate: derive generate {name} --scheme FILE" in text
    assert "cubic_ode: an ODE, and midpoint is a scheme for stochastic equations" in refused(
        "generate", "cubic_ode", "--scheme", "tables.py"
    )
    assert "neural_ode: an ODE, and Milstein is" in refused("generate", "neural_ode", "--scheme", "milstein")
    assert "neural_sde: a stochastic equation, and classical Runge-Kutta is a scheme for ODEs; allowed: euler_mar" in (
        refused("generate", "neural_sde", "--scheme", "rk4")
    )
    assert "did you mean milstein" in refused("generate", "neural_sde", "--scheme", "milstien")
    assert "planar_flow: solved by no scheme" in refused("generate", "planar_flow", "--scheme", "rk4")


def test_a_scheme_of_an_adaptive_system_is_exchanged(tables):
    assert run("generate", "neural_ode", "--scheme", "tsit5", "-o", ".").exit_code == 0
    assert "method: Any = 'tsit5'" in (tables.parent / "neural_ode.py").read_text(encoding="utf-8").replace('"', "'")

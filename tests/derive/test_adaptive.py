"""ODEs with adaptive steps: pairs completed, one step with outputs inside, the two adjoints, the control."""

from __future__ import annotations

import pytest
import sympy

from derive import ODE, Adaptive, ButcherTableau, Network, Spec, explain, matvec, parameter, state, tanh, time
from derive.adaptive_checks import AdjointGap
from derive.derivation import Kind
from derive.embedded import embedded_pair, embedded_pairs
from derive.errors import SpecError
from derive.schemes import SCHEMES
from derive.step_control import CONTROL

x, t = state("x", "d"), time("t")
W, b = parameter("W", ("d", "d")), parameter("b", "d")
WRITTEN = ODE((x,), (tanh(matvec(W, x) + b) - t * x,), time=t)


@pytest.mark.parametrize("name", embedded_pairs())
def test_every_pair_ends_with_the_next_first_stage(name: str) -> None:
    pair = embedded_pair(name)
    tableau = pair.tableau
    assert tuple(tableau.A[pair.last]) == tuple(tableau.b) and float(tableau.c[pair.last]) == 1.0
    assert abs(sum(pair.error)) < 1e-15 and len(pair.error) == len(pair.dense) == tableau.stages
    ends = [float(sum(row)) for row in pair.dense]
    assert ends == pytest.approx([float(weight) for weight in tableau.b], abs=1e-14)


def test_pairs_keep_their_own_dense_output() -> None:
    assert len(embedded_pair("dopri5").dense[0]) == 4
    assert embedded_pair("dopri5").given is embedded_pair("dopri5").tableau
    assert (embedded_pair("dop853").last, embedded_pair("dop853").tableau.stages) == (12, 16)
    assert [name for name in embedded_pairs() if embedded_pair(name).is_crude] == ["rkf45", "cash_karp"]
    assert len(embedded_pair("rkf45").dense[0]) == 3


@pytest.mark.parametrize("scheme", ["rk4", "trbdf2", "leapfrog"])
def test_a_scheme_without_an_estimate_is_refused(scheme: str) -> None:
    with pytest.raises(SpecError, match=r"b_error, such as bs32, rkf45"):
        Adaptive(WRITTEN, scheme)


def test_an_estimate_that_is_always_zero_is_refused() -> None:
    half = [sympy.Rational(1, 2)] * 2
    twice = ButcherTableau(A=[[0, 0], [1, 0]], b=half, c=[0, 1], b_error=half)
    with pytest.raises(SpecError, match=r"b_error = b = \(1/2, 1/2\): its error estimate is always zero; allowed"):
        Adaptive(WRITTEN, twice)


def test_initial_values_are_refused() -> None:
    with pytest.raises(SpecError, match="argument of the module"):
        Adaptive(ODE((x,), (x,), initial={x: 2 * x}))


@pytest.mark.parametrize(("name", "order"), [("bs32", 3), ("rkf45", 4), ("dopri5", 5)])
def test_adjoints_differ_by_one_power_more_than_the_order(name: str, order: int) -> None:
    system = Adaptive(WRITTEN, name)
    gap = AdjointGap(system.control, system.pair, system.step)
    assert gap.leading(order + 2) == order + 1


def test_gap_may_be_smaller_than_the_order_says() -> None:
    euler_heun = ButcherTableau(A=[[0, 0], [1, 0]], b=[sympy.Rational(1, 2)] * 2, c=[0, 1], b_error=[1, 0])
    system = Adaptive(ODE((x,), (Network("f")(x),)), euler_heun)
    assert system.pair.power == 2
    assert AdjointGap(system.control, system.pair, system.step).leading(4) == 4


def test_a_spec_of_ones_own_is_derived_and_every_check_holds() -> None:
    u, v = state("u", ()), state("v", ())
    theta, g = parameter("theta"), parameter("g")
    own = Spec(
        id="own", class_name="Own", title="Own", source="test",
        system=Adaptive(ODE((u, v), (v * theta, -sympy.sin(u) * g)), "bs32"),
    )  # fmt: skip
    found = explain(own)
    checked = [r for section in found.sections for r in section.relations if r.check is not None]
    assert {"bar_u", "bar_theta", "rate_u_inside", "gradient_theta", "step_factor"} <= set(found.results)
    for relation in checked:
        assert relation.kind in (Kind.IDENTITY, Kind.ASYMPTOTIC, Kind.INEQUALITY)
        assert relation.check is not None and relation.check.run().holds, relation.title


@pytest.mark.parametrize("scheme", ["tsit5", pytest.param("dop853", marks=pytest.mark.slow)])
def test_tables_of_decimals_are_checked_to_their_digits(scheme: str) -> None:
    u, theta = state("u", ()), parameter("theta")
    own = Spec(id="own", class_name="Own", title="Own", source="test", system=Adaptive(ODE((u,), (theta * u,)), scheme))
    titles = ("u_inside at the end of the step", "continuous less discrete adjoint after one step")
    relations = [r for section in explain(own).sections for r in section.relations if r.title in titles]
    assert len(relations) == 2
    digits = SCHEMES[scheme].digits
    for relation in relations:
        assert digits is not None and relation.check is not None
        found = relation.check.run()
        assert found.holds and found.tolerance == 10.0 ** (6 - digits)
    assert relations[0].check is not None and not relations[0].check.perturbed().run().holds


def test_step_size_settles() -> None:
    z = sympy.Symbol("z")
    roots = sympy.Poly(CONTROL.growth(z), z).nroots()
    assert sorted(map(float, roots)) == pytest.approx(sorted(map(float, CONTROL.roots())))
    assert all(abs(root) < 1 for root in roots)


def test_gradient_of_the_times() -> None:
    system = Adaptive(WRITTEN)
    a = system.control.hamiltonian.costates[x]
    found = explain(Spec(id="own", class_name="Own", title="Own", source="test", system=system))
    assert found.results["gradient_t_0"].has(a)
    assert sympy.expand(found.results["gradient_t_0"] + found.results["gradient_t_1"]) == 0


def test_shipped_tables_are_left_alone() -> None:
    given = SCHEMES["rkf45"]
    assert isinstance(given, ButcherTableau) and len(given.b) == 6
    assert embedded_pair("rkf45").tableau.stages == 7

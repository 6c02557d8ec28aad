"""What is derived of stochastic differential equations: calculi, steps, moments, densities, sensitivities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sympy import Expr, Rational, expand, log, sqrt

import derive
from codegen.emission import generate
from codegen.verification.loaded import load_text
from derive import (
    SDE,
    Network,
    Spec,
    StochasticRungeKutta,
    correction,
    dot,
    fill,
    generator,
    matvec,
    moments,
    parameter,
    sin,
    state,
    stationarity,
    step_size,
    stochastic_step,
    tanh,
    time,
    total,
    zeros,
)
from derive.errors import SpecError, UnsupportedError
from derive.evaluator import evaluate
from derive.explanation import explain_system
from derive.sde_calculus import CORRECTION, drift_in, reads_state, structure_of
from derive.sde_schemes import scheme_steps

x, t = state("x"), time("t")
theta, mu, sigma = parameter("theta"), parameter("mu", "d"), parameter("sigma")
w = parameter("w", "d")
OU = SDE(x, theta * (mu - x), sigma)
GBM = SDE(x, theta * x, sigma * x)
f, g = Network("f", takes_time=True), Network("g", takes_time=True)


@pytest.mark.parametrize(
    ("sde", "value"),
    [
        (OU, 0),
        (GBM, sigma**2 * x / 2),
        (SDE(x, x, sigma * x, noise="scalar"), sigma**2 * x / 2),
        (SDE(x, x, sigma * tanh(x)), sigma**2 * tanh(x) * (1 - tanh(x) ** 2) / 2),
        (SDE(x, x, x * dot(w, x)), x * dot(w, x) * (dot(w, x) + w * x) / 2),
        (SDE(x, f(t, x), g(t, x), t), CORRECTION(t, x)),
        (SDE(x, x, parameter("S", ("d", "m")), noise="additive"), 0),
    ],
)
def test_corrections(sde: SDE, value: Expr) -> None:
    found = correction(sde)
    assert expand(found - value) == 0 or _plain(found) == _plain(value)
    assert reads_state(sde) is (found != 0)
    other = "stratonovich" if sde.calculus == "ito" else "ito"
    assert drift_in(sde, other) == sde.drift - found and drift_in(sde, sde.calculus) == sde.drift


def _plain(value: Expr) -> Expr:
    """Without the spreading of scalars."""
    return expand(value.replace(fill, lambda scalar, _: scalar)) if isinstance(value, Expr) else value


def test_corrections_that_are_not_read_are_refused() -> None:
    matrix = parameter("W", ("d", "d"))
    with pytest.raises(UnsupportedError, match="one network for the whole diffusion"):
        correction(SDE(x, x, tanh(matvec(matrix, x))))
    with pytest.raises(UnsupportedError, match="one network for the whole diffusion, or none"):
        correction(SDE(x, x, sigma * g(t, x), t))


def test_milstein_in_its_own_and_in_the_other_calculus() -> None:
    """With gamma = 1 the corrections cancel where Stratonovich's equation is solved."""
    names = {q.name for q in stochastic_step(GBM, "milstein").step.targets}
    assert "c" in names and "w" in names
    assert "c" not in {q.name for q in stochastic_step(GBM, "milstein", "stratonovich").step.targets}
    assert {q.name for q in stochastic_step(OU, "milstein").step.targets} == {"f", "g", "x_next"}


def test_names_of_the_equation_are_left_alone() -> None:
    own = SDE(x, parameter("f", "d") - x, parameter("g") * x)
    assert [q.name for q in stochastic_step(own, "euler_maruyama").step.targets] == ["f_n", "g_n", "x_next"]


@pytest.mark.parametrize("scheme", ["euler_maruyama", "milstein", "heun"])
def test_mean_of_a_step_against_quadrature(scheme: str) -> None:
    """E x_next^k over the increment by Gauss's rule, from the step as a program."""
    values = {theta: 0.7, sigma: 0.6, step_size(): 0.2}
    for sde in (GBM, SDE(x, theta * x, sigma * x, calculus="stratonovich")):
        recurrence = stochastic_step(sde, scheme)
        found = moments(sde, 3).after_step(recurrence)
        nodes, weights = np.polynomial.hermite_e.hermegauss(12)
        ends = []
        for node in nodes:
            known: dict[Any, Any] = {**values, x: 1.3, sde.increment: node * np.sqrt(0.2)}
            known = {q: known.get(q, known.get(x)) for q in recurrence.step.inputs}
            ends.append(evaluate(recurrence.step, known)[recurrence.new[0]])
        for k, value in found.items():
            exact = np.dot(weights, np.array(ends) ** k) / np.sqrt(2 * np.pi)
            powers = {moments(sde, 3).symbol(j): 1.3**j for j in (1, 2, 3)}
            assert float(value.xreplace({**values, **powers})) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("sde", [OU, GBM, SDE(x, mu - theta * x, sigma * (1 + x)), SDE(x, 0 * x, sigma * x)])
def test_moments_solve_their_equations(sde: SDE) -> None:
    found = moments(sde, 3)
    values = {theta: 0.7, sigma: 0.6, mu: 0.4, **{found.initial(k): 0.8 * k for k in (1, 2, 3)}}
    symbols = [found.symbol(k) for k in (1, 2, 3)]

    def rates(_: float, m: Any) -> list[float]:
        known = {**values, **dict(zip(symbols, m, strict=True))}
        return [float(found.equations[k].xreplace(known)) for k in (1, 2, 3)]

    end = solve_ivp(rates, (0, 0.9), [0.8, 1.6, 2.4], rtol=1e-11, atol=1e-12).y[:, -1]
    exact = [
        float(found.solutions[k].xreplace({**values, time("t", meaning="time since the start"): 0.9}))
        for k in (1, 2, 3)
    ]
    assert exact == pytest.approx(list(end), rel=1e-8)


def test_moments_that_are_not_closed() -> None:
    with pytest.raises(UnsupportedError, match=r"needs that of x\^3; they are for a drift and a diffusion of degree 1"):
        _ = moments(SDE(x, -(x**3), sigma)).equations
    with pytest.raises(UnsupportedError, match=r"components of .* are not independent"):
        _ = moments(SDE(x, f(t, x), sigma, t)).equations
    with pytest.raises(UnsupportedError, match="resnet is no SDE"):
        moments("resnet")
    assert generator(OU, x) == theta * (mu - x)
    for mixed in (sin(total(x)), dot(x, x), Network("v")(x)):
        with pytest.raises(UnsupportedError, match="not independent"):
            generator(SDE(x, x, sin(x)), mixed)


def test_stationary_densities() -> None:
    """exp(-2 L / s^2) under F = -grad L."""
    potential = total(x**4 / 4 + x**2 / 2)
    assert expand(stationarity(SDE(x, -(x**3) - x, sigma), -2 * potential / sigma**2)) == 0
    assert expand(stationarity(SDE(x, -(x**3) - x, sqrt(2)), -2 * potential)) != 0
    with pytest.raises(SpecError, match="a scalar that reads x"):
        stationarity(OU, x)


def test_stationary_density_of_multiplicative_noise() -> None:
    """dy = -theta y dt + sqrt(1 + y^2) dW keeps (1 + y^2)^-(theta + 1)."""
    y = state("y", ())
    residual = stationarity(SDE(y, -theta * y, sqrt(1 + y**2)), -(theta + 1) * log(1 + y**2))
    assert all(abs(residual.xreplace({y: value, theta: Rational(3, 10)}).evalf()) < 1e-12 for value in (0.3, -1.7))
    wrong = stationarity(SDE(y, -theta * y, sqrt(1 + y**2)), -theta * log(1 + y**2))
    assert abs(wrong.xreplace({y: Rational(1, 3), theta: Rational(3, 10)}).evalf()) > 0.1


OWN = """
from derive import SDE, Spec, StochasticRungeKutta, parameter, state
half = "1/2"
MIDPOINT = StochasticRungeKutta(A=[[0, 0], [half, 0]], B=[[0, 0], [half, 0]], alpha=[0, 1], beta=[0, 1],
                                calculus="stratonovich", title="stochastic midpoint")
y = state("y", "d")
a, b = parameter("a"), parameter("b")
SPEC = Spec(id="own_sde", class_name="OwnSDE", title="An equation of its own",
            system=SDE(y, a * y, b * y, calculus="stratonovich", scheme=MIDPOINT), defaults={"a": 0.5, "b": 0.3})
"""


def test_an_equation_and_a_scheme_of_a_users_own(tmp_path: Any) -> None:
    (tmp_path / "own_sde.py").write_text(OWN, encoding="utf-8")
    spec = derive.load(str(tmp_path / "own_sde.py"))
    derivation = explain_system(spec)
    assert derivation.facts["strong order of stochastic_midpoint"] == (
        "1/2 (general), 1 (commutative, diagonal, scalar, additive)"
    )
    out = tmp_path / "out"
    out.mkdir()
    (path,) = generate(spec, out)
    module = load_text(path.read_text(encoding="utf-8"))
    net = module.OwnSDE(steps=64)
    start = torch.ones(3, 2)
    increments = net.draw(start, torch.Generator().manual_seed(1))
    wanted = start * torch.exp(0.5 + 0.3 * increments.sum(0))
    torch.testing.assert_close(net(start, increments).detach(), wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "sde", [OU, SDE(x, theta * x - x**3, sigma * tanh(x)), SDE(x, -theta * x, sigma * x, noise="scalar")]
)
def test_every_relation_holds_and_no_other_does(sde: SDE) -> None:
    derivation = explain_system(Spec("some", "Some", "Some", sde))
    checked = [relation for relation in derivation.relations if relation.check is not None]
    assert len(checked) > 20
    for relation in checked:
        assert relation.check is not None and relation.check.run().holds, relation.text
    for relation in checked[:: max(1, len(checked) // 12)]:
        assert relation.check is not None
        assert all(not relation.check.perturbed(k).run().holds for k in range(relation.check.terms)), relation.text


def test_additive_networks_do_not_see_the_state() -> None:
    wide = Network("g", takes_time=True, maps=("d", "d", "m"))
    with pytest.raises(SpecError, match="call a network at zeros"):
        SDE(x, f(t, x), wide(t, x), t, noise="additive")
    assert not reads_state(SDE(x, f(t, x), wide(t, zeros(x)), t, noise="additive"))


def test_tables_of_ones_own_and_exact_numbers() -> None:
    ralston = StochasticRungeKutta(
        A=[[0, 0], ["2/3", 0]],
        B=[[0, 0], ["2/3", 0]],
        alpha=["1/4", "3/4"],
        beta=["1/4", "3/4"],
        calculus="stratonovich",
    )
    step = stochastic_step(OU, ralston).step
    assert [q.name for q in step.targets] == ["f_1", "g_1", "x_2", "f_2", "g_2", "x_next"]


def test_schemes_that_cannot_be_used_are_left_out() -> None:
    """The weak limit of a net with two branches: its diffusion is made of two networks."""
    first, second = Network("f1"), Network("f2")
    limit = SDE(x, (first(x) + second(x)) / 2, (first(x) - second(x)) / sqrt(12), noise="scalar")
    assert [one.label for one in scheme_steps(limit)] == ["euler_maruyama_ito"]
    called = [line.target.name for line in stochastic_step(limit, "euler_maruyama").step.assignments]
    assert called == ["f1_in_f", "f2_in_f", "f", "g", "x_next"]  # each network once
    with pytest.raises(UnsupportedError, match="one network"):
        list(scheme_steps(SDE(x, first(x), sigma * second(x), scheme="heun")))
    whole = SDE(x, f(t, x), g(t, x), t)
    assert len(list(scheme_steps(whole))) == 6 and len(list(scheme_steps(OU))) == 3


@pytest.mark.parametrize(
    ("sde", "structure"),
    [
        (OU, "additive"),
        (GBM, "diagonal"),
        (SDE(x, x, sigma * tanh(x)), "diagonal"),
        (SDE(x, x, x * dot(w, x)), "general"),
        (SDE(x, x, tanh(matvec(parameter("W", ("d", "d")), x))), "general"),
        (SDE(x, x, sigma * x, noise="scalar"), "scalar"),
        (SDE(x, f(t, x), g(t, x), t), "general"),
    ],
)
def test_structure_of_the_noise(sde: SDE, structure: str) -> None:
    assert structure_of(sde) == structure

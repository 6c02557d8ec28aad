"""Laws of draws, weak limits of random recurrences and their order, against SciPy, closed forms and enumeration."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import sympy
from sympy import Integer, Rational, S, expand, sqrt

import derive
from derive import (
    Bernoulli,
    Builder,
    Draw,
    Interval,
    Moments,
    Network,
    Normal,
    RandomRecurrence,
    Spec,
    SpecError,
    Uniform,
    UnsupportedError,
    constant,
    draw,
    explain,
    load,
    parameter,
    state,
    step_size,
    tanh,
)
from derive.laws import Law
from derive.linear_moments import linear_moments
from derive.random_checks import sampled, scalar_outcomes

x = state("x", "d", latex="x_n")
f = Network("f", per_layer=True)
p = constant("p", per_layer=True)
a = constant("a")
eta, gamma = draw("eta"), draw("gamma", "d")
RANDOM = ("shake_shake", "stochastic_depth", "gaussian_noise_injection", "dropout_sde")


def recurrence(value, *draws, **options):
    step = Builder()
    after = step.let("y", value)
    return RandomRecurrence(step.build((after,)), old=(x,), new=(after,), draws=draws, **options)


@pytest.mark.parametrize(
    ("law", "known"),
    [
        (Bernoulli(Rational(3, 10)), scipy.stats.bernoulli(0.3)),
        (Uniform(0, 1), scipy.stats.uniform(0, 1)),
        (Uniform(-2, Rational(1, 2)), scipy.stats.uniform(-2, 2.5)),
        (Normal(1, 3), scipy.stats.norm(1, 3)),
    ],
    ids=lambda value: str(value) if isinstance(value, Law) else "scipy",
)
def test_moments_of_laws_are_those_of_scipy(law: Law, known):
    mean, variance, skew, excess = (float(value) for value in known.stats("mvsk"))
    assert float(law.expectation) == pytest.approx(mean, rel=1e-14)
    assert float(law.central(2)) == pytest.approx(variance, rel=1e-14)
    assert float(law.central(3)) == pytest.approx(skew * variance**1.5, rel=1e-12, abs=1e-14)
    assert float(law.central(4)) == pytest.approx((excess + 3) * variance**2, rel=1e-12)
    nodes = law.nodes(lambda value: mpmath.mpf(sympy.Rational(value).p) / sympy.Rational(value).q)
    for power in range(5):
        found = sum(weight * at**power for at, weight in nodes)
        assert float(found) == pytest.approx(known.expect(lambda v, k=power: v**k), rel=1e-7)


def test_a_law_of_moments_has_nodes_of_these_moments():
    law = Moments(Rational(1, 2), 2, 3, 30)
    nodes = law.nodes(lambda value: mpmath.mpf(sympy.Rational(value).p) / sympy.Rational(value).q)
    assert float(sum(w for _, w in nodes)) == pytest.approx(1, rel=1e-14)
    for power, expected in ((1, 0), (2, 2), (3, 3), (4, 30)):
        assert float(sum(w * (at - 0.5) ** power for at, w in nodes)) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def same(found, expected):
    return expand(found - expected) == 0


def test_weak_limits_of_the_catalogue():
    limit = derive.weak_limit_of("stochastic_depth")
    (noise,) = limit.noises
    survival = constant("survival", per_layer=True, latex="p_n", meaning="probability that a block is kept")
    value = next(iter(limit.drift.atoms(derive.networks.Call)))
    assert same(limit.drift, survival * value)
    assert same(noise.diffusion**2, survival * (1 - survival) * value**2)
    assert same(noise.third, survival * (1 - survival) * (1 - 2 * survival) * value**3)
    assert limit.order.value == Rational(1, 2) and limit.conditions == (1 - 2 * survival,)
    assert limit.sde.noise == "scalar" and limit.sde.calculus == "ito" and limit.sde.drift == limit.drift
    inverted = derive.weak_limit_of("stochastic_depth", "inverted")
    assert same(inverted.drift, value) and same(inverted.noises[0].diffusion * survival, noise.diffusion)
    shake = derive.weak_limit_of("shake_shake")
    one, two = sorted(shake.drift.atoms(derive.networks.Call), key=str)
    assert same(shake.drift, (one + two) / 2) and same(shake.noises[0].diffusion ** 2, (one - two) ** 2 / 12)
    assert shake.order.value == 1 and shake.conditions == () and shake.noises[0].law.central(4) == Rational(1, 80)
    dropout = derive.weak_limit_of("dropout_sde")
    keep = constant("keep", per_layer=True, latex="p_n", meaning="probability that a component is kept")
    (value,) = dropout.drift.atoms(derive.networks.Call)
    assert dropout.drift == value and dropout.sde.noise == "diagonal" and dropout.order.value == Rational(1, 2)
    assert same(dropout.noises[0].diffusion ** 2, (1 - keep) / keep * value**2)
    assert same(dropout.noises[0].third, (1 - keep) * (1 - 2 * keep) / keep**2 * value**3)
    gauss = derive.weak_limit_of("gaussian_noise_injection")
    assert gauss.sde.noise == "diagonal" and gauss.order.value == 1 and not gauss.drift.atoms(sympy.Integer) - {S.One}


@pytest.mark.parametrize("name", RANDOM)
def test_the_proof_of_the_order_is_shown(name):
    relation = next(r for r in explain(load(name)).relations if r.name.endswith("weak_order"))
    assert len(relation.steps) == 5 and "third" in relation.steps[2].words


def third_moment(share, product, h, time):
    """E x_N^3 of the scaled chain of stochastic depth with f(x) = product x from x_0 = 1, and of its SDE."""
    drift, noise = share * product, product
    factor = sum(
        weight * (1 + h * drift + math.sqrt(h) * (value - share) * noise) ** 3
        for value, weight in ((1, share), (0, 1 - share))
    )
    variance = share * (1 - share) * noise**2
    return factor ** round(time / h), math.exp((3 * drift + 3 * variance) * time)


@pytest.mark.parametrize(
    ("share", "order"),
    [(lambda h: 0.8, 0.5), (lambda h: 0.5, 1.0), (lambda h: 0.5 + 0.2 * math.sqrt(h), 1.0)],
    ids=["0.8", "0.5", "0.5 + O(sqrt h)"],
)
def test_weak_order_of_stochastic_depth_is_observed(share, order):
    """Exact moments, no sampling: order 1/2, and 1 where 1 - 2 p = O(sqrt(h))."""
    product, time = 0.7, 1.0
    errors = []
    for steps in (2**16, 2**17, 2**18):
        chain, exact = third_moment(share(time / steps), product, time / steps, time)
        errors.append(abs(chain - exact))
    slopes = [math.log2(big / small) for big, small in itertools.pairwise(errors)]
    assert all(abs(slope - order) < 0.05 for slope in slopes), slopes


def test_leading_weak_error_is_the_derived_one():
    results = explain(load("stochastic_depth")).results
    error = results["plain.third_moment_error"]
    share, product, time, h = 0.8, -0.6, 1.0, 2.0**-20
    numbers = {"survival": share, "lambda_f": product, "T": time, "h": h, "x_0": 1.0}
    derived = float(error.subs({q: numbers[q.name] for q in error.free_symbols}))
    chain, exact = third_moment(share, product, h, time)
    assert derived == pytest.approx(chain - exact, rel=2e-2)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_moments_of_stochastic_depth_by_all_masks(layers):
    """Every mask of a linear net with survival of its own in each layer, with its probability."""
    shares, slopes = np.linspace(0.9, 0.5, layers), np.linspace(-0.8, 0.6, layers)
    first = second = 0.0
    for mask in itertools.product((0, 1), repeat=layers):
        weight = math.prod(q if m else 1 - q for m, q in zip(mask, shares, strict=True))
        output = math.prod(1 + m * slope for m, slope in zip(mask, slopes, strict=True))
        first, second = first + weight * output, second + weight * output**2
    system = load("stochastic_depth").system["plain"]
    moments = linear_moments(system, derive.weak_limit_of(system))
    survival = next(iter(system.draws[0].law.quantities))
    (factor,) = moments.factors.values()
    state_ = [1.0, 1.0]
    for share, slope in zip(shares, slopes, strict=True):
        state_ = moments.moved((moments.mean, moments.second), {survival: share, factor: slope}, *state_)
    assert state_ == pytest.approx([first, second], rel=1e-14)


def test_gaussian_noise_has_the_known_variance():
    """v_N = (1-l)^(2N) v_0 + sigma^2 (1 - (1-l)^(2N)) / (1 - (1-l)^2), and dv/dt = -2 l v + sigma^2."""
    results = explain(load("gaussian_noise_injection")).results
    second = results["linear_second_of_L"]
    numbers = {"lambda_f": -0.3, "sigma": 0.4, "L": 7, "x": 1.2}
    found = float(second.subs({q: numbers[q.name] for q in second.free_symbols}))
    decay = (1 - 0.3) ** 14
    assert found == pytest.approx(decay * 1.2**2 + 0.16 * (1 - decay) / (1 - 0.7**2), rel=1e-13)
    variance = 1.2**2 * math.exp(-0.6) + 0.16 / 0.6 * (1 - math.exp(-0.6))  # at t = 1, with the square of the mean
    solved = results["sde_second_at_t"]
    numbers["t"] = 1.0
    assert float(solved.subs({q: numbers[q.name] for q in solved.free_symbols})) == pytest.approx(variance)
    rate = results["sde_second_rate"]
    assert float(rate.subs({q: numbers[q.name] for q in rate.free_symbols})) == pytest.approx(-0.6 * 1.44 + 0.16)


def test_a_step_that_reads_its_size_says_itself_how_its_noise_is_scaled():
    h = step_size("h")
    limit = derive.weak_limit_of(recurrence(x + h * f(x) + sqrt(h) * a * gamma, Draw(gamma, Normal(0, 1))))
    assert limit.scaled and limit.drift == f(x) and limit.noises[0].diffusion == a and limit.order.value == 1
    for value, said in (
        (x + f(x) + h * eta * x, "not of the order of h"),
        (x + h * f(x) + eta * x, "not of the order of"),
        (x + sqrt(h) * f(x) + sqrt(h) * eta * x, "not of the order of h"),
        (x + eta * sqrt(h) * f(x + h * x), "depends on h"),
        (x + h * (1 + eta) * f(x), "vanishes in the limit, the ODE"),
    ):
        with pytest.raises(UnsupportedError, match=said):
            derive.weak_limit_of(recurrence(value, Draw(eta, Normal(0, 1))))


def test_several_draws_and_a_law_of_moments():
    system = recurrence(x + eta * f(x) + (1 + gamma) * x, Draw(eta, Bernoulli(p)), Draw(gamma, Moments(0, a**2, a**3)))
    limit = derive.weak_limit_of(system)
    assert same(limit.drift, p * f(x) + x) and [n.kind for n in limit.noises] == ["scalar", "diagonal"]
    assert limit.conditions == (1 - 2 * p, a) and limit.order.value == Rational(1, 2)
    with pytest.raises(UnsupportedError, match="the draws eta, gamma drive a Brownian motion each"):
        _ = limit.sde


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (x + eta**2 * f(x), "not affine in eta"),
        (x + f(x + eta * x), "not affine in eta"),
        (x + tanh(eta * x), "not affine in eta"),
    ],
)
def test_an_increment_that_is_not_affine_says_what_to_do(value, said):
    with pytest.raises(UnsupportedError, match=f"{said}.*Moments"):
        derive.weak_limit_of(recurrence(value, Draw(eta, Bernoulli(p))))


def test_a_recurrence_without_draws_has_no_weak_limit():
    with pytest.raises(UnsupportedError, match="resnet has no random draws"):
        derive.weak_limit_of("resnet")


BETA = draw("beta")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: recurrence(x + eta * f(x)), "reads the random draws eta, declared are nothing"),
        (lambda: recurrence(x + f(x), Draw(eta, Bernoulli(p))), "reads the random draws nothing, declared are eta"),
        (lambda: recurrence(x + eta * x, Draw(eta, Bernoulli(p)), ranges={x: Interval(0, 1)}), "ranges has x, a state"),
        (lambda: recurrence(x + eta * x, Draw(eta, Bernoulli(p), backward=gamma)), "the backward draw gamma of eta"),
        (
            lambda: recurrence(x + tanh(eta * x), Draw(eta, Bernoulli(p), backward=BETA)),
            "is linear in what is multiplied by it",
        ),
        (lambda: Bernoulli(sympy.Symbol("q")), r"Bernoulli\(p=q\) uses q, which nobody declared"),
        (lambda: Bernoulli(3), r"Bernoulli\(p=3\): p is 3; allowed: a number from 0 to 1"),
        (lambda: Uniform(1, 0), r"Uniform\(low=1, high=0\); allowed: low < high"),
        (lambda: Uniform(0, 0), r"Uniform\(low=0, high=0\); allowed: low < high"),
        (lambda: Uniform(0, sympy.oo), "high is oo; allowed: a finite real number"),
        (lambda: Normal(0, -1), r"deviation is -1; allowed: a finite number not below 0"),
        (lambda: Moments(0, -1, 0, 1), r"variance is -1; allowed: a finite number above 0"),
        (lambda: Moments(0, 0), r"variance is 0; allowed: a finite number above 0"),
        (lambda: Moments(0, 1, 2, 3), r"allowed: fourth >= variance\*\*2 \+ third\*\*2 / variance"),
        (lambda: Normal(0, x), r"Normal\(deviation=x\) depends on x"),
        (lambda: Normal(0, parameter("w")), r"depends on w; allowed: numbers and quantities declared with constant"),
    ],
)
def test_what_a_random_recurrence_refuses(make, said):
    if "linear" in said:
        value = recurrence(x + tanh(eta * x), Draw(eta, Bernoulli(p)))
        assert value.draws  # without a backward draw it is allowed
    with pytest.raises(SpecError, match=said):
        make()


def test_own_spec_with_draws_gets_everything():
    spec = Spec(
        id="own",
        class_name="Own",
        title="own",
        system=recurrence(x + eta * f(x) + a * gamma, Draw(eta, Uniform(0, 2)), Draw(gamma, Normal(0, 1))),
    )
    found = explain(spec)
    names = {"law.eta", "law.gamma", "mean_step", "increment_moments", "sde", "weak_order", "linear_moments"}
    assert names <= set(found.numbers)
    assert all(relation.check.run().holds for relation in found.relations if relation.check is not None)


def test_the_nodes_are_all_the_draws_there_are():
    """Of a Bernoulli draw the nodes are its two values: sums over them are sums over masks."""
    system = load("stochastic_depth").system["plain"]
    _, values = sampled(system)
    moments = linear_moments(system, derive.weak_limit_of(system))
    found = scalar_outcomes(system, moments.numbers(), moments.factors)
    assert len(found) == 2 and float(sum(weight for weight, _ in found)) == pytest.approx(1)
    assert Integer(len(values)) >= 3

r"""Sections on the weak limit of a random recurrence and on moments of linear nets."""

from __future__ import annotations

from functools import partial

from sympy import Expr, Integer, exp, expand, sqrt

from derive.checks import ResidualCheck
from derive.derivation import Kind
from derive.lagrangian import StepNames
from derive.latex import latex, plain
from derive.linear_moments import (
    LinearMoments,
    closed_form_residual,
    linear_moments,
    rates_residual,
    solution_residual,
    third_error_residual,
)
from derive.numbering import Author
from derive.random_checks import generator_residual, unscaled_residual
from derive.random_recurrence import RandomRecurrence
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role, by_name, constant
from derive.weak_limit import HALF, WeakLimit

Results = dict[str, Expr]
SERIES = "the step at every combination of nodes of its draws, on power series in sqrt(h), 60 digits"
MILSTEIN = "Milstein, Theory Probab. Appl. 23, 1978; Talay, 1984"


def write_limit(author: Author, system: RandomRecurrence, limit: WeakLimit, names: StepNames) -> Results:
    """The scaled chain, the SDE, the order, and what becomes of the chain without scaling."""
    x = limit.state
    noises = [noise.direction for noise in limit.noises]
    centred = [rf"\left({n.draw.quantity.latex} - {latex(n.law.expectation)}\right)" for n in limit.noises]
    sums = " + ".join(rf"{c} \, {_factor(g)}" for c, g in zip(centred, noises, strict=True))
    texts = " + ".join(f"({n.draw.quantity} - {plain(n.law.expectation)})*({plain(n.direction)})" for n in limit.noises)
    where = "its leading terms" if limit.scaled else "at h = 1 the net itself"
    author.relation(
        "small steps",
        Kind.DEFINITION,
        rf"{system.new[0].latex} = {x.latex} + h \left({latex(limit.drift)}\right) + \sqrt{{h}} \left({sums}\right)",
        text=f"{system.new[0]} = {x} + h*({plain(limit.drift)}) + sqrt(h)*({texts})",
        reason=f"{where}: the mean of an increment of the order of h, the rest of that of sqrt(h), so that the "
        "variances of T/h steps add up to something of the order of 1",
        name=names.joined("scaled_chain"),
    )
    _write_sde(author, system, limit, names)
    _write_unscaled(author, system, limit, names)
    order = limit.order
    thirds = tuple(noise.law.central(3) for noise in limit.noises)
    conditions = ", ".join(plain(ratio) for ratio in limit.conditions)
    author.relation(
        "weak order of small steps as an approximation of the SDE",
        Kind.ASYMPTOTIC,
        rf"\mathbb{{E}} \varphi(x_N) - \mathbb{{E}} \varphi(X_T) = O\left(h^{{{latex(order.value)}}}\right)"
        + "".join(rf",\qquad O(h)\ \text{{if}}\ {latex(ratio)} = O(\sqrt{{h}})" for ratio in limit.conditions),
        text=f"weak order {order.value}" + (f"; 1 where {conditions} = O(sqrt(h))" if conditions else ""),
        reason="moments of an increment of the chain and of the SDE compared, for smooth phi of polynomial growth",
        name=names.joined("weak_order"),
        check=ResidualCheck(
            partial(generator_residual, system, limit),
            (limit.drift, *(v for n, t in zip(limit.noises, thirds, strict=True) for v in (n.diffusion, t))),
            SERIES,
        ),
        steps=order.proof,
    )
    author.relation(
        "from one step to all",
        Kind.STATEMENT,
        r"\left|\mathbb{E}\prod_i \Delta_i - \mathbb{E} \prod_i \Delta^{X}_i\right| \le C h^{q + 1}\ "
        r"(\text{up to } 2q + 1 \text{ factors}) \implies \text{weak order } q",
        text="moments of increments that agree up to C h^(q+1), for up to 2q + 1 factors, give weak order q",
        reason="the local error of E phi adds up over T/h steps; drift and diffusion smooth, of linear growth",
        source=MILSTEIN,
    )
    author.close(
        f"The limit of small steps{names.title}",
        "An SDE in Ito's sense, by matching the conditional moments of an increment.",
    )
    results = {"drift": limit.drift, "weak_order": order.value, "noise_power": HALF}
    if len(limit.noises) == 1:
        (noise,) = limit.noises
        motions: Expr = Integer(1)
        for size in noise.draw.quantity.shape:
            motions = motions * (Integer(size) if isinstance(size, int) else constant(f"size_{size}", latex=size))
        results |= {"diffusion": noise.diffusion, "brownian_motions": motions}
    return results


def _write_sde(author: Author, system: RandomRecurrence, limit: WeakLimit, names: StepNames) -> None:
    """The SDE, checked by the generator."""
    where = _continuous(limit)
    drift = latex(limit.drift.xreplace(where))
    terms = [
        rf"{latex(n.diffusion.xreplace(where))} {_driven(n.kind, place, len(limit.noises))}"
        for place, n in enumerate(limit.noises)
    ]
    text = " + ".join(f"({plain(n.diffusion)}) dB [{n.kind}]" for n in limit.noises)
    both = tuple(v for n in limit.noises for v in (n.diffusion, n.law.central(3)))
    author.relation(
        "the SDE of small steps",
        Kind.ASYMPTOTIC,
        rf"dX = {_bracketed(limit.drift, drift)} \, dt + {' + '.join(terms)}",
        text=f"dX = ({plain(limit.drift)}) dt + {text}, Ito",
        reason="the drift is the conditional mean, diffusion times its transpose the conditional covariance; one draw "
        "for all components is one Brownian motion (scalar), one for each is one for each (diagonal)",
        name=names.joined("sde"),
        check=ResidualCheck(partial(generator_residual, system, limit), (limit.drift, *both), SERIES),
    )


def _write_unscaled(author: Author, system: RandomRecurrence, limit: WeakLimit, names: StepNames) -> None:
    if limit.scaled:
        return
    x, where = limit.state, _continuous(limit)
    author.relation(
        "without scaling of the noise: an ODE",
        Kind.ASYMPTOTIC,
        rf"{system.new[0].latex} = {x.latex} + h\, \Delta_n:\qquad \dot{{X}} = {latex(limit.drift.xreplace(where))}",
        text=f"x + h Delta tends to dX/dt = {plain(limit.drift)}; its variance is O(h)",
        reason="T/h increments, each of variance O(h^2): the noise vanishes; only sqrt(h) on it leaves an SDE",
        name=names.joined("unscaled_limit"),
        check=ResidualCheck(partial(unscaled_residual, system), (limit.drift,), SERIES),
    )


def _continuous(limit: WeakLimit) -> dict[Quantity, Quantity]:
    """What has an index n as a function of t."""
    found = {limit.state: limit.state.renamed("X_t", "X")}
    values = (limit.drift, *(noise.diffusion for noise in limit.noises))
    read = by_name({q for value in values for q in value.atoms(Quantity) if q.role is Role.LAYER_CONSTANT})
    return found | {q: q.renamed(q.name, f"{q.latex.partition('_')[0]}(t)") for q in read}


def _driven(kind: str, place: int, count: int) -> str:
    motion = rf"dB^{{{place + 1}}}_t" if count > 1 else "dB_t"
    return rf"\odot {motion}" if kind == "diagonal" else rf"\, {motion}"


def _bracketed(value: Expr, text: str) -> str:
    return rf"\left({text}\right)" if value.is_Add else text


def _factor(value: Expr) -> str:
    return _bracketed(value, latex(value))


def write_linear_moments(author: Author, system: RandomRecurrence, limit: WeakLimit, names: StepNames) -> Results:
    """Section on nets whose networks are linear, where all moments are exact."""
    moments = linear_moments(system, limit)
    if moments is None:
        return {}
    x = moments.state
    factors = ", ".join(rf"{n.latex}(x) = {q.latex} x" for n, q in moments.factors.items())
    one, two = constant("m_n", latex="m_n"), constant("P_n", latex="P_n")
    mean, second = (_in_moments(moments, value, one, two) for value in (moments.mean, moments.second))
    author.relation(
        "mean and second moment, layer by layer",
        Kind.IDENTITY,
        rf"{factors}:\qquad m_{{n+1}} = {latex(mean)},\quad P_{{n+1}} = {latex(second)}",
        text=f"m_next = {plain(mean)}, P_next = {plain(second)}, for "
        + ", ".join(f"{n}(x) = {q} x" for n, q in moments.factors.items()),
        reason="m_n = E x_n, P_n = E x_n^2 of a state of one number; draws of a step are independent of its state",
        name=names.joined("linear_moments"),
        check=ResidualCheck(
            moments.enumerated,
            (moments.mean, moments.second),
            "three layers with constants of their own, summed over all combinations of nodes, 60 digits",
        ),
    )
    results: Results = {"linear_mean": moments.mean, "linear_second": moments.second}
    results |= _write_closed_form(author, moments, names)
    rates = moments.rates
    flow = constant("m", latex="m"), constant("P", latex="P")
    shown = [_in_moments(moments, rate, *flow) for rate in rates]
    author.relation(
        "moments of the SDE",
        Kind.ASYMPTOTIC,
        rf"\dot{{m}} = {latex(shown[0])},\quad \dot{{P}} = {latex(shown[1])}",
        text=f"dm/dt = {plain(shown[0])}, dP/dt = {plain(shown[1])}",
        reason="the generator on x and x^2: 2 x times drift plus the square of the diffusion",
        name=names.joined("sde_moments"),
        check=ResidualCheck(partial(rates_residual, moments), rates, SERIES),
    )
    results |= {"sde_mean_rate": rates[0], "sde_second_rate": rates[1]}
    results |= _write_solution(author, moments, names)
    results |= _write_third_error(author, moments, names)
    author.close(f"Linear networks{names.title}", f"Where every network multiplies {x} by a number, moments are exact.")
    return results


def _in_moments(moments: LinearMoments, value: Expr, one: Quantity, two: Quantity) -> Expr:
    """A polynomial in x with m for x and P for x^2."""
    powers = (Integer(1), one, two)
    return sum((c * p for c, p in zip(moments.coefficients(value), powers, strict=False)), Integer(0))


def _write_closed_form(author: Author, moments: LinearMoments, names: StepNames) -> Results:
    """Of equal layers, where the mean has no constant and the second moment no part in the mean."""
    mean, second = moments.coefficients(moments.mean), moments.coefficients(moments.second)
    if len(mean) != 2 or mean[0] != 0 or len(second) != 3 or second[1] != 0:
        return {}
    layers, x = constant("L", latex="L"), moments.state
    growth = second[2] ** layers
    start = constant("x_0", latex="x_0")
    formulas = (mean[1] ** layers * x, growth * x**2 + second[0] * (growth - 1) / (second[2] - 1))
    shown = [value.xreplace({x: start}) for value in formulas]
    author.relation(
        "after L equal layers",
        Kind.IDENTITY,
        rf"\mathbb{{E}} x_L = {latex(shown[0])},\quad \mathbb{{E}} x_L^2 = {latex(shown[1])}",
        text=f"E x_L = {plain(shown[0])}, E x_L^2 = {plain(shown[1])}",
        reason="geometric sums",
        name=names.joined("linear_closed_form"),
        check=ResidualCheck(
            partial(closed_form_residual, moments, layers),
            formulas,
            "three equal layers, summed over all combinations of nodes, 60 digits",
        ),
    )
    return {"linear_mean_of_L": formulas[0], "linear_second_of_L": formulas[1]}


def _write_solution(author: Author, moments: LinearMoments, names: StepNames) -> Results:
    """The moments of the SDE in closed form."""
    formulas = moments.solution
    if formulas is None:
        return {}
    start = {moments.state: constant("x_0", latex="x_0")}
    mean, second = (value.xreplace(start) for value in formulas)
    author.relation(
        "moments of the SDE, solved",
        Kind.IDENTITY,
        rf"\mathbb{{E}} X_t = {latex(mean)},\quad \mathbb{{E}} X_t^2 = {latex(second)}",
        text=f"E X_t = {plain(mean)}, E X_t^2 = {plain(second)}, from X_0 = x_0",
        reason="a triangular linear system; constants held",
        name=names.joined("sde_moments_solved"),
        check=ResidualCheck(
            partial(solution_residual, moments), formulas, "the equations of the moments, by differences in time"
        ),
    )
    return {"sde_mean_at_t": formulas[0], "sde_second_at_t": formulas[1]}


def _write_third_error(author: Author, moments: LinearMoments, names: StepNames) -> Results:
    if not moments.homogeneous or not moments.limit.conditions:
        return {}
    leading, rate = moments.third_error
    time, start = constant("T", latex="T"), constant("x_0", latex="x_0")
    error = sqrt(STEP_SIZE) * leading * time * start**3 * exp(expand(rate) * time)
    author.relation(
        "leading weak error of the third moment",
        Kind.ASYMPTOTIC,
        rf"\mathbb{{E}} x_N^3 - \mathbb{{E}} X_T^3 = {latex(error)} + O(h)",
        text=f"E x_N^3 - E X_T^3 = {plain(error)} + O(h)",
        reason="N = T/h factors E (x_next/x)^3 = 1 + h c + h^(3/2) a + O(h^2): together exp(c T) (1 + sqrt(h) a T)",
        name=names.joined("third_error"),
        check=ResidualCheck(partial(third_error_residual, moments), (leading, rate), SERIES),
    )
    return {"third_moment_error": error}

"""Sections on parameters that may be functions of time: the step that reads them, its error, the rate of the field."""

from __future__ import annotations

from functools import partial

from sympy import Expr, Integer

from derive.additive_steps import PartsScheme
from derive.checks import IdentityCheck, ResidualCheck, central_difference
from derive.derivation import Kind
from derive.drafts import Draft, write_recurrence
from derive.lagrangian import StepNames, cotangent_latex
from derive.latex import latex, plain
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.sampling import Sampler
from derive.schemes import ButcherTableau, LinearMultistep, MultistepFamily, Scheme
from derive.series.trees import tree
from derive.step_quantities import StageValue
from derive.symbols import Quantity, by_name
from derive.systems import ODE
from derive.time_dependence import OF_TIME, rate, reads_beginnings_only, smooth, stage_values, step_of_time
from derive.truncation import Truncation, local_error_residual, truncation

TITLE = "Parameters that vary in time"
HIGHEST_SPELLED = 2  # order up to which the local error on the field of a spec is short enough to be read


def write_varying(draft: Draft, ode: ODE, scheme: Scheme | MultistepFamily) -> None:
    """What is meant where a parameter is given as a function of time, or with a value for each step."""
    parameters = draft.spec.may_vary
    if not parameters:
        return
    driven = step_of_time(ode, scheme, parameters)
    if driven is not None:
        _write_functions(draft.author, stage_values(driven))
        draft.results |= write_rate(draft.author, ode, parameters)
        if not isinstance(scheme, MultistepFamily):
            draft.results |= _write_error(draft.author, ode, scheme, parameters)
    _write_held(draft.author, parameters)
    draft.author.close(TITLE)
    names = ", ".join(quantity.name for quantity in parameters)
    draft.facts["may have a value for each step"] = f"{names}; that of its start is held over the step"
    if driven is None:
        return
    draft.facts["may be functions of time"] = f"{names}; read at the times of the stages"
    if not reads_beginnings_only(driven):
        write_recurrence(draft, driven, StepNames(OF_TIME))


def _write_functions(author: Author, values: tuple[StageValue, ...]) -> None:
    for parameter in by_name({value.parameter for value in values}):
        own = [value for value in values if value.parameter == parameter]
        symbol, name = parameter.latex, parameter.name
        bars = " + ".join(
            rf"\left\langle {cotangent_latex(value.latex)},\, \partial_{{\theta}} {value.latex}\right\rangle"
            for value in own
        )
        author.relation(
            f"{name} as a function of time",
            Kind.DEFINITION,
            rf"{symbol} = {symbol}(t; \theta), \qquad \nabla_{{\theta}} L = \sum_n \left({bars}\right)",
            text=f"{name} = {name}(t; theta); gradient of theta = sum over steps of "
            + " + ".join(f"<bar_{value.name}, d {value.name}/d theta>" for value in own),
            reason=f"a step reads it where it evaluates the field, at {', '.join(map(_moment, own))}; by way of these "
            "times the gradient reaches t_0 and t_1 as well",
            name=f"of_time.{name}",
        )


def _moment(value: StageValue) -> str:
    return f"t_n + {value.node} h" if value.node else "t_n"


def write_rate(author: Author, ode: ODE, parameters: tuple[Quantity, ...]) -> dict[str, Expr]:
    """How the field moves where the state rests."""
    rates = {q: rate(q) for q in parameters}
    results = {}
    for unknown, velocity in zip(ode.state, ode.velocity, strict=True):
        moved: dict[Quantity, Expr] = dict(rates)
        if ode.time is not None:
            moved[ode.time] = Integer(1)
        value = pushforward(velocity, moved)
        if value == 0:
            continue
        results[f"field_rate_{unknown.name}"] = value
        author.relation(
            f"partial derivative in time of the right-hand side of {unknown.name}",
            Kind.IDENTITY,
            rf"\partial_t F_{{{unknown.latex}}} = {latex(value, continuous=True)}",
            text=f"dF_{unknown}/dt at a resting state = {plain(value)}",
            reason="by way of what varies; dH/dt along solutions is its product with the costate",
            name=f"field_rate.{unknown.name}",
            check=_rate_check(ode, velocity, moved, value),
        )
    return results


def _rate_check(ode: ODE, velocity: Expr, moved: dict[Quantity, Expr], value: Expr) -> IdentityCheck:
    quantities = {
        *velocity.atoms(Quantity),
        *value.atoms(Quantity),
        *moved,
        *(q for v in moved.values() for q in v.atoms(Quantity)),
    }

    def along(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        speeds = {q: values[v] if isinstance(v, Quantity) else 1 for q, v in moved.items()}
        return central_difference(velocity, values, speeds, sampler)

    return IdentityCheck(along, value, tuple(by_name(quantities)), ode.networks)


def _write_error(author: Author, ode: ODE, scheme: Scheme, parameters: tuple[Quantity, ...]) -> dict[str, Expr]:
    """Order and local error with functions of time: the time is one more unknown, of velocity 1."""
    if isinstance(scheme, PartsScheme):
        return {}
    p = truncation(ode, scheme).order
    spelled = p <= HIGHEST_SPELLED and not ode.networks
    driven, here = smooth(ode, parameters, p + spelled)
    found = truncation(driven, scheme) if spelled else _vanishing(scheme, driven, p)
    terms = [part.xreplace(here) for part in found.local_error(found.coefficients)] if spelled else []
    body, text = ", ".join(map(latex, terms)), ", ".join(map(plain, terms))
    author.relation(
        f"local truncation error with functions of time; order {p}",
        Kind.ASYMPTOTIC,
        rf"\tau_n = h^{{{p + 1}}} \left({body}\right) + O(h^{{{p + 2}}})" if terms else rf"\tau_n = O(h^{{{p + 1}}})",
        text=f"tau = h^{p + 1} ({text}) + O(h^{p + 2})" if terms else f"tau = O(h^{p + 1})",
        reason="the order stays, as the time moves with the nodes: it is one more unknown, of velocity 1; exact minus "
        "numeric after one step, with Taylor polynomials of the functions",
        name="local_error_of_time",
        check=ResidualCheck(partial(local_error_residual, found), found.coefficients),
    )
    return {f"local_error_of_time_{x.name}": term for x, term in zip(ode.state, terms, strict=False)}


def _vanishing(scheme: ButcherTableau | LinearMultistep, driven: ODE, order: int) -> Truncation:
    """The claim that all powers of h up to the order vanish: the last with the coefficient 0 of its tallest tree."""
    tallest = tree()
    for _ in range(order - 1):
        tallest = tree(tallest)
    speed = scheme.speed if isinstance(scheme, LinearMultistep) else Integer(1)
    return Truncation(scheme, driven, order - 1, speed, ((Integer(0), tallest),), {})


def _write_held(author: Author, parameters: tuple[Quantity, ...]) -> None:
    for quantity in parameters:
        symbol, name = quantity.latex, quantity.name
        author.relation(
            f"{name} with a value for each step",
            Kind.DEFINITION,
            rf"{symbol}(t) = {symbol}_n \quad (t_n \le t < t_{{n+1}}), \qquad "
            rf"\frac{{\partial L}}{{\partial {symbol}_n}} = {cotangent_latex(symbol)}\ \text{{of step}}\ n",
            text=f"{name}(t) = {name}_n for t_n <= t < t_(n+1); gradient of {name}_n = bar_{name} of step n",
            reason="the value at the start of the step is held over the step, at all its stages: of first order in the "
            "step where it stands for a smooth function of t",
        )

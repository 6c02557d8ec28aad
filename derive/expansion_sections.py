"""Sections that come from the expansion of a step in h: order and local error, or the equation of its limit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import mpmath
from sympy import Expr, Integer, factor

from derive.additive_steps import PartsScheme
from derive.checks import DIGITS, ResidualCheck
from derive.derivation import Kind
from derive.elementary import elementary_differential, taylor
from derive.errors import UnsupportedError
from derive.evaluator import value_of
from derive.lagrangian import StepNames
from derive.latex import latex, plain
from derive.numbering import Author
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.series.rk import error_terms
from derive.step_expansion import (
    Coefficients,
    coefficient_of,
    expansion_residual,
    multilinear,
    sample,
    size,
    step_coefficients,
    step_series,
)
from derive.step_quantities import STEP_SIZE, at_step, time_at_step
from derive.symbols import Quantity
from derive.systems import ODE

HIGHEST_ORDER = 4  # terms of the expansion grow faster than the order
SHOWN_POWERS = 3
VANISHES = mpmath.mpf("1e-40")
SMALL_STEP = mpmath.mpf("1e-8")


def write_local_error(author: Author, ode: ODE, scheme: PartsScheme, recurrence: Recurrence) -> dict[str, Expr]:
    """Section on order, local error and the first term of the modified equation; returns results for claims.

    Raises:
        UnsupportedError: no power of h up to h^5 is wrong.
    """
    p, error = leading_error(ode, scheme)
    states = ", ".join(x.latex for x in recurrence.old)
    author.relation(
        f"local truncation error (exact minus numeric after one step); order {p}",
        Kind.ASYMPTOTIC,
        rf"\tau_n\left({states}\right) = h^{{{p + 1}}} {_vector_latex(error)} + O(h^{{{p + 2}}})",
        text=f"tau = h^{p + 1} ({', '.join(map(str, error))}) + O(h^{p + 2})",
        reason=f"the trees with {p + 1} vertices: what the solution makes of each minus what {scheme.title} does",
        name="local_error",
        check=ResidualCheck(partial(_local_error_residual, ode, recurrence, p), error),
    )
    results: dict[str, Expr] = {"order": Integer(p)}
    modified = []
    for x, term in zip(ode.state, error, strict=True):
        velocity = ode.velocity[ode.state.index(x)]
        results[f"local_error_{x.name}"] = term
        results[f"modified_{x.name}"] = velocity.xreplace(_at_t_n(ode)) - STEP_SIZE**p * term
        modified.append(
            rf"\dot{{{x.latex}}} = {latex(velocity, continuous=True)} "
            rf"{_signed(-term, p)} + O(h^{{{p + 1}}})"
        )
    author.relation(
        "modified equation",
        Kind.ASYMPTOTIC,
        r",\qquad ".join(modified),
        text=", ".join(f"d{x}/dt = {results[f'modified_{x.name}']} + O(h^{p + 1})" for x in ode.state),
        reason="the equation whose flow the numerical solution follows one order further; minus the local error",
        name="modified_equation",
        check=ResidualCheck(
            partial(_modified_residual, ode, recurrence, p),
            tuple(-term for term in error),
            f"one step of size {float(SMALL_STEP):g} against the Taylor series of the modified equation, 60 digits",
            tolerance=1e-6,
        ),
    )
    author.close(
        "Order, local error and modified equation",
        "What the scheme really solves: the equation whose exact flow interpolates the numerical solution.",
    )
    return results


def leading_error(ode: ODE, scheme: PartsScheme) -> tuple[int, Coefficients]:
    """Order and coefficient of h^(order + 1) in the local error, exact minus numerical.

    The differentials of this field are put in, among which many vanish: of a part that does not see what it drives,
    for instance. The order is therefore the one on this field.

    Raises:
        UnsupportedError: no power of h up to h^(HIGHEST_ORDER + 1) is wrong.
    """
    at_t_n = _at_t_n(ode)
    sampler = Sampler({at_t_n.get(q, q) for q in (*ode.quantities, *ode.state)}, ode.networks)
    with mpmath.workdps(DIGITS):
        values = sampler.values()
        for power in range(2, HIGHEST_ORDER + 2):
            total = [Integer(0) for _ in ode.state]
            for tree, coefficient in error_terms(scheme, power).terms.items():
                parts = elementary_differential(ode, tree, ode.split)
                total = [old + coefficient * part for old, part in zip(total, parts, strict=True)]
            error = tuple(multilinear(part.xreplace(at_t_n)).expand() for part in total)
            if any(size(value_of(part, values, sampler.networks)) > VANISHES for part in error if part != 0):
                return power - 1, error
    raise UnsupportedError(f"a step of order above {HIGHEST_ORDER} is not expanded here")


def _at_t_n(ode: ODE) -> dict[Quantity, Expr]:
    names: dict[Quantity, Expr] = {x: at_step(x, 0) for x in ode.state}
    now = time_at_step(ode)
    return names if ode.time is None or now is None else {**names, ode.time: now}


def _vector_latex(parts: Sequence[Expr]) -> str:
    if len(parts) == 1:
        return rf"\left({latex(parts[0])}\right)"
    return r"\begin{pmatrix}" + r" \\ ".join(latex(part) for part in parts) + r"\end{pmatrix}"


def _term_text(term: Expr, power: int) -> str:
    """`h^p (term)`, the bracket for sums alone and none without a power of h."""
    text, step = plain(term), "h" if power == 1 else f"h^{power}"
    return text if power == 0 else f"{step} ({text})" if term.is_Add else f"{step} {text}"


def _term_latex(term: Expr, power: int) -> str:
    """The same in LaTeX."""
    text = latex(term)
    return text if power == 0 else rf"{_power(power)} \left({text}\right)" if term.is_Add else f"{_power(power)} {text}"


def _signed(term: Expr, power: int) -> str:
    """`+ h^p (term)`, or nothing where it vanishes."""
    if term == 0:
        return ""
    step = "h" if power == 1 else f"h^{{{power}}}"
    return rf"+ {step} \left({latex(term)}\right)"


def _local_error_residual(ode: ODE, recurrence: Recurrence, p: int, claimed: Coefficients) -> float:
    """Relative size of (exact - numeric) - claimed, in the powers of h up to p + 1, both sides as power series."""
    sampler, values = sample(recurrence)
    exact = taylor(ode, ode.velocity, _named_as_unknowns(ode, values), sampler, p + 1)
    numeric = step_series(recurrence, values, sampler, p + 1)
    worst = 0.0
    for column, after, term in zip(exact, numeric, claimed, strict=True):
        errors = [column[power] - coefficient_of(after, power) for power in range(p + 2)]
        errors[-1] = errors[-1] - value_of(term, values, sampler.networks)
        worst = max(worst, *(float(size(error)) for error in errors))
    return worst


def _modified_residual(ode: ODE, recurrence: Recurrence, p: int, terms: Coefficients) -> float:
    """One small step against the solution of u' = F + h^p term, in units of h^(p+1)."""
    sampler, values = sample(recurrence)
    back = {new: old for old, new in _at_t_n(ode).items()}
    known = {**values, **_named_as_unknowns(ode, values), STEP_SIZE: SMALL_STEP}
    velocity = tuple(v + STEP_SIZE**p * term.xreplace(back) for v, term in zip(ode.velocity, terms, strict=True))
    solution = taylor(ode, velocity, known, sampler, p + 3)
    numeric = step_series(recurrence, values, sampler, p + 3)
    worst = 0.0
    for column, after in zip(solution, numeric, strict=True):
        gap = sum(
            (SMALL_STEP**power * (c - coefficient_of(after, power)) for power, c in enumerate(column)), 0 * column[0]
        )
        worst = max(worst, float(size(gap) / SMALL_STEP ** (p + 1)))
    return worst


def _named_as_unknowns(ode: ODE, values: dict[Quantity, object]) -> dict[Quantity, object]:
    """The sampled values under the names that the ODE uses; the unknowns of a step at t_n bear an index."""
    return {**values, **{name: values[at] for name, at in _at_t_n(ode).items() if at in values}}


def write_expansion(author: Author, recurrence: Recurrence, names: StepNames) -> dict[str, Expr]:
    """Section on the expansion of a step that is not made from an ODE; returns the coefficients as results."""
    if STEP_SIZE not in recurrence.step.inputs or len(recurrence.new) != len(set(recurrence.new) - set(recurrence.old)):
        return {}
    found = step_coefficients(recurrence, SHOWN_POWERS)
    flat = tuple(value for coefficients in found for value in coefficients)
    results: dict[str, Expr] = {}
    formulas, texts = [], []
    for place, (old, new) in enumerate(zip(recurrence.old, recurrence.new, strict=True)):
        parts = [coefficients[place] for coefficients in found]
        suffix = f"_{old.name}" if len(recurrence.old) > 1 else ""
        results |= {f"expansion_{power}{suffix}": part for power, part in enumerate(parts)}
        terms = [_term_latex(part, power) for power, part in enumerate(parts) if part != 0]
        formulas.append(rf"{new.latex} = {' + '.join(terms)} + O(h^{{{SHOWN_POWERS + 1}}})")
        texts.append(" + ".join(_term_text(part, power) for power, part in enumerate(parts) if part != 0))
    author.relation(
        "expansion of the step in h",
        Kind.ASYMPTOTIC,
        r",\qquad ".join(formulas),
        text=", ".join(
            f"{new} = {text} + O(h^{SHOWN_POWERS + 1})" for new, text in zip(recurrence.new, texts, strict=True)
        ),
        reason="derivatives of the step along h at h = 0; D is the derivative of a network along the brackets",
        name=names.joined("expansion"),
        check=ResidualCheck(
            partial(expansion_residual, recurrence, SHOWN_POWERS), flat, "the step on power series in h, 60 digits"
        ),
    )
    _write_consistency(author, recurrence, names, found)
    author.close(f"Expansion in the step size{names.title}", "Which equation the net follows when its steps are small.")
    return results | _limit(recurrence, found)


def _limit(recurrence: Recurrence, found: Sequence[Coefficients]) -> dict[str, Expr]:
    suffixes = [f"_{q.name}" for q in recurrence.old] if len(recurrence.old) > 1 else [""]
    return {f"limit_field{suffix}": value for suffix, value in zip(suffixes, found[1], strict=True)}


def _write_consistency(author: Author, recurrence: Recurrence, names: StepNames, found: Sequence[Coefficients]) -> None:
    """What must hold for a limit h -> 0, and the equation that it is."""
    factors = [factor(value / old) for value, old in zip(found[0], recurrence.old, strict=True)]
    conditions = [f for f in factors if f != 1]
    equations = [rf"\dot{{{q.latex}}} = {latex(value)}" for q, value in zip(recurrence.old, found[1], strict=True)]
    condition = ", ".join(rf"{latex(f.expand())} = 1" for f in conditions)
    text = ", ".join(f"d{q}/dt = {plain(value)}" for q, value in zip(recurrence.old, found[1], strict=True))
    author.relation(
        "the equation it is consistent with" + (" where the state keeps its weight" if conditions else ""),
        Kind.ASYMPTOTIC,
        ",\\quad ".join([*equations, *([condition] if condition else [])]),
        text=text + "".join(f", provided {f.expand()} = 1" for f in conditions),
        reason="the coefficient of h; the state itself must come through with weight 1",
        name=names.joined("limit"),
        check=ResidualCheck(
            partial(_first_coefficients_residual, recurrence),
            (*found[0], *found[1]),
            "the step on power series in h, 60 digits",
        ),
    )


def _first_coefficients_residual(recurrence: Recurrence, claimed: Coefficients) -> float:
    return expansion_residual(recurrence, 1, claimed)


def _power(power: int) -> str:
    return "" if power == 0 else "h" if power == 1 else f"h^{{{power}}}"

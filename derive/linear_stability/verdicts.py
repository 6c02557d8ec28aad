"""The verdicts of linear stability on any scheme, with numbers or with one symbol in its table.

Several symbols are decided where the stability function depends on one of them, or on one combination; zero stability
of up to three steps, explicit schemes, and what holds for no value are decided for any number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any

from sympy import Piecewise, S, Symbol, atan, false, oo, pi, piecewise_fold, sqrt, true

from derive.errors import UnsupportedError
from derive.linear_stability import multistep, oscillator, runge_kutta
from derive.linear_stability.branches import end_in_cells
from derive.linear_stability.cells import Cell, condition, decide_in_cells, end_of
from derive.linear_stability.combinations import Meaning, in_fewest_symbols
from derive.linear_stability.fields import GenericField, RealField, field_of
from derive.linear_stability.functions import (
    Multistep,
    Polynomials,
    Propagation,
    RationalFunction,
    Scheme,
    multistep_polynomials,
    propagation,
    rational_function,
    root_polynomial,
)
from derive.linear_stability.real_roots import RealRoot
from derive.schemes import ButcherTableau, LinearMultistep
from derive.verdict import Step, Verdict

RULES: dict[type[Polynomials], ModuleType] = {RationalFunction: runge_kutta, Multistep: multistep}
"""Schemes with a scalar test equation: all of the complex plane is their domain."""
NOT_SCALAR = Step("Schemes of several parts are tested on the oscillator: half planes and sectors do not apply.")
UNSTABLE = Step("Not zero-stable: 0 does not belong to the stability region.")

DOUBLE_ROOT = Step("At the end itself a double root lies on the unit circle: errors grow linearly there.")


@dataclass(frozen=True)
class RootVerdict(Verdict):
    """Zero stability.

    Attributes:
        strong: whether no other root than 1 lies on the unit circle.
    """

    strong: Any = None


def polynomials_of(scheme: Scheme) -> Polynomials | None:
    """What decides about a scheme; None for more than two parts."""
    if isinstance(scheme, ButcherTableau):
        return rational_function(scheme)
    if isinstance(scheme, LinearMultistep):
        return multistep_polynomials(scheme)
    return propagation(scheme)


def _scalar_polynomials(scheme: Scheme) -> Polynomials | None:
    """What decides about a scheme on x' = lambda x; None for schemes of several parts."""
    return polynomials_of(scheme) if isinstance(scheme, ButcherTableau | LinearMultistep) else None


@cache
def zero_stability(scheme: Scheme) -> RootVerdict:
    """Root condition of rho; `strong` where no root but 1 lies on the unit circle. One-step schemes are zero-stable."""
    if not isinstance(scheme, LinearMultistep):
        return RootVerdict(true, (Step("A one-step scheme: zeta - 1 is its whole polynomial at h = 0."),), strong=true)
    data = root_polynomial(scheme)
    if data.domain.is_FractionField and len(data.domain.symbols) > 1:
        value, strong = multistep.jury_conditions(GenericField(data.domain), data)
        return RootVerdict(
            value, (Step("Jury's inequalities of rho over zeta - 1, no double root at -1"),), strong=strong
        )
    proof: list[Step] = []
    where = _where(data, multistep.zero_stability, proof)
    value, strong = where(lambda kind: kind in ("weak", "strong")), where(lambda kind: kind == "strong")
    return RootVerdict(value, tuple(proof), strong=strong)


def a_stability(scheme: Scheme) -> Verdict:
    """Whether |R| <= 1 (multistep: the root condition) in all of Re z <= 0; None for schemes of several parts."""
    return _half_plane(scheme, lambda rules, field, data, proof: rules.is_a_stable(field, data, proof))


def l_stability(scheme: Scheme) -> Verdict:
    """A-stability with R(oo) = 0 (multistep: all roots tend to 0 at infinity); None for schemes of several parts."""
    return _half_plane(
        scheme,
        lambda rules, field, data, proof: (
            rules.is_a_stable(field, data, proof) and rules.vanishes_at_infinity(field, data, proof)
        ),
    )


def _half_plane(scheme: Scheme, decide: Callable[[ModuleType, RealField, Any, list[Step]], bool]) -> Verdict:
    data = _scalar_polynomials(scheme)
    if data is None:
        return Verdict(None, (NOT_SCALAR,))
    if isinstance(scheme, ButcherTableau) and scheme.explicit:
        return Verdict(false, (Step("R is a polynomial of degree one or more: |R| tends to infinity with |z|."),))
    if isinstance(scheme, LinearMultistep) and scheme.explicit and any(scheme.beta):
        return Verdict(false, (Step("sigma is of lower degree than rho: a root tends to infinity with |z|."),))
    proof = _published(data)
    data, meaning = _reduced(data, proof)
    value = _where(data, partial(decide, RULES[type(data)]), proof)(bool)
    return Verdict(value.subs(meaning), tuple(proof))


def _reduced(data: Polynomials, proof: list[Step]) -> tuple[Polynomials, Meaning]:
    """The polynomials over the symbols or the one combination of them that they depend on."""
    data, meaning = in_fewest_symbols(data)
    proof += [Step(f"All coefficients are polynomials of {new} = {value}.") for new, value in meaning.items()]
    return data, meaning


def _where(
    data: Polynomials, decide: Callable[[RealField, Any, list[Step]], Any], proof: list[Step]
) -> Callable[[Callable[[Any], bool]], Any]:
    """A decision, on numbers once, on one symbol in cells: property of the decision -> where it holds."""
    if not data.domain.is_FractionField:
        label = decide(field_of(data.domain), data, proof)
        return lambda holds: true if holds(label) else false
    symbol = one_symbol(data)
    courses: list[list[Step]] = []

    def decide_there(field: RealField, special: Polynomials) -> Any:
        courses.append([])
        return decide(field, special, courses[-1])

    cells = decide_in_cells(data, decide_there)
    proof += courses[0]  # the course at one sample shows the method
    proof += [_cell_step(cell, symbol) for cell in cells]
    return lambda holds: condition(cells, holds, symbol)


def _published(data: Polynomials) -> list[Step]:
    """The reservation that published decimals need."""
    if not data.noise:
        return []
    return [Step(f"Entries are published decimals: what is below {float(data.noise):.0e} and should vanish is zero.")]


def one_symbol(data: Polynomials) -> Symbol:
    """The symbol of a scheme.

    Raises:
        UnsupportedError: there are more.
    """
    symbols = data.domain.symbols
    if len(symbols) > 1:
        names = ", ".join(str(symbol) for symbol in symbols)
        raise UnsupportedError(f"stability in {names}: one symbol is decided; give values to the others")
    return symbols[0]


def _cell_step(cell: Cell, symbol: Symbol) -> Step:
    if cell.is_point:
        return Step(f"At {symbol} = {end_of(cell.low)}, exactly: {_in_words(cell.label)}.")
    low = "-oo" if cell.low is None else end_of(cell.low)
    high = "oo" if cell.high is None else end_of(cell.high)
    where = f"For {low} < {symbol} < {high}"
    return Step(f"{where} no sign that decides changes; at {symbol} = {cell.sample}: {_in_words(cell.label)}.")


def _in_words(label: Any) -> str:
    if isinstance(label, bool):
        return "it holds" if label else "it does not hold"
    return "undefined" if label is None else str(label)


def real_interval(scheme: Scheme) -> Verdict:
    """(left, 0): closure of the component of the stability region on the real axis that contains 0.

    None where 0 does not belong to the region (not zero-stable), and for schemes of several parts.
    """
    data = _scalar_polynomials(scheme)
    if data is None:
        return Verdict(None, (NOT_SCALAR,))
    return _interval(data, RULES[type(data)].real_axis, _real_end, lambda end: (end, S.Zero))


def imaginary_interval(scheme: Scheme) -> Verdict:
    """(-w, w): the same on the imaginary axis; in two parts, of h omega on the oscillator. None as `real_interval`."""
    data = polynomials_of(scheme)
    if data is None:
        return Verdict(None, (NOT_SCALAR,))
    rules = oscillator if isinstance(data, Propagation) else RULES[type(data)]
    return _interval(data, rules.imaginary_axis, _imaginary_end, lambda end: (piecewise_fold(-end), end))


def _real_end(argument: Any) -> Any:
    if isinstance(argument, RealRoot):
        return argument.negative().expression()
    return -oo if argument == math.inf else (-S(argument)).cancel()


def _imaginary_end(argument: Any) -> Any:
    if isinstance(argument, RealRoot):
        return sqrt(argument.expression())
    return oo if argument == math.inf else sqrt(S(argument))


def _interval(
    data: Polynomials,
    axis: Callable[[RealField, Any], Any],
    to_value: Callable[[Any], Any],
    pair: Callable[[Any], tuple[Any, Any]],
) -> Verdict:
    proof = _published(data)
    data, meaning = _reduced(data, proof)
    if not data.domain.is_FractionField:
        field = field_of(data.domain)
        if not _zero_belongs(field, data):
            return Verdict(None, (*proof, UNSTABLE))
        line = axis(field, data)
        last = line.end(proof)
        if isinstance(last, RealRoot) and not line.passes(last):
            proof.append(DOUBLE_ROOT)
        return Verdict(pair(to_value(last)), tuple(proof))
    symbol = one_symbol(data)

    def end(field: RealField, special: Polynomials) -> RealRoot | float | None:
        return axis(field, special).end([]) if _zero_belongs(field, special) else None

    pieces = end_in_cells(data, symbol, axis, _zero_belongs, end, to_value, proof)
    if not pieces:
        return Verdict(None, (*proof, UNSTABLE))
    left, right = pair(_joined(pieces))
    return Verdict((left.subs(meaning), right.subs(meaning)), tuple(proof))


def _joined(pieces: list[tuple[Any, Any]]) -> Any:
    return pieces[0][0] if len(pieces) == 1 and pieces[0][1] == true else Piecewise(*pieces)


def _zero_belongs(field: RealField, data: Polynomials) -> bool:
    return not isinstance(data, Multistep) or multistep.zero_stability(field, data, []) != "unstable"


def alpha_stability(scheme: Scheme) -> Verdict:
    """The largest alpha with A(alpha)-stability: pi/2 for A-stable schemes, 0 where no sector is stable, else exact."""
    a_stable = a_stability(scheme)
    if a_stable.value is None or a_stable.value == true:
        return Verdict(None if a_stable.value is None else pi / 2, a_stable.proof)
    data = polynomials_of(scheme)
    assert data is not None
    if isinstance(scheme, ButcherTableau | LinearMultistep) and scheme.explicit:
        words = "Explicit: some root grows without bound as z goes to infinity, so no sector is stable."
        return Verdict(S.Zero, (*a_stable.proof, Step(words)))
    proof = list(a_stable.proof)
    rules = RULES[type(data)]
    data, meaning = in_fewest_symbols(data)
    if not data.domain.is_FractionField:
        return Verdict(_angle(rules, field_of(data.domain), data, proof), tuple(proof))
    symbol = one_symbol(data)
    cells = decide_in_cells(data, partial(_sector_kind, rules))
    proof += [_cell_step(cell, symbol) for cell in cells]
    none = condition(cells, lambda kind: kind == "no sector", symbol)
    if condition(cells, lambda kind: kind == "some sector", symbol) == false:
        value = Piecewise((pi / 2, a_stable.value), (S.Zero, none)) if a_stable.value != false else S.Zero
    else:
        kind, end = partial(_sector_kind, rules), partial(_sector_end, rules)
        value = _joined(end_in_cells(data, symbol, rules.sector, kind, end, _to_angle, proof))
    return Verdict(value.subs(meaning), tuple(proof))


def _to_angle(squared_slope: Any) -> Any:
    """The angle of a sector from the squared slope of its rim."""
    if isinstance(squared_slope, RealRoot):
        squared_slope = squared_slope.expression()
    return pi / 2 if squared_slope == math.inf else atan(sqrt(S(squared_slope)))


def _sector_end(rules: ModuleType, field: RealField, data: Polynomials) -> RealRoot | float:
    """Squared slope of the rim of the largest stable sector."""
    kind = _sector_kind(rules, field, data)
    if kind == "some sector":
        return rules.sector(field, data).end([])
    return math.inf if kind == "half plane" else 0


def _sector_kind(rules: ModuleType, field: RealField, data: Polynomials) -> str:
    if rules.is_a_stable(field, data, []):
        return "half plane"
    return "some sector" if rules.is_stable_on_negative_axis(field, data, []) else "no sector"


def _angle(rules: ModuleType, field: RealField, data: Polynomials, proof: list[Step]) -> Any:
    if not rules.is_stable_on_negative_axis(field, data, proof):
        return S.Zero
    end = rules.sector(field, data).end(proof)
    return _to_angle(end) if isinstance(end, RealRoot) else S.Zero

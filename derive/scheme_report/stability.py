"""Section on the linear stability of a scheme: R(z), root condition, half plane, sector, intervals, with proofs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sympy import Expr, ImmutableMatrix, Not, Rational, S, Symbol, false, fraction, oo, pi, true

from derive.analysis import Analysis
from derive.checks import ResidualCheck, SampledCheck
from derive.derivation import Check, Kind
from derive.latex import latex
from derive.linear_stability.formulas import ordered, rounded
from derive.linear_stability.numeric_checks import interval_disagreements, sector_disagreements
from derive.linear_stability.verdicts import DOUBLE_ROOT
from derive.numbering import Author
from derive.scheme_report.show import condition_latex, cut, equations_of_roots, interval_latex, write_undecided
from derive.scheme_report.stability_residuals import (
    function_residual,
    half_plane_disagreement,
    root_condition_disagreement,
)
from derive.schemes import LinearMultistep, Scheme
from derive.schemes.substitution import entries, with_values
from derive.series.conditions import condition_text
from derive.verdict import Step, Verdict

MOVED = Rational(1, 50)
SAMPLES = tuple(Rational(place, 20) for place in (-23, -3, 0, 6, 10, 15, 20, 27))
AXES = {
    "real_interval": ("real interval", "real axis", -1, 0),
    "imaginary_interval": ("imaginary interval", "imaginary axis", 1j, 1),
}


ROOT_CONDITION = r"\rho(\zeta) = 0 \implies \left|\zeta\right| \le 1, \text{ simple on the circle}"
HALF_PLANE = (
    ("is_a_stable", "A-stable", r"\left|R(z)\right| \le 1 \text{ where } \operatorname{Re}(z) \le 0", False),
    ("is_l_stable", "L-stable", r"\text{A-stable and } R(\infty) = 0", True),
)
UNDECIDED = {
    "is_zero_stable": "zero-stable",
    "is_a_stable": "A-stable",
    "is_l_stable": "L-stable",
    "alpha_stability": "A(α)-stable",
    "real_interval": "real interval",
    "imaginary_interval": "imaginary interval",
}


def write_stability(author: Author, analysis: Analysis, root_condition: bool = True) -> None:
    """Everything on linear stability; the root condition only where nothing before has it."""
    _write_function(author, analysis)
    _write_verdicts(author, analysis, root_condition)
    for name, words in UNDECIDED.items():
        if (verdict := analysis.stability_verdict(name)).undecided:
            write_undecided(author, words, verdict)
    author.close("Linear stability of the scheme", "What repeated steps do on linear test problems, decided exactly.")


def _write_verdicts(author: Author, analysis: Analysis, root_condition: bool) -> None:
    scheme = analysis.scheme
    if root_condition and isinstance(scheme, LinearMultistep):
        verdict = analysis.stability_verdict("is_zero_stable")
        if verdict.value is not None:
            check = _by_samples(scheme, verdict.value, root_condition_disagreement)
            _write_verdict(author, "zero-stable", ROOT_CONDITION, verdict, [], check)
    told: list[Step] = []
    for name, words, formula, at_infinity in HALF_PLANE:
        verdict = analysis.stability_verdict(name)
        if verdict.value is not None:
            check = _by_samples(scheme, verdict.value, partial(half_plane_disagreement, at_infinity=at_infinity))
            _write_verdict(author, words, formula, verdict, told, check, analysis.reservation)
    _write_sector(author, analysis, told)
    for name in AXES:
        _write_interval(author, analysis, name)


def _write_function(author: Author, analysis: Analysis) -> None:
    scheme, function = analysis.scheme, analysis.stability_function
    if isinstance(scheme, LinearMultistep):
        polynomial = ordered(analysis.stability_polynomial, Symbol("zeta"))
        author.relation(
            "stability polynomial",
            Kind.DEFINITION,
            rf"\pi(\zeta, z) = \rho(\zeta) - z \sigma(\zeta) = {polynomial}",
            reason="the scheme on x' = lambda x with z = h lambda; R stands for its roots below",
            name="scheme.stability_polynomial",
        )
    if function is None:
        return
    matrix = isinstance(function, ImmutableMatrix)
    author.relation(
        "propagation matrix of the oscillator" if matrix else "stability function",
        Kind.IDENTITY,
        rf"M(z) = {latex(function)}" if matrix else rf"R(z) = {_function_latex(function)}",
        reason="x' = omega y, y' = - omega x, z = h omega"
        if matrix
        else "one step on x' = lambda x, z = h lambda: 1 + z b^T (I - zA)^(-1) 1",
        name="scheme.stability_function",
        check=ResidualCheck(
            partial(function_residual, scheme),
            tuple(function) if matrix else (function,),
            "stages solved at random points, 50 digits",
        ),
    )


def _function_latex(function: Expr) -> str:
    long = len(str(function)) > 400
    if long:
        return rounded(function, Symbol("z"))
    numerator, denominator = (ordered(part, Symbol("z"), ascending=True) for part in fraction(function))
    return numerator if denominator == "1" else rf"\frac{{{numerator}}}{{{denominator}}}"


def _write_verdict(
    author: Author, words: str, formula: str, verdict: Verdict, told: list[Step], check: Check, label: str = ""
) -> None:
    """A property that holds, does not, or under a condition; steps that were told before are left out."""
    value = verdict.value
    if value in (true, false):
        title = words if value == true else f"not {words}"
        shown = formula if value == true else rf"\text{{not: }} {formula}"
    else:
        title = f"{words} iff {condition_text(value)}"
        shown = rf"{formula} \iff {condition_latex(value)}"
    steps = [step for step in verdict.proof if step not in told]
    told += steps
    author.relation(
        title + label,
        Kind.INEQUALITY,
        shown,
        reason="decided exactly" if steps else "by the steps above",
        check=check,
        steps=cut(steps),
    )


def _write_sector(author: Author, analysis: Analysis, told: list[Step]) -> None:
    verdict = analysis.stability_verdict("alpha_stability")
    value = verdict.value
    if value is None or value == pi / 2:
        return
    moved = partial(_other_angle, symbolic=bool(value.free_symbols))
    check = SampledCheck(partial(_angle_disagreements, analysis.scheme), value, moved)
    steps = [step for step in verdict.proof if step not in told]
    degrees = rf" \approx {float(value * 180 / pi):.2f}^\circ" if not value.free_symbols and value != 0 else ""
    author.relation(
        ("A(α)-stability" if value != 0 else "stable in no sector") + analysis.reservation,
        Kind.INEQUALITY,
        rf"\alpha = {latex(analysis.published(value))}{degrees}",
        reason="the largest sector around the negative real axis in which every step is stable",
        check=check,
        steps=cut(steps),
    )


def _other_angle(angle: Expr, symbolic: bool) -> Expr:
    return pi / 2 - angle if symbolic else angle + MOVED


def _angle_disagreements(scheme: Scheme, angle: Expr) -> int:
    return sum(sector_disagreements(member, angle.subs(values)) for values, member in _members(scheme))


def _write_interval(author: Author, analysis: Analysis, name: str) -> None:
    title, axis, direction, place = AXES[name]
    verdict = analysis.stability_verdict(name)
    if verdict.value is None:
        return
    left, right = verdict.value
    end = right if place else -left
    shown = interval_latex(*analysis.published((left, right)))
    grows = "; at its ends a double root lies on the circle, errors grow linearly there"
    author.relation(
        title + analysis.reservation,
        Kind.INEQUALITY,
        rf"S \cap {'i' if place else ''}\mathbb{{R}} \supseteq {shown}",
        reason=f"the component of the stability region on the {axis} that contains 0"
        + (grows if DOUBLE_ROOT in verdict.proof else ""),
        check=SampledCheck(partial(_end_disagreements, analysis.scheme, direction), end, _moved_end),
        steps=cut([*equations_of_roots(end), *verdict.proof]),
    )


def _moved_end(end: Expr) -> Expr:
    if end.free_symbols:
        return end + MOVED
    return Rational(1) if end in (0, oo) else end * (1 + MOVED)


def _end_disagreements(scheme: Scheme, direction: complex, end: Expr) -> int:
    if not end.free_symbols:
        return interval_disagreements(scheme, direction, end)
    ends = [(member, end.subs(values)) for values, member in _members(scheme)]
    return sum(interval_disagreements(member, direction, there) for member, there in ends if there is not S.NaN)


def _members(scheme: Scheme) -> list[tuple[dict[Symbol, Rational], Scheme]]:
    """Members of a family, every symbol at another sample, or the scheme itself."""
    symbols = sorted({symbol for entry in entries(scheme) for symbol in entry.free_symbols}, key=str)
    if not symbols:
        return [({}, scheme)]
    turns = [SAMPLES[turn:] + SAMPLES[:turn] for turn in range(len(SAMPLES))]
    points = [{s: turns[3 * place % len(turns)][i] for place, s in enumerate(symbols)} for i in range(len(SAMPLES))]
    return [(point, with_values(scheme, point)) for point in points]


def _by_samples(scheme: Scheme, value: Any, disagreement: Callable[[Scheme, bool], int]) -> Check:
    """A verdict, or a condition on one symbol, against numbers."""
    return SampledCheck(partial(_sampled_disagreements, scheme, disagreement), value, _turned)


def _sampled_disagreements(scheme: Scheme, disagreement: Callable[[Scheme, bool], int], value: Any) -> int:
    return sum(disagreement(member, value.subs(values) == true) for values, member in _members(scheme))


def _turned(value: Any) -> Any:
    return Not(value)

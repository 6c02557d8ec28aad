r"""Exact reversal of a two-step scheme: the step as a product with the oldest state and a rest that does not read it.

In floating point the inverse divides by the weight of the oldest state and amplifies every rounding. On integers
$X = 2^F x$ the rest is the same number in both directions, and the product is a bijection once its remainder is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import mpmath
import sympy
from sympy import Expr, Integer, Rational

from derive.checks import IdentityCheck, ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.equations import systems
from derive.evaluator import evaluate
from derive.inversion import invert
from derive.lagrangian import StepNames
from derive.latex import latex
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.reversible_product import FACTOR, MULTIPLY, UNDO, excess_error, excess_growth, round_trip
from derive.sampling import Sampler
from derive.symbols import Quantity, Role

WEIGHT = Quantity("oldest_weight", (), Role.INTERMEDIATE, r"\kappa_n", "weight of the oldest state")
LARGEST_DENOMINATOR = 1024


@dataclass(frozen=True)
class SplitStep:
    """A step as weight * oldest + rest.

    Attributes:
        oldest: the state that the step forgets.
        newer: the states that it keeps.
        weight: a rational number, or linear in one scalar parameter.
        parameter: that parameter.
        parameter_at_weight: its value at which the weight is `WEIGHT`.
        rest: reads the newer states, computes the rest.
    """

    oldest: Quantity
    newer: tuple[Quantity, ...]
    weight: Expr
    parameter: Quantity | None
    parameter_at_weight: Expr
    rest: Program


def split_off_oldest(recurrence: Recurrence) -> SplitStep | None:
    """The split of a step with two past values of one unknown; None where reversal in fixed point does not serve it."""
    if len(recurrence.old) != 2 or not recurrence.starts or systems(recurrence.step) or invert(recurrence) is None:
        return None
    after, (newer, oldest) = recurrence.new[0], recurrence.old
    value = recurrence.step.value(after)
    weight = sympy.diff(value, oldest)
    free = sorted(weight.free_symbols, key=str)
    if len(free) > 1 or not (_is_scalar_parameter(free[0]) if free else _is_fraction(weight)):
        return None
    parameter = free[0] if free else None
    slope = sympy.diff(weight, parameter) if parameter is not None else Integer(1)
    if not slope.is_number:
        return None
    at_weight = (WEIGHT - weight.xreplace({parameter: Integer(0)})) / slope if parameter is not None else WEIGHT
    rest = oldest.renamed("rest_of_step", "g_n", Role.INTERMEDIATE, "rest of the step")
    line = Assignment(rest, value.xreplace({oldest: Integer(0)}), f"the step without its term in {oldest.name}")
    others = tuple(one for one in recurrence.step.assignments if one.target != after)
    program = Program(recurrence.step.inputs, (*others, line), (rest,)).needed_for((rest,))
    return SplitStep(oldest, (newer,), weight, parameter, at_weight, program)


def _is_scalar_parameter(symbol: Expr) -> bool:
    roles = (Role.PARAMETER, Role.LAYER_PARAMETER)
    return isinstance(symbol, Quantity) and symbol.role in roles and not symbol.shape


def _is_fraction(weight: Expr) -> bool:
    return weight.is_Rational and 0 < abs(weight) <= 1 and weight.q <= LARGEST_DENOMINATOR


def write_exact_reversal(author: Author, recurrence: Recurrence, names: StepNames) -> SplitStep | None:
    """Section on the reversal in fixed point, where the step allows it."""
    split = split_off_oldest(recurrence)
    if split is None:
        return None
    _write_split(author, recurrence, split, names)
    _write_integers(author, recurrence, split)
    _write_product(author)
    author.close(
        "Exact reversal in fixed point",
        "Backwards the weight of the oldest state is divided by, and what the step has rounded away is lost. On "
        "integers the rest of the step is the same in both directions, and what the product rounds away can be kept.",
    )
    return split


def _write_split(author: Author, recurrence: Recurrence, split: SplitStep, names: StepNames) -> None:
    step = recurrence.step
    line = Assignment(WEIGHT, split.weight, f"the step depends on {split.oldest.name} by this factor alone")
    weight_check = IdentityCheck(partial(_slope, recurrence, split), split.weight, step.inputs, step.networks())
    author.assignment(line, names("exact", WEIGHT), weight_check)
    *given, rest = split.rest.assignments
    before = Program(step.inputs, tuple(given), ())
    route = partial(_without_oldest, recurrence, split)
    check = IdentityCheck(route, rest.value, step.inputs, step.networks(), before)
    author.assignment(rest, names("exact", rest.target), check)
    if split.parameter is not None:
        found = Assignment(split.parameter, split.parameter_at_weight)
        author.relation(
            "rounded weight",
            Kind.DEFINITION,
            rf"{WEIGHT.latex} \mapsto \frac{{p_n}}{{q}},\quad p_n = \operatorname{{round}}(q\,{WEIGHT.latex}) \ne 0,"
            rf"\quad {split.parameter.latex} = {latex(found.value)}",
            text=f"{WEIGHT} -> p/q, p = round(q*{WEIGHT}) != 0, {split.parameter} = {found.value}",
            reason="the same numbers in both sweeps; gradients pass straight through the rounding",
            name=names("exact", split.parameter),
        )


def _slope(recurrence: Recurrence, split: SplitStep, values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
    """Difference quotient of the step in its oldest state (exact: the step is linear in it)."""
    moved = {**values, split.oldest: values[split.oldest] + mpmath.mpf(1)}
    after = recurrence.new[0]
    one, other = (evaluate(recurrence.step, given, sampler.networks)[after] for given in (moved, values))
    return one - other


def _without_oldest(
    recurrence: Recurrence, split: SplitStep, values: dict[Quantity, Numeric], sampler: Sampler
) -> Numeric:
    given = {q: 0 * values[q] if q == split.oldest else values[q] for q in recurrence.step.inputs}
    return evaluate(recurrence.step, given, sampler.networks)[recurrence.new[0]]


def _write_integers(author: Author, recurrence: Recurrence, split: SplitStep) -> None:
    rest = split.rest.outputs[0]
    after, (newer, oldest) = recurrence.new[0], recurrence.old
    capital = {q: q.latex.replace("x", "X", 1) if q.latex.startswith("x") else rf"\hat{{{q.latex}}}" for q in
               (after, newer, oldest)}  # fmt: skip
    author.relation(
        "step in fixed point",
        Kind.DEFINITION,
        rf"{capital[after]} = M_n\left({capital[oldest]}\right) + \operatorname{{round}}\left(2^F"
        rf" {rest.latex}\left(2^{{-F}} {capital[newer]}\right)\right), \qquad {capital[newer]} = 2^F {newer.latex}",
        text=f"X_next = M(X_prev) + round(2^F {rest}(2^-F X)),  X = 2^F {newer}",
        reason=f"backwards {newer.name} is known, so that the rest is evaluated at the very same number",
        name="exact.step",
    )


def _write_product(author: Author) -> None:
    author.relation(
        "product with p/q that keeps its remainder",
        Kind.DEFINITION,
        _lines_latex(MULTIPLY),
        text=_lines_text(MULTIPLY),
        reason="the remainder of the division by q enters a buffer I as a digit of base q; a digit of base |p| leaves "
        "it and fills the product up",
        name="exact.product",
    )
    author.relation(
        "the product undone",
        Kind.IDENTITY,
        _lines_latex(UNDO),
        text=_lines_text(UNDO),
        reason="two divisions with remainder, D = u q + r and I q + r = I' |p| + s, and each can be read from either "
        "side: (D, I) and (M(D), I') determine one another",
        name="exact.undone",
        check=ResidualCheck(round_trip, tuple(line.value for line in UNDO), "random integers, exact arithmetic"),
    )
    author.relation(
        "error of the product",
        Kind.INEQUALITY,
        rf"\left|M(D) - \tfrac{{p}}{{q}} D\right| < {FACTOR.latex}",
        text=f"|M(D) - (p/q) D| < {FACTOR.latex}",
        reason="M(D) - (p/q) D = sgn(p) (s - |p| r/q) with 0 <= s < |p| and 0 <= r < q; one unit is 2^-F",
        name="exact.error",
        check=SampledCheck(excess_error, Integer(1), lambda scale: scale / 2),
    )
    author.relation(
        "what the buffer holds: log2(q/|p|) bits per component and step",
        Kind.INEQUALITY,
        r"\log_2 I_N \le N \log_2 \frac{q}{|p|} + \log_2 \frac{q-1}{q-|p|} \qquad (|p| < q)",
        text="log2(I_N) <= N log2(q/|p|) + log2((q - 1)/(q - |p|)) for |p| < q",
        reason="I' + c <= (I + c) q/|p| with c = (q - 1)/(q - |p|), from I_0 = 0; nothing is kept where |p| = q",
        name="exact.bits",
        check=SampledCheck(excess_growth, Integer(1), lambda scale: scale * Rational(9, 10)),
    )


def _lines_latex(lines: tuple[Assignment, ...]) -> str:
    return r",\quad ".join(f"{line.target.latex} = {latex(line.value)}" for line in lines)


def _lines_text(lines: tuple[Assignment, ...]) -> str:
    return ", ".join(f"{line.target} = {line.value}" for line in lines)

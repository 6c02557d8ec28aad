"""Whether a table is one: sizes, row sums, sums of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sympy import Expr, I, S, im

from derive.schemes.findings import Finding, advice, error, exact_sum, shown, to_digits, vanishes

if TYPE_CHECKING:
    from derive.schemes.additive import AdditiveTableau
    from derive.schemes.multistep import LinearMultistep
    from derive.schemes.runge_kutta import ButcherTableau
    from derive.schemes.splitting import Splitting


VISIBLY = 1e-20


def tableau_findings(tableau: ButcherTableau) -> Iterator[Finding]:
    """Of a Butcher tableau: shape, c against the row sums of A, sums of b and b_error, dense output at the end."""
    rows = {f"row {i + 1} of A": row for i, row in enumerate(tableau.A)} | {"b": tableau.b, "c": tableau.c}
    rows |= {} if tableau.b_error is None else {"b_error": tableau.b_error}
    rows |= {f"row {i + 1} of dense": row for i, row in enumerate(tableau.dense or ())}
    rows |= {f"row {i + 1} of dense_stages": row for i, row in enumerate(tableau.dense_stages)}
    wrong = [*_tableau_shape(tableau), *_not_real(rows)]
    yield from wrong
    if wrong:
        return
    digits = tableau.digits
    for place, row in enumerate(tableau.A):
        total = exact_sum(row)
        if not vanishes(total - tableau.c[place], digits):
            found, node = shown(total, digits), tableau.c[place]
            text = f"row {place + 1} of A sums to {found}, c_{place + 1} is {node}{to_digits(digits)}"
            text += advice(digits, (*row, node))
            yield error(f"row {place + 1} of A", f"sum {found}", f"c_{place + 1} = {node}", text)
    yield from _sum_to_one("b", tableau.b, digits)
    if tableau.b_error is not None:
        yield from _sum_to_one("b_error", tableau.b_error, digits)
    for place, row in enumerate(tableau.dense or ()):
        total, weight = exact_sum(row), tableau.b[place] if place < tableau.stages else S.Zero
        if not vanishes(total - weight, digits):
            found = shown(total, digits)
            wanted = shown(weight, digits)
            text = (
                f"row {place + 1} of dense sums to {found} at theta = 1, b_{place + 1} is {wanted}{to_digits(digits)}"
            )
            yield error(f"row {place + 1} of dense", f"sum {found}", f"b_{place + 1} = {wanted}", text)


def additive_findings(scheme: AdditiveTableau) -> Iterator[Finding]:
    """Of an additive tableau: how many parts, and whether they have as many stages."""
    if len(scheme.parts) < 2:
        text = f"{len(scheme.parts)} part(s); give two tableaus or more, one for each part"
        yield error("parts", len(scheme.parts), "2 or more", text)
    stages = [part.stages for part in scheme.parts]
    if len(set(stages)) > 1:
        yield error("parts", stages, "one number", f"the parts have {stages} stages; all need the same number")


def multistep_findings(scheme: LinearMultistep) -> Iterator[Finding]:
    """Of a multistep scheme: as many betas as there must be, not all of them 0, alphas that sum to 1."""
    needed = len(scheme.alpha) + 1
    if len(scheme.beta) != needed:
        text = f"{needed - 1} alphas need {needed} betas (beta_{{-1}} first), {len(scheme.beta)} given"
        yield error("beta", f"{len(scheme.beta)} entries", f"{needed} entries", text)
        return
    wrong = list(_not_real({"alpha": scheme.alpha, "beta": scheme.beta}))
    yield from wrong
    if wrong:
        return
    total = exact_sum(scheme.alpha)
    if not vanishes(total - 1):
        found = shown(total)
        yield error("alpha", f"sum {found}", "sum 1", f"alpha sums to {found}, not 1: constants would not be kept")
    if all(map(vanishes, scheme.beta)):
        text = "all betas are 0: the field would never be evaluated; give one that is not, as in beta=(0, 1)"
        yield error("beta", "sigma = 0", "sigma != 0", text)


def splitting_findings(scheme: Splitting) -> Iterator[Finding]:
    """Of a splitting: parts numbered 0, 1, ..., fractions of each that sum to 1."""
    used = sorted({part for part, _ in scheme.stages})
    if len(used) < 2 or used != list(range(len(used))):
        text = f"stages of the parts {used}; number two parts or more 0, 1, ..."
        yield error("stages", f"parts {used}", "parts 0, 1, ...", text)
        return
    for part in used:
        total = exact_sum(fraction for owner, fraction in scheme.stages if owner == part)
        if not vanishes(total - 1):
            found = shown(total)
            text = f"the fractions of part {part} sum to {found}, not 1"
            yield error(f"part {part}", f"sum {found}", "sum 1", text)


def _not_real(rows: Mapping[str, Sequence[Expr]]) -> Iterator[Finding]:
    """Entries that are no real numbers: NaN, infinite or complex."""
    for row, entries in rows.items():
        for place, entry in enumerate(entries, 1):
            if entry.has(S.NaN, S.Infinity, S.NegativeInfinity, S.ComplexInfinity):
                text = f"{row} holds {entry} at place {place}; entries are finite"
                yield error(row, entry, "a finite entry", text)
            elif entry.has(I) and (entry.free_symbols or abs(im(entry).evalf(30)) > VISIBLY):
                text = f"{row} holds {entry} at place {place}, which is complex; entries are real"
                yield error(row, entry, "a real entry", text)


def _tableau_shape(tableau: ButcherTableau) -> Iterator[Finding]:
    stages = len(tableau.b)
    widths = [len(row) for row in tableau.A]
    if len(tableau.A) != stages or len(tableau.c) != stages or any(width != stages for width in widths):
        odd = next((f"row {i + 1} of A" for i, width in enumerate(widths) if width != stages), "A")
        row = odd if len(tableau.A) == stages and len(tableau.c) == stages else "A, b, c"
        found = f"A of {len(widths)} rows with {', '.join(map(str, widths))} entries, c of {len(tableau.c)}"
        text = f"b has {stages} stages; A must be {stages} x {stages} and c have {stages} entries; found {found}"
        yield error(row, found, f"{stages} x {stages}", text)
    if tableau.b_error is not None and len(tableau.b_error) != stages:
        entries = len(tableau.b_error)
        yield error("b_error", entries, stages, f"b_error has {entries} entries, b has {stages}")
    yield from _dense_shape(tableau)


def _dense_shape(tableau: ButcherTableau) -> Iterator[Finding]:
    """One row of dense, and one column of dense_stages, for each stage of the step and each of dense_stages."""
    if tableau.dense is None:
        if tableau.dense_stages:
            yield error(
                "dense_stages",
                f"{len(tableau.dense_stages)} rows",
                "dense",
                "dense_stages without dense: give both or none",
            )
        return
    stages, extra = tableau.stages, len(tableau.dense_stages)
    counted = f"b has {stages}" + (f" and dense_stages {extra} more" if extra else "")
    if len(tableau.dense) != stages + extra:
        found = len(tableau.dense)
        yield error("dense", found, stages + extra, f"dense has {found} rows, {counted}")
    for place, row in enumerate(tableau.dense_stages):
        if len(row) != stages + extra:
            text = f"row {place + 1} of dense_stages has {len(row)} entries; {counted}"
            yield error(f"row {place + 1} of dense_stages", len(row), stages + extra, text)


def _sum_to_one(name: str, weights: Sequence[Any], digits: int | None) -> Iterator[Finding]:
    total = exact_sum(weights)
    if not vanishes(total - 1, digits):
        found = shown(total, digits)
        yield error(
            name, f"sum {found}", "sum 1", f"{name} sums to {found}, not 1{to_digits(digits)}{advice(digits, weights)}"
        )

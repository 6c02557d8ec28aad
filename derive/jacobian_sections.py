"""Sections on the Jacobian of a cell's step in its state: what gradients through time are multiplied by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import mpmath
import numpy as np

from derive.checks import DIGITS, IDENTITY_TOLERANCE, NUDGE, IdentityCheck, relative_difference
from derive.derivation import Derivation, Kind, Outcome, Relation
from derive.errors import UnsupportedError
from derive.evaluator import evaluate
from derive.explanation import recurrences
from derive.lagrangian import StepNames, merged
from derive.latex import aligned
from derive.linearization import has_jumps
from derive.numbering import Author
from derive.operators import Numeric
from derive.past_values import Lag, Lags, past, told_lags, with_lags
from derive.program import Assignment, Program
from derive.recurrence import Recurrence
from derive.sampling import Sampler
from derive.state_jacobian import Blocks, read_later, state_jacobian
from derive.symbols import Quantity
from derive.systems import Spec

EXAMPLE = 2  # steps, of a lag that is an argument of the module and 1 unless told
TITLE = "The Jacobian of the step in its state"
CAROUSEL = "a carousel: no matrix on this way from step to step, and over the steps diagonals multiply"


def with_state_jacobians(spec: Spec, derivation: Derivation) -> Derivation:
    """A derivation with a section on the state Jacobian of each cell whose linearization is read as matrices."""
    author = Author(list(derivation.sections), numbers=dict(derivation.numbers))
    results, contexts = dict(derivation.results), dict(derivation.contexts)
    for option, cell in recurrences(spec).items():
        if cell.in_depth:
            continue
        names = StepNames(str(option))
        told = {lag: max(EXAMPLE, lag.default) if isinstance(lag, Lag) else lag.default for lag in told_lags(cell.past)}
        known = replace(cell, step=with_lags(cell.step, told)) if told else cell
        try:
            blocks = state_jacobian(known)
        except UnsupportedError:
            continue
        _write(author, known, blocks, names, _told_text(told))
        results |= {names.joined(line.target.name): line.value for line in blocks.lines}
        if known is cell:
            contexts[str(option)] = merged(contexts[str(option)], blocks.lines)
    sections = tuple(author.sections)
    return replace(derivation, sections=sections, numbers=author.numbers, results=results, contexts=contexts)


def _told_text(told: Mapping[Lag | Lags, int | tuple[int, ...]]) -> str:
    values = [f"{lag.name} = {str(steps).strip('(,)')}" for lag, steps in told.items()]
    return f" Here with {' and '.join(values)}." if values else ""


def _write(author: Author, cell: Recurrence, blocks: Blocks, names: StepNames, told: str) -> None:
    known = merged(cell.step, blocks.lines)
    about = {name: pair for pair, name in blocks.names.items()}
    for line in blocks.lines:
        check = quotient_check(cell.step, about[line.target], line, known)
        carried = line.target in blocks.diagonal and cell.new.index(about[line.target][0]) == cell.old.index(
            about[line.target][1]
        )
        shown = replace(line, reason=f"{line.reason}; {CAROUSEL}") if carried else line
        author.assignment(shown, names("jacobian", line.target), check)
    _write_kept_values(author, cell)
    _write_product(author, cell, blocks, names)
    lead = "A small change of the state before a step, carried to the state after it, in diagonal matrices and weights."
    author.close(f"{TITLE}{names.title}", lead + told)


def kept_values(cell: Recurrence) -> list[Quantity]:
    """All values that the state of a cell is: of each old state those that are still to be read, newest first."""
    read = {(one.source, one.lag): one for one in read_later(cell)}
    depth = {q: max([1, *(lag for source, lag in read if source == q and isinstance(lag, int))]) for q in cell.old}
    return [read.get((q, steps), past(q, steps)) for q in cell.old for steps in range(1, depth[q] + 1)]


def companion(cell: Recurrence, blocks: Blocks) -> list[list[tuple[str, str]]]:
    """LaTeX and plain text of each block of the matrix that carries all kept values a step on: older ones move up."""
    kept, rows = kept_values(cell), []
    for place, value in enumerate(kept):
        new = cell.new[cell.old.index(value)] if value in cell.old else None
        found = [blocks.names.get((new, column)) if new else None for column in kept]
        moved = [new is None and column == kept[place - 1] for column in kept]
        entries = zip(found, moved, strict=True)
        rows.append([(q.latex, q.name) if q else ("I", "I") if up else ("0", "0") for q, up in entries])
    return rows


def _write_kept_values(author: Author, cell: Recurrence) -> None:
    """What the state is where a step reads older values of its states; the same for all variants."""
    if not read_later(cell) or "jacobian.state" in author.numbers:
        return
    kept = kept_values(cell)
    author.relation(
        "all that is kept between two steps",
        Kind.DEFINITION,
        rf"z = \left({', '.join(q.latex for q in kept)}\right)",
        text=f"z = ({', '.join(q.name for q in kept)})",
        reason="a derivative in the last value alone would leave out what comes back later",
        name="jacobian.state",
    )


def _write_product(author: Author, cell: Recurrence, blocks: Blocks, names: StepNames) -> None:
    """The blocks put together; variants whose blocks stand in the same places share it."""
    rows = companion(cell, blocks)
    body = r" \\ ".join(" & ".join(latex for latex, _ in row) for row in rows)
    matrix = rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"
    plain = "; ".join(", ".join(text for _, text in row) for row in rows)
    flat = "; jumps count as flat, as they are almost everywhere" if has_jumps(cell.step) else ""
    relation = Relation(
        "",
        "Jacobian over several steps",
        Kind.IDENTITY,
        aligned([rf"J_t &= {matrix}", r"\frac{\partial z_T}{\partial z_k} &= J_T\, J_{T-1} \cdots J_{k+1}"]),
        f"J_t = [{plain}];  d state_T / d state_k = J_T J_(T-1) ... J_(k+1)",
        f"chain rule over the steps; gradients of the state are multiplied by the transposed product{flat}",
        names.joined("jacobian", "product"),
        check=AssembledCheck(cell, blocks),
    )
    written = {(one.text, one.reason): one.number for section in author.sections for one in section.relations}
    if (relation.text, relation.reason) in written:
        author.numbers[relation.name] = written[relation.text, relation.reason]
    else:
        author.append(relation)


@dataclass(frozen=True)
class AssembledCheck:
    """The blocks of a Jacobian, zeros included, against the central difference of the step along a random change.

    Attributes:
        changed: which of the blocks, row by row, is a thousandth larger, or a thousandth where it is zero.
    """

    cell: Recurrence
    blocks: Blocks
    changed: int | None = None

    def run(self) -> Outcome:
        """Move all states before the step at once, and compare all states after it."""
        cell, step = self.cell, self.cell.step
        with mpmath.workdps(DIGITS):
            sampler, nudge = Sampler(step.inputs), mpmath.mpf(NUDGE)
            values = sampler.values()
            known = {**values, **evaluate(merged(step, self.blocks.lines), values, None)}
            moves = {column: sampler.value(column) for column in self.blocks.columns}
            nudged = [{**values, **{q: values[q] + way * nudge * move for q, move in moves.items()}} for way in (1, -1)]
            ahead, behind = (np.concatenate([_value(step, at, new) for new in cell.new]) for at in nudged)
            found = np.concatenate([self._row(place, known, moves) for place in range(len(cell.new))])
            measured = relative_difference(found, (ahead - behind) / (2 * nudge))
            return Outcome(measured, IDENTITY_TOLERANCE, f"a random point and direction, {DIGITS} digits")

    def _row(self, place: int, known: Mapping[Quantity, Numeric], moves: Mapping[Quantity, Numeric]) -> Numeric:
        new, found = self.cell.new[place], 0 * known[self.cell.new[place]]
        for column, (old, move) in enumerate(moves.items()):
            name = self.blocks.names.get((new, old))
            block = np.zeros((len(found), len(move)), dtype=int) if name is None else known[name]
            if self.changed == place * len(moves) + column:
                block = block + mpmath.mpf(1) / 1000 if name is None else block * (1 + mpmath.mpf(1) / 1000)
            found = found + (block * move[None, :]).sum(axis=1)
        return found

    @property
    def terms(self) -> int:
        """Blocks of the matrix, zeros included."""
        return len(self.cell.new) * len(self.blocks.columns)

    def perturbed(self, term: int = 0) -> AssembledCheck:
        """With one of the blocks changed."""
        return replace(self, changed=term)


def quotient_check(step: Program, about: tuple[Quantity, Quantity], line: Assignment, known: Program) -> IdentityCheck:
    """A block against central differences of the step, one column for each component of the old state."""
    new, old = about

    def columns(values: Mapping[Quantity, Numeric], _: Sampler) -> Numeric:
        nudge = mpmath.mpf(NUDGE)
        found = []
        for unit in np.eye(len(values[old]), dtype=int):
            ahead, behind = (_value(step, {**values, old: values[old] + sign * nudge * unit}, new) for sign in (1, -1))
            found.append((ahead - behind) / (2 * nudge))
        return np.stack(found, axis=1)

    return IdentityCheck(columns, line.value, step.inputs, given=known)


def _value(step: Program, values: Mapping[Quantity, Numeric], new: Quantity) -> Numeric:
    return values[new] if new in step.inputs else evaluate(step, {q: values[q] for q in step.inputs}, None)[new]

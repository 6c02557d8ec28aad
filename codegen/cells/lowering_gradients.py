"""The gradients of the input and the parameters: one product over all steps for each group of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sympy import Expr

from codegen.cells.linear_forms import Back
from codegen.cells.lowering import CellText, commented
from codegen.cells.lowering_past import many
from codegen.cells.plan_operands import Layout, Operand
from codegen.printer import TorchPrinter
from derive.symbols import Quantity


@dataclass(frozen=True)
class _Term:
    """Terms of one kind of the gradients of neighbouring parameters."""

    parameters: tuple[Quantity, ...]
    lines: tuple[Quantity, ...]
    bars: tuple[Quantity, ...]
    rows: tuple[int, ...]
    coefficient: Expr


def gradient_lines(cell: CellText) -> list[str]:
    """Statements that add the gradients to their sums, each where it is wanted."""
    flat = [(cell.local("bar_a", block), cell.local("bar_a_rows", block)) for block in cell.blocks]
    lines = [*(f"{rows} = {name}.flatten(0, 1)" for name, rows in flat), *_inputs(cell)]
    terms = list(_terms(cell))
    for operand in cell.layout.operands:
        own = [term for term in terms if term.parameters[0] in operand.rows]
        if own:
            lines.append(f"if bar_{operand.name} is not None:")
            for term in own:
                written = _tapped(cell, term) if _of_several(term) else [_statement(cell, operand, term)]
                lines += [f"    {line}" for line in commented(written, cell.comment([*term.lines, "sums"]))]
    return lines


def _of_several(term: _Term) -> bool:
    """Whether a term is of matrices for several lags."""
    return isinstance(term.coefficient, Quantity) and many(term.coefficient)


def _tapped(cell: CellText, term: _Term) -> list[str]:
    """The gradients of the matrices for several lags, one after the other."""
    target, names, (matrix,) = cell.layout.flat(term.parameters, "bar_"), cell.names, term.parameters
    one, value = names(f"bar_{matrix.name}_k", ("bar", matrix)), names(f"{term.coefficient}_k", term.coefficient)
    return [
        f"for {one}, {value} in zip({target}, {term.coefficient}, strict=True):",
        f"    add_product({one}, {_flat(cell, term)}.t(), {value}.flatten(0, 1))",
    ]


def _inputs(cell: CellText) -> list[str]:
    """The cotangents of the inputs, where they are wanted."""
    adjoint, lines = cell.plan.adjoint, list[str]()
    if cell.past_input:
        lines += _past_input(cell, f"bar_{cell.x}", cell.comment(adjoint.input_bars))
    else:
        for given in cell.program.inputs:
            written = _input(cell, f"bar_{given.name}", adjoint.input_products[given])
            lines += commented(written, cell.comment([adjoint.bars[given]]))
    lines = [*cell.split_inputs(lines, "bar_"), *lines]
    return [f"if bar_{cell.x} is not None:", *(f"    {line}" for line in lines)]


def _input(cell: CellText, bar: str, products: Sequence[Back]) -> list[str]:
    """The cotangent of one input."""
    lines = []
    for place, product in enumerate(products):
        rows, weight = _rows(cell, product.rows), cell.layout.flat(product.matrices)
        call = f"set_product({bar}.flatten(0, 1), {rows}, {weight})"
        lines.append(call if not place else f"add_product({bar}.flatten(0, 1), {rows}, {weight})")
    return lines


def _past_input(cell: CellText, bar: str, comment: str) -> list[str]:
    """Every step sends cotangents to its input and to inputs before it, those before the first step included."""
    past, (kept,), names = cell.past[cell.program.input], cell.past_input, cell.names
    every, steps = names(f"bar_{past.all}"), names("steps")
    bar_kept = names(f"bar_{kept}")
    lines = [
        f"{every} = {cell.x}.new_zeros({past.depth} + {steps}, *{cell.x}.shape[1:])",
        f"{every}[{steps}:] += {past.kept(bar_kept)}",
    ]
    for quantity, products in cell.plan.adjoint.input_products.items():
        for product in products:
            rows, weight = _rows(cell, product.rows), cell.layout.flat(product.matrices)
            if many(quantity):
                one, value = (
                    names(f"{product.matrices[0].name}_k", product.matrices[0]),
                    names(f"bar_{quantity.name}_k"),
                )
                lines += [
                    f"for {one}, {value} in zip({weight}, {past.cut(quantity, every)}, strict=True):",
                    f"    add_product({value}.flatten(0, 1), {rows}, {one}){comment}",
                ]
            else:
                cut = past.cut(quantity, every) if quantity in past.values else f"{every}[{past.depth}:]"
                lines.append(f"add_product({cut}.flatten(0, 1), {rows}, {weight}){comment}")
    return [
        *lines,
        f"{bar}.copy_({every}[{past.depth}:])",
        f"{bar_kept} = {past.handed_back(f'{every}[:{past.depth}]')}",
    ]


def _rows(cell: CellText, rows: Sequence[int]) -> str:
    """Cotangents of neighbouring rows at all steps, (T B, n H)."""
    block = cell.block(rows)
    name = cell.local("bar_a_rows", block)
    return name if block.whole(rows) else f"{name}[:, {block.columns(rows)}]"


def _terms(cell: CellText) -> Iterator[_Term]:
    """All terms; those of neighbouring rows of the buffer and of a stack as one."""
    rows = {bar: row for row, bar in enumerate(cell.plan.adjoint.rows)}
    terms: list[_Term] = []
    order = {q: place for place, q in enumerate(cell.program.parameters)}
    for gradient in sorted(cell.plan.adjoint.gradients, key=lambda g: (rows.get(g.bar, len(rows)), order[g.parameter])):
        row = (rows[gradient.bar],) if gradient.bar in rows else ()
        term = _Term((gradient.parameter,), (gradient.line,), (gradient.bar,), row, gradient.coefficient)
        for place, before in enumerate(terms):
            if _joins(before, term, cell.layout):
                terms[place] = _joint(before, term)
                break
        else:
            terms.append(term)
    yield from terms


def _joins(one: _Term, other: _Term, layout: Layout) -> bool:
    neighbours = bool(one.rows and other.rows) and one.rows[-1] + 1 == other.rows[0]
    simple = isinstance(one.coefficient, Quantity) or one.coefficient == 1
    return (
        neighbours
        and simple
        and one.coefficient == other.coefficient
        and layout.consecutive(one.parameters[-1], other.parameters[0])
    )


def _joint(one: _Term, other: _Term) -> _Term:
    return replace(
        one,
        parameters=one.parameters + other.parameters,
        lines=one.lines + other.lines,
        bars=one.bars + other.bars,
        rows=one.rows + other.rows,
    )


def _statement(cell: CellText, operand: Operand, term: _Term) -> str:
    dimensions = len(term.parameters[0].shape)
    number, rest = term.coefficient.as_coeff_Mul()
    if number != 1:
        return f"{_statement(cell, operand, replace(term, coefficient=rest))[:-1]}, alpha={TorchPrinter()(number)})"
    printed = TorchPrinter()(term.coefficient)
    if dimensions == 2:
        target = cell.layout.flat(term.parameters, "bar_")
        vector = printed if isinstance(term.coefficient, Quantity) else f"({printed})"
        return f"add_product({target}, {_flat(cell, term)}.t(), {vector}.flatten(0, 1))"
    if dimensions == 1 and term.coefficient == 1 and term.rows and not operand.separate:
        return f"{cell.layout.flat(term.parameters, 'bar_')}.add_({_rows(cell, term.rows)}.sum(0))"
    target = cell.layout.wide(term.parameters, "bar_") if dimensions else cell.layout.flat(term.parameters, "bar_")
    return f"{target}.add_({_summed(cell, term, printed)})"


def _summed(cell: CellText, term: _Term, printed: str) -> str:
    """The sum over steps and batch (and components, for a scalar) of coefficient * bar."""
    bar, axes = _paths(cell, term), "(0, 1)" if term.parameters[0].shape else ""
    if term.coefficient == 1:
        return f"{bar}.sum({axes})"
    if len(term.rows) > 1:
        return f"({bar} * {printed}.unsqueeze(2)).sum({axes})"
    factor = printed if isinstance(term.coefficient, Quantity) else f"({printed})"
    return f"({bar} * {factor}).sum({axes})"


def _paths(cell: CellText, term: _Term) -> str:
    """Cotangents at all steps, (T, B, n, H), or (T, B, H) for one."""
    if not term.rows:
        return cell.names(f"{term.bars[0].name}_path", term.bars[0])
    block = cell.block(term.rows)
    stack = cell.local("bar_stack", block)
    if len(term.rows) == 1:
        return f"{stack}[:, :, {block.place(term.rows[0])}]"
    return stack if block.whole(term.rows) else f"{stack}[:, :, {block.chosen(term.rows)}]"


def _flat(cell: CellText, term: _Term) -> str:
    return _rows(cell, term.rows) if term.rows else f"{_paths(cell, term)}.flatten(0, 1)"

"""What the input gives to the rows of a cell, for all steps at once."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.lowering import CellText, commented, words
from codegen.cells.lowering_blocks import Block
from codegen.cells.lowering_past import many
from codegen.cells.plan_forward import InputBlock, InputProduct


def past_input(cell: CellText, lines: Sequence[str], side_by_side: bool = False) -> list[str]:
    """Statements that put the kept inputs before those of all steps, and cut them to what each step reads.

    Args:
        cell: whose inputs.
        lines: what reads the cuts; others are left out.
        side_by_side: whether the cuts for several lags are one tensor, with features side by side.
    """
    if not cell.past_input:
        return []
    past, (kept,), used = cell.past[cell.program.input], cell.past_input, words(lines)
    texts = {q: past.cut(q, past.all) for q in past.values if q.name in used}
    cuts = [f"{q.name} = {f'torch.cat({t}, -1)' if side_by_side and many(q) else t}" for q, t in texts.items()]
    joined_up = f"{past.all} = torch.cat(({past.kept(kept)}, {cell.x}))"
    return [*past.measured(f"{kept}.shape[1]"), joined_up, *cuts]


def input_part(cell: CellText, buffer: Block, name: str, flat: bool = False) -> list[str]:
    """The part of a stacked buffer that does not depend on the recurrence, one block of rows after the other."""
    blocks = [block for block in cell.plan.forward.before if block.rows[0] in buffer.rows]
    view = "" if flat else f".view({cell.shape}, {buffer.width})"
    if len(blocks) == 1 and (plain := [p for p in blocks[0].products if not many(p.vector)]):
        (block,) = blocks
        rest = [p for p in block.products if p != plain[0]]
        comment = _block_comment(cell, block)
        target = name if flat else f"{name}.flatten(0, -2)"
        lines = [f"{name} = product({_factors(cell, block, plain[0])}){view}{comment}"]
        return lines + commented([line for p in rest for line in _added_input(cell, target, p)], comment)
    shape = f"{cell.names('steps')} * {cell.names('batch')}" if flat else cell.shape
    lines = [f"{name} = {cell.x}.new_empty({shape}, {buffer.width})"]
    for block in blocks:
        target = name if flat else f"{name}.flatten(0, 1)"
        lines += commented(_block(cell, buffer, block, target), _block_comment(cell, block))
    return lines


def _block_comment(cell: CellText, block: InputBlock) -> str:
    return cell.comment(cell.program.rows[row].target for row in block.rows)


def _block(cell: CellText, buffer: Block, block: InputBlock, name: str) -> list[str]:
    target = name if buffer.whole(block.rows) else f"{name}[:, {buffer.columns(block.rows)}]"
    first = next((p for p in block.products if not many(p.vector)), None)
    if first is None:
        biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
        lines = [f"{target}.copy_({biases})" if biases else f"{target}.zero_()"]
    else:
        lines = [f"set_product({target}, {_factors(cell, block, first)})"]
    return lines + [line for p in block.products if p != first for line in _added_input(cell, target, p)]


def _factors(cell: CellText, block: InputBlock, product: InputProduct) -> str:
    x, weight = f"{product.vector.name}.flatten(0, 1)", f"{cell.layout.flat(product.matrices)}.t()"
    biases = " + ".join(cell.layout.flat(bias) for bias in block.biases)
    return f"{x}, {weight}{', ' if biases else ''}{biases}"


def _added_input(cell: CellText, target: str, product: InputProduct) -> list[str]:
    """Statements that add a further product with inputs."""
    weight, name = cell.layout.flat(product.matrices), product.vector.name
    if not many(product.vector):
        return [f"add_product({target}, {name}.flatten(0, 1), {weight}.t())"]
    one = cell.names(f"{product.matrices[0].name}_k", product.matrices[0])
    value = cell.names(f"{name}_k", product.vector)
    return [
        f"for {one}, {value} in zip({weight}.mT, {name}, strict=True):",
        f"    add_product({target}, {value}.flatten(0, 1), {one})",
    ]

r"""Breaking long formulas over lines, so that none runs off the page.

Works on LaTeX text: a formula that is too wide is split at its relations, its sums, then at sums inside parentheses,
then at products, and set as `aligned`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from derive.formula_width import groups_end, joined, tokens, top_level, width

PAGE = 79.0  # in units of a letter's width: what fits beside the equation number
INDENT = r"\quad "
INDENT_WIDTH = 2.0
RELATIONS = frozenset(
    {"=", r"\ne", r"\neq", r"\le", r"\leq", r"\ge", r"\geq", "<", ">", r"\approx", r"\sim", r"\equiv", r"\to", r"\in"}
    | {r"\iff", r"\implies", r"\Rightarrow"}
)
SUMS = frozenset({"+", "-"})
GAPS = frozenset({r"\quad", r"\qquad"})
PRODUCTS = frozenset({r"\odot", r"\cdot", r"\,"})
OPENING, CLOSING = frozenset(("(", "[", r"\{", r"\langle")), frozenset((")", "]", r"\}", r"\rangle"))
DEEPEST = 4  # parentheses within parentheses that a break may fall into
ROW_END = r" \\ "


@dataclass(frozen=True)
class Spot:
    """A place where a line may end: before the token at `index`, the better the lower the penalty."""

    index: int
    penalty: int


def broken(latex: str, limit: float = PAGE) -> str:
    """The formula on as many lines as it takes to stay within `limit` letter widths."""
    rows = rows_of(latex.strip())
    if all(width(row) <= limit for row in rows):
        return latex.strip()
    lines = [line for row in rows for line in _break_row(row, limit)]
    if len(lines) == 1:  # there is no place to break it
        return latex.strip()
    return r"\begin{aligned}" + ROW_END.join(lines) + r"\end{aligned}"


def rows_of(latex: str) -> list[str]:
    """Rows of a formula that is one `aligned` (or the formula itself alone)."""
    parts = tokens(latex)
    if parts[:1] != [r"\begin{aligned}"] or parts[-1] != r"\end{aligned}" or groups_end(parts, 0) != len(parts):
        return [latex]
    rows: list[list[str]] = [[]]
    for index, depth in top_level(parts[1:-1]):
        token = parts[1 + index]
        if depth == 0 and token == r"\\":
            rows.append([])
        else:
            rows[-1].append(token)
    return [joined(row) for row in rows]


def _break_row(row: str, limit: float) -> list[str]:
    if width(row) <= limit:
        return [row]
    parts = tokens(row)
    marks = [index for index, depth in top_level(parts) if depth == 0 and parts[index] == "&"]
    if marks:
        left, right = (
            parts[: marks[0]],
            [token for index, token in enumerate(parts) if index > marks[0] and index not in marks],
        )
    else:
        at = next((spot.index for spot in _spots(parts) if spot.penalty == -1), 0)
        left, right = parts[:at], parts[at:]
    if width(joined(left)) > limit / 2:
        left, right = [], [*left, *right]
    lines = _fill(right, limit - width(joined(left)), -2)
    if len(lines) > 1:
        left, lines = _plain(left), [_plain(line) for line in lines]
    head, *rest = lines
    return [f"{joined(left)} & {joined(head)}", *(f"& {_indent(line)}{joined(line)}" for line in rest)]


def _indent(line: list[str]) -> str:
    return (
        "" if line and line[0] in RELATIONS | GAPS else INDENT + ("{} " if line and line[0] in SUMS | PRODUCTS else "")
    )


def _fill(parts: list[str], limit: float, level: int) -> list[list[str]]:
    """Greedy lines: pieces between the spots of this level, a piece that is too long broken at the next level."""
    lines: list[list[str]] = [[]]
    room = limit
    for piece in _pieces(parts, level):
        size = width(joined(piece))
        if size <= room - width(joined(lines[-1])):
            lines[-1] += piece
        elif size <= limit - INDENT_WIDTH or level > DEEPEST + 1:
            lines.append(list(piece))
        else:
            deeper = _fill(piece, limit - INDENT_WIDTH, level + 1)
            lines += deeper if lines[-1] else [lines.pop() + deeper[0], *deeper[1:]]
        room = limit - INDENT_WIDTH if len(lines) > 1 else limit
    return [line for line in lines if line]


def _pieces(parts: list[str], level: int) -> Iterator[list[str]]:
    start = 0
    for spot in _spots(parts):
        if spot.index > start and spot.penalty <= level:
            yield parts[start : spot.index]
            start = spot.index
    yield parts[start:]


def _spots(parts: list[str]) -> Iterator[Spot]:
    """Where a line may end: -2 at a gap, -1 before a relation, else the depth in parentheses, products last."""
    depth, previous = 0, ""
    for index, inside in top_level(parts):
        token = parts[index]
        if inside:
            previous = token
            continue
        if token in CLOSING:
            depth -= 1
        if token in GAPS and depth == 0 and previous not in GAPS:
            yield Spot(index, -2)
        elif token in RELATIONS and depth == 0:
            yield Spot(index, -1)
        elif token in SUMS and _binary(previous):
            yield Spot(index, min(depth, DEEPEST))
        elif token in PRODUCTS:
            yield Spot(index, DEEPEST + 1)
        if token in OPENING:
            depth += 1
        previous = token if token.strip() else previous


def _binary(previous: str) -> bool:
    """Whether a sign after this token joins two terms (and does not belong to one)."""
    return bool(previous) and previous not in RELATIONS | SUMS | OPENING | {
        ",",
        ";",
        "&",
        r"\left",
        "^",
        "_",
        r"\odot",
        r"\cdot",
    }


def _plain(parts: list[str]) -> list[str]:
    r"""Delimiters of a fixed size: `\left` and `\right` must meet on one line."""
    sized = {r"\left": r"\bigl", r"\right": r"\bigr"}
    found = []
    for index, token in enumerate(parts):
        invisible = token in sized and parts[index + 1 : index + 2] == ["."]
        follows_invisible = token == "." and index > 0 and parts[index - 1] in sized
        if not invisible and not follows_invisible:
            found.append(sized.get(token, token))
    return found

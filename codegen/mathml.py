r"""LaTeX formulas as MathML for browsers.

Rows of `aligned` are laid out here, since the converter would leave its `&` in the text; equation numbers belong to the
page around the formula and are taken off.
"""

from __future__ import annotations

import re
from html import escape

from latex2mathml.converter import convert

from derive.formula_width import joined, tokens, top_level
from derive.line_breaks import broken, rows_of

LINE = 68.0  # letter widths that fit the text column
TAG = re.compile(r"\\(?:tag\*?|label)\{[^{}]*\}|\\(?:notag|nonumber)\b")
LIMITS = re.compile(r"\\(lim|max|min|sup|inf)\s*_")
TALL = frozenset({r"\frac", r"\tfrac", r"\dfrac", r"\sum", r"\prod", r"\int", r"\sqrt"})
FIXED_SIZES = frozenset({r"\big", r"\bigl", r"\bigr", r"\Big", r"\Bigl", r"\Bigr"})
UPRIGHT = re.compile(r"\\mathrm\{([^{}\\]+)\}")
SLASH, TIGHT = "<mo>&#x0002F;</mo>", '<mo lspace="0" rspace="0"'
HEAD = re.compile(r"^<math[^>]*>|</math>$")


def block(latex: str) -> str:
    """A displayed formula, on as many lines as it needs."""
    rows = rows_of(broken(TAG.sub("", latex), LINE))
    if len(rows) == 1:
        return f'<math display="block">{_inner(rows[0])}</math>'
    lines = "".join(f"<mtr>{_cells(row)}</mtr>" for row in rows)
    return f'<math display="block"><mtable class="lines" displaystyle="true">{lines}</mtable></math>'


def inline(latex: str) -> str:
    """A formula in running text."""
    return f"<math>{_inner(TAG.sub('', latex))}</math>"


def _cells(row: str) -> str:
    """Cells between the signs of alignment; a row without any stands in the second column."""
    parts = tokens(row)
    cells: list[list[str]] = [[]]
    for index, depth in top_level(parts):
        if depth == 0 and parts[index] == "&":
            cells.append([])
        else:
            cells[-1].append(parts[index])
    if len(cells) == 1:
        cells.insert(0, [])
    return "".join(f"<mtd>{_inner(joined(cell))}</mtd>" for cell in cells)


def _inner(latex: str) -> str:
    if not latex.strip():
        return ""
    text = UPRIGHT.sub(r"\\text{\1}", _low_delimiters(latex)).replace(r"\!", "").replace("{aligned}", "{matrix}")
    text = text.replace(r"\iff", r"\;\Longleftrightarrow\;")
    text = LIMITS.sub(r"\\\1\\limits_", text)
    try:
        return HEAD.sub("", str(convert(text))).replace(SLASH, SLASH.replace("<mo", TIGHT))
    except Exception:  # the converter has no base class of errors; the formula is then shown as it is written
        return f"<mtext>{escape(latex)}</mtext>"


def _low_delimiters(latex: str) -> str:
    """Delimiters that grow only where what they enclose is tall: browsers set wide space around growing ones."""
    parts = tokens(latex)
    opened: list[int] = []
    dropped = {index for index, token in enumerate(parts) if token in FIXED_SIZES}
    for index, token in enumerate(parts):
        if token == r"\left":
            opened.append(index)
        elif token == r"\right" and opened:
            start = opened.pop()
            inside = parts[start:index]
            invisible = "." in (parts[start + 1 : start + 2] + parts[index + 1 : index + 2])
            if not invisible and not any(part in TALL or part.startswith(r"\begin{") for part in inside):
                dropped |= {start, index}
    return joined([token for index, token in enumerate(parts) if index not in dropped])

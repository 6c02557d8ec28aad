r"""LaTeX formulas in plain characters, for terminals: `\frac{1 - k}{2} h^{2}` becomes `(1 - k)/2 h²`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from derive.formula_width import groups_end, tokens, top_level
from derive.line_breaks import rows_of
from derive.prose import GREEK, MATHEMATICAL, looks_like_tex, pieces

ACCENTS = {
    r"\dot": "\u0307",
    r"\ddot": "\u0308",
    r"\bar": "\u0304",
    r"\overline": "\u0304",
    r"\hat": "\u0302",
    r"\tilde": "\u0303",
}
DROPPED = frozenset(
    r"""\left \right \bigl \bigr \Bigl \Bigr \big \Big \limits \nolimits \displaystyle \textstyle \! \mathrm
    \operatorname \mathbf \mathbb \mathcal \boldsymbol \hline""".split()
)
SIGNS = {
    r"\iff": " ⟺ ",
    r"\implies": " ⟹ ",
    r"\supseteq": " ⊇ ",
    r"\cap": " ∩ ",
    r"\circ": " ∘ ",
    r"\wedge": " and ",
    r"\vee": " or ",
    r"\neq": " ≠ ",
    r"\infty": "∞",
    r"\langle": "⟨",
    r"\rangle": "⟩",
    r"\dots": "…",
    r"\cdots": "…",
    r"\ell": "ℓ",
    r"\top": "ᵀ",
    r"\epsilon": "ε",
    r"\phi": "φ",
    r"\mid": " | ",
    r"\quad": "   ",
    r"\qquad": "   ",
    r"\,": " ",
    r"\;": " ",
    r"\:": " ",
    r"\ ": " ",
    r"\{": "{",
    r"\}": "}",
    r"\leq": " ≤ ",
    r"\geq": " ≥ ",
    "~": " ",
}
CELLS = {"&": ",", r"\\": ";"}
INFIX = frozenset("≤ ≥ ≠ ≈ → ↦ ∈ · ⊙ × ± ⇒".split())
ROOTS = {"": "√", "3": "∛", "4": "∜"}
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
COMMANDS = {command: sign for sign, command in (MATHEMATICAL | GREEK).items() if command.startswith("\\")}


def plain_formula(latex: str) -> str:
    """A formula in plain characters, one line per row."""
    rows = (_plain(_without_marks(tokens(row))).strip() for row in rows_of(latex.strip()))
    return "\n".join(re.sub(r"(?<=\S) {2}(?=\S)", " ", re.sub(r" {4,}", "   ", row)) for row in rows if row)


def plain_prose(text: str) -> str:
    """Running text without the dollar signs around its formulas, these in plain characters."""
    found = (plain_formula(piece) if formula and looks_like_tex(piece) else piece for piece, formula in pieces(text))
    return "".join(found)


def _without_marks(parts: list[str]) -> list[str]:
    """Without the signs of alignment."""
    return [parts[index] for index, depth in top_level(parts) if depth or parts[index] != "&"]


def _plain(parts: Sequence[str]) -> str:
    text, index = "", 0
    while index < len(parts):
        token, end = parts[index], groups_end(parts, index)
        if token in (r"\frac", r"\tfrac", r"\dfrac"):
            middle = groups_end(parts, end)
            end, upper, lower = groups_end(parts, middle), parts[index + 1 : middle], parts[middle:]
            text += f"{_factor(_plain(upper))}/{_factor(_plain(lower[: end - middle]))}"
        elif token == r"\text":
            end = groups_end(parts, end)
            text += "".join(parts[index + 2 : end - 1])
        elif token == r"\sqrt":
            under = parts.index("]", end) + 1 if parts[end] == "[" else end
            end, degree = groups_end(parts, under), "".join(parts[end + 1 : under - 1])
            text += f"{ROOTS.get(degree, f'{degree}√')}{_factor(_plain(parts[under:end]))}"
        elif token in ACCENTS:
            end = groups_end(parts, end)
            word = _plain(parts[index + 1 : end])
            text += word[:1] + ACCENTS[token] + word[1:]
        elif token in ("^", "_"):
            end = groups_end(parts, end)
            text += _script(token, _plain(parts[index + 1 : end]))
        elif token == "{":
            text += _plain(parts[index + 1 : end - 1])
        elif token.startswith(r"\begin{"):
            text += f"[{_plain([CELLS.get(part, part) for part in parts[index + 1 : end - 1]]).strip()}]"
        elif token in "+-" and (not text.strip() or text.rstrip()[-1] in "([{=<>,;/≈"):
            text += token
        else:
            text += _sign(token)
        index = end
    return text


def _sign(token: str) -> str:
    if token in DROPPED:
        return ""
    if token in SIGNS:
        return SIGNS[token]
    if token in "+-=<>":
        return f" {token} "
    if token in (",", ";"):
        return f"{token} "
    sign = COMMANDS.get(token, token.removeprefix("\\"))
    return f" {sign} " if sign in INFIX else sign


def _script(token: str, text: str) -> str:
    if token == "^" and text.isdigit():
        return text.translate(SUPERSCRIPTS)
    if token == "^" and text in ("ᵀ", "'", "′"):
        return text
    if token == "^" and text.strip() == "∘":
        return "°"
    return token + (text if re.fullmatch(r"\w+|\(.*\)", text) else f"({text.replace(' ', '')})")


def _factor(text: str) -> str:
    """In parentheses where it is not one factor."""
    return (
        text.strip() if re.fullmatch(r"∂?[\w'′\u0300-\u036f]+([_^]?\([^()]*\))?", text.strip()) else f"({text.strip()})"
    )

r"""Running text that may hold formulas between dollar signs: as plain text, and as LaTeX.

A dollar sign without a partner stands for itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

FORMULA = re.compile(r"\$([^$]+)\$")
SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\dots{}",
    "\u00a0": "~",
    "\u2009": r"\,",
    "ß": r"\ss{}",
}
MATHEMATICAL = {
    "−": "-",
    "·": r"\cdot",
    "×": r"\times",
    "⊙": r"\odot",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "±": r"\pm",
    "→": r"\to",
    "←": r"\gets",
    "↦": r"\mapsto",
    "⇒": r"\Rightarrow",
    "∈": r"\in",
    "∞": r"\infty",
    "∂": r"\partial",
    "∇": r"\nabla",
    "∫": r"\int",
    "∑": r"\sum",
    "∏": r"\prod",
    "√": r"\surd",
    "∀": r"\forall",
    "ᵀ": r"^{\top}",
    "′": "'",
    "ℝ": r"\mathbb{R}",
    "§": r"\S",
    "°": r"^{\circ}",
}
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        r"""\alpha \beta \gamma \delta \varepsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \pi \rho \sigma
        \tau \upsilon \varphi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega""".split(),
        strict=True,
    )
)


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """(piece, whether it is a formula) in order."""
    end = 0
    for match in FORMULA.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        yield match[1], True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def to_tex(text: str) -> str:
    """LaTeX of running text: special characters escaped, formulas kept."""
    return "".join(f"${piece}$" if formula else "".join(map(_tex_character, piece)) for piece, formula in pieces(text))


SHORT_WORDS = ("an", "by", "in", "no", "of")


def headline(title: str, name: str = "") -> str:
    """With a capital letter, unless the title is the name of a quantity or begins with one."""
    first = title.partition(" ")[0]
    short = len(first) < 3 and first not in SHORT_WORDS
    is_name = title == name or short or not first.replace("-", "").isalpha() or not first.islower()
    return title if is_name else title[:1].upper() + title[1:]


def looks_like_tex(text: str) -> bool:
    r"""Whether a string is a LaTeX formula and not plain text: it has a command, or a script in braces."""
    return bool(re.search(r"\\[A-Za-z,]|[_^]\{", text))


def _tex_character(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character
    command = MATHEMATICAL.get(character) or GREEK.get(character)
    if command:
        return f"${command}$"
    digit = unicodedata.normalize("NFKD", character)
    if digit.isdigit() and digit.isascii():
        sign = "^" if "SUPERSCRIPT" in unicodedata.name(character) else "_"
        return f"${{}}{sign}{{{digit}}}$"
    latin = unicodedata.name(character, "").startswith("LATIN")
    return character if latin and ord(character) < 0x180 else digit.encode("ascii", "ignore").decode() or "?"

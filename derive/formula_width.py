r"""How wide a LaTeX formula is, roughly, in units of a letter's width."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

TOKEN = re.compile(r"\\(?:begin|end)\{[a-z*]+\}(?:(?<=\{array\})\{[^}]*\})?|\\[A-Za-z]+\*?|\\.|\s+|.", re.DOTALL)
COMMAND_END = re.compile(r"\\[A-Za-z]+$")
NO_WIDTH = frozenset(
    r"""\left \right \bigl \bigr \Bigl \Bigr \big \Big \displaystyle \textstyle \limits \nolimits \mathrm \mathbf
    \mathbb \mathcal \boldsymbol \operatorname \text \bar \hat \tilde \dot \ddot \dddot \vec \overline \underline
    \widehat \widetilde \mathit \mathsf \! \mathbin \mathrel \mathop { } & ^ _""".split()
)
SPACES = {r"\,": 0.35, r"\:": 0.45, r"\;": 0.55, r"\ ": 0.6, r"\quad": 2.0, r"\qquad": 4.0}
WORDS = frozenset(
    r"\log \exp \sin \cos \tan \tanh \sinh \cosh \max \min \det \lim \ln \sup \inf \arg \dim \ker".split()
)
OPERATORS = frozenset(r"+ - = < > \le \leq \ge \geq \approx \sim \to \in \odot \cdot \times \equiv \mapsto \pm".split())
NARROW = frozenset("()[]|,;.:'!ijlt")
SCRIPT = 0.72
BIG = {r"\sum": 2.2, r"\prod": 2.0, r"\int": 1.6}


def tokens(latex: str) -> list[str]:
    r"""Commands, delimiters and characters; white space is dropped but for what keeps `\text` readable."""
    found: list[str] = []
    text_depth = 0
    for token in TOKEN.findall(latex):
        if found and token == "{" and found[-1] in (r"\text", r"\operatorname", r"\mathrm"):
            text_depth = 1
        elif text_depth:
            text_depth += (token == "{") - (token == "}")
        if token.strip() or text_depth:
            found.append(token)
    return found


def joined(parts: Sequence[str]) -> str:
    """LaTeX text of tokens; a command needs a space before a letter."""
    text = ""
    for token in parts:
        if token[:1].isalpha() and COMMAND_END.search(text):
            text += " "
        text += token
    return text.strip()


def top_level(parts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(index, depth in braces and environments) of each token; the delimiters themselves are inside."""
    depth = 0
    for index, token in enumerate(parts):
        opens = token == "{" or token.startswith(r"\begin{")
        closes = token == "}" or token.startswith(r"\end{")
        yield index, depth + opens
        depth += opens - closes


def groups_end(parts: Sequence[str], start: int) -> int:
    """Index after the group, environment or single token that begins at `start`."""
    depth = 0
    for index in range(start, len(parts)):
        token = parts[index]
        depth += (token == "{" or token.startswith(r"\begin{")) - (token == "}" or token.startswith(r"\end{"))
        if depth <= 0:
            return index + 1
    return len(parts)


def width(latex: str) -> float:
    """Width of the widest row."""
    return _width(tokens(latex))


def _width(parts: Sequence[str]) -> float:
    total, index, script = 0.0, 0, 0.0
    while index < len(parts):
        token = parts[index]
        end = groups_end(parts, index)
        if token in ("^", "_"):
            end = groups_end(parts, index + 1)
            wide = SCRIPT * _width(parts[index + 1 : end])
            total += max(0.0, wide - script)
            script = max(script, wide)
            index = end
            continue
        script = 0.0
        if token in (r"\frac", r"\tfrac", r"\dfrac"):
            middle = groups_end(parts, index + 1)
            end = groups_end(parts, middle)
            total += max(_width(parts[index + 1 : middle]), _width(parts[middle:end])) + 0.5
        elif token.startswith(r"\begin{"):
            total += _environment(parts[index + 1 : end - 1])
        elif token == "{":
            total += _width(parts[index + 1 : end - 1])
        else:
            total += _glyph(token)
        index = end
    return total


def _environment(parts: Sequence[str]) -> float:
    """Rows under each other: the widest counts; cells keep a distance."""
    rows: list[list[str]] = [[]]
    depth = 0
    for token in parts:
        depth += token.startswith(r"\begin{") - token.startswith(r"\end{")
        if token == r"\\" and depth == 0:
            rows.append([])
        else:
            rows[-1].append(token)
    return max(_width(row) + 1.5 * row.count("&") for row in rows)


def _glyph(token: str) -> float:
    if token in NO_WIDTH:
        return 0.0
    if token in SPACES:
        return SPACES[token]
    if token in BIG:
        return BIG[token]
    if token in WORDS:
        return 0.9 * (len(token) - 1) + 0.3
    if token in OPERATORS:
        return 2.4
    return 0.7 if token in NARROW else 1.1

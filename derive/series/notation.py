"""Elementary differentials as they are written: `f''(f,f'f)`, `g'f`, `f^{(4)}ffff`; and as they are read and said.

The parts of a field are the letters f, g, f_3, f_4, ... A printed differential has its arguments in the order of
their trees; any other order, spacing or spelling of the derivatives is read as the same differential.
"""

from __future__ import annotations

import re

from derive.errors import DeriveError
from derive.series.trees import Tree, tree


class NotationError(DeriveError, KeyError):
    """Text that is no elementary differential."""

    __str__ = Exception.__str__


LETTERS = ("f", "g")
_LONGEST_ROW_OF_PRIMES = 3


def letter(colour: int) -> str:
    """The letter of a part of the field: f, g, f_3, f_4, ..."""
    return LETTERS[colour] if colour < len(LETTERS) else f"f_{colour + 1}"


def differential(tau: Tree) -> str:
    """The elementary differential of a tree, in the notation that `parse` reads."""
    return _written(tau, {})


def differential_latex(tau: Tree, name: str = "") -> str:
    """The same as LaTeX; `name` is another letter for the first part."""
    text = _written(tau, {0: name} if name else {})
    return re.sub(r"_(\d+)", r"_{\1}", text)


def _written(tau: Tree, names: dict[int, str]) -> str:
    arguments = [_written(branch, names) for branch in tau.branches]
    count = len(arguments)
    leaves = not any(branch.branches for branch in tau.branches)
    head = names.get(tau.colour, letter(tau.colour))
    head += "'" * count if count <= _LONGEST_ROW_OF_PRIMES else f"^{{({count})}}"
    bare = count <= 1 or (count > _LONGEST_ROW_OF_PRIMES and leaves)
    return head + ("".join(arguments) if bare else f"({','.join(arguments)})")


_ORDINALS = ("", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def words(tau: Tree) -> str:
    """The differential said aloud: `the second derivative of f along f and (the derivative of f along f)`."""
    if not tau.branches:
        return letter(tau.colour)
    count = len(tau.branches)
    which = "" if count == 1 else f"{_ORDINALS[count] if count < len(_ORDINALS) else f'{count}th'} "
    arguments = [f"({words(branch)})" if branch.branches else words(branch) for branch in tau.branches]
    listed = " and ".join(part for part in (", ".join(arguments[:-1]), arguments[-1]) if part)
    return f"the {which}derivative of {letter(tau.colour)} along {listed}"


def parse(text: str) -> Tree:
    """The tree of an elementary differential, whatever its spelling: `f''''(f,f,f,f)` and `f^{(4)}ffff` are one.

    Raises:
        NotationError: the text is no elementary differential.
    """
    reader = _Reader(text)
    found = reader.term()
    reader.expect_end()
    return found


_SPELLINGS = (
    (r"\\left|\\right|\\,|\\;|\\!|\s", ""),
    (r"\^\{?(?:\\prime)+\}?", lambda match: "'" * match.group().count(r"\prime")),
    ("[’′]", "'"),
    ("″", "''"),
    ("‴", "'''"),
)
_TOKEN = re.compile(
    r"(?P<letter>f_\{?(?P<index>\d+)\}?|[fg])|\^\{?\((?P<count>\d+)\)\}?|(?P<primes>'+)|(?P<mark>[(),])"
)


class _Reader:
    """One pass over the text; a derivative of count n takes n arguments, in parentheses or in a row."""

    def __init__(self, text: str) -> None:
        self.text = self.rest = text
        for pattern, replacement in _SPELLINGS:
            self.rest = re.sub(pattern, replacement, self.rest)

    def term(self) -> Tree:
        found = self._take("letter")
        if found is None:
            raise self._error("a part of the field (f, g, f_3, ...)")
        name, index = found.group("letter"), found.group("index")
        colour = LETTERS.index(name) if index is None else int(index) - 1
        if colour < 0:
            raise self._error("parts numbered from 1")
        return tree(*self._arguments(self._derivatives()), colour=colour)

    def _derivatives(self) -> int:
        primes = self._take("primes")
        if primes is not None:
            return len(primes.group("primes"))
        count = self._take("count")
        return int(count.group("count")) if count is not None else 0

    def _arguments(self, count: int) -> list[Tree]:
        if not self._skip("("):
            return [self.term() for _ in range(count)]
        found = [self.term()]
        while self._skip(","):
            found.append(self.term())
        if not self._skip(")"):
            raise self._error("a comma or a closing parenthesis")
        if len(found) != count:
            raise NotationError(f"{self.text!r}: a derivative of count {count} has {len(found)} arguments")
        return found

    def expect_end(self) -> None:
        if self.rest:
            raise self._error("the end")

    def _take(self, kind: str) -> re.Match[str] | None:
        found = _TOKEN.match(self.rest)
        if found is None or found.group(kind) is None:
            return None
        self.rest = self.rest[found.end() :]
        return found

    def _skip(self, mark: str) -> bool:
        if not self.rest.startswith(mark):
            return False
        self.rest = self.rest[1:]
        return True

    def _error(self, wanted: str) -> NotationError:
        where = f"at {self.rest!r}" if self.rest else "at the end"
        return NotationError(
            f"{self.text!r} is no elementary differential: {where} there should be {wanted}; "
            "write f, f'f, f''(f,f), f^{(4)}ffff, and g for a second part, as in f'g"
        )

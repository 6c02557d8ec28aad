"""What is found wrong or remarkable in a scheme, and the refusal of schemes with errors where they are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from sympy import Expr, Float, Integer, sympify

from derive.errors import SpecError
from derive.series.domains import arithmetic_of, exact


class Kind(StrEnum):
    """How much a finding matters: an error is refused where the scheme is made."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing found in a scheme.

    Attributes:
        kind: error, warning or info.
        row: where: "row 2 of A", "b", "order", ...
        found: what stands there or follows from it.
        expected: what should.
        message: both in one sentence.
    """

    kind: Kind
    row: str
    found: str
    expected: str
    message: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def error(row: str, found: object, expected: object, message: str) -> Finding:
    """A finding that is refused."""
    return Finding(Kind.ERROR, row, str(found), str(expected), message)


_REFUSING: ContextVar[bool] = ContextVar("_REFUSING", default=True)


@contextmanager
def unrefused() -> Iterator[None]:
    """Schemes with errors may be made inside, so that the linter can say all that is wrong with them."""
    token = _REFUSING.set(False)
    try:
        yield
    finally:
        _REFUSING.reset(token)


def refuse(title: str, findings: Iterable[Finding]) -> None:
    """Refuse a scheme for the first error among its findings.

    Raises:
        SpecError: there is one.
    """
    if not _REFUSING.get():
        return
    for finding in findings:
        if finding.kind is Kind.ERROR:
            raise SpecError(f"{title}: {finding.message}")


def exact_sum(entries: Iterable[Expr]) -> Expr:
    """Sum of the entries, decimals taken as the rationals that they write."""
    return sum(map(exact, entries), Integer(0))


def vanishes(value: Expr, digits: int | None = None) -> bool:
    """Whether a value is zero, exactly or to the digits that were published; decimals are the rationals they write."""
    value = exact(sympify(value))
    arithmetic = arithmetic_of([value], digits)
    return arithmetic.vanishes(arithmetic.element(value))


def to_digits(digits: int | None) -> str:
    """How a verdict on published decimals is labelled."""
    return "" if digits is None else f" to {digits} digits"


def advice(digits: int | None, entries: Iterable[Expr]) -> str:
    """What may be the matter where a table of decimals fails and does not say how many digits were published."""
    decimals = digits is None and any(entry.has(Float) for entry in entries)
    return "; entries are decimals: give exact ones, or say digits=n" if decimals else ""


def shown(value: Expr, digits: int | None = None) -> str:
    """A value as messages give it: exact, or its decimals where it is of published ones."""
    value = exact(sympify(value))
    if value.free_symbols:
        return str(value)
    if digits is not None:
        return str(value.evalf(digits))
    arithmetic = arithmetic_of([value])
    return str(arithmetic.expression(arithmetic.element(value)))

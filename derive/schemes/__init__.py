"""Discretizations as data."""

from __future__ import annotations

from derive.errors import UnknownNameError
from derive.schemes.additive import AdditiveTableau
from derive.schemes.multistep import LinearMultistep, Start
from derive.schemes.register import SCHEME_KINDS, SCHEMES, Scheme
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.splitting import Splitting


def scheme_by_name(name: str | Scheme) -> Scheme:
    """A shipped scheme by its id; a scheme object is returned as it is.

    Raises:
        UnknownNameError: no scheme has that id.
    """
    if not isinstance(name, str):
        return name
    if name not in SCHEMES:
        raise UnknownNameError("scheme", name, SCHEMES)
    return SCHEMES[name]


__all__ = [
    "SCHEMES",
    "SCHEME_KINDS",
    "AdditiveTableau",
    "ButcherTableau",
    "LinearMultistep",
    "Scheme",
    "Splitting",
    "Start",
    "scheme_by_name",
]

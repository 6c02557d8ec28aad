"""Discretizations as data."""

from __future__ import annotations

from derive.errors import UnknownNameError, UnsupportedError
from derive.schemes.additive import AdditiveTableau
from derive.schemes.family import MultistepFamily
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


def single_scheme(name: str | Scheme) -> Scheme:
    """As `scheme_by_name`, for what looks at the weights of one scheme.

    Raises:
        UnknownNameError: no scheme has that id.
        UnsupportedError: a family, whose weights are arguments of the emitted module.
    """
    scheme = scheme_by_name(name)
    if isinstance(scheme, MultistepFamily):
        raise UnsupportedError(
            f"{scheme.title} has its weights as arguments; give one scheme of it, LinearMultistep(alpha=..., beta=...)"
        )
    return scheme


__all__ = [
    "SCHEMES",
    "SCHEME_KINDS",
    "AdditiveTableau",
    "ButcherTableau",
    "LinearMultistep",
    "MultistepFamily",
    "Scheme",
    "Splitting",
    "Start",
    "scheme_by_name",
    "single_scheme",
]

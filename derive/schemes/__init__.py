"""Discretizations as data."""

from __future__ import annotations

from derive.errors import UnknownNameError
from derive.schemes.additive import AdditiveTableau
from derive.schemes.multistep import LEAPFROG, LinearMultistep, Start
from derive.schemes.runge_kutta import FORWARD_EULER, HEUN, MIDPOINT, RK4, ButcherTableau
from derive.schemes.splitting import Splitting

Scheme = ButcherTableau | LinearMultistep
AnyScheme = ButcherTableau | AdditiveTableau | LinearMultistep | Splitting
SCHEME_KINDS: tuple[type[AnyScheme], ...] = (ButcherTableau, AdditiveTableau, LinearMultistep, Splitting)

SCHEMES: dict[str, Scheme] = {
    "forward_euler": FORWARD_EULER,
    "midpoint": MIDPOINT,
    "heun": HEUN,
    "rk4": RK4,
    "leapfrog": LEAPFROG,
}


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
    "AnyScheme",
    "ButcherTableau",
    "LinearMultistep",
    "Scheme",
    "Splitting",
    "Start",
    "scheme_by_name",
]

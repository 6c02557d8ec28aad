"""The shipped schemes by their ids. A table is built when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache

from derive.schemes.additive import AdditiveTableau
from derive.schemes.multistep import LinearMultistep
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.splitting import Splitting

Scheme = ButcherTableau | AdditiveTableau | LinearMultistep | Splitting
SCHEME_KINDS: tuple[type[Scheme], ...] = (ButcherTableau, AdditiveTableau, LinearMultistep, Splitting)

# File of `derive/schemes/tables/` -> ids; each id is a function there that builds the table.
_TABLES = {
    "explicit": "forward_euler midpoint heun ralston2 heun3 ralston3 kutta3 ssp33 rk4 rk38",
    "pairs": "bs32 rkf45 cash_karp dopri5",
    "tsit5": "tsit5",
    "dop853": "dop853",
    "diagonally_implicit": "backward_euler implicit_midpoint trapezoid theta sdirk2 trbdf2",
    "collocation": (
        "gauss2 gauss4 gauss6 radau2a_3 radau2a_5 "
        "lobatto3a_s2 lobatto3a_s3 lobatto3b_s2 lobatto3b_s3 lobatto3c_s2 lobatto3c_s3"
    ),
    "partitioned": "symplectic_euler stormer_verlet ruth3 ruth4",
    "multistep": (
        "ab1 ab2 ab3 ab4 ab5 am1 am2 am3 am4 bdf1 bdf2 bdf3 bdf4 bdf5 bdf6 "
        "leapfrog milne_simpson nystrom3 unstable_explicit_2step"
    ),
    "splittings": "lie_trotter strang yoshida4",
}
_FILE_OF = {name: file for file, names in _TABLES.items() for name in names.split()}


class _Register(Mapping[str, Scheme]):
    """Ids to schemes; knowing the ids builds nothing."""

    def __getitem__(self, name: str) -> Scheme:
        if name not in _FILE_OF:
            raise KeyError(name)
        return _built(name)

    def __contains__(self, name: object) -> bool:
        return name in _FILE_OF

    def __iter__(self) -> Iterator[str]:
        return iter(_FILE_OF)

    def __len__(self) -> int:
        return len(_FILE_OF)


@cache
def _built(name: str) -> Scheme:
    module = importlib.import_module(f"derive.schemes.tables.{_FILE_OF[name]}")
    scheme: Scheme = getattr(module, name)()
    return scheme


SCHEMES: Mapping[str, Scheme] = _Register()

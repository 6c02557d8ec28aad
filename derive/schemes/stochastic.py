"""Schemes for stochastic differential equations as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from sympy import Expr, Integer, sympify

from derive.errors import SpecError, UnknownNameError, shown
from derive.schemes.arguments import keep_rows, keep_tables
from derive.schemes.findings import Finding, error, exact_sum, refuse

CALCULI = ("ito", "stratonovich")
STRUCTURES = ("general", "commutative", "diagonal", "scalar", "additive")
"""What is known of the noise; each but the first is a case of "commutative"."""


@dataclass(frozen=True)
class StochasticRungeKutta:
    r"""A scheme with the increments $\Delta W^j$ of the Brownian motions as its only random numbers.

    Stages $X_i = x + h \sum_j a_{ij} f(X_j) + \sum_j b_{ij} \sum_k g_k(X_j) \Delta W^k$, and
    $x_{n+1} = x + h \sum_i \alpha_i f(X_i) + \sum_i \beta_i \sum_k g_k(X_i) \Delta W^k + \gamma \sum_{jk} Dg_k[g_j]
    J_{jk}$ at $x$, where $J_{jk} = \frac12 (\Delta W^j \Delta W^k - \delta_{jk} h)$ is the symmetric part of the
    iterated integral in Ito's calculus, and without $\delta_{jk} h$ in Stratonovich's.

    No such table has a strong order above 1: that takes integrals of W over time, random numbers of their own, as in
    Roessler's SRA and SRI schemes, which are no tables of this kind.

    Attributes:
        A, B: coefficients of drift and diffusion in the stages.
        alpha, beta: weights of drift and diffusion.
        gamma: weight of the second iterated integrals.
        calculus: what equation it solves: "ito" or "stratonovich"; of the other it solves the converted one.
        strong_order, weak_order: the orders that it claims: a number for noise of any structure, or numbers by the
            structure, as in `{"general": Rational(1, 2), "commutative": 1}`; kept as pairs.
        title: its usual name.

    Raises:
        SpecError: sizes that do not fit, a stage that needs a later one, weights that do not sum to 1, or a claimed
            order that is not reached.
        UnknownNameError: another calculus, or claims for an unknown structure of the noise.
    """

    A: Sequence[Sequence[Any]]
    B: Sequence[Sequence[Any]]
    alpha: Sequence[Any]
    beta: Sequence[Any]
    gamma: Any = 0
    calculus: str = "ito"
    strong_order: Any = None
    weak_order: Any = None
    title: str = "stochastic Runge-Kutta"

    def __post_init__(self) -> None:
        keep_tables(self, "A", "B")
        keep_rows(self, "alpha", "beta")
        object.__setattr__(self, "gamma", sympify(self.gamma))
        if self.calculus not in CALCULI:
            raise UnknownNameError("calculus", self.calculus, CALCULI)
        for name in ("strong_order", "weak_order"):
            object.__setattr__(self, name, _claims(self.title, name, getattr(self, name)))
        refuse(self.title, self.findings())

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the table; claims are looked at where nothing else is."""
        wrong = list(self._faults())
        yield from wrong
        if not wrong and (self.strong_order or self.weak_order):
            claims = import_module("derive.stochastic.claims")  # orders are of a table
            yield from claims.unreached(self)

    def _faults(self) -> Iterator[Finding]:
        count = self.stages
        for name in ("A", "B"):
            rows = getattr(self, name)
            if len(rows) != count or any(len(row) != count for row in rows):
                shape = f"{len(rows)} rows of {', '.join(str(len(row)) for row in rows)}"
                yield error(name, shape, f"{count} x {count}", f"{name} has {shape}; {count} weights need as many")
                return
            for place, row in enumerate(rows):
                if any(entry != 0 for entry in row[place:]):
                    yield error(
                        f"row {place + 1} of {name}", row, "zeros from the diagonal on",
                        f"row {place + 1} of {name} reads a stage that is not computed yet; schemes are explicit",
                    )  # fmt: skip
        if len(self.beta) != count:
            yield error(
                "beta", len(self.beta), count, f"{len(self.beta)} weights of the diffusion, {count} of the drift"
            )
            return
        for name in ("alpha", "beta"):
            found = exact_sum(getattr(self, name))
            if found.is_number and found != 1:
                yield error(name, found, 1, f"the weights {name} sum to {found}; a consistent scheme has 1")

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.alpha)

    @property
    def nodes(self) -> tuple[Expr, ...]:
        """Times of the stages in steps: time moves with the drift."""
        return tuple(sum(row, Integer(0)) for row in self.A)

    @property
    def coefficients(self) -> tuple[object, ...]:
        """All that a step is made of: tables that are alike here are one scheme."""
        return self.A, self.B, self.alpha, self.beta, self.gamma, self.calculus

    @property
    def entries(self) -> list[Expr]:
        """All coefficients."""
        rows = [entry for matrix in (self.A, self.B) for row in matrix for entry in row]
        return [*rows, *self.alpha, *self.beta, self.gamma]


def _claims(title: str, name: str, given: Any) -> tuple[tuple[str, Expr], ...]:
    """Claimed orders by the structure of the noise, in the order of the structures."""
    claimed = {"general": given} if not isinstance(given, Mapping | tuple) else dict(given)
    found = {}
    for structure, value in claimed.items():
        if structure not in STRUCTURES:
            raise UnknownNameError("structure of the noise", structure, STRUCTURES)
        if value is None:
            continue
        number = sympify(value)
        if not number.is_Rational or number <= 0 or not (2 * number).is_Integer:
            raise SpecError(
                f"{title}: {name} is {value!r} for {structure} noise; give a multiple of 1/2, as in Rational(3, 2)"
            )
        found[structure] = number
    return tuple((structure, found[structure]) for structure in STRUCTURES if structure in found)


PREFIX = "stochastic_"
_IDS = ("euler_maruyama", "milstein", "heun")


class _Register(Mapping[str, StochasticRungeKutta]):
    """Ids to tables, each a function of `derive.schemes.tables.stochastic`."""

    def __getitem__(self, name: str) -> StochasticRungeKutta:
        if name not in _IDS:
            raise KeyError(name)
        return _built(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_IDS)

    def __len__(self) -> int:
        return len(_IDS)


@cache
def _built(name: str) -> StochasticRungeKutta:
    table: StochasticRungeKutta = getattr(import_module("derive.schemes.tables.stochastic"), name)()
    return table


STOCHASTIC_SCHEMES: Mapping[str, StochasticRungeKutta] = _Register()


def stochastic_scheme(name: str | StochasticRungeKutta) -> StochasticRungeKutta:
    """A shipped scheme by its id, which may say "stochastic_" first; a table is returned as it is.

    Raises:
        UnknownNameError: no scheme has that id.
        SpecError: what is given is neither an id nor a table.
    """
    if isinstance(name, StochasticRungeKutta):
        return name
    if not isinstance(name, str):
        raise SpecError(
            f"the scheme is {shown(name)}; a stochastic equation takes {', '.join(STOCHASTIC_SCHEMES)} or a "
            "StochasticRungeKutta"
        )
    known = name.removeprefix(PREFIX)
    if known not in STOCHASTIC_SCHEMES:
        raise UnknownNameError("stochastic scheme", name, STOCHASTIC_SCHEMES)
    return STOCHASTIC_SCHEMES[known]


def stochastic_scheme_id(scheme: str | StochasticRungeKutta) -> str:
    """The id of a scheme; of a table that is not shipped, made of its title.

    Raises:
        UnknownNameError: no scheme has that id.
        SpecError: the title has no letters, or is that of a shipped scheme with other coefficients.
    """
    table = stochastic_scheme(scheme)
    own = next((name for name, shipped in STOCHASTIC_SCHEMES.items() if shipped == table), None)
    if own is not None:
        return own
    name = re.sub(r"\W+", "_", table.title.lower()).strip("_")
    if not name:
        raise SpecError(f"a stochastic table has title={table.title!r}; allowed: a title with letters or digits")
    namesake = STOCHASTIC_SCHEMES.get(name.removeprefix(PREFIX))
    if namesake is not None and table.coefficients != namesake.coefficients:
        raise SpecError(
            f"title={table.title!r} gives a table the id {name!r}, which a shipped scheme with other coefficients has; "
            f"allowed: a title of its own, unlike those of {', '.join(STOCHASTIC_SCHEMES)}"
        )
    return name if namesake is None else name.removeprefix(PREFIX)

"""All shipped schemes by ids that are unlike: those of ordinary and those of stochastic equations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from derive.schemes.additive import AdditiveTableau
from derive.schemes.multistep import LinearMultistep
from derive.schemes.register import SCHEME_KINDS, SCHEMES, Scheme
from derive.schemes.runge_kutta import ButcherTableau
from derive.schemes.splitting import Splitting
from derive.schemes.stochastic import PREFIX, STOCHASTIC_SCHEMES, StochasticRungeKutta

AnyScheme = Scheme | StochasticRungeKutta
ANY_SCHEME_KINDS: tuple[type[AnyScheme], ...] = (*SCHEME_KINDS, StochasticRungeKutta)
EXAMPLE = "SCHEME = ButcherTableau(A=..., b=..., c=...) or SCHEME = StochasticRungeKutta(A=..., B=..., ...)"

# Where an ordinary scheme has the id of a stochastic one, that one is asked for as stochastic.
_STOCHASTIC = {f"{PREFIX}{name}" if name in SCHEMES else name: name for name in STOCHASTIC_SCHEMES}


class _Register(Mapping[str, AnyScheme]):
    """Ids to schemes of both kinds; knowing the ids builds nothing."""

    def __getitem__(self, name: str) -> AnyScheme:
        return STOCHASTIC_SCHEMES[_STOCHASTIC[name]] if name in _STOCHASTIC else SCHEMES[name]

    def __contains__(self, name: object) -> bool:
        return name in SCHEMES or name in _STOCHASTIC

    def __iter__(self) -> Iterator[str]:
        yield from SCHEMES
        yield from _STOCHASTIC

    def __len__(self) -> int:
        return len(SCHEMES) + len(_STOCHASTIC)


EVERY_SCHEME: Mapping[str, AnyScheme] = _Register()

_KINDS = {
    ButcherTableau: "Runge-Kutta",
    AdditiveTableau: "partitioned",
    LinearMultistep: "multistep",
    Splitting: "splitting",
    StochasticRungeKutta: "stochastic",
}


def listing() -> Iterator[tuple[str, str, str, int | str | None, str]]:
    """Id, kind, number of stages or steps, order and title of every shipped scheme; of a stochastic one both orders."""
    for name, scheme in EVERY_SCHEME.items():
        order = _orders(scheme) if isinstance(scheme, StochasticRungeKutta) else scheme.order
        yield name, _KINDS[type(scheme)], _size(scheme), order, scheme.title


def _orders(scheme: StochasticRungeKutta) -> str:
    """The orders that a table claims, least to largest over the structures of the noise: `strong 1/2-1, weak 1`."""
    claims = {"strong": scheme.strong_order, "weak": scheme.weak_order}
    spans = {kind: [value for _, value in pairs] for kind, pairs in claims.items() if pairs}
    return ", ".join(f"{kind} {'-'.join(map(str, sorted({min(v), max(v)})))}" for kind, v in spans.items())


def _size(scheme: AnyScheme) -> str:
    count, unit = _counted(scheme)
    return f"{count} {unit}" + ("s" if count > 1 else "")


def _counted(scheme: AnyScheme) -> tuple[int, str]:
    if isinstance(scheme, LinearMultistep):
        return scheme.steps, "step"
    return (len(scheme.stages), "flow") if isinstance(scheme, Splitting) else (scheme.stages, "stage")

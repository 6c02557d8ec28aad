"""Modules with random draws on linear networks: moments summed over all draws, sampled, and those of the mean net."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.measures import Measured, difference, judged, row, uniform
from codegen.verification.report import Row
from derive.errors import UnsupportedError
from derive.evaluator import value_of
from derive.laws import Moments
from derive.linear_moments import LinearMoments, linear_moments
from derive.random_recurrence import RandomRecurrence
from derive.symbols import Quantity, Role, by_name
from derive.systems import Spec
from derive.weak_limit import match_moments

EXACT = 1e-12
LAYERS = 3
SAMPLES = 40_000
SIGMAS = 5.0
START = 0.7
NUMBERS = (Role.CONSTANT, Role.LAYER_CONSTANT, Role.PARAMETER, Role.LAYER_PARAMETER)


class Multiple(nn.Module):
    """x -> factor x."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        """The multiple."""
        return self.factor * x


class LinearNet:
    """A module with linear networks on states of one number, and what is derived of its moments."""

    def __init__(self, kind: Callable[..., nn.Module], option: Mapping[str, Any], moments: LinearMoments) -> None:
        self.moments, self.system = moments, moments.system
        generator = torch.Generator().manual_seed(29)
        named = by_name(q for q in self.system.quantities if q.role in NUMBERS and not q.shape)
        self.numbers = {q: uniform((LAYERS,), 0.5, 0.9, generator) for q in named}
        self.numbers |= {q: v[:1].expand(LAYERS) for q, v in self.numbers.items() if not q.role.per_step}
        self.factors = {q: uniform((LAYERS,), -0.9, 0.9, generator) for q in moments.factors.values()}
        rows = list(zip(*([Multiple(float(a)) for a in row] for row in self.factors.values()), strict=True))
        blocks = rows if len(moments.factors) > 1 else [one for (one,) in rows]
        given = {q.name: v if q.role.per_step else float(v[0]) for q, v in self.numbers.items()}
        self.module: Any = kind(blocks, **given, **option).double()

    def values(self, layer: int) -> dict[Quantity, Any]:
        """Constants and factors of a layer."""
        return {q: np.float64(v[layer].item()) for q, v in {**self.numbers, **self.factors}.items()}

    @cached_property
    def exact(self) -> Tensor:
        """Mean and second moment of the output, layer by layer as derived."""
        first, second = START, START**2
        for layer in range(LAYERS):
            maps = (self.moments.mean, self.moments.second)
            first, second = self.moments.moved(maps, self.values(layer), first, second)
        return torch.tensor([first, second], dtype=torch.float64)

    def enumerated(self) -> Measured:
        """The module at every combination of nodes of its draws, each a sample."""
        choices = []
        for layer in range(LAYERS):
            nodes = [draw.law.nodes(partial(self._number, layer)) for draw in self.system.draws]
            choices.append(list(product(*nodes)))
        paths = list(product(*choices))  # of every layer its draws, of every draw (value, weight)
        weights = self._tensor([[math.prod(float(w) for layer in path for _, w in layer)] for path in paths])[0, :, 0]
        draws = [self._tensor([[float(one[k][0]) for one in path] for path in paths]) for k in range(len(nodes))]
        given = [draw for one, draw in zip(self.system.draws, draws, strict=True) for _ in one.quantities]
        x = torch.full((len(paths), 1), START, dtype=torch.float64)
        output = self.module(x, draws=tuple(given) if len(given) > 1 else given[0])[:, 0]
        found = torch.stack([(weights * output**power).sum() for power in (1, 2)])
        return Measured(difference(found, self.exact), f"{len(paths)} combinations of {LAYERS} layers")

    def _number(self, layer: int, value: Any) -> float:
        return float(value_of(value, self.values(layer)))

    @staticmethod
    def _tensor(paths: list[list[float]]) -> Tensor:
        return torch.tensor(paths, dtype=torch.float64).T.unsqueeze(-1)

    def sampled(self) -> Measured:
        """Distance of the sampled mean and second moment from the exact ones, in standard errors."""
        x = torch.full((SAMPLES, 1), START, dtype=torch.float64)
        with torch.no_grad():
            output = self.module.train()(x, generator=torch.Generator().manual_seed(31))[:, 0]
        powers = torch.stack([output, output**2])
        errors = powers.std(1) / math.sqrt(SAMPLES)
        return Measured(float(((powers.mean(1) - self.exact) / errors).abs().amax()), f"{SAMPLES} samples, fixed seed")

    def mean_net(self) -> Measured:
        """In evaluation mode the output of a linear net is the mean of its outputs in training mode."""
        x = torch.full((1, 1), START, dtype=torch.float64)
        return Measured(difference(self.module.eval()(x)[0], self.exact[:1]), "linear networks")


def random_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """Three rows for each variant, where its moments are known on linear networks."""
    for option, system in spec.variants.items():
        moments = _moments(system) if isinstance(system, RandomRecurrence) else None
        if moments is None:
            continue
        chosen = {spec.option: option} if spec.option else {}
        make = partial(LinearNet, kind, chosen, moments)
        label = f" [{spec.option}={option!r}]" if spec.option else ""
        yield row(spec.id, f"moments over all draws{label}", EXACT, partial(_measured, make, LinearNet.enumerated))
        if not any(isinstance(draw.law, Moments) for draw in moments.system.draws):
            check = f"moments of drawn samples, standard errors{label}"
            yield judged(spec.id, check, "0", f"{SIGMAS:g}", partial(_measured, make, LinearNet.sampled), _is_near)
        yield row(spec.id, f"evaluation mode: the mean net{label}", EXACT, partial(_measured, make, LinearNet.mean_net))


def _moments(system: RandomRecurrence) -> LinearMoments | None:
    networks = system.step.networks()
    if not networks or not all(network.per_layer for network in networks):
        return None
    try:
        return linear_moments(system, match_moments(system))
    except UnsupportedError:
        return None


def _measured(make: Callable[[], LinearNet], measure: Callable[[LinearNet], Measured]) -> Measured:
    """The module is made where it is measured: one that cannot be made fails its checks."""
    return measure(make())


def _is_near(distance: float) -> bool:
    return distance <= SIGMAS

"""A normalizing flow: an invertible map from data to base with its log-determinant, as a density and as a transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Transform, constraints

from codegen.runtime.choices import one_of

Parts = tuple[Tensor, ...]


class FlowNet(nn.Module):
    """What all flows have in common: the calls, the density, samples, and the view as a transform.

    A subclass says how parts are mapped: `run_map` and `run_inverse` take and give parts, then the log-determinant
    (..., 1).
    """

    def __init__(self, dim: int, *, base: Any, gradient: str) -> None:
        super().__init__()
        self.owner = type(self).__name__
        self.dim = checked_dim(self.owner, dim)
        self.gradient = one_of(f"{self.owner}: gradient", gradient, ("derived", "autograd"))
        self.base = checked_base(self.owner, base, self.dim)
        self._looks_closer = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., dim), data -> (y, log|det dy/dx|), (..., dim) and (...)."""
        return self._run("x", x, self.run_map, "dy/dx")

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., dim), base -> (x, log|det dx/dy|), (..., dim) and (...)."""
        return self._run("y", y, self.run_inverse, "dx/dy")

    def log_prob(self, x: Tensor) -> Tensor:
        """Logarithm of the density of the data at x (..., dim): that of the base at y plus log|det dy/dx|."""
        y, log_det = self(x)
        if self.base is None:
            return log_det - 0.5 * (y * y).sum(-1) - 0.5 * self.dim * math.log(2 * math.pi)
        density: Tensor = self.base.log_prob(y)
        if density.shape != log_det.shape:
            raise ValueError(
                f"{self.owner}: base.log_prob of {tuple(y.shape)} has shape {tuple(density.shape)}; allowed: "
                f"{tuple(log_det.shape)}, one number for each vector"
            )
        return density + log_det

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n samples (n, dim): the inverse of draws of the base; `inverse` of draws of your own has gradients."""
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ValueError(f"{self.owner}: n={n!r}; allowed: a whole number, 0 or more")
        if self.base is None:
            like = next((p for p in self.parameters()), torch.empty(0))
            draws = torch.randn(n, self.dim, generator=generator, dtype=like.dtype, device=like.device)
        elif generator is not None:
            raise ValueError(f"{self.owner}: generator={generator!r}; allowed with a base of its own: None")
        else:
            draws = self.base.sample((n,))
        return self.inverse(draws)[0]

    def as_transform(self) -> FlowTransform:
        """The map from data to base as a torch transform.

        `TransformedDistribution(base, flow.as_transform().inv)` is the density of the data.
        """
        return FlowTransform(self)

    def run_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The map of a subclass: x -> (y, log-determinant (..., 1))."""
        raise NotImplementedError(f"{self.owner}: no map")

    def run_inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of a subclass: y -> (x, log-determinant (..., 1))."""
        raise NotImplementedError(
            f"{self.owner}: no inverse of this map was derived: it reads its vector through more than one scalar, or "
            "not linearly otherwise; allowed: forward and log_prob"
        )

    def _run(
        self, name: str, value: Tensor, run: Callable[[Tensor], tuple[Tensor, Tensor]], shown: str
    ) -> tuple[Tensor, Tensor]:
        check_vector(self.owner, name, value, self.dim)
        for held, parameter in self.named_parameters(recurse=False):
            if parameter.dtype != value.dtype:
                raise TypeError(
                    f"{self.owner}: {name} has dtype {value.dtype}, and {held} has {parameter.dtype}; allowed: the "
                    "same dtype"
                )
        image, log_det = run(value)
        log_det = log_det.squeeze(-1)
        whole = image.detach().sum() + log_det.detach().sum()  # one pass; not finite for large numbers, too
        if host_answer(torch.isfinite(whole)) is False:
            self._check_result(name, value, run, image, (f"log|det {shown}|", log_det))
        return image, log_det

    def _check_result(
        self,
        name: str,
        value: Tensor,
        run: Callable[[Tensor], tuple[Tensor, Tensor]],
        image: Tensor,
        log_det: tuple[str, Tensor],
    ) -> None:
        """Refuse a result that is not finite, and say what it comes from: what goes in, parameters, networks."""
        if host_answer(torch.isfinite(image).all() & torch.isfinite(log_det[1]).all()) is not False:
            return
        self._check_finite(name, value)
        for held, parameter in self.named_parameters(recurse=False):
            self._check_finite(held, parameter.reshape(-1, 1), "numbers")
        self._looks_closer = True  # at what networks give
        try:
            run(value)
        finally:
            self._looks_closer = False
        allowed = f"finite {name} and parameters{self.not_zero()}"
        self._check_finite(log_det[0], log_det[1].unsqueeze(-1), allowed=allowed)
        self._check_finite(f"the image of {name}", image, allowed=f"{allowed}, and values that fit into {image.dtype}")

    def _check_finite(self, name: str, value: Tensor, unit: str = "samples", allowed: str = "") -> None:
        """Refuse vectors that are not finite."""
        finite = torch.isfinite(value.detach()).all(-1)
        if host_answer(finite.all()) is False:
            wrong, count = int((~finite).sum()), finite.numel()
            raise ValueError(
                f"{self.owner}: {name} is not finite in {wrong} of {count} {unit}; allowed: "
                f"{allowed or 'finite numbers'}"
            )

    def network_value(self, name: str, x: Tensor, size: int) -> Tensor:
        """What a network gives, in the precision of its argument; messages name the network where that is wrong."""
        network = getattr(self, name)
        try:
            value = network(x)
        except RuntimeError as error:
            held = next((p.dtype for p in _tensors(network) if p.is_floating_point() and p.dtype != x.dtype), None)
            if held is None:
                raise
            raise TypeError(
                f"{self.owner}: {name} has parameters of {held} and was given vectors of {x.dtype}; allowed: the same "
                "dtype"
            ) from error
        wanted = (*x.shape[:-1], size)
        if not isinstance(value, Tensor):
            raise TypeError(f"{self.owner}: {name} returned a {type(value).__name__}; allowed: a Tensor")
        if value.shape != wanted:
            raise ValueError(
                f"{self.owner}: {name} was given {tuple(x.shape)} and returned {tuple(value.shape)}; allowed: {wanted}"
            )
        if self._looks_closer:
            self._check_finite(f"the value of {name}", value)
        return value.to(x.dtype)

    def not_zero(self) -> str:
        """What must not vanish, as the end of a message."""
        return ""

    def extra_repr(self) -> str:
        return str(self.dim) + ("" if self.gradient == "derived" else f", gradient={self.gradient!r}")


class FlowTransform(Transform):
    """A flow from data to base as a bijection of vectors."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, flow: FlowNet, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.flow = flow

    def with_cache(self, cache_size: int = 1) -> FlowTransform:
        """The same with another cache."""
        return self if self._cache_size == cache_size else FlowTransform(self.flow, cache_size)

    def _call(self, x: Tensor) -> Tensor:
        image: Tensor = self.flow(x)[0]
        return image

    def _inverse(self, y: Tensor) -> Tensor:
        return self.flow.inverse(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log|det dy/dx| at x."""
        log_det: Tensor = self.flow(x)[1]
        return log_det


class HostAnswer(torch.autograd.Function):
    """A flag read on the host, appended to `answers`; under vmap nothing is read."""

    @staticmethod
    def forward(answers: list[bool], flag: Tensor) -> Tensor:
        """One host read."""
        answers.append(bool(flag))
        return flag.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], answers: list[bool], flag: Tensor) -> tuple[Tensor, None]:
        """A batched flag cannot be read on the host."""
        return flag.new_empty(0), None


def host_answer(flag: Tensor) -> bool | None:
    """The value of a flag; None where it cannot be read, under vmap and while torch compiles."""
    answers: list[bool] = []
    if not torch.compiler.is_compiling():
        HostAnswer.apply(answers, flag)
    return answers[0] if answers else None


def check_conditions(
    owner: str, shown: Sequence[str], values: Sequence[Tensor], remedy: str, may_vanish: Sequence[int] = ()
) -> None:
    """Refuse parameters for which the map is not invertible; one host read.

    Args:
        owner: for messages.
        shown: what must be above 0.
        values: of these.
        remedy: what else is allowed, as the end of the message.
        may_vanish: places of those that may be 0.
    """
    holds = [value >= 0 if place in may_vanish else value > 0 for place, value in enumerate(values)]
    flags = torch.stack([flag.all() for flag in holds])
    if host_answer(flags.all()) is not False:
        return
    place = int(flags.int().argmin())
    lowest = float(values[place].detach().min())
    least = "0 or more" if place in may_vanish else "above 0"
    raise ValueError(f"{owner}: {shown[place]} = {lowest:.6g}; allowed: {least}, where the map is invertible{remedy}")


def _tensors(network: Any) -> Iterator[Tensor]:
    """What a network holds, where that is known."""
    if isinstance(network, nn.Module):
        yield from network.parameters()


def check_vector(owner: str, name: str, value: Any, dim: int) -> None:
    """A vector (..., dim) of real numbers."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner}: {name} is of type {type(value).__name__}; allowed: a Tensor")
    if not value.dim() or value.shape[-1] != dim:
        raise ValueError(f"{owner}: {name} has shape {tuple(value.shape)}; allowed: last axis of size {dim}")
    if not value.is_floating_point():
        raise TypeError(f"{owner}: {name} has dtype {value.dtype}; allowed: real floating point")


def checked_dim(owner: str, dim: int, least: int = 1) -> int:
    """How many components the vectors have."""
    if isinstance(dim, bool) or not isinstance(dim, int) or dim < least:
        raise ValueError(f"{owner}: dim={dim!r}; allowed: a whole number, {least} or more")
    return dim


def checked_split(owner: str, dim: int, split: int | None) -> int:
    """How many components the first of two parts has: half of them unless given."""
    checked_dim(owner, dim, 2)
    if split is None:
        return dim // 2
    if isinstance(split, bool) or not isinstance(split, int) or not 0 < split < dim:
        raise ValueError(f"{owner}: split={split!r}; allowed: a whole number from 1 to {dim - 1}, below dim={dim}")
    return split


def checked_base(owner: str, base: Any, dim: int) -> Any:
    """A density of vectors; None for the standard normal one."""
    if base is None:
        return None
    if not (callable(getattr(base, "log_prob", None)) and callable(getattr(base, "sample", None))):
        raise TypeError(
            f"{owner}: base={base!r}; allowed: None for N(0, I), or a distribution with log_prob and sample"
        )
    shape = getattr(base, "event_shape", None)
    if shape is not None and tuple(shape) != (dim,):
        raise ValueError(
            f"{owner}: base has event_shape {tuple(shape)}; allowed: ({dim},), for example "
            "torch.distributions.Independent(Normal(...), 1)"
        )
    return base


def checked_network(owner: str, name: str, network: Any) -> Any:
    """A function of vectors, usually a module."""
    if not callable(network):
        raise TypeError(f"{owner}: {name} is {network!r}; allowed: an nn.Module or a function")
    return network

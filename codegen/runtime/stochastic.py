"""A loop over steps of a stochastic differential equation: its increments, and what is computed from its diffusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.arities import check_arguments, field_arity
from codegen.runtime.block_errors import StepError
from codegen.runtime.construction import check_number, check_steps
from codegen.runtime.random_states import check_generator, random_state, random_state_of
from codegen.runtime.step_net import StepLoop
from codegen.runtime.steps import Rules


class DiffusionError(StepError, ValueError):
    """A diffusion whose value does not fit the noise; it is said as it is, wherever it is called."""


class StochasticNet(StepLoop):
    """A loop over the steps of a stochastic differential equation.

    `forward(x, increments=None, generator=None)`: the increments of the Brownian motions, (steps, ..., m), are drawn
    before the first step where none are given, from the generator or from torch's own random numbers. They are drawn
    level by level: with the same seed, `steps * 2**j` steps see the same path at more times (Brownian bridge).
    """

    motions: Callable[[Tensor], int]
    """Initial state -> how many Brownian motions there are."""

    def __init__(self, rules: Rules, *, steps: int, t0: float | Tensor, t1: float | Tensor, **options: Any) -> None:
        super().__init__(rules, **options)
        owner = type(self).__name__
        self.steps = check_steps(owner, steps)
        self.t0, self.t1 = check_number(owner, "t0", t0), check_number(owner, "t1", t1)
        start, end = (torch.as_tensor(time).detach().to("cpu", torch.float64) for time in (t0, t1))
        if not torch.compiler.is_compiling() and known_later(start, end):
            raise ValueError(f"{owner}: t0={float(start):g}, t1={float(end):g}; allowed: t1 after t0")

    def step_count(self) -> int:
        """How many steps."""
        return self.steps

    def forward(self, x: Tensor, increments: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """x_0 of shape (..., d) -> x(t1) of the same shape."""
        return self._run(x, increments, generator, trajectory=False)

    def trajectory(
        self, x: Tensor, increments: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """x_0 of shape (..., d) -> the states at all times, (steps + 1, ..., d)."""
        return self._run(x, increments, generator, trajectory=True)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Increments for a call with x, (steps, ..., m): a draw of the Brownian motions of every sample."""
        dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
        device = x.device if generator is None else generator.device
        unit = brownian_increments(
            self.steps, (*x.shape[:-1], self.motions(x)), dtype=dtype, device=device, generator=generator
        )
        span = torch.as_tensor(self.t1, dtype=dtype, device=x.device) - torch.as_tensor(
            self.t0, dtype=dtype, device=x.device
        )
        return (unit.to(x.device) * span.sqrt()).to(x.dtype)

    def _run(self, x: Tensor, increments: Tensor | None, generator: torch.Generator | None, trajectory: bool) -> Tensor:
        (x,) = self.checked(x=x)
        check_generator(type(self).__name__, generator, increments, "increments")
        if x.dim() == 0:
            raise ValueError(f"{type(self).__name__}: x has no axes; allowed: (..., d), a last axis of d components")
        if increments is None:
            increments = self.draw(x, generator)
        else:
            self._check_increments(x, increments)
        return self.run_steps((x,), trajectory, (increments,))[0]

    def _check_increments(self, x: Tensor, increments: Any) -> None:
        owner = type(self).__name__
        if not isinstance(increments, Tensor) or increments.dtype != x.dtype:
            read = f"dtype {increments.dtype}" if isinstance(increments, Tensor) else type(increments).__name__
            raise TypeError(f"{owner}: increments: read {read}; allowed: a tensor of the dtype of x, {x.dtype}")
        wanted = (self.steps, *x.shape[:-1], self.motions(x))
        if increments.shape == wanted:
            return
        shapes = f"{owner}: increments have shape {tuple(increments.shape)}; allowed: (steps, ..., m) = {wanted}"
        if increments.dim() != len(wanted):
            raise ValueError(f"{shapes}: {len(wanted)} axes, read {increments.dim()}")
        axis = next(a for a, size in enumerate(wanted) if increments.shape[a] != size)
        raise ValueError(f"{shapes}: axis {axis} of size {wanted[axis]}, read size {increments.shape[axis]}")


def known_later(start: Tensor, end: Tensor) -> bool:
    """Whether a time is seen not to be before another; vmap forbids the host read."""
    try:
        return not bool(start < end)
    except RuntimeError:
        return False


def brownian_increments(steps: int, shape: tuple[int, ...], **options: Any) -> Tensor:
    """Increments of Brownian motions on [0, 1] over equal steps, (steps, *shape).

    The number of steps is an odd number times a power of two. Increments of the odd number of long steps are drawn
    first; then every step is halved, again and again: the middle of a bridge over a step of length s is the mean of its
    ends plus sqrt(s)/2 times a normal number. What is drawn for a level does not depend on how many follow.
    """
    odd = steps // (steps & -steps)
    increments = torch.randn((odd, *shape), **options) * odd**-0.5
    while len(increments) < steps:
        middle = torch.randn(increments.shape, **options) * (0.5 * len(increments) ** -0.5)
        half = 0.5 * increments
        increments = torch.stack((half + middle, half - middle), 1).flatten(0, 1)
    return increments


def check_term(owner: str, name: str, function: Any) -> Callable[..., Tensor]:
    """Drift or diffusion: a network for all steps."""
    if not callable(function):
        read = f"{name} is {function!r} of type {type(function).__name__}"
        raise TypeError(f"{owner}: {read}; allowed: an nn.Module or a function")
    check_arguments(owner, name, function)
    return function


class Diffusion(nn.Module):
    """The diffusion with its value checked; of one Brownian motion for all components without the last axis."""

    checks_itself, title = True, "diffusion"

    def __init__(self, owner: str, noise: str, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.owner, self.noise, self.function = owner, noise, function
        self.arity = field_arity(function)

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """Value at (t, x): (..., d), or (..., d, m) where the noise has columns of its own."""
        value = self.function(*(t, x)[-self.arity :])
        self._check(value, x)
        return value.squeeze(-1) if self.noise == "scalar" else value

    def _check(self, value: Any, x: Tensor) -> None:
        known: dict[str, tuple[int | str, ...]] = {"diagonal": (), "scalar": (1,)}
        columns = known.get(self.noise, ("m",))
        where = f"{self.owner}: diffusion was given x of shape {tuple(x.shape)} and returned"
        allowed = "(" + ", ".join(["...", "d", *map(str, columns)]) + ")"
        allowed = f"allowed where noise={self.noise!r}: {allowed} with the axes of x"
        if not isinstance(value, Tensor):
            raise DiffusionError(f"{where} a {type(value).__name__}; {allowed}")
        if value.dim() != x.dim() + len(columns):
            read = f"{value.dim()} axes, wanted {x.dim() + len(columns)}"
            raise DiffusionError(f"{where} shape {tuple(value.shape)}; {allowed}: read {read}")
        wanted = (*x.shape, *(size for size in columns if size == 1))
        for axis, size in enumerate(wanted):
            if value.shape[axis] != size:
                found = f"axis {axis} has size {value.shape[axis]}, wanted {size}"
                raise DiffusionError(f"{where} shape {tuple(value.shape)}; {allowed}: {found}")


class Correction(nn.Module):
    """c = 1/2 sum of Dg_j[g_j] over the columns g_j of a diffusion: one product with its Jacobian for each of them."""

    checks_itself, title = True, "derivative of the diffusion"

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__()
        self.diffusion = diffusion

    def forward(self, t: Any, x: Tensor) -> Tensor:
        """Value at (t, x), of the shape of x."""
        found: tuple[Any, ...] = torch.func.vjp(lambda z: self.diffusion(t, z), x)
        value, pull = found
        noise = self.diffusion.noise
        if noise == "diagonal":
            units = torch.eye(x.shape[-1], dtype=value.dtype, device=x.device).unbind(0)
            slopes = [pull(unit.expand_as(value))[0][..., i] for i, unit in enumerate(units)]
            return 0.5 * value * torch.stack(slopes, -1)
        if noise == "scalar":
            return 0.5 * pushed(pull, value, value)
        columns = [pushed(pull, value, column)[..., j] for j, column in enumerate(value.unbind(-1))]
        return 0.5 * torch.stack(columns, -1).sum(-1)


class Along(nn.Module):
    """The derivative of a diffusion along a direction."""

    checks_itself, title = True, "derivative of the diffusion"

    def __init__(self, diffusion: Diffusion) -> None:
        super().__init__()
        self.diffusion = diffusion

    def forward(self, t: Any, w: Tensor, x: Tensor) -> Tensor:
        """Dg(t, x)[w], of the shape of the diffusion."""
        found: tuple[Any, ...] = torch.func.vjp(lambda z: self.diffusion(t, z), x)
        return pushed(found[1], found[0], w)


def pushed(pull: Callable[..., Any], value: Tensor, direction: Tensor) -> Tensor:
    """The product of a Jacobian with a direction, as the pullback of its pullback: every transform follows it."""
    again: tuple[Any, ...] = torch.func.vjp(lambda u: pull(u)[0], torch.zeros_like(value))
    moved: Tensor = again[1](direction)[0]
    return moved


def diffusion_nets(owner: str, noise: str, function: Callable[..., Tensor], derived: bool) -> tuple[Any, ...]:
    """The diffusion as the steps call it; `derived`: with its correction and its derivative along a direction.

    A plain function stays one: what it is made of cannot be seen from outside.
    """
    diffusion = Diffusion(owner, noise, function)
    nets = (diffusion, Correction(diffusion), Along(diffusion)) if derived else (diffusion,)
    return nets if isinstance(function, nn.Module) else tuple(map(as_function, nets))


def as_function(net: nn.Module) -> Callable[..., Tensor]:
    """A module as a plain function with as many arguments."""

    def of_two(t: Any, x: Tensor) -> Tensor:
        value: Tensor = net(t, x)
        return value

    def of_three(t: Any, w: Tensor, x: Tensor) -> Tensor:
        value: Tensor = net(t, w, x)
        return value

    plain = of_three if isinstance(net, Along) else of_two
    vars(plain).update(checks_itself=True, title=net.title)
    return plain


def columns_of(owner: str, noise: str, function: Callable[..., Tensor], t0: float | Tensor, x: Tensor) -> int:
    """How many Brownian motions a matrix of a network has: one call, after which random numbers are as before.

    Steps with additive noise call it at zero: that it is the same at x is seen by one call more.
    """
    diffusion, time = Diffusion(owner, noise, function), torch.as_tensor(t0, dtype=x.dtype, device=x.device)
    state = random_state(x.device)
    x = torch.where(x == 0, torch.ones_like(x), x) if noise == "additive" else x
    with torch.no_grad(), random_state_of(state, x.device):
        value = diffusion(time, x)
    if noise == "additive" and not torch.compiler.is_compiling():
        with torch.no_grad(), random_state_of(state, x.device):
            check_same(owner, value, diffusion(time, torch.zeros_like(x)))
    return int(value.shape[-1])


def check_same(owner: str, value: Tensor, at_zero: Tensor) -> None:
    """Refuse a diffusion that reads the state; vmap forbids the host read."""
    gap, size = (torch.linalg.vector_norm(one.float()) for one in (value - at_zero, at_zero))
    try:
        differs = bool(gap > torch.finfo(value.dtype).eps ** 0.5 * size)
    except RuntimeError:
        return
    if differs:
        raise ValueError(
            f"{owner}: with noise='additive' diffusion(t0, x) and diffusion(t0, 0) differ by {float(gap):.3g} in norm; "
            "allowed: a diffusion that does not read x, or noise='general'"
        )

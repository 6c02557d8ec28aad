"""A loop over steps that read random draws: drawn in training, their means otherwise, or as they are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codegen.runtime.random_states import check_generator
from codegen.runtime.step_net import StepNet, as_floating, choose
from codegen.runtime.steps import Rules, Shared, State

Sampling = Callable[..., Tensor]  # (shape with a leading step axis, options of a new tensor) -> draws


class Law(NamedTuple):
    """The draws of all steps: `mean` (steps,); how they are made, if that is known; whether every component has one.

    `backward`: name of the draw that takes its place in the reverse sweep.
    """

    name: str
    mean: Tensor
    sampling: Sampling | None
    componentwise: bool
    backward: str = ""


def bernoulli(p: Tensor | float) -> Sampling:
    """1 with probability p, else 0."""
    return lambda shape, **options: (torch.rand(shape, **options) < along_steps(p, shape, options)).to(options["dtype"])


def uniform(low: Tensor | float, high: Tensor | float) -> Sampling:
    """Uniform between two numbers."""

    def sampling(shape: tuple[int, ...], **options: Any) -> Tensor:
        start, end = (along_steps(one, shape, options) for one in (low, high))
        return start + (end - start) * torch.rand(shape, **options)

    return sampling


def normal(mean: Tensor | float, deviation: Tensor | float) -> Sampling:
    """Normal with mean and standard deviation."""

    def sampling(shape: tuple[int, ...], **options: Any) -> Tensor:
        middle, spread = (along_steps(one, shape, options) for one in (mean, deviation))
        return middle + spread * torch.randn(shape, **options)

    return sampling


def along_steps(values: Tensor | float, shape: Sequence[int], options: dict[str, Any]) -> Tensor | float:
    """Numbers of the steps (steps,) that broadcast against draws; one for all is left as it is."""
    return values.to(options["device"]).reshape(-1, *(1 for _ in shape[1:])) if isinstance(values, Tensor) else values


class RandomNet(StepNet):
    """A loop over steps that read random draws.

    `forward(x, draws=None, generator=None)`: without draws, a net in training mode makes them, with the generator where
    there is one, and any other takes their means. All are made before the first step.
    """

    step_laws: Callable[[Tensor], list[Law]]
    """Initial state -> the laws of the draws."""

    def __init__(self, rules: Rules, *, per: str = "sample", backward: str = "same", **options: Any) -> None:
        super().__init__(rules, **options)
        self.per = choose(type(self).__name__, "per", per, ["sample", "layer"])
        self.backward = choose(type(self).__name__, "backward", backward, ["same", "independent"])

    def forward(self, x: Tensor, draws: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """x_0 of shape (..., features) -> x_N of the same shape."""
        return self._run(x, draws, generator, trajectory=False)

    def trajectory(self, x: Tensor, draws: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """x_0 of shape (..., features) -> all states, (steps+1, ..., features)."""
        return self._run(x, draws, generator, trajectory=True)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Any:
        """Draws for a call with x, as `forward` takes them."""
        made = self._drawn(self.step_laws(x), x, generator)
        return made[0] if len(made) == 1 else made

    def _run(self, x: Tensor, draws: Any, generator: torch.Generator | None, trajectory: bool) -> Tensor:
        (x,) = self.checked(x=x)
        check_generator(type(self).__name__, generator, draws, "draws")
        laws = self.step_laws(x)
        if draws is not None:
            rows = self._checked_draws(laws, x, draws)
        elif self.training:
            rows = self._drawn(laws, x, generator)
        else:
            rows = tuple(law.mean for law in laws for _ in names_of(law))
        return self.run_steps((x,), trajectory, rows)[0]

    def _drawn(self, laws: Sequence[Law], x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        made: list[Tensor] = []
        for law in laws:
            made.append(self._sample(law, x, generator))
            if law.backward:
                made.append(self._sample(law, x, generator) if self.backward == "independent" else made[-1])
        return tuple(made)

    def _sample(self, law: Law, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """One number for each layer is drawn on the CPU: what the steps do with it is then known before the loop."""
        if law.sampling is None:
            what = f"{type(self).__name__}: draws=None in training mode"
            raise ValueError(f"{what}; allowed: the draws of {law.name}, since its law is known by its moments alone")
        steps = self.step_count()
        if law.componentwise:
            shape: tuple[int, ...] = (steps, *x.shape)
        elif self.per == "sample" and x.dim() > 1:
            shape = (steps, x.shape[0], *(1 for _ in x.shape[1:]))
        else:
            shape = (steps,)
        device = torch.device("cpu") if len(shape) == 1 else x.device
        dtype = x.dtype if x.dtype == torch.float64 else torch.float32
        device = device if generator is None else generator.device
        return law.sampling(shape, device=device, dtype=dtype, generator=generator)

    def _checked_draws(self, laws: Sequence[Law], x: Tensor, draws: Any) -> tuple[Tensor, ...]:
        """The draws as given: a tensor, or a tuple of them; one of the reverse sweep may be left out."""
        given = list(draws) if isinstance(draws, tuple | list) else [draws]
        names = [name for law in laws for name in names_of(law)]
        if len(given) < len(names) and len(given) == len(laws):
            given = [one for law, value in zip(laws, given, strict=True) for one in [value] * len(names_of(law))]
        if len(given) != len(names):
            wanted = names[0] if len(names) == 1 else f"({', '.join(names)})"
            raise ValueError(f"{type(self).__name__}: draws has {len(given)} tensors; allowed: {wanted}")
        componentwise = [law.componentwise for law in laws for _ in names_of(law)]
        return tuple(self._checked_draw(*each, x) for each in zip(names, given, componentwise, strict=True))

    def _checked_draw(self, name: str, value: Any, componentwise: bool, x: Tensor) -> Tensor:
        owner, steps = type(self).__name__, self.step_count()
        if not isinstance(value, Tensor) or value.is_complex():
            read = f"of dtype {value.dtype}" if isinstance(value, Tensor) else f"of type {type(value).__name__}"
            raise TypeError(f"{owner}: draws: {name} is {read}; allowed: a tensor of real numbers")
        if value.requires_grad and self.gradient == "derived":
            raise ValueError(
                f"{owner}: draws: {name} needs a gradient; allowed: draws without one, or gradient='autograd'"
            )
        whole = (steps, *x.shape) if componentwise else (steps, *x.shape[:-1], 1)
        fits = value.dim() == len(whole) and all(a in (1, b) for a, b in zip(value.shape[1:], whole[1:], strict=True))
        if value.shape[:1] != (steps,) or not (value.dim() == 1 or fits):
            raise ValueError(
                f"{owner}: draws: {name} has shape {tuple(value.shape)}; allowed: ({steps},), one for each step, or "
                f"{whole}, in which every axis behind the first may be 1"
            )
        return value

    def _given(self, x: State, draws: tuple[Tensor, ...] = ()) -> tuple[Rules, tuple[Tensor, ...], Shared]:
        """Rules and parameters; a step whose draw is known to be zero does not call what is multiplied by it."""
        rules, local, shared = super()._given(x, tuple(draw.to(x[0]) for draw in draws))
        for place, without in rules.dropped:
            zero = zeros_on_host(draws[place])
            if any(zero):
                whole = rules._replace(dropped=())
                return whole._replace(start=tuple(without if none else whole for none in zero)), local, shared
        return rules, local, shared


def names_of(law: Law) -> tuple[str, ...]:
    """The names of a law's draws."""
    return (law.name, law.backward) if law.backward else (law.name,)


def zeros_on_host(draw: Tensor) -> list[bool]:
    """Which draws of one number for each step are zero; nothing where that would have to be asked of a device."""
    if draw.dim() != 1 or draw.device.type != "cpu" or torch.compiler.is_compiling():
        return []
    answers: list[list[bool]] = []
    ZeroTest.apply(answers, draw.detach())
    return answers[0] if answers else []


class ZeroTest(torch.autograd.Function):
    """Which numbers are zero, appended to `answers`; under vmap nothing is asked."""

    @staticmethod
    def forward(answers: list[list[bool]], values: Tensor) -> Tensor:
        """Read on the host."""
        answers.append((values == 0).tolist())
        return values.new_empty(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing to differentiate."""
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], answers: list[list[bool]], values: Tensor) -> tuple[Tensor, None]:
        """A batched tensor cannot be read on the host."""
        return values.new_empty(0), None


def with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    """The value, with the derivatives of another: as many of them as are taken."""
    return other + (value - other).detach()


def per_step(x: Tensor, values: Sequence[float]) -> Tensor:
    """Numbers of the steps (steps,) in the dtype and on the device of the state."""
    return torch.tensor(values, dtype=x.dtype, device=x.device)


def numbers(value: Any) -> Any:
    """Numbers in float64, whatever the default dtype is; what cannot be read is left for the message."""
    try:
        return torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        return value


def check_interval(owner: str, name: str, value: Any, allowed: str, ends: tuple[float, float, bool, bool]) -> float:
    """A number in an interval; `ends`: low, high, and whether each of them is left out."""
    low, high, above, below = ends
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: {name}={value!r}; allowed: {allowed}") from error
    if not ((number > low if above else number >= low) and (number < high if below else number <= high)):
        raise ValueError(f"{owner}: {name}={number!r}; allowed: {allowed}")
    return number


def check_values(
    owner: str, name: str, value: Any, steps: int, allowed: str, ends: tuple[float, float, bool, bool]
) -> tuple[float, ...]:
    """A number for each step, from one for all or from one for each."""
    exact = value if isinstance(value, Tensor) else numbers(value)
    data = as_floating(owner, name, exact, f"{allowed}, or one for each of the {steps} steps").double()
    if data.dim() > 1 or (data.dim() == 1 and len(data) != steps):
        read = f"{name} has shape {tuple(data.shape)}"
        raise ValueError(f"{owner}: {read}; allowed: {allowed}, or one for each step in shape ({steps},)")
    return tuple(check_interval(owner, name, one, allowed, ends) for one in data.expand(steps).tolist())

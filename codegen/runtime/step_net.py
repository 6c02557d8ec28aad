"""The module that is a loop over steps: it chooses between the derived and the plain form and checks its options."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from codegen.runtime.blocks import Blocks, field_arity
from codegen.runtime.step_functions import DerivedSteps, FiniteTest
from codegen.runtime.steps import Plan, Recording, Rules, Shared, checked_field, name_bad_step, run_plain

DEFAULT_TOL = {torch.float64: 1e-6, torch.float32: 1e-3}  # for rebuilt states; lower precisions: 5e-2


class StepNet(nn.Module):
    """A net or integrator that is a loop over the steps of `rules`.

    A subclass says which blocks the steps call (`step_blocks`) and which parameters they use (`step_parameters`).
    """

    def __init__(self, rules: Rules, *, memory: str, gradient: str, tol: float | None = None) -> None:
        super().__init__()
        self.rules = rules
        modes = ["store", "recompute", "checkpoint"] + ["invert"] * (rules.inverse is not None)
        self.memory = choose(type(self).__name__, "memory", memory, modes)
        self.gradient = choose(type(self).__name__, "gradient", gradient, ["derived", "autograd"])
        if tol is not None and not (isinstance(tol, float | int) and tol > 0):
            raise ValueError(f"{type(self).__name__}: tol={tol!r}; allowed: a number above 0, or None for the default")
        self.tol = tol

    def step_blocks(self) -> Sequence[Callable[..., Tensor]]:
        """The block of each step, or nothing for a system without opaque blocks."""
        return ()

    def step_parameters(self, x: Tensor) -> tuple[tuple[Tensor, ...], Shared]:
        """(per-step parameters with a leading step axis, parameters and numbers used by every step)."""
        raise NotImplementedError

    def step_count(self) -> int:
        """How many steps."""
        return len(self.step_blocks())

    def parameter_per_step(
        self, name: str, value: float | Sequence[float] | Tensor, rows: int, features: tuple[str, ...] = ()
    ) -> nn.Parameter:
        """A parameter with one row per step, from one value for all steps or from one for each."""
        owner = type(self).__name__
        if rows < 0:
            raise ValueError(f"{owner}: no blocks; allowed: one block or more")
        shape = ", ".join(["steps", *features])
        data = as_floating(owner, name, value, f"a number, or one for each step in shape ({shape})").detach()
        if data.dim() == 0:
            data = data.expand(rows)
        if data.dim() > 1 + len(features):
            raise ValueError(f"{owner}: {name} has shape {tuple(data.shape)}; allowed: a number, or shape ({shape})")
        if len(data) != rows:
            raise ValueError(f"{owner}: {name} has {len(data)} rows on axis 0; allowed: {rows}, or a single number")
        return nn.Parameter(data.clone())

    def forward(self, x: Tensor) -> Tensor:
        """x_0 of shape (..., features) -> x_N of the same shape."""
        return self.solve(self._checked(x), trajectory=False)

    def trajectory(self, x: Tensor) -> Tensor:
        """x_0 of shape (..., features) -> all states, (steps+1, ..., features)."""
        return self.solve(self._checked(x), trajectory=True)

    def _checked(self, x: Tensor) -> Tensor:
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: x is a {type(x).__name__}; allowed: a Tensor of a floating dtype")
        if not x.is_floating_point():
            raise TypeError(f"{name}: x has dtype {x.dtype}; allowed: a floating dtype, such as torch.float32")
        return x

    def extra_repr(self) -> str:
        """The options."""
        tol = "" if self.tol is None else f", tol={self.tol:g}"
        return f"steps={self.step_count()}, memory={self.memory!r}, gradient={self.gradient!r}{tol}"

    def solve(self, x: Tensor, trajectory: bool) -> Tensor:
        """Run the steps in the form that the options, the tensors and the compiler ask for."""
        functions = self.step_blocks()
        local, shared = self.step_parameters(x)
        if self.gradient == "autograd" or self._needs_plain(functions):
            return self._solve_plain(x, functions, local, shared, trajectory)
        blocks = Blocks(functions, type(self).__name__)
        tensors = [value for value in shared if isinstance(value, Tensor)]
        inputs = (x, *local, *tensors, *blocks.parameters)
        if not any(tensor.requires_grad for tensor in inputs):
            return self._solve_plain(x, functions, local, shared, trajectory)
        casting = torch.is_autocast_enabled(x.device.type), torch.get_autocast_dtype(x.device.type)
        numbers = tuple(None if isinstance(value, Tensor) else float(value) for value in shared)
        plan = Plan(
            name=blocks.owner,
            rules=self.rules,
            blocks=blocks,
            steps=self.step_count(),
            memory=self.memory,
            tol=self.tol or DEFAULT_TOL.get(casting[1] if casting[0] else x.dtype, 5e-2),
            trajectory=trajectory,
            local_count=len(local),
            shared=numbers,
            device=x.device,
            autocast=casting,
        )
        output: Tensor = DerivedSteps.apply(plan, Recording(), *inputs)[0]
        return output

    def _needs_plain(self, functions: Sequence[Callable[..., Tensor]]) -> bool:
        """Where the derived form cannot serve or has nothing to do.

        Forward mode needs the plain form because a rule of a Function loses the tangents of an outer forward mode. A
        plain function whose graph is kept is followed by autograd to tensors that cannot be seen from here.
        """
        hidden = self.memory == "store" and not all(isinstance(function, nn.Module) for function in functions)
        return hidden or torch.compiler.is_compiling() or not torch.is_grad_enabled() or forward_mode_on()

    def _solve_plain(
        self,
        x: Tensor,
        functions: Sequence[Callable[..., Tensor]],
        local: Sequence[Tensor],
        shared: Shared,
        trajectory: bool,
    ) -> Tensor:
        name = type(self).__name__
        arities = {id(function): field_arity(function) for function in functions}

        def field_of(n: int) -> Callable[..., Tensor]:
            return checked_field(functions[n], arities[id(functions[n])], name, n) if functions else no_field

        steps = self.step_count()
        output = run_plain(self.rules, field_of, steps, x, local, shared, trajectory)
        if not torch.compiler.is_compiling():
            answers: list[bool] = []
            FiniteTest.apply(answers, output.detach())
            if answers == [False]:
                with torch.no_grad():
                    states = run_plain(self.rules, field_of, steps, x, local, shared, True)
                    name_bad_step(name, states, bool(functions))
        return output


def forward_mode_on() -> bool:
    """Whether a level of forward-mode differentiation is open: a second one cannot be opened then."""
    try:
        with forward_ad.dual_level():
            return False
    except RuntimeError:
        return True


def no_field(*points: Any) -> Tensor:
    """The field of a system that is written out: its rules never call it."""
    raise NotImplementedError("these rules have no opaque field")


def choose(owner: str, option: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is allowed; else an error that says what is, and what was perhaps meant."""
    if value in allowed:
        return value
    close = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"{owner}: {option}={value!r}; allowed: {', '.join(map(repr, allowed))}{hint}")


def as_floating(owner: str, name: str, value: object, allowed: str) -> Tensor:
    """A tensor of a floating dtype, from a tensor or from numbers, which take the default dtype."""
    try:
        data = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{owner}: {name}={value!r}; allowed: {allowed}") from error
    if not data.is_floating_point():
        raise TypeError(f"{owner}: {name} has dtype {data.dtype}; allowed: a floating dtype, such as torch.float32")
    return data


def check_size(owner: str, what: str, tensor: Tensor, axis: int, size: int) -> None:
    """Error naming the axis and both sizes unless `tensor` has `size` there."""
    if tensor.dim() < -axis or tensor.shape[axis] != size:
        read = f"size {tensor.shape[axis]}" if tensor.dim() >= -axis else "no such axis"
        raise ValueError(
            f"{owner}: {what} has shape {tuple(tensor.shape)}; allowed: axis {axis} of size {size}, read {read}"
        )

"""A continuous flow: the state and the integral of the field's divergence, moved together by the steps of a solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codegen.runtime.adaptive_net import AdaptiveNet
from codegen.runtime.adaptive_steps import SolveStats
from codegen.runtime.blocks import field_arity
from codegen.runtime.choices import one_of
from codegen.runtime.construction import check_field, check_number, check_steps
from codegen.runtime.flows import FlowNet, host_answer


class AugmentedField(nn.Module):
    """(t, (z, l)) -> (field(t, z), its divergence).

    Args:
        owner: for messages.
        field: the field.
        probe: random signs e of the shape of z, for which the divergence is estimated by e . J e; None for the exact
            one, a product of the Jacobian's transpose with every unit vector.
    """

    def __init__(self, owner: str, field: Callable[..., Tensor], probe: Tensor | None) -> None:
        super().__init__()
        self.owner, self.field, self.probe = owner, field, probe
        self.arity = field_arity(field)

    def forward(self, t: Tensor, s: Tensor) -> Tensor:
        """Velocity of z, and in the last component of l."""
        z = s[..., :-1]
        value: tuple[Any, ...] = torch.func.vjp(lambda x: self.velocity(t, x), z)
        velocity, pull_back = value
        if self.probe is not None:
            divergence = (pull_back(self.probe)[0] * self.probe).sum(-1, keepdim=True)
        else:
            units = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device).unbind(0)
            rows = [pull_back(unit.expand_as(z))[0][..., i] for i, unit in enumerate(units)]
            divergence = torch.stack(rows, -1).sum(-1, keepdim=True)
        return torch.cat((velocity, divergence), -1)

    def velocity(self, t: Tensor, z: Tensor) -> Tensor:
        """The field, whose value has the shape of its argument."""
        value = self.field(t, z) if self.arity == 2 else self.field(z)
        if not isinstance(value, Tensor) or value.shape != z.shape:
            shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            given = f"field was given z of shape {tuple(z.shape)} and returned {shown}"
            raise ValueError(f"{self.owner}: {given}; allowed: the same shape")
        return value


class WrittenField(nn.Module):
    """A field that is written out, with its divergence: (t, (z, l)) -> (velocity of z, divergence)."""


class ContinuousNet(FlowNet):
    """A flow whose map is the solution of an ODE from t0 to t1; the inverse goes back.

    `stats` counts evaluations and steps of the last solution with adaptive steps.
    """

    fixed: Callable[..., nn.Module]
    """(field, steps, t0, t1, memory, gradient) -> the loop over steps of one size."""

    adaptive: Callable[..., AdaptiveNet]
    """(field, t0, t1, method, rtol, atol, ...) -> the same with steps that an embedded pair chooses."""

    adaptive_method: str
    """The pair unless another is named."""

    def __init__(
        self,
        dim: int,
        field: Callable[..., Tensor],
        *,
        t0: float | Tensor,
        t1: float | Tensor,
        solver: str,
        steps: int,
        method: Any,
        rtol: float | None,
        atol: float | None,
        max_steps: int | None,
        trace: str,
        memory: str,
        base: Any,
        gradient: str,
    ) -> None:
        super().__init__(dim, base=base, gradient=gradient)
        self.field = check_field(self.owner, field)
        self.t0, self.t1 = check_number(self.owner, "t0", t0), check_number(self.owner, "t1", t1)
        start, end = (torch.as_tensor(time).detach() for time in (t0, t1))
        if host_answer(start.to(end) == end):
            raise ValueError(f"{self.owner}: t0 = t1 = {float(end):g}; allowed: two different times")
        self.solver = one_of(f"{self.owner}: solver", solver, ("fixed", "adaptive"))
        self.steps = check_steps(self.owner, steps)
        self.tolerances = self._tolerances({"method": method, "rtol": rtol, "atol": atol, "max_steps": max_steps})
        self.trace = one_of(f"{self.owner}: trace", trace, ("exact", "hutchinson"))
        self.memory = memory
        self.stats = SolveStats()
        self._solution(None, True)

    def _tolerances(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the control of the steps is told: what is given, or else the defaults."""
        named = [name for name, value in given.items() if value is not None]
        if self.solver == "fixed" and named:
            raise ValueError(
                f"{self.owner}: {', '.join(named)} with solver='fixed', whose steps have one size; allowed: steps=..., "
                "or solver='adaptive', which takes them"
            )
        defaults = {"method": self.adaptive_method, "rtol": 1e-6, "atol": 1e-8, "max_steps": 10000}
        return {name: defaults[name] if value is None else value for name, value in given.items()}

    def _solution(self, probe: Tensor | None, ahead: bool) -> nn.Module:
        t0, t1 = (self.t0, self.t1) if ahead else (self.t1, self.t0)
        common = {"t0": t0, "t1": t1, "memory": self.memory, "gradient": self.gradient}
        field = self._augmented(probe)
        if self.solver == "fixed":
            return self.fixed(field, steps=self.steps, **common)
        return self.adaptive(field, adjoint="discrete", first_step=None, **self.tolerances, **common)

    def _augmented(self, probe: Tensor | None) -> Callable[..., Tensor]:
        if isinstance(self.field, WrittenField):
            return self.field
        augmented = AugmentedField(self.owner, self.field, probe)
        # of a plain function stays one: solvers ask these whether they use tensors that need gradients
        return augmented if isinstance(self.field, nn.Module) else augmented.forward

    def _solve(self, z: Tensor, ahead: bool) -> tuple[Tensor, Tensor]:
        """The state at the other end, and the integral of the divergence on the way."""
        probe = None
        if self.trace == "hutchinson":
            probe = 2 * torch.randint(0, 2, z.shape, device=z.device).to(z.dtype) - 1
        solution = self._solution(probe, ahead)
        end = solution(torch.cat((z, torch.zeros_like(z[..., :1])), -1))
        self.stats = solution.stats if isinstance(solution, AdaptiveNet) else self.stats
        return end[..., :-1], end[..., -1:]

    def run_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """From t0 to t1."""
        return self._solve(x, True)

    def run_inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """From t1 to t0."""
        return self._solve(y, False)

    def extra_repr(self) -> str:
        chosen = {"steps": self.steps} if self.solver == "fixed" else {"solver": self.solver, **self.tolerances}
        shown = "".join(f", {name}={value!r}" for name, value in chosen.items())
        return super().extra_repr() + f", t0={self.t0}, t1={self.t1}{shown}, trace={self.trace!r}"

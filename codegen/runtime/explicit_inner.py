"""Steps of x' = V z(W x + b) + u in y = W x + b, which spares two matrix products per stage for one.

Runge-Kutta steps commute with affine maps: y takes those of y' = G z(y) + g with G = W V and g = W u, and x moves by
V s + u t, where s is the sum of h b_i z_i over all stages of all steps and t the time that they take.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from codegen.runtime.explicit_field import Tableau, Values, WrittenField
from codegen.runtime.explicit_reverse import ExplicitReverse
from codegen.runtime.explicit_steps import Steps
from codegen.runtime.steps import Plan, Shared
from codegen.runtime.sweep import added, segment_length


class InnerField(NamedTuple):
    """The field of y, which reads G and, where there is a u, g behind the shared quantities.

    maps(shared) -> (W, b, V, u); b and u may be None
    output: the place of z among the values of the field
    """

    field: WrittenField
    maps: Callable[[Shared], tuple[Tensor, Tensor | None, Tensor, Tensor | None]]
    output: int

    def serves(self, plan: Plan, inputs: Sequence[Tensor]) -> bool:
        """Whether the products are smaller, and nothing but the last state and gradients for one step size is asked."""
        _, local, tensors, _ = plan.split(inputs)
        if plan.trajectory or len(local) or plan.shared[self.field.step_size] is None:
            return False
        entry, _, exit, _ = self.maps(plan.full_shared(tensors))
        (inside, outside), last = entry.shape, exit.shape[1]
        return inside * last < outside * (inside + last)

    def call(self, plan: Plan, x: Tensor, tensors: Sequence[Tensor]) -> tuple[Plan, Values]:
        """What the sweeps of y are given: a plan, and y, the shared tensors, G and g."""
        entry, bias, exit, drift = self.maps(plan.full_shared(tensors))
        y = x.reshape(-1, x.shape[-1]) @ entry.mT
        y = y if bias is None else y + bias
        products = (entry @ exit,) if drift is None else (entry @ exit, entry @ drift)
        return replace(plan, shared=(*plan.shared, *(None for _ in products))), (y, *tensors, *products)

    def moved(self, plan: Plan, x: Tensor, tensors: Sequence[Tensor], total: Tensor) -> Tensor:
        """x + V s + u t."""
        shared = plan.full_shared(tensors)
        _, _, exit, drift = self.maps(shared)
        x = x + (total @ exit.mT).reshape(x.shape)
        return x if drift is None else x + drift * (plan.steps * float(shared[self.field.step_size]))


def forward_inner(inner: InnerField, tableau: Tableau, plan: Plan, inputs: Sequence[Tensor]) -> tuple[Tensor, Values]:
    """The last state; the states of y that are stored, and s."""
    (x,), _, tensors, _ = plan.split(inputs)
    steps = Steps(inner.field, tableau, *inner.call(plan, x, tensors))
    every = segment_length(plan)
    kept = steps.start.new_empty(-(-plan.steps // every), *steps.start.shape)
    total = steps.start.new_zeros(*steps.batch, *steps.shapes[inner.output])
    steps.run(steps.start, 0, plan.steps, kept, every, (inner.output, total))
    return inner.moved(plan, x, tensors, total), (kept, total)


def reverse_inner(
    inner: InnerField, tableau: Tableau, plan: Plan, needs: Sequence[bool], inputs: Sequence[Tensor],
    stored: Sequence[Tensor], bar: Tensor,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Cotangents of the inputs: by way of the field of y, and by way of the maps, which autograd follows."""
    (x,), _, tensors, _ = plan.split(inputs)
    kept, total = stored
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_() for one in (x, *tensors)]
        sums = total.detach().requires_grad_()
        called, given = inner.call(plan, leaves[0], leaves[1:])
        moved = inner.moved(plan, leaves[0], leaves[1:], sums)
    (bar_total,) = torch.autograd.grad(moved, [sums], bar, retain_graph=True)
    values = [one.detach() for one in given]
    steps = Steps(inner.field, tableau, called, values)
    wanted = (True, *needs[1:], *(True for _ in given[len(inputs) :]))
    scaled = {weight: weight * bar_total for weight in tableau.b}
    seeds = [(scaled[weight],) for weight in tableau.b]
    found = ExplicitReverse(steps, wanted, values[0], kept, seeds).run(torch.zeros_like(values[0]))
    ends = [(moved, bar), *((one, end) for one, end in zip(given, found, strict=True) if one.grad_fn is not None)]
    outputs, bars = zip(*((one, end) for one, end in ends if end is not None), strict=True)
    by_maps = torch.autograd.grad(outputs, leaves, bars, allow_unused=True)
    by_field = (None, *found[1 : len(inputs)])
    totals = (added(one, other) for one, other in zip(by_maps, by_field, strict=True))
    return tuple(bar if need else None for bar, need in zip(totals, needs, strict=True))

"""What the backward pass of an emitted module keeps in each memory mode, measured, against its depth."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from codegen.verification.measures import uniform
from codegen.verification.step_cases import memory_modes
from codegen.verification.step_setting import Numbers, Setting
from derive.explanation import recurrences
from derive.systems import ODE
from plots import style
from plots.modules import module_class
from plots.runs import Array
from plots.subject import Subject

DEPTHS = (8, 16, 32, 64, 128)
BATCH = 256
HIDDEN = 8  # of the blocks


@dataclass(frozen=True)
class Kept:
    """Bytes kept for the backward pass.

    Attributes:
        depth: numbers of steps, (depths,).
        states: mode -> bytes kept over the bytes of one state, (depths,); `autograd` stands for the same steps without
            the derived backward pass.
    """

    depth: Array
    states: dict[str, Array]


def data(subject: Subject) -> Kept:
    """One forward pass for each depth and mode."""
    kind = module_class(subject.spec)
    kept: dict[str, list[float]] = {}
    for depth in DEPTHS:
        setting = _setting(subject, depth)
        generator = torch.Generator().manual_seed(1)
        inputs = [uniform((BATCH, *shape), -0.5, 0.5, generator) for shape in setting.input_shapes().values()]
        one = sum(x.nbytes for x in inputs)
        for label, mode in {"autograd": "store", **{name: name for name in memory_modes(kind, setting)}}.items():
            module = setting.build(kind, {}, mode, "autograd" if label == "autograd" else "derived")
            kept.setdefault(label, []).append(kept_bytes(module, inputs) / one)
    return Kept(np.array(DEPTHS, dtype=float), {label: np.array(values) for label, values in kept.items()})


def _setting(subject: Subject, depth: int) -> Setting:
    spec = subject.spec
    options = recurrences(spec)
    option = spec.default_option if spec.option else next(iter(options))
    recurrence = options[option]
    ode = spec.system if isinstance(spec.system, ODE) else None
    start = next(iter(recurrence.starts), "")
    made = Numbers().setting(ode, recurrence, depth, start, (0.0, 1.0), HIDDEN)
    return replace(made, option={spec.option: option} if spec.option else {})


class _Pack:
    """A tensor kept for the backward pass."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def kept_bytes(module: nn.Module, inputs: list[Tensor]) -> int:
    """Bytes of all storages kept for the backward pass, besides the inputs and the parameters."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    given = {value.untyped_storage().data_ptr() for value in (*inputs, *module.parameters(), *module.buffers())}
    alive: weakref.WeakSet[_Pack] = weakref.WeakSet()

    def pack(value: Tensor) -> _Pack:
        kept = _Pack(value.detach())
        alive.add(kept)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.value):
        output = module(*inputs)
    storages = {kept.value.untyped_storage().data_ptr(): kept.value.untyped_storage().nbytes() for kept in alive}
    del output
    return sum(size for place, size in storages.items() if place not in given)


def draw(subject: Subject, found: Kept) -> Figure:
    """One line for each mode, both axes logarithmic."""
    figure, (axes,) = style.panels(width=5.4, height=3.9)
    for colour, marker, (label, states) in zip(style.COLOURS, "osD^vP", found.states.items(), strict=False):
        # the same steps under autograd often keep what `store` keeps: they lie as a broad line below it
        wide: dict[str, Any] = {"linewidth": 6, "alpha": 0.35, "markersize": 0} if label == "autograd" else {}
        axes.loglog(found.depth, np.maximum(states, 0.5), f"{marker}-", base=2, color=colour, label=label, **wide)
    axes.set(xlabel="depth (steps)", ylabel="kept, in states", xticks=found.depth)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    style.title(axes, f"{subject.title}", f"kept for the backward pass by memory mode, batch {BATCH}")
    style.legend_below(figure, [axes], 3)
    return figure

"""Gradients over the layers of a deep net at initialization: every activation under four initializations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from codegen.diagnostics import gradient_profile
from derive.catalog.deep19_gradient_profile_checks import inner_slope
from plots import style
from plots.modules import module_class
from plots.runs import Array
from plots.subject import Subject

LAYERS, WIDTH, BATCH, CLASSES = 19, 256, 64, 10
ACTIVATIONS = ("elu", "relu", "sigmoid", "tanh")
# Title -> standard deviation of the weights of a layer that reads n numbers; None: as the module draws them.
INITIALIZATIONS: dict[str, Any] = {
    r"as drawn: $U(\pm 1/\sqrt{n})$, bias too": None,
    r"$N(0, 1/n)$, no bias": lambda n: n**-0.5,
    r"$N(0, 2/n)$, no bias": lambda n: (2 / n) ** 0.5,
    r"$N(0, 0.01^2)$ at $n = 1024$, no bias": lambda n: 0.01 * (1024 / n) ** 0.5,  # the same n times the variance
}


@dataclass(frozen=True)
class Profile:
    """Lengths of gradients, log10.

    Attributes:
        activations: in the order of the first axis after that of initializations.
        neurons: (initializations, activations, LAYERS, 3): mean, and first and last tenth, over the neurons of a layer,
            of the length of the gradient in the weights that a neuron reads.
    """

    activations: tuple[str, ...]
    neurons: Array


def data(subject: Subject) -> Profile:
    """Cross-entropy of random classes, summed over a batch of normal inputs."""
    spec = subject.spec
    names = tuple(name for name in ACTIVATIONS if name in spec.variants)
    kind, sizes = module_class(spec), [WIDTH] * LAYERS + [CLASSES]
    random = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, WIDTH, generator=random, dtype=torch.float64)
    classes = torch.randint(CLASSES, (BATCH,), generator=random)

    def loss(output: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, classes, reduction="sum")

    rows = []
    for deviation in INITIALIZATIONS.values():
        for name in names:
            torch.manual_seed(0)
            net = kind(sizes, dtype=torch.float64, **{spec.option: name})
            if deviation is not None:
                draw_weights(net, deviation)
            found = gradient_profile(net, x, loss)
            rows.append([_spread(lengths) for lengths in found.neurons.values()])
    return Profile(names, np.array(rows).reshape(len(INITIALIZATIONS), len(names), LAYERS, 3))


def draw_weights(net: nn.Module, deviation: Any) -> None:
    """Normal weights of a standard deviation that depends on how many numbers a layer reads, and no bias."""
    with torch.no_grad():
        for value in net.parameters():
            value.normal_(0, deviation(value.shape[1])) if value.dim() > 1 else value.zero_()


def _spread(lengths: Tensor) -> list[float]:
    logs = lengths.clamp_min(torch.finfo(torch.float64).tiny).log10()
    alive = logs[logs > -300]  # a rectified unit that no sample moves has no gradient
    return [alive.mean().item(), alive.quantile(0.1).item(), alive.quantile(0.9).item()]


def decades_per_layer(found: Profile) -> Array:
    """(initializations, activations): decades lost per layer towards the input, by a line through the inner layers."""
    return np.array([[inner_slope(row) for row in one] for one in found.neurons[..., 0]])


def draw(subject: Subject, found: Profile) -> Figure:
    """A panel for each initialization; a curve for each activation, with the tenths of its neurons."""
    figure, axes = style.panels(4, width=11.5, height=3.7)
    layers, lost = np.arange(1, LAYERS + 1), decades_per_layer(found)
    for panel, (name, one) in enumerate(zip(INITIALIZATIONS, axes, strict=True)):
        for place, activation in enumerate(found.activations):
            mean, low, high = found.neurons[panel, place].T
            label = f"{activation}: {round(lost[panel, place], 2) + 0.0:.2f}"
            one.plot(layers, mean, "o-", color=style.colour(place), markersize=2.4, label=label)
            one.fill_between(layers, low, high, color=style.colour(place), alpha=0.15, linewidth=0)
        one.set(xlabel="layer", xlim=(1, LAYERS), xticks=[1, 5, 10, 15, LAYERS])
        style.title(one, name)
        one.legend(loc="lower right", fontsize=8, handlelength=1.2, borderaxespad=0.2)
    what = r"$\log_{10} |\nabla_{W_{k,j,:}} E|$ over the layers"
    what = f"{what}, {LAYERS} of {WIDTH} units; beside the names, decades that a layer takes on the way to the input"
    figure.suptitle(f"{subject.title}\n{what}", x=0.01, ha="left", fontsize=10)
    return figure

"""Cases of flows: constrained and not, against the reference evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.measures import uniform
from codegen.verification.stand_in import stand_in
from codegen.verification.step_setting import numeric
from derive.errors import DeriveError
from derive.evaluator import evaluate, value_of
from derive.flow import Flow
from derive.flow_programs import flow_programs
from derive.injectivity import changing_points
from derive.networks import Network
from derive.operators import Numeric
from derive.sampling import TanhNetwork
from derive.symbols import Quantity
from derive.systems import Spec

DIM, SMALL_DIM = 5, 3
BATCH, SMALL_BATCH = (2, 4), (1,)
HIDDEN, SMALL_HIDDEN = 3, 1
CLEARANCES = (0.3, 0.03)  # of conditions and factors from zero: what is near it is not computed to 1e-12
TRIES = 200


@dataclass(frozen=True)
class FlowSetting:
    """A flow of one size with numbers for all that is learned.

    Attributes:
        flow: the system.
        dim: components of a vector.
        constrain: whether its parameters pass through the constraint; None where there is none.
        values: what is learned, by quantity.
        networks, thetas: the stand-ins and their parameters.
    """

    flow: Flow
    dim: int
    constrain: bool | None
    values: Mapping[Quantity, Tensor]
    networks: Mapping[Network, TanhNetwork]
    thetas: Mapping[Network, Tensor]

    @property
    def label(self) -> str:
        """The choice."""
        return "" if self.constrain is None else f"constrain={self.constrain}"

    def given_networks(self) -> list[nn.Module]:
        """The stand-ins as the constructor takes them."""
        return [stand_in(model.shapes, self.thetas[network]) for network, model in self.networks.items()]

    def build(
        self, kind: Callable[..., nn.Module], gradient: str = "derived", networks: Sequence[nn.Module] | None = None
    ) -> nn.Module:
        """The module in float64 with exactly these numbers."""
        option = {} if self.constrain is None else {"constrain": self.constrain}
        given = self.given_networks() if networks is None else networks
        module = kind(self.dim, *given, gradient=gradient, **option).double()
        with torch.no_grad():
            for quantity, value in self.values.items():
                module.get_parameter(quantity.name).copy_(value)
        return module

    def known(self) -> dict[Quantity, Numeric]:
        """The parameters as the map reads them."""
        learned = {q: numeric(value) for q, value in self.values.items()}
        found = {**learned, **{n.theta: numeric(theta) for n, theta in self.thetas.items()}}
        if self.constrain:
            constraint = self.flow.constraint()
            hats = evaluate(constraint, {q: learned[q] for q in constraint.inputs})
            found |= {q: hats[hat] for q, hat in self.flow.effective.items()}
        return found

    def parts(self, vector: Numeric, of: Sequence[Quantity]) -> dict[Quantity, Numeric]:
        """A vector as the quantities that are its parts."""
        cut = np.split(vector, [self.dim // 2]) if len(of) == 2 else [vector]
        return dict(zip(of, cut, strict=True))

    def run(self, vector: Numeric, back: bool = False) -> tuple[Numeric, Numeric]:
        """(image, log-determinant) of one sample by the reference evaluator."""
        derived = flow_programs(self.flow)
        program = derived.backward if back else derived.forward
        if program is None:
            raise DeriveError("the flow has no inverse")
        given = {**self.known(), **self.parts(vector, self.flow.images if back else self.flow.parts)}
        known = evaluate(program, {q: given[q] for q in program.inputs}, self.networks)
        *images, log_det = program.outputs
        return np.concatenate([known[q] for q in images]), known[log_det]

    def bounds(self) -> list[Numeric]:
        """Finite ends of the image, where the map is not onto."""
        return [value_of(bound, self.known()) for bound in flow_programs(self.flow).bounds]

    def clear(self, samples: Sequence[Numeric], clearance: float) -> bool:
        """Whether conditions hold, no factor comes near zero at the samples, and the map is one to one."""
        derived, known = flow_programs(self.flow), self.known()
        judged = [c.value for c in derived.conditions if c.positive and c.of_parameters]
        if any(np.min(value_of(value, known)) < clearance for value in judged):
            return False
        for sample in samples:
            given = {**known, **self.parts(sample, self.flow.parts)}
            found = evaluate(derived.forward, {q: given[q] for q in derived.forward.inputs}, self.networks)
            if any(np.min(np.abs(value_of(f.value, found))) < clearance for f in derived.named):
                return False
        return len(self.flow.parts) > 1 or changing_points(self.flow, derived.factors, known) is None


def settings(spec: Spec, dim: int, samples: Tensor, hidden: int = HIDDEN) -> list[FlowSetting]:
    """One setting for each way to hold the parameters; numbers are drawn until the map is well away from singular."""
    (flow,) = (system for system in spec.variants.values() if isinstance(system, Flow))
    choices: list[bool | None] = [True, False] if flow.constrained else [None]
    rows = [row.numpy() for row in samples.reshape(-1, dim)]
    return [_drawn(flow, dim, choice, rows, hidden) for choice in choices]


def _drawn(flow: Flow, dim: int, constrain: bool | None, rows: Sequence[Numeric], hidden: int) -> FlowSetting:
    generator = torch.Generator().manual_seed(31)
    cut = (dim // 2, dim - dim // 2) if len(flow.parts) == 2 else (dim,)
    sizes: dict[Any, int] = {part.shape[0]: size for part, size in zip(flow.parts, cut, strict=True)}
    networks = {
        n: TanhNetwork(sizes[n.maps[0]], False, hidden, out=[sizes[n.maps[1]]])
        if n.maps
        else TanhNetwork(dim, False, hidden)
        for line in flow.map.assignments
        for n in sorted(line.value.atoms(Network), key=str)
    }
    for clearance in (each for each in CLEARANCES for _ in range(TRIES)):
        values = {
            q: uniform([s if isinstance(s, int) else sizes[s] for s in q.shape], -1.0, 1.0, generator)
            for q in flow.parameters
        }
        thetas = {n: uniform((model.parameter_count,), -1.5, 1.5, generator) for n, model in networks.items()}
        found = FlowSetting(flow, dim, constrain, values, networks, thetas)
        if found.clear(rows, clearance):
            return found
    raise DeriveError(
        f"among {len(CLEARANCES) * TRIES} random choices of the parameters there is none for which the map is one to "
        "one and its determinant well away from zero; `constrained={parameter: expression}` keeps them where it is"
    )


def flow_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """One case for each way to hold the parameters."""
    dim, batch = (SMALL_DIM, SMALL_BATCH) if small else (DIM, BATCH)
    x = uniform((*batch, dim), -1.5, 1.5, torch.Generator().manual_seed(23))
    found = settings(spec, dim, x, SMALL_HIDDEN if small else HIDDEN)
    return [_case(kind, setting, x) for setting in found]


def _case(kind: Callable[..., nn.Module], setting: FlowSetting, x: Tensor) -> Case:
    derived = flow_programs(setting.flow)
    has_inverse = derived.backward is not None
    inputs = {"x": x} | ({"y": _images(setting, x) if derived.bounds else x} if has_inverse else {})

    def call(module: Any, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        back = module.inverse(inputs[1]) if has_inverse else ()
        return (*module(inputs[0]), *back, module.log_prob(inputs[0]))

    return Case(
        label=setting.label,
        build=lambda tensors, memory, gradient: setting.build(kind, gradient),
        constructor={},
        inputs=inputs,
        call=call,
        reference=lambda: _reference(setting, **inputs),
        memory=("store",),
        rank=x.dim() - 1,
    )


def _images(setting: FlowSetting, x: Tensor) -> Tensor:
    """Where the inverse of a map that is not onto is asked for."""
    found = [setting.run(0.5 * sample)[0] for sample in x.reshape(-1, setting.dim).numpy()]
    return torch.from_numpy(np.stack(found)).reshape(x.shape)


def _reference(setting: FlowSetting, x: Tensor, y: Tensor | None = None) -> list[Tensor]:
    """Forward, inverse and density, sample by sample."""
    columns: list[list[Numeric]] = []
    places = None if y is None else y.reshape(-1, setting.dim).numpy()
    for n, sample in enumerate(x.reshape(-1, setting.dim).numpy()):
        image, log_det = setting.run(sample)
        back = () if places is None else setting.run(places[n], back=True)
        density = log_det - 0.5 * (image * image).sum() - 0.5 * setting.dim * np.log(2 * np.pi)
        columns.append([image, log_det, *back, density])
    stacked = [torch.from_numpy(np.stack([np.asarray(v) for v in column])) for column in zip(*columns, strict=True)]
    return [value.reshape(*x.shape[:-1], *value.shape[1:]) for value in stacked]

"""Cases and checks of equilibria: every solver against the reference, the gradient against a dense solve."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codegen.verification.case import Case
from codegen.verification.measures import Measured, row, uniform, worst_difference
from codegen.verification.report import Row
from codegen.verification.stand_in import stand_in
from codegen.verification.step_setting import numeric
from derive.errors import DeriveError
from derive.evaluator import evaluate
from derive.fixed_point import FixedPoint
from derive.fixed_point_sections import is_one_call
from derive.networks import Network
from derive.operators import Numeric
from derive.sampling import TanhNetwork
from derive.symbols import Dimension, Quantity
from derive.systems import Spec

SOLVERS = ("broyden", "anderson", "picard")
SIZE, SMALL_SIZE = 4, 2  # the first; every further named size is one larger
BATCH, SMALL_BATCH = (3,), (1,)
HIDDEN, SMALL_HIDDEN = 3, 1
TOL, STEPS = 2e-15, 120  # of the cases: almost as exact as float64 is
REACH, SHRINK, TRIES = 1.5, 0.9, 60
CONTRACTS = 1e-13  # the last of half as many plain steps, relative to the state
LOOSE, DENSE = 1e-12, 1e-9  # residual of an equilibrium, and what its gradient may differ from a dense solve by
AFFINE_SIZES = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class EquilibriumSetting:
    """An equilibrium of one size with numbers for all that is learned.

    Attributes:
        fixed: the system.
        sizes: of named dimensions.
        values: what is learned, by quantity.
        networks, thetas: the stand-ins and their parameters.
    """

    fixed: FixedPoint
    sizes: Mapping[Dimension, int]
    values: Mapping[Quantity, Tensor]
    networks: Mapping[Network, TanhNetwork]
    thetas: Mapping[Network, Tensor]

    def build(self, kind: Callable[..., nn.Module], **options: Any) -> nn.Module:
        """The module in float64 with exactly these numbers."""
        own = {size for q in self.fixed.parameters for size in q.shape if isinstance(size, str)}
        vectors = [s for q in (self.fixed.state, *self.fixed.inputs) for s in q.shape if isinstance(s, str)]
        named = dict.fromkeys([*vectors, *sorted(own)]) if own else {}
        given = [stand_in(model.shapes, self.thetas[network]) for network, model in self.networks.items()]
        module = kind(*(self.sizes[size] for size in named), *given, **options).double()
        with torch.no_grad():
            for quantity, value in self.values.items():
                module.get_parameter(quantity.name).copy_(value)
        return module

    def solve(self, sample: Mapping[Quantity, Numeric]) -> Numeric:
        """The equilibrium of one sample by the reference evaluator, whose Newton iteration shares nothing with it."""
        near, _ = self._iterated(sample)  # of several solutions the one that the solvers come to
        given = {**self._known(), **sample, self.fixed.guess: near}
        return evaluate(self.fixed.equilibrium, given, self.networks)[self.fixed.state]

    def contracts(self, sample: Mapping[Quantity, Numeric]) -> bool:
        """Whether plain iteration converges well."""
        z, step = self._iterated(sample)
        return bool(np.linalg.norm(step) < CONTRACTS * np.linalg.norm(z))

    def is_solved(self, kind: Callable[..., nn.Module], inputs: Mapping[str, Tensor]) -> bool:
        """Whether every solver converges in half of the steps."""
        batch = next(iter(inputs.values())).shape[:-1] if inputs else (1,)
        start = torch.zeros((*batch, self.size_of(self.fixed.state)), dtype=torch.float64)
        modules: list[Any] = [self.build(kind, solver=solver, tol=TOL, max_iter=STEPS // 2) for solver in SOLVERS]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            for module in modules:
                module(*inputs.values(), z0=start)
        return all(bool(module.info.converged.all()) for module in modules)

    def _iterated(self, sample: Mapping[Quantity, Numeric]) -> tuple[Numeric, Numeric]:
        """The state after plain iteration, and the last step."""
        known, z, step = {**self._known(), **sample}, np.zeros(self.size_of(self.fixed.state)), None
        for _ in range(STEPS // 2):
            image = evaluate(self.fixed.map, {**known, self.fixed.state: z}, self.networks)[self.fixed.image]
            z, step = image, image - z
        return z, step

    def _known(self) -> dict[Quantity, Numeric]:
        learned = {q: numeric(value) for q, value in self.values.items()}
        thetas = {n.theta: numeric(theta) for n, theta in self.thetas.items()}
        return {**learned, **thetas}

    def size_of(self, vector: Quantity) -> int:
        """Components of a vector."""
        (size,) = vector.shape
        return size if isinstance(size, int) else self.sizes[size]


Drawn = tuple[EquilibriumSetting, dict[str, Tensor]]


def setting_of(kind: Callable[..., nn.Module], fixed: FixedPoint, small: bool = False) -> Drawn:
    """Numbers for which plain iteration converges well and no other solver gets lost, and inputs."""
    for found, inputs in drawn_settings(fixed, small):
        if all(found.contracts(sample) for sample in samples_of(fixed, inputs)) and found.is_solved(kind, inputs):
            return found, inputs
    raise DeriveError(f"no parameters among {TRIES} random ones for which all solvers converge")


def drawn_settings(fixed: FixedPoint, small: bool = False) -> Iterator[Drawn]:
    """Random numbers and inputs, the numbers smaller and smaller."""
    batch, hidden = (SMALL_BATCH, SMALL_HIDDEN) if small else (BATCH, HIDDEN)
    first = SMALL_SIZE if small else SIZE
    vectors = [size for q in (fixed.state, *fixed.inputs) for size in q.shape]
    own = sorted({size for q in fixed.parameters for size in q.shape if isinstance(size, str)})
    names = [size for size in dict.fromkeys([*vectors, *own]) if isinstance(size, str)]
    sizes: dict[Dimension, int] = {name: first + place for place, name in enumerate(names)}
    if is_one_call(fixed):  # where z0 is zeros like x
        sizes = dict.fromkeys(sizes, first)

    def size_of(size: Dimension) -> int:
        return size if isinstance(size, int) else sizes[size]

    width = size_of(fixed.state.shape[0])
    networks = {
        n: TanhNetwork(size_of(n.maps[0]) if n.maps else width, False, hidden, [size_of(s) for s in n.maps[1:]],
                       [size_of(s) for s in n.beside])
        for n in fixed.map.networks()
    }  # fmt: skip
    generator = torch.Generator().manual_seed(43)
    inputs = {q.name: uniform((*batch, size_of(q.shape[0])), -1.0, 1.0, generator) for q in fixed.inputs}
    for attempt in range(TRIES):
        reach = REACH * SHRINK**attempt
        values = {q: uniform([size_of(s) for s in q.shape], -reach, reach, generator) for q in fixed.parameters}
        thetas = {n: uniform((model.parameter_count,), -reach, reach, generator) for n, model in networks.items()}
        yield EquilibriumSetting(fixed, sizes, values, networks, thetas), inputs


def samples_of(fixed: FixedPoint, inputs: Mapping[str, Tensor]) -> list[dict[Quantity, Numeric]]:
    """The inputs, sample by sample."""
    rows = [inputs[q.name].reshape(-1, inputs[q.name].shape[-1]).numpy() for q in fixed.inputs]
    return [dict(zip(fixed.inputs, sample, strict=True)) for sample in zip(*rows, strict=True)] or [{}]


def fixed_point_cases(kind: Callable[..., nn.Module], spec: Spec, small: bool = False) -> list[Case]:
    """One case for each solver; with little data for the first alone, as derivatives do not depend on it."""
    (fixed,) = (system for system in spec.variants.values() if isinstance(system, FixedPoint))
    setting, inputs = setting_of(kind, fixed, small)
    start = torch.zeros((*(SMALL_BATCH if small else BATCH), setting.size_of(fixed.state)), dtype=torch.float64)

    def call(module: Any, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        alike = given[0] if given else start
        return (module(*given, z0=alike.new_zeros(*alike.shape[:-1], start.shape[-1])),)

    def reference() -> list[Tensor]:
        found = [torch.from_numpy(setting.solve(sample)) for sample in samples_of(fixed, inputs)]
        return [torch.stack(found).expand_as(start)]

    case = Case(
        label="",
        build=lambda _, memory, gradient: setting.build(kind, tol=TOL, max_iter=STEPS, gradient=gradient),
        constructor={},
        inputs=inputs,
        call=call,
        reference=reference,
        memory=("store",),
    )

    def with_solver(solver: str) -> Case:
        def build(_: Any, memory: str, gradient: str) -> nn.Module:
            return setting.build(kind, solver=solver, tol=TOL, max_iter=STEPS, on_failure="raise", gradient=gradient)

        return replace(case, label=f"solver={solver!r}", build=build)

    return [with_solver(solver) for solver in (SOLVERS[:1] if small else SOLVERS)]


def fixed_point_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """What only equilibria promise: the gradient of a loosely found one, and the end of Broyden's method."""
    (fixed,) = (system for system in spec.variants.values() if isinstance(system, FixedPoint))
    setting, inputs = setting_of(kind, fixed)
    for solver in SOLVERS:
        module = setting.build(kind, solver=solver, tol=LOOSE)
        check = f"gradient against a dense solve with (I - J)^T, residual {LOOSE:g} [solver={solver!r}]"
        yield row(spec.id, check, DENSE, partial(_against_dense, setting, module, inputs))
    if is_one_call(fixed) and fixed.inputs:
        for size in AFFINE_SIZES:
            check = f"Broyden's method ends on affine maps after 2n full steps [n={size}]"
            yield row(spec.id, check, 0.0, partial(_excess_of_steps, kind, size))


def _against_dense(setting: EquilibriumSetting, module: Any, inputs: Mapping[str, Tensor]) -> Measured:
    """Gradients of sum(sin z) against those by the Jacobian of the map, sample by sample, at the same state."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    batch = next(iter(inputs.values())).shape[:-1] if inputs else (1,)
    start = torch.zeros((*batch, setting.size_of(setting.fixed.state)), dtype=torch.float64)
    z = module(*leaves.values(), z0=start)
    tensors = [*leaves.values(), *module.parameters()]
    found = torch.autograd.grad(z.sin().sum(), tensors)
    state = z.detach()
    networks = [getattr(module, name) for name, _ in module.named_children()]
    held = [module.get_parameter(q.name) for q in setting.fixed.parameters]

    def image(values: Tensor) -> Tensor:
        result: Tensor = module.image(False, networks, values, *leaves.values(), *held)
        return result

    width = state.shape[-1]
    whole = torch.autograd.functional.jacobian(image, state).reshape(state.numel(), state.numel())
    matrix = torch.eye(state.numel(), dtype=torch.float64) - whole.detach()
    multiplier = torch.linalg.solve(matrix.mT, state.cos().reshape(-1)).reshape(-1, width).reshape(state.shape)
    expected = torch.autograd.grad(image(state), tensors, multiplier)
    names = [*leaves, *(name for name, _ in module.named_parameters())]
    return worst_difference(found, expected, names)


class _Affine(nn.Module):
    """z -> J z + x, with the eigenvalues of J anywhere but at 1."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(size)
        self.J = nn.Parameter(uniform((size, size), -1.0, 1.0, generator))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """The image."""
        return z @ self.J.mT + x


def _excess_of_steps(kind: Callable[..., nn.Module], size: int) -> Measured:
    """How many steps more than 2n were made to a residual of 1e-10, over several inputs."""
    module: Any = kind(_Affine(size), solver="broyden", tol=1e-10, max_iter=3 * size + 5)
    with torch.no_grad():
        module(uniform((4, size), -1.0, 1.0, torch.Generator().manual_seed(3)))
    most = int(module.info.iterations.max())
    return Measured(float(max(0, most - 2 * size)), f"{most} steps for n = {size}")

"""Random points at which relations are checked, and a stand-in for opaque networks."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import mpmath
import numpy as np

from derive.evaluator import evaluate
from derive.functions import tanh
from derive.linearization import forward_sweep
from derive.networks import Network
from derive.operators import Numeric, matvec
from derive.power_series import array_of
from derive.program import Assignment, Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Dimension, Quantity, Role, Shape, by_name, parameter, state, time

HIDDEN = 3
SMALLEST = 3  # odd, so that the sign of a determinant shows


class Sampler:
    """Seeded random quantities, as arrays of mpmath numbers in [-1, 1]; constants in (0, 1], steps in (0, 1/8].

    Named dimensions get small distinct sizes, so that a transposed matrix cannot pass for the right one.
    """

    def __init__(self, quantities: Iterable[Quantity], networks: Iterable[Network] = (), seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.quantities = by_name(set(quantities))
        self.networks: dict[Network, TanhNetwork] = {}
        self.sizes = self._sizes(sorted(networks, key=lambda n: n.name))

    def _sizes(self, networks: Sequence[Network]) -> dict[Dimension, int]:
        shapes = [*(q.shape for q in self.quantities), *((*network.maps, *network.beside) for network in networks)]
        named = sorted({size for shape in shapes for size in shape if isinstance(size, str)})
        plain = sorted({part for name in named for part in name.split("+") if not name.startswith("theta_")})
        sizes: dict[Dimension, int] = {name: SMALLEST + place for place, name in enumerate(plain)}
        sizes |= {name: sum(sizes[part] for part in name.split("+")) for name in named if "+" in name}
        for network in networks:
            ends = [size if isinstance(size, int) else sizes[size] for size in network.maps]
            beside = [size if isinstance(size, int) else sizes[size] for size in network.beside]
            self.networks[network] = TanhNetwork(
                ends[0] if ends else self._width(sizes), network.takes_time, out=ends[1:], beside=beside
            )
            sizes[network.theta.shape[0]] = self.networks[network].parameter_count
        return sizes

    def _width(self, sizes: dict[Dimension, int]) -> int:
        """Size of the vectors that networks act on: of the states."""
        widths = [q.shape[-1] for q in self.quantities if q.role is Role.STATE and q.shape]
        return next((size if isinstance(size, int) else sizes[size] for size in widths), SMALLEST)

    def number(self, quantity: Quantity) -> Any:
        """One random number with 15 random digits: exactly representable at any precision."""
        low = 0.2 if quantity.role in (Role.STEP_SIZE, Role.CONSTANT, Role.LAYER_CONSTANT) else -1.0
        scale = 8 if quantity.role is Role.STEP_SIZE else 1  # implicit steps are solvable when they are short
        return mpmath.mpf(self.random.randint(int(low * 10**15), 10**15)) / (scale * 10**15)

    def value(self, quantity: Quantity) -> Numeric:
        """A random value of a quantity's shape."""
        shape = self.shape(quantity.shape)
        entries = [self.number(quantity) for _ in range(int(np.prod(shape, dtype=int)))]
        return array_of(entries).reshape(shape) if shape else entries[0]

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """Numeric sizes of a symbolic shape."""
        return tuple(size if isinstance(size, int) else self.sizes[size] for size in shape)

    def values(self) -> dict[Quantity, Numeric]:
        """Random values of all quantities, in order of name."""
        return {quantity: self.value(quantity) for quantity in self.quantities}


class TanhNetwork:
    """V tanh(W x + b + c t): stands in for an opaque network, with every differential by the sweeps over its program.

    The parameter vector is the concatenation of W (m, d), b (m), V (d, m) and, with time, c (m); where the size `out`
    of the value is another one, V is (out, m). A matrix is the value of that many components, row by row. With a second
    vector of the size `beside` it is V tanh(W z + U x + b), and U (m, beside) comes last.
    """

    def __init__(
        self,
        size: int,
        takes_time: bool,
        hidden: int = HIDDEN,
        out: Sequence[int] = (),
        beside: Sequence[int] = (),
    ) -> None:
        self.out = tuple(out) or (size,)
        self.takes = "time" if takes_time else "vector" if beside else ""
        shapes: dict[str, tuple[int, ...]]
        shapes = {"W": (hidden, size), "b": (hidden,), "V": (int(np.prod(self.out)), hidden)}
        further: dict[str, dict[str, tuple[int, ...]]]
        further = {"time": {"c": (hidden,)}, "vector": {"U": (hidden, *beside)}, "": {}}
        self.shapes = shapes | further[self.takes]
        self.parameter_count = sum(int(np.prod(shape)) for shape in self.shapes.values())

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """See `derive.evaluator.NetworkModel`."""
        pattern = tuple(index for index, _ in directions)
        program, groups = _differential_program(self.takes, pattern, covector is not None, slot)
        values: dict[Quantity, Numeric] = {}
        flat = None if covector is None else np.ravel(covector)
        for quantities, value in zip(groups, [*point, *(w for _, w in directions), flat], strict=False):
            values.update(self._assign(quantities, value))
        known = evaluate(program, values)
        found = self._collect([known[q] for q in program.outputs])
        return found.reshape(self.out) if covector is None and len(self.out) > 1 else found

    def _assign(self, quantities: tuple[Quantity, ...], value: Numeric) -> dict[Quantity, Numeric]:
        if len(quantities) == 1:
            return {quantities[0]: value}
        assigned, start = {}, 0
        for quantity, shape in zip(quantities, self.shapes.values(), strict=True):
            count = int(np.prod(shape))
            assigned[quantity] = value[start : start + count].reshape(shape)
            start += count
        return assigned

    @staticmethod
    def _collect(parts: list[Numeric]) -> Numeric:
        return parts[0] if len(parts) == 1 else np.concatenate([np.ravel(part) for part in parts])


def _tanh_program(takes: str) -> tuple[Program, list[tuple[Quantity, ...]]]:
    """The stand-in as a program, and its arguments in the order of a network's point: (t,) x theta, or z x theta."""
    t, x, beside = time(), state("x", "d"), state("beside", "i")
    weights = [parameter("W", ("m", "d")), parameter("b", "m"), parameter("V", ("k", "m"))]
    c, matrix = parameter("c", "m"), parameter("U", ("m", "i"))
    bias, further, arguments = {
        "time": (weights[1] + t * c, [c], [(t,), (x,)]),
        "vector": (weights[1] + matvec(matrix, beside), [matrix], [(x,), (beside,)]),
        "": (weights[1], [], [(x,)]),
    }[takes]
    hidden, out = state("z", "m"), state("y", "k")
    lines = (Assignment(hidden, tanh(matvec(weights[0], x) + bias)), Assignment(out, matvec(weights[2], hidden)))
    groups: list[tuple[Quantity, ...]] = [*arguments, (*weights, *further)]
    inputs = tuple(q for group in groups for q in group)
    return Program(inputs, lines, (out,)), groups


@cache
def _differential_program(
    takes: str, pattern: tuple[int, ...], contracted: bool, slot: int
) -> tuple[Program, list[tuple[Quantity, ...]]]:
    """A program for D^k f(p)[w..] or its contracted gradient, and the groups of quantities its arguments fill."""
    program, groups = _tanh_program(takes)
    arguments = list(groups)
    for place, index in enumerate(pattern):
        tangents = forward_sweep(program, arguments[index])
        fresh = {tangents.tangents[q]: q.renamed(f"w{place}_{q.name}") for q in arguments[index]}
        taken = {t: t.renamed(f"w{place}_{t.name}") for t in tangents.program.targets}
        linear = tangents.program.renamed({**fresh, **taken})
        inputs = tuple(dict.fromkeys([*program.inputs, *fresh.values()]))
        program = Program(inputs, (*program.assignments, *linear.assignments), linear.outputs)
        groups = [*groups, tuple(fresh.values())]
    if not contracted:
        return program, groups
    adjoint = reverse_sweep(program, arguments[slot])
    seed = next(iter(adjoint.seeds.values()))
    outputs = tuple(adjoint.cotangents[q] for q in arguments[slot])
    whole = Program((*program.inputs, seed), (*program.assignments, *adjoint.program.assignments), outputs)
    return whole, [*groups, (seed,)]

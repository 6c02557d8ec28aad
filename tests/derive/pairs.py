"""A program beside a hand-written torch function of the same values; both are swept and compared."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from derive.evaluator import NetworkModel, evaluate
from derive.linearization import forward_sweep
from derive.networks import Network
from derive.program import Builder, Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity

with warnings.catch_warnings():  # torch compiles the rules of its forward mode at first use, by a deprecated function
    warnings.simplefilter("ignore", DeprecationWarning)
    torch.func.jvp(torch.sigmoid, (torch.ones(1),), (torch.ones(1),))

Tensors = dict[str, torch.Tensor]
TorchFunction = Callable[[Tensors], Tensors]
SIZES = {"m": 2, "d": 3, "n": 4, "m+d": 5, "d+2": 5}


@dataclass(frozen=True)
class Pair:
    """The same map twice: named inputs -> named outputs.

    `forgotten` are gradients that the program leaves out because it holds them to be zero; torch must agree.
    """

    program: Program
    function: TorchFunction
    sizes: Mapping[str, int] = field(default_factory=lambda: dict(SIZES))
    networks: Mapping[Network, NetworkModel] = field(default_factory=dict)
    forgotten: tuple[str, ...] = ()

    def reversed(self) -> Pair:
        """The map (inputs, seeds) -> cotangents of the inputs, by `reverse_sweep` and by torch.func.vjp."""
        program, function = self.program, self.function
        adjoint = reverse_sweep(program, program.inputs)
        seeds = {q.name: seed.name for q, seed in adjoint.seeds.items()}
        bars = {q.name: adjoint.cotangents[q].name for q in program.inputs if q in adjoint.cotangents}
        lost = {q.name: f"lost_{q.name}" for q in program.inputs if q.name not in bars}
        given = dict.fromkeys((*program.inputs, *adjoint.seeds.values()))
        outputs = tuple(adjoint.cotangents[q] for q in program.inputs if q in adjoint.cotangents)
        both = Program(tuple(given), (*program.assignments, *adjoint.program.assignments), outputs)

        def pulled(values: Tensors) -> Tensors:
            primal = {q.name: values[q.name] for q in program.inputs}
            _, pull = torch.func.vjp(lambda x: {name: function(x)[name] for name in seeds}, primal)
            (found,) = pull({name: values[seed] for name, seed in seeds.items()})
            return {bar: found[name] for name, bar in {**bars, **lost}.items()}

        return Pair(both, pulled, self.sizes, self.networks, tuple(lost.values()))

    def pushed(self) -> Pair:
        """The map (inputs, tangents) -> tangents of the outputs, by `forward_sweep` and by torch.func.jvp."""
        program, function = self.program, self.function
        sweep = forward_sweep(program, program.inputs)
        dots = {q.name: sweep.tangents[q].name for q in program.outputs if q in sweep.tangents}
        lost = {q.name: f"lost_{q.name}" for q in program.outputs if q.name not in dots}
        tangents = {q.name: sweep.tangents[q].name for q in program.inputs}
        given = (*program.inputs, *(sweep.tangents[q] for q in program.inputs))
        both = Program(given, (*program.assignments, *sweep.program.assignments), sweep.program.outputs)

        def moved(values: Tensors) -> Tensors:
            primal = {q.name: values[q.name] for q in program.inputs}
            along = {name: values[tangent] for name, tangent in tangents.items()}
            _, found = torch.func.jvp(
                lambda x: {name: function(x)[name] for name in (*dots, *lost)}, (primal,), (along,)
            )
            return {new: found[name] for name, new in {**dots, **lost}.items()}

        return Pair(both, moved, self.sizes, self.networks, tuple(lost.values()))

    def swept(self, word: str) -> Pair:
        """Sweeps one after the other: "RF" is the forward sweep over the reverse sweep."""
        pair = self
        for letter in word:
            pair = pair.reversed() if letter == "R" else pair.pushed()
        return pair

    def largest_difference(self, seed: int = 0) -> float:
        """Largest entry-wise difference of all outputs, relative to the largest entry (1 at least)."""
        values = random_values(self.program.inputs, self.sizes, seed)
        found = evaluate(self.program, values, self.networks)
        expected = self.function({q.name: torch.as_tensor(v, dtype=torch.float64) for q, v in values.items()})
        assert {q.name for q in self.program.outputs} | set(self.forgotten) == set(expected)
        worst = max((float(expected[name].abs().max()) for name in self.forgotten), default=0.0)
        for quantity in self.program.outputs:
            right = expected[quantity.name].numpy()
            left = np.asarray(found[quantity])
            assert left.shape == right.shape, f"{quantity.name}: {left.shape} against {right.shape}"
            scale = max(1.0, float(np.max(np.abs(right))))
            worst = max(worst, float(np.max(np.abs(left - right))) / scale)
        assert not math.isnan(worst)
        return worst


def random_values(inputs: tuple[Quantity, ...], sizes: Mapping[str, int], seed: int = 0) -> dict[Quantity, np.ndarray]:
    """Standard normal numbers for every input."""
    draw = np.random.default_rng(seed)
    return {q: draw.standard_normal([s if isinstance(s, int) else sizes[s] for s in q.shape]) for q in inputs}


def pair_of(expression, function: Callable[..., torch.Tensor], **more) -> Pair:
    """A one-line program `result = expression` beside a torch function whose arguments bear the quantities' names."""
    builder = Builder()
    result = builder.let("result", expression)
    return Pair(builder.build((result,)), lambda values: {"result": function(**values)}, **more)

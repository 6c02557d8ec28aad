"""Maps that are not one to one, found by the sign of their determinant, and the images of maps that are not onto.

Data are connected: a continuous determinant of both signs vanishes between, and a map that is one to one keeps its
orientation. So one point with a negative determinant and one with a positive one show that a map is not one to one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Dummy, Expr, diff

from derive.determinants import Factor
from derive.evaluator import evaluate, value_of
from derive.flow import Flow
from derive.invertibility import RANGES
from derive.operators import Numeric, Operator
from derive.program import Program
from derive.sampling import Sampler
from derive.symbols import Quantity

DRAWS, POINTS = 40, 16
SIZES = (1.0, 0.1, 4.0, 16.0)  # of parameters
REACHES = (1.0, 0.1, 10.0, 1e2, 1e4)  # of data


@dataclass(frozen=True)
class SignChange:
    """Two points at which the determinant of a map has different signs.

    Attributes:
        parameters: values of what the map reads beside its vector.
        points: the point with a negative determinant, then the one with a positive one.
        draws: for how many choices of the parameters there were such points: for all that were tried.
    """

    parameters: Mapping[Quantity, Numeric]
    points: tuple[Numeric, Numeric]
    draws: int


def sign_change(flow: Flow, factors: Sequence[Factor]) -> SignChange | None:
    """Such points, where a map of one vector has them whatever its parameters are; constrained ones are in place."""
    if len(flow.parts) > 1 or flow.map.networks() or not factors:
        return None
    found = None
    constraint = flow.constraint()
    for seed in range(DRAWS if flow.parameters else 1):
        for size in SIZES if flow.parameters else SIZES[:1]:
            drawn = _floats(Sampler({*flow.parameters, *constraint.inputs}, seed=seed).values(), size)
            known = evaluate(constraint, {q: drawn[q] for q in constraint.inputs})
            read = {q: known.get(flow.effective.get(q, q), drawn[q]) for q in flow.parameters}
            points = changing_points(flow, factors, read, seed)
            if points is None:
                return None
            found = SignChange(read, points, DRAWS * len(SIZES) if flow.parameters else 1)
    return found


def changing_points(
    flow: Flow, factors: Sequence[Factor], parameters: Mapping[Quantity, Numeric], seed: int = 0
) -> tuple[Numeric, Numeric] | None:
    """A point with a negative determinant and one with a positive one, if random points are such."""
    (x,) = flow.parts
    sampler = Sampler(flow.map.inputs, seed=seed)
    size = np.shape(next((v for q, v in parameters.items() if q.shape == x.shape), np.zeros(sampler.shape(x.shape))))
    generator = np.random.default_rng(seed)
    seen: dict[float, Numeric] = {}
    for reach in REACHES:
        for _ in range(POINTS):
            point = reach * generator.uniform(-1.0, 1.0, size)
            seen.setdefault(_sign(flow.map, factors, {**parameters, x: point}), point)
            if {-1.0, 1.0} <= seen.keys():
                return seen[-1.0], seen[1.0]
    return None


def image_bounds(flow: Flow) -> tuple[Expr, ...]:
    """Finite ends of the image of a map by components, where it reads its vector through one bounded function."""
    if len(flow.parts) > 1 or flow.map.networks():
        return ()
    ((x,), (y,)) = flow.parts, flow.images
    value = flow.map.value(y)
    for line in reversed(flow.map.assignments):
        value = value.xreplace({line.target: line.value})
    if any(node.has(x) for node in value.atoms(Operator)):
        return ()
    nodes = [node for node in value.atoms(*RANGES) if node.has(x)]
    outer = [node for node in nodes if not any(node in other.args[0].atoms(*RANGES) for other in nodes)]
    if len(outer) != 1:
        return ()
    variable = Dummy("value", real=True)
    seen = value.xreplace({outer[0]: variable})
    slope = diff(seen, variable)
    if seen.has(x) or slope.has(variable) or not _is_onto(outer[0].args[0], x):
        return ()
    ends = [seen.xreplace({variable: end}) for end in RANGES[outer[0].func] if end.is_finite]
    return tuple(dict.fromkeys(ends))


def _is_onto(argument: Expr, x: Quantity) -> bool:
    """Whether an argument takes all values: it is linear in the vector."""
    slope = diff(argument, x)
    return bool(slope != 0 and not slope.has(x))


def _sign(program: Program, factors: Sequence[Factor], values: Mapping[Quantity, Any]) -> float:
    """Sign of the determinant; 0 where it or the image is not a finite number."""
    with np.errstate(all="ignore"):
        known = evaluate(program, {q: values[q] for q in program.inputs})
        found_of = {factor: np.asarray(value_of(factor.value, known), dtype=float) for factor in factors}
    sign = 1.0
    for factor, found in found_of.items():
        if not np.all(np.isfinite(found)):
            return 0.0
        sign *= float(np.prod(np.sign(found))) ** int(value_of(factor.power, known))
    return sign if all(np.all(np.isfinite(known[q])) for q in program.outputs) else 0.0


def _floats(values: Mapping[Quantity, Numeric], size: float) -> dict[Quantity, Numeric]:
    return {q: size * np.asarray(value, dtype=float)[()] for q, value in values.items()}

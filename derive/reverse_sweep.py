r"""The reverse sweep over a program: its discrete adjoint, which is backpropagation.

Stationarity of the Lagrangian $S = \ell + \sum_k \bar v_k (\mathrm{rhs}_k - v_k)$ in each $v_k$ gives one assignment
per quantity; the result is a program of the same kind and can be swept again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from sympy import DiracDelta, Dummy, Expr, Integer, Mul, diff

from derive.operators import Operator, dot, fill, shape_of, total
from derive.program import Assignment, Program
from derive.symbols import Quantity, Role, Shape, by_name


@dataclass(frozen=True)
class Adjoint:
    """The adjoint of a program.

    Attributes:
        program: reads the primal program's quantities and the cotangents of its outputs, computes all cotangents.
        seeds: output of the primal -> the cotangent that is given for it.
        cotangents: quantity of the primal -> its total cotangent.
    """

    program: Program
    seeds: Mapping[Quantity, Quantity]
    cotangents: Mapping[Quantity, Quantity]


def reverse_sweep(program: Program, wrt: Iterable[Quantity] | None = None) -> Adjoint:
    """Adjoint of `program` in the quantities `wrt` (all inputs but constants unless given).

    Every cotangent is named `bar_<quantity>`; where an output is also used inside the program, what comes from outside
    is named `bar_<quantity>_out` and added. A sweep over a sweep writes `bar2_`.
    """
    if wrt is None:
        wrt = (quantity for quantity in program.inputs if quantity.role is not Role.CONSTANT)
    return _reverse_sweep(program, tuple(wrt))


@cache
def _reverse_sweep(program: Program, wrt: tuple[Quantity, ...]) -> Adjoint:
    """The sweep itself; a program is a value, so its adjoint is made once."""
    prefix = free_prefix("bar", program)
    relevant = _depending_on(program, wrt)
    used = {q for line in program.assignments for q in line.value.atoms(Quantity)}
    seeds = {q: _cotangent(prefix, q, suffix="_out" if q in used else "") for q in program.outputs}
    known = computed_values(program)
    parts: dict[Quantity, list[Expr]] = {q: [seed] for q, seed in seeds.items() if q in used}
    lines: list[Assignment] = []
    bars = {q: seed for q, seed in seeds.items() if q not in used}

    def total_of(quantity: Quantity) -> Quantity | None:
        if quantity in bars:
            return bars[quantity]
        if not parts.get(quantity):
            return None
        bars[quantity] = _cotangent(prefix, quantity)
        value = sum(parts[quantity], Integer(0))
        lines.append(Assignment(bars[quantity], value, f"stationarity in {quantity.name}"))
        return bars[quantity]

    for line in reversed(program.assignments):
        bar = total_of(line.target) if line.target in relevant else None
        if bar is None:
            continue
        for quantity, part in _contributions(line.value, bar, known):
            if quantity in relevant:
                parts.setdefault(quantity, []).append(part)
    outputs = tuple(found for found in (total_of(q) for q in wrt) if found is not None)
    needed = {q for line in lines for q in line.value.atoms(Quantity)} | set(seeds.values())
    inputs = needed - {line.target for line in lines}
    adjoint = Program(tuple(by_name(inputs)), tuple(lines), outputs)
    return Adjoint(adjoint, seeds, {q: bars[q] for q in bars})


def computed_values(program: Program) -> dict[Expr, Quantity]:
    """Value -> its name, for what is worth reusing: a number or a name that was assigned stays what it is."""
    return {line.value: line.target for line in program.assignments if line.value.args}


def free_prefix(word: str, program: Program) -> str:
    """The word, or word2, word3, ...: the first that no name of the program begins with (a sweep over a sweep)."""
    names = [quantity.name for quantity in (*program.inputs, *program.targets)]
    prefix, order = word, 1
    while any(name.startswith(f"{prefix}_") for name in names):
        order += 1
        prefix = f"{word}{order}"
    return prefix


def _cotangent(prefix: str, quantity: Quantity, suffix: str = "") -> Quantity:
    latex = cotangent_latex(quantity.latex)
    if suffix:
        latex = rf"{latex}^{{\,\mathrm{{out}}}}"
    role = Role.COTANGENT if quantity.role.batched else quantity.role
    return Quantity(f"{prefix}_{quantity.name}{suffix}", quantity.shape, role, latex, f"cotangent of {quantity.name}")


def cotangent_latex(latex: str) -> str:
    r"""A bar over the letter, indices outside it: `x_n` becomes `\bar{x}_n`."""
    base, mark, index = latex.partition("_")
    if "^" in base or "{" in base or (" " in base and not base.startswith(r"\tilde")):
        return rf"\overline{{{latex}}}"
    return rf"\bar{{{base}}}{mark}{index}"


def _depending_on(program: Program, wrt: Iterable[Quantity]) -> set[Quantity]:
    relevant = set(wrt)
    for line in program.assignments:
        if relevant & line.value.atoms(Quantity):
            relevant.add(line.target)
    return relevant


def leaves(value: Expr) -> list[Expr]:
    """The quantities and operator nodes that an elementwise expression is a function of, outermost first."""
    found: dict[Expr, None] = {}

    def visit(node: Expr) -> None:
        if isinstance(node, Quantity | Operator):
            found[node] = None
            return
        for part in node.args:
            visit(part)

    visit(value)
    return list(found)


def elementwise_partials(value: Expr) -> Iterator[tuple[Expr, Expr]]:
    """Pairs (leaf, partial derivative) of an elementwise expression; operators count as leaves."""
    found = leaves(value)
    dummies = {leaf: Dummy(f"leaf_{index}", real=True) for index, leaf in enumerate(found)}
    back = {dummy: leaf for leaf, dummy in dummies.items()}
    flat = value.xreplace(dummies)
    for leaf, dummy in dummies.items():
        yield leaf, _almost_everywhere(diff(flat, dummy)).xreplace(back)


def _almost_everywhere(slope: Expr) -> Expr:
    """SymPy's slope of `sign` is a Dirac delta; here every slope is the one beside the kink, as that of `step` is."""
    return slope.replace(DiracDelta, lambda *_: Integer(0)) if slope.has(DiracDelta) else slope


def _contributions(
    value: Expr, bar: Expr, known: Mapping[Expr, Quantity], shape: Shape | None = None
) -> Iterator[tuple[Quantity, Expr]]:
    """Pairs (quantity, contribution to its cotangent) of one right-hand side with cotangent `bar`."""
    for leaf, partial in elementwise_partials(value):
        slope = partial.xreplace(known)
        contribution = reduce_to_shape(slope, bar, shape_of(leaf), leaf)
        if contribution == 0:
            continue
        if isinstance(leaf, Quantity):
            yield leaf, contribution
            continue
        for argument, inner in leaf.pullback(contribution):
            yield from _contributions(argument, inner, known)


def reduce_to_shape(slope: Expr, bar: Expr, shape: Shape, like: Expr) -> Expr:
    """`slope * bar`, summed over the components a scalar was spread over, or spread over those it has not."""
    product = slope * bar
    found = shape_of(product)
    if product == 0 or found == shape:
        return product
    if shape == ():
        return _inner(slope, bar)
    return fill(product, like)


def _inner(slope: Expr, bar: Expr) -> Expr:
    """Sum over components of `slope * bar` as an inner product where both have components; scalars go in front."""
    if shape_of(bar) == ():
        return bar * total(slope)
    scalars = [factor for factor in Mul.make_args(slope) if shape_of(factor) == ()]
    vectors = [factor for factor in Mul.make_args(slope) if shape_of(factor) != ()]
    front = Mul(*scalars)
    return front * (dot(bar, Mul(*vectors)) if vectors else total(bar))

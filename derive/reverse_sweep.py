r"""The reverse sweep over a program: its discrete adjoint, which is backpropagation.

Stationarity of the Lagrangian $S = \ell + \sum_k \bar v_k (\mathrm{rhs}_k - v_k)$ in each $v_k$ gives one assignment
per quantity; the result is a program of the same kind and can be swept again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from sympy import DiracDelta, Dummy, Expr, Integer, Mul, diff

from derive.displayed import Displayed, Line, lines_of
from derive.networks import Pullback
from derive.operators import Operator, dot, fill, shape_of, total
from derive.program import Assignment, Program, Solve, blocks, unknowns_of
from derive.symbols import Quantity, Role, Shape, by_name


@dataclass(frozen=True, repr=False)
class Adjoint(Displayed):
    """The adjoint of a program.

    Attributes:
        program: reads the primal program's quantities and the cotangents of its outputs, computes all cotangents.
        seeds: output of the primal -> the cotangent that is given for it.
        cotangents: quantity of the primal -> its total cotangent.
    """

    program: Program
    seeds: Mapping[Quantity, Quantity]
    cotangents: Mapping[Quantity, Quantity]

    def lines(self) -> Iterator[Line]:
        """The lines of its program."""
        return lines_of(self.program.assignments)


def reverse_sweep(program: Program, wrt: Iterable[Quantity] | None = None) -> Adjoint:
    """Adjoint of `program` in the quantities `wrt` (all inputs but constants and random draws unless given).

    Every cotangent is named `bar_<quantity>`; where an output is also used inside the program, what comes from outside
    is named `bar_<quantity>_out` and added. A sweep over a sweep writes `bar2_`.
    """
    if wrt is None:
        wrt = (quantity for quantity in program.inputs if not quantity.role.fixed)
    return _reverse_sweep(program, tuple(wrt))


@cache
def _reverse_sweep(program: Program, wrt: tuple[Quantity, ...]) -> Adjoint:
    """The sweep itself; a program is a value, so its adjoint is made once."""
    sweep = _Sweep(program, wrt)
    for block in reversed(list(blocks(program.assignments))):
        if unknowns_of(block):
            sweep.equations(block)
        else:
            sweep.line(block[0])
    return sweep.finished()


class _Sweep:
    """The cotangents that are known so far, and what contributes to the others."""

    def __init__(self, program: Program, wrt: tuple[Quantity, ...]) -> None:
        self.wrt = wrt
        self.prefix = free_prefix("bar", program)
        self.relevant = _depending_on(program, wrt)
        used = {q for line in program.assignments for q in line.value.atoms(Quantity)}
        self.seeds = {q: _cotangent(self.prefix, q, suffix="_out" if q in used else "") for q in program.outputs}
        self.known = computed_values(program)
        self.parts: dict[Quantity, list[Expr]] = {q: [seed] for q, seed in self.seeds.items() if q in used}
        self.bars = {q: seed for q, seed in self.seeds.items() if q not in used}
        self.lines: list[Assignment] = []

    def total_of(self, quantity: Quantity) -> Quantity | None:
        """The cotangent of a quantity whose uses have all been swept; None where there are none."""
        if quantity not in self.bars:
            if not self.parts.get(quantity):
                return None
            self.bars[quantity] = _cotangent(self.prefix, quantity)
            self._write(quantity)
        return self.bars[quantity]

    def _write(self, quantity: Quantity) -> None:
        value = sum(self.parts[quantity], Integer(0))
        self.lines.append(Assignment(self.bars[quantity], value, f"stationarity in {quantity.name}"))

    def line(self, line: Assignment) -> None:
        """Pass a cotangent on to what a line reads."""
        bar = self.total_of(line.target) if line.target in self.relevant else None
        if bar is None:
            return
        for quantity, part in _contributions(line.value, bar, self.known):
            if quantity in self.relevant:
                self.parts.setdefault(quantity, []).append(part)

    def equations(self, block: tuple[Assignment, ...]) -> None:
        """Equations in unknowns have a multiplier for each; stationarity in the unknowns is linear in these.

        The multiplier is the total cotangent of its unknown, which the block itself uses: the lines of the cotangents
        hold together as the block's own do.
        """
        if not any(self.parts.get(line.target) or line.target in self.bars for line in block):
            return
        unknowns = [q for q in unknowns_of(block) if q in self.relevant]
        self.bars |= {q: _cotangent(self.prefix, q) for q in unknowns}
        for quantity in unknowns:
            self._gather(quantity)
        first = len(self.lines)
        for line in reversed(block):
            self.line(line)
        for quantity in unknowns:
            self._write(quantity)
        mark = Solve(tuple(self.bars[q] for q in unknowns))
        self.lines[first:] = [replace(line, solve=mark) for line in self.lines[first:]]

    def _gather(self, quantity: Quantity) -> None:
        """What networks of later lines send to an unknown, computed once before the multipliers are solved for."""
        later = self.parts.get(quantity, [])
        if any(part.atoms(Pullback) for part in later):
            sent = _cotangent(self.prefix, quantity, suffix="_later")
            reason = f"what later lines send to {quantity.name}"
            self.lines.append(Assignment(sent, sum(later, Integer(0)), reason))
            self.bars[sent] = sent
            self.parts[quantity] = [sent]

    def finished(self) -> Adjoint:
        """The adjoint, once every line has been swept."""
        outputs = tuple(found for found in (self.total_of(q) for q in self.wrt) if found is not None)
        needed = {q for line in self.lines for q in line.value.atoms(Quantity)} | set(self.seeds.values())
        inputs = needed - {line.target for line in self.lines}
        return Adjoint(Program(tuple(by_name(inputs)), tuple(self.lines), outputs), self.seeds, dict(self.bars))


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
    return accented(latex, r"\bar", r"\overline")


def accented(latex: str, mark: str, wide: str) -> str:
    """An accent over the letter, indices outside it; the wide one over what is more than a letter with indices."""
    if "(" in latex:  # the value of a function: its indices belong to the argument
        return rf"{wide}{{{latex}}}"
    base, underscore, index = latex.partition("_")
    if "^" in base or "{" in base or (" " in base and not base.startswith(r"\tilde")):
        return rf"{wide}{{{latex}}}"
    return rf"{mark}{{{base}}}{underscore}{index}"


def _depending_on(program: Program, wrt: Iterable[Quantity]) -> set[Quantity]:
    relevant = set(wrt)
    for block in blocks(program.assignments):
        if any(relevant & line.value.atoms(Quantity) for line in block):
            relevant |= set(unknowns_of(block))
        for line in block:
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


@cache
def elementwise_partials(value: Expr) -> tuple[tuple[Expr, Expr], ...]:
    """Pairs (leaf, partial derivative) of an elementwise expression; operators count as leaves."""
    if isinstance(value, Quantity | Operator):
        return ((value, Integer(1)),)
    found = leaves(value)
    dummies = {leaf: Dummy(f"leaf_{index}", real=True) for index, leaf in enumerate(found)}
    back = {dummy: leaf for leaf, dummy in dummies.items()}
    flat = value.xreplace(dummies)
    return tuple((leaf, _almost_everywhere(diff(flat, dummy)).xreplace(back)) for leaf, dummy in dummies.items())


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
        named = {leaf: known[leaf]} if leaf in known else {}
        for argument, inner in leaf.pullback(contribution):
            yield from _contributions(argument, inner.xreplace(named), known)


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

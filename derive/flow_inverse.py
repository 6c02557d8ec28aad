r"""Inverses of flows, as programs: line by line, through one scalar in closed form, or through the root of an equation.

Where a map reads its vector through one scalar s = S(x), as in $a = w \cdot x + b$, and is linear in it otherwise,
y = D(s) x + c(s), the inverse is $x = (y - c(s)) / D(s)$ with s from the scalar equation $s = S((y - c(s)) / D(s))$.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sympy import Add, Dummy, Expr, Integer, Poly, PolynomialError, diff, factor, together

from derive.flow import Flow
from derive.inner_products import expanded, split_scalars
from derive.inversion import invert
from derive.norms import norm, quadratic_root
from derive.operators import Operator, shape_of
from derive.program import Assignment, Program, Solve, symbols_of
from derive.recurrence import Recurrence
from derive.reverse_sweep import Adjoint
from derive.symbols import Quantity, Role, by_name, with_index


@dataclass(frozen=True)
class FlowInverse:
    """The inverse of a flow.

    Attributes:
        program: reads the images and the parameters, computes the parts, under their names.
        parts: part of the map -> the quantity of the program that is it.
        title: how it was found.
        equation: the scalar unknown and the expression that it equals, where there is one.
    """

    program: Program
    parts: Mapping[Quantity, Quantity]
    title: str
    equation: tuple[Quantity, Expr] | None = None


def invert_flow(flow: Flow) -> FlowInverse | None:
    """The inverse of a flow, or None where none of the ways finds it."""
    parts = {q: q.renamed(q.name, q.latex, Role.INTERMEDIATE) for q in flow.parts}
    by_lines = invert(Recurrence(flow.map, old=flow.parts, new=flow.images))
    if by_lines is not None:
        return FlowInverse(by_lines.program, parts, "solved line by line")
    if len(flow.parts) > 1 or len(flow.map.networks()) > 0:
        return None
    reduction = _Reduction(flow, parts)
    if not reduction.features:
        return reduction.by_components()
    return reduction.through_scalar() if len(reduction.features) == 1 else None


class _Reduction:
    """A map of one vector as an expression in it and in scalars that are computed from it."""

    def __init__(self, flow: Flow, parts: Mapping[Quantity, Quantity]) -> None:
        self.flow, self.parts = flow, parts
        ((self.x, self.found),) = parts.items()
        (self.y,) = flow.images
        self.taken = {q.name for q in (*flow.map.inputs, *flow.map.targets)}
        self.lines: list[Assignment] = []
        self.features: dict[Quantity, Expr] = {}
        self.scalars: dict[Quantity, Expr] = {}
        self.inlined: dict[Quantity, Expr] = {}
        for line in flow.map.assignments:
            self._sort(line)

    def _sort(self, line: Assignment) -> None:
        value = line.value.xreplace(self.inlined)
        if not line.target.role.batched:
            self.lines.append(line)
        elif line.target.shape:
            self.inlined[line.target] = value
        elif any(node.has(self.x) for node in value.atoms(Operator)):
            self.features[line.target] = value
        else:
            self.scalars[line.target] = value

    def by_components(self) -> FlowInverse | None:
        """Every component by itself: the root of E(x) = y."""
        if any(node.has(self.x) for node in self.inlined[self.y].atoms(Operator)):
            return None
        names = {self.x: self.found}
        mark = Solve((self.found,), (self.y,))
        lines = [Assignment(line.target, line.value.xreplace(names), line.reason, mark)
                 for line in self.flow.map.assignments
                 if line.target.role.batched and line.target != self.y]  # fmt: skip
        value = self.flow.map.value(self.y).xreplace(names)
        lines.append(Assignment(self.found, self.found + self.y - value, f"the map solved for {self.x.name}", mark))
        program = self._program([*self.lines, *lines])
        return FlowInverse(program, self.parts, "a root for every component", (self.found, lines[-1].value))

    def through_scalar(self) -> FlowInverse | None:
        """By the equation of the one scalar."""
        ((scalar, value),) = self.features.items()
        image = self.inlined[self.y]
        slope = diff(image, self.x)
        if slope.has(self.x) or any(node.has(self.x) for node in image.atoms(Operator)):
            return None
        offset = image.xreplace({self.x: Integer(0)})
        source = (self.y - offset) / slope
        equation = expanded(_lengths(value.xreplace({self.x: source})))
        closed = self._closed(equation, scalar)
        start = None if closed is not None else self._start(equation, scalar)
        if start is None:
            closed = self._with_names(closed, scalar)
            self.lines.append(Assignment(scalar, closed, f"the root of {scalar.name} = {equation}"))
            self.lines += self._scalar_lines(None)
            title = "in closed form"
        else:
            mark = Solve((scalar,), (start,))
            rest = self._with_names(equation - self.lines[-1].value, scalar)
            self.lines += self._scalar_lines(mark)
            line = Assignment(scalar, start + rest, f"{scalar.name} of the vector that is looked for", mark)
            self.lines.append(line)
            title = "through the root of a scalar equation"
        self.lines.append(Assignment(self.found, source, f"the map solved for {self.x.name}"))
        return FlowInverse(self._program(self.lines), self.parts, title, (scalar, equation))

    def _scalar_lines(self, mark: Solve | None) -> list[Assignment]:
        return [Assignment(q, value, solve=mark) for q, value in self.scalars.items()]

    def _with_names(self, equation: Expr, scalar: Quantity) -> Expr:
        """What the equation holds beside its unknown, computed once and by name."""
        moving = {scalar, *self.scalars}
        fixed = [
            n
            for n in sorted(equation.atoms(Operator), key=str)
            if not moving & symbols_of(n) and not isinstance(n, quadratic_root)
        ]
        outer = [n for n in fixed if not any(n in other.atoms(Operator) - {other} for other in fixed)]
        names = {}
        for node in outer:
            of_image = node.has(self.y)
            if of_image:
                name, shown = f"{scalar.name}_{self.y.name}", with_index(scalar.latex, self.y.latex)
            else:
                found = by_name(symbols_of(node))
                name = "_".join(q.name for q in found)
                shown = rf"\left\langle {', '.join(q.latex for q in found)}\right\rangle"
            names[node] = self._line(name, shown, self._with_named_argument(node, name, shown))
        return equation.xreplace(names)

    def _with_named_argument(self, node: Expr, name: str, shown: str) -> Expr:
        """A function of one compound vector as one of a name: both sweeps read it."""
        if len(node.args) > 1 or isinstance(node.args[0], Quantity):
            return node
        return node.func(self._line(f"a_{name}", rf"a_{{{shown}}}", node.args[0]))

    def _start(self, equation: Expr, scalar: Quantity) -> Quantity:
        """What an iteration starts from: the part of the equation without its unknown."""
        moving = {scalar, *self.scalars}
        fixed = Add(*(term for term in Add.make_args(equation) if not moving & symbols_of(term)))
        return self._line(f"{scalar.name}_0", with_index(scalar.latex, "0"), fixed)

    def _line(self, name: str, shown: str, value: Expr) -> Quantity:
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        batched = any(q.role.batched for q in symbols_of(value))
        target = Quantity(name, shape_of(value), Role.INTERMEDIATE if batched else Role.PARAMETER, shown)
        self.lines.append(Assignment(target, value))
        return target

    def _closed(self, equation: Expr, scalar: Quantity) -> Expr | None:
        """The root of an equation that is linear or quadratic: of a quadratic one the root above zero."""
        whole = together(scalar - equation.xreplace(self.scalars)).as_numer_denom()[0]
        try:
            polynomial = Poly(whole, scalar)
        except PolynomialError:
            return None
        if any(coefficient.has(scalar) for coefficient in polynomial.coeffs()) or polynomial.degree() > 2:
            return None
        *leading, linear, last = polynomial.all_coeffs()
        if not leading:
            return -last / linear
        return quadratic_root(linear / leading[0], factor(-last / leading[0]))

    def _program(self, lines: list[Assignment]) -> Program:
        used = {q for line in lines for q in symbols_of(line.value)}
        inputs = by_name(used - {line.target for line in lines})
        return Program(tuple(inputs), tuple(lines), (self.found,)).needed_for((self.found,))


def _lengths(value: Expr) -> Expr:
    """With scalars in front of lengths; they are above zero where the map is invertible, as its factors are."""

    def length(vector: Expr) -> Expr:
        scalars, rest = split_scalars(factor(vector))
        return scalars * norm(rest)

    return value.replace(norm, length)


def explicit(primal: Program, adjoint: Adjoint) -> Adjoint:
    """The adjoint of a program with the linear equations of multipliers solved, each of which is about one number.

    Values of operators that have a name in the program are called by it.
    """
    program = adjoint.program
    names = {line.value: line.target for line in primal.assignments if isinstance(line.value, Operator)}
    lines = [replace(line, value=line.value.xreplace(names)) for line in _explicit_lines(program)]
    return Adjoint(Program(program.inputs, tuple(lines), program.outputs), adjoint.seeds, adjoint.cotangents)


def _explicit_lines(program: Program) -> Iterator[Assignment]:
    waiting: dict[Quantity, Expr] = {}
    block: list[Assignment] = []
    for line in program.assignments:
        if line.solve is None:
            yield line
            continue
        (unknown,) = line.solve.unknowns
        if line.target != unknown:
            waiting[line.target] = line.value
            block.append(line)
            continue
        whole = line.value
        for _ in waiting:
            whole = whole.xreplace(waiting)
        mark = Dummy("multiplier", real=True)
        linear = whole.xreplace({unknown: mark})
        rest, slope = linear.xreplace({mark: Integer(0)}), diff(linear, mark)
        yield Assignment(unknown, rest / (1 - slope), line.reason)
        yield from (Assignment(each.target, each.value, each.reason) for each in block)
        waiting, block = {}, []

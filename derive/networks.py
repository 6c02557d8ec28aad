r"""Opaque differentiable networks, known only by their value and their differentials.

$\langle u, D^k f(p)[w_1,\dots,w_k]\rangle$ is symmetric in the directions, so two nodes are closed under both sweeps to
every order: `Call` (the vector, no covector) and `Pullback` (its gradient in one argument, contracted with a covector).
The parameters are simply the last argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import sympy
from sympy import Expr, Integer, Tuple

from derive.errors import SpecError
from derive.operators import Operator, factor_latex, shape_of, show_shape
from derive.symbols import Dimension, Quantity, Role, Shape, check_name


class Network(sympy.Symbol):
    """An opaque map `f(t, x; theta)`, `f(x; theta)`, or of two vectors `f(z, x; theta)`.

    Attributes:
        per_layer: every step has a network of its own (blocks of a net in depth); otherwise one field serves all.
        takes_time: the first argument is the time.
        latex: its letter.
        maps: named sizes (in, out) of the vectors it takes and gives; empty where they are of one size, the states'.
        beside: named size of a second vector that it takes after the first; empty where there is none.
    """

    __slots__ = ("beside", "latex", "maps", "per_layer", "takes_time")

    per_layer: bool
    takes_time: bool
    latex: str
    maps: tuple[Dimension, ...]
    beside: tuple[Dimension, ...]

    def __new__(
        cls,
        name: str,
        *,
        per_layer: bool = False,
        takes_time: bool = False,
        latex: str = "",
        maps: tuple[Dimension, ...] = (),
        beside: tuple[Dimension, ...] = (),
    ) -> Network:
        check_name(name)
        if beside and (takes_time or maps):
            raise SpecError(f"network {name} takes a second vector: neither the time nor other sizes beside it")
        symbol = cast(Network, sympy.Symbol.__xnew__(cls, name, real=True))
        symbol.per_layer, symbol.takes_time, symbol.latex = per_layer, takes_time, latex or name
        symbol.maps, symbol.beside = tuple(maps), tuple(beside)
        return symbol

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = {"per_layer": self.per_layer, "takes_time": self.takes_time, "latex": self.latex, "maps": self.maps}
        return (self.name,), named | {"beside": self.beside}

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.name, self.per_layer, self.takes_time, str(self.maps), str(self.beside))

    def _latex(self, printer: Any) -> str:
        return self.latex

    @property
    def theta(self) -> Quantity:
        """All parameters of the network as one vector; its length is the network's own affair."""
        role = Role.LAYER_PARAMETER if self.per_layer else Role.PARAMETER
        latex = rf"\theta_{{{self.latex},n}}" if self.per_layer else rf"\theta_{{{self.latex}}}"
        return Quantity(f"theta_{self.name}", (f"theta_{self.name}",), role, latex, f"parameters of {self.name}")

    def __call__(self, *arguments: Expr) -> Call:
        """The value at `(t, x)`, at `(x)` where the network takes no time, or at two vectors `(z, x)`."""
        names = "(t, x)" if self.takes_time else "(z, x)" if self.beside else "(x)"
        if len(arguments) != names.count(",") + 1:
            raise TypeError(f"network {self.name} is called as {self.name}{names}; {len(arguments)} arguments given")
        given, wanted = shape_of(arguments[-1]), self.maps[:1] or self.beside
        if wanted and given != wanted:
            raise SpecError(
                f"network {self.name} takes vectors {show_shape(wanted)}; {arguments[-1]} is {show_shape(given)}"
            )
        return Call(self, Tuple(*arguments, self.theta), Tuple())


class _Differential(Operator):
    """Common parts of `Call` and `Pullback`: the network, the point, and the directions as pairs (argument, vector)."""

    nargs = None

    @property
    def network(self) -> Network:
        """The network that is evaluated."""
        return cast(Network, self.args[0])

    @property
    def point(self) -> tuple[Expr, ...]:
        """Arguments, parameters last."""
        return tuple(self.args[1])

    @property
    def directions(self) -> tuple[tuple[int, Expr], ...]:
        """(argument index, direction) pairs, in a fixed order since the differential is symmetric."""
        return tuple((int(index), vector) for index, vector in self.args[2])

    def _sympystr(self, printer: Any) -> str:
        arguments = ", ".join(printer._print(argument) for argument in self.point[:-1])
        name = {0: "", 1: "D", 2: "DD"}.get(len(self.directions), f"D{len(self.directions)}") + self.network.name
        along = "".join(f"[{printer._print(vector)}]" for _, vector in self.directions)
        return f"{name}({arguments}; {printer._print(self.point[-1])}){along}"

    def _gradients(self, covector: Expr) -> list[tuple[Expr, Expr]]:
        """Cotangents of the point and of the directions of <covector, D^k f(p)[w..]>."""
        pairs = [
            (argument, Pullback(self.network, self.args[1], self.args[2], covector, Integer(index)))
            for index, argument in enumerate(self.point)
        ]
        for place, (index, vector) in enumerate(self.directions):
            others = direction_list(pair for spot, pair in enumerate(self.directions) if spot != place)
            pairs.append((vector, Pullback(self.network, self.args[1], others, covector, Integer(index))))
        return pairs


def direction_list(pairs: Any) -> Tuple:
    """Directions as a SymPy tuple in canonical order."""
    return Tuple(
        *(Tuple(Integer(i), w) for i, w in sorted(pairs, key=lambda p: (int(p[0]), sympy.default_sort_key(p[1]))))
    )


class Call(_Differential):
    r"""$D^k f(p)[w_1,\dots,w_k]$; with no directions the value of the network."""

    def shape(self) -> Shape:
        state = self.point[0 if self.network.beside else -2]
        return self.network.maps[1:] or shape_of(state)

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        return self._gradients(u)

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        return sum(self._terms(tangent), Integer(0))

    def _terms(self, tangent: Callable[[Expr], Expr]) -> list[Expr]:
        terms = [
            Call(self.network, self.args[1], direction_list([*self.directions, (index, tangent(argument))]))
            for index, argument in enumerate(self.point)
            if tangent(argument) != 0
        ]
        for place, (index, vector) in enumerate(self.directions):
            if tangent(vector) != 0:
                replaced = [*self.directions[:place], (index, tangent(vector)), *self.directions[place + 1 :]]
                terms.append(Call(self.network, self.args[1], direction_list(replaced)))
        return terms

    def _latex(self, printer: Any) -> str:
        body = f"{self.network.latex}{_arguments(printer, self.point)}"
        return _applied(printer, self, body)


class Pullback(_Differential):
    r"""$\partial_{p_j}\langle u, D^k f(p)[w_1,\dots,w_k]\rangle$; without directions $(\partial_j f)^\top u$."""

    @property
    def covector(self) -> Expr:
        """What the differential is contracted with."""
        return self.args[3]

    @property
    def slot(self) -> int:
        """Index of the argument the gradient is taken in."""
        return int(self.args[4])

    def shape(self) -> Shape:
        return shape_of(self.point[self.slot])

    def pullback(self, u: Expr) -> Sequence[tuple[Expr, Expr]]:
        extended = direction_list([*self.directions, (self.slot, u)])
        whole = Call(self.network, self.args[1], extended)
        return [
            *whole._gradients(self.covector)[: len(self.point)],
            *self._direction_gradients(u),
            (self.covector, whole),
        ]

    def _direction_gradients(self, u: Expr) -> list[tuple[Expr, Expr]]:
        pairs = []
        for place, (index, vector) in enumerate(self.directions):
            others = [pair for spot, pair in enumerate(self.directions) if spot != place]
            node = Pullback(
                self.network, self.args[1], direction_list([*others, (self.slot, u)]), self.covector, Integer(index)
            )
            pairs.append((vector, node))
        return pairs

    def pushforward(self, tangent: Callable[[Expr], Expr]) -> Expr:
        value = Call(self.network, self.args[1], self.args[2])
        terms = [
            Pullback(self.network, self.args[1], part.args[2], self.covector, Integer(self.slot))
            for part in value._terms(tangent)
        ]
        if tangent(self.covector) != 0:
            inner = tangent(self.covector)
            terms.append(Pullback(self.network, self.args[1], self.args[2], inner, Integer(self.slot)))
        return sum(terms, Integer(0))

    def _sympystr(self, printer: Any) -> str:
        value = super()._sympystr(printer)
        return f"grad[{printer._print(self.point[self.slot])}]<{printer._print(self.covector)}, {value}>"

    def _latex(self, printer: Any) -> str:
        letters = "zx" if self.network.beside else "x" if len(self.point) == 2 else "tx"
        name = letters[self.slot] if self.slot < len(letters) else r"\theta"
        body = _applied(printer, self, f"{self.network.latex}{_arguments(printer, self.point)}")
        return rf"\left(\partial_{{{name}}} {body}\right)^{{\top}} {factor_latex(printer, self.covector)}"


def _arguments(printer: Any, point: tuple[Expr, ...]) -> str:
    values = ",\\, ".join(printer._print(argument) for argument in point[:-1])
    theta = r"\theta" if getattr(printer, "continuous", False) else printer._print(point[-1])
    return rf"\left({values};\, {theta}\right)"


def _applied(printer: Any, node: _Differential, body: str) -> str:
    if not node.directions:
        return body
    order = len(node.directions)
    inner = ",\\, ".join(printer._print(vector) for _, vector in node.directions)
    return rf"D^{{{order}}}{body}\left[{inner}\right]"

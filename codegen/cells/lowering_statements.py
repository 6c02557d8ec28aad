"""Elementwise expressions and sums of products -> torch statements that allocate as little as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy
from sympy import Add, Expr, Integer, Mul, Pow, fraction

from codegen.printer import TorchPrinter
from derive import functions
from derive.operators import shape_of, softmax
from derive.program import symbols_of
from derive.symbols import Quantity, by_name

OUT: Mapping[type, str] = {
    functions.sigmoid: "torch.sigmoid({})",
    functions.tanh: "torch.tanh({})",
    functions.relu: "torch.clamp_min({}, 0)",
    sympy.exp: "torch.exp({})",
    sympy.log: "torch.log({})",
    sympy.sin: "torch.sin({})",
    sympy.cos: "torch.cos({})",
    sympy.Abs: "torch.abs({})",
    sympy.sign: "torch.sign({})",
    softmax: "torch.softmax({}, -1)",
}
"""Functions that can write into a given tensor."""


class NamedPrinter(TorchPrinter):
    """Prints quantities by the names that they have where the statement stands."""

    def __init__(self, names: Mapping[Quantity, str]) -> None:
        super().__init__()
        self.names = names

    def _print(self, node: Expr) -> tuple[str, int]:
        text, tightness = super()._print(node)
        return self.names.get(node, text) if isinstance(node, Quantity) else text, tightness


@dataclass(frozen=True)
class Opening:
    """The operation that writes a tensor first.

    Attributes:
        call: text of a call that can take `out=`, or of an expression.
        takes_out: which of the two.
        needs_out: for a call that cannot do without it: a tensor of the result's shape.
        rest: terms that are left to be added.
    """

    call: str
    takes_out: bool = True
    needs_out: str = ""
    rest: tuple[Expr, ...] = ()

    def into(self, target: str) -> str:
        """Write into a tensor that exists."""
        return f"{self.call[:-1]}, out={target})" if self.takes_out else f"{target}.copy_({self.call})"

    def fresh(self, name: str) -> str:
        """Write into a new tensor."""
        if self.needs_out:
            return f"{name} = {self.into(f'torch.empty_like({self.needs_out})')}"
        return f"{name} = {self.call}"


class Statements:
    """Statements for elementwise expressions.

    Args:
        names: quantity -> its text, where that is not its name.
    """

    def __init__(self, names: Mapping[Quantity, str] | None = None) -> None:
        self.printer = NamedPrinter(names or {})

    def into(self, target: str, value: Expr) -> list[str]:
        """`target = value`, where `target` exists and is not read by `value`."""
        opening = self._opening(value)
        return [opening.into(target), *self._rest(target, opening)]

    def fresh(self, name: str, value: Expr) -> list[str]:
        """`name = value` as a new tensor."""
        opening = self._opening(value)
        return [opening.fresh(name), *self._rest(name, opening)]

    def add(self, target: str, value: Expr) -> list[str]:
        """`target += value`."""
        return [self._added(target, term) for term in Add.make_args(value)]

    def _rest(self, target: str, opening: Opening) -> list[str]:
        return [self._added(target, term) for term in opening.rest]

    def _opening(self, value: Expr) -> Opening:
        terms = list(Add.make_args(value))
        whole = self._whole(value, terms)
        if whole is not None:
            return whole
        for kind in (self._slope, self._function):
            for term in terms:
                opening = kind(term) if shape_of(term) == shape_of(value) else None
                if opening is not None:
                    return self._with_rest(opening, terms, term)
        shape = shape_of(value)
        product = next((t for t in terms if _pair(t) is not None and _batched(t) and shape_of(t) == shape), None)
        plain = next((t for t in terms if isinstance(t, Quantity) and t != product), None)
        if product is None:
            return Opening(self.printer(value), takes_out=False)
        number, left, right = _pair(product) or (Integer(1), product, Integer(1))
        if plain is not None:
            call = f"torch.addcmul({self.printer(plain)}, {self._multiplied(number, left, right)})"
            return self._with_rest(Opening(call), terms, product, plain)
        call = f"torch.mul({self.printer(number * left)}, {self.printer(right)})"
        return self._with_rest(Opening(call), terms, product)

    @staticmethod
    def _with_rest(opening: Opening, terms: Sequence[Expr], *done: Expr) -> Opening:
        rest = tuple(term for term in terms if term not in done)
        return Opening(opening.call, opening.takes_out, opening.needs_out, rest)

    def _whole(self, value: Expr, terms: Sequence[Expr]) -> Opening | None:
        """One operation for the whole value, where there is one."""
        mix = interpolation(value)
        if mix is not None:
            start, end, weight = (self.printer(part) for part in mix)
            return Opening(f"torch.lerp({start}, {end}, {weight})")
        if len(terms) == 2 and all(isinstance(term, Quantity) and term.role.batched for term in terms):
            return Opening(f"torch.add({', '.join(self.printer(term) for term in terms)})")
        return None

    def _slope(self, term: Expr) -> Opening | None:
        """`scale * v * (1 - v)` and `scale * (1 - v**2)`, the slopes of sigmoid and tanh in their values."""
        for helper, value, scale in slopes_in(term):
            if scale == 1 or not _batched(scale) or shape_of(scale) != value.shape:
                continue
            return Opening(f"{helper}({self.printer(scale)}, {self.printer(value)})", needs_out=self.printer(value))
        return None

    def _function(self, term: Expr) -> Opening | None:
        form = OUT.get(type(term))
        return Opening(form.format(self.printer(term.args[0]))) if form and _batched(term) else None

    def _added(self, target: str, term: Expr) -> str:
        pair = _pair(term)
        if pair is not None:
            return f"{target}.addcmul_({self._multiplied(*pair)})"
        number, rest = term.as_coeff_Mul()
        if rest == 1:
            return f"{target}.add_({self.printer(number)})"
        return _added(target, self.printer(number), self.printer(rest))

    def _multiplied(self, number: Expr, left: Expr, right: Expr) -> str:
        return _multiplied(self.printer(number), self.printer(left), self.printer(right))


def _pair(term: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(number, left, right) of a product without denominator; powers stay together."""
    if fraction(term)[1] != 1:
        return None
    number, rest = term.as_coeff_Mul()
    factors = Mul.make_args(rest)
    if len(factors) < 2:
        return None
    *left, right = sorted(factors, key=lambda factor: not isinstance(factor, Add))
    return number, Mul(*left), right


def _batched(value: Expr) -> bool:
    return any(quantity.role.batched for quantity in symbols_of(value))


def interpolation(value: Expr) -> tuple[Expr, Expr, Expr] | None:
    """(a, b, w) where the value is (1 - w) * a + w * b with a batched weight."""
    terms = Add.make_args(value)
    if len(terms) != 2:
        return None
    for one, other in (terms, terms[::-1]):
        for weight in (f for f in Mul.make_args(one) if isinstance(f, Quantity)):
            if 1 - weight in Mul.make_args(other):
                start, end = other / (1 - weight), one / weight
                if all(_batched(part) for part in (start, end, weight)):
                    return start, end, weight
    return None


def slopes_in(term: Expr) -> list[tuple[str, Expr, Expr]]:
    """Ways to read a product as a fused slope: (helper, value, scale)."""
    factors = Mul.make_args(term)
    found = []
    for factor in factors:
        mentioned = by_name(symbols_of(factor))
        if not isinstance(factor, Add) or len(mentioned) != 1:
            continue
        value = mentioned[0]
        if factor == 1 - value and any(f == value or (isinstance(f, Pow) and f.base == value) for f in factors):
            found.append(("sigmoid_slope", value, term / factor / value))
        if factor == 1 - value**2:
            found.append(("tanh_slope", value, term / factor))
    return found


@dataclass(frozen=True)
class Sum:
    """A tensor as a sum: what the loop of the adjoint sweep computes.

    Attributes:
        plain: (number, text) of tensors times numbers.
        products: (number, text, text) of elementwise products.
        matrices: (text, text) of matrix products.
        inner: (name, text) of inner products, which are computed first.
        narrow: (number, text, text) of products of numbers of each sample, that are added to all components; the
            second text may be empty.
        chosen: whether each matrix product takes the kernel of its size, by the functions of
            `codegen/runtime/matrix_products.py`; else it is torch's.
    """

    plain: tuple[tuple[str, str], ...]
    products: tuple[tuple[str, str, str], ...]
    matrices: tuple[tuple[str, str], ...]
    inner: tuple[tuple[str, str], ...] = ()
    narrow: tuple[tuple[str, str, str], ...] = ()
    chosen: bool = False

    def into(self, target: str) -> list[str]:
        """Statements that write the sum into a tensor; a term that reads this tensor comes first."""
        plain = sorted(self.plain, key=lambda term: (term[1] != target, term[0] != "1"))
        products = sorted(self.products, key=lambda term: (target not in term[1:], term[0] != "1"))
        matrices = list(self.matrices)
        opened = _opened(target, plain, products, matrices, self.chosen)
        rest = replace(self, plain=tuple(plain), products=tuple(products), matrices=tuple(matrices), inner=())
        return [*self._products_first(), *opened, *rest.onto(target)]

    def onto(self, target: str) -> list[str]:
        """Statements that add the sum to a tensor."""
        lines = self._products_first()
        lines += [f"{target}.addcmul_({_multiplied(*term)})" for term in self.products]
        added = "add_product({}, {}, {})" if self.chosen else "{}.addmm_({}, {})"
        lines += [added.format(target, left, right) for left, right in self.matrices]
        lines += [f"{target}.addcmul_({_multiplied(*term)})" for term in self.narrow if term[2]]
        lines += [_added(target, number, text) for number, text, other in self.narrow if not other]
        return lines + [_added(target, number, text) for number, text in self.plain]

    def _products_first(self) -> list[str]:
        return [f"{name} = {text}" for name, text in self.inner]


def _opened(
    target: str,
    plain: list[tuple[str, str]],
    products: list[tuple[str, str, str]],
    matrices: list[tuple[str, str]],
    chosen: bool,
) -> list[str]:
    """The statement that writes a tensor first; takes the terms that it computes out of the lists."""
    if plain and plain[0][1] == target:
        return _scaled(target, plain.pop(0)[0])
    if plain and plain[0][0] == "1":
        return [_based(target, plain, products, matrices, chosen)]
    if products:
        number, left, right = products.pop(0)
        own = target in (left, right)
        first = (
            f"{target}.mul_({right if left == target else left})"
            if own
            else f"torch.mul({left}, {right}, out={target})"
        )
        return [first, *_scaled(target, number)]
    if matrices:
        return [_product(target, matrices.pop(0), "", chosen)]
    if plain:
        number, text = plain.pop(0)
        return [f"torch.mul({text}, {number}, out={target})"]
    return [f"{target}.zero_()"]


def _product(target: str, factors: tuple[str, str], base: str, chosen: bool) -> str:
    """The statement that writes a matrix product, plus a tensor if there is one."""
    if chosen:
        return f"set_product({', '.join([target, *factors, *([base] if base else [])])})"
    added = f"addmm({base}, " if base else "mm("
    return f"torch.{added}{', '.join(factors)}, out={target})"


def _based(
    target: str,
    plain: list[tuple[str, str]],
    products: list[tuple[str, str, str]],
    matrices: list[tuple[str, str]],
    chosen: bool,
) -> str:
    """The statement that writes a tensor as another one plus the next term."""
    base = plain.pop(0)[1]
    if products:
        return f"torch.addcmul({base}, {_multiplied(*products.pop(0))}, out={target})"
    if matrices:
        return _product(target, matrices.pop(0), base, chosen)
    if not plain:
        return f"{target}.copy_({base})"
    number, text = plain.pop(0)
    if number == "-1":
        return f"torch.sub({base}, {text}, out={target})"
    return f"torch.add({base}, {text}{'' if number == '1' else f', alpha={number}'}, out={target})"


def _scaled(target: str, number: str) -> list[str]:
    """`target *= number`."""
    return [] if number == "1" else [f"{target}.neg_()"] if number == "-1" else [f"{target}.mul_({number})"]


def _added(target: str, number: str, text: str) -> str:
    """`target += number * text`."""
    if number == "-1":
        return f"{target}.sub_({text})"
    return f"{target}.add_({text}{'' if number == '1' else f', alpha={number}'})"


def _multiplied(number: str, left: str, right: str) -> str:
    """Arguments of `addcmul`: two factors and a number before them."""
    return f"{left}, {right}" + ("" if number == "1" else f", value={number}")

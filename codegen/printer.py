"""Expressions -> torch source text, table-driven; what is not in a table is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import sympy
from sympy import Expr, Mul, Pow, fraction

from derive import functions, layer_norms, norms, operators, windows
from derive.errors import UnsupportedError
from derive.networks import Call, Pullback
from derive.symbols import Quantity

FUNCTIONS: Mapping[type, str] = {
    functions.sigmoid: "torch.sigmoid({})",
    functions.tanh: "torch.tanh({})",
    functions.relu: "torch.relu({})",
    functions.step: "({0} > 0).to({0}.dtype)",
    # torch's own softplus drops the exponential above 20, which is 2e-9 there.
    functions.softplus: "-torch.nn.functional.logsigmoid(-{})",
    functions.logsigmoid: "torch.nn.functional.logsigmoid({})",
    functions.logabs: "torch.log(torch.abs({}))",
    functions.xlogx: "torch.special.xlogy({0}, {0})",
    functions.elu: "torch.nn.functional.elu({})",
    sympy.exp: "torch.exp({})",
    sympy.log: "torch.log({})",
    sympy.sin: "torch.sin({})",
    sympy.cos: "torch.cos({})",
    sympy.erf: "torch.erf({})",
    sympy.Abs: "torch.abs({})",
    sympy.sign: "torch.sign({})",
}

# Batch axes lead; reductions keep a last axis of size 1, so that what was summed still broadcasts against vectors.
OPERATORS: Mapping[type, str] = {
    operators.outer: "{0}.unsqueeze(-1) * {1}.unsqueeze(-2)",
    operators.total: "{}.sum(-1, keepdim=True)",
    operators.dot: "({0} * {1}).sum(-1, keepdim=True)",
    operators.fill: "{0} + torch.zeros_like({1})",
    operators.softmax: "torch.softmax({}, -1)",
    operators.logsumexp: "torch.logsumexp({}, -1, keepdim=True)",
    operators.concat: "torch.cat(({0}, {1}), -1)",
    operators.head: "{0}[..., : {1}.shape[-1]]",
    operators.tail: "{0}[..., {1}.shape[-1] :]",
    operators.transpose: "{}.mT",
    operators.identity_like: "torch.eye({0}.shape[-1], dtype={0}.dtype, device={0}.device)",
}

# The first three are functions of codegen/runtime/norms.py.
NORMS: Mapping[type, str] = {
    norms.norm: "safe_norm({})",
    norms.unit: "unit_vector({})",
    norms.quadratic_root: "quadratic_root({0}, {1})",
    norms.components: "{}.shape[-1]",
    layer_norms.layer_norm: "torch.nn.functional.layer_norm({0}, {0}.shape[-1:], eps={1})",
    layer_norms.per_deviation: "torch.rsqrt(({0} - {0}.mean(-1, keepdim=True)).square().mean(-1, keepdim=True) + {1})",
}

# Windows are tuples of tensors; these are functions of codegen/runtime/windows.py.
WINDOWS: Mapping[type, str] = {
    windows.newest: "{}[0]",
    windows.front: "lag_front({0}, {1})",
    windows.shift: "lag_shift({0}, {1})",
    windows.unshift: "lag_unshift({})",
    windows.lag_sum: "lag_sum({0}, {1})",
    windows.lag_outer: "lag_outer({0}, {1})",
}

TABLES = (FUNCTIONS, OPERATORS, WINDOWS, NORMS)

# A function of its arguments and nothing else: they need no brackets of their own.
PLAIN_CALL = re.compile(r"[\w.]+\(\{0?\}(, \{\d\})*\)")

# Forms that bind no tighter than a sum.
LOOSE = (operators.outer, operators.fill, functions.softplus)

PRODUCTS = (operators.matvec, operators.matmul)

SUM, PRODUCT, POWER, ATOM = range(4)
LONGEST = 2**53


class TorchPrinter:
    """Prints one expression.

    Args:
        networks: how a network call is written, given the node and its printed arguments; None where none may occur.
    """

    tables: tuple[Mapping[type, str], ...] = TABLES

    def __init__(self, networks: Callable[[Call | Pullback, list[str]], str] | None = None) -> None:
        self.networks = networks

    def __call__(self, expression: Expr) -> str:
        """Source text.

        Raises:
            UnsupportedError: a node that no table knows.
        """
        return self._print(expression)[0]

    def _print(self, node: Expr) -> tuple[str, int]:
        """Text and how tightly it binds."""
        if isinstance(node, Quantity):
            return node.name, ATOM
        if isinstance(node, Call | Pullback):
            return self._network(node), ATOM
        if node.is_number:
            return self._number(node)
        rules = {sympy.Add: self._sum, Mul: self._product, Pow: self._power}
        return rules.get(node.func, self._function)(node)

    def _wrapped(self, node: Expr, tightness: int) -> str:
        text, found = self._print(node)
        return text if found >= tightness else f"({text})"

    def _number(self, node: Expr) -> tuple[str, int]:
        if node.is_Integer:
            return str(node), ATOM if node >= 0 else SUM
        if node.is_Rational and not _is_long(node):
            return f"{node.p} / {node.q}", PRODUCT if node > 0 else SUM
        if node.is_real is False or node.is_finite is False or node is sympy.nan:
            raise UnsupportedError(f"the number {node} has no torch form; numbers must be real and finite")
        text = repr(float(node))
        return text, SUM if text.startswith("-") else ATOM

    def _sum(self, node: Expr) -> tuple[str, int]:
        if all(windows.is_window(term) for term in node.args):
            return f"lag_total({', '.join(self(term) for term in node.args)})", ATOM
        terms = sorted(node.args, key=lambda term: bool(term.could_extract_minus_sign()))
        text = self._wrapped(terms[0], SUM)
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            text += f" - {self._wrapped(-term, PRODUCT)}" if negative else f" + {self._wrapped(term, PRODUCT)}"
        return text, SUM

    def _product(self, node: Expr) -> tuple[str, int]:
        if node.could_extract_minus_sign():
            return f"-{self._wrapped(-node, PRODUCT)}", SUM
        coefficient, rest = node.as_coeff_Mul()
        if _is_long(coefficient):
            return f"{float(coefficient)!r} * {self._wrapped(rest, PRODUCT)}", PRODUCT
        numerator, denominator = fraction(node)
        factors = sorted((factor for factor in Mul.make_args(numerator) if factor != 1), key=_scalars_first)
        text = " * ".join(map(self._factor, factors, [None, *factors])) or "1"
        if denominator != 1:
            text += f" / {self._wrapped(denominator, POWER)}"
        return text, PRODUCT

    def _factor(self, factor: Expr, before: Expr | None) -> str:
        """A factor behind another one: `@` binds no tighter than `*`, and only a scalar commutes with it."""
        vector_before = before is not None and operators.shape_of(before) != ()
        return self._wrapped(factor, POWER if vector_before and isinstance(factor, PRODUCTS) else PRODUCT)

    def _power(self, node: Expr) -> tuple[str, int]:
        base, exponent = node.args
        if exponent.is_negative:
            inner = base if exponent == -1 else Pow(base, -exponent, evaluate=False)
            return f"1 / {self._wrapped(inner, POWER)}", PRODUCT
        power = (
            str(exponent)
            if exponent.is_Integer
            else repr(float(exponent))
            if exponent.is_number
            else self._wrapped(exponent, ATOM)
        )
        return f"{self._wrapped(base, ATOM)}**{power}", POWER

    def _function(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, PRODUCTS):
            return self._matvec(node) if isinstance(node, operators.matvec) else self._matmul(node), PRODUCT
        if isinstance(node, operators.linear_solve):
            return self._solved(node), ATOM
        form = next((table[node.func] for table in self.tables if node.func in table), None)
        if form is None:
            raise UnsupportedError(
                f"the torch printer does not know {node.func.__name__} in {node}; "
                f"write it with {', '.join(sorted(known.__name__ for known in FUNCTIONS))}"
            )
        tightness = SUM if PLAIN_CALL.fullmatch(form) and node.func not in LOOSE else ATOM
        arguments = [self._wrapped(argument, tightness) for argument in node.args]
        return form.format(*arguments), SUM if node.func in LOOSE else ATOM

    def _matvec(self, node: Expr) -> str:
        matrix, vector = node.args
        if any(quantity.role.batched for quantity in matrix.atoms(Quantity)):  # one matrix per sample
            return f"({self._wrapped(matrix, PRODUCT)} @ {self._wrapped(vector, ATOM)}.unsqueeze(-1)).squeeze(-1)"
        left = self._wrapped(vector, PRODUCT)
        if isinstance(matrix, operators.transpose):
            return f"{left} @ {self._wrapped(matrix.args[0], ATOM)}"
        return f"{left} @ {self._wrapped(matrix, ATOM)}.mT"

    def _matmul(self, node: Expr) -> str:
        left, right = node.args
        return f"{self._wrapped(left, PRODUCT)} @ {self._wrapped(right, POWER)}"

    def _solved(self, node: operators.linear_solve) -> str:
        """A linear system with a vector or a matrix on the right."""
        matrix, right = node.args
        if node.is_inverse:
            return f"torch.linalg.inv({self(matrix)})"
        if len(operators.shape_of(right)) == 2:
            return f"torch.linalg.solve({self(matrix)}, {self(right)})"
        return f"torch.linalg.solve({self(matrix)}, {self._wrapped(right, ATOM)}.unsqueeze(-1)).squeeze(-1)"

    def _network(self, node: Call | Pullback) -> str:
        if self.networks is None or node.directions:
            raise UnsupportedError(f"{node} has no torch form here")
        return self.networks(node, [self(argument) for argument in node.point[:-1]])


def _is_long(number: Expr) -> bool:
    """Whether a rational number has whole numbers in it that floating point does not hold: a published decimal."""
    return number.is_Rational and max(abs(number.p), number.q) > LONGEST


def _scalars_first(factor: Expr) -> tuple[int, str]:
    shape = operators.shape_of(factor)
    return (0 if factor.is_Number else 1 if shape == () else 2, str(factor))

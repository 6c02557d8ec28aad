"""Torch forms that take one pass over memory: an affine map, and a cotangent times a slope of the usual activations."""

from __future__ import annotations

from sympy import Add, Expr, Integer, Mul

from codegen.printer import ATOM, TorchPrinter
from derive.functions import step
from derive.norms import components
from derive.operators import matvec, shape_of
from derive.symbols import Quantity


class LayerPrinter(TorchPrinter):
    """Prints the lines of a layer; what has no fused form is printed as elsewhere."""

    def _sum(self, node: Expr) -> tuple[str, int]:
        products = [term for term in node.args if isinstance(term, matvec) and isinstance(term.args[0], Quantity)]
        biases = [term for term in node.args if isinstance(term, Quantity) and _is_parameter(term)]
        if len(node.args) == 2 and products and biases and _is_parameter(products[0].args[0]):
            matrix, vector = products[0].args
            return f"torch.nn.functional.linear({self(vector)}, {matrix.name}, {biases[0].name})", ATOM
        return super()._sum(node)

    def _product(self, node: Expr) -> tuple[str, int]:
        for slope, form in _slopes(node):
            rest = Mul(*(factor for factor in node.args if factor not in slope))
            if _is_tensor(rest) and shape_of(rest) == shape_of(node):
                return f"torch.ops.aten.{form.format(self(rest))}", ATOM
        return super()._product(node)


def _is_tensor(factor: Expr) -> bool:
    """Whether a factor is one in torch, too: what holds no quantity but a number of components is a Python number."""
    counts = factor.atoms(components)
    return bool(factor.xreplace(dict.fromkeys(counts, Integer(1))).atoms(Quantity))


def _is_parameter(quantity: Expr) -> bool:
    return isinstance(quantity, Quantity) and not quantity.role.batched and bool(quantity.shape)


def _slopes(node: Expr) -> list[tuple[tuple[Expr, ...], str]]:
    """Factors that together are a slope, and torch's product of it with something, by what the factors are."""
    found: list[tuple[tuple[Expr, ...], str]] = []
    for factor in node.args:
        for y in sorted(factor.atoms(Quantity), key=str) if isinstance(factor, Add) else ():
            if factor == 1 - y**2:
                found.append(((factor,), f"tanh_backward({{}}, {y.name})"))
            if factor == Integer(1) - y and y in node.args:
                found.append(((factor, y), f"sigmoid_backward({{}}, {y.name})"))
        if isinstance(factor, step) and isinstance(factor.args[0], Quantity):
            found.append(((factor,), f"threshold_backward({{}}, {factor.args[0].name}, 0)"))
    return found

"""The reference evaluator of a program: one sample, NumPy float64 or complex, or mpmath at any precision.

It shares nothing with code generation: every operator brings its own NumPy form, and functions are looked up here. The
arrays hold floats, complex numbers (complex-step differentiation works) or mpmath numbers (30 digits and more).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Protocol

import mpmath
import numpy as np
import sympy
from sympy import Expr

from derive import functions
from derive.equation_solver import solve_equations
from derive.equations import equations_of
from derive.errors import UnsupportedError
from derive.networks import Call, Network, Pullback
from derive.numeric import Numeric, exponential, logarithm, on_any_field
from derive.operator_base import Operator
from derive.power_series import Series
from derive.program import Program, blocks, unknowns_of
from derive.symbols import Quantity

Values = Mapping[Quantity, Numeric]
Called = dict[Expr, Numeric]  # values of networks so far, which stand in several terms


class NetworkModel(Protocol):
    """A numeric stand-in for an opaque network."""

    def differential(
        self, point: list[Numeric], directions: list[tuple[int, Numeric]], covector: Numeric | None, slot: int
    ) -> Numeric:
        """D^k f(p)[w..], or its gradient in argument `slot` contracted with `covector` where one is given."""


def evaluate(
    program: Program, values: Values, networks: Mapping[Network, NetworkModel] | None = None
) -> dict[Quantity, Numeric]:
    """All quantities of a program for given inputs.

    Raises:
        KeyError: an input has no value.
        UnsupportedError: a function or an opaque network has no numeric form.
    """
    known: dict[Quantity, Numeric] = {quantity: values[quantity] for quantity in program.inputs}
    called: Called = {}
    for block in blocks(program.assignments):
        if unknowns_of(block):
            known |= solve_equations(equations_of(block), known, partial(evaluate, networks=networks))
        for line in block:
            if line.target not in known:
                known[line.target] = _spread(_value(line.value, known, networks, called), line.target, known)
    return known


def _spread(value: Numeric, target: Quantity, known: Values) -> Numeric:
    """A scalar result of a quantity with components stands in each of them."""
    if np.ndim(value) or not target.shape:
        return value
    like = next((v for q, v in known.items() if q.shape == target.shape), None)
    return value if like is None else value + 0 * like


def value_of(expression: Expr, values: Values, networks: Mapping[Network, NetworkModel] | None = None) -> Numeric:
    """Value of one expression."""
    return _value(expression, values, networks, {})


def _value(
    expression: Expr, values: Values, networks: Mapping[Network, NetworkModel] | None, called: Called
) -> Numeric:
    if isinstance(expression, Quantity):
        return values[expression]
    rule = _RULES.get(expression.func)
    if rule is None and isinstance(expression, Call | Pullback):
        if expression not in called:
            called[expression] = _network_value(expression, values, networks or {}, called)
        return called[expression]
    if not expression.args or isinstance(expression, sympy.LambertW | sympy.CRootOf):
        return _number(expression, values)
    arguments = [_value(part, values, networks, called) for part in expression.args]
    if rule is not None:
        return rule(*arguments)
    if isinstance(expression, Operator):
        return expression.numeric(*arguments)
    raise UnsupportedError(f"the reference evaluator has no rule for {expression.func.__name__}")


def _network_value(
    node: Call | Pullback, values: Values, networks: Mapping[Network, NetworkModel], called: Called
) -> Numeric:
    if node.network not in networks:
        raise UnsupportedError(f"network {node.network.name} has no numeric stand-in here")
    point = [_value(argument, values, networks, called) for argument in node.point]
    directions = [(index, _value(vector, values, networks, called)) for index, vector in node.directions]
    if isinstance(node, Call):
        return networks[node.network].differential(point, directions, None, 0)
    covector = _value(node.covector, values, networks, called)
    return networks[node.network].differential(point, directions, covector, node.slot)


def _number(expression: Expr, values: Values) -> Numeric:
    """A number in the precision of the values: a float beside floats, an mpf beside mpfs, never a rounded rational."""
    if not expression.is_number:
        raise UnsupportedError(f"the reference evaluator has no value for {expression}")
    exact = any(map(_is_exact, values.values()))
    return _rounded(expression, mpmath.mp.dps, mpmath.mp.prec) if exact else float(expression)


def _is_exact(value: Numeric) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.hasobject
    return not isinstance(value, (int, float, complex, np.generic))


@lru_cache(maxsize=1000)
def _rounded(expression: Expr, digits: int, precision: int) -> Numeric:
    return sympy.N(expression, digits + 5)._to_mpmath(precision)


def _power(base: Numeric, exponent: Numeric) -> Numeric:
    whole = _whole(exponent)
    return base**whole if whole is not None else exponential(exponent * logarithm(base))


def _whole(exponent: Numeric) -> int | None:
    """The exponent as an integer, where it is one number and whole: such a power needs no logarithm."""
    if np.ndim(exponent) or isinstance(exponent, Series):
        return None
    return int(exponent.real) if exponent == int(exponent.real) else None


def _piecewise(branch: Callable[[Numeric], Numeric]) -> Callable[[Numeric], Numeric]:
    """A function chosen by the sign of the real part, entry by entry."""
    generic = np.frompyfunc(branch, 1, 1)

    def apply(value: Numeric) -> Numeric:
        result = generic(value)
        kind = np.asarray(value).dtype
        return result.astype(kind) if isinstance(result, np.ndarray) and not kind.hasobject else result

    return apply


# Small arguments keep their digits: 1 + exp(-40) is 1 in float64.
exponential_minus_one = on_any_field("expm1")
log_of_one_plus = on_any_field("log1p")


def _sigmoid(z: Numeric) -> Numeric:
    return 1 / (1 + exponential(-z)) if z.real >= 0 else exponential(z) / (1 + exponential(z))


def _softplus(z: Numeric) -> Numeric:
    return (z if z.real > 0 else 0 * z) + log_of_one_plus(exponential(-z if z.real > 0 else z))


def _tanh(z: Numeric) -> Numeric:
    decay = exponential_minus_one(-2 * z if z.real >= 0 else 2 * z)
    return -decay / (2 + decay) if z.real >= 0 else decay / (2 + decay)


def _erf(z: Numeric) -> Numeric:
    if isinstance(z, Series):
        raise UnsupportedError("the reference evaluator has no power series of erf")
    if isinstance(z, float):
        return math.erf(z)
    value = mpmath.erf(z)
    return complex(value) if isinstance(z, complex) else value


def _sum(*terms: Numeric) -> Numeric:
    result = terms[0]
    for term in terms[1:]:
        result = term + result if isinstance(term, np.ndarray) else result + term
    return result


def _product(*factors: Numeric) -> Numeric:
    result = factors[0]
    for factor in factors[1:]:
        # an mpmath number would ask an array for its text before it leaves the product to it
        result = factor * result if isinstance(factor, np.ndarray) else result * factor
    return result


_RULES: dict[Any, Callable[..., Numeric]] = {
    sympy.Add: _sum,
    sympy.Mul: _product,
    sympy.Pow: _power,
    sympy.exp: exponential,
    sympy.log: logarithm,
    sympy.sin: on_any_field("sin"),
    sympy.cos: on_any_field("cos"),
    sympy.Abs: _piecewise(lambda z: z if z.real >= 0 else -z),
    sympy.sign: _piecewise(lambda z: (z.real > 0) - (z.real < 0) + 0 * z),
    sympy.erf: _piecewise(_erf),
    functions.sigmoid: _piecewise(_sigmoid),
    functions.tanh: _piecewise(_tanh),
    functions.relu: _piecewise(lambda z: z if z.real > 0 else 0 * z),
    functions.step: _piecewise(lambda z: 1 + 0 * z if z.real > 0 else 0 * z),
    functions.softplus: _piecewise(_softplus),
    functions.logsigmoid: _piecewise(lambda z: -_softplus(-z)),
    functions.logabs: _piecewise(lambda z: logarithm(z if z.real > 0 else -z)),
    functions.xlogx: _piecewise(lambda z: z * logarithm(z) if z.real else 0 * z),
    functions.elu: _piecewise(lambda z: z if z.real > 0 else exponential_minus_one(z)),
}

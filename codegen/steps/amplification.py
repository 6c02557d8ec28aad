"""The emitted rule that says how far the inverse of a step amplifies errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy
from sympy import Expr, Symbol

from codegen.printer import TorchPrinter
from codegen.steps.rules import Layout
from derive.error_growth import LIPSCHITZ, ErrorGrowth
from derive.symbols import Role


def by_roots(roots: Sequence[Expr], layout: Layout, slope: Expr, number: str) -> tuple[str, ...]:
    """Body of the rule `amplification(local, shared, lipschitz)`: 1/|smallest root| for |h lambda| = h Lip on the axes.

    The roots name h lambda `z`; in the text it is `h_lambda`, which no quantity of the system is called.
    """
    loop = Symbol("h_lambda")
    printer = _NumberPrinter()
    texts = [printer(sympy.together(root.xreplace({Symbol("z"): loop}))) for root in roots]
    mark = f"  # ({number})" if number else ""
    step = next(q.name for q in layout.shared if q.role is Role.STEP_SIZE)
    body = [
        *_unpacked(layout, {step, *(s.name for value in (slope, *roots) for s in value.free_symbols)}),
        *_of_field(slope),
        "smallest = math.inf",
        f"for {loop} in ({step} * lipschitz, -{step} * lipschitz, {step} * lipschitz * 1j):",
        *(f"    smallest = min(smallest, abs({text})){mark}" for text in texts),
        f"return 1.0 / smallest if smallest > 0.0 else math.inf{mark}",
    ]
    return tuple(body)


def by_polynomial(coefficients: Sequence[Expr], layout: Layout, slope: Expr, number: str) -> tuple[str, ...]:
    """Body of the same rule, with the largest root of a polynomial that has no closed form or may change its degree."""
    loop = Symbol("h_lambda")
    printer = _NumberPrinter()
    texts = [printer(sympy.expand(one.xreplace({Symbol("z"): loop}))) for one in coefficients]
    step = next(q.name for q in layout.shared if q.role is Role.STEP_SIZE)
    return (
        *_unpacked(layout, {step, *(s.name for value in (slope, *coefficients) for s in value.free_symbols)}),
        *_of_field(slope),
        f"signs = ({step} * lipschitz, -{step} * lipschitz, {step} * lipschitz * 1j)",
        f"return max(largest_root(({', '.join(texts)})) for {loop} in signs)" + (f"  # ({number})" if number else ""),
    )


def by_lines(growth: ErrorGrowth, layout: Layout, number: str) -> tuple[str, ...]:
    """Body of the same rule where it follows the lines of the inverse: the error of each, in terms of those before."""
    printer = _NumberPrinter()
    used = {s.name for _, value in growth.lines for s in value.free_symbols}
    mark = f"  # ({number})" if number else ""
    return (
        *_unpacked(layout, used),
        *(f"{quantity.name} = {printer(value)}" for quantity, value in growth.lines),
        f"return max({', '.join([*dict.fromkeys(printer(value) for value in growth.state), '1.0'])}){mark}",
    )


def _of_field(slope: Expr) -> list[str]:
    """The line that makes the bound on the field from that on its networks, where they differ."""
    if slope == LIPSCHITZ:
        return []
    texts = [_NumberPrinter()(part) for part in (slope.args if isinstance(slope, sympy.Max) else (slope,))]
    bound = texts[0] if len(texts) == 1 else f"max({', '.join(texts)})"
    return [f"lipschitz = {bound}"]


def _unpacked(layout: Layout, used: Iterable[str]) -> list[str]:
    """The lines that name what the rule reads of its arguments."""
    used = set(used)
    return [
        f"{', '.join(q.name if q.name in used else f'_{q.name}' for q in group)}"
        + ("" if len(group) > 1 else ",")
        + f" = {source}"
        for source, group in (("local", layout.local), ("shared", layout.shared))
        if group and any(q.name in used for q in group)
    ]


class _NumberPrinter(TorchPrinter):
    """Prints scalar formulas on Python's numbers, complex ones included."""

    def _print(self, node: Expr) -> tuple[str, int]:
        return (node.name, 3) if isinstance(node, Symbol) else super()._print(node)

    def _function(self, node: Expr) -> tuple[str, int]:
        return (f"abs({self(node.args[0])})", 3) if isinstance(node, sympy.Abs) else super()._function(node)

    def _power(self, node: Expr) -> tuple[str, int]:
        base, exponent = node.args
        if exponent == sympy.Rational(1, 2):
            return f"cmath.sqrt({self(base)})", 3
        return super()._power(node)

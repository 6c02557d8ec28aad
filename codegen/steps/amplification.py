"""The emitted rule that says how far the inverse of a step amplifies errors."""

from __future__ import annotations

from collections.abc import Sequence

import sympy
from sympy import Expr, Symbol

from codegen.printer import TorchPrinter
from codegen.steps.rules import Layout
from derive.symbols import Role


def amplification(roots: Sequence[Expr], layout: Layout, number: str) -> tuple[str, ...]:
    """Body of the rule `amplification(local, shared, lipschitz)`: 1/|smallest root| for |h lambda| = h Lip on the axes.

    The roots name h lambda `z`; in the text it is `h_lambda`, which no quantity of the system is called.
    """
    loop = Symbol("h_lambda")
    printer = _ComplexPrinter()
    texts = [printer(sympy.together(root.xreplace({Symbol("z"): loop}))) for root in roots]
    mark = f"  # ({number})" if number else ""
    used = {s.name for root in roots for s in root.free_symbols}
    body = [
        f"{', '.join(q.name if q.name in used or q.role is Role.STEP_SIZE else f'_{q.name}' for q in group)}"
        + ("" if len(group) > 1 else ",")
        + f" = {source}"
        for source, group in (("local", layout.local), ("shared", layout.shared))
        if group
    ]
    step = next(q.name for q in layout.shared if q.role is Role.STEP_SIZE)
    body += [
        "smallest = math.inf",
        f"for {loop} in ({step} * lipschitz, -{step} * lipschitz, {step} * lipschitz * 1j):",
        *(f"    smallest = min(smallest, abs({text})){mark}" for text in texts),
        f"return 1.0 / smallest if smallest > 0.0 else math.inf{mark}",
    ]
    return tuple(body)


class _ComplexPrinter(TorchPrinter):
    """Prints scalar formulas on Python's complex numbers."""

    def _print(self, node: Expr) -> tuple[str, int]:
        return (node.name, 3) if isinstance(node, Symbol) else super()._print(node)

    def _power(self, node: Expr) -> tuple[str, int]:
        base, exponent = node.args
        if exponent == sympy.Rational(1, 2):
            return f"cmath.sqrt({self(base)})", 3
        return super()._power(node)

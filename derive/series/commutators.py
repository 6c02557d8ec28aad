r"""The modified field of a splitting in commutators, by the Baker-Campbell-Hausdorff formula.

For Hamiltonian parts each commutator [f,g] stands for the field of the Poisson bracket {T,U}, so that the same
coefficients give the modified Hamiltonian (Hairer, Lubich, Wanner, Geometric Numerical Integration, III.4, IX.4).
"""

from __future__ import annotations

from typing import Any

from sympy import Expr, S

from derive.errors import UnsupportedError
from derive.schemes import Splitting
from derive.series import words
from derive.series.domains import Arithmetic, arithmetic_of, exact
from derive.series.notation import letter


def commutators(splitting: Splitting, order: int) -> dict[int, dict[str, Expr]]:
    """Power of h -> {commutator such as `[f,[f,g]]`: coefficient}, in the Lyndon basis, up to h^order.

    Raises:
        UnsupportedError: the flows are not exact, so that the field is no combination of commutators.
    """
    if splitting.substep is not None:
        raise UnsupportedError(
            f"{splitting.title}: its flows are steps of {splitting.substep.title}; commutators need exact flows "
            "(substep=None); elementary differentials are in modified_equation"
        )
    arithmetic = arithmetic_of([exact(S(fraction)) for _, fraction in splitting.stages])
    field = words.logarithm(_composition(splitting, arithmetic, order + 1), order + 1, arithmetic.domain)
    return {power: _of_power(field, power, splitting.parts, arithmetic) for power in range(order + 1)}


def _composition(splitting: Splitting, arithmetic: Arithmetic, length: int) -> words.Series:
    total: words.Series = {(): arithmetic.domain.one}
    for part, fraction in splitting.stages:
        flow = words.exponential({(part,): arithmetic.element(exact(S(fraction)))}, length, arithmetic.domain)
        total = words.product(total, flow, length, arithmetic.domain)
    return total


def _of_power(field: words.Series, power: int, parts: int, arithmetic: Arithmetic) -> dict[str, Expr]:
    found = words.in_commutators(field, power + 1, parts, arithmetic.domain)
    return {_bracket(nested): arithmetic.expression(value) for nested, value in found.items()}


def _bracket(nested: Any) -> str:
    return letter(nested) if isinstance(nested, int) else f"[{_bracket(nested[0])},{_bracket(nested[1])}]"

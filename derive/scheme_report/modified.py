"""Section on the modified equation of a scheme: the field whose flow its steps are, and what belongs to it."""

from __future__ import annotations

from functools import partial

from sympy import CRootOf, Expr, expand, radsimp, true

from derive.analysis import Analysis
from derive.checks import ResidualCheck
from derive.derivation import Kind
from derive.geometry import is_symplectic, modified_hamiltonian
from derive.numbering import Author
from derive.scheme_report.modified_residuals import (
    commutator_residual,
    hamiltonian_residual,
    leading_residual,
    modified_field_residual,
    parasitic_residual,
)
from derive.scheme_report.order import BY_SERIES
from derive.scheme_report.residuals import tolerance
from derive.scheme_report.show import decimals, orders_latex, value_latex
from derive.schemes import LinearMultistep, Scheme, Splitting
from derive.series.commutators import commutators
from derive.series.one_step import OneStep
from derive.series.parasitic import parasitic_roots
from derive.verdict import Step

PARTS_WITH_HAMILTONIAN = 2


def parts_of(scheme: Scheme) -> int:
    """Number of parts of the field that a scheme is for."""
    parts = getattr(scheme, "parts", 1)
    return parts if isinstance(parts, int) else len(parts)


def last_power(order: int, parts: int) -> int:
    """Up to which power of h a derivation shows the modified equation: one term beyond the first where it is short."""
    beyond = order + 1 if order <= (2 if parts == 1 else 1) else order
    return max(beyond, 4) if order > 2 and parts == 1 else beyond


def write_modified_equation(author: Author, analysis: Analysis) -> None:
    """The modified field in elementary differentials, in commutators, as a Hamiltonian; parasitic roots."""
    scheme, p = analysis.scheme, int(analysis.order)
    last = last_power(p, parts_of(scheme))
    tables = analysis.modified_equation(last)
    leading = last == p
    shown = {power: table.terms for power, table in tables.items()}
    pairs = [(power, tau) for power, terms in shown.items() for tau in terms if power == p or not leading]
    author.relation(
        "modified equation",
        Kind.ASYMPTOTIC,
        rf"\dot x = {orders_latex(shown)} + O(h^{{{last + 1}}})",
        reason="the field whose flow over h is the step, tree by tree"
        if not isinstance(scheme, LinearMultistep)
        else "the field of the principal branch: its flow satisfies the recursion",
        name="scheme.modified_equation",
        check=ResidualCheck(
            partial(leading_residual, scheme, tuple(tau for _, tau in pairs), p)
            if leading
            else partial(modified_field_residual, scheme, tuple(pairs), last),
            tuple(shown[power][tau] for power, tau in pairs),
            BY_SERIES,
            tolerance(scheme),
        ),
    )
    if isinstance(scheme, Splitting) and scheme.substep is None:
        _write_commutators(author, scheme, max(p, 2))
    if not isinstance(scheme, LinearMultistep) and is_symplectic(scheme).value == true:
        _write_hamiltonian(author, scheme, max(p, 2))
    if isinstance(scheme, LinearMultistep):
        _write_parasitic_roots(author, scheme)
    author.close("Modified equation of the scheme", "What the scheme solves without the error of this order in h.")


def _write_commutators(author: Author, scheme: Splitting, last: int) -> None:
    found = commutators(scheme, last)
    names = [(power, name) for power, terms in found.items() for name in terms]
    author.relation(
        "the same in commutators",
        Kind.ASYMPTOTIC,
        rf"\dot x = {orders_latex(found)} + O(h^{{{last + 1}}})",
        reason="Baker-Campbell-Hausdorff formula; [f,g] = g'f - f'g, for Hamiltonian parts the Poisson bracket",
        check=ResidualCheck(
            partial(commutator_residual, scheme, tuple(names), last),
            tuple(found[power][name] for power, name in names),
            "products of matrix exponentials as power series, 60 digits",
        ),
    )


def _write_hamiltonian(author: Author, scheme: OneStep, last: int) -> None:
    parts = parts_of(scheme)
    if parts > PARTS_WITH_HAMILTONIAN:
        return
    found = modified_hamiltonian(scheme, last)
    names = [(power, name) for power, terms in found.items() for name in terms]
    fields = r"f = J^{-1} \nabla H" if parts == 1 else r"H = T(y) + U(x),\ f = T_y,\ g = -U_x"
    author.relation(
        "modified Hamiltonian",
        Kind.ASYMPTOTIC,
        rf"\tilde H = {orders_latex(found)} + O(h^{{{last + 1}}}), \qquad {fields}",
        reason="the scheme is symplectic: its modified field is Hamiltonian, and its steps keep this energy",
        check=ResidualCheck(
            partial(hamiltonian_residual, scheme, tuple(names), last),
            tuple(found[power][name] for power, name in names),
            "energy along a step, truncated power series on a random Hamiltonian, 60 digits",
            tolerance(scheme),
        ),
    )


def _growth_latex(growth: Expr) -> str:
    """A quotient of algebraic numbers with a rational denominator; of roots of polynomials its decimals."""
    if growth.free_symbols:
        return value_latex(growth)
    return decimals(growth) if growth.has(CRootOf) else value_latex(expand(radsimp(growth)))


def _write_parasitic_roots(author: Author, scheme: LinearMultistep) -> None:
    roots = parasitic_roots(scheme)
    if not roots:
        return
    values: list[Expr] = []
    steps = []
    for found in roots:
        values += [found.root, *([] if found.growth is None else [found.growth])]
        times = f" of multiplicity {found.multiplicity}" if found.multiplicity > 1 else ""
        growth = "" if found.growth is None else rf",\quad g = {_growth_latex(found.growth)}"
        steps.append(Step(f"root{times}", rf"\zeta = {_growth_latex(found.root)}{growth}"))
    author.relation(
        "parasitic roots",
        Kind.IDENTITY,
        r"\rho(\zeta) = 0,\ \zeta \neq 1, \qquad g = \frac{\sigma(\zeta)}{\zeta \, \rho'(\zeta)}",
        reason="besides the flow above, solutions hold parts that behave like zeta^n e^(g f' t)",
        check=ResidualCheck(
            partial(parasitic_residual, scheme, tuple((r.multiplicity, r.growth is not None) for r in roots)),
            tuple(values),
            "rho and sigma at 60 digits",
        ),
        steps=steps,
    )

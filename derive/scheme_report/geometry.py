"""Sections on the geometry of a scheme, on the inverse of its step, and on what it does to costates."""

from __future__ import annotations

from functools import partial
from typing import Any

from sympy import Expr, false, oo, true
from sympy.logic.boolalg import Boolean

from derive.analysis import Analysis
from derive.checks import ResidualCheck, SampledCheck
from derive.derivation import Kind
from derive.geometry import (
    adjoint_method,
    backward_tableau,
    hager_partner,
    invariants,
    is_symmetric,
    is_symplectic,
    reduced,
    undoing,
)
from derive.latex import latex
from derive.numbering import Author
from derive.scheme_report.geometry_residuals import (
    commuting_disagreements,
    packed,
    partner_residual,
    quadratic_disagreements,
    splitting_residual,
    symmetry_disagreements,
    undone_residual,
)
from derive.scheme_report.order import BY_SERIES, solutions
from derive.scheme_report.residuals import tolerance
from derive.scheme_report.series_maps import sampled_symbols
from derive.scheme_report.show import (
    condition_latex,
    cut,
    number_latex,
    power_latex,
    scheme_latex,
    scheme_text,
    tableau_latex,
    tableau_text,
    write_undecided,
)
from derive.scheme_report.stability_residuals import growth_residual, symmetric_weights_residual
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.series.conditions import condition_text
from derive.verdict import Step, Verdict

LARGEST_TABLEAU = 7
SYMPLECTIC = "symplectic", r"\omega(\Phi' u, \Phi' v) = \omega(u, v)"
SYMMETRIC = "symmetric", r"\Phi_{-h} \circ \Phi_h = \mathrm{id}"
ADJOINT = "inverse of the step of -h:"
HLW = "Hairer, Lubich, Wanner, Geometric Numerical Integration"


def write_geometry(author: Author, analysis: Analysis) -> None:
    """Symplectic, symmetric, the adjoint method, what is conserved."""
    scheme = analysis.scheme
    if analysis.is_symplectic is not None:
        gap = analysis.adjoint_gap_order
        _write_property(author, analysis, SYMPLECTIC, is_symplectic(scheme), _kept(scheme, gap))
    if analysis.is_symmetric is not None:
        _write_property(author, analysis, SYMMETRIC, is_symmetric(scheme), _symmetry(analysis))
    for (words, _), verdict in ((SYMPLECTIC, analysis.symplectic_verdict), (SYMMETRIC, analysis.symmetric_verdict)):
        if verdict.undecided:
            write_undecided(author, words, verdict)
    _write_adjoint_method(author, analysis)
    author.relation(
        "what is conserved",
        Kind.STATEMENT,
        r"I(x_{n+1}) = I(x_n) \quad \text{where the field conserves } I",
        reason="for every step size, whatever the field",
        source=f"{HLW}, IV.1, IV.2, VI.9",
        steps=[step for found in invariants(scheme) for step in _kind_of_invariant(found.kind, found.verdict)],
    )
    author.close("Geometry of the scheme", "Structure of the flow that every step keeps, or does not.")


def _kind_of_invariant(kind: str, verdict: Verdict) -> list[Step]:
    kept = "kept" if verdict.value == true else "not kept"
    return [Step(f"{kind}: {kept}; {verdict.proof[-1].words}")]


def _write_property(
    author: Author, analysis: Analysis, what: tuple[str, str], verdict: Verdict, check: SampledCheck
) -> None:
    words, formula = what
    value = getattr(analysis, f"is_{words}")
    has_tables = isinstance(analysis.scheme, ButcherTableau | AdditiveTableau)
    titles = {true: words, false: f"not {words}"}
    shown = formula if value == true else rf"\text{{not: }} {formula}"
    if value not in titles:
        shown = rf"{formula} \iff {condition_latex(value)}"
    author.relation(
        titles.get(value, f"{words} iff {condition_text(value)}") + analysis.reservation,
        Kind.INEQUALITY,
        shown,
        reason="decided on the irreducible form of the scheme" if has_tables else "decided exactly",
        name=f"scheme.{words}",
        check=check,
        steps=cut(verdict.proof),
    )


def _kept(scheme: Scheme, gap: Any) -> SampledCheck:
    """How well quadratic first integrals are kept, which is how nearly symplectic a scheme is."""
    return SampledCheck(partial(quadratic_disagreements, scheme), gap, _another_order)


def _another_order(gap: Any) -> Any:
    return 3 if gap == oo else gap + 1


def _symmetry(analysis: Analysis) -> SampledCheck:
    scheme = analysis.scheme
    typical = sampled_symbols(scheme)
    members = [typical, *(typical | dict(point) for point in solutions(analysis.is_symmetric))]
    disagreements = partial(symmetry_disagreements, scheme, int(analysis.order), members)
    return SampledCheck(disagreements, analysis.is_symmetric, _turned)


def _turned(value: Boolean) -> Boolean:
    return ~value


def _write_adjoint_method(author: Author, analysis: Analysis) -> None:
    scheme, order = analysis.scheme, int(analysis.order)
    adjoint = adjoint_method(reduced(scheme) if isinstance(scheme, ButcherTableau | AdditiveTableau) else scheme)
    if adjoint is None or analysis.is_symmetric == true or _is_large(scheme):
        return
    if isinstance(scheme, LinearMultistep):
        assert isinstance(adjoint, LinearMultistep)
        check = ResidualCheck(
            partial(symmetric_weights_residual, scheme), (*adjoint.alpha, *adjoint.beta), "rho/sigma at a few points"
        )
    elif isinstance(scheme, Splitting):
        assert isinstance(adjoint, Splitting)
        fractions = tuple(fraction for _, fraction in adjoint.stages)
        check = ResidualCheck(partial(splitting_residual, scheme, adjoint, order), fractions, BY_SERIES)
    else:
        assert isinstance(adjoint, ButcherTableau | AdditiveTableau)
        parts = (adjoint,) if isinstance(adjoint, ButcherTableau) else adjoint.parts
        counts = tuple(part.stages for part in parts)
        residual = partial(undone_residual, scheme, counts, order)
        check = ResidualCheck(residual, packed(parts), BY_SERIES, tolerance(scheme))
    author.relation(
        "adjoint method",
        Kind.IDENTITY,
        rf"\Phi_h^* = \Phi_{{-h}}^{{-1}}: \qquad {scheme_latex(adjoint)}",
        text=f"{ADJOINT}\n{scheme_text(adjoint)}",
        reason="the inverse of a step of -h is a scheme of the same kind: a step is undone by a step of -h with it",
        name="scheme.adjoint_method",
        check=check,
    )


def _is_large(scheme: Scheme) -> bool:
    if isinstance(scheme, AdditiveTableau | ButcherTableau):
        return scheme.stages > LARGEST_TABLEAU
    return False


def write_step_inverse(author: Author, analysis: Analysis) -> None:
    """The inverse of a Runge-Kutta step, when it exists, and what it does to errors."""
    scheme = analysis.scheme
    if not isinstance(scheme, ButcherTableau):
        return
    found, function = undoing(scheme), analysis.stability_function
    assert function is not None
    if found.tableau.stages <= LARGEST_TABLEAU and "scheme.adjoint_method" not in author.numbers:
        author.relation(
            "the step solved for the old state" + ("" if found.explicit else ": implicit stages"),
            Kind.IDENTITY,
            rf"x_n = x_{{n+1}} - h \sum_i \hat b_i K_i: \qquad {tableau_latex(found.tableau)}",
            text=f"x_n = x_(n+1) - h sum_i b_i K_i, step of -h:\n{tableau_text(found.tableau)}",
            reason="the stages from the new state, with a_ij - b_j in the place of a_ij; a step of size -h",
            name="scheme.inverse",
            check=ResidualCheck(
                partial(undone_residual, scheme, (found.tableau.stages,), int(analysis.order)),
                packed([found.tableau]),
                BY_SERIES,
                tolerance(scheme),
            ),
        )
    if not found.explicit:
        author.relation(
            "where the inverse exists",
            Kind.STATEMENT,
            rf"h\, \mathrm{{Lip}}(f){_factor(found.bound)} < 1",
            reason="then the stages are the one fixed point of a contraction",
            source="Banach's fixed-point theorem; the bound is the largest row sum of |a_ij - b_j|",
        )
    author.relation(
        "growth of errors backward",
        Kind.IDENTITY,
        r"\delta x_n = \frac{\delta x_{n+1}}{R(z)}",
        reason="on x' = lambda x: what the step damps the inverse amplifies; both are neutral only where |R| = 1",
        check=ResidualCheck(
            partial(growth_residual, scheme, found.tableau),
            (1 / function,),
            "stages of the inverse solved at a few z",
            tolerance(scheme),
        ),
    )
    author.close("Undoing a step", "The inverse of the step, found by solving it for its old state.")


def _factor(bound: Expr) -> str:
    if bound == 1:
        return ""
    return rf"\, \left({latex(bound)}\right)" if bound.is_Add else rf"\, {number_latex(bound)}"


def write_costates(author: Author, analysis: Analysis) -> None:
    """The partner tableau, and whether discretizing and optimizing commute."""
    scheme, gap = analysis.scheme, analysis.adjoint_gap_order
    if gap is None:
        return
    if isinstance(scheme, ButcherTableau):
        _write_partner(author, analysis, scheme)
    check = (
        SampledCheck(partial(commuting_disagreements, scheme), gap, _another_order)
        if isinstance(scheme, ButcherTableau)
        else _kept(scheme, gap)
    )
    differ = "commute" if gap == oo else f"differ by O({_power(gap)})"
    author.relation(
        f"discretizing and optimizing {differ}",
        Kind.ASYMPTOTIC,
        r"\nabla_{\text{discrete}} = \nabla_{\text{continuous, discretized}}"
        + ("" if gap == oo else rf" + O({power_latex(int(gap))})"),
        reason="the scheme is symplectic, so the costate's scheme is the scheme itself"
        if gap == oo
        else "the order up to which the scheme is symplectic; the emitted gradient is the discrete one",
        name="scheme.adjoint_gap",
        check=check,
    )
    author.close(
        "Costates and gradients", "The reverse sweep over a step is a step of another scheme for the adjoint equation."
    )


def _power(gap: Any) -> str:
    return "h" if gap == 1 else f"h^{gap}"


def _write_partner(author: Author, analysis: Analysis, scheme: ButcherTableau) -> None:
    author.relation(
        "the costate's step",
        Kind.DEFINITION,
        r"\mu_i = b_i \lambda_{n+1} + h \sum_j a_{ji} J_j^{\top} \mu_j, \qquad "
        r"\lambda_n = \lambda_{n+1} + h \sum_i J_i^{\top} \mu_i",
        reason="the reverse sweep, J_i the Jacobian at stage i; it divides by no b_i",
    )
    partner, backward = hager_partner(scheme), backward_tableau(scheme)
    if partner is None or backward is None:
        empty = ", ".join(str(place) for place, weight in enumerate(scheme.b, 1) if weight == 0)
        author.relation(
            "no partner tableau",
            Kind.STATEMENT,
            rf"b_i = 0 \quad \text{{for }} i = {empty}",
            reason="its entries b_j - b_j a_ji/b_i divide by weights that vanish; the recursion above does not",
            source="Hager 2000",
        )
        return
    if _is_large(scheme):
        return
    author.relation(
        "partner tableau of the costate",
        Kind.IDENTITY,
        rf"\hat a_{{ij}} = b_j - \frac{{b_j a_{{ji}}}}{{b_i}}: \qquad {tableau_latex(partner)}",
        text=f"a_ij of the costate = b_j - b_j a_ji/b_i:\n{tableau_text(partner)}",
        reason="with it costate . variation is constant along the steps (Hager 2000; Sanz-Serna 2016)",
        name="scheme.partner",
        check=ResidualCheck(
            partial(partner_residual, scheme, int(analysis.order)), packed([partner]), BY_SERIES, tolerance(scheme)
        ),
    )

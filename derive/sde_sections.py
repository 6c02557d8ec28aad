"""Sections of the derivation of a stochastic differential equation: calculi, densities, moments, sensitivities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from sympy import Expr, Integer

from derive.checks import IdentityCheck
from derive.derivation import Kind
from derive.errors import UnsupportedError
from derive.lagrangian import StepNames, merged
from derive.latex import latex
from derive.linearization import forward_sweep
from derive.networks import Network
from derive.numbering import Author
from derive.operators import Numeric, dot
from derive.program import Program, symbols_of
from derive.reverse_sweep import Adjoint
from derive.sampling import Sampler
from derive.schemes.stochastic import STRUCTURES, StochasticRungeKutta
from derive.sde import SDE
from derive.sde_calculus import correction, drift_in, reads_state, structure_of
from derive.sde_checks import (
    DensityCheck,
    GeneratorCheck,
    SchemeOrderCheck,
    correction_by_columns,
    derivative_of,
    rate_of,
)
from derive.sde_density import score_of, velocity
from derive.sde_moments import ELAPSED, MomentEquations, coefficients, component, generator
from derive.stochastic.analysis import StochasticAnalysis, grouped
from derive.stochastic.orders import stochastic_orders
from derive.symbols import Quantity, Role, by_name
from derive.verdict import Step

OTHER = {"ito": "stratonovich", "stratonovich": "ito"}
CORRECTED = {
    "diagonal": (r"\tfrac12\, g \odot \operatorname{diag}(Dg)", "1/2 g * diag(Dg)"),
    "scalar": (r"\tfrac12\, Dg\,[g]", "1/2 Dg[g]"),
    "general": (r"\tfrac12 \sum_j Dg_j\,[g_j]", "1/2 sum of Dg_j[g_j] over the columns"),
    "additive": ("0", "0"),
}


def write_equation(author: Author, sde: SDE, names: StepNames) -> None:
    """What is meant: the differential form."""
    x, product = sde.state.latex, r"\circ dW" if sde.calculus == "stratonovich" else "dW"
    driven = rf"G \odot {product}" if sde.noise == "diagonal" and sde.state.shape else rf"G\, {product}"
    author.relation(
        "the equation",
        Kind.DEFINITION,
        rf"d{x} = F\, dt + {driven}",
        text=f"d{sde.state} = F dt + G {'o ' if sde.calculus == 'stratonovich' else ''}dW",
        reason=f"{sde.noise} noise; the integral is {_calculus(sde.calculus)}'s",
        name=names.joined("equation"),
    )


def _calculus(name: str) -> str:
    return {"ito": "Ito", "stratonovich": "Stratonovich"}[name]


def write_conversion(author: Author, sde: SDE, names: StepNames) -> dict[str, Expr]:
    """The correction between the calculi, and the drift in the other one."""
    own, other = sde.calculus, OTHER[sde.calculus]
    closed = _closed(sde)
    formula, text = CORRECTED[sde.noise if reads_state(sde) else "additive"]
    author.relation(
        "the correction between the calculi",
        Kind.DEFINITION,
        rf"c = {formula}, \qquad F_{{\mathrm{{Stratonovich}}}} = F_{{\mathrm{{Ito}}}} - c",
        text=f"c = {text}; the drift of Stratonovich's form is that of Ito's minus c",
        reason="the midpoint of a step sees half of the quadratic variation of g: the linearization of each column "
        "applied to that column",
        name=names.joined("correction"),
    )
    if closed is None:
        author.close(f"Ito and Stratonovich{names.title}", "The same process, meant in two ways.")
        return {}
    name = Quantity("c", sde.state.shape, Role.INTERMEDIATE)
    inputs = tuple(by_name(sde.quantities))
    check = IdentityCheck(correction_by_columns(sde), closed, inputs, sde.networks, tolerance=1e-30)
    author.equation(name, closed, "the correction, read from the linearization", Kind.IDENTITY,
                    "checked column by column", names.joined("correction_value"), check)  # fmt: skip
    converted = drift_in(sde, other)
    author.relation(
        f"the drift in {_calculus(other)}'s form",
        Kind.DEFINITION,
        rf"F_{{\mathrm{{{_calculus(other)}}}}} = {latex(converted)}",
        text=f"drift of {_calculus(other)}'s form = {converted}",
        reason=f"{_calculus(own)}'s {'minus' if other == 'stratonovich' else 'plus'} the correction",
        name=names.joined("converted_drift"),
    )
    author.close(f"Ito and Stratonovich{names.title}", "The same process, meant in two ways.")
    return {"correction": closed, f"{other}_drift": converted}


def _closed(sde: SDE) -> Expr | None:
    """The correction where it is written out."""
    try:
        found = correction(sde)
    except UnsupportedError:
        return None
    return None if found.atoms(Network) or found == 0 else found


def write_density(author: Author, sde: SDE, names: StepNames) -> dict[str, Expr]:
    """The Fokker-Planck equation, and the velocity that moves the same densities."""
    author.relation(
        "Fokker-Planck equation",
        Kind.DEFINITION,
        r"\partial_t q = - \sum_i \partial_i \left[F_i\, q\right] + \tfrac12 \sum_{ij} \partial_i \partial_j "
        r"\left[D_{ij}\, q\right], \qquad D = G G^{\top}",
        text="q_t = -sum of d_i [F_i q] + 1/2 sum of d_i d_j [D_ij q] with D = G G^T",
        reason="the adjoint of the generator of Ito's form: F is Ito's drift",
        name=names.joined("fokker_planck"),
    )
    results: dict[str, Expr] = {}
    formula = r"v = F - \tfrac12 \nabla \cdot D - \tfrac12 D\, \nabla \log q"
    try:
        found: Expr | None = velocity(sde, score_of(sde))
    except UnsupportedError:
        found = None
    author.relation(
        "the same as transport",
        Kind.DEFINITION,
        rf"\partial_t q = - \nabla \cdot (v\, q), \qquad {formula}",
        text="q_t = -div(v q) with v = F - 1/2 div D - 1/2 D grad log q; "
        "q is stationary where div v + v . grad log q = 0",
        reason="one derivative of the second term is taken out; the ODE x' = v moves the same densities",
        name=names.joined("transport"),
    )
    if found is not None and not found.atoms(Network):
        v = Quantity("v", sde.state.shape, Role.INTERMEDIATE)
        ito = SDE(sde.state, drift_in(sde, "ito"), sde.diffusion, sde.time, noise=sde.noise)
        check = DensityCheck(ito, found)
        author.equation(v, found, "the velocity", Kind.IDENTITY, "checked against the Fokker-Planck operator",
                        names.joined("velocity"), check)  # fmt: skip
        results["velocity"] = found
    author.close(f"Densities{names.title}", "What the equation does to the density of its solutions.")
    return results


def write_moments(author: Author, sde: SDE, names: StepNames) -> dict[str, Expr]:
    """The equations of mean and second moment, closed where the components are linear."""
    x = sde.state.latex
    author.relation(
        "mean and second moment",
        Kind.DEFINITION,
        rf"\tfrac{{d}}{{dt}} \mathbb E\, {x} = \mathbb E\, F, \qquad \tfrac{{d}}{{dt}} \mathbb E\, {x} {x}^{{\top}} = "
        rf"\mathbb E\left[F {x}^{{\top}} + {x} F^{{\top}} + G G^{{\top}}\right]",
        text="d/dt E x = E F, d/dt E x x^T = E[F x^T + x F^T + G G^T]".replace("x", sde.state.name),
        reason="the generator of Ito's form applied to monomials",
        name=names.joined("moments"),
    )
    results = _write_rates(author, sde, names)
    author.close(f"Moments{names.title}", "Rates of the moments; F is Ito's drift.")
    return results


def _write_rates(author: Author, sde: SDE, names: StepNames) -> dict[str, Expr]:
    try:
        drift, diffusion = component(sde, drift_in(sde, "ito")), component(sde, sde.diffusion)
        powers = [generator(sde, sde.state**k) for k in (1, 2)]
        if any(not coefficients(value, sde.state) for value in powers):
            return {}
    except UnsupportedError:
        return {}
    ito = SDE(sde.state, drift, diffusion, sde.time, noise=sde.noise)
    results: dict[str, Expr] = {}
    for k, value in enumerate(powers, 1):
        name = Quantity(f"L_x{k}", sde.state.shape, Role.INTERMEDIATE, rf"L {sde.state.latex}^{{{k}}}")
        check = GeneratorCheck(ito, k, value)
        author.equation(name, value, f"the generator on the power {k} of a component", Kind.IDENTITY,
                        "checked against the mean over short steps", names.joined(f"generator_{k}"), check)  # fmt: skip
        results[f"generator_{k}"] = value
    try:
        moments = MomentEquations(sde)
        equations, solutions = moments.equations, moments.solutions
    except UnsupportedError:
        return results
    for k, solution in solutions.items():
        m = moments.symbol(k)
        author.relation(
            f"rate of {m.meaning}",
            Kind.DEFINITION,
            rf"\tfrac{{d}}{{dt}} {m.latex} = {latex(equations[k])}",
            text=f"d/dt {m} = {equations[k]}",
            reason="the mean of the generator",
            name=names.joined(f"rate_{k}"),
        )
        put_in = equations[k].xreplace({moments.symbol(j): other for j, other in solutions.items()})
        over_time = IdentityCheck(rate_of(solution), put_in, tuple(by_name(symbols_of(put_in) | {ELAPSED})))
        author.equation(m, solution, f"{m.meaning} after a time t", Kind.IDENTITY, "its rate is the one above",
                        names.joined(f"moment_{k}"), over_time)  # fmt: skip
        results |= {f"moment_{k}": solution, f"rate_{k}": equations[k]}
    return results


def write_orders(author: Author, names: str, scheme: StochasticRungeKutta) -> dict[str, str]:
    """Strong and weak order of a scheme by the structure of the noise; returns facts."""
    found = stochastic_orders(scheme)
    for title, structures in (("additive", ("additive",)), ("multiplicative", STRUCTURES[:-1])):
        strong, weak = (max(orders[name] for name in structures) for orders in (found.strong, found.weak))
        _write_orders(author, names, scheme, title, structures)
        author.relation(
            f"what {scheme.title} reaches, {title} noise",
            Kind.ASYMPTOTIC,
            rf"\text{{strong }} {latex_number(strong)},\; \text{{weak }} {latex_number(weak)}",
            text=f"strong order {strong}, weak order {weak}{_condition(found.strong, structures)}",
            reason="checked by the errors of one short step of a linear equation, whose means are known exactly",
            name=f"reached.{names}.{title}",
            check=SchemeOrderCheck(scheme, title == "additive", strong, weak),
        )
    return {f"strong order of {names}": grouped(found.strong), f"weak order of {names}": grouped(found.weak)}


def write_orders_here(author: Author, sde: SDE, names: StepNames, schemes: Mapping[str, StochasticRungeKutta]) -> str:
    """The orders that the structure of an equation's noise gives the schemes; returns the structure."""
    structure = structure_of(sde)
    found = {name: stochastic_orders(scheme) for name, scheme in schemes.items()}
    rows = [(name, one.strong[structure], one.weak[structure]) for name, one in found.items()]
    unseen = "; networks may read all components, where they do not the noise may be diagonal"
    author.relation(
        f"{structure} noise: orders of the schemes",
        Kind.DEFINITION,
        r",\; ".join(
            rf"\text{{{name.replace('_', ' ')}: }} {latex_number(strong)}, {latex_number(weak)}"
            for name, strong, weak in rows
        ),
        text="; ".join(f"{name}: strong {strong}, weak {weak}" for name, strong, weak in rows),
        reason="strong and weak; the structure is read from the linearization of the diffusion"
        f"{unseen if sde.networks and structure == 'general' else ''}",
        name=names.joined("orders_here"),
    )
    author.close(f"Orders for this equation{names.title}", "What the schemes reach here.")
    return structure


def _condition(strong: Mapping[str, Fraction], structures: Sequence[str]) -> str:
    """What the noise must be for the largest strong order."""
    best = max(strong[name] for name in structures)
    if strong[structures[0]] == best:
        return ""
    weakest = next(name for name in structures if strong[name] == best)
    means = " (Dg_k[g_j] = Dg_j[g_k], as of diagonal and scalar noise)" if weakest == "commutative" else ""
    return f"; strong order {best} if and only if the noise is {weakest}{means}, else {strong[structures[0]]}"


def _write_orders(
    author: Author, names: str, scheme: StochasticRungeKutta, title: str, structures: Sequence[str]
) -> None:
    """The orders of a scheme for several structures, with what stands in the way of more."""
    found = stochastic_orders(scheme)
    rows = {name: (found.strong[name], found.weak[name]) for name in structures}
    parts = [
        rf"\text{{{name}: strong }} {latex_number(strong)} \text{{, weak }} {latex_number(weak)}"
        for name, (strong, weak) in rows.items()
    ]
    author.relation(
        f"orders of {scheme.title}, {title} noise",
        Kind.DEFINITION,
        r",\quad ".join(parts),
        text="; ".join(f"{name} noise: strong {strong}, weak {weak}" for name, (strong, weak) in rows.items()),
        reason="coefficients of stochastic trees compared: iterated integrals for the strong order, means of products "
        "for the weak one",
        name=f"orders.{names}.{title}",
        steps=tuple(Step(f"{who} noise: {reason}") for who, reason in StochasticAnalysis(scheme).reasons(structures)),
    )


def latex_number(value: object) -> str:
    """A fraction as LaTeX."""
    top, _, bottom = str(value).partition("/")
    return rf"\tfrac{{{top}}}{{{bottom}}}" if bottom else top


def write_sensitivity(author: Author, sde: SDE, names: StepNames) -> dict[str, Expr]:
    """The equation of the derivative of the path in a parameter, from the linearization of drift and diffusion."""
    program = sde.field_program()
    roles = (Role.STATE, Role.PARAMETER)
    wrt = [q for q in program.inputs if q.role in roles]
    sweep = forward_sweep(program, wrt)
    x = sde.state.latex
    author.relation(
        "pathwise sensitivity",
        Kind.DEFINITION,
        rf"d\,\delta {x} = \delta F\, dt + \delta G\, dW, \qquad \delta {x}(t_0) = 0",
        text=f"d dot_{sde.state} = dot_F dt + dot_G dW, dot_{sde.state} = 0 at t0",
        reason="the derivative of a solution in a parameter solves the linearized equation, along the same path of W",
        name=names.joined("sensitivity"),
    )
    results: dict[str, Expr] = {}
    whole = merged(program, sweep.program.assignments)
    primal = {tangent: q for q, tangent in sweep.tangents.items()}
    moving = {q: sweep.tangents[q] for q in wrt}
    for line in sweep.program.assignments:
        left = derivative_of(program, primal[line.target], moving)
        check = IdentityCheck(left, line.value, whole.inputs, program.networks(), whole)
        author.assignment(line, names("sensitivity", line.target), check)
        results[line.target.name] = line.value
    author.close(f"Pathwise sensitivity{names.title}", "How the whole path answers to a change of a parameter.")
    return results


def write_reverse(author: Author, step: Program, adjoint: Adjoint, names: StepNames, title: str) -> None:
    """The reverse sweep of a step is the transpose of its sensitivity, increment by increment."""
    wrt = [q for q in step.inputs if q.role in (Role.STATE, Role.PARAMETER)]
    sweep = forward_sweep(step, wrt)
    (new,) = step.outputs
    pairs = [(adjoint.cotangents[q], sweep.tangents[q]) for q in wrt if q in adjoint.cotangents]
    right = sum((dot(bar, tangent) if bar.shape else bar * tangent for bar, tangent in pairs), Integer(0))
    seed, end = adjoint.seeds[new], sweep.tangents[new]
    left = dot(seed, end) if new.shape else seed * end
    given = merged(step, adjoint.program.assignments)
    moving = {q: sweep.tangents[q] for q in wrt}
    ahead = derivative_of(step, new, moving)

    def measure(values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
        return np.sum(values[seed] * ahead(values, sampler))

    quantities = tuple(dict.fromkeys((*given.inputs, *moving.values())))
    check = IdentityCheck(measure, right, quantities, step.networks(), given)
    author.relation(
        f"the discrete reverse, {title}",
        Kind.IDENTITY,
        f"{latex(left)} = {latex(right)}",
        text=f"{left} = {right}",
        reason="the reverse sweep of a step is the transpose of its own sensitivity at the same increments",
        name=names.joined("reverse"),
        check=check,
    )

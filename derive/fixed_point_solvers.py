"""Sections on what finds an equilibrium: when there is one, Picard, Anderson, Broyden, and truncated gradients."""

from __future__ import annotations

from dataclasses import replace

from sympy import Add, Expr, Integer

from derive.checks import IdentityCheck, ProgramCheck
from derive.derivation import Kind
from derive.fixed_point import FixedPoint
from derive.fixed_point_checks import (
    following_check,
    inverse_check,
    least_squares_check,
    multiplier_check,
    nearest_check,
    radius_check,
    termination_check,
)
from derive.fixed_point_sections import Results, identity_line, implicit_adjoint
from derive.gradients import collected, eliminated
from derive.lagrangian import StepNames
from derive.latex import latex
from derive.least_change import applied, least_change
from derive.linearization import forward_sweep
from derive.numbering import Author
from derive.operators import dot, matvec
from derive.program import Assignment, Program, symbols_of
from derive.relations import gradient
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Dimension, Quantity, Role

BANACH = "Banach, Sur les operations dans les ensembles abstraits, 1922"
GAY = "Gay, Some convergence properties of Broyden's method, 1979"
TRUNCATED = 3  # terms of the sum whose error is checked


def write_existence(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """When there is exactly one equilibrium, and how fast plain iteration comes to it."""
    z = fixed.state.latex
    author.relation(
        "contractions have exactly one fixed point",
        Kind.STATEMENT,
        rf"|f({z}) - f(w)| \le q\, |{z} - w|,\; q < 1 \;\Rightarrow\; \text{{one solution }} {z}^*,\quad |{z}_k - "
        rf"{z}^*| \le \frac{{q^k}}{{1 - q}} |{z}_1 - {z}_0|",
        text=f"|f({fixed.state}) - f(w)| <= q |{fixed.state} - w| with q < 1: exactly one solution, and Picard's "
        "iteration comes to it: the error after k steps is at most q^k/(1 - q) times the first step",
        reason="sufficient, not necessary; without it there may be none or several, and Picard may diverge",
        source=BANACH,
        name=names.joined("contraction"),
    )
    tangent = forward_sweep(fixed.map, (fixed.state,))
    way, moved = (tangent.tangents[q].latex for q in (fixed.state, fixed.image))
    author.relation(
        "error of a Picard step, to first order",
        Kind.DEFINITION,
        rf"{z}_{{k+1}} - {z}^* = J\, ({z}_k - {z}^*) + O(|{z}_k - {z}^*|^2), \qquad J\, {way} = {moved}",
        text=f"{fixed.state}_(k+1) - {fixed.state}* = J ({fixed.state}_k - {fixed.state}*) + O(error^2)",
        reason="linearization at the solution: in the long run errors shrink by the spectral radius of J",
        name=names.joined("picard_error"),
    )
    author.relation(
        "Picard's iteration on an affine map",
        Kind.INEQUALITY,
        r"z_k \to z^* \text{ from every } z_0 \iff \rho(J) < 1",
        text="it converges from every start where the spectral radius of J is below 1, and only there",
        reason="its error is J^k times the first one; a norm of J above 1 does not matter in the long run",
        name=names.joined("picard_rate"),
        check=radius_check(),
    )
    author.close(f"Existence, and the rate of Picard's iteration{names.title}")
    return {}


def write_solvers(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """Anderson's and Broyden's iterations, each from what it minimises."""
    (size,) = fixed.state.shape
    return {**_write_anderson(author, size, names), **_write_broyden(author, fixed, names)}


def _write_anderson(author: Author, size: Dimension, names: StepNames) -> Results:
    """The weights of the last residuals, by least squares."""
    directions = Quantity("D_g", (size, "last"), Role.INTERMEDIATE, r"D_g", "differences of the last residuals")
    images = Quantity("D_f", (size, "last"), Role.INTERMEDIATE, r"D_f", "differences of the last images")
    weights = Quantity("gamma", ("last",), Role.INTERMEDIATE, r"\gamma", "weights of the differences")
    residual = Quantity("g", (size,), Role.INTERMEDIATE, "g", "residual")
    value = Quantity("S", (), Role.INTERMEDIATE, "S", "half the square of the mixed residual")
    rest = residual - matvec(directions, weights)
    program = Program((directions, weights, residual), (Assignment(value, dot(rest, rest) / 2),), (value,))
    why = "the sum of residuals with weights that add up to 1, written in differences, is to be small"
    author.append(replace(gradient("what is minimised", program, weights, reason=why), section=""))
    adjoint = reverse_sweep(program, (weights,))
    (seed,) = adjoint.seeds.values()
    slope = collected(eliminated(adjoint, weights).xreplace({seed: Integer(1)}))
    terms = Add.make_args(_spread(slope, rest, residual))
    left = Add(*(term for term in terms if weights in symbols_of(term)))
    right = Add(*(-term for term in terms if weights not in symbols_of(term)))
    check = least_squares_check(directions, residual, weights, (left, right))
    name = names.joined("normal_equations")
    identity_line(author, "normal equations", left, right, "the gradient vanishes", name, check)
    author.relation(
        "the next iterate",
        Kind.DEFINITION,
        rf"z_{{k+1}} = f(z_k) - {images.latex}\, {weights.latex}",
        text="z_(k+1) = f(z_k) - D_f gamma",
        reason="the same weights of the images; without differences it is Picard's step",
        name=names.joined("anderson"),
    )
    author.close(f"Anderson's mixing{names.title}", "The last residuals are combined to the smallest one.")
    return {"normal_left": left, "normal_right": right}


def _spread(slope: Expr, rest: Expr, residual: Quantity) -> Expr:
    """The products with a sum as sums of products."""
    terms = []
    for term in Add.make_args(slope):
        sign, product = term.as_coeff_Mul()
        matrix, vector = product.args
        terms += [sign * factor * matvec(matrix, part) for factor, part in _split(vector)]
    return Add(*terms)


def _split(vector: Expr) -> list[tuple[Expr, Expr]]:
    return [term.as_coeff_Mul() for term in Add.make_args(vector)]


def _write_broyden(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """The least change that satisfies the secant condition, its inverse, and what it does on affine maps."""
    update = least_change(fixed.state.shape[0])
    why = "half the squared change of the matrix, and the secant condition as constraint"
    found = gradient("Lagrangian of the update", update.lagrangian, update.changed, reason=why)
    author.append(replace(found, section=""))
    identity_line(author, "the multiplier", update.multiplier, update.solved,
                  "the stationary matrix is put into the condition", names.joined("secant_multiplier"),
                  multiplier_check(update))  # fmt: skip
    identity_line(author, "the nearest matrix", update.changed, update.updated, "stationarity, with the multiplier",
                  names.joined("least_change"), nearest_check(update, update.updated))  # fmt: skip
    changed = update.inverse.renamed("B_next", "B_{+}")
    value = update.updated_inverse
    why = "B A = I, and the lemma of Sherman and Morrison"
    identity_line(author, "Broyden's update of the inverse", changed, value, why,
                  names.joined("inverse_update"), inverse_check(update, value))  # fmt: skip
    secant = applied(value, update.difference)
    given = (update.inverse, update.step, update.difference)
    identity_line(author, "the secant condition", update.step, secant, "B_+ applied to the change of the residual",
                  names.joined("secant_condition"), IdentityCheck(update.step, secant, given))  # fmt: skip
    residual = Quantity("g", fixed.state.shape, Role.INTERMEDIATE, "g", "residual")
    step = fixed.state - matvec(update.inverse, residual)
    author.relation(
        "the full step",
        Kind.DEFINITION,
        rf"z_{{k+1}} = {latex(step)}, \qquad B_0 = -I",
        text="z_(k+1) = z_k - B g(z_k), and B_0 = -I at first",
        reason="Newton's step with B; with B_0 = -I the first one is Picard's. An update whose denominator vanishes is "
        "left out",
        name=names.joined("broyden"),
    )
    reason = "after a full step B times the change of the residual is the step minus w, w = -B g with the old B"
    for line in (*update.following_program.assignments, *update.product_program.assignments):
        check = following_check(update, line) if line.target.shape else None
        author.assignment(replace(line, reason=reason), names("secant", line.target), check)
    author.relation(
        "finite termination on affine maps",
        Kind.IDENTITY,
        r"f(z) = J z + c,\; z \in \mathbb R^n,\; \det(I - J) \ne 0 \;\Rightarrow\; g(z_{2n}) = 0",
        text="f(z) = J z + c in n dimensions, I - J not singular: g(z_(2n)) = 0",
        reason=f"each pair of updates takes a dimension from the error of B A - I ({GAY}); checked by running it",
        name=names.joined("termination"),
        check=termination_check(update),
    )
    author.close(
        f"Broyden's method{names.title}",
        "The matrix that stands for the Jacobian of the residual is changed as little as the last step demands.",
    )
    return {"inverse_next": value, "matrix_next": update.updated, "next": step}


def write_truncation(author: Author, fixed: FixedPoint, names: StepNames) -> Results:
    """The sum that a truncated gradient stops, and what is missing then."""
    author.relation(
        "the multiplier as a sum",
        Kind.DEFINITION,
        r"v_1 = \bar z, \qquad v_{k+1} = \bar z + J^{\top} v_k",
        text="v_1 = the cotangent of z from outside, v_(k+1) = the same + J^T v_k",
        reason="Picard's iteration for the equation of the multiplier; v_1 alone leaves the Jacobian out",
        name=names.joined("truncated"),
    )
    author.relation(
        "what is missing after k terms",
        Kind.IDENTITY,
        r"\left(I - J^{\top}\right)^{-1} \bar z - v_k = \left(J^{\top}\right)^{k} \left(I - J^{\top}\right)^{-1}"
        r" \bar z",
        text="the multiplier minus v_k = (J^T)^k times the multiplier",
        reason="both sides of the recursion are subtracted; it vanishes with q^k where f is a contraction",
        name=names.joined("truncation_error"),
        check=_truncation_check(fixed),
    )
    author.close(f"Truncated gradients{names.title}", "Cheaper, and no gradient of anything unless f contracts well.")
    return {}


def _truncation_check(fixed: FixedPoint) -> ProgramCheck:
    """The gap by running the sum, against as many products of the multiplier with J^T."""
    adjoint = implicit_adjoint(fixed)
    multiplier, seed = adjoint.cotangents[fixed.state], adjoint.seeds[fixed.state]
    solved = fixed.equilibrium
    lines = [*solved.assignments, *(line for line in adjoint.program.assignments if line.solve)]
    current = seed
    for count in range(2, TRUNCATED + 1):
        pulled, current = _pulled(fixed, current, f"sum_{count}", seed)
        lines += pulled
    gap = fixed.state.renamed("gap", role=Role.COTANGENT)
    lines.append(Assignment(gap, multiplier - current))
    inputs = (*solved.inputs, seed)
    left = Program(inputs, tuple(lines), (gap,))
    product, rest = multiplier, []
    for count in range(1, TRUNCATED + 1):
        pulled, product = _pulled(fixed, product, f"power_{count}", Integer(0))
        rest += pulled
    made = {line.target for line in rest}
    used = {q for line in rest for q in symbols_of(line.value)} - made
    right = Program(tuple(sorted(used, key=lambda q: q.name)), tuple(rest), (product,))
    return ProgramCheck(left, right, ((gap, product),))


def _pulled(fixed: FixedPoint, covector: Quantity, suffix: str, added: Expr) -> tuple[list[Assignment], Quantity]:
    """Lines that compute added + J^T covector at the equilibrium."""
    adjoint = reverse_sweep(fixed.map, (fixed.state,))
    names = {q: q.renamed(f"{q.name}_{suffix}") for q in adjoint.program.targets}
    names |= {adjoint.seeds[fixed.image]: covector}
    program = adjoint.program.renamed(names)
    here = {fixed.image: fixed.state}
    lines = [replace(line, value=line.value.xreplace(here)) for line in program.assignments]
    target = names[adjoint.cotangents[fixed.state]]
    lines[-1] = replace(lines[-1], value=lines[-1].value + added)
    return lines, target

"""Section on the inverse of a step, and how far it can be trusted in floating point."""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import mpmath
import numpy as np
import sympy
from sympy import Expr, Integer, Rational, Symbol

from derive.backward_growth import write_backward_growth
from derive.checks import IdentityCheck, ProgramCheck, SampledCheck
from derive.derivation import Kind
from derive.error_growth import line_growth, write_growth
from derive.evaluator import evaluate
from derive.inversion import Inverse, invert
from derive.lagrangian import StepNames
from derive.latex import latex
from derive.linearization import forward_sweep
from derive.numbering import Author
from derive.operators import Numeric
from derive.recurrence import Recurrence
from derive.sampling import SMALLEST, Sampler
from derive.schemes import LinearMultistep
from derive.symbols import Quantity

FLOATS = {"float32": (2.0**-24, 1e-3), "float64": (2.0**-53, 1e-6)}


def write_inverse(author: Author, recurrence: Recurrence, scheme: object, names: StepNames) -> Inverse | None:
    """Section on the inverse; a statement where the step has none that needs no new solve."""
    inverse = invert(recurrence)
    if inverse is None:
        author.relation(
            "no explicit inverse",
            Kind.STATEMENT,
            r"z_n = \Phi^{-1}(z_{n+1})\ \text{is the solution of an equation}",
            text="the old state is the solution of an equation: step(z) = z_next",
            reason="the oldest state is an argument of what is evaluated; where h Lip(f) < 1 a fixed point finds it",
            source="inverse function theorem",
        )
        author.close("Inverse")
        return None
    solved = {q.name for q, _ in inverse.solved}
    for line in inverse.program.assignments:
        if line.target.name in solved:
            author.assignment(line, names("inverse", line.target), _round_trip(recurrence, inverse))
    _write_determinant(author, recurrence, inverse)
    if isinstance(scheme, LinearMultistep) and not any(weight.free_symbols for weight in (*scheme.alpha, *scheme.beta)):
        write_backward_growth(author, scheme)
    elif isinstance(scheme, LinearMultistep):
        _write_trust(author, scheme)
    else:
        _write_growth(author, recurrence, inverse)
    author.close(
        "Inverse",
        "The step solved for its oldest state: nothing is evaluated that the forward step does not evaluate, "
        "so the backward pass can rebuild the states it needs.",
    )
    return inverse


def _round_trip(recurrence: Recurrence, inverse: Inverse) -> ProgramCheck:
    """Step forward, then solve back: the oldest state must return (its rebuilt copy has a name of its own)."""
    rebuilt = {q: q.renamed(f"rebuilt_{q.name}") for q in inverse.program.outputs}
    fresh = {line.target: line.target.renamed(f"again_{line.target.name}") for line in inverse.program.assignments}
    program = inverse.program.renamed({**fresh, **rebuilt})
    old = {q.name: q for q in recurrence.old}
    pairs = tuple((old[q.name], rebuilt[q]) for q in inverse.program.outputs)
    return ProgramCheck(recurrence.step, program, pairs)


def _write_determinant(author: Author, recurrence: Recurrence, inverse: Inverse) -> None:
    base = inverse.determinant_base(recurrence)
    if base is None:
        return
    shape = recurrence.old[0].shape
    size = shape[0] if shape else 1
    unit = base == 1
    state = ", ".join(_with_lag(q, place, recurrence) for place, q in enumerate(recurrence.old))
    reason = (
        "companion form: only the weight of the oldest state is left of the block determinant"
        if recurrence.lags > 1
        else "each line changes one part of the state and keeps the others: its Jacobian is triangular, "
        "with the slope of the line on the diagonal"
    )
    author.relation(
        f"determinant of the step on ({state})",
        Kind.IDENTITY,
        r"\det \frac{\partial z_{n+1}}{\partial z_n} = " + ("1" if unit else rf"\left({latex(base)}\right)^{{{size}}}"),
        text="det(dz_next/dz) = " + ("1" if unit else f"({base})^{size}"),
        reason=reason,
        name="step_determinant",
        check=IdentityCheck(
            partial(_numeric_determinant, recurrence),
            base ** (SMALLEST if shape else 1),
            recurrence.step.inputs,
            recurrence.step.networks(),
        ),
    )


def _with_lag(quantity: Quantity, place: int, recurrence: Recurrence) -> str:
    """`x_n`, `x_(n-1)`: a part of the state as it is written in a title."""
    width = len(recurrence.old) // recurrence.lags
    unknown = recurrence.old[place % width].name
    return f"{unknown}_n" if place < width else f"{unknown}_(n-{place // width})"


def _numeric_determinant(recurrence: Recurrence, values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
    return mpmath.det(numeric_jacobian(recurrence, values, sampler))


def numeric_jacobian(recurrence: Recurrence, values: dict[Quantity, Numeric], sampler: Sampler) -> mpmath.matrix:
    """d new / d old at sampled values, column by column through the forward sweep."""
    tangent = forward_sweep(recurrence.step, recurrence.old)
    known = {**values, **evaluate(recurrence.step, values, sampler.networks)}
    columns = []
    for place, q in enumerate(recurrence.old):
        for entry in range(np.size(values[q])):
            seed = {tangent.tangents[other]: 0 * values[other] for other in recurrence.old}
            unit = 0 * values[q]
            if np.ndim(unit):
                unit[entry] = unit[entry] + 1
            else:
                unit = unit + 1
            seed[tangent.tangents[recurrence.old[place]]] = unit
            found = evaluate(tangent.program, {**known, **seed}, sampler.networks)
            every = {**seed, **found}
            column = [every[tangent.tangents[n]] for n in recurrence.new]
            columns.append(np.concatenate([np.ravel(part) for part in column]))
    return mpmath.matrix([[column[row] for column in columns] for row in range(len(columns))])


def inverse_amplification(scheme: LinearMultistep) -> list[Expr]:
    """Roots zeta(z) of the characteristic polynomial: one inverse step amplifies an error by 1/min |zeta|."""
    zeta, z = Symbol("zeta"), Symbol("z")
    return list(sympy.roots(sympy.Poly(scheme.characteristic(zeta, z), zeta), multiple=True))


def _write_growth(author: Author, recurrence: Recurrence, inverse: Inverse) -> None:
    """Of a one-step scheme the lines of the inverse decide, where a network is what limits them."""
    growth = line_growth(inverse, recurrence) if recurrence.step.networks() else None
    if growth is not None:
        write_growth(author, recurrence, growth)


def _write_trust(author: Author, scheme: LinearMultistep) -> None:
    """The parasitic root, where there is one that depends on one symbol, decides how fast rounding grows backwards."""
    zeta = Symbol("zeta")
    roots = [r for r in sympy.roots(scheme.characteristic(zeta), zeta, multiple=True) if r != 1]
    free = sorted({s for r in roots for s in r.free_symbols}, key=str)
    if len(roots) != 1 or len(free) != 1:
        return
    size = rf"\left|{latex(roots[0])}\right|"
    lengths = "; ".join(
        f"{kind} to {tolerance:g}: " + ", ".join(f"{trusted_steps(eps, tolerance, s)} at {s}" for s in (0.9, 0.5, 0.1))
        for kind, (eps, tolerance) in FLOATS.items()
    )
    author.relation(
        "how far the inverse can be trusted",
        Kind.INEQUALITY,
        rf"\varepsilon\, {size}^{{-N}} \le \mathrm{{tol}} \iff "
        rf"N \le \frac{{\log(\mathrm{{tol}}/\varepsilon)}}{{\log(1/{size})}}",
        text=f"eps |{roots[0]}|^(-N) <= tol  iff  N <= log(tol/eps) / log(1/|{roots[0]}|)",
        reason=f"an error along the parasitic root {roots[0]} grows by its inverse in every inverse step. "
        f"Steps by the size of the root, {lengths}",
        name="inverse_trust",
        check=SampledCheck(
            partial(_trust_disagreements, scheme, roots[0], free[0]), Integer(1), lambda scale: scale * 2
        ),
    )


def trusted_steps(epsilon: float, tolerance: float, size: float) -> int:
    """Largest N with epsilon * size^(-N) <= tolerance."""
    return int(math.log(tolerance / epsilon) / math.log(1 / size))


def _trust_disagreements(scheme: LinearMultistep, root: Expr, symbol: Symbol, scale: Expr) -> int:
    """Values of the symbol at which an error reaches the tolerance after another number of steps than the bound says.

    The inverse recursion runs on x' = 0 in exact numbers, from a rounding along the parasitic root.
    """
    wrong = 0
    for size, (epsilon, tolerance) in product((0.9, 0.5, 0.3), FLOATS.values()):
        value = _value_of_size(root, symbol, Rational(str(size)))
        if value is None:
            continue
        alpha = [a.subs(symbol, value) for a in scheme.alpha]
        newest, newer, steps = Rational(epsilon) * root.subs(symbol, value), Rational(epsilon), 0
        while abs(newer) <= Rational(tolerance):
            newest, newer, steps = newer, (newest - alpha[0] * newer) / alpha[1], steps + 1
        wrong += steps - 1 != int(scale) * trusted_steps(epsilon, tolerance, size)
    return wrong


def _value_of_size(root: Expr, symbol: Symbol, size: Rational) -> Expr | None:
    """A real value of the symbol at which the root has this absolute value; None where there is none."""
    found = [value for signed in (size, -size) for value in sympy.solve(root - signed, symbol)]
    return next((value for value in found if value.is_real), None)

r"""Section on the linearly implicit step: its matrix $W = (I - hA)^{-1}$, and when powers of it decay."""

from __future__ import annotations

from functools import partial
from itertools import product

from sympy import Expr, Integer, Rational

from derive.checks import IdentityCheck, SampledCheck
from derive.delay import DelayODE
from derive.delay_steps import DelayStep, linear_part
from derive.derivation import Kind
from derive.evaluator import evaluate
from derive.latex import latex
from derive.numbering import Author
from derive.operators import Numeric, identity_like, linear_solve, shape_of
from derive.sampling import Sampler
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, with_index

STEPS = (Rational(1, 100), Rational(1), Rational(100))
IMAGINARY = (Rational(0), Rational(1, 10), Rational(5))


def write_resolvent(author: Author, system: DelayODE, made: DelayStep) -> dict[str, Expr]:
    """The step with W multiplied out, and the condition on A; returns W applied to the old value as a result."""
    if not system.linearly_implicit:
        return {}
    results: dict[str, Expr] = {}
    given = made.step
    for unknown, before, after in zip(system.state, made.old, made.new, strict=True):
        velocity = system.velocity[system.state.index(unknown)]
        coefficient, rest = linear_part(unknown, velocity)
        if coefficient == 0:
            continue
        owner = f"_{unknown.name}" if len(system.state) > 1 else ""
        parts = {"old": _resolved(coefficient, before)}
        if rest != 0:
            (explicit,) = (q for q in given.targets if q.name == f"g{owner}")
            parts["rest"] = STEP_SIZE * _resolved(coefficient, explicit)
        value = sum(parts.values(), Integer(0))
        name = with_index("W", unknown.latex) if owner else "W"
        inverse = rf"\left(I - h\left({latex(coefficient)}\right)\right)^{{-1}}"
        added = rf" + h\, {name} {explicit.latex}" if rest != 0 else ""
        author.relation(
            f"the step by its matrix, {unknown.name}",
            Kind.IDENTITY,
            rf"{after.latex} = {name} {before.latex}{added}, \qquad {name} = {inverse}",
            text=f"{after} = {value}",
            reason="W (I - h A) = I, so W is invertible for every step that can be made: no step has W = 0",
            name=f"resolvent.{unknown.name}",
            check=IdentityCheck(partial(_stepped, made, after), value, given.inputs, given.networks(), given),
        )
        results[f"resolvent_{unknown.name}"] = parts["old"]
    write_decay(author)
    author.close("The implicit part", "What is linear in an unknown is taken at the end of the step.")
    return results


def write_decay(author: Author) -> None:
    """The condition under which a part that is left to itself decays."""
    author.relation(
        "when powers of W decay",
        Kind.INEQUALITY,
        r"|1 - h \lambda| > 1\ \text{for all eigenvalues}\ \lambda\ \text{of}\ A; \qquad "
        r"\operatorname{Re} \lambda < 0\ \text{suffices for every}\ h",
        text="|1 - h lambda| > 1 for all eigenvalues lambda of A; Re lambda < 0 suffices for every h",
        reason="the eigenvalues of W are 1/(1 - h lambda); not necessary: lambda = 3, h = 1 gives -1/2",
        name="resolvent_decay",
        check=SampledCheck(_disagreements, Rational(0), lambda edge: edge + Rational(1, 20)),
    )


def _resolved(coefficient: Expr, value: Quantity) -> Expr:
    if len(shape_of(coefficient)) == 2:
        return linear_solve(identity_like(coefficient) - STEP_SIZE * coefficient, value)
    return value / (1 - STEP_SIZE * coefficient)


def _stepped(made: DelayStep, after: Quantity, values: dict[Quantity, Numeric], sampler: Sampler) -> Numeric:
    """The new value by the lines of the step."""
    return evaluate(made.step, {q: values[q] for q in made.step.inputs}, sampler.networks)[after]


def _disagreements(edge: Rational) -> int:
    """Eigenvalues left of the claimed edge, some close to it, for which W does not decay at every step size."""
    reals = [edge - gap for gap in (Rational(1, 10**6), Rational(1, 100), Rational(3))]
    sampled = product(reals, IMAGINARY, STEPS)
    return sum(bool((1 - h * real) ** 2 + (h * imaginary) ** 2 <= 1) for real, imaginary, h in sampled)

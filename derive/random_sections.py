"""Sections on random draws: their laws, what a step does on average, a reverse sweep with draws of its own."""

from __future__ import annotations

from functools import partial

from sympy import Expr

from derive.checks import IdentityCheck, ResidualCheck
from derive.derivation import Kind
from derive.evaluator import evaluate
from derive.lagrangian import StepNames, write_adjoint
from derive.latex import latex, plain
from derive.numbering import Author
from derive.operators import Numeric
from derive.random_checks import Values, drawn_values, expected_state, law_residual, moments_residual
from derive.random_recurrence import Draw, RandomRecurrence
from derive.reverse_sweep import Adjoint, reverse_sweep
from derive.sampling import Sampler
from derive.symbols import Quantity, by_name
from derive.weak_limit import WeakLimit, mean_increment

Results = dict[str, Expr]
DETAIL = "sums over the nodes of the law, 60 digits"
RUNS = "the step at every combination of nodes of its draws, 60 digits"


def write_laws(author: Author, system: RandomRecurrence, names: StepNames) -> Results:
    """The law of every draw, its mean and its central moments."""
    results: Results = {}
    for draw in system.draws:
        q, law = draw.quantity, draw.law
        each = "one for each component of each sample" if q.shape else "one for each sample"
        text = ", ".join(f"{name} = {plain(value)}" for name, value in law.arguments.items())
        author.relation(
            f"law of {q.name}",
            Kind.DEFINITION,
            rf"{q.latex} \sim {law.notation}",
            text=f"{q.name} ~ {type(law).__name__}({text}), {each}",
            reason=f"independent from step to step; {each}",
            name=names.joined("law", q.name),
        )
        moments = (law.expectation, *(law.central(power) for power in (2, 3, 4)))
        shown = r",\; ".join(map(latex, moments[1:]))
        author.relation(
            f"mean and central moments of {q.name}",
            Kind.IDENTITY,
            rf"\mathbb{{E}} {q.latex} = {latex(moments[0])},\quad \mathbb{{E}}\left({q.latex} - \mathbb{{E}} "
            rf"{q.latex}\right)^k = {shown}\quad (k = 2, 3, 4)",
            text=f"mean {plain(moments[0])}; central moments 2, 3, 4: {', '.join(map(plain, moments[1:]))}",
            reason="integrals over its law",
            name=names.joined("moments", q.name),
            check=ResidualCheck(partial(law_residual, law), moments, DETAIL),
        )
        keys = ("mean", "variance", "third_moment", "fourth_moment")
        results |= {f"{key}_{q.name}": value for key, value in zip(keys, moments, strict=True)}
    author.close(f"The random draws{names.title}", "Fresh in every step; everything above holds for given draws.")
    return results


def write_mean(author: Author, system: RandomRecurrence, limit: WeakLimit, names: StepNames) -> Results:
    """What a step does on average, which is what the net does when it is not trained, and its conditional moments."""
    after = system.new[0]
    mean = system.old[0] + mean_increment(system)
    author.relation(
        "the step on average: the net that is not trained",
        Kind.IDENTITY,
        rf"\mathbb{{E}}\left[{after.latex} \mid {system.old[0].latex}\right] = {latex(mean)}",
        text=f"E[{after} | {system.old[0]}] = {plain(mean)}",
        reason="the step is affine in its draws: their means take their places. For a whole net this is the mean of "
        "the output only where the networks are linear, since E f(x) is not f(E x)",
        name=names.joined("mean_step"),
        check=IdentityCheck(partial(_expected, system), mean, _undrawn(system), system.step.networks()),
    )
    variances, thirds, cubes = [], [], []
    moments: list[Expr] = [limit.drift]
    for noise in limit.noises:
        variance, third = noise.law.central(2), noise.law.central(3)
        moments += [variance, third]
        g = latex(noise.direction)
        diagonal = noise.kind == "diagonal"
        shape = (r"\mathrm{diag}\left(" + f"{latex(noise.direction**2)}" + r"\right)") if diagonal else _square(g)
        variances.append(rf"{latex(variance)} \, {shape}")
        if third != 0:
            cubes.append(f"{plain(third)} times ({plain(noise.direction)}) cubed")
            thirds.append(rf"{latex(third)} \, \left({g}\right)" + (r"^{\odot 3}" if diagonal else r"^{\otimes 3}"))
    units = ("h^{-1} ", "h^{-1} ", "h^{-3/2} ") if limit.scaled else ("", "", "")
    size = "of leading order in h, " if limit.scaled else ""
    author.relation(
        "conditional moments of an increment",
        Kind.ASYMPTOTIC if limit.scaled else Kind.IDENTITY,
        rf"{units[0]}\mathbb{{E}} \Delta = {latex(limit.drift)},\quad {units[1]}\mathrm{{Cov}}\, \Delta = "
        rf"{' + '.join(variances)},\quad {units[2]}\mathbb{{E}} \left(\Delta - \mathbb{{E}} "
        rf"\Delta\right)^{{\otimes 3}} = {' + '.join(thirds) or '0'}{' + O(h)' if limit.scaled else ''}",
        text=f"{size}mean {plain(limit.drift)}; covariance: "
        + ", ".join(f"{plain(n.law.central(2))} times {_outer_text(n.kind, n.direction)}" for n in limit.noises)
        + "; third central moment: "
        + (", ".join(cubes) or "0"),
        reason="Delta = x_next - x is affine in independent draws: central moments up to the third add up. One draw "
        "for all components gives a covariance of rank 1, one for each a diagonal",
        name=names.joined("increment_moments"),
        check=ResidualCheck(partial(moments_residual, system, limit), tuple(moments), RUNS),
    )
    author.close(f"On average{names.title}", "Moments of one step for a given state.")
    return {f"mean_{after}": mean}


def _square(direction: str) -> str:
    return rf"\left({direction}\right) \left({direction}\right)^{{\top}}"


def _outer_text(kind: str, direction: Expr) -> str:
    return f"diag(({plain(direction)})^2)" if kind == "diagonal" else f"g g^T, g = {plain(direction)}"


def _undrawn(system: RandomRecurrence) -> tuple[Quantity, ...]:
    drawn = {q for draw in system.draws for q in draw.quantities}
    return tuple(by_name({*system.quantities, *system.old} - drawn))


def _expected(system: RandomRecurrence, values: Values, sampler: Sampler) -> Numeric:
    return expected_state(system, values, sampler)


def write_backward(author: Author, system: RandomRecurrence, names: StepNames) -> None:
    """The reverse sweep with draws of its own: a stated change of the gradient, and what it is on average."""
    if not system.backward:
        return
    changed = reverse_sweep(system.backward_step)
    pairs = ", ".join(f"{other} for {draw}" for draw, other in system.backward.items())
    author.relation(
        "draws of the reverse sweep",
        Kind.DEFINITION,
        r",\quad ".join(rf"{draw.latex} \to {other.latex}" for draw, other in system.backward.items()),
        text=f"in the adjoint, {pairs}: of the same law, independent of it, at the states that the forward draws made",
        reason="a change of the gradient that is stated, not derived: where both are the same it is the gradient of "
        "the loss for these draws, else the gradient of none",
        name=names.joined("backward_draws"),
    )
    write_adjoint(author, system.backward_step, changed, names, "backward")
    average = reverse_sweep(system.mean_step).program
    for line in changed.program.assignments:
        if set(system.backward.values()) & line.value.atoms(Quantity):
            mean = average.value(line.target)
            author.relation(
                f"{line.target.name} on average over the draws of the reverse sweep",
                Kind.IDENTITY,
                rf"\mathbb{{E}}\left[{line.target.latex} \mid x_0, \dots, x_N\right] = {latex(mean)}",
                text=f"E[{line.target} | all states] = {plain(mean)}",
                reason="each line is affine in the draw of its own step, and what arrives from later steps has draws "
                "independent of it: on average over these draws the sweep is the reverse sweep of the net with mean "
                "draws, linearized at the states that the forward draws made",
                name=names.joined("backward_mean", line.target.name),
                check=IdentityCheck(
                    partial(_mean_of_line, system, changed, line.target),
                    mean,
                    (*changed.program.inputs,),
                    system.step.networks(),
                ),
            )
    author.close(
        f"The reverse sweep with draws of its own{names.title}",
        "What the emitted backward pass computes; with equal draws it is the discrete adjoint above.",
    )


def _mean_of_line(
    system: RandomRecurrence, changed: Adjoint, target: Quantity, values: Values, sampler: Sampler
) -> Numeric:
    """Sum over the nodes of the backward draws of one line of the changed sweep."""
    swept = tuple(Draw(d.backward, d.law) for d in system.draws if d.backward is not None)
    program = changed.program.needed_for([target])
    found = []
    for weight, given in drawn_values(swept, sampler, values):
        found.append(weight * evaluate(program, {**values, **given}, sampler.networks)[target])
    return sum(found)

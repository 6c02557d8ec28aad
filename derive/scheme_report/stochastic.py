"""The derivation of a scheme for stochastic equations by its table alone: its step, its series, its orders."""

from __future__ import annotations

from functools import cache

from derive.derivation import Derivation, Kind
from derive.lagrangian import StepNames, write_program
from derive.networks import Network
from derive.numbering import Author
from derive.plain_formula import plain_formula
from derive.scheme_report.show import number_latex
from derive.schemes.stochastic import StochasticRungeKutta
from derive.sde import of_every_noise
from derive.sde_sections import write_orders
from derive.stochastic.analysis import CALCULI, StochasticAnalysis
from derive.stochastic.orders import MOTIONS, Series
from derive.stochastic.trees import trees_of, written
from derive.stochastic_steps import stochastic_step
from derive.symbols import state, time
from derive.verdict import Step

SHOWN = 3  # twice the largest order of the trees that are shown
SYMBOLS = (
    ("h", "h", "()", "step size", "step size"),
    (r"\Delta W", "dW", "(m)", "input", "increments of the Brownian motions"),
    (r"J_{jk}", "J_jk", "()", "random variable", "iterated integrals over a step of length 1; the letter 0 is time"),
)


def explain_stochastic(scheme: StochasticRungeKutta, name: str) -> Derivation:
    """Everything the tool derives about a scheme for stochastic equations, without an equation."""
    author, analysis = Author(), StochasticAnalysis(scheme)
    author.relation(
        "the scheme",
        Kind.DEFINITION,
        table_latex(scheme),
        reason=f"{scheme.title}, for {CALCULI[scheme.calculus]}'s calculus",
        text=table_text(scheme),
        name="scheme",
    )
    author.close(
        "The table",
        "Coefficients of the drift on the left, of the diffusion on the right; below the line the weights. Everything "
        "below is derived from them.",
    )
    _write_step(author, scheme)
    _write_series(author, scheme)
    write_orders(author, name, scheme)
    author.close("Orders", "By the structure of the noise; what stands in the way of more is named.")
    return Derivation(
        name,
        scheme.title,
        "a scheme for stochastic equations, analysed by its table alone",
        SYMBOLS,
        tuple(author.sections),
        facts=dict(analysis.rows_shown()),
        numbers=author.numbers,
    )


def _write_step(author: Author, scheme: StochasticRungeKutta) -> None:
    """The step for a matrix of diffusions that reads everything."""
    x, t = state("x", "d", meaning="state"), time("t")
    drift = Network("f", takes_time=True)(t, x)
    equation = of_every_noise(x, drift, t, calculus=scheme.calculus, scheme=scheme)["general"]
    write_program(author, stochastic_step(equation, scheme).step, StepNames(""), "step")
    own = CALCULI[scheme.calculus]
    author.close("One step", f"Of dx = f dt + g dW in {own}'s calculus; of the other the drift is corrected first.")


def _write_series(author: Author, scheme: StochasticRungeKutta) -> None:
    """The coefficients of scheme and solution, tree by tree."""
    series = Series(scheme)
    for size in range(1, SHOWN + 1):
        rows = _compared(series, size)
        equal = sum(ours == exact for _, ours, exact in rows)
        order = size // 2 if size % 2 == 0 else f"{size}/2"
        author.relation(
            f"terms of order {order}",
            Kind.DEFINITION,
            rf"\text{{{equal} of {len(rows)} coefficients are those of the solution}}",
            reason="stochastic trees; a scheme's stages are multiplied out, the solution's integrals are iterated",
            name=f"series.{size}",
            steps=[
                Step(f"{name}: {ours}" + ("" if ours == exact else f" in the scheme, {exact} in the solution"))
                for name, ours, exact in rows
            ],
        )
    author.close(
        "The stochastic Taylor series of a step",
        "Coefficients of elementary differentials as iterated Stratonovich integrals, for two Brownian motions; f is "
        "the drift of Stratonovich's form.",
    )


def _compared(series: Series, size: int) -> list[tuple[str, str, str]]:
    """Differential, coefficient in the scheme, coefficient in the solution; of swapped motions one."""
    rows = []
    for tau in trees_of(size, MOTIONS):
        name = written(tau)
        if _first_motion(name) != "2":
            rows.append((name, series.shown(series.of_scheme(tau)), series.shown(series.solution(tau))))
    return rows


@cache
def _first_motion(name: str) -> str:
    """The number of the Brownian motion that is named first."""
    return name.partition("g_")[2][:1]


def table_latex(scheme: StochasticRungeKutta) -> str:
    """Both tables side by side."""
    rows = [" & ".join(map(number_latex, (*a, *b))) for a, b in zip(scheme.A, scheme.B, strict=True)]
    rows.append(r"\hline " + " & ".join(map(number_latex, (*scheme.alpha, *scheme.beta))))
    columns = "c" * scheme.stages
    second = rf", \quad \gamma = {number_latex(scheme.gamma)}" if scheme.gamma != 0 else ""
    return rf"\begin{{array}}{{{columns}|{columns}}}" + r" \\ ".join(rows) + r"\end{array}" + second


def table_text(scheme: StochasticRungeKutta) -> str:
    """The same in plain characters."""
    sides = [[*scheme.A, scheme.alpha], [*scheme.B, scheme.beta]]
    cells = [[[plain_formula(number_latex(e)).replace(" ", "") for e in row] for row in side] for side in sides]
    width = max(len(cell) for side in cells for row in side for cell in row)
    lines = [
        " | ".join("  ".join(cell.rjust(width) for cell in row) for row in pair) for pair in zip(*cells, strict=True)
    ]
    lines.insert(-1, "-" * len(lines[0]))
    second = [f"gamma = {scheme.gamma}"] if scheme.gamma != 0 else []
    return "\n".join([*lines, *second])

"""A step with several networks read as a Runge-Kutta scheme: each network a multiple of one field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import mpmath
import sympy
from sympy import Expr, Integer, Rational

from derive.checks import ResidualCheck
from derive.derivation import Kind
from derive.errors import SpecError
from derive.evaluator import value_of
from derive.latex import latex
from derive.networks import Call, Network
from derive.numbering import Author
from derive.program import Program
from derive.recurrence import Recurrence
from derive.scheme_report.show import tableau_latex
from derive.schemes import ButcherTableau
from derive.series.notation import differential_latex
from derive.spec_parts import Reading
from derive.step_expansion import coefficient_of, multilinear, sample, size, step_series
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, by_name, state
from derive.systems import ODE
from derive.truncation import local_error_residual, truncation

FIELD = Network("f")
Form = dict[int, Expr]  # weights: of x at -1, of the i-th evaluation of the field at i


@dataclass(frozen=True)
class Weights:
    """A step as `x_next = kept x + h sum_i b_i f(x + h sum_j A_ij f_j)`.

    Attributes:
        kept: weight of the old state, which must be 1.
        A, b: of the evaluations.
    """

    kept: Expr
    A: tuple[tuple[Expr, ...], ...]
    b: tuple[Expr, ...]

    @property
    def c(self) -> tuple[Expr, ...]:
        """Row sums of A."""
        return tuple(sum(row, Integer(0)) for row in self.A)

    def conditions(self) -> tuple[Expr, ...]:
        """What must vanish for order 2: of the state's weight, of sum b = 1, of sum b c = 1/2."""
        second = sum((b * c for b, c in zip(self.b, self.c, strict=True)), Integer(0))
        return tuple(map(sympy.expand, (self.kept - 1, sum(self.b, Integer(0)) - 1, second - Rational(1, 2))))


def read(recurrence: Recurrence, reading: Reading) -> Weights:
    """The weights of a step under a reading.

    Raises:
        SpecError: the step is not linear in the state and the networks' values, or evaluates a network elsewhere than
            at the state plus increments.
    """
    forms: dict[Quantity, Form] = {recurrence.old[0]: {-1: Integer(1)}}
    rows: list[Form] = []
    for line in recurrence.step.assignments:
        value = line.value.xreplace(dict(reading.where))
        if isinstance(value, Call):
            rows.append(_form(value.point[-2], forms, reading))
            forms[line.target] = {len(rows) - 1: reading.networks[value.network]}
        else:
            forms[line.target] = _form(value, forms, reading)
    result = forms[recurrence.new[0]]
    if any(sympy.expand(row.get(-1, Integer(0)) - 1) != 0 for row in rows):
        raise SpecError(f"reading {reading.title!r}: a network is evaluated where the state has another weight than 1")
    per_h = [[sympy.expand(form.get(j, Integer(0)) / STEP_SIZE) for j in range(len(rows))] for form in (*rows, result)]
    return Weights(result.get(-1, Integer(0)), tuple(map(tuple, per_h[:-1])), tuple(per_h[-1]))


def _form(value: Expr, forms: Mapping[Quantity, Form], reading: Reading) -> Form:
    total: Form = {}
    rest = sympy.expand(value)
    for quantity in by_name(q for q in value.atoms(Quantity) if q in forms):
        slope = sympy.diff(rest, quantity)
        rest = sympy.expand(rest - slope * quantity)
        for place, weight in forms[quantity].items():
            total[place] = sympy.expand(total.get(place, Integer(0)) + slope * weight)
    if rest != 0:
        raise SpecError(f"reading {reading.title!r}: {value} is not linear in the state and the networks' values")
    return total


def write_reading(author: Author, recurrence: Recurrence, reading: Reading) -> dict[str, Expr]:
    """Section on one reading; returns conditions or order as results for claims."""
    weights = read(recurrence, reading)
    conditions = weights.conditions()
    scaled = ", ".join(rf"{n.latex} = {latex(sympy.sympify(a))} f" for n, a in reading.networks.items())
    given = "".join(rf",\ {latex(q)} = {latex(v)}" for q, v in reading.where.items())
    shown = [c for c in conditions if c.free_symbols]
    results: dict[str, Expr] = {}
    if shown:
        sides = [(sympy.expand(c + shift), shift) for c, shift in zip(conditions, SHIFTS, strict=True) if c in shown]
        formula = ",\\ ".join(f"{latex(left)} = {latex(right)}" for left, right in sides)
        author.relation(
            f"conditions for order 2 ({reading.title})",
            Kind.ASYMPTOTIC,
            rf"{scaled}{given}:\quad {formula}",
            text=", ".join(f"{left} = {right}" for left, right in sides),
            reason="the state keeps its weight, consistency, and the condition of the second order, in this order",
            name=f"reading.{reading.title}.conditions",
            check=ResidualCheck(
                partial(_conditions_residual, recurrence, reading),
                tuple(c + shift for c, shift in zip(conditions, SHIFTS, strict=True)),
                "the step with both networks multiples of one, as power series in h, 60 digits",
            ),
        )
        results |= dict(zip(("kept", "consistency", "second_order"), conditions, strict=True))
        weights = _solved(weights, conditions)
    if all(c == 0 for c in weights.conditions()[:2]):
        results |= _write_order(author, reading, weights)
    author.close(f"Read as a Runge-Kutta scheme: {reading.title}", "Every network a multiple of one field f.")
    return {f"{reading.title}.{name}": value for name, value in results.items()}


SHIFTS = (Integer(1), Integer(1), Rational(1, 2))


def scheme_read(recurrence: Recurrence, reading: Reading) -> ButcherTableau:
    """The scheme that a step is under a reading, with what consistency asks of its symbols put in.

    Raises:
        SpecError: the step cannot be read so, or is consistent for no values of its symbols.
    """
    weights = read(recurrence, reading)
    consistency = weights.conditions()[:2]
    families = list(_families(weights, consistency)) or [weights]
    simplest = min(
        families, key=lambda found: sum(sympy.count_ops(entry) for row in (*found.A, found.b) for entry in row)
    )
    if any(condition != 0 for condition in simplest.conditions()[:2]):
        raise SpecError(f"reading {reading.title!r}: {recurrence.new[0].name} is no consistent step of x' = f(x)")
    return ButcherTableau(A=simplest.A, b=simplest.b, c=simplest.c, title=reading.title)


def _solved(weights: Weights, conditions: tuple[Expr, ...]) -> Weights:
    """The weights on the family that the conditions leave, in as few symbols as possible."""
    return next(_families(weights, conditions), weights)


def _families(weights: Weights, conditions: tuple[Expr, ...]) -> Iterator[Weights]:
    """The weights with conditions solved for some of the symbols, for every choice of them with one solution."""
    free = by_name({s for c in conditions for s in c.free_symbols})
    wanted = [c for c in conditions if c != 0]
    for unknowns in combinations(free, min(len(wanted), len(free))):
        found = sympy.solve(wanted, unknowns, dict=True)
        if len(found) == 1 and len(found[0]) == len(unknowns):
            table = found[0]
            yield Weights(
                sympy.cancel(weights.kept.subs(table)),
                tuple(tuple(sympy.cancel(a.subs(table)) for a in row) for row in weights.A),
                tuple(sympy.cancel(b.subs(table)) for b in weights.b),
            )


def _write_order(author: Author, reading: Reading, weights: Weights) -> dict[str, Expr]:
    tableau = ButcherTableau(A=weights.A, b=weights.b, c=weights.c, title=reading.title)
    unknown = state("u", "d")
    analysis = truncation(ODE((unknown,), (FIELD(unknown),)), tableau)
    terms = [rf"{latex(c)}\, {differential_latex(tree)}" for c, tree in analysis.terms if tree is not None]
    p = analysis.order
    author.relation(
        f"tableau ({reading.title})",
        Kind.DEFINITION,
        tableau_latex(tableau),
        reason="stages and weights read off the step, on the family that the conditions leave",
        text=f"A = {weights.A}, b = {weights.b}",
    )
    author.relation(
        f"local truncation error; order {p} ({reading.title})",
        Kind.ASYMPTOTIC,
        rf"\tau_n = h^{{{p + 1}}} \left({' + '.join(terms).replace('+ -', '- ')}\right) + O(h^{{{p + 2}}})",
        reason="Taylor expansion of the step along a solution of x' = f(x)",
        name=f"reading.{reading.title}.local_error",
        check=ResidualCheck(partial(local_error_residual, analysis), analysis.coefficients),
    )
    return {"order": Integer(p)}


def _conditions_residual(recurrence: Recurrence, reading: Reading, claimed: tuple[Expr, ...]) -> float:
    """Weights of x, f and f'f in the expansion of the step with one field, against the claimed ones."""
    lines = []
    for line in recurrence.step.assignments:
        value = line.value.xreplace(dict(reading.where))
        calls = {node: reading.networks[node.network] * FIELD(node.point[-2]) for node in value.atoms(Call)}
        lines.append(type(line)(line.target, value.xreplace(calls), line.reason))
    used = {q for line in lines for q in line.value.atoms(Quantity)} - {line.target for line in lines}
    step = Program(tuple(by_name(used)), tuple(lines), recurrence.step.outputs)
    read_as = Recurrence(step, recurrence.old, recurrence.new)
    with mpmath.workdps(mpmath.mp.dps):
        sampler, values = sample(read_as)
        (found,) = step_series(read_as, values, sampler, 2)
        x = recurrence.old[0]
        along = multilinear(Call(FIELD, FIELD(x).args[1], sympy.Tuple(sympy.Tuple(Integer(0), FIELD(x)))))
        worst = 0.0
        for power, (weight, term) in enumerate(zip(claimed, (x, FIELD(x), along), strict=True)):
            expected = coefficient_of(found, power)
            claimed_value = value_of(weight * term, values, sampler.networks)
            worst = max(worst, float(size(claimed_value - expected) / size(expected)))
    return worst

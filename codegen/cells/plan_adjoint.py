"""The adjoint sweep: every cotangent as a linear form in few pivots, with coefficients that no cotangent enters.

Pivots are the cotangents that the loop must compute one step after the other: those that come from outside, and those
with several sources that are not one elementwise chain. Everything between two pivots is one coefficient, and all
coefficients are computed for all steps at once, before the loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sympy import Expr, Integer

from codegen.cells.linear_forms import Back, Inner, LinearForm, Scaled, gathered, terms_of
from codegen.cells.mixing import named_values
from codegen.cells.plan_program import CellProgram
from codegen.cells.plan_schedule import Schedule
from derive.errors import UnsupportedError
from derive.operators import dot, matvec, outer, shape_of, total
from derive.past_values import Past, tap_backs, tap_outers
from derive.program import Assignment, symbols_of
from derive.reverse_sweep import Adjoint, elementwise_partials, reverse_sweep
from derive.symbols import Quantity, Role


@dataclass(frozen=True)
class ScaleRows:
    """Cotangents of neighbouring rows *= a pivot: their coefficients lie there already."""

    lines: tuple[Quantity, ...]
    rows: tuple[int, ...]
    pivot: Quantity


@dataclass(frozen=True)
class Gather:
    """A pivot, or a row with several sources, as the sum of its linear form."""

    lines: tuple[Quantity, ...]
    target: Quantity
    form: LinearForm


@dataclass(frozen=True)
class Carry:
    """The cotangent of an old state: what the step before gets as that of its new state.

    Attributes:
        place: of the state.
        staged: whether it must wait in a buffer of its own because its place is still read.
    """

    lines: tuple[Quantity, ...]
    place: int
    form: LinearForm
    staged: bool = False


@dataclass(frozen=True)
class SendBack:
    """What a step adds to the cotangent of a state that keeps several values: to that of the step that made it.

    Attributes:
        value: the old state, or what it was some steps before.
        place: of the state.
    """

    lines: tuple[Quantity, ...]
    value: Quantity
    place: int
    form: LinearForm


@dataclass(frozen=True)
class KeepPivot:
    """Path of a pivot that a gradient after the loop reads."""

    lines: tuple[Quantity, ...]
    pivot: Quantity


BackwardOperation = ScaleRows | Gather | Carry | SendBack | KeepPivot


@dataclass(frozen=True)
class Gradient:
    """A term of a parameter's gradient: the sum over steps and batch of `coefficient * bar`.

    Attributes:
        bar: cotangent of a row, or a pivot.
        coefficient: of values of the forward sweep; for a matrix, the vector that it multiplies.
    """

    parameter: Quantity
    line: Quantity
    bar: Quantity
    coefficient: Expr


@dataclass(frozen=True)
class AdjointPlan:
    """What the adjoint sweep does.

    Attributes:
        seeds: running cotangent of each state: on entry of a step, that of its new value from outside.
        coefficients: row -> its coefficient, before the loop.
        loop: operations of one step, in order.
        gradients: terms of the parameters' gradients, after the loop.
        input_products: products that make up the cotangent of the input, and of what it was some steps before.
        input_bars: these cotangents.
        rows: cotangent of each row.
        bars: primal quantity -> its cotangent.
    """

    seeds: tuple[Quantity, ...]
    coefficients: Mapping[int, Scaled]
    loop: tuple[BackwardOperation, ...]
    gradients: tuple[Gradient, ...]
    input_products: Mapping[Quantity, tuple[Back, ...]]
    input_bars: tuple[Quantity, ...]
    rows: tuple[Quantity, ...]
    bars: Mapping[Quantity, Quantity]


def plan_adjoint(program: CellProgram, adjoint: Adjoint) -> AdjointPlan:
    """The adjoint sweep of a cell."""
    return _Planner(program, adjoint).plan()


def no_adjoint() -> AdjointPlan:
    """Of a cell whose slope is zero almost everywhere."""
    return AdjointPlan((), {}, (), (), {}, (), (), {})


def adjoint_of(program: CellProgram) -> Adjoint | None:
    """The reverse sweep over the step, in all its inputs; None where the slope is zero almost everywhere.

    Raises:
        UnsupportedError: nothing that the step returns depends on a row, or no slope leads there.
    """
    adjoint = reverse_sweep(program.step)
    silent = [row.target.name for row in program.rows if row.target not in adjoint.cotangents]
    used = {line.target for line in program.step.needed_for(program.new).assignments}
    deaf = adjoint.cotangents.keys().isdisjoint((*program.old, *program.inputs, *program.past))
    if deaf and all(row.target in used for row in program.rows):
        return None
    unheard = [q.name for q in program.inputs if adjoint.cotangents.keys().isdisjoint((q, *program.past_of(q)))]
    if silent or unheard:
        names = ", ".join(silent or unheard)
        through = any(row.target in used for row in program.rows if row.target.name in silent)
        flat = ", except through functions whose slope is zero almost everywhere" if through else ""
        raise UnsupportedError(f"nothing that the step returns depends on {names}{flat}")
    return adjoint


@dataclass
class _Planner:
    """Goes through the lines of the adjoint once, and keeps each cotangent as a form in pivots."""

    program: CellProgram
    adjoint: Adjoint
    named: Mapping[Expr, Quantity] = field(default_factory=dict)
    mixed: set[Quantity] = field(default_factory=set)
    known: dict[Quantity, tuple[Scaled, ...]] = field(default_factory=dict)
    coefficients: dict[int, Scaled] = field(default_factory=dict)
    gathered: list[Gather] = field(default_factory=list)

    def plan(self) -> AdjointPlan:
        """All parts."""
        bars = self.adjoint.cotangents
        self.named = named_values(self.program.step)
        self.mixed = {bars[value] for value in self.named.values() if value in bars and value.shape}
        about = {bar: quantity for quantity, bar in bars.items()}
        self.rows = tuple(bars[row.target] for row in self.program.rows)
        self.seeds = tuple(self._seed(self.adjoint.seeds[q]) for q in self.program.new)
        self.known |= {seed: (Scaled(seed, Integer(1)),) for seed in self.seeds}
        self._pass_seeded_rows()
        carried = {bars[q]: place for place, q in enumerate(self.program.old) if q in bars}
        carries: list[Carry] = []
        sent: list[SendBack] = []
        gradients: list[Gradient] = []
        input_products: dict[Quantity, tuple[Back, ...]] = {}
        kept = {old: place for place, old in enumerate(self.program.old) if self.program.past_of(old)}
        for line in self.adjoint.program.assignments:
            quantity = about[line.target]
            source = quantity.source if isinstance(quantity, Past) else quantity
            if source in kept:
                sent.append(SendBack((line.target,), quantity, kept[source], self._form(line)))
            elif line.target in carried:
                carries.append(Carry((line.target,), carried[line.target], self._form(line)))
            elif source in self.program.inputs:
                input_products[quantity] = self._form(line).products
            elif quantity.role is Role.PARAMETER:
                gradients += self._gradients(line, quantity)
            else:
                self._pass(line)
        written = {*(carry.place for carry in carries), *kept.values()}
        for old, place in kept.items():
            if old in bars and old not in {back.value for back in sent}:
                sent.append(SendBack((), old, place, LinearForm((Scaled(bars[old], Integer(1)),), ())))
        for place, old in enumerate(self.program.old):
            if place not in written:
                seed = tuple(Scaled(bars[old], Integer(1)) for _ in range(old in bars))
                carries.append(Carry((), place, LinearForm(seed, ())))
        loop = self._loop(carries, sent, gradients)
        return AdjointPlan(
            self.seeds,
            self.coefficients,
            loop,
            tuple(gradients),
            input_products,
            tuple(bars[q] for q in input_products),
            self.rows,
            bars,
        )

    def _seed(self, seed: Quantity) -> Quantity:
        """Running cotangent of a state; where that of a row is the same quantity, it gets a name of its own."""
        return seed.renamed(f"{seed.name}_out", meaning=seed.meaning) if seed in self.rows else seed

    def _pass_seeded_rows(self) -> None:
        """Rows that are new states and nothing else: their cotangents are what comes from outside."""
        for new, seed in zip(self.program.new, self.seeds, strict=True):
            bar = self.adjoint.seeds[new]
            if bar in self.rows and bar not in self.known:
                self.gathered.append(Gather((bar,), bar, LinearForm((Scaled(seed, Integer(1)),), ())))
                self.known[bar] = (Scaled(bar, Integer(1)),)

    def _pass(self, line: Assignment) -> None:
        """Remember a cotangent between the states and the rows: as one coefficient, or as a pivot of its own."""
        form = self._form(line)
        simple = len(form.scaled) == 1 and not form.products and not form.inner and line.target not in self.mixed
        if line.target in self.rows and simple and shape_of(form.scaled[0].coefficient) == line.target.shape:
            (scaled,) = form.scaled
            self.coefficients[self.rows.index(line.target)] = replace(scaled, lines=(*scaled.lines, line.target))
            self.known[line.target] = (Scaled(scaled.pivot, line.target),)
        elif simple and line.target not in self.rows:
            self.known[line.target] = tuple(replace(s, lines=(*s.lines, line.target)) for s in form.scaled)
        else:
            self.gathered.append(Gather((line.target,), line.target, form))
            self.known[line.target] = (Scaled(line.target, Integer(1)),)

    def _form(self, line: Assignment) -> LinearForm:
        """The line over pivots; several ways to one pivot are one coefficient."""
        value = self._value(line.target)
        parts = [(leaf, by) for leaf, by in elementwise_partials(value) if isinstance(leaf, matvec | tap_backs)]
        products = [self._product(leaf, by) for leaf, by in parts]
        scaled, inner = gathered(map(self._of_row, terms_of(value, lambda bar: self.known.get(bar, ()))))
        return LinearForm(scaled, self._runs(products), inner)

    def _value(self, bar: Quantity) -> Expr:
        """A line of the adjoint, with the names that values of the step have."""
        return self.adjoint.program.value(bar).xreplace(self.named)

    def _of_row(self, term: Scaled) -> Scaled:
        """An inner product with a row's coefficient and a pivot is the sum over that row, once it is scaled."""
        if isinstance(term, Inner) and term.weight in self.rows:
            return replace(term, pivot=term.weight, weight=Integer(1))
        return term

    def _product(self, node: matvec | tap_backs, partial: Expr) -> Back:
        matrix, bar = node.args
        assert partial == 1 and bar in self.rows, "a product is a term of a row"
        return Back((self.rows.index(bar),), (matrix if isinstance(node, tap_backs) else matrix.args[0],))

    def _runs(self, products: list[Back]) -> tuple[Back, ...]:
        """Products of neighbouring rows with neighbouring matrices as one."""
        runs: list[Back] = []
        layout = self.program.layout
        for product in sorted(products, key=lambda p: (*p.rows, *(layout.place(m)[0].name for m in p.matrices))):
            for place, run in enumerate(runs):
                beside = self.program.adjoining(run.rows, product.rows)
                if beside and layout.joinable(run.matrices[-1], product.matrices[0]):
                    runs[place] = Back(run.rows + product.rows, run.matrices + product.matrices)
                    break
            else:
                runs.append(product)
        return tuple(runs)

    def _gradients(self, line: Assignment, parameter: Quantity) -> list[Gradient]:
        """Terms of the gradient over rows and pivots."""
        found = []
        for leaf, partial in elementwise_partials(self._value(line.target)):
            for bar, coefficient in _bars_of(leaf, partial):
                if bar not in self.known:
                    continue
                for way in self._materialized(bar):
                    found.append(Gradient(parameter, line.target, way.pivot, coefficient * way.coefficient))
        return found

    def _merged_scales(self, one: BackwardOperation, other: BackwardOperation) -> BackwardOperation | None:
        if not isinstance(one, ScaleRows) or not isinstance(other, ScaleRows):
            return None
        if one.pivot != other.pivot or not self.program.adjoining(one.rows, other.rows):
            return None
        return ScaleRows(one.lines + other.lines, one.rows + other.rows, one.pivot)

    def _materialized(self, bar: Quantity) -> tuple[Scaled, ...]:
        """A cotangent over what has a value at every step once the loop is done: rows and pivots."""
        known = self.known.get(bar, ())
        if not known or bar in self.rows or bar in self.seeds or known == (Scaled(bar, Integer(1)),):
            return tuple(Scaled(bar, Integer(1)) for _ in known)
        found = tuple(terms_of(self._value(bar), self._materialized))
        assert not any(isinstance(term, Inner) for term in found), "what holds inner products is a pivot"
        return found

    def _loop(
        self, carries: list[Carry], sent: list[SendBack], gradients: list[Gradient]
    ) -> tuple[BackwardOperation, ...]:
        """Order of the loop: a state's running cotangent is overwritten once nobody reads it any more."""
        rank = {line.target: place for place, line in enumerate(self.adjoint.program.assignments)}
        schedule = Schedule[BackwardOperation](self._merged_scales)
        for row, scaled in self.coefficients.items():
            bar = self.rows[row]
            schedule.add(ScaleRows((bar,), (row,), scaled.pivot), rank[bar], {bar}, {scaled.pivot})
        for gather in self.gathered:
            schedule.add(gather, rank.get(gather.target, -1), {gather.target}, self._read(gather.form))
        paths = dict.fromkeys(g.bar for g in gradients if g.bar not in self.rows)
        for bar in paths:
            schedule.add(KeepPivot((bar,), bar), len(rank), (), {bar})
        for back in sent:
            schedule.add(back, max((rank[line] for line in back.lines), default=-1), (), self._read(back.form))
        first = schedule.ordered()
        return (*first, *self._ordered_carries(carries, rank))

    def _read(self, form: LinearForm) -> Iterator[Quantity]:
        yield from form.pivots
        for scaled in form.scaled:
            if scaled.coefficient in self.rows:
                yield scaled.coefficient
        for product in form.products:
            yield from (self.rows[row] for row in product.rows)

    def _ordered_carries(self, carries: list[Carry], rank: Mapping[Quantity, int]) -> list[Carry]:
        """Each overwrites its seed once no other reads it; those that read each other's all wait beside."""
        waiting = sorted(carries, key=lambda carry: max((rank[line] for line in carry.lines), default=-1))
        order: list[Carry] = []
        while waiting:
            free = next((carry for carry in waiting if not self._is_read(carry, waiting)), None)
            if free is None:
                return [*order, *(replace(carry, staged=True) for carry in waiting)]
            waiting.remove(free)
            order.append(free)
        return order

    def _is_read(self, carry: Carry, others: list[Carry]) -> bool:
        seed = self.seeds[carry.place]
        return any(seed in self._read(other.form) for other in others if other is not carry)


def _bars_of(leaf: Expr, partial: Expr) -> Iterator[tuple[Quantity, Expr]]:
    """Pairs (cotangent, coefficient) in one leaf of a gradient, sums over components left to the sum over the batch."""
    if isinstance(leaf, Quantity):
        yield leaf, partial
    elif isinstance(leaf, outer | tap_outers):
        yield leaf.args[0], partial * leaf.args[1]
    elif isinstance(leaf, dot | total):
        inner = leaf.args[0] * leaf.args[1] if isinstance(leaf, dot) else leaf.args[0]
        for part, slope in elementwise_partials(inner):
            yield part, partial * slope
    elif any(quantity.role is Role.COTANGENT for quantity in symbols_of(leaf)):
        raise UnsupportedError(f"the gradient {leaf} has no form in the emitted sweep")

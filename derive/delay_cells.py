r"""The linearly implicit step of a delay equation as a recurrent cell, with its matrices gathered.

Of $\dot s = A s + \sum_k B_k\, r(t-\tau_k) + \sum_k C_k\, x(t-\sigma_k) + \phi$ with $r = G(s)$ the scheme makes
$(I - hA)\, s_n = s_{n-1} + h\,(\dots)$. Its solution is linear in everything that a step reads: each of these has a
matrix of its own, $W_s = (I - hA)^{-1}$ and $W_v = h\, W_s K_v$, which no step changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sympy import Add, Expr, Integer, S

from derive.delay import LINEARLY_IMPLICIT, Delay, DelayODE
from derive.delay_steps import delay_step, is_fixed, linear_part, scalars_of
from derive.errors import SpecError, UnsupportedError
from derive.operators import identity_like, linear_solve, matmul, matvec, shape_of
from derive.past_values import AnyLag, Past, lag, past
from derive.program import Builder, Program, symbols_of
from derive.recurrence import Recurrence
from derive.schemes import scheme_by_name
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role, with_index

Readout = tuple[Quantity, Expr]


@dataclass(frozen=True)
class DelayCell(Recurrence):
    """A recurrent cell that is a step of a delay equation; made by `delay_cell`.

    Attributes:
        equation: what it discretizes.
        rate: right-hand side at the end of a step, in what the step reads and computes.
        sources: what the step reads of states and inputs -> the same in the quantities of the scheme's own step.
    """

    equation: DelayODE | None = None
    rate: Expr = S.Zero
    sources: Mapping[Quantity, Expr] = field(default_factory=dict, hash=False)

    @property
    def explained_by(self) -> tuple[str, str]:
        """The sections on the equation stand before those of a cell."""
        return "delay_cell_explanation", "explain_delay_cell"

    @property
    def listed(self) -> tuple[Quantity, ...]:
        """What the equation reads a delay ago, and delays with a name."""
        assert self.equation is not None
        named = (delay for delay in self.equation.every_delay if isinstance(delay, Quantity))
        return (*self.equation.delayed, *self.equation.delayed_inputs, *named)


def delay_cell(
    equation: DelayODE, readout: Readout | None = None, *, lags: Mapping[Quantity, AnyLag] | None = None
) -> DelayCell:
    r"""The cell of a delay equation with inputs, by the linearly implicit Euler scheme.

    Args:
        equation: of one unknown, with a matrix times the unknown in its right-hand side.
        readout: (r, G(s)): what is read a delay ago, and given out; the unknown itself unless given.
        lags: delay with a name -> its steps: a whole number, or `lag(...)` of the constructor. Unless given, the
            constructor is told the steps of a delay tau as tau_steps.

    Raises:
        SpecError: no matrix to invert, or a read-out that is none.
        UnsupportedError: several unknowns, the time in the right-hand side, another scheme.
    """
    return _Gathering(equation, readout, dict(lags or {})).cell()


class _Gathering:
    """Writes the cell."""

    def __init__(self, equation: DelayODE, readout: Readout | None, lags: dict[Quantity, AnyLag]) -> None:
        refused = _outside(equation)
        if refused:
            raise UnsupportedError(
                f"a cell of a delay equation with {' and '.join(refused)}; allowed: one unknown, no time in the "
                f"right-hand side, scheme={LINEARLY_IMPLICIT!r}; other steps are written as a Recurrence, line by line"
            )
        self.equation, self.lags, self.builder = equation, lags, Builder()
        self.rest: Expr = Integer(0)
        (self.unknown,) = equation.state
        self.old = _at(self.unknown, "n-1", Role.STATE)
        self.table: dict[Expr, Quantity] = {self.unknown: self.old}
        self.table |= {x: _at(x, "n", Role.INPUT) for x in equation.inputs}
        self.readout = readout
        self.memory = _at(readout[0], "n-1", Role.STATE) if readout else None
        if readout and (symbols_of(readout[1]) != {self.unknown} or readout[0].shape != self.unknown.shape):
            raise SpecError(f"the read-out {readout[0].name} = {readout[1]} is no function of {self.unknown.name}")

    def cell(self) -> DelayCell:
        """All lines."""
        let, velocity = self.builder.let, self.equation.velocity[0]
        matrix, rest = linear_part(self.unknown, velocity)
        if len(shape_of(matrix)) != 2:
            raise SpecError(
                f"nothing in the equation of {self.unknown.name} is a matrix times {self.unknown.name}; add "
                f"matvec(A, {self.unknown.name}): its cell multiplies by the inverse of I - h A"
            )
        name = self.unknown.name
        index = self.unknown.latex
        implicit = let("M", identity_like(matrix) - STEP_SIZE * matrix, meaning="I - h A", reason="implicit part")
        inverse = let(
            f"W_{name}",
            linear_solve(implicit, identity_like(implicit)),
            latex=with_index("W", index),
            meaning=f"{name} to itself",
            reason="M s_n = what is known",
        )
        new = let(
            f"{name}_next",
            matvec(inverse, self.old) + self._terms(inverse, rest),
            latex=with_index(index, "n"),
            meaning=f"{self.unknown.meaning or name} after the step",
            reason="every term times W",
        )
        olds, news = [self.old], [new]
        if self.readout and self.memory is not None:
            quantity, value = self.readout
            value = value.xreplace({self.unknown: new})
            olds.append(self.memory)
            news.append(let(f"{quantity.name}_next", value, latex=with_index(quantity.latex, "n"),
                            meaning=f"{quantity.meaning or quantity.name} after the step"))  # fmt: skip
        inputs = tuple(_at(x, "n", Role.INPUT) for x in self.equation.inputs)
        step = self.builder.build(news)
        return DelayCell(
            step,
            tuple(olds),
            tuple(news),
            inputs,
            news[-1],
            equation=self.equation,
            rate=matvec(matrix, new) + self.rest,
            sources=self._sources(step),
        )

    def _sources(self, step: Program) -> dict[Quantity, Expr]:
        """What the step reads, in the quantities of the scheme's own step."""
        made = delay_step(self.equation)
        found: dict[Quantity, Expr] = {self.old: made.old[0]}
        for read in made.reads:
            (value,), steps = read.values, self._steps(read.delay)
            found.setdefault(past(self.old, steps), value)
            if self.readout and self.memory is not None:
                found[past(self.memory, steps)] = self.readout[1].xreplace({self.unknown: value})
        for x in self.equation.inputs:
            found[_at(x, "n", Role.INPUT)] = x
        for delayed in self.equation.delayed_inputs:
            found[self._past(delayed)] = delayed
        return {q: value for q, value in found.items() if q in step.inputs}

    def _terms(self, inverse: Quantity, rest: Expr) -> Expr:
        """What is known besides the old value, times h W."""
        gathered: dict[Quantity, Expr] = {}
        fixed, other = [], []
        for term in Add.make_args(rest.expand(deep=False)) if rest != 0 else ():
            scale, product = scalars_of(term)
            vector = self._vector(product.args[1]) if isinstance(product, matvec) else None
            if is_fixed(term):
                fixed.append(term)
            elif isinstance(product, matvec) and vector is not None and is_fixed(scale * product.args[0]):
                gathered[vector] = gathered.get(vector, Integer(0)) + scale * product.args[0]
            else:
                other.append(term)
        name = self.unknown.name
        owners = [self.old, *(v.source if isinstance(v, Past) else v for v in gathered)]
        total: Expr = Integer(0)
        for (vector, matrix), owner in zip(gathered.items(), owners[1:], strict=True):
            alone = owners.count(owner) == 1
            own = owner.name if alone else f"{owner.name}_before" if vector == self.old else vector.name
            letter = _letter(owner) if alone else f"{_letter(owner)},{_steps_latex(vector)}"
            made = self.builder.let(f"W_{own}", STEP_SIZE * matmul(inverse, matrix), latex=with_index("W", letter),
                                    meaning=f"{vector.name} to {name}", reason="h W times its matrix")  # fmt: skip
            total += matvec(made, vector)
            self.rest += matvec(matrix, vector)
        self.rest += Add(*fixed)
        if fixed:
            total += self.builder.let(f"theta_{name}", STEP_SIZE * matvec(inverse, Add(*fixed)),
                                      latex=with_index(r"\theta", self.unknown.latex), meaning=f"bias of {name}",
                                      reason="h W times what is constant")  # fmt: skip
        return total + self._explicit(inverse, Add(*other))

    def _explicit(self, inverse: Quantity, other: Expr) -> Expr:
        """Terms that are not linear: at the values that are known."""
        if other == 0:
            return other
        value = other.xreplace({**self.table, **{q: self._past(q) for q in self._delayed}})
        explicit = self.builder.let("g", value, meaning="what is not linear", reason="explicit part")
        self.rest += explicit
        gain = self.builder.let("W_g", STEP_SIZE * inverse, latex=with_index("W", "g"), meaning="g to the unknown")
        return matvec(gain, explicit)

    def _vector(self, value: Expr) -> Quantity | None:
        """What a matrix multiplies, as a quantity that a step reads; None where it is something else."""
        if value in self._delayed:
            return self._past(value)
        found = next((q for q in self._delayed if self.readout and value == self._read_out(q)), None)
        if found is not None and self.memory is not None:
            return past(self.memory, self._steps(self.equation.delayed[found][1]))
        return self.table.get(value)

    def _read_out(self, delayed: Quantity) -> Expr:
        assert self.readout is not None
        return self.readout[1].xreplace({self.unknown: delayed})

    @property
    def _delayed(self) -> dict[Quantity, tuple[Quantity, Delay]]:
        return {**self.equation.delayed, **self.equation.delayed_inputs}

    def _past(self, delayed: Quantity) -> Quantity:
        owner, delay = self._delayed[delayed]
        return past(self.table[owner], self._steps(delay))

    def _steps(self, delay: Delay) -> AnyLag:
        """Steps of a delay."""
        if isinstance(delay, int):
            return delay
        return self.lags.get(delay) or lag(f"{delay.name}_steps", latex=rf"m_{{{delay.latex}}}")


def _outside(equation: DelayODE) -> list[str]:
    """What an equation has that no cell is made of."""
    names = ", ".join(q.name for q in equation.state)
    found = [f"{len(equation.state)} unknowns, {names}"] if len(equation.state) > 1 else []
    found += [f"the time {equation.time.name} in the right-hand side"] if equation.time is not None else []
    found += [] if equation.linearly_implicit else [f"the scheme {scheme_by_name(equation.scheme).title}"]
    return found


def _at(quantity: Quantity, index: str, role: Role) -> Quantity:
    """The quantity of a step."""
    return quantity.renamed(quantity.name, with_index(quantity.latex, index), role, quantity.meaning)


def _letter(owner: Quantity) -> str:
    """What is written behind a matrix for the vector that it multiplies."""
    return owner.latex.partition("_")[0]


def _steps_latex(vector: Quantity) -> str:
    """How many steps ago a vector was."""
    if not isinstance(vector, Past):
        return "0" if vector.role is Role.INPUT else "1"
    return str(vector.lag) if isinstance(vector.lag, int) else vector.lag.latex

"""Section on optimal control: the Riccati equation of linear two-point problems, by a = P x + s, and what it gives."""

from __future__ import annotations

from sympy import Expr, Integer

from derive.control import OptimalControl
from derive.control_checks import pointwise, slope_check, variation, velocity
from derive.control_feedback import Feedback, Pair, feedback_of, per_state
from derive.control_sections import Results, at, formula, valued
from derive.control_solution import write_solution
from derive.control_transport import Transport
from derive.control_words import VALUE, Words, clock_of
from derive.derivation import Kind
from derive.lagrangian import StepNames
from derive.latex import plain
from derive.linear_forms import distributed
from derive.numbering import Author
from derive.operators import transpose
from derive.phase_space import paired
from derive.symbols import Quantity

LEAD = "The two-point problem becomes one backward and one forward pass."


def write_riccati(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """Section: the Riccati equation, the feedback and the value of the best control; nothing unless all is linear."""
    found = feedback_of(control)
    if found is None:
        return {}
    results: Results = {}
    for costate, value in found.ansatz.items():
        author.relation(
            f"ansatz for {costate.name}",
            Kind.DEFINITION,
            f"{costate.latex} = {formula(value)}",
            text=f"{costate} = {plain(value)}",
            reason="states and costates of the optimal control solve a linear two-point problem"
            + (", and so do their means over the population" if control.population else "")
            + ("; the matrix is symmetric" if len(found.blocks) > len(found.pairs) else ""),
            name=names.joined(f"ansatz_{costate.name}"),
        )
    writer = _Riccati(author, found, names)
    for pair in found.pairs:
        results |= writer.equation(pair)
    for pair in found.pairs:
        results |= writer.end(pair)
    if not found.homogeneous:
        for unknown in found.costates:
            results |= writer.offset(unknown)
    for quantity in found.controls:
        results |= writer.feedback(quantity)
    if found.homogeneous:
        results |= writer.bellman()
    results |= write_solution(author, found, names)
    author.close(f"The Riccati equation{names.title}", LEAD)
    return results


class _Riccati:
    """Writes the relations one after the other."""

    def __init__(self, author: Author, found: Feedback, names: StepNames) -> None:
        self.author, self.found, self.names = author, found, names
        self.transport = Transport(found)
        self.mentioned = (*found.velocities, *found.velocities.values(), *found.blocks.values())

    def _name(self, word: str, block: Quantity) -> str:
        """riccati of P, riccati_s_v of P_s_v."""
        return "_".join([word, *block.name.split("_")[1:]])

    def _left(self, pair: Pair, dotted: bool) -> tuple[str, str]:
        """P_ij or its derivative, times x_j where that is a vector, in LaTeX and in plain characters."""
        block, column = self.found.blocks[pair], pair[1]
        letter = velocity(block).latex if dotted else block.latex
        text = f"{block}'" if dotted else str(block)
        return (f"{letter} {column.latex}", f"{text} {column}") if column.shape else (letter, text)

    def equation(self, pair: Pair) -> Results:
        """The rate of one block."""
        block, column = self.found.blocks[pair], pair[1]
        value = per_state(self.found.rates[pair] or Integer(0), column)
        shown, text = self._left(pair, dotted=True)
        every = (rf"\quad\text{{for every }} {column.latex}", f" for every {column}") if column.shape else ("", "")
        self.author.relation(
            f"Riccati equation of {block.name}",
            Kind.IDENTITY,
            f"{shown} = {formula(value)}{every[0]}",
            text=f"{text} = {plain(value)}{every[1]}",
            reason="derivative of the ansatz in time, with both velocities put in; checked against the transport of "
            "the subspace that it describes by the phase flow",
            name=self.names.joined(self._name("riccati", block)),
            check=pointwise(self.transport.rate_of(pair), value, *self.mentioned, *self.found.offsets.values()),
        )
        return {self._name("riccati", block): value}

    def end(self, pair: Pair) -> Results:
        """What one block ends with."""
        block, (row, column) = self.found.blocks[pair], pair
        last, way, moment = self.found.lasts[pair] or Integer(0), variation(row), self.found.control.end
        value = per_state(last, column)
        shown, text = self._left(pair, dotted=False)
        one = {column: column} if column.shape else {column: column.renamed("unit_of_state")}
        right = paired(way, value if column.shape else value * one[column])
        self.author.relation(
            f"end of {block.name} at {moment.name}",
            Kind.IDENTITY,
            f"{at(shown, moment)} = {valued(value, moment)}",
            text=f"{text} at {moment} = {plain(value)}",
            reason="the part of the transversality condition that is linear in the state",
            name=self.names.joined(self._name("riccati_end", block)),
            check=slope_check(paired(way, self.found.gradients[row]), one, right),
        )
        return {self._name("riccati_end", block): value}

    def offset(self, unknown: Quantity) -> Results:
        """Rate and end of one offset."""
        offset, moment = self.found.offsets[unknown], self.found.control.end
        rate, end = self.found.offset_rates[unknown], self.found.offset_lasts[unknown]
        self.author.relation(
            f"offset {offset.name}",
            Kind.IDENTITY,
            rf"{velocity(offset).latex} = {formula(rate)}, \quad {at(offset.latex, moment)} = {formula(end)}",
            text=f"{offset}' = {plain(rate)}, {offset}({moment}) = {plain(end)}",
            reason="the part without the state of the same equation; checked by the transport of the affine subspace",
            name=self.names.joined(self._name("offset", offset)),
            check=pointwise(
                self.transport.offset_rate_of(unknown), rate, *self.mentioned, *self.found.offsets.values()
            ),
        )
        return {self._name("offset", offset): rate, self._name("offset_end", offset): end}

    def feedback(self, quantity: Quantity) -> Results:
        """One optimal control as a function of the state."""
        whole = self.found.controls[quantity].xreplace(self.found.ansatz)
        value, name = distributed(whole), f"feedback_{quantity.name}"
        self.author.relation(
            f"feedback {quantity.name}",
            Kind.IDENTITY,
            rf"{quantity.latex}^* = {formula(value)}",
            text=f"{quantity}* = {plain(value)}",
            reason="the optimal control as a function of the state",
            name=self.names.joined(name),
            check=pointwise(whole, value),
        )
        return {name: value}

    def bellman(self) -> Results:
        """V = x . P x/2 solves the Hamilton-Jacobi-Bellman equation."""
        found, letter, clock = self.found, Words(self.found.control).letter(VALUE), clock_of(self.found.control)
        energy = found.control.hamiltonian.energy.xreplace(dict(found.controls)).xreplace(found.ansatz)
        value, symmetric = -distributed(energy), self._symmetric()
        left = sum((paired(x, rate or Integer(0)) / 2 for (x, _), rate in found.rates.items()), Integer(0))
        worth = " + ".join(rf"{x.latex} \cdot {a.latex}" for x, a in found.costates.items())
        text = " + ".join(f"{x} . {a}" for x, a in found.costates.items())
        self.author.relation(
            "Hamilton-Jacobi-Bellman equation",
            Kind.IDENTITY,
            rf"{letter} = \tfrac12 \left({worth}\right): \qquad "
            rf"\partial_{{{clock.latex}}} {letter} = -H = {formula(value)}",
            text=f"{letter} = ({text})/2: d{letter}/d{clock} = -H = {plain(value)}",
            reason=f"{letter} is what is still to be paid from a state on, the costate its gradient, the controls are "
            "the best ones; the matrix of the ansatz is symmetric, as it ends symmetric; the Riccati equation on the "
            "left",
            name=self.names.joined("bellman"),
            check=pointwise(left.xreplace(symmetric), value.xreplace(symmetric)),
        )
        return {"bellman": value}

    def _symmetric(self) -> dict[Quantity, Expr]:
        """Each block as the mean of itself and its mirror image."""
        blocks = self.found.blocks
        mirrored = {pair: blocks[pair[::-1]] for pair in blocks}
        turned = {pair: transpose(m) if len(m.shape) == 2 else m for pair, m in mirrored.items()}
        return {block: (block + turned[pair]) / 2 for pair, block in blocks.items()}

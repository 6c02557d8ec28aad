"""The running cotangents of the states: what they begin with, and what is handed back of them."""

from __future__ import annotations

from codegen.cells.lowering import CellText
from derive.symbols import Quantity


class RunningBars:
    """The cotangents that go from step to step in the loop of an adjoint sweep."""

    def __init__(self, cell: CellText) -> None:
        self.cell, self.seeds = cell, cell.plan.adjoint.seeds
        self.variables: dict[str, str] = {}

    def state_bars(self) -> list[str]:
        """Names of the cotangents of the final states, inputs that are kept among them."""
        names, program = self.cell.names, self.cell.program
        bars = [
            names(f"{seed.name}_kept", seed) if old in self.cell.past else seed.name
            for old, seed in zip(program.old, self.seeds, strict=False)
        ]
        return [*bars, *(names(f"bar_{name}") for name in self.cell.past_input)]

    def all_of(self, old: Quantity) -> str:
        """Name of the cotangents of all values of a state, the oldest kept one first."""
        return self.cell.names(f"bar_{self.cell.past[old].all}", ("bar", old))

    def seeded(self, bar_output: str) -> list[str]:
        """Statements that give the running cotangents what comes from outside of the sweep."""
        cell, program = self.cell, self.cell.program
        if program.stateless:
            return [f"{self.seeds[0].name} = {bar_output}.flatten(0, 1){cell.comment([cell.chain(0)])}"]
        lines = []
        for place, (old, seed) in enumerate(zip(program.old, self.seeds, strict=True)):
            judged = place == program.output
            comment, given = cell.comment([cell.chain(place)]), f" + {bar_output}[-1]" if judged else ".clone()"
            if old not in cell.past:
                lines.append(f"{seed.name} = {seed.name}{given}{comment}")
                continue
            past, every, kept = cell.past[old], self.all_of(old), self.state_bars()[place]
            steps, batch = cell.names("steps"), cell.names("batch")
            lines.append(f"{every} = {cell.x}.new_zeros({past.depth} + {steps}, {batch}, {cell.width_of(old)})")
            lines += [f"{every}[{past.depth}:] = {bar_output}{comment}"] if judged else []
            lines.append(f"{every}[{steps}:] += {past.kept(kept)}{comment}")
            lines.append(f"{cell.names(f'{every}_rows')} = {every}.unbind(0)")
            self.variables = {seed.name: f"{cell.names(f'{every}_rows')}[{past.depth}:]", **self.variables}
        return lines

    def handed_back(self) -> list[str]:
        """The cotangents of the initial states, as text."""
        program, bars = self.cell.program, self.state_bars()
        for place, old in enumerate(program.old):
            if old in self.cell.past:
                past = self.cell.past[old]
                bars[place] = past.handed_back(f"{self.all_of(old)}[:{past.depth}]")
        return bars

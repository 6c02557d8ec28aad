"""A module around a recurrent cell whose step is linear in state and input: what it does in closed form."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from codegen.runtime.recurrent import Recurrent


class ClosedForm(NamedTuple):
    """The state after input k as start @ h_start + sum over j of inputs[j] @ x_j + constant.

    start (S, S), inputs (k + 1, S, I), constant (S,); S is the size of all states of the cell together.
    """

    start: Tensor
    inputs: Tensor
    constant: Tensor


class LinearRecurrent(Recurrent):
    """A recurrent module with the closed form of each layer and direction; inputs are counted from 0."""

    def transition(self, layer: int = 0, reverse: bool = False) -> ClosedForm:
        """One step of a layer: matrices of state and input, and what is added; read off from steps of unit vectors."""
        suffixes = self._suffixes(layer) if layer in range(self.num_layers) else []
        if reverse >= len(suffixes):
            found = f"layer={layer!r}, reverse={reverse!r}"
            allowed = f"layer 0 to {self.num_layers - 1}, reverse {'or not' if self.bidirectional else 'False'}"
            raise ValueError(f"{self.owner}: {found}; allowed: {allowed}")
        operands = self._operands(self.cell(), suffixes[reverse], layer, None)
        count, features = len(self.cell().states), self.hidden_size * self._directions if layer else self.input_size
        size = count * self.hidden_size
        units = torch.eye(size + features, dtype=operands[0].dtype, device=operands[0].device)
        units = torch.cat((units, torch.zeros_like(units[:1])))
        states = units[:, :size].split(self.hidden_size, 1)
        _, *after = self.cell().plain(units[:, size:].unsqueeze(0), *states, *operands)
        rows = torch.cat(after, 1)
        columns = (rows[:-1] - rows[-1]).mT
        return ClosedForm(columns[:, :size], columns[:, size:].unsqueeze(0), rows[-1])

    def spectral_radius(self, layer: int = 0, reverse: bool = False) -> Tensor:
        """Largest modulus of an eigenvalue of the matrix that a step applies to the state."""
        return torch.linalg.eigvals(self.transition(layer, reverse).start).abs().max()

    def closed_form(self, k: int, layer: int = 0, reverse: bool = False) -> ClosedForm:
        """The state after input number k, in the state before input 0 and the inputs 0 to k."""
        self._check_time("k", k)
        W, (C,), b = self.transition(layer, reverse)
        power, inputs, constant = W, [C], b
        for _ in range(k):
            inputs.append(W @ inputs[-1])
            power, constant = W @ power, W @ constant + b
        return ClosedForm(power, torch.stack(inputs[::-1]), constant)

    def impulse_response(self, t: int, layer: int = 0, reverse: bool = False) -> Tensor:
        """(S, I): the state t steps after a unit input, a column for each component of the input."""
        self._check_time("t", t)
        W, (C,), _ = self.transition(layer, reverse)
        return torch.linalg.matrix_power(W, t) @ C

    def _check_time(self, name: str, steps: int) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ValueError(f"{self.owner}: {name}={steps!r}; allowed: a whole number, 0 or more")

"""What `o, (h, c) = lstm(x)` returns: which states of which layer and direction stand where."""

import mpmath
import numpy as np
from sympy import Expr

from derive import IdentityCheck, Spec, input_, matvec, parameter, relation, state, tanh
from derive.convergence import Values
from derive.operators import Numeric

DECK = "LSTM theory and workflows, 'Some things worth noting'"
TORCH = "documentation of torch.nn.LSTM"
LAST, BOTH = "Last outputs, last states", "Two directions"
T = 3
x = [input_(f"x_{t}", "I", meaning=f"input {t}") for t in range(1, T + 1)]
h_0 = state("h_0", "H", meaning="state before the first input of a layer")
names = (("W_1", "U_1", "I"), ("W_2", "U_2", "H"))
layers = [(parameter(w, ("H", "H")), parameter(u, ("H", size))) for w, u, size in names]


def outputs(layer: int, inputs: list[Expr]) -> list[Expr]:
    """Of one layer that stands for any cell, h(t) = tanh(W h(t-1) + U x(t)), as expressions."""
    W, U = layers[layer]
    found: list[Expr] = [h_0]
    for entry in inputs:
        found.append(tanh(matvec(W, found[-1]) + matvec(U, entry)))
    return found[1:]


class Module:
    """Layers in numbers, with outputs and last states as torch returns them."""

    def __init__(self, known: Values) -> None:
        self.known = known

    def layer(self, layer: int, inputs: list[Numeric]) -> list[Numeric]:
        """The outputs of a layer, in the order in which it reads."""
        W, U = (self.known[weight] for weight in layers[layer])
        found, h = [], self.known[h_0]
        for entry in inputs:
            h = np.array([mpmath.tanh(a) for a in W.dot(h) + U.dot(entry)], dtype=object)
            found.append(h)
        return found

    def stacked(self) -> tuple[Numeric, Numeric]:
        """o (time, H) of the upper layer, and h (layers, H)."""
        lower = self.layer(0, [self.known[entry] for entry in x])
        upper = self.layer(1, lower)
        return np.stack(upper), np.stack([lower[-1], upper[-1]])

    def bidirectional(self) -> tuple[Numeric, Numeric]:
        """o (time, 2H) of one layer in both directions with the same weights, and h (2, H)."""
        inputs = [self.known[entry] for entry in x]
        ahead, back = self.layer(0, inputs), self.layer(0, inputs[::-1])
        return np.concatenate([np.stack(ahead), np.stack(back[::-1])], axis=1), np.stack([ahead[-1], back[-1]])

    def half(self, place: int) -> Numeric:
        """The backward half of an output of `bidirectional`."""
        found, _ = self.bidirectional()
        return found[place, found.shape[1] // 2 :]


below = outputs(0, list(x))
upper, back = outputs(1, below)[-1], outputs(0, list(x[::-1]))
weights = [weight for pair in layers for weight in pair]
SPEC = Spec(
    id="torch_io",
    class_name="",
    title="What a recurrent layer of torch takes and returns",
    source=f"{DECK}: o, (h, c) = self.lstm(x); {TORCH}",
    system=None,
    relations=(
        relation(
            "the last output is the last state of the upper layer",
            "identity",
            r"o_T = h^{(L)}_T = h[-1]",
            text=f"o[-1] = h[-1] = {upper}",
            reason="outputs are those of the last layer, states those of all layers; one direction only",
            name="last_output",
            value=upper,
            check=IdentityCheck(lambda known, _: Module(known).stacked()[0][-1], upper, (*x, h_0, *weights)),
            section=LAST,
        ),
        relation(
            "the state of a lower layer is no output",
            "identity",
            r"h[0] = h^{(1)}_T \ne o_T",
            text=f"h[0] = {below[-1]}",
            reason="h and c have an axis of layers, outputs have one of time",
            name="lower_state",
            value=below[-1],
            check=IdentityCheck(lambda known, _: Module(known).stacked()[1][0], below[-1], (*x, h_0, *weights)),
            section=LAST,
        ),
        relation(
            "the backward direction ends at the first output",
            "identity",
            r"h^{-} = o_1[H:], \qquad \text{not } o_T[H:]",
            text=f"last state backwards = o[0, H:] = {back[-1]}",
            reason="it reads from the end; outputs are put back into the order of time",
            name="backward_state",
            value=back[-1],
            check=IdentityCheck(lambda known, _: Module(known).half(0), back[-1], (*x, h_0, *weights)),
            section=BOTH,
        ),
        relation(
            "the backward half of the last output has seen one input",
            "identity",
            r"o_T[H:] = f(x_T)",
            text=f"o[-1, H:] = {back[0]}",
            reason="so many-to-one takes [o_T[:H], o_1[H:]], the two last states",
            name="backward_last",
            value=back[0],
            check=IdentityCheck(lambda known, _: Module(known).half(-1), back[0], (*x, h_0, *weights)),
            section=BOTH,
        ),
    ),
    statements=(
        (
            r"x: [T, B, I],\ o: [T, B, D H];\quad h, c: [L D, B, H];\quad \text{with batch\_first } x: [B, T, I],\ "
            r"o: [B, T, D H]",
            f"{TORCH}; the deck's [batch, sequence, features] needs batch_first=True (E004-4), states never have the "
            "batch first",
        ),
    ),
    no_module="`derive generate lstm_peephole` and `lstm` emit modules with the same layouts, and the same argument "
    "batch_first",
)

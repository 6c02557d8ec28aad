"""The constructor arguments of an emitted loop over steps."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.steps.facts import Facts
from derive.operators import show_shape
from derive.symbols import Quantity, Role


@dataclass(frozen=True)
class Argument:
    """One constructor argument."""

    name: str
    annotation: str
    default: str
    doc: str

    @property
    def text(self) -> str:
        """As it stands in the signature."""
        return f"{self.name}: {self.annotation}" + (f" = {self.default}" if self.default else "")


def arguments(facts: Facts) -> tuple[list[Argument], list[Argument]]:
    """(positional, keyword-only) constructor arguments."""
    positional = []
    if facts.network is not None and facts.network.per_layer:
        positional.append(
            Argument("blocks", "Iterable[nn.Module]", "", "one network per step, each (..., d) -> (..., d)")
        )
    elif facts.network is not None:
        call = "field(t, x)" if facts.network.takes_time else "field(x)"
        positional.append(Argument("field", "Callable[..., Tensor]", "", f"the field, called {call}"))
    keywords = [_parameter_argument(facts, q) for q in (*facts.layer_parameters, *facts.parameters, *facts.constants)]
    keywords += [Argument(str(size), "int", "", f"size {size} of the augmentation") for size in facts.augmented_sizes()]
    keywords.sort(key=lambda argument: bool(argument.default))
    if facts.layered:
        keywords.append(Argument("step_size", "float | Tensor", "1.0", "h"))
    else:
        keywords += [
            Argument("steps", "int", "", "number of steps from t0 to t1"),
            Argument("t0", "float | Tensor", "0.0", "initial time"),
            Argument("t1", "float | Tensor", "1.0", "final time"),
        ]
    keywords += _options(facts)
    return positional, keywords


def _options(facts: Facts) -> list[Argument]:
    options = []
    if facts.recurrence.starts:
        names = list(facts.recurrence.starts)
        options.append(Argument("start", "str", repr(names[0]), f"how x_1 is made: {' or '.join(map(repr, names))}"))
    modes = "store, recompute, checkpoint" + (" or invert" if facts.inverse else "")
    options.append(Argument("memory", "str", "'store'", f"what the backward pass keeps: {modes}"))
    if facts.inverse is not None:
        doc = "error that rebuilt states may have (default 1e-6 in float64, 1e-3 in float32)"
        options.append(Argument("tol", "float | None", "None", doc))
    options.append(Argument("gradient", "str", "'derived'", "derived, or autograd through the plain steps"))
    return options


def _parameter_argument(facts: Facts, quantity: Quantity) -> Argument:
    default = facts.spec.defaults.get(quantity.name)
    text = "" if default is None else repr(float(default))
    shape = show_shape(quantity.shape)
    meaning = quantity.meaning or "parameter"
    if quantity.role is Role.CONSTANT:
        return Argument(quantity.name, "float", text, f"{meaning}, a number")
    if quantity.role is Role.LAYER_PARAMETER:
        kind = "float | Sequence[float] | Tensor" if facts.network is not None else "Tensor"
        rows = "one row per step" if facts.network is not None else "the leading axis counts the steps"
        return Argument(quantity.name, kind, text, f"{meaning}, {shape} per step; {rows}")
    return Argument(quantity.name, "float | Tensor" if not quantity.shape else "Tensor", text, f"{meaning}, {shape}")

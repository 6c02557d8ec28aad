"""The constructor arguments of an emitted loop over steps."""

from __future__ import annotations

from dataclasses import dataclass

from codegen.steps.draws import allowed_of
from codegen.steps.facts import Facts
from derive.operators import show_shape
from derive.symbols import Quantity, Role

BY_LINES = "derived, or autograd through the plain steps"
BY_STEP = (
    "derived (the reverse sweep goes from step to step, and autograd through the lines of one; with memory='store' the "
    "graphs of all steps are kept and there is no difference), or autograd through all plain steps at once"
)


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
    positional = _network_arguments(facts)
    numbers = (*facts.layer_parameters, *facts.parameters, *facts.constants, *facts.layer_constants)
    keywords = [_parameter_argument(facts, q) for q in numbers]
    keywords += [_weights_argument(q, place == 0) for place, q in enumerate(facts.weights)]
    keywords += [Argument(str(size), "int", "", f"size {size} of the augmentation") for size in facts.augmented_sizes()]
    keywords += [Argument(one.name, "int", one.default, one.doc) for one in facts.delays if one.name == one.value]
    keywords.sort(key=lambda argument: bool(argument.default))
    if facts.layered and facts.has_step_size:
        keywords.append(Argument("step_size", "float | Tensor", "1.0", "h, for all layers or one for each"))
    if not facts.layered:
        keywords += [
            Argument("steps", "int", "", "number of steps from t0 to t1"),
            Argument("t0", "float | Tensor", "0.0", "initial time"),
            Argument("t1", "float | Tensor", "1.0", "final time"),
        ]
    keywords += [*draw_options(facts), *_options(facts)]
    return positional, keywords


def _network_arguments(facts: Facts) -> list[Argument]:
    names = [network.name for network in facts.networks]
    if facts.layered and len(names) > 1:
        kind = f"Iterable[tuple[{', '.join(['nn.Module'] * len(names))}]]"
        doc = f"the networks ({', '.join(names)}) of each step, each (..., d) -> (..., d)"
        return [Argument("blocks", kind, "", doc)]
    if facts.layered and names:
        return [Argument("blocks", "Iterable[nn.Module]", "", "one network per step, each (..., d) -> (..., d)")]
    made = []
    for network in facts.networks:
        name = "field" if len(names) == 1 else f"field_{network.name}"
        call = f"{name}(t, x)" if network.takes_time else f"{name}(x)"
        made.append(Argument(name, "Callable[..., Tensor]", "", f"the field, called {call}"))
    return made


def draw_options(facts: Facts) -> list[Argument]:
    """How random draws are made."""
    found = []
    if any(not draw.quantity.shape for draw in facts.draws):
        doc = "whether a draw is made for each sample (axis 0 of x) or once for each layer: sample or layer"
        found.append(Argument("per", "str", "'sample'", doc))
    if any(draw.backward is not None for draw in facts.draws):
        doc = (
            "draws of the reverse sweep: same, or independent; what the sweep gives is then no gradient. "
            "Draws that are given decide for themselves"
        )
        found.append(Argument("backward", "str", "'same'", doc))
    return found


def _options(facts: Facts) -> list[Argument]:
    options = []
    if facts.spec.option:
        names, default = list(facts.spec.variants), facts.spec.default_option
        kind = type(default).__name__
        options.append(Argument(facts.spec.option, kind, repr(default), f"variant: {' or '.join(map(repr, names))}"))
    starts = list(facts.recurrence.starts)
    if facts.weights:
        doc = f"who makes the first steps: {', '.join(map(repr, starts))}, or 'auto', the first that keeps the order"
        options.append(Argument("start", "str", "'auto'", doc))
    elif starts:
        made = "x_1 is" if facts.layout.lags == 2 else f"x_1 … x_{facts.layout.lags - 1} are"
        options.append(Argument("start", "str", repr(starts[0]), f"how {made} made: {' or '.join(map(repr, starts))}"))
    others = ["invert"] * facts.rebuilds + ["exact"] * (facts.exact is not None)
    modes = ", ".join(["store", "recompute", "checkpoint", *others[:-1]])
    kept = f"{modes} or {others[-1]}" if others else modes
    options.append(Argument("memory", "str", "'store'", f"what the backward pass keeps: {kept}"))
    if facts.rebuilds:
        doc = "error that rebuilt states may have (default 1e-6 in float64, 1e-3 in float32)"
        options.append(Argument(facts.tol_name, "float | None", "None", doc))
    if facts.exact is not None:
        doc = "denominator of the weights p/q of the oldest state with memory='exact', 2 to 1024"
        options.append(Argument("q", "int", "256", doc))
    if facts.solves:
        options += _solver_options()
    doc = "whether a result that is not finite raises, naming the step"
    options.append(Argument("check_finite", "bool", "True", doc))
    options.append(Argument("gradient", "str", "'derived'", BY_STEP if facts.whole_graphs else BY_LINES))
    return options


def _weights_argument(quantity: Quantity, first: bool) -> Argument:
    """Of the weights of the field, the one of f_(n+1) leads."""
    more = "" if first else ", led by that of f_(n+1), 0 for an explicit scheme: one more than alphas"
    return Argument(quantity.name, "Sequence[float]", "", quantity.meaning + more)


def _solver_options() -> list[Argument]:
    doc = "largest residual |g(z) - z| / (1 + |z|) of a sample's equations z = g(z); not less than 8 eps of the dtype"
    kinds = (
        "newton (dense, with the derived pullback), or krylov (matrix-free, GMRES). Samples that the field couples "
        "(batch norm in training, attention or convolution along a batch axis) are found and solved together, above "
        "1024 numbers matrix-free"
    )
    return [
        Argument("tol", "float", "1e-10", doc),
        Argument("max_iter", "int", "50", "Newton iterations for the equations of one step; each reads one number"),
        Argument("solver", "str", "'newton'", kinds),
    ]


def _parameter_argument(facts: Facts, quantity: Quantity) -> Argument:
    default = facts.spec.defaults.get(quantity.name)
    text = "" if default is None else repr(float(default))
    shape = show_shape(quantity.shape)
    meaning = quantity.meaning or "parameter"
    if quantity.role is Role.CONSTANT:
        return Argument(quantity.name, "float", text, f"{meaning}, {allowed_of(facts, quantity)}")
    if quantity.role is Role.LAYER_CONSTANT:
        doc = f"{meaning}, {allowed_of(facts, quantity)}, for all steps or one for each"
        return Argument(quantity.name, "float | Sequence[float] | Tensor", text, doc)
    if quantity.role is Role.LAYER_PARAMETER:
        kind = "float | Sequence[float] | Tensor" if facts.networks else "Tensor"
        rows = "one row per step" if facts.networks else "the leading axis counts the steps"
        return Argument(quantity.name, kind, text, f"{meaning}, {shape} per step; {rows}")
    if quantity in facts.varying:
        rows = show_shape(("steps", *quantity.shape))
        shape = f"{shape}, or {rows} with a value for each step, that of its start held to its end"
    kind = "Tensor" if quantity.shape else "float | Tensor"
    if quantity in facts.varying and facts.stages:
        kind += " | Callable[..., Tensor]"
        shape += f", or a function of time {quantity.name}(t), read at the times of the stages"
    return Argument(quantity.name, kind, text, f"{meaning}, {shape}")

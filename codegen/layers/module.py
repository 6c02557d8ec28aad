"""The module class of a chain of layers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from codegen.exact_values import ExactValues, shown_argument, shown_arguments
from codegen.layers.rules import LayerWriter
from codegen.render import render
from codegen.steps.rules import Function, tuple_display
from codegen.views import common_view
from derive.chains import Chain, input_of, parameters_of
from derive.derivation import Derivation
from derive.errors import UnsupportedError
from derive.operators import show_shape
from derive.program import Program
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity
from derive.systems import Spec

SUPPORT = ("cotangents", "layers")
KEYWORDS = (
    'gradient: str = "derived"',
    "device: torch.device | str | None = None",
    "dtype: torch.dtype | None = None",
)


def chain_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a chain of layers.

    Raises:
        UnsupportedError: a layer whose parameters or sizes no module can hold; says what was read and is allowed.
    """
    module = ChainModule(spec, derivation)
    layers = [layer for chain in module.chains.values() for layer in chain.layers.values()]
    programs = [program for layer in layers for program in (layer, reverse_sweep(layer).program)]
    view = {
        "functions": module.functions(),
        "chains": module.table(),
        "methods": (module.constructor(), *module.shown(), *module.exact_values()),
        "class_doc": module.class_doc(),
    }
    entries = (*SUPPORT, *module.exact.support)
    return render("layer_module.py.jinja", {**view, **common_view(spec, derivation, programs, command, entries, ())})


@dataclass(frozen=True)
class Entry:
    """One option of the table of chains, as text: its name, and the rules of the hidden and the last layer."""

    option: str
    hidden: str
    last: str


class ChainModule:
    """Everything of an emitted chain that depends on the spec.

    Args:
        spec: what is emitted; its system is a chain, or one for each option.
        derivation: for the equation numbers.
    """

    def __init__(self, spec: Spec, derivation: Derivation) -> None:
        self.spec, self.derivation = spec, derivation
        self.chains = {str(name): system for name, system in spec.variants.items() if isinstance(system, Chain)}
        self.default = str(spec.default_option)
        self.exact = ExactValues(spec, derivation.numbers)
        self._check_layers()
        self.writers = {
            (option, kind): self._writer(option, kind, layer)
            for option, chain in self.chains.items()
            for kind, layer in chain.layers.items()
        }

    def _check_layers(self) -> None:
        numbers = [name for name in self.spec.variants if not isinstance(name, str)]
        if numbers:
            raise UnsupportedError(f"{self.spec.id}: the option {numbers[0]} is a number; those of a chain are names")
        if len({chain.hidden is None for chain in self.chains.values()}) > 1:
            raise UnsupportedError(f"{self.spec.id}: some options have hidden layers and some have none")
        for kind, layer in (item for chain in self.chains.values() for item in chain.layers.items()):
            size = input_of(layer).shape[0]
            if isinstance(size, str) and size == layer.outputs[0].shape[0]:
                raise UnsupportedError(
                    f"{self.spec.id}: the {kind} layer takes and gives vectors of one size {size}; name the two sizes "
                    "differently, or write a residual net as an ODE under forward_euler"
                )

    def _writer(self, option: str, kind: str, layer: Program) -> LayerWriter:
        """Layers that are the same program in several options are written once, under the first of them."""
        first = next(name for name, chain in self.chains.items() if chain.layers[kind] == layer)
        suffix = "" if all(chain.layers[kind] == layer for chain in self.chains.values()) else first
        if suffix and not f"_{suffix}".isidentifier():
            raise UnsupportedError(
                f"{self.spec.id}: the option {suffix!r} becomes part of a name; use letters, digits, _"
            )
        prefix = f"{first}.{kind}" if first else kind
        name = "_".join(part for part in (kind, suffix) if part)
        title = f"{kind.capitalize()} layer" + (f", {self.spec.option}={suffix!r}" if suffix else "")
        parameters = tuple(quantity for _, quantity, _ in self._parameters(layer))
        return LayerWriter(
            name, title, layer, parameters, lambda of, q: self.derivation.number_of(f"{prefix}.{of}.{q.name}")
        )

    def _parameters(self, layer: Program) -> list[tuple[str, Quantity, bool]]:
        """Name in the module, quantity, and whether it starts at zero, in the order of the stacks."""
        wanted, found = parameters_of(layer), []
        for stack in self.spec.stacks:
            rows = [quantity for quantity in stack.rows if quantity in wanted]
            if rows and (len(stack.rows) > 1 or stack.parts):
                raise UnsupportedError(
                    f"{self.spec.id}: {stack.name} joins several tensors; in a layer each stands alone"
                )
            found += [(stack.name, quantity, stack.initial == "zeros") for quantity in rows]
        named = {quantity for _, quantity, _ in found}
        return [*found, *((q.name, q, False) for q in wanted if q not in named)]

    def functions(self) -> tuple[Function, ...]:
        """Forward and backward of every kind of layer, each once."""
        distinct = {writer.name: writer for writer in self.writers.values()}
        written = [function for w in distinct.values() for function in (w.forward(), w.backward())]
        return tuple(function for function in written if function is not None)

    def table(self) -> tuple[Entry, ...]:
        """The table option -> rules."""
        return tuple(
            Entry(repr(option), self._rule(option, "hidden") if chain.hidden else "None", self._rule(option, "last"))
            for option, chain in self.chains.items()
        )

    def _rule(self, option: str, kind: str) -> str:
        writer = self.writers[option, kind]
        sizes = {input_of(writer.layer).shape[0]: repr("in"), writer.layer.outputs[0].shape[0]: repr("out")}
        shapes, zeros = [], []
        for name, quantity, zero in self._parameters(writer.layer):
            stray = [size for size in quantity.shape if isinstance(size, str) and size not in sizes]
            if stray:
                raise UnsupportedError(
                    f"{self.spec.id}: {quantity.name} has shape {show_shape(quantity.shape)}; allowed are numbers and "
                    f"the sizes of what goes into the layer and comes out: {', '.join(map(str, sizes))}"
                )
            axes = [str(s) if isinstance(s, int) else sizes[s] for s in quantity.shape]
            shapes.append(f"({name!r}, {tuple_display(axes) if axes else '()'})")
            zeros += [repr(name)] if zero else []
        backward = f"_backward_{writer.name}" if writer.backward() is not None else "None"
        parts = [tuple_display(shapes), tuple_display(zeros) if zeros else "()", f"_forward_{writer.name}"]
        return f"LayerRule({', '.join([*parts, str(len(writer.returned())), backward])})"

    def constructor(self) -> Function:
        """`__init__`: chooses the rules and the sizes."""
        option, owner = self.spec.option, self.spec.class_name
        own = [*([f"{option}: str = {self.default!r}"] if option else []), *self.exact.arguments]
        shown = f"{owner}: {option}"
        body = [f"self.{option} = one_of({shown!r}, {option}, tuple(_CHAINS))"] if option else []
        body += self.exact.assignments
        names, sizes = self._sizes()
        chosen = f"_CHAINS[self.{option}]" if option else "_CHAINS['']"
        body.append(f"super().__init__(*{chosen}, {sizes}, gradient=gradient, device=device, dtype=dtype)")
        parameters = ", ".join(["self", *names, "*", *own, *KEYWORDS])
        return Function("__init__", parameters, "None", "See the class.", tuple(body))

    def _sizes(self) -> tuple[list[str], str]:
        """Arguments that give sizes, and the source of all sizes."""
        chain = self.chains[self.default]
        if chain.hidden is not None:
            return ["sizes: Sequence[int]"], "sizes"
        names = [f"{name}: int" for name, shown in self._ends().items() if shown == name]
        return names, tuple_display(list(self._ends().values()))

    def shown(self) -> tuple[Function, ...]:
        """`extra_repr` with the option and the constants, where there are any."""
        option = self.spec.option
        return shown_arguments([*([shown_argument(option, self.default)] if option else []), *self.exact.shown])

    def exact_values(self) -> tuple[Function, ...]:
        """Where the parameters start, and how they are set to it; nothing where the spec gives no values."""
        if not self.spec.values:
            return ()
        tables = [q.name for q, value in self.spec.values.items() if isinstance(value, tuple)]
        if tables:
            raise UnsupportedError(
                f"{self.spec.id}: the values of {', '.join(tables)} are tables; layers have any size: write a "
                "rule in ROW and COLUMN"
            )
        layers = self.chains[self.default].layers
        found = []
        for kind, layer in layers.items():
            names = {q: [name] for name, q, _ in self._parameters(layer) if q in self.spec.values}
            doc = f"Exact values of the {kind} layer's parameters, by name; rows and columns count from 1."
            found.append(self.exact.method(f"{kind}_values", doc, names))
        body = ["super().reset_parameters()", "*before, last = self.holders()"]
        if "hidden" in layers:
            body += ["for holder in before:"]
            body += ["    set_exactly(self.owner, holder.named_parameters(), self.hidden_values)"]
        body += ["set_exactly(self.owner, last.named_parameters(), self.last_values)"]
        return (*found, Function("reset_parameters", "self", "None", "All parameters as at the start.", tuple(body)))

    def class_doc(self) -> str:
        """What the class is, its parameters and its options."""
        chain = self.chains[self.default]
        layered = chain.hidden is not None
        size_in, size_out = ("sizes[0]", "sizes[-1]") if layered else self._ends().values()
        held = ", ".join(f"`{name}` {show_shape(q.shape)}" for name, q, _ in self._parameters(chain.last))
        place = "of layer k in `layers[k]`" if layered else "of the module"
        parts = [f"{self.spec.title}.", "", f"    `forward(x)`: (..., {size_in}) -> (..., {size_out}).", ""]
        parts.append(f"    Parameters {place}: {held}, named and drawn as torch.nn.Linear's.")
        if layered:
            parts.append("    sizes: features of the input, of every hidden layer, and of the output.")
        if self.spec.option:
            names = f"{self.spec.option}: {', '.join(map(repr, self.chains))}."
            parts += textwrap.wrap(names, 110, initial_indent=" " * 4, subsequent_indent=" " * 8)
        parts.append('    gradient: "derived" runs the derived backward, "autograd" differentiates the plain form.')
        parts += self.exact.doc
        flat = list(dict.fromkeys(option for (option, _), w in self.writers.items() if w.backward() is None))
        if flat:
            parts += [
                "",
                f"    The slope of {', '.join(map(repr, flat))} is zero almost everywhere. What such a layer gives",
            ]
            parts.append("    out has no gradient, as what torch's comparisons give; asking for one alone raises.")
        return "\n".join(parts)

    def _ends(self) -> dict[str, str]:
        """Argument -> size of what goes into a single layer and comes out: the argument itself, or a fixed number."""
        layer = self.chains[self.default].last
        ends = {"input_size": input_of(layer).shape[0], "output_size": layer.outputs[0].shape[0]}
        return {name: name if isinstance(size, str) else str(size) for name, size in ends.items()}

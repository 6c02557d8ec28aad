"""The module class of a stochastic differential equation."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from codegen.render import render
from codegen.steps.arguments import Argument
from codegen.steps.rules import Layout
from codegen.steps.source import Function, tuple_display
from codegen.stochastic.rules import RuleTable, has_derivatives, layout_of, own_networks
from codegen.views import common_view
from derive.derivation import Derivation
from derive.errors import UnsupportedError
from derive.networks import Network
from derive.operators import shape_of, show_shape
from derive.program import Program
from derive.reverse_sweep import reverse_sweep
from derive.sde import SDE
from derive.sde_calculus import is_network
from derive.sde_schemes import by_graphs, calculi_of, scheme_id, scheme_steps, schemes_of
from derive.symbols import Quantity, Role
from derive.systems import Spec

SUPPORT = ("cotangents", "construction", "step_net", "stochastic")
IMPORTS = ("from collections.abc import Callable, Sequence",)
BY_AUTOGRAD = "its reverse sweep goes from step to step, and autograd through the lines of one, which differentiate g."
WIDTH = 118


def sde_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a stochastic differential equation, or of several with noise of different kinds.

    Raises:
        UnsupportedError: a state that is no vector, options that are no noises, or variants that are not called alike.
    """
    variants = {str(option): sde for option, sde in spec.variants.items() if isinstance(sde, SDE)}
    module = StochasticModule(spec, variants)
    table = RuleTable(derivation, module.derived)
    for option, sde in variants.items():
        table.add(option if spec.option else "", sde)
    programs: list[Program] = []
    notes: dict[str, str] = {}
    for sde in variants.values():
        for one in scheme_steps(sde):
            step = one.recurrence.step
            programs += [step] if by_graphs(step) else [step, reverse_sweep(step).program]
            if by_graphs(step):
                notes[f"The step, {one.scheme}"] = BY_AUTOGRAD
    view = {
        "functions": tuple(table.functions),
        "rules": table.source,
        "methods": module.methods(),
        "class_doc": module.class_doc(),
        "base": "StochasticNet",
    }
    support = [*SUPPORT, *(["graph_sweep"] if table.graphs else [])]
    return render(
        "step_module.py.jinja", {**view, **common_view(spec, derivation, programs, command, support, IMPORTS)}
    )


@dataclass(frozen=True)
class StochasticModule:
    """What of an emitted class depends on the spec.

    Attributes:
        spec: what is emitted.
        variants: noise -> equation; a single nameless one where the spec has no option.
    """

    spec: Spec
    variants: Mapping[str, SDE]

    def __post_init__(self) -> None:
        shapes = {sde.state.shape for sde in self.variants.values()}
        if any(len(shape) != 1 for shape in shapes):
            shown = ", ".join(sorted(show_shape(shape) for shape in shapes))
            raise UnsupportedError(
                f"{self.spec.id}: the state has shape {shown}; a vector can be emitted: write a scalar as one of size 1"
            )
        if self.spec.option and any(option != sde.noise for option, sde in self.variants.items()):
            shown = ", ".join(map(str, self.variants))
            raise UnsupportedError(
                f"{self.spec.id}: options {shown}; the variants of an SDE are kinds of noise, by their names"
            )
        layouts = [[n.name for n in own_networks(sde)] for sde in self.variants.values()]
        if any(names != layouts[0] for names in layouts):
            raise UnsupportedError(f"{self.spec.id}: the variants have different networks; give them the same")

    @property
    def owner(self) -> str:
        """The class in messages, as source."""
        return repr(self.spec.class_name)

    @property
    def sde(self) -> SDE:
        """The variant that is chosen unless another is named."""
        return self.variants[str(self.spec.default_option)]

    @property
    def derived(self) -> bool:
        """Whether the steps are given derivatives of the diffusion."""
        return any(map(has_derivatives, self.variants.values()))

    @property
    def layout(self) -> Layout:
        """Where the quantities of a step travel."""
        return layout_of(self.sde, self.derived)

    @property
    def learned(self) -> list[Quantity]:
        """What is learned, by name."""
        return [q for q in self.layout.shared if q.role is Role.PARAMETER]

    @property
    def constants(self) -> list[Quantity]:
        """Numbers given at construction."""
        return [q for q in self.layout.shared if q.role is Role.CONSTANT]

    def network_argument(self, network: Network) -> str:
        """What a network is called: `drift` or `diffusion` where it is all of that."""
        for name in ("drift", "diffusion"):
            value = getattr(self.sde, name)
            if is_network(value, self.sde) and value.network == network:
                return name
        return f"field_{network.name}"

    def methods(self) -> tuple[Function, ...]:
        """Constructor, networks, parameters of the steps, number of motions."""
        found = [self._constructor()]
        if own_networks(self.sde):
            found.append(self._blocks())
        return (*found, self._parameters(), self._motions())

    def _arguments(self) -> tuple[list[Argument], list[Argument]]:
        positional = []
        for network in own_networks(self.sde):
            name = self.network_argument(network)
            call = f"{name}(t, x)" if network.takes_time else f"{name}(x)"
            shape = f" -> {self._diffusion_shape()}" if name == "diffusion" else " -> (..., d)"
            positional.append(Argument(name, "Callable[..., Tensor]", "", f"the {name.split('_')[0]}, {call}{shape}"))
        keywords = []
        for q in (*self.learned, *self.constants):
            default = self.spec.defaults.get(q.name)
            text = "" if default is None else repr(float(default))
            kind = "float" if q.role is Role.CONSTANT else "float | Tensor" if not q.shape else "Tensor"
            keywords.append(Argument(q.name, kind, text, f"{q.meaning or 'parameter'}, {show_shape(q.shape)}"))
        keywords.sort(key=lambda argument: bool(argument.default))
        return positional, [*keywords, *self._options()]

    def _diffusion_shape(self) -> str:
        if len(self.variants) == 1:
            return {"diagonal": "(..., d)", "scalar": "(..., d, 1)"}.get(self.sde.noise, "(..., d, m)")
        return "of the shape that belongs to the noise"

    def _options(self) -> list[Argument]:
        options = [
            Argument("steps", "int", "", "number of steps from t0 to t1"),
            Argument("t0", "float | Tensor", "0.0", "initial time"),
            Argument("t1", "float | Tensor", "1.0", "final time, after t0"),
        ]
        if self.spec.option:
            names = "; ".join(f"{one!r}, diffusion {_SHAPES[str(one)]}" for one in self.variants)
            default = repr(self.spec.default_option)
            options.append(Argument(self.spec.option, "str", default, f"kind of noise: {names}"))
        calculi = calculi_of(self.sde)
        if len(calculi) > 1:
            doc = (
                f"what the integral means: {' or '.join(map(repr, calculi))}; the correction is added where the scheme "
            )
            options.append(Argument("calculus", "str", repr(calculi[0]), f"{doc}has another calculus"))
        schemes = " or ".join(
            f"{name!r} ({table.title}, {table.calculus})" for name, table in schemes_of(self.sde).items()
        )
        options.append(Argument("scheme", "str", repr(scheme_id(self.sde)), schemes))
        return [
            *options,
            Argument("memory", "str", "'store'", "what the backward pass keeps: store, recompute, checkpoint"),
            Argument("check_finite", "bool", "True", "whether a result that is not finite raises, naming the step"),
            Argument("gradient", "str", "'derived'", "derived, or autograd through the plain steps"),
        ]

    def _constructor(self) -> Function:
        positional, keywords = self._arguments()
        given = ", ".join(["self", *(a.text for a in positional), "*", *(a.text for a in keywords)])
        chosen = [self.spec.option] if self.spec.option else []
        body = (
            [f"choose({self.owner}, {self.spec.option!r}, {self.spec.option}, {[*self.variants]!r})"] if chosen else []
        )
        calculi = calculi_of(self.sde)
        calculus = "calculus" if len(calculi) > 1 else repr(calculi[0])
        if len(calculi) > 1:
            body.append(f"choose({self.owner}, 'calculus', calculus, {list(calculi)!r})")
        body.append(f"choose({self.owner}, 'scheme', scheme, {list(schemes_of(self.sde))!r})")
        key = ", ".join([*chosen, calculus, "scheme"])
        passed = "steps=steps, t0=t0, t1=t1, memory=memory, gradient=gradient, check_finite=check_finite"
        body.append(f"super().__init__(_RULES[{key}], {passed})")
        body.append(f"self.noise = {self.spec.option or repr(self.sde.noise)}")
        names = [self.network_argument(network) for network in own_networks(self.sde)]
        body += [f"self.{name} = check_term({self.owner}, {name!r}, {name})" for name in names]
        for q in self.learned:
            axes = tuple_display([repr(str(size)) for size in q.shape]) if q.shape else "()"
            body.append(f"self.{q.name} = as_parameter({self.owner}, {q.name!r}, {q.name}, {axes})")
        body += [f"self.{q.name} = float(check_number({self.owner}, {q.name!r}, {q.name}))" for q in self.constants]
        return Function("__init__", given, "None", "See the class.", tuple(body))

    def _blocks(self) -> Function:
        names = [self.network_argument(network) for network in own_networks(self.sde)]
        parts = [f"self.{name}" for name in names if name != "diffusion"]
        body = []
        if "diffusion" in names:
            body.append(f"nets = diffusion_nets({self.owner}, self.noise, self.diffusion, derived={self.derived})")
            parts.append("*nets")
        single = len(self.layout.networks) == 1
        row = ("nets[0]" if "diffusion" in names else parts[0]) if single else f"({', '.join(parts)})"
        body.append(f"return [{row}] * self.steps")
        return Function("step_blocks", "self", "Sequence[Networks]", "The same networks serve every step.", tuple(body))

    def _parameters(self) -> Function:
        held = "".join(f", {q.name}=self.{q.name}" for q in self.learned)
        body = [f"check_dtype({self.owner}, x{held})"] if held else []
        size = self.sde.state.shape[0]
        for q in self.learned:
            for place, axis in enumerate(q.shape):
                if axis == size:
                    body.append(
                        f"check_size({self.owner}, {q.name!r}, self.{q.name}, {place - len(q.shape)}, x.shape[-1])"
                    )
        timed = any(q.role is Role.TIME for q in self.layout.local)
        body.append(f"h, {'t' if timed else '_'} = time_grid(x, self.t0, self.t1, self.steps)")
        local = tuple_display([*(["t"] if timed else []), self.sde.increment.name])
        shared = tuple_display(["h" if q.role is Role.STEP_SIZE else f"self.{q.name}" for q in self.layout.shared])
        body.append(f"return {local}, {shared}")
        doc = "What varies from step to step, and what every step uses."
        given = f"self, x: Tensor, {self.sde.increment.name}: Tensor"
        return Function("step_parameters", given, "tuple[tuple[Tensor, ...], Shared]", doc, tuple(body))

    def _motions(self) -> Function:
        body = []
        kinds = {sde.noise for sde in self.variants.values()}
        conditions = {"diagonal": "x.shape[-1]", "scalar": "1"}
        for noise, value in conditions.items():
            if noise in kinds:
                body += (
                    [f"if self.noise == {noise!r}:", f"    return {value}"] if len(kinds) > 1 else [f"return {value}"]
                )
        if kinds - set(conditions):
            body.append(f"return {self._columns()}")
        doc = "How many Brownian motions a sample has."
        return Function("motions", "self, x: Tensor", "int", doc, tuple(body))

    def _columns(self) -> str:
        """Source of the number of columns of a matrix."""
        size = shape_of(self.sde.diffusion)[-1] if self.sde.is_matrix else "m"
        if isinstance(size, int):
            return str(size)
        if "diffusion" in map(self.network_argument, own_networks(self.sde)):
            return f"columns_of({self.owner}, self.noise, self.diffusion, self.t0, x)"
        for q in self.learned:
            if size in q.shape:
                return f"self.{q.name}.shape[{q.shape.index(size) - len(q.shape)}]"
        raise UnsupportedError(f"{self.spec.id}: no parameter tells the size {size} of the Brownian motion")

    def class_doc(self) -> str:
        """Of the class."""
        sde = self.sde
        parts = [
            f"{self.spec.title}: d{sde.state.name} = ({sde.drift}) dt + ({sde.diffusion}) dW.",
            "",
            f"    `forward(x, increments=None, generator=None)`: x_0 (..., {sde.state.shape[0]}) -> x(t1);",
            "    `trajectory` -> (steps + 1, ...); `draw(x, generator)` -> increments (steps, ..., m), which are drawn",
            "    so that one seed gives one path for `steps * 2**j` steps.",
            "",
            "    Args:",
        ]
        positional, keywords = self._arguments()
        rows = (f"{a.name}: {a.doc}." for a in (*positional, *keywords))
        return "\n".join([*parts, *(_wrapped(row) for row in rows)])


_SHAPES = {
    "diagonal": "(..., d)",
    "scalar": "(..., d, 1)",
    "additive": "(..., d, m) that does not read x: it is called at x = 0, and refused where it differs at x_0",
    "general": "(..., d, m)",
}


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 12)

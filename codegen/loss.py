"""The losses of a spec and their derived cotangents as emitted functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sympy import Integer

from codegen.printer import TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.derivation import Derivation
from derive.functions import xlogx
from derive.gradients import unfilled
from derive.lagrangian import loss_names
from derive.operators import matvec
from derive.program import symbols_of
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity, Role, by_name
from derive.systems import Loss, Spec

Numbers = Callable[[Quantity], str]
WEIGHTS = "*, weights: Tensor | None = None"


def loss_functions(spec: Spec, derivation: Derivation) -> tuple[Function, ...]:
    """`loss(output, target)` and `loss_cotangent(output, target)`; with a read-out both take its parameters as well.

    Where the spec has several losses, two functions for each, and two that choose among them.
    """
    written = [_pair(name, loss, derivation) for name, loss in spec.losses.items()]
    found = tuple(function for pair in written for function in pair)
    several = [name for name in spec.losses if name]
    return found + _choosing(several) if several else found


def _pair(name: str, loss: Loss, derivation: Derivation) -> tuple[Function, Function]:
    """The loss and its cotangent; private where the loss has a name."""
    numbers, suffix = loss_names(name), f"_{name}" if name else ""
    owners = ("loss", "loss_cotangent")
    names = tuple(f"_{owner}{suffix}" if name else owner for owner in owners)
    forward, backward = (_head(loss, owner) for owner in owners)
    forward += _value(loss, lambda q: derivation.number_of(numbers("loss", q)))
    weighed = f"  # ({derivation.number_of(numbers.joined('loss', 'weights'))})"
    backward += _cotangent(loss, lambda q: derivation.number_of(numbers("loss", q)), weighed)
    value = loss.program().outputs[0].name
    forward.append(f"return weighed({owners[0]!r}, {value}, weights, {len(loss.output.shape)}).sum(){weighed}")
    about = f"{loss.title}, summed over the batch" if loss.title else "The loss, summed over the batch"
    doc = f"{about}; output and target (..., {_size(loss.output)}), weights (...)."
    parameters = _parameters(loss)
    return (
        Function(names[0], parameters, "Tensor", doc, tuple(forward)),
        Function(names[1], parameters, "Tensor", "Derived cotangent of the loss on `output`.", tuple(backward)),
    )


def _value(loss: Loss, number: Numbers) -> list[str]:
    printer = TorchPrinter()
    return [f"{x.target.name} = {printer(x.value)}  # ({number(x.target)})" for x in loss.program().assignments]


def _cotangent(loss: Loss, number: Numbers, weighed: str) -> list[str]:
    """Lines of the reverse sweep, with those of the loss that it reads, and the weights."""
    program, printer = loss.program(), TorchPrinter()
    adjoint = reverse_sweep(program, (loss.output,))
    seed, bar = adjoint.seeds[program.outputs[0]], adjoint.cotangents[loss.output]
    one = {seed: Integer(1)}
    swept = {x.target: unfilled(x.value.xreplace(one)) for x in adjoint.program.needed_for((bar,)).assignments}
    read = {q for value in swept.values() for q in symbols_of(value)}
    before = program.needed_for(q for q in program.targets if q in read)
    lines = {**{line.target: line.value for line in before.assignments}, **swept}
    found = [f"{target.name} = {printer(value)}  # ({number(target)})" for target, value in lines.items()]
    found.append(f'{bar.name} = weighed("loss_cotangent", {bar.name}, weights, {len(loss.output.shape)}){weighed}')
    return [*found, _through_readout(loss, bar.name)]


def _choosing(names: Sequence[str]) -> tuple[Function, ...]:
    """Functions that take the name of a loss."""
    allowed = tuple_display([repr(name) for name in names])
    parameters = f"output: Tensor, target: Tensor, *, divergence: str = {names[0]!r}, weights: Tensor | None = None"
    about = "The chosen divergence, summed over the batch; output and target (..., size), weights (...)."
    docs = {"loss": about, "loss_cotangent": "Derived cotangent of the chosen loss on `output`."}
    found = []
    for owner, doc in docs.items():
        body = (
            f"functions = {tuple_display([f'_{owner}_{name}' for name in names])}",
            f"names = {allowed}",
            f"chosen = names.index(one_of({f'{owner}: divergence'!r}, divergence, names))",
            "return functions[chosen](output, target, weights=weights)",
        )
        found.append(Function(owner, parameters, "Tensor", doc, body))
    return tuple(found)


def _size(quantity: Quantity) -> str:
    return str(quantity.shape[-1]) if quantity.shape else "1"


def _readout_parameters(loss: Loss) -> list[Quantity]:
    if loss.readout is None:
        return []
    return [q for q in by_name(loss.readout.atoms(type(loss.output))) if q.role is Role.PARAMETER]


def _parameters(loss: Loss) -> str:
    extra = "".join(f", {q.name}: Tensor | None = None" for q in _readout_parameters(loss))
    return f"output: Tensor, target: Tensor{extra}, {WEIGHTS}"


def _head(loss: Loss, owner: str) -> list[str]:
    """Checks of what is given, the read-out, and class indices as one-hot vectors."""
    lines = []
    if loss.readout is not None:
        parameters = _readout_parameters(loss)
        (state,) = (q for q in by_name(loss.readout.atoms(type(loss.output))) if q.role is Role.STATE)
        text = TorchPrinter()(loss.readout.xreplace({state: loss.output}))
        shapes = "".join(f", {q.name}=({q.name}, {_axes(q)})" for q in parameters)
        given = " and ".join(f"{q.name} is not None" for q in parameters)
        asked = f"has_readout({owner!r}, output, {_size(state)!r}{shapes})"
        lines += [f"if {asked} and {given}:", f"    output = {text}"]
    lines.append(f"target = checked_target({owner!r}, target, output, classes={loss.classes})")
    return [*lines, f"check_not_negative({owner!r}, target)"] if loss.value.has(xlogx(loss.target)) else lines


def _axes(quantity: Quantity) -> str:
    return tuple_display([repr(str(size)) for size in quantity.shape]) if quantity.shape else "()"


def _through_readout(loss: Loss, bar: str) -> str:
    if loss.readout is None:
        return f"return {bar}"
    matrix = next(node.args[0] for node in loss.readout.atoms(matvec))
    return f"return {bar} if {matrix.name} is None else {bar} @ {matrix.name}"

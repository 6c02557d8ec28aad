"""The loss of a spec and its derived cotangent as emitted functions."""

from __future__ import annotations

from sympy import Integer

from codegen.printer import TorchPrinter
from codegen.steps.source import Function, tuple_display
from derive.derivation import Derivation
from derive.operators import matvec
from derive.program import symbols_of
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity, Role, by_name
from derive.systems import Loss


def loss_functions(loss: Loss | None, derivation: Derivation) -> tuple[Function, ...]:
    """`loss(output, target)` and `loss_cotangent(output, target)`; with a read-out both take its parameters as well."""
    if loss is None:
        return ()
    program = loss.program()
    adjoint = reverse_sweep(program, (loss.output,))
    printer = TorchPrinter()
    value = program.outputs[0]
    seed = adjoint.seeds[value]
    forward = _head(loss, "loss")
    backward = _head(loss, "loss_cotangent")
    for line in program.assignments:
        number = derivation.number_of(f"loss.{line.target.name}")
        forward.append(f"{line.target.name} = {printer(line.value)}  # ({number})")
    forward.append(f"return {value.name}.sum()")
    bar = adjoint.cotangents[loss.output]
    swept = adjoint.program.needed_for((bar,))
    read = {q for line in swept.assignments for q in symbols_of(line.value.xreplace({seed: Integer(1)}))}
    for line in program.needed_for(q for q in program.targets if q in read).assignments:
        backward.append(
            f"{line.target.name} = {printer(line.value)}  # ({derivation.number_of(f'loss.{line.target.name}')})"
        )
    for line in swept.assignments:
        number = derivation.number_of(f"loss.{line.target.name}")
        backward.append(f"{line.target.name} = {printer(line.value.xreplace({seed: Integer(1)}))}  # ({number})")
    backward.append(_through_readout(loss, bar.name))
    parameters = _parameters(loss)
    about = f"{loss.title}, summed over the batch" if loss.title else "The loss, summed over the batch"
    return (
        Function(
            "loss", parameters, "Tensor", f"{about}; output and target (..., {_size(loss.output)}).", tuple(forward)
        ),
        Function("loss_cotangent", parameters, "Tensor", "Derived cotangent of the loss on `output`.", tuple(backward)),
    )


def _size(quantity: Quantity) -> str:
    return str(quantity.shape[-1]) if quantity.shape else "1"


def _readout_parameters(loss: Loss) -> list[Quantity]:
    if loss.readout is None:
        return []
    return [q for q in by_name(loss.readout.atoms(type(loss.output))) if q.role is Role.PARAMETER]


def _parameters(loss: Loss) -> str:
    extra = "".join(f", {q.name}: Tensor | None = None" for q in _readout_parameters(loss))
    return f"output: Tensor, target: Tensor{extra}"


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
    return [*lines, f"target = checked_target({owner!r}, target, output, classes={loss.classes})"]


def _axes(quantity: Quantity) -> str:
    return tuple_display([repr(str(size)) for size in quantity.shape]) if quantity.shape else "()"


def _through_readout(loss: Loss, bar: str) -> str:
    if loss.readout is None:
        return f"return {bar}"
    matrix = next(node.args[0] for node in loss.readout.atoms(matvec))
    return f"return {bar} if {matrix.name} is None else {bar} @ {matrix.name}"

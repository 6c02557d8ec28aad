"""How an emitted loop over steps is called: with one tensor, or with one for each unknown."""

from __future__ import annotations

from codegen.steps.facts import Facts
from codegen.steps.source import Function, tuple_display


def stream_names(facts: Facts) -> list[str]:
    """Names of the tensors that the module takes: x, or those of the unknowns where each has its own."""
    if facts.layout.streams == 1:
        return ["x"]
    return [q.name for q in facts.recurrence.old[: facts.layout.streams]]


def stream_methods(facts: Facts) -> list[Function]:
    """The calls of a module of several streams; one of a single stream inherits them."""
    if facts.layout.streams == 1:
        return []
    names = stream_names(facts)
    given = ", ".join(["self", *(f"{name}: Tensor" for name in names)])
    checked = f"self.checked({', '.join(f'{name}={name}' for name in names)})"
    start, end = (tuple_display([f"{name}_{index}" for name in names]) for index in ("0", "N"))
    calls = [
        ("forward", f"{start} -> {end}, each (..., features).", f"self.run_steps({checked}, trajectory=False)"),
        (
            "trajectory",
            f"{start} -> all states of every stream, each (steps+1, ..., features).",
            f"self.run_steps({checked}, trajectory=True)",
        ),
    ]
    if facts.undoes:
        doc = f"{end} -> {start}: the steps solved backwards; autograd follows."
        calls.append(("inverse", doc, f"self.undo_steps({checked})"))
    kind = f"tuple[{', '.join(['Tensor'] * len(names))}]"
    return [
        Function(name, given, kind, doc, (_unpacked(names, value), f"return {', '.join(names)}"))
        for name, doc, value in calls
    ]


def _unpacked(names: list[str], value: str) -> str:
    return f"{', '.join(names)} = {value}"


def call_doc(facts: Facts) -> list[str]:
    """What the class's docstring says of its calls."""
    unknowns = ", ".join(q.name for q in facts.recurrence.old[: facts.layout.unknowns])
    if facts.layout.streams == 1:
        shape = "(..., d)" if facts.layout.components == 1 else f"(..., {facts.layout.components}) = ({unknowns})"
        if facts.draws:
            return draws_doc(facts, shape)
        return [f"    `forward(x)`: x_0 {shape} -> x_N of the same shape; `trajectory(x)` -> (steps + 1, ...)."]
    lines = [
        f"    `forward({unknowns})`: the initial values, each (..., d) -> the last ones, a tuple of the same shapes;",
        f"    `trajectory({unknowns})` -> a tuple of all values, each (steps + 1, ..., d)"
        + ("" if facts.undoes else "."),
    ]
    if facts.undoes:
        lines[-1] += ";"
        lines.append(f"    `inverse({unknowns})`: the last values -> the initial ones.")
    return lines


def draws_doc(facts: Facts, shape: str) -> list[str]:
    """The same of a module whose steps read random draws."""
    names = [q.name for draw in facts.draws for q in draw.quantities]
    one = [q.name for draw in facts.draws for q in draw.quantities if not q.shape]
    each = [q.name for draw in facts.draws for q in draw.quantities if q.shape]
    shapes = [f"{', '.join(one)} of shape (steps,) or (steps, batch, 1, ...)"] if one else []
    shapes += [f"{', '.join(each)} of shape (steps, *x.shape)"] if each else []
    several = "" if len(names) == 1 else f"a tuple ({', '.join(names)}), "
    return [
        f"    `forward(x, draws=None, generator=None)`: x_0 {shape} -> x_N of the same shape;",
        f"    `trajectory` -> (steps + 1, ...). draws: {several}{'; '.join(shapes)}.",
        "    Without them a net in training mode makes draws, with the generator where there is one, and in",
        "    evaluation mode takes their means. `draw(x)` makes draws for x.",
    ]

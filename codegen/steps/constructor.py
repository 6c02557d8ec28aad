"""The constructor of an emitted loop over steps."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.steps.arguments import arguments, draw_options
from codegen.steps.draws import interval_arguments
from codegen.steps.facts import Facts
from codegen.steps.functions_of_time import any_function, check_of_time, varying_lines
from codegen.steps.source import Function, tuple_display
from derive.discretization import LEADING
from derive.symbols import Quantity


def constructor(facts: Facts) -> Function:
    """`__init__`: checks its arguments and stores them."""
    positional, keywords = arguments(facts)
    parameters = ", ".join(["self", *(a.text for a in positional), "*", *(a.text for a in keywords)])
    options = (f", tol={facts.tol_name}" if facts.rebuilds else "") + (", q=q" if facts.exact is not None else "")
    owner, names = repr(facts.spec.class_name), [a.name for a in positional]
    solver = f"Implicit({owner}, solver, tol, max_iter)"
    chosen = [f"solving = {solver}"] if facts.ahead else []  # bad options are refused where they are not needed, too
    implicit = f", implicit={solver}" if facts.implicit else ""
    implicit = ", implicit=solving if checked.beta_next else None" if facts.ahead else implicit
    options += "".join(f", {one.name}={one.name}" for one in draw_options(facts))
    lags = ", ".join(f"{one.name!r}: {one.value}" for one in facts.delays)
    options += f", lags={{{lags}}}" if lags else ""
    given = f"memory=memory, gradient=gradient, check_finite=check_finite{options}{implicit}"
    body = [*_unstable(facts), *chosen, f"super().__init__({_rules(facts)}, {given})"]
    if "blocks" in names and len(facts.networks) > 1:
        rows = f"check_block_rows({owner}, blocks, {tuple(n.name for n in facts.networks)!r})"
        body.append(f"self.blocks = nn.ModuleList(nn.ModuleList(row) for row in {rows})")
    elif "blocks" in names:
        body.append(f"self.blocks = nn.ModuleList(check_blocks({owner}, blocks))")
    body += [f"self.{name} = check_field({owner}, {name})" for name in names if name.startswith("field")]
    body += [f"self.{q.name} = checked.{q.name}" for q in facts.weights + ([LEADING] if facts.ahead else [])]
    body += varying_lines(facts)
    body += [_store_layer_parameter(facts, q) for q in facts.layer_parameters]
    body += [_store_parameter(facts, q, axes_of(q)) for q in facts.parameters]
    body += [_store_constant(facts, q) for q in facts.constants]
    body += [_store_layer_constant(facts, q) for q in facts.layer_constants]
    body += [f"self.{size} = {size}" for size in facts.augmented_sizes()]
    if not facts.layered:
        body += _store_times(facts, "steps" if facts.varying else f"check_steps({owner}, steps)")
    elif facts.has_step_size:
        body.append(f"self.step_size = check_step_size({owner}, step_size, self.step_count())")
    body += _check_start(facts)
    body += check_of_time(facts, "self.") if facts.stages else _check_parameters(facts)
    return Function("__init__", parameters, "None", "See the class.", tuple(body))


def _store_constant(facts: Facts, quantity: Quantity) -> str:
    owner, name = repr(facts.spec.class_name), quantity.name
    if quantity not in facts.ranges:
        return f"self.{name} = float(check_number({owner}, {name!r}, {name}))"
    return f"self.{name} = check_interval({owner}, {name!r}, {name}, {interval_arguments(facts, quantity)})"


def _store_layer_constant(facts: Facts, quantity: Quantity) -> str:
    owner, name = repr(facts.spec.class_name), quantity.name
    rows = "len(self.blocks)" if facts.networks else "steps"
    return f"self.{name} = check_values({owner}, {name!r}, {name}, {rows}, {interval_arguments(facts, quantity)})"


def _rules(facts: Facts) -> str:
    """The rules as the constructor chooses them: by the weights, by the variant, or by the start."""
    if facts.weights:
        return f"started({facts.spec.class_name!r}, checked, start, _RULES, _IMPLICIT, _ORDERS)"
    by = facts.spec.option or ("start" if facts.recurrence.starts else "")
    rules = f"(_RULES_OF_TIME if {any_function(facts)} else _RULES)" if facts.of_time else "_RULES"
    return f"{rules}[choose({facts.spec.class_name!r}, {by!r}, {by}, list(_RULES))]" if by else rules


def _unstable(facts: Facts) -> list[str]:
    """A warning where the scheme is not zero-stable, whatever the field; of given weights, when they are known."""
    if facts.weights:
        names = ", ".join(q.name for q in facts.weights)
        return [f"checked = check_weights({facts.spec.class_name!r}, {names})"]
    if not facts.unstable:
        return []
    return [f"warnings.warn({f'{facts.spec.class_name}: {facts.unstable}'!r}, stacklevel=2)"]


def _check_start(facts: Facts) -> list[str]:
    """A start that reads a per-layer parameter needs a layer that has one."""
    layered = set(facts.layer_parameters)
    readers = tuple(name for name, start in facts.recurrence.starts.items() if layered & set(start.inputs))
    if not readers or not facts.networks:
        return []
    return [f"check_start({facts.spec.class_name!r}, start, {readers!r}, len(self.blocks))"]


def _store_times(facts: Facts, steps: str) -> list[str]:
    owner = repr(facts.spec.class_name)
    return [
        f"self.steps = {steps}",
        f"self.t0 = check_number({owner}, 't0', t0)",
        f"self.t1 = check_number({owner}, 't1', t1)",
    ]


def _store_parameter(facts: Facts, quantity: Quantity, axes: Sequence[str]) -> str:
    shape = tuple_display([repr(axis) for axis in axes]) if axes else "()"
    name, rows = quantity.name, ", steps" if quantity in facts.varying else ""
    made = "as_time_function" if facts.stages and rows else "as_parameter"
    return f"self.{name} = {made}({facts.spec.class_name!r}, {name!r}, {name}, {shape}{rows})"


def _store_layer_parameter(facts: Facts, quantity: Quantity) -> str:
    if not facts.networks:
        return _store_parameter(facts, quantity, ["steps", *axes_of(quantity)])
    rows = "len(self.blocks)" + (f" - {facts.recurrence.lags - 1}" if facts.recurrence.starts else "")
    axes = f", {tuple_display([repr(axis) for axis in axes_of(quantity)])}" if quantity.shape else ""
    return f"self.{quantity.name} = self.parameter_per_step({quantity.name!r}, {quantity.name}, {rows}{axes})"


def _check_parameters(facts: Facts) -> list[str]:
    """Every named dimension has one size, and the steps one number; the first parameter that has it decides."""
    lines, known = [], facts.known_sizes()
    stacked = [] if facts.networks else facts.layer_parameters  # their leading axis counts the steps
    for quantity in stacked[1:]:
        lines.append(_check_size(facts, quantity, -1 - len(quantity.shape), f"len(self.{stacked[0].name})"))
    for quantity in [*facts.layer_parameters, *facts.parameters]:
        for place, size in enumerate(quantity.shape):
            axis = place - len(quantity.shape)
            where = f"self.{quantity.name}.shape[{axis}]"
            if known.get(size) not in (None, where):
                lines.append(_check_size(facts, quantity, axis, known[size]))
    return lines


def _check_size(facts: Facts, quantity: Quantity, axis: int, size: str) -> str:
    name = quantity.name
    return f"check_size({facts.spec.class_name!r}, {name!r}, self.{name}, {axis}, {size})"


def axes_of(quantity: Quantity) -> list[str]:
    """Names of the axes of a parameter."""
    return [str(size) for size in quantity.shape]

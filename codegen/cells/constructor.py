"""The constructor of a recurrent class, and the shapes of its parameters."""

from __future__ import annotations

from collections.abc import Sequence

from codegen.cells.parts import CellParts
from codegen.cells.plan import CellPlan
from codegen.cells.plan_operands import part_shape
from codegen.cells.prelude import keyword
from codegen.cells.readout import Readout
from codegen.exact_values import shown_arguments
from codegen.steps.source import Function, tuple_display
from derive.errors import UnsupportedError
from derive.past_values import Lag, Lags
from derive.starting_values import table_sizes
from derive.symbols import Dimension, Quantity, Role

LOCAL_SIZES = {"hidden_size": "size", "output_size": "output"}
POSITIONAL = (
    "num_layers: int = 1",
    "bias: bool = True",
    "batch_first: bool = False",
    "dropout: float = 0.0",
    "bidirectional: bool = False",
)
KEYWORDS = (
    'memory: str = "store"',
    'gradient: str = "derived"',
    "learn_initial: bool = False",
    "device: torch.device | str | None = None",
    "dtype: torch.dtype | None = None",
)
PASSED = ("bias", "batch_first", "dropout", "bidirectional", "memory", "gradient", "learn_initial", "device", "dtype")


def constructor(module: CellParts) -> Function:
    """`__init__`."""
    own = [f"{name}: str = {values[0]!r}" for name, values in module.options.items()]
    body = []
    for name, values in module.options.items():
        shown = f"{module.spec.class_name}: {name}"
        body.append(f"self.{name} = one_of({shown!r}, {name}, {tuple_display([repr(v) for v in values])})")
    for name, lag in module.told_lags.items():
        own.append(f"{name}: {'Iterable[int]' if isinstance(lag, Lags) else 'int'} = {lag.default!r}")
        checked = "checked_lags" if isinstance(lag, Lags) else "checked_lag"
        body.append(f"self.{name} = {checked}({module.spec.class_name!r}, {name!r}, {name}, {_least(module, lag)})")
    if not module.biases:
        text = f"{module.spec.class_name}: bias=False; allowed: True, it has no parameter that is only added"
        body += ["if not bias:", f'    raise ValueError("{text}")']
    own += [f"{keyword(q)}: float{_default(module, q)}" for q in module.constants]
    for q in module.constants:
        shown, positive = f"{module.spec.class_name}: {keyword(q)}", q.role is Role.STEP_SIZE
        body.append(f"self.{keyword(q)} = finite_number({shown!r}, {keyword(q)}, {positive})")
    body += module.exact.assignments
    exact = {part for o in module.operands for part in o.parts if not module.spec.values.keys().isdisjoint(o.rows)}
    if not exact.isdisjoint(module.biases):
        text = f"{module.spec.class_name}: bias=False; allowed: True, the exact values have biases"
        body += ["if not bias:", f'    raise ValueError("{text}")']
    own += (
        [f"output: int | None = {_size(module, module.readout.output.shape[0])}"] if module.readout is not None else []
    )
    own += module.exact.arguments
    body += [f"self.{name} = {name}" for name in module.sizes[2:]]
    passed = ", ".join(f"{name}={name}" for name in (*PASSED, *(["output"] if module.readout is not None else [])))
    body.append(f"super().__init__(input_size, hidden_size, num_layers, {passed})")
    cell = module.plans[module.default].program
    sizes = [_size(module, dimension) for dimension in (*cell.input.shape, *cell.dimensions)]
    known = ["" if None in sizes else f" = {size}" for size in sizes]
    given = [f"{name}: int{size}" for name, size in zip(module.sizes, known, strict=True)]
    parameters = ", ".join(["self", *given, *POSITIONAL, "*", *own, *KEYWORDS])
    return Function("__init__", parameters, "None", "See the class.", tuple(body))


def _default(module: CellParts, constant: Quantity) -> str:
    """The default of a constant, as text; that of a step size is 1."""
    usual = 1.0 if constant.role is Role.STEP_SIZE else None
    value = module.spec.defaults.get(constant.name, usual)
    return "" if value is None else f" = {float(value)!r}"


def _size(module: CellParts, dimension: Dimension) -> int | None:
    """A size, where exact values say it."""
    return table_sizes(module.spec.id, module.spec.values).get(str(dimension))


def _least(module: CellParts, lag: Lag | Lags) -> int:
    """The smallest value of a lag: 1 where a state is read, which has to be made first."""
    return max(value.least for cell in module.plans.values() for value in cell.program.past if value.lag == lag)


def parameter_shapes(module: CellParts) -> Function:
    """`parameter_shapes`."""
    body = [f"{LOCAL_SIZES[name]} = self.{name}" for name in module.sizes[1:]]
    tables = {name: _shapes(module, name, module.plans[first]) for name, first in module.twins.items()}
    common = [entry for entry in tables[module.default] if all(entry in table for table in tables.values())]
    body.append(f"shapes: dict[str, tuple[int, ...]] = {dictionary(common)}")
    for name, table in tables.items():
        extra = [entry for entry in table if entry not in common]
        if extra:
            conditions = [f"self.{each} == {value!r}" for each, value in module.spec.chosen(name).items()]
            body.append(f"if {' and '.join(conditions)}:")
            body += [f"    shapes[{key}] = {value}" for key, value in extra]
    body.append("return shapes")
    doc = "Name and shape of each parameter of a layer that reads `features` features."
    return Function("parameter_shapes", "self, features: int", "dict[str, tuple[int, ...]]", doc, tuple(body))


def _shapes(module: CellParts, name: str, cell: CellPlan) -> list[tuple[str, str]]:
    sizes = {cell.program.input.shape[0]: "features"}
    sizes |= {size: LOCAL_SIZES[name] for size, name in module.size_names.items()}
    sizes |= {lag.count: f"len(self.{lag.name})" for lag in cell.program.told_lags if isinstance(lag, Lags)}
    entries = []
    for operand in module.held(name):
        shape = tuple_display(part_shape(operand, sizes)) if operand.rows[0].shape else "()"
        entries += [(repr(part), shape) for part in operand.parts]
    return entries


def readout_shapes(readout: Readout) -> Function:
    """`readout_shapes`."""
    body = (f"return {dictionary(readout.entries('features', 'size'))}",)
    doc = "Name and shape of each parameter of a read-out of `size` numbers from `features` features."
    return Function("readout_shapes", "self, features: int, size: int", "dict[str, tuple[int, ...]]", doc, body)


def exact_values(module: CellParts) -> tuple[Function, ...]:
    """Where the parameters start, and how they are set to it."""
    names = {} if module.readout is None else {q: [name] for q, name in module.readout.names.items()}
    for operand in module.operands:
        joined = [q.name for q in operand.rows if q in module.spec.values]
        if joined and len(operand.rows) > 1 and not operand.below:
            raise UnsupportedError(
                f"{module.spec.id}: {operand.name} joins parameters; exact values of {', '.join(joined)} need "
                "tensors of their own: leave them out of the stacks"
            )
        names |= {q: [q.name] if operand.below else list(operand.parts) for q in operand.rows}
    doc = "Exact values of the parameters of a layer and direction, by name; rows and columns count from 1."
    values = module.exact.method("starting_values", doc, {q: names[q] for q in module.spec.values})
    body = ("super().reset_parameters()", "set_exactly(self.owner, self.named_parameters(), self.starting_values)")
    reset = Function("reset_parameters", "self", "None", "All parameters as at the start.", body)
    return values, reset, *shown_arguments(module.exact.shown)


def dictionary(entries: Sequence[tuple[str, str]]) -> str:
    """A dictionary display."""
    return "{" + ", ".join(f"{key}: {value}" for key, value in entries) + "}"

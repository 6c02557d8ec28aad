"""The rule functions of an emitted loop over steps, and the table that the loop reads."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from codegen.steps.draws import draw_functions, draw_rules
from codegen.steps.exact_rules import exact_functions
from codegen.steps.facts import Facts
from codegen.steps.rules import RuleWriter
from codegen.steps.source import Function
from derive.random_recurrence import RandomRecurrence
from derive.schemes import MultistepFamily
from derive.series.rk import order
from derive.symbols import Quantity
from derive.systems import Option
from derive.windows import LAGS


def _of_fields() -> ModuleType:
    """The writer of written-out fields. Loaded on use: it brings the plan of the cells along."""
    return import_module("codegen.steps.field_functions")


def rule_functions(facts: Facts) -> list[Function]:
    """Step, start and inverse with their adjoints."""
    return [
        *_step_functions(facts),
        *(_step_functions(facts.ahead) if facts.ahead else ()),
        *_start_functions(facts),
        *_inverse_functions(facts),
        *exact_functions(facts.exact, _writer(facts)),
        *(rule_functions(facts.of_time) if facts.of_time else ()),
    ]


def _writer(facts: Facts, prefix: str = "") -> RuleWriter:
    own_draws = isinstance(facts.recurrence, RandomRecurrence) and facts.recurrence.backward

    def number(kind: str, quantity: Quantity) -> str:
        kind = "backward" if own_draws and kind == "adjoint" else kind
        words = (facts.option, prefix, kind, quantity.name)
        return facts.derivation.number_of(".".join(word for word in words if word))

    return RuleWriter(facts.layout, number, facts.whole_graphs)


def _step_functions(facts: Facts) -> list[Function]:
    step, old, new = facts.recurrence.step, facts.recurrence.old, facts.recurrence.new
    writer, name = _writer(facts), _named(facts, "_step")
    equations = writer.equations(name, step, old)
    forward = writer.step(name, step, old, new)
    if facts.field is not None:
        return [forward, *_of_fields().field_functions(facts, facts.field)]
    if facts.whole_graphs:
        return [forward]
    swept = facts.recurrence.backward_step if isinstance(facts.recurrence, RandomRecurrence) else step
    return [
        *equations,
        forward,
        writer.adjoint(f"{name}_adjoint", swept, old, new),
        *draw_functions(facts, writer, name),
    ]


def _named(facts: Facts, rule: str) -> str:
    """The name of a rule: of a spec with variants, with that of its own."""
    return f"{rule}_{facts.option}" if facts.option else rule


def _start_functions(facts: Facts) -> list[Function]:
    functions = []
    old, many = facts.recurrence.old, facts.layout.windowed or facts.layout.lags > 2
    unknown = old[0].name.removesuffix(f"_{LAGS}") if facts.layout.unknowns == 1 else "state"
    for name, program in facts.recurrence.starts.items():
        writer = _writer(facts, f"start.{name}")
        made = f"{unknown}_{'n+1' if many else 1} from {unknown}_{'n' if many else 0}, start {name!r}"
        rule = _named(facts, f"_start_{name}")
        functions += writer.equations(rule, program, old)
        which = "One of the first steps" if many else "The first step"
        functions.append(writer.step(rule, program, old, program.outputs, f"{which}: {made}."))
        doc = f"Reverse sweep over {which[0].lower()}{which[1:]}: {made}."
        functions.append(writer.adjoint(f"{rule}_adjoint", program, old, program.outputs, doc))
    return functions


def _inverse_functions(facts: Facts) -> list[Function]:
    found = []
    if facts.inverse is not None and (facts.rebuilds or facts.undoes):
        found.append(_writer(facts).inverse(_named(facts, "_inverse"), facts.inverse, facts.recurrence))
    if facts.amplification:
        doc = "Factor by which one inverse step amplifies an error, for |h J| <= h * lipschitz."
        parameters = "local: Sequence[float], shared: Sequence[float], lipschitz: float"
        found.append(Function(_named(facts, "_amplification"), parameters, "float", doc, facts.amplification))
    return found


def rules_of(facts: Facts) -> list[str]:
    """Source of the table of rules of one step: of several where the scheme has several starts, by their names."""
    name = _named(facts, "_step")
    if facts.field is not None:
        return [f"Rules(step={name}, sweeps={_of_fields().sweeps_table(facts, facts.field)})"]
    if facts.whole_graphs:
        return [f"Rules(step={name}, sweeps=GraphSweeps())"]
    fields = [f"step={name}", f"adjoint={name}_adjoint"]
    if facts.inverse is not None and (facts.rebuilds or facts.undoes):
        fields.append(f"inverse={_named(facts, '_inverse')}")
    if facts.amplification:
        fields.append(f"amplification={_named(facts, '_amplification')}")
    elif facts.measures_growth:
        fields += ["amplification=measured_growth", "growth=inverse_growth"]
    if facts.layout.streams > 1:
        fields.append(f"streams={facts.layout.streams}")
    if facts.exact is not None:
        fields.append("exact=Exact(_exact_weight, _exact_at_weight, _exact_rest)")
    fields += draw_rules(facts, name)
    if not facts.recurrence.starts:
        return [f"Rules({', '.join(fields)})"]
    fields += [f"width={facts.layout.width}"] if facts.layout.width else []
    count = f" * {facts.layout.lags - 1}" if facts.layout.lags > 2 else ""
    rows = []
    for name in facts.recurrence.starts:
        rule = _named(facts, f"_start_{name}")
        start = f"(Rules(step={rule}, adjoint={rule}_adjoint),){count}"
        rows.append(f"{name!r}: Rules({', '.join(fields)}, start={start})")
    return rows


def rules_table(variants: Mapping[Option, Facts]) -> str:
    """Source of the table of rules that the loop reads, by the name of the start or of the variant."""
    rows = [row for facts in variants.values() for row in rules_of(facts)]
    (first, *others) = variants.values()
    if others:
        rows = [f"{option!r}: {row}" for option, row in zip(variants, rows, strict=True)]
    table = _table("_RULES", rows, bool(others or first.recurrence.starts))
    if first.of_time:
        table += "\n" + _table("_RULES_OF_TIME", rules_of(first.of_time), bool(first.recurrence.starts))
    if not isinstance(first.scheme, MultistepFamily):
        return table
    orders = {name: order(tableau) for name, tableau in first.scheme.starts.items()}
    implicit = "".join(f"\n_IMPLICIT = {row}" for one in variants.values() if one.ahead for row in rules_of(one.ahead))
    return f"{table}{implicit}\n_ORDERS = {orders!r}"


def _table(name: str, rows: list[str], several: bool) -> str:
    """Source of one table, or of the only rules where there are no several by name."""
    return "\n".join([f"{name} = {{", *(f"    {row}," for row in rows), "}"]) if several else f"{name} = {rows[0]}"

"""The rule functions of an emitted loop over steps, and the table that the loop reads."""

from __future__ import annotations

from codegen.steps.amplification import amplification
from codegen.steps.facts import Facts
from codegen.steps.rules import Function, RuleWriter
from derive.reversibility import inverse_amplification
from derive.schemes import LinearMultistep
from derive.symbols import Quantity


def rule_functions(facts: Facts) -> list[Function]:
    """Step, start and inverse with their adjoints."""
    return [*_step_functions(facts), *_start_functions(facts), *_inverse_functions(facts)]


def _writer(facts: Facts, prefix: str = "") -> RuleWriter:
    def number(kind: str, quantity: Quantity) -> str:
        return facts.derivation.number_of(".".join(part for part in (prefix, kind, quantity.name) if part))

    return RuleWriter(facts.layout, number)


def _step_functions(facts: Facts) -> list[Function]:
    step, old, new = facts.recurrence.step, facts.recurrence.old, facts.recurrence.new
    writer = _writer(facts)
    return [writer.step("_step", step, old, new), writer.adjoint("_step_adjoint", step, old, new)]


def _start_functions(facts: Facts) -> list[Function]:
    functions = []
    first = facts.recurrence.old[: facts.layout.components]
    unknown = first[0].name if len(first) == 1 else "state"
    for name, program in facts.recurrence.starts.items():
        writer = _writer(facts, f"start.{name}")
        made = f"{unknown}_1 from {unknown}_0, start {name!r}"
        doc = f"The first step: {made}."
        functions.append(writer.step(f"_start_{name}", program, first, facts.recurrence.new, doc))
        doc = f"Reverse sweep over the first step: {made}."
        functions.append(writer.adjoint(f"_start_{name}_adjoint", program, first, facts.recurrence.new, doc))
    return functions


def _inverse_functions(facts: Facts) -> list[Function]:
    if facts.inverse is None or not isinstance(facts.scheme, LinearMultistep):
        return []
    number = facts.derivation.number_of("inverse_trust")
    body = amplification(inverse_amplification(facts.scheme), facts.layout, number)
    doc = "Factor by which one inverse step amplifies an error, for |h J| <= h * lipschitz."
    parameters = "local: Sequence[float], shared: Sequence[float], lipschitz: float"
    return [
        _writer(facts).inverse(facts.inverse, facts.recurrence),
        Function("_amplification", parameters, "float", doc, body),
    ]


def rules_table(facts: Facts) -> str:
    """Source of the table of rules; of several where the scheme has several starts."""
    fields = ["step=_step", "adjoint=_step_adjoint"]
    if facts.inverse is not None:
        fields += ["inverse=_inverse", "amplification=_amplification"]
    if not facts.recurrence.starts:
        return f"_RULES = Rules({', '.join(fields)})"
    rows = [
        f"{name!r}: Rules({', '.join(fields)}, start=(Rules(step=_start_{name}, adjoint=_start_{name}_adjoint),)),"
        for name in facts.recurrence.starts
    ]
    return "\n".join(["_RULES = {", *(f"    {row}" for row in rows), "}"])

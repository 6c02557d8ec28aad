"""The module class of a recurrence: gated cells over layers, directions and sequences of unequal length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from codegen.cells.class_doc import class_doc, notes
from codegen.cells.constructor import constructor, dictionary, exact_values, parameter_shapes, readout_shapes
from codegen.cells.entries import CellEntry, cell_entry, interface_text
from codegen.cells.lowering import CellText, Numbers
from codegen.cells.lowering_backward import backward_function
from codegen.cells.lowering_batch import recompute_function
from codegen.cells.lowering_forward import forward_function
from codegen.cells.lowering_plain import plain_function
from codegen.cells.lowering_totals import totals_function
from codegen.cells.parts import CellParts
from codegen.cells.plan import CellPlan
from codegen.cells.prelude import keyword
from codegen.render import render
from codegen.steps.source import Function, tuple_display
from codegen.views import common_view
from derive.derivation import Derivation
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity
from derive.systems import Spec

BASES = {
    "Recurrent": "recurrent",
    "LinearRecurrent": "linear_recurrent",
    "RecurrentWithPrelude": "preludes",
    "FeedbackRecurrent": "recurrent_feedback",
}


def recurrent_text(spec: Spec, derivation: Derivation, command: str) -> str:
    """Text of the module of a recurrence.

    Raises:
        UnsupportedError: the step is not that of a gated cell; says what was read and what is allowed.
    """
    module = RecurrentModule(spec, derivation)
    cells = [module.recurrences[name] for name in module.plans]
    programs = [p for cell in cells for p in (cell.step, reverse_sweep(cell.step).program)]
    programs += [module.readout.program] if module.readout else []
    view = {
        "functions": module.functions,
        "cells": module.cells,
        "biases": names_text(module.biases),
        "zero_at_start": names_text(module.zero_at_start),
        "options": module.option_names,
        "told": module.told_text,
        "readout": module.readout_text,
        "methods": module.methods,
        "class_doc": class_doc(module),
        "bases": ", ".join(module.bases),
        "constants": module.constant_names,
        "interfaces": module.interface_texts,
        "further_sizes": module.further_sizes,
    }
    return render(
        "recurrent_module.py.jinja",
        {**view, **common_view(spec, derivation, programs, command, module.support, (), notes(module))},
    )


class RecurrentModule(CellParts):
    """The parts of an emitted recurrent module, as text."""

    @property
    def bases(self) -> tuple[str, ...]:
        """Classes of the runtime that the class is derived from."""
        found = {
            "LinearRecurrent": self.linear,
            "RecurrentWithPrelude": self.has_prelude,
            "FeedbackRecurrent": bool(self.interfaces),
        }
        return tuple(name for name, holds in found.items() if holds) or ("Recurrent",)

    @property
    def functions(self) -> tuple[Function, ...]:
        """The functions of each cell, and the read-out."""
        texts = [CellText(p, f"_{name}" if name else "", self._numbers_of(name, p)) for name, p in self.plans.items()]
        written = [writer(text) for text in texts for writer in _writers(text.plan)]
        for text, (name, prelude) in zip(texts, self.preludes.items(), strict=True):
            written += (
                prelude.functions(text.suffix, self._numbers(name, prelude.adjoint.cotangents, {})) if prelude else ()
            )
        if self.readout is not None:
            prefix = f"{self.default}.step" if self.default else "step"
            targets = self.readout.program.targets
            written.append(self.readout.function({q: self.derivation.number_of(f"{prefix}.{q.name}") for q in targets}))
        return tuple(written)

    def _numbers_of(self, option: str, plan: CellPlan) -> Numbers:
        return self._numbers(option, plan.adjoint.bars, plan.program.origins)

    def _numbers(self, option: str, bars: Mapping[Quantity, Quantity], origins: Mapping[Quantity, Quantity]) -> Numbers:
        """Numbers of the lines of a step or of a part of it, and of their cotangents."""
        about = {bar: quantity for quantity, bar in bars.items()}

        def number(quantity: Quantity | str) -> str:
            if isinstance(quantity, str):
                own = self.derivation.number_of(f"{option}.{quantity}")
                return own or self.derivation.number_of(quantity)
            primal = about.get(quantity, quantity)
            origin = origins.get(primal, primal)
            names = [f"step.{primal.name}", f"step.{origin.name}"]
            if quantity in about:
                prefix = quantity.name.removesuffix(primal.name)
                names = [f"adjoint.{quantity.name}", f"adjoint.{prefix}{origin.name}", *names]
            found = (self.derivation.number_of(f"{option}.{name}" if option else name) for name in names)
            return next((text for text in found if text), "")

        return number

    @property
    def cells(self) -> tuple[CellEntry, ...]:
        """The table option -> cell."""
        return tuple(
            cell_entry(first, list(self.spec.chosen(name).values()), self.plans[first], self.preludes[first])
            for name, first in self.twins.items()
        )

    @property
    def interface_texts(self) -> list[tuple[str, str]]:
        """Values of the options and the interface under them."""
        return [
            (entry.option, interface_text(face, self.size_names))
            for entry, face in zip(self.cells, self.interfaces, strict=False)
        ]

    @property
    def further_sizes(self) -> str:
        """Names of the sizes besides those that every recurrent module has, as a tuple; empty where there is none."""
        return names_text(self.sizes[2:])

    @property
    def constant_names(self) -> str:
        """Names of these arguments, as a tuple; empty where there is none."""
        return names_text([keyword(q) for q in self.constants])

    @property
    def told_text(self) -> str:
        """Their names and defaults; empty where there is none."""
        return dictionary([(repr(name), repr(lag.default)) for name, lag in self.told_lags.items()])[1:-1]

    @property
    def support(self) -> tuple[str, ...]:
        """Files of the runtime."""
        return (
            *(BASES[name] for name in self.bases),
            "slopes",
            "matrix_products",
            *(["lags"] * bool(self.told_lags)),
            *self.exact.support,
        )

    @property
    def readout_text(self) -> str:
        """What the class says of its read-out; empty where it has none."""
        if self.readout is None:
            return ""
        return f"Readout(_readout, {tuple_display([repr(name) for name in self.readout.names.values()])})"

    @property
    def zero_at_start(self) -> tuple[str, ...]:
        """Names of the parameters that start at zero."""
        return tuple(dict.fromkeys(part for o in self.operands if o.zero for part in o.parts))

    @property
    def option_names(self) -> str:
        """Names of these arguments, as a tuple; empty where there is none."""
        return names_text(list(self.options))

    @property
    def methods(self) -> tuple[Function, ...]:
        """Of the class."""
        methods = [constructor(self), parameter_shapes(self)]
        methods += [readout_shapes(self.readout)] if self.readout is not None else []
        return tuple([*methods, *exact_values(self)] if self.spec.values else methods)


def names_text(names: Sequence[str]) -> str:
    """Names as a tuple; empty where there is none."""
    return tuple_display([repr(name) for name in names]) if names else ""


def _writers(plan: CellPlan) -> tuple[Callable[[CellText], Function], ...]:
    """What writes the functions of a cell: without a slope there are no sweeps, without a state no totals."""
    if plan.silent:
        return (plain_function,)
    sweeps = (plain_function, forward_function, recompute_function, backward_function)
    return sweeps if plan.program.stateless else (*sweeps, totals_function)

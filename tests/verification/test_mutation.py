"""Mutation test: every change of an emitted derivative, however small, is caught by the checks."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from random import Random

import pytest
import torch

from codegen.emission import emit
from codegen.verification.gradient_checks import EXACT, _value, derived_against_autograd, tolerance_of
from codegen.verification.loaded import load_text
from codegen.verification.loss_checks import loss_rows
from codegen.verification.verifier import cases_of
from derive import load
from derive.catalog import REGISTER
from tests.verification.mutation import Mutant, applied, functions, mutants

EXHAUSTIVE = ("lm_resnet", "lstm_peephole")
MODULES = [listing.id for listing in REGISTER if listing.kind == "module"]
MOST = 20  # of the others, drawn at random: the largest has a thousand, and each takes seconds
SHORT = ("perceptron", "parity_mlp")  # their backward is three products
GRAPHS = (
    "heun",
    "rk4",
    "continuous_flow",
    "neural_ode",
    "deq",
)  # the calls of their network go through one autograd graph per step: no derived backward
FEW = ("gaussian_noise_injection",)  # what is added has no part in the backward
A_SIGN = ("nice",)  # is all that its backward is, beside that of its network
OTHERS = [name for name in MODULES if name not in (*EXHAUSTIVE, *SHORT, *GRAPHS, *A_SIGN)]
LEAST = [
    ("lm_resnet", 60),
    ("lstm_peephole", 200),
    *((name, 3 if name in FEW else 5) for name in OTHERS),
    *((name, 3) for name in SHORT),
]


@cache
def emitted(name):
    text = emit(load(name))
    return text, load_text(text)


@cache
def cases(name):
    """The usual cases, with references that are worked out once: no mutant changes them."""
    usual, _ = cases_of(load(name), emitted(name)[1].Module)
    return [replace(case, reference=partial(same, case.reference())) for case in usual]


def same(value):
    return value


def is_adjoint(name):
    return name.startswith("_") and any(word in name for word in ("adjoint", "backward", "pull_back", "_gradients"))


def is_derived(name):
    """Everything that is derived, but for the bound on rounding errors, which only decides where checkpoints lie.

    Nor the sizes of buffers: a larger one does as well.
    """
    rule = name.startswith(
        (
            "_step",
            "_start",
            "_inverse",
            "_exact",
            "_plain",
            "_forward",
            "_recompute",
            "_backward",
            "_field",
            "_equation",
            "_readout",
        )
    )
    return (rule and name != "_field_shapes") or name in {"loss", "loss_cotangent"}


def caught(name, mutant: Mutant) -> bool:
    """Whether one of the fast checks fails, or the mutant cannot run at all."""
    spec, (_, module) = load(name), emitted(name)
    usual = sorted(cases(name), key=partial(choices_not_in, mutant.function))
    with applied(mutant, module):
        if mutant.function.startswith("loss"):
            return not all(row.passed for row in loss_rows(name, spec.loss, module))
        checks = [
            (partial(derived_against_autograd, case, memory, "cpu"), tolerance_of(memory))
            for case in usual
            for memory in case.memory
        ]
        checks += [(partial(_value, case, "cpu"), EXACT) for case in usual]
        return any(fails(check, tolerance) for check, tolerance in checks)


def choices_not_in(function, case):
    """How many of a case's options the name of a function does not say: those it is made for run first."""
    return sum(choice not in function for choice in re.findall(r"='(\w+)'", case.label))


def fails(check, tolerance: float) -> bool:
    try:
        return not check().value <= tolerance
    except Exception:
        return True


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_mutants_of_everything_derived_are_caught(name, record_property):
    torch.manual_seed(0)
    text, _ = emitted(name)
    found = [mutant for function in functions(text, is_derived) for mutant in mutants(function)]
    if name not in EXHAUSTIVE and len(found) > MOST:
        found = Random(name).sample(found, MOST)
    listing = [f"{mutant.function}: {mutant.change}" for mutant in found]
    record_property("mutants", listing)
    missed = [line for line, mutant in zip(listing, found, strict=True) if not caught(name, mutant)]
    assert not missed, f"{len(missed)} of {len(found)} mutants missed:\n" + "\n".join(missed)


@pytest.mark.parametrize(("name", "least"), LEAST)
def test_mutants_of_the_backward_are_many_and_of_every_kind(name, least):
    text, _ = emitted(name)
    found = [mutant for function in functions(text, is_adjoint) for mutant in mutants(function)]
    assert len({(mutant.function, mutant.change) for mutant in found}) > least
    kinds = Counter(re.search(r", (\w+( \w+)?):", mutant.change)[1] for mutant in found)
    wanted = {"sign", "operands"} if name in SHORT else {"sign", "dropped term"}
    assert wanted <= set(kinds) or "dropped statement" in kinds, kinds
    if name in EXHAUSTIVE:
        assert kinds["literal"] >= 5 and kinds["sign"] > 20, kinds


def test_what_is_mutated_is_every_literal_sign_order_and_term():
    source = "def f(x, y):\n    a = 2 * x - y / x\n    b = a + torch.zeros_like(x)\n    return -b, x @ y\n"
    (function,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    changes = [mutant.change.split(", ", 1)[1] for mutant in mutants(function)]
    assert sorted(changes) == sorted(
        [
            "sign: a = 2 * x - y / x -> a = -(2 * x - y / x)",
            "sign: b = a + torch.zeros_like(x) -> b = -(a + torch.zeros_like(x))",
            "sign: 2 * x - y / x -> 2 * x + y / x",
            "operands: 2 * x - y / x -> y / x - 2 * x",
            "dropped term: 2 * x - y / x -> y / x",
            "dropped term: 2 * x - y / x -> 2 * x",
            "dropped term: 2 * x -> x",
            "dropped term: 2 * x -> 2",
            "literal: 2 -> 3",
            "operands: y / x -> x / y",
            "dropped term: a + torch.zeros_like(x) -> torch.zeros_like(x)",
            "sign: -b -> b",
            "operands: x @ y -> y @ x",
        ]
    )


def test_a_mutant_is_gone_afterwards():
    name = "resnet"
    text, _ = emitted(name)
    mutant = next(m for function in functions(text, is_adjoint) for m in mutants(function))
    assert caught(name, mutant)
    (case,) = cases(name)
    assert derived_against_autograd(case, "store", "cpu").value <= EXACT

"""The head of an emitted file says where its equations are computed: in lines with their numbers, or by autograd."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from codegen.emission import emit
from derive import load

GENERATED = Path(__file__).parents[2] / "generated"
STEPS = sorted(path.stem for path in GENERATED.glob("*.py") if "The discrete adjoint" in path.read_text())
NOTE = "The discrete adjoint: what autograd computes from the lines of one step"


def split(text):
    """Numbers of the section on the adjoint, and of the comments of the code."""
    head, code = text.split("from __future__", 1)
    sections = [part for part in head.split("\n\n") if part.startswith("The discrete adjoint")]
    section = next(part for part in sections if "there is no sweep" not in part)
    return re.findall(r"^    \((\d+)\)", section, re.MULTILINE), re.findall(r"\((\d+)\)", " ".join(comments(code)))


def comments(code):
    return re.findall(r"  # (.*)", code)


@pytest.mark.parametrize("name", STEPS)
def test_numbers_of_the_adjoint_stand_in_the_code_or_autograd_is_said_to_compute_them(name):
    text = (GENERATED / f"{name}.py").read_text()
    numbers, used = split(text)
    assert numbers
    if NOTE in text:
        assert not set(numbers) & set(used)
        assert "derived (the reverse sweep goes from step to step, and autograd through the lines of one;" in text
    else:
        assert set(numbers) & set(used)


def test_a_step_that_calls_its_field_several_times_says_so_with_any_scheme():
    assert NOTE in emit(load("forward_euler"), "kutta3")
    assert NOTE not in emit(load("rk4"), "gauss4") and NOTE not in emit(load("rk4"), "forward_euler")


BOUNDS = {  # closed forms and roots of |R| = 1 by NumPy
    "forward_euler": ("[-2, 0]", "{0}", "no", "no"),
    "rk4": (f"[{min(np.roots([1 / 24, 1 / 6, 1 / 2, 1]).real):.6g}..., 0]", "[-2*sqrt(2), 2*sqrt(2)]", "no", "no"),
    "trapezoid": ("(-oo, 0]", "(-oo, oo)", "yes", "no"),
    "backward_euler": ("(-oo, 0]", "(-oo, oo)", "yes", "yes"),
    "leapfrog": ("{0}", "[-1, 1]", "no", "no"),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_class_and_file_say_how_stable_the_scheme_is(name):
    module = importlib.import_module(f"generated.{name}")
    words = ("real interval", "imaginary interval", "A-stable", "L-stable")
    found = " ".join(module.Module.__doc__.split())
    for word, value in zip(words, BOUNDS[name], strict=True):
        assert f"{word}: {value}" in found
        assert module.DERIVATION["facts"][word] == value


def test_facts_are_those_of_the_scheme_that_is_named():
    assert "L-stable: yes" in emit(load("rk4"), "radau2a_3")
    assert "Order: 8; real interval: [-6.39365, 0] (to 26 digits)" in emit(load("rk4"), "dop853")
    assert "imaginary interval: [-2, 2]" in emit(load("revnet")) and "A-stable" not in emit(load("revnet"))

"""That every recurrent system and every user's cell has the plots that are said to be there, and what is in them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from sympy import Rational

from codegen.verification.recurrent_cases import lines_over
from derive import Builder, Recurrence, Spec, input_, matvec, parameter, past, sigmoid, state, tanh
from derive.catalog import REGISTER
from derive.functions import step as jump
from plots import gates, gradients, kinds_of, modules, style
from plots.modules import recurrent_module
from plots.subject import Subject, subject_of
from tests.codegen.test_cells_of_sizes import CELLS

x, h, c = input_("x", "I"), state("h", "H"), state("c", "H")
W, R, V = parameter("W", ("H", "I")), parameter("R", ("H", "H")), parameter("V", ("K", "H"))


def highway() -> Spec:
    """The output is no state, and of its size."""
    step = Builder()
    f = step.let("f", sigmoid(matvec(W, x) + c))
    new = step.let("new", f * c + (1 - f) * matvec(R, c))
    y = step.let("y", f * tanh(new) + matvec(W, x))
    return Spec("highway", "Highway", "highway", Recurrence(step.build((new, y)), (c,), (new,), (x,), y))


def two_sizes() -> Spec:
    """The output is the larger state; a gate for each size."""
    small, P, Q = state("s", "M"), parameter("P", ("M", "I")), parameter("Q", ("H", "M"))
    step = Builder()
    f = step.let("f", sigmoid(matvec(P, x)))
    s_next = step.let("s_next", f * small + (1 - f) * tanh(matvec(P, x)))
    o = step.let("o", sigmoid(matvec(R, h)))
    h_next = step.let("h_next", o * tanh(matvec(Q, s_next)))
    system = Recurrence(step.build((h_next, s_next)), (h, small), (h_next, s_next), (x,), h_next)
    return Spec("two_sizes", "TwoSizes", "two sizes", system)


def remembering() -> Spec:
    """Gates of earlier states and inputs; the output is of another size."""
    step = Builder()
    f = step.let("f", sigmoid(matvec(R, past(h, 2)) + matvec(W, past(x, 3))))
    new = step.let("new", f * h + (1 - f) * tanh(matvec(W, x)))
    o = step.let("o", matvec(V, new * f))
    return Spec("remembering", "Remembering", "remembering", Recurrence(step.build((new, o)), (h,), (new,), (x,), o))


def read_out() -> Spec:
    """The output is read from the state alone: a read-out, which a module has if it is told its size."""
    step = Builder()
    f = step.let("f", sigmoid(matvec(R, h) + matvec(W, x)))
    new = step.let("new", f * h + (1 - f) * tanh(matvec(W, x)))
    o = step.let("o", sigmoid(matvec(V, new)))
    return Spec("read_out", "ReadOut", "read-out", Recurrence(step.build((new, o)), (h,), (new,), (x,), o))


def jumping() -> Spec:
    """One of two states has no slope, and the other reads it."""
    step = Builder()
    f = step.let("f", sigmoid(matvec(R, h) + c))
    new = step.let("new", f * h + matvec(W, x))
    flag = step.let("flag", jump(new - Rational(1, 2)))
    return Spec("jumping", "Jumping", "jumping", Recurrence(step.build((new, flag)), (h, c), (new, flag), (x,), new))


OWN = {spec.id: spec for spec in (highway(), two_sizes(), remembering(), read_out(), jumping())}
OWN |= {cell.spec.id: cell.spec for cell in CELLS}
CATALOGUE = [listing.id for listing in REGISTER if listing.family == "recurrent" and listing.kind == "module"]


@pytest.mark.parametrize("name", [*CATALOGUE, *OWN])
def test_what_is_said_to_be_there_is_drawn(name, monkeypatch, tmp_path):
    for module, constant, value in ((gradients, "STEPS", 6), (gates, "EPOCHS", 1)):
        monkeypatch.setattr(module, constant, value)
    subject = Subject(name, OWN[name]) if name in OWN else subject_of(name)
    if name not in OWN:  # as it is checked in: emitting it anew takes longer
        monkeypatch.setattr(modules, "module_class", lambda _: importlib.import_module(f"generated.{name}").Module)
    for kind in kinds_of(subject).values():
        with style.styled():
            found = kind.module.data(subject)
            assert style.save(kind.module.draw(subject, found), tmp_path / f"{kind.name}.png").stat().st_size > 5000
        if kind.name == "gradients":
            states = {q.name for one in subject.spec.variants.values() for q in one.old}
            assert all(set(one.norms) == states for one in found)
            norms = np.stack([values for one in found for values in one.norms.values()])
            assert np.isfinite(norms).all() and (norms[:, :-1].any() or name == "schooled")  # whose outputs add up to 1


def test_which_cells_have_which():
    expected = {name: ["gradients", "gates"] for name in ("highway", "two_sizes", "remembering", "read_out", "jumping")}
    expected |= {"mixture": ["gradients"], "centred": ["gradients", "gates"], "skipping": ["gradients"]}
    expected["schooled"] = ["gradients"]  # its gate needs a target, which the series does not have
    assert {name: list(kinds_of(Subject(name, spec))) for name, spec in OWN.items()} == expected


@pytest.mark.parametrize("name", ["highway", "two_sizes", "remembering", "read_out"])
def test_lines_of_own_cells_are_what_the_module_computes(name):
    spec = OWN[name]
    torch.manual_seed(0)
    net = recurrent_module(spec, "", 2, 3, **({"output": 3} if name == "read_out" else {}))
    with torch.no_grad():
        for value in net.parameters():
            value.normal_()
        rows = torch.randn(7, 2, dtype=torch.float64)
        output, state = net(rows.unsqueeze(1))
    known = lines_over(net, spec, "", rows)
    (cell,) = spec.variants.values()
    shown = cell.new[0] if cell.output is None else cell.output
    np.testing.assert_allclose(known[shown], output[:, 0].numpy(), rtol=1e-11, atol=1e-13)
    finals = state if isinstance(state, tuple) else (state,)
    for q, final in zip(cell.new, finals, strict=False):
        newest = final[0, 0] if final.dim() == 3 else final[0, 0, 0]
        np.testing.assert_allclose(known[q][-1], newest.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", ["lstm", "two_sizes"])
def test_a_row_is_one_unit_in_all_panels_of_a_size(name, monkeypatch):
    monkeypatch.setattr(gates, "EPOCHS", 1)
    subject = Subject(name, OWN[name]) if name in OWN else subject_of(name)
    found = gates.data(subject)
    panels = [axes for axes in gates.draw(subject, found).axes if axes.images and axes.get_ylabel()]
    values = {**found.gates, **found.candidates, **found.states}
    first = {"lstm": {"H": "i"}, "two_sizes": {"H": "o", "M": "f"}}[name]
    named = {q.name: one for q, one in values.items()}
    for panel, (q, one) in zip(panels, values.items(), strict=True):
        order = np.argsort(named[first[q.shape[0]]].mean(axis=0))
        np.testing.assert_array_equal(panel.images[0].get_array(), one[:, order].T)
    letters = {q.name: q.latex for q in values}
    said = " and ".join(f"${letters[one]}$" for one in first.values())
    assert panels[-1].get_xlabel().endswith(f"in the order of the mean of {said}")

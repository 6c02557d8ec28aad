"""The text of losses and of one step: checks where there is something to check, and an equation number on each line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from codegen import emit
from codegen.verification.loaded import load_text
from codegen.verification.loss_checks import loss_rows
from derive import SpecError, dot, load
from derive.losses import SOFTMAX_CROSS_ENTROPY, SQUARED_ERROR, o, y

GENERATED = Path(__file__).parents[2] / "generated"


@pytest.mark.parametrize("path", sorted(GENERATED.glob("*.py")), ids=lambda path: path.stem)
def test_checks_of_targets_come_with_a_loss(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert ("def checked_target" in text) == ("\ndef loss(" in text)


@pytest.mark.parametrize("name", ["loss", "loss_cotangent"])
def test_a_loss_checks_its_read_out_and_its_target(name: str) -> None:
    text = (GENERATED / "resnet.py").read_text(encoding="utf-8")
    body = text.partition(f"\ndef {name}(")[2].partition("\ndef ")[0]
    assert f'has_readout("{name}", output, "d", V=(V, ("K", "d")), c=(c, ("K",)))' in body
    assert f'target = checked_target("{name}", target, output, classes=True)' in body


@pytest.mark.parametrize("stem", ["resnet", "lm_resnet"])
def test_pullbacks_carry_the_number_of_the_line_that_uses_them(stem: str) -> None:
    lines = (GENERATED / f"{stem}.py").read_text(encoding="utf-8").splitlines()
    calls = [place for place, line in enumerate(lines) if re.match(r"    \(bar_x_by_f,\) = pullback_f", line)]
    assert calls
    for place in calls:
        user = next(line for line in lines[place + 1 :] if "bar_x_by_f" in line)
        assert re.search(r"# (\(\d+\))$", lines[place]).group(1) == re.search(r"# (\(\d+\))$", user).group(1)


def test_text_of_the_first_step_and_of_the_amplification() -> None:
    text = (GENERATED / "lm_resnet.py").read_text(encoding="utf-8")
    for start in ("plain", "matched"):
        assert f'"""The first step: x_1 from x_0, start {start!r}."""' in text
        assert f'"""Reverse sweep over the first step: x_1 from x_0, start {start!r}."""' in text
    body = text.partition("\ndef _amplification(")[2].partition("\n\n\n")[0]
    assert "for h_lambda in" in body
    assert not re.search(r"\bz\b", body)
    assert len(re.findall(r"# \(\d+\)$", body, re.MULTILINE)) == 3


def with_loss(loss):
    return replace(load("lstm"), id="own", loss=loss)


def test_a_cell_of_ones_own_gets_its_loss_with_weights_of_steps():
    module = load_text(emit(with_loss(replace(SQUARED_ERROR, value=dot(o - y, o - y) ** 2 / 4, title="quartic"))))
    output, target = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True), torch.randn(4, 2, 3).double()
    weights = torch.tensor([[0.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
    expected = (weights * (output - target).square().sum(-1).square() / 4).sum()
    torch.testing.assert_close(module.loss(output, target, weights=weights), expected)
    (gradient,) = torch.autograd.grad(expected, output)
    torch.testing.assert_close(module.loss_cotangent(output, target, weights=weights), gradient)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"read": SOFTMAX_CROSS_ENTROPY}, "the loss read has a read-out; allowed: of a single loss"),
        ({"two words": SQUARED_ERROR}, "'two words' is not a Python identifier"),
        ({}, "give a Loss, or a table of them by name"),
        ("squared", "give a Loss, or a table of them by name"),
    ],
)
def test_what_is_no_loss_is_refused(loss, said):
    with pytest.raises(SpecError, match=said):
        with_loss(loss)


def test_all_checks_of_a_loss_notice_a_wrong_line():
    spec = replace(load("rnn_hidden"), id="own")
    text = emit(spec)
    for right, wrong in (
        ("softplus_a_value * target", "1.001 * softplus_a_value * target"),
        ("bar_output = output - target", "bar_output = output - 1.001 * target"),
        ('weighed("loss", value, weights, 1).sum()', "value.sum()"),
    ):
        assert text.count(right)
        module = load_text(text.replace(right, wrong))
        rows = [row for name, loss in spec.losses.items() for row in loss_rows("own", loss, module, name)]
        assert any(not row.passed for row in rows), right

"""The text of losses and of one step: checks where there is something to check, and an equation number on each line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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

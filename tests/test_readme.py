"""What the README shows is what comes out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from codegen import emit, verify
from derive import explain, load
from derive.rendering import to_text
from plots.register import KINDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
PLAIN = [text for language, text in BLOCKS if not language]


def block(blocks: list[str], mark: str) -> str:
    """The one block that has a mark in it."""
    (found,) = [text for text in blocks if mark in text]
    return found


def run_beside(folder: Path, code: str) -> None:
    """Run an excerpt in a folder that holds the emitted file, with this repository installed; a warning is an error."""
    (folder / "use.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "use.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name
)
def test_lines_of_prose_are_not_longer_than_those_of_code(path):
    prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not [line for line in prose.splitlines() if len(line) > 120 and not line.startswith("| ")]


def test_the_emitted_excerpt_is_in_the_file():
    excerpt = block(PYTHON, "def _step(field")
    assert excerpt.strip() in (ROOT / "generated" / "lm_resnet.py").read_text(encoding="utf-8")


def test_the_derivation_excerpt_is_what_show_prints():
    shown = to_text(explain(load("lm_resnet")))
    for relation in re.split(r"\n\n(?=\()", block(PLAIN, "Cotangent of k").strip()):
        assert relation in shown
    assert block(PLAIN, "the deck says").strip() in shown


def test_the_spec_excerpt_is_in_the_catalogue():
    source = (ROOT / "derive" / "catalog" / "lm_resnet.py").read_text(encoding="utf-8")
    excerpt = block(PYTHON, "an opaque network per layer")
    for line in excerpt.splitlines():
        code = line.split("#")[0].strip()
        if code and "..." not in code:
            assert code in source


def test_the_verification_excerpt_names_rows_of_the_table():
    rows = {row.check: row for row in verify(load("lm_resnet"))}
    shown = [line for line in block(PLAIN, "observed order").splitlines() if line.endswith("  passed")]
    assert len(shown) >= 10
    for line in shown:
        assert rows[re.split(r"\s{2,}", line)[0]].passed


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("lm_resnet", "from lm_resnet import"),
        ("linear_multistep", "import LinearMultistep"),
        ("planar_flow", "import PlanarFlow"),
        ("deq", "import DEQ"),
        ("neural_sde", "import NeuralSDE"),
        ("neural_ode", "import NeuralODE"),
        ("gru", "import gradient_profile"),
    ],
)
def test_the_excerpt_runs_beside_a_copy_of_its_file(tmp_path, file, line):
    shutil.copy(ROOT / "generated" / f"{file}.py", tmp_path)
    run_beside(tmp_path, block(PYTHON, line))


def test_the_catalogue_excerpt_is_what_list_prints():
    listed = CliRunner().invoke(main, ["list"]).output
    assert block(PLAIN, "$ derive list\n").removeprefix("$ derive list\n") == listed


def test_the_problem_of_the_readme_is_derived(tmp_path):
    path = tmp_path / "swing.py"
    path.write_text(block(PYTHON, "OptimalControl("))
    found = explain(load(str(path))).results
    assert str(found["costate_velocity_speed"]) == "-a_angle"
    assert str(found["optimal_force"]) == "-a_speed/rho"


def test_the_kicks_of_the_readme_are_emitted_and_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (file,) = set(re.findall(r"derive generate (kick\w+\.py)", README))
    Path(file).write_text(block(PYTHON, "RandomRecurrence("))
    assert CliRunner().invoke(main, ["generate", file]).output == "kicked.py\n"
    run_beside(tmp_path, block(PYTHON, "import Kicked"))


@pytest.mark.parametrize("shown", [README, CliRunner().invoke(main, ["plot", "--help"]).output])
def test_every_kind_of_plot_is_listed(shown):
    _, mark, listed = shown.partition("kinds of plots" if shown is README else "Kinds:")
    assert mark and not [kind.name for kind in KINDS if not re.search(rf"\b{kind.name}\b", listed)]


@pytest.mark.slow
def test_the_kicks_of_the_readme_are_derived_and_proved(tmp_path):
    path = tmp_path / "kicks.py"
    path.write_text(block(PYTHON, "RandomRecurrence("))
    spec = load(str(path))
    assert explain(spec).facts["weak order of small steps"] == "1/2; 1 where 1 - 2*p = O(sqrt(h))"
    assert all(row.passed for row in verify(spec))


@pytest.mark.slow
def test_the_cell_of_the_readme_is_emitted_and_proved(tmp_path):
    path = tmp_path / "cell.py"
    path.write_text(block(PYTHON, "minimal_gated_unit"))
    spec = load(str(path))
    assert "class MinimalGatedUnit(Recurrent)" in emit(spec)
    assert all(row.passed for row in verify(spec))

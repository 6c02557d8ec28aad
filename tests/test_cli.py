"""The command line: what is printed, where, and with which exit status."""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import codegen
from cli import main
from codegen.verification.report import Row
from derive.catalog import CATALOG, REGISTER
from derive.loading import load

ROOT = Path(__file__).parent.parent
MODULES = [listing.id for listing in REGISTER if listing.kind == "module"]
SPEC = """
from derive import ODE, Spec, parameter, state
x = state("x", "d")
a = parameter("a", "d")
SPEC = Spec(id="decay", class_name="Decay", title="Decay", system=ODE((x,), (-a * x,)), scheme="heun")
"""


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def refused(*arguments):
    """One message on stderr, nothing on stdout, exit status 2."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


def in_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.fixture
def user_spec(tmp_path, monkeypatch):
    """A user's spec in a scratch folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.py"
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_help_loads_nothing_heavy():
    code = """
import sys
from cli import main
try:
    main(["--help"])
except SystemExit as done:
    assert done.code == 0
heavy = {"sympy", "torch", "numpy", "jinja2", "rich", "latex2mathml"} & set(sys.modules)
assert not heavy, heavy
"""
    out = in_process(code)
    assert all(name in out for name in ("list", "show", "generate", "check", "verify", "new"))


def test_generating_never_loads_torch(tmp_path):
    code = f"""
import sys
from cli import main
try:
    main(["generate", "lm_resnet", "lstm_peephole", "-o", {str(tmp_path)!r}])
except SystemExit as done:
    assert done.code == 0, done.code
assert "torch" not in sys.modules
"""
    in_process(code)
    assert {path.name for path in tmp_path.iterdir()} == {"lm_resnet.py", "lstm_peephole.py"}


@pytest.mark.slow
def test_another_hash_seed_gives_the_same_bytes(tmp_path):
    """The checked-in files, that is, which `test_the_checked_in_files_are_fresh` compares under this process's seed."""
    code = f"from cli import main; main(['generate', '--all', '-o', {str(tmp_path)!r}], standalone_mode=False)"
    in_process(code, PYTHONHASHSEED="2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(f"{name}.py" for name in MODULES)
    assert all((tmp_path / name).read_bytes() == (ROOT / "generated" / name).read_bytes() for name in names)


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("derive 0.")


def test_list():
    text = run("list").output
    rows = json.loads(run("list", "--json").output)
    assert [row["id"] for row in rows] == list(CATALOG)
    assert all(list(row) == ["id", "kind", "class", "family", "title", "source"] for row in rows)
    assert all(row["id"] in text and row["class"] in text for row in rows)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("sow",), "Did you mean 'show'?"),
        (("show", "lm_resnt"), "did you mean lm_resnet"),
        (("generate", "lm_resnt"), "did you mean lm_resnet"),
        (("check", "resnett"), "did you mean resnet"),
        (("verify", "cubic"), "did you mean cubic_ode"),
        (("generate",), "give one or more SPECs, or --all"),
        (("generate", "resnet", "--all"), "give one or more SPECs, or --all"),
        (("verify",), "give one or more SPECs, or --all"),
        (("show", "resnet", "--format", "word"), "'word' is not one of"),
        (("show", "resnet", "--section", "Symbls"), "did you mean Symbols"),
        (("generate", "driven_oscillator", "--scheme", "huen"), "did you mean heun"),
        (("generate", "graph_relu"), "graph_relu: a statement has nothing to emit; torch.relu("),
        (("generate", "resnet", "graph_product"), "graph_product: a statement has nothing to emit"),
        (("show", "nowhere/spec.py"), "there is no file nowhere/spec.py"),
    ],
)
def test_what_is_refused(arguments, complaint):
    assert complaint in refused(*arguments)


def test_a_spec_that_raises_is_named_with_its_line(user_spec):
    user_spec.write_text("x = 1\ny = 1 / 0\n", encoding="utf-8")
    for command in ("show", "generate", "check", "verify"):
        assert "mine.py, line 2: ZeroDivisionError" in refused(command, "mine.py")
    assert [path.name for path in user_spec.parent.iterdir()] == ["mine.py"]


def test_show_text_and_one_section():
    whole = run("show", "lm_resnet").output
    assert "(1)" in whole
    part = run("show", "lm_resnet", "--section", "symbols").output
    assert len(part) < len(whole) / 2
    assert "(1)" not in part


def test_show_a_scheme_by_its_id(tmp_path):
    shown = run("show", "dopri5").output
    assert shown.startswith("Dormand-Prince 5(4) (dopri5)") and "A-stable" in shown
    assert r"\begin{array}{c|ccccccc}" in run("show", "dopri5", "--format", "latex").output
    path = tmp_path / "page.html"
    run("show", "strang", "--format", "html", "-o", path)
    page = html.unescape(path.read_text(encoding="utf-8"))
    assert "[f,[f,g]]" in re.sub("<[^>]*>", "", page)
    assert "did you mean dopri5" in refused("show", "dopri4")
    assert "L-stable  [inequality]" in run("show", "bdf2", "--section", "linear").output


def test_show_writes_a_file(tmp_path):
    path = tmp_path / "page.html"
    assert run("show", "resnet", "--format", "html", "-o", path).output.strip() == str(path)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert "does not exist" in refused("show", "resnet", "-o", tmp_path / "no" / "page.txt")


def test_show_a_users_spec(user_spec):
    assert run("show", "mine.py").output.startswith("Decay (decay)")
    assert run("show", f"{user_spec}:SPEC", "--format", "latex").output.startswith(r"\documentclass")


def test_generate_puts_a_users_module_here_and_check_finds_it(user_spec):
    assert run("generate", "mine.py").output.splitlines() == ["decay.py"]
    emitted = user_spec.with_name("decay.py")
    assert "class Decay" in emitted.read_text(encoding="utf-8")
    fresh = run("check", "mine.py")
    assert (fresh.exit_code, fresh.output.strip()) == (0, "decay.py: up to date")
    emitted.write_text(emitted.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    stale = run("check", "mine.py")
    line, hint = stale.output.splitlines()
    assert line == "decay.py: stale, -1 +0 lines; `derive generate mine.py` writes it anew"
    assert stale.exit_code == 1 and hint == "--diff shows what differs"
    assert "-# edited" in run("check", "mine.py", "--diff").output.splitlines()
    emitted.unlink()
    missing = run("check", "mine.py", "--diff")
    assert (missing.exit_code, missing.output) == (1, "decay.py: missing; `derive generate mine.py` writes it\n")
    assert not emitted.exists()


def test_check_without_a_spec_elsewhere_reads_the_files_that_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = " ".join(refused("check").split())
    assert f"{tmp_path} has no emitted file of the catalogue; allowed: a folder that has (-o FOLDER), or SPECs" in said
    run("generate", "heun", "-o", "emitted")
    assert run("check", "-o", "emitted").output == "emitted/heun.py: up to date\n"
    lines = run("check", "heun", "rk4", "-o", "emitted").output.splitlines()
    assert lines[1:] == ["emitted/rk4.py: missing; `derive generate rk4 -o emitted` writes it"]
    assert "emitted has no emitted file" not in refused("check")


def test_errors_lead_to_commands_that_there_are(user_spec, tmp_path):
    said = refused("new", str(tmp_path / "missing" / "a.py"))
    assert "the folder" in said and "does not exist; create it, or give another place" in said and " -o" not in said
    assert "no error estimate to choose steps by; allowed: " in refused("generate", "neural_ode", "--scheme", "rk4")
    assert run("generate", "rk4").output == "rk4.py\n"


def test_generate_with_another_scheme(user_spec):
    run("generate", "mine.py")
    heun = user_spec.with_name("decay.py").read_text(encoding="utf-8")
    scheme = "from derive import ButcherTableau\nEULER = ButcherTableau(A=[[0]], b=[1], c=[0])\n"
    user_spec.with_name("euler.py").write_text(scheme, encoding="utf-8")
    for choice in ("rk4", "euler.py", "euler.py:EULER"):
        assert run("generate", "mine.py", "--scheme", choice).exit_code == 0
        assert user_spec.with_name("decay.py").read_text(encoding="utf-8") != heun
    result = run("check", "mine.py")
    assert result.exit_code == 1
    assert "a scheme of the user's own" in result.output
    assert "`derive generate mine.py --scheme FILE` writes it anew" in result.output
    run("generate", "mine.py", "--scheme", "rk4")
    assert run("check", "mine.py").exit_code == 0
    user_spec.with_name("decay.py").write_text(user_spec.with_name("decay.py").read_text() + "# edited\n")
    assert "`derive generate mine.py --scheme rk4` writes it anew" in run("check", "mine.py").output


def test_generate_never_overwrites_the_spec(user_spec):
    text = SPEC.replace('"decay"', '"mine"')
    user_spec.write_text(text, encoding="utf-8")
    assert "its own spec" in refused("generate", "mine.py")
    assert user_spec.read_text(encoding="utf-8") == text


def test_nothing_is_written_before_all_specs_are_known(user_spec):
    refused("generate", "mine.py", "no_such_id")
    assert [path.name for path in user_spec.parent.iterdir()] == ["mine.py"]


@pytest.mark.parametrize("command", [("show", "mine.py"), ("show", "mine.py", "--format", "latex"), ("plot", "rk4")])
def test_a_missing_folder_is_said_before_any_work(user_spec, monkeypatch, command):
    monkeypatch.setattr("derive.showing.explained", lambda _: pytest.fail("derived"))
    monkeypatch.setattr("plots.stability.data", lambda _: pytest.fail("computed"))
    assert "the folder missing does not exist" in refused(*command, "-o", "missing/rk4.png")


def test_generate_makes_its_folder(user_spec):
    assert run("generate", "mine.py", "-o", "deep/er").stdout == "deep/er/decay.py\n"
    assert user_spec.with_name("deep").joinpath("er", "decay.py").is_file()


def test_a_file_in_the_place_of_the_folder_is_said_before_any_work(user_spec, monkeypatch):
    monkeypatch.setattr("codegen.emit", lambda *_: pytest.fail("emitted"), raising=False)
    for folder in ("mine.py", "mine.py/below"):
        assert "mine.py is not a folder; give another place" in refused("generate", "mine.py", "-o", folder)


def test_what_a_file_prints_does_not_mix_with_the_output(user_spec):
    user_spec.write_text("print('loading ...')\n" + SPEC, encoding="utf-8")
    result = run("verify", "mine.py", "--json")
    assert all(row["passed"] for row in json.loads(result.stdout))
    assert result.stderr.startswith("loading ...")


@pytest.mark.parametrize(
    "command", ["list", "list --schemes", "show lm_resnet", "lint milne_simpson", "verify graph_relu"]
)
def test_lines_fit_a_narrow_terminal(command, monkeypatch):
    whole = run(*command.split()).stdout
    monkeypatch.setenv("COLUMNS", "40")
    assert run(*command.split()).stdout == whole  # there is no terminal
    for place in ("derive.terminal", "cli"):
        monkeypatch.setattr(f"{place}.terminal_width", lambda: 40)
    for line in run(*command.split()).stdout.splitlines():
        assert len(line) <= 40 or max(map(len, line.split())) > 24, line


def test_a_scheme_is_not_exchanged_where_the_spec_is_about_its_parameters(user_spec):
    said = refused("generate", "lm_resnet", "--scheme", "rk4")
    assert (
        "lm_resnet: k belongs to its scheme LM-ResNet, which the spec is about; classical Runge-Kutta has no k" in said
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_read_only_folder_is_said_and_the_old_file_stays(user_spec):
    folder = user_spec.parent / "out"
    folder.mkdir()
    old = folder / "decay.py"
    old.write_text("old", encoding="utf-8")
    folder.chmod(0o500)
    assert "writable" in refused("generate", "mine.py", "-o", folder)
    assert old.read_text(encoding="utf-8") == "old"
    folder.chmod(0o700)


def test_a_full_disk_is_said_and_the_old_file_stays(user_spec, monkeypatch):
    old = user_spec.with_name("decay.py")
    old.write_text("old", encoding="utf-8")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("derive.files.os.replace", refuse)
    assert "No space left on device" in refused("generate", "mine.py")
    assert old.read_text(encoding="utf-8") == "old"
    assert sorted(path.name for path in user_spec.parent.iterdir()) == ["decay.py", "mine.py"]


def test_inside_a_checkout_the_catalogue_belongs_to_generated(monkeypatch):
    monkeypatch.chdir(ROOT / "tests")
    assert str(ROOT / "generated" / "resnet.py") in run("check", "resnet").output
    monkeypatch.chdir(ROOT)
    assert run("check", "resnet").output.startswith("generated/resnet.py")


def test_the_checked_in_files_are_fresh(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = run("check")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == len(MODULES)


def test_statements_are_shown_checked_and_verified(tmp_path):
    assert "bar_W = outer(x_1, bar_a_1)" in run("show", "graph_relu").output
    assert run("check", "graph_relu", "-o", tmp_path).output == "graph_relu: a statement, no file to compare\n"
    assert run("verify", "graph_sigmoid").output.strip().endswith("4 checks, all passed")
    assert not list(tmp_path.iterdir())


def test_another_sympy_is_said_first(tmp_path, monkeypatch):
    run("generate", "resnet", "-o", tmp_path)
    path = tmp_path / "resnet.py"
    text = path.read_text(encoding="utf-8")
    assert "sympy 1.14" in text
    path.write_text(text.replace("sympy 1.14", "sympy 1.13", 1), encoding="utf-8")
    result = run("check", "resnet", "-o", tmp_path)
    assert result.exit_code == 1
    assert "emitted with sympy 1.13" in result.output.splitlines()[1]


ROWS = [
    Row("decay", "value", "equal", "1e-16", "1e-12", True, "against the reference evaluator"),
    Row("decay", "order", "2", "1.2", "0.1", False, "halving the step"),
]


@pytest.mark.parametrize(("rows", "status"), [(ROWS[:1], 0), (ROWS, 1)])
def test_verify_reports(user_spec, monkeypatch, rows, status):
    monkeypatch.setattr(codegen, "verify", lambda spec, device: rows, raising=False)
    result = run("verify", "mine.py")
    assert result.exit_code == status
    assert ("1 FAILED" in result.output) == ("halving the step" in result.output) == bool(status)
    listed = run("verify", "mine.py", "--json")
    assert listed.exit_code == status
    assert json.loads(listed.output)[0] == {
        "spec": "decay",
        "check": "value",
        "expected": "equal",
        "measured": "1e-16",
        "tolerance": "1e-12",
        "passed": True,
        "detail": "against the reference evaluator",
    }


@pytest.mark.slow
def test_new_generate_verify_from_a_scratch_folder(tmp_path):
    """A user's way, outside the project, as a user walks it."""
    command = [sys.executable, str(ROOT / "cli.py")]

    def step(*arguments):
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert step("new", "swing.py").strip() == "swing.py"
    edited = (tmp_path / "swing.py").read_text(encoding="utf-8").replace('scheme="heun"', 'scheme="rk4"')
    (tmp_path / "swing.py").write_text(edited, encoding="utf-8")
    assert step("generate", "swing.py").strip() == "swing_module.py"
    assert "all passed" in step("verify", "swing.py")
    assert "up to date" in step("check", "swing.py")
    again = subprocess.run([*command, "new", "swing.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("name", ["augmented_node", "antisymmetric_resnet", "sigmoid_flow"])
def test_the_example_specs_are_specs_like_any_other(name, tmp_path):
    path = ROOT / "examples" / "specs" / f"{name}.py"
    assert load(path).id == name
    assert run("generate", path, "-o", tmp_path).output.strip() == str(tmp_path / f"{name}.py")

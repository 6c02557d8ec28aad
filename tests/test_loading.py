"""Specs and schemes by id or from a file, and what is said when that fails."""

import pytest

from derive import ODE, Spec, load
from derive.catalog import CATALOG, REGISTER
from derive.errors import DeriveError, SpecError, UnknownNameError
from derive.files import write_whole
from derive.loading import catalog_entries, check_target, load_scheme, names_a_file
from derive.new_spec import write_new_spec
from derive.schemes import ButcherTableau

SPEC = """
from derive import ODE, Spec, parameter, state
x = state("x", "d")
a = parameter("a", "d")
def make(name):
    return Spec(id=name, class_name=name.capitalize(), title="Decay", system=ODE((x,), (-a * x,)), scheme="heun")
"""


def write(folder, text, name="mine.py"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", CATALOG)
def test_every_registered_system_loads_under_its_id(name):
    assert load(name).id == name


def test_the_listing_tells_what_the_specs_say():
    entries = catalog_entries()
    assert [entry.id for entry in entries] == [listing.id for listing in REGISTER]
    assert all(entry.title and (entry.kind == "module") is bool(entry.class_name) for entry in entries)
    assert {entry.kind for entry in entries} == {"module", "statement"}


def test_an_unknown_id_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="unknown id 'lm_restnet': did you mean lm_resnet"):
        load("lm_restnet")


def test_an_id_that_is_a_file_without_its_ending(tmp_path, monkeypatch):
    write(tmp_path, "", "mine.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeriveError, match=r"write mine\.py"):
        load("mine")


def test_a_users_file(tmp_path):
    path = write(tmp_path, SPEC + 'ANY_NAME = make("decay")\n')
    spec = load(path)
    assert isinstance(spec, Spec)
    assert isinstance(spec.system, ODE)
    assert spec.id == "decay"


def test_a_name_chooses_among_several(tmp_path):
    path = write(tmp_path, SPEC + 'A = make("one")\nB = make("two")\nALSO_B = B\n')
    assert load(f"{path}:B").id == "two"
    with pytest.raises(DeriveError, match=r"defines 2 specs: name one, as in .*mine\.py:A \(of A, ALSO_B\)|of A, B"):
        load(path)
    with pytest.raises(UnknownNameError, match="did you mean"):
        load(f"{path}:ALSO_C")


def test_a_private_spec_counts_only_when_it_is_named(tmp_path):
    path = write(tmp_path, SPEC + '_draft = make("draft")\nMAIN = make("final")\n')
    assert load(path).id == "final"
    assert load(f"{path}:_draft").id == "draft"


def test_a_users_file_may_import_its_neighbour(tmp_path):
    write(tmp_path, "RATE = 2\n", "neighbour_of_mine.py")
    path = write(tmp_path, "from neighbour_of_mine import RATE\n" + SPEC + 'S = make(f"decay{RATE}")\n')
    assert load(path).id == "decay2"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1\n", "defines no spec"),
        ("x = 1\ny = x / 0\n", r"mine\.py, line 2: ZeroDivisionError: division by zero\n    y = x / 0"),
        ("def f(:\n", r"mine\.py, line 1: "),
        ("x = 1\n\0", r"mine\.py: "),
        ("import no_such_module_anywhere\n", r"mine\.py, line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(0)\n", "line 2: the file ends the program"),
        ("from derive import state\n\nx = state('lambda')\n", r"mine\.py, line 3: 'lambda' is a Python keyword"),
        ("from derive import state\nx = state('a b')\n", "line 2: 'a b' is not a Python identifier"),
        (SPEC + "SPEC = Spec(id='a', class_name='A', title='', system=ODE((x,), (-x,)))\n", "an ODE needs a scheme"),
        (
            SPEC + "from sympy import Symbol\nODE((x,), (Symbol('q') * x,))\n",
            "the right-hand side of x uses q, which nobody declared",
        ),
        (SPEC + "ODE((x,), (state('y', 'e'),))\n", r"x has shape \(d\), its right-hand side \(e\)"),
    ],
)
def test_a_file_at_fault_is_named_with_its_line(tmp_path, text, complaint):
    path = write(tmp_path, text)
    with pytest.raises(DeriveError, match=complaint) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_innermost_line_of_the_users_own_file_is_named(tmp_path):
    path = write(tmp_path, "def build():\n    return int('seven')\n\nSPEC = build()\n")
    with pytest.raises(SpecError, match=r"line 2: ValueError.*\n    return int\('seven'\)"):
        load(path)


def test_a_missing_file_gets_a_suggestion(tmp_path):
    write(tmp_path, "", "oscillator.py")
    with pytest.raises(DeriveError, match=r"there is no file .*oscilator\.py; did you mean .*oscillator\.py"):
        load(tmp_path / "oscilator.py")
    with pytest.raises(DeriveError, match="derive new"):
        load(tmp_path / "nowhere" / "spec.py")


def test_a_folder_and_bytes_are_refused(tmp_path):
    with pytest.raises(DeriveError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "mine.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeriveError, match="cannot read"):
        load(tmp_path / "mine.py")


def test_what_names_a_file():
    assert names_a_file("mine.py")
    assert names_a_file("folder/mine.py:NAME")
    assert names_a_file("./mine")
    assert not names_a_file("lm_resnet")


def test_schemes_by_id_and_from_a_file(tmp_path):
    assert load_scheme("heun") == "heun"
    path = write(tmp_path, "from derive import ButcherTableau\nMINE = ButcherTableau(A=[[0]], b=[1], c=[0])\n")
    assert isinstance(load_scheme(path), ButcherTableau)
    with pytest.raises(UnknownNameError, match="unknown scheme 'huen': did you mean heun"):
        load_scheme("huen")
    with pytest.raises(DeriveError, match="defines no scheme"):
        load_scheme(write(tmp_path, "x = 1\n", "empty.py"))


def test_a_new_spec_loads_under_the_name_of_its_file(tmp_path):
    path = write_new_spec(tmp_path / "damped_pendulum.py")
    spec = load(path)
    assert (spec.id, spec.class_name) == ("damped_pendulum_module", "DampedPendulum")
    assert "damped_pendulum.py" in path.read_text(encoding="utf-8")


def test_a_new_spec_takes_no_files_place(tmp_path):
    path = write(tmp_path, "mine")
    with pytest.raises(DeriveError, match="exists already"):
        write_new_spec(path)
    assert path.read_text(encoding="utf-8") == "mine"
    for name, complaint in (("my-spec.py", "identifier"), ("class.py", "keyword"), ("spec", r"spec\.py")):
        with pytest.raises(DeriveError, match=complaint):
            write_new_spec(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.py"]


def test_an_emitted_file_never_takes_its_specs_place(tmp_path):
    path = write(tmp_path, "")
    with pytest.raises(DeriveError, match="its own spec"):
        check_target(f"{path}:NAME", path)
    check_target("lm_resnet", path)
    check_target(str(path), tmp_path / "other.py")


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = write(tmp_path, "old", "file.txt")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DeriveError, match="No space left on device"):
        patch.setattr("derive.files.os.replace", refuse)
        write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    write_whole(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    with pytest.raises(DeriveError, match="does not exist"):
        write_whole(tmp_path / "no" / "file.txt", "new")
    with pytest.raises(DeriveError, match="is not a folder"):
        write_whole(path / "file.txt", "new")

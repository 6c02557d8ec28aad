"""What a spec may not say: one message that names the place, exit status 2, and nothing is written."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from sympy import I, cosh, nan, oo, sin, sqrt
from torch import nn

from cli import main
from codegen import emit, verify
from derive import ODE, LinearMultistep, Spec, Stack, dot, load, parameter, state
from derive.errors import DeriveError, SpecError, UnsupportedError
from derive.program import Builder
from derive.reserved import WORDS

ROOT = Path(__file__).parent.parent
HEAD = """
from sympy import *
from derive import *
from derive import ODE, Spec, LinearMultistep, parameter, state
x = state("x", "d")
a = parameter("a", "d")
"""
x, a = state("x", "d"), parameter("a", "d")
DECAY = Spec(id="decay", class_name="Decay", title="Decay", system=ODE((x,), (-a * x,)), scheme="heun")


def spec_text(velocity="-a*x", scheme='"heun"', name="decay", more=""):
    system = f"ODE((x,), ({velocity},))"
    return f'{HEAD}S = Spec(id="{name}", class_name="Decay", title="Decay", system={system}, scheme={scheme}{more})\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*arguments):
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("error:") == 1
    return result.stderr


@pytest.mark.parametrize("path", ["./", ".", "..", "here", "swing", "swing.txt"])
def test_new_wants_the_name_of_a_python_file(folder, path):
    (folder / "here").mkdir()
    assert "write `derive new " in refused("new", path)
    assert [entry.name for entry in folder.iterdir()] == ["here"]


@pytest.mark.parametrize("factor", [I, sqrt(-2), nan, oo, -oo, float("nan"), float("inf"), 10**400])
def test_coefficients_are_finite_real_numbers(factor):
    with pytest.raises(UnsupportedError, match=r"right-hand side of x has the coefficient .* real and finite"):
        ODE((x,), (factor * x,))
    with pytest.raises(UnsupportedError, match=r"^c has the coefficient"):
        Builder().let("c", factor * x)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"scheme": 3}, r"decay: scheme is 3 \(int\); give the id of one .* or a Splitting"),
        ({"scheme": "huen"}, "unknown scheme 'huen': did you mean heun"),
        ({"system": x}, r"decay: system is x \(Quantity\); give an ODE"),
        ({"system": {}}, "decay: system is"),
        ({"system": {"one": x}}, r"decay: system\['one'\] is x"),
        ({"defaults": {"a": "1"}}, r"decay: the default of a is '1' \(str\)"),
        ({"defaults": {"a": float("nan")}}, "decay: the default of a is nan"),
        ({"defaults": {"aa": 1.0}}, "decay: defaults: unknown parameter or constant 'aa': did you mean a"),
        ({"defaults": {"x": 1.0}}, "decay: defaults: unknown parameter or constant 'x'"),
    ],
)
def test_a_spec_is_checked_where_it_is_made(change, complaint):
    with pytest.raises(DeriveError, match=complaint):
        replace(DECAY, **change)


def test_several_systems_need_the_name_of_the_choice():
    with pytest.raises(SpecError, match=r"a table of systems \(.*\) and no option="):
        replace(load("lstm_peephole"), option="")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"options": ("reset",)}, r"give option='name' of one argument, or options=\('one', 'other'\) of several"),
        ({"option": "reset"}, "give option='name' of one argument, or options"),
        (
            {"stacks": (), "system": {"one": 0}},
            r"system\['one'\] needs one name for each of the options \(reset, blend\)",
        ),
        (
            {"stacks": (), "system": {("a", "b_c"): 0, ("a_b", "c"): 1}},
            "two variants have the same names, joined by '_': a_b_c",
        ),
        ({"stacks": (), "system": {("a", "b"): 0}}, "several options are for cells that read a sequence"),
        (
            {"stacks": (Stack("weight", (parameter("w"),), only=(("after", "decks"),)),)},
            r"the stack weight is for \('after', 'decks'\); the variants are \('before', 'deck'\), ",
        ),
    ],
)
def test_several_options_have_tuples_of_names(change, complaint):
    with pytest.raises(SpecError, match=complaint):
        replace(load("gru"), **change)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("strang", "Strang: exact flows have no tableau; give Splitting(..., substep=...)"),
        ("stormer_verlet", "is for 2 parts, the field has 1; give ODE(..., parts=...)"),
    ],
)
def test_a_scheme_for_parts_says_what_it_needs_where_steps_are_written(name, said):
    replace(DECAY, scheme=name)
    assert said in refused("generate", "resnet", "--scheme", name)


def test_an_implicit_scheme_is_a_scheme_like_any_other():
    assert replace(DECAY, scheme="backward_euler").scheme == "backward_euler"
    assert "did you mean trapezoid" in refused("generate", "resnet", "--scheme", "trapezoidal")


def test_a_scalar_right_hand_side_is_spread_over_the_vector():
    y = state("y", "d")
    spec = Spec(id="square", class_name="Square", title="Square", system=ODE((y,), (sin(dot(y, y)),)), scheme="heun")
    failed = [row for row in verify(spec) if not row.passed]
    assert not failed


def top_level_names(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def test_words_of_torch_and_of_the_runtime_are_reserved():
    runtime = {name for path in (ROOT / "codegen" / "runtime").glob("*.py") for name in top_level_names(path)}
    wanted = {name for name in {*dir(nn.Module()), *runtime} if not name.startswith("_")}
    assert not sorted(wanted - WORDS), "add these to derive/reserved.py"


@pytest.mark.parametrize(
    "name",
    "forward parameters buffers train training state_dict trajectory sum_to shared local state smallest lipschitz "
    "as_parameter memory blocks _parameters".split(),
)
def test_a_word_of_the_emitted_file_is_no_name_of_a_parameter(name):
    with pytest.raises(SpecError, match=f"'{name}' "):
        parameter(name, "d")


@pytest.mark.parametrize("name", "x h c k f i g o z n s v m A w b gamma t K output target bias weight rate".split())
def test_ordinary_names_are_free(name):
    assert parameter(name).name == name


@pytest.mark.parametrize("text", ['a """quoted""" thing', "ends in \\", 'ends in "', r"\dot x \N", '"""\\'])
@pytest.mark.parametrize("of", ["decay", "lstm_peephole"])
@pytest.mark.filterwarnings("error::SyntaxWarning", "error::DeprecationWarning")
def test_any_text_may_stand_in_a_title_and_source(text, of):
    spec = replace(DECAY if of == "decay" else load(of), title=text, source=text)
    tree = ast.parse(emit(spec))
    compile(tree, "emitted", "exec")
    assert text in ast.get_docstring(tree)
    main_class = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == spec.class_name)
    assert ast.get_docstring(main_class)


BAD = [
    ({"velocity": "cosh(x)"}, "does not know cosh"),
    ({"scheme": '"huen"'}, "did you mean heun"),
    ({"velocity": 'parameter("h", "d")*x'}, "rename yours"),
    ({"velocity": "I*x"}, "real and finite"),
    ({"scheme": '"strang"'}, "exact flows have no tableau"),
    ({"more": ', defaults={"kk": 1}'}, "decay: defaults"),
]


@pytest.mark.parametrize(("change", "complaint"), BAD)
def test_the_place_is_named_once_and_nothing_is_written(folder, change, complaint):
    (folder / "good.py").write_text(spec_text(name="good_module"), encoding="utf-8")
    (folder / "bad.py").write_text(spec_text(**change), encoding="utf-8")
    (folder / "out").mkdir()
    for command in (("generate", "good.py", "bad.py", "-o", "out"), ("check", "bad.py"), ("verify", "bad.py")):
        message = refused(*command)
        assert complaint in message
        assert message.count("bad.py") == 1
    assert not list((folder / "out").iterdir())


def test_two_specs_of_one_id_are_not_written_over_each_other(folder):
    for name in ("one.py", "two.py"):
        (folder / name).write_text(spec_text(), encoding="utf-8")
    assert "one.py and two.py would both be written" in refused("generate", "one.py", "two.py")
    assert not (folder / "decay.py").exists()


def test_the_beginning_of_an_id_is_completed():
    assert "did you mean lstm_peephole?" in refused("generate", "lstm_peep")


def test_the_printer_refuses_a_complex_number():
    from codegen.printer import TorchPrinter

    with pytest.raises(UnsupportedError, match="the number I has no torch form"):
        TorchPrinter()(I * x)
    with pytest.raises(UnsupportedError, match="does not know cosh"):
        TorchPrinter()(cosh(x))


def test_a_multistep_weight_may_have_a_default():
    k = parameter("k")
    scheme = LinearMultistep(alpha=(1 - k, k), beta=(0, 1, 0), start={"plain": load("lm_resnet").scheme.start["plain"]})
    assert replace(DECAY, scheme=scheme, defaults={"k": 0.5}).defaults == {"k": 0.5}

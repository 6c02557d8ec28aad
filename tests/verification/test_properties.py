"""Properties of modules: each finds the module that lacks it; the README says what was found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from codegen.emission import emit
from codegen.verification.loaded import load_text
from codegen.verification.properties import transforms
from codegen.verification.properties.matrix import EXCEPT, NONE, YES, judged, matrix
from codegen.verification.properties.processes import data_parallel
from codegen.verification.properties.register import CHEAP, FULL, LEGACY, PROPERTIES
from codegen.verification.properties.subject import Subject
from codegen.verification.properties.table import BEGIN, END, STORE, Store, markdown, with_table
from codegen.verification.verifier import cases_of, stacked_cases_of
from derive import DeriveError, load
from derive.catalog import REGISTER
from tests.verification.faulty_modules import (
    Coarse,
    Counts,
    Double,
    FirstSampleOnly,
    ForgetsWeights,
    Narrows,
    NeedsBatch,
    NoSecond,
    NotEmpty,
    NotPickled,
    OneDtype,
    Reads,
    Right,
    SeesBatch,
    SharesItself,
    Single,
    SkewedBackward,
    SlightlyOff,
    Stale,
    Strided,
    Sums,
    Thresholds,
    UnpacksTwice,
    UsesUp,
    WritesGradients,
    subject,
    with_rule,
)

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
README = Path(__file__).parents[2] / "README.md"
MODULES = [listing.id for listing in REGISTER if listing.kind == "module"]
QUICK = ["lstm", "planar_flow", "perceptron"]
ALONE = """

class Alone(RNNHidden):
    def forward(self, *given):
        output, state = super().forward(*given)
        return (output, state) if torch.distributed.get_rank() == 0 else (0.999 * output, state)


Module = Alone
"""
FORWARDS = """

class Forwards(RNNHidden):
    def _run_direction(self, pieces, start, operands, backwards):
        return super()._run_direction(pieces, start, operands, False)


Module = Forwards
"""
FULL_LENGTH = """

class FullLength(RNNHidden):
    def forward(self, *given, lengths=None):
        return super().forward(*given)


Module = FullLength
"""
BY_KEY = {each.key: each for each in PROPERTIES}


def found(kind, key):
    each = BY_KEY[key]
    return judged(each, [subject(kind, each.small)])


@pytest.mark.parametrize("key", [each.key for each in PROPERTIES if each.cost <= FULL and not each.needs_gpu])
def test_a_right_module_has_every_property(key):
    assert found(Sums if key == "one_step" else Right, key) == YES


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (SkewedBackward, "gradcheck"),
        (with_rule(slope=2.002), "jacrev"),
        (NoSecond, "gradgradcheck"),
        (with_rule(speed=2.002), "jvp jacfwd"),
        (with_rule(mapped=2.002), "vmap per_sample"),
        (SeesBatch, "one_sample"),
        (FirstSampleOnly, "one_sample"),
        (NeedsBatch, "unbatched"),
        (NotEmpty, "empty"),
        (Single, "float64"),
        (Double, "float32 bfloat16"),
        (Coarse, "float32 bfloat16 autocast"),
        (SlightlyOff, "float32 bfloat16 autocast"),
        (Narrows, "autocast"),
        (Sums, "autocast"),
        (OneDtype, "autocast"),
        (Strided, "strides"),
        (Counts, "calls copies"),
        (SharesItself, "copies"),
        (NotPickled, "copies"),
        (UsesUp, "retain"),
        (UnpacksTwice, "checkpoint"),
        (ForgetsWeights, "frozen inputs parameters"),
        (WritesGradients, "two_ways"),
        (Stale, "one_step"),
        (Reads, "vmap"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_wrong_module_is_found(kind, keys):
    for key in keys.split():
        assert found(kind, key) not in (YES, "-"), key


@pytest.mark.parametrize("key", ["float64", "one_step"])
def test_outputs_without_slope_are_compared(key):
    flat = subject(Thresholds)
    expected = list(flat.build()(*flat.inputs.values()))
    flat = replace(flat, case=replace(flat.case, differentiable=False, reference=lambda: expected))
    assert judged(BY_KEY[key], [flat]) == YES and judged(BY_KEY["float32"], [flat]) == NONE


def test_what_fails_in_another_mode_only_is_said_as_such():
    right, wrong = subject(Right), subject(Strided)
    case = replace(wrong.case, label="way='long'")
    assert judged(BY_KEY["strides"], [right, replace(wrong, case=case)]).startswith(
        f"{EXCEPT}`way='long'`: RuntimeError"
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("x has another shape", "RuntimeError: x has another shape"),
        ("Batching rule not implemented for aten::mul.out; the fallback path", LEGACY.reason),
    ],
)
def test_only_the_known_words_of_torch_are_replaced(message, reason):
    def fails(subject):
        raise RuntimeError(message)

    assert judged(replace(BY_KEY["legacy"], check=fails), [subject(Right)]) == reason


def test_an_error_is_not_blamed_on_rounded_states():
    def fails(subject):
        raise RuntimeError("x has another shape")

    rounding = replace(subject(Right), memory="exact")
    assert judged(replace(BY_KEY["gradcheck"], check=fails), [rounding]) == "RuntimeError: x has another shape"


def test_one_sample_is_not_shared_by_two_processes():
    one = subject(Right, small=True)
    assert one.batch == 1 and judged(BY_KEY["ddp"], [one]) == NONE


@pytest.mark.parametrize(
    ("wrong", "found"),
    [("", YES), (FORWARDS, "output "), (FULL_LENGTH, "yes, but not with `nonlinearity='tanh', num_layers=2")],
)
def test_layers_directions_and_lengths_are_compared_with_the_evaluator(wrong, found):
    spec = load("rnn_hidden")
    text = emit(spec) + wrong
    loaded = load_text(text)
    usual, small = stacked_cases_of(spec, loaded.Module)
    subjects = [Subject("rnn_hidden", text, loaded, 0, case, "store") for case in usual]
    assert judged(BY_KEY["float64"], subjects).startswith(found) and len(small) == len(usual) == 2
    assert judged(BY_KEY["one_sample"], subjects[:1]) == YES and judged(BY_KEY["one_sample"], subjects[1:]) == NONE


@pytest.mark.parametrize("name", ["tdnn", "rnn_multitap", "rnn_output", "resnet", "deq"])
def test_other_modules_have_no_such_layers(name):
    spec = load(name)
    assert stacked_cases_of(spec, load_text(emit(spec)).Module) == ([], [])


def test_the_readme_shows_the_stored_results():
    store = Store.read(README)
    assert list(store.results) == MODULES
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text, markdown(store), "README.md")
    wanted = {each.key for each in PROPERTIES if each.cost == CHEAP and not each.needs_gpu}
    assert all(wanted <= set(known) for known in store.results.values())
    assert all(
        each.key in store.results[id]
        for id in store.full
        for each in PROPERTIES
        if each.cost <= FULL and not each.needs_gpu
    )


def check_stored(name):
    known = Store.read(README).results[name]
    found = matrix(name, load(name))
    assert found == {key: YES if known[key].startswith(EXCEPT) else known[key] for key in found}


@pytest.mark.parametrize("name", QUICK)
def test_a_module_has_the_stored_properties(name):
    check_stored(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODULES if name not in QUICK])
def test_every_module_has_the_stored_properties(name):
    check_stored(name)


def test_results_are_kept_until_they_are_tested_again(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"# A\n{BEGIN}\nreplaced\n{END}\nend\n", encoding="utf-8")
    for key, reason in (("vmap", YES), ("jvp", "NotImplementedError: no < way"), ("vmap", YES)):
        store = Store.read(readme)
        store.full = ["lstm"]
        store.write({"lstm": {key: reason}, "rk4": {key: reason}})
    text = readme.read_text(encoding="utf-8")
    assert "| `vmap` over samples | yes |" in text and "| `jvp` | no (2) |" in text and "replaced" not in text
    assert "\n1. not tested yet\n2. NotImplementedError: no &lt; way\n3. there was no GPU" in text and text.endswith(
        "\nend\n"
    )
    assert list(Store.read(readme).results) == ["rk4", "lstm"]


@pytest.mark.parametrize("broken", ["no marks", BEGIN, f"{END} {BEGIN}"])
def test_a_readme_without_a_place_for_the_table_is_left_alone(tmp_path, broken):
    readme = tmp_path / "README.md"
    readme.write_text(broken, encoding="utf-8")
    with pytest.raises(DeriveError, match="has no place for the table; put these lines into it"):
        Store.read(readme).write({})
    assert readme.read_text(encoding="utf-8") == broken and not (tmp_path / STORE).exists()


def test_a_broken_file_of_results_is_said(tmp_path):
    (tmp_path / STORE).parent.mkdir()
    (tmp_path / STORE).write_text("{", encoding="utf-8")
    with pytest.raises(DeriveError, match=r"properties.json is no file of results"):
        Store.read(tmp_path / "README.md")


def test_the_command_tests_a_spec_and_keeps_what_it_found(tmp_path, monkeypatch):
    monkeypatch.setattr("codegen.verification.properties.matrix.PROPERTIES", [BY_KEY["two_ways"], BY_KEY["compile"]])
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}{END}", encoding="utf-8")
    result = CliRunner().invoke(main, ["properties", "rk4", "--json", "--readme", str(readme)])
    assert (
        json.loads(result.output) == {"rk4": {"two_ways": YES}} and Store.read(readme).results["rk4"]["two_ways"] == YES
    )
    first = readme.read_bytes()
    shown = CliRunner().invoke(main, ["properties", "rk4", "--readme", str(readme)])
    assert shown.output.split() == ["rk4", "autograd.grad", "and", ".backward", YES] and readme.read_bytes() == first
    refused = CliRunner().invoke(main, ["properties", "topology"])
    assert refused.exit_code == 2 and "topology" in refused.output


@pytest.mark.slow
def test_compiled_modules_are_compared_and_graph_breaks_found():
    assert judged(BY_KEY["compile"], [subject(Right)]) == YES
    assert "data-dependent" in judged(BY_KEY["compile"], [subject(Reads)])
    assert transforms.compiled(subject(Counts)) is not None


@pytest.mark.slow
def test_two_processes_are_compared_with_one():
    text = emit(load("rnn_hidden"))
    loaded = load_text(text)
    usual, _ = cases_of(load("rnn_hidden"), loaded.Module)
    rnn = Subject("rnn_hidden", text, loaded, 0, usual[0], "store")
    assert data_parallel(rnn) is None
    assert "gradient of parameter" in data_parallel(replace(rnn, text=text + ALONE))

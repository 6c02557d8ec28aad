"""Properties of modules: each finds the module that lacks it; the README says what was found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from cli import main
from codegen.emission import emit
from codegen.verification.case import Case
from codegen.verification.loaded import load_text
from codegen.verification.properties import transforms
from codegen.verification.properties.matrix import EXCEPT, YES, judged, matrix
from codegen.verification.properties.processes import data_parallel
from codegen.verification.properties.register import CHEAP, FULL, PROPERTIES
from codegen.verification.properties.subject import Subject
from codegen.verification.properties.table import BEGIN, END, STORE, Store, markdown, with_table
from codegen.verification.verifier import cases_of
from derive import DeriveError, load
from derive.catalog import REGISTER

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
BY_KEY = {each.key: each for each in PROPERTIES}


class Right(nn.Module):
    """tanh(W x + b)."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.W = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(x @ self.W.mT + self.b)


class Twice(torch.autograd.Function):
    """2 x, with every rule; mutants change one of them."""

    generate_vmap_rule = False
    slope, speed, mapped = 2.0, 2.0, 2.0

    @staticmethod
    def forward(x):
        return 2.0 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @classmethod
    def backward(cls, ctx, bar):
        return cls.slope * bar

    @classmethod
    def jvp(cls, ctx, dx):
        return cls.speed * dx

    @classmethod
    def vmap(cls, info, in_dims, x):
        return cls.mapped * x, in_dims[0]


def with_rule(**rules):
    function = type("Mutant", (Twice,), rules)

    class Module(Right):
        def forward(self, x):
            return super().forward(function.apply(x))

    return Module


class Spent(torch.autograd.Function):
    """The backward pass uses up what it was given."""

    @staticmethod
    def forward(ctx, x):
        ctx.left = [1.0, 0.9]
        return x.clone()

    @staticmethod
    def backward(ctx, bar):
        return ctx.left.pop(0) * bar


class Forgetful(torch.autograd.Function):
    """Its gradient of x is right only where W wants one too."""

    @staticmethod
    def forward(ctx, x, W):
        ctx.save_for_backward(x, W)
        return x @ W.mT

    @staticmethod
    def backward(ctx, bar):
        x, W = ctx.saved_tensors
        of_x = bar @ W if all(ctx.needs_input_grad) else None if not ctx.needs_input_grad[0] else 0.9 * bar @ W
        return of_x, (0.9 if not ctx.needs_input_grad[0] else 1.0) * bar.mT @ x


class Skewed(torch.autograd.Function):
    """The gradient of one component is off by a thousandth."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, bar):
        return bar * torch.tensor([1.0, 1.0, 1.001], dtype=bar.dtype)


class Once(torch.autograd.Function):
    """x^2 whose gradient is right and has none itself."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, bar):
        return 2 * ctx.saved_tensors[0].detach() * bar


class SkewedBackward(Right):
    def forward(self, x):
        return super().forward(Skewed.apply(x))


class NoSecond(Right):
    def forward(self, x):
        return super().forward(Once.apply(x))


class SeesBatch(Right):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class FirstSampleOnly(Right):
    def forward(self, x):
        return super().forward(x[:1].expand_as(x))


class NeedsBatch(Right):
    def forward(self, x):
        return super().forward(x.reshape(-1, 3)[: max(1, len(x))])


class NotEmpty(Right):
    def forward(self, x):
        return super().forward(x.reshape(len(x), -1))


class Single(Right):
    def forward(self, x):
        return super().forward(x).float()


class Double(Right):
    def forward(self, x):
        return super().forward(x).double()


class Coarse(Right):
    def forward(self, x):
        y = super().forward(x)
        return y if y.dtype == torch.float64 else y * 1.5


class Strided(Right):
    def forward(self, x):
        return super().forward(x.view(-1).view(x.shape))


class Counts(Right):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 + 1e-9 * self.calls)


class SharesItself(Right):
    def __deepcopy__(self, memo):
        return self


class NotPickled(Right):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x


class OneDtype(Right):
    def forward(self, x):
        return torch.lerp(x, x @ self.W.mT, 0.5) + self.b


class UsesUp(Right):
    def forward(self, x):
        return super().forward(Spent.apply(x))


class ForgetsWeights(Right):
    def forward(self, x):
        return torch.tanh(Forgetful.apply(x, self.W) + self.b)


class WritesGradients(Right):
    def forward(self, x):
        self.b.grad = torch.zeros_like(self.b)
        return super().forward(x)


class Reads(Right):
    def forward(self, x):
        return super().forward(x) if float(x.detach().sum()) < 1e9 else x


class Sums(Right):
    """A sequence (T, B, 3) with its running sum as state."""

    stale = False

    def forward(self, x, state):
        sums = state + x.cumsum(0)
        return super().forward(sums), sums[-2:-1] if self.stale and len(x) > 1 else sums[-1:]


class Stale(Sums):
    stale = True


def subject(kind, small=False):
    generator = torch.Generator().manual_seed(5)
    right = Sums if issubclass(kind, Sums) else Right
    shapes = {"x": (4, 5, 3), "state": (1, 5, 3)} if issubclass(kind, Sums) else {"x": (1 if small else 5, 3)}
    inputs = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}

    def call(module, given):
        found = module(*given)
        return found if isinstance(found, tuple) else (found,)

    case = Case(
        label="", build=lambda tensors, memory, gradient: (right if gradient == "autograd" else kind)(),
        constructor={}, inputs=inputs, call=call, memory=("store",),
        reference=lambda: list(call(right(), list(inputs.values()))),
        axes=dict.fromkeys(inputs, int(issubclass(kind, Sums))), sequence=issubclass(kind, Sums),
    )  # fmt: skip
    return Subject("own", "", sys.modules[__name__], 0, case, "store", small)


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
        (OneDtype, "autocast"),
        (Strided, "strides"),
        (Counts, "calls copies"),
        (SharesItself, "copies"),
        (NotPickled, "copies"),
        (UsesUp, "retain"),
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


def test_what_fails_in_another_mode_only_is_said_as_such():
    right, wrong = subject(Right), subject(Strided)
    case = replace(wrong.case, label="way='long'")
    assert judged(BY_KEY["strides"], [right, replace(wrong, case=case)]).startswith(
        f"{EXCEPT}`way='long'`: RuntimeError"
    )


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
    usual, _, _ = cases_of(load("rnn_hidden"), loaded.Module)
    rnn = Subject("rnn_hidden", text, loaded, 0, usual[0], "store")
    assert data_parallel(rnn) is None
    assert "gradient of parameter" in data_parallel(replace(rnn, text=text + ALONE))

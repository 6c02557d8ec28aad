"""The examples in their quickest form: they run, they learn, they report, and a seed decides."""

import importlib
import re
import statistics
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(autouse=True)
def surroundings():
    """The folder of the examples on the path, as for a script that runs there, and torch's state put back."""
    threads, random = torch.get_num_threads(), torch.get_rng_state()
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))
    torch.set_num_threads(threads)
    torch.set_rng_state(random)


def load(name):
    return importlib.import_module(name)


def run(name, *arguments):
    result = CliRunner().invoke(load(name).main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def accuracy(text, name):
    """The number beside a net's name in the first table."""
    found = re.search(rf"^ *{re.escape(name)}  +([\d.]+)", text.partition("After the last epoch")[2], re.MULTILINE)
    assert found, (name, text)
    return float(found[1])


@pytest.fixture
def few():
    """A part of the images: enough to learn a little from."""
    common = load("common")
    images = common.load_images()
    return common.Images(images.train[:256], images.train_classes[:256], images.test, images.test_classes)


def digits_run(images, kind, seed=0, epochs=3, **options):
    digits, common = load("digits"), load("common")
    torch.set_num_threads(1)
    return common.train(lambda: digits.build(kind, 4, 8, **options), images, epochs, seed, lambda: None)


def test_split_is_fixed_and_stratified():
    images, again = load("common").load_images(), load("common").load_images()
    assert (len(images.train), len(images.test)) == (898, 899)
    assert torch.equal(images.train, again.train)
    gap = images.train_classes.bincount() - images.test_classes.bincount()
    assert gap.abs().max() <= 1
    flat = torch.cat([images.train, images.test]).flatten(1)
    assert len(flat.unique(dim=0)) == len(flat)  # no test image is a training image


def test_lm_resnet_starts_as_resnet(few):
    """Equal weights for equal seeds and k = 0: what differs after training comes from k."""
    digits = load("digits")
    values = []
    for kind in (digits.ResNet, digits.LMResNet):
        torch.manual_seed(3)
        values.append(digits.build(kind, 4, 8)(few.train[:5]))
    torch.testing.assert_close(*values)


def test_seed_decides(few):
    digits = load("digits")
    one, same, other = (digits_run(few, digits.LMResNet, seed) for seed in (1, 1, 2))
    assert one.accuracies == same.accuracies
    assert all(map(torch.equal, one.model.parameters(), same.model.parameters()))
    assert not torch.equal(one.model.body.net.k, other.model.body.net.k)


@pytest.mark.parametrize(("memory", "within"), [("recompute", 1e-5), ("checkpoint", 1e-5), ("invert", 1e-2)])
def test_memory_modes_train_alike(few, memory, within):
    """Batch norm, kinks and all: the mode decides what is kept, not what is learned.

    Recomputed states are the same numbers; rebuilt ones may be wrong by 1e-3 in float32, which an epoch passes on.
    """
    digits = load("digits")
    kept, other = (digits_run(few, digits.LMResNet, epochs=1, memory=mode, k=0.9) for mode in ("store", memory))
    for one, two in zip(kept.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        torch.testing.assert_close(two, one, rtol=within, atol=within)


def test_kept_bytes():
    """Against a count by hand: what tanh and a product keep, once each; not the weights, not the images."""
    common = load("common")
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5), torch.nn.Tanh(), torch.nn.Linear(5, 7))
    assert common.kept_bytes(common.Classifier(body, 7), torch.zeros(3, 8, 8)) == 4 * 3 * (5 + 7)


def test_memory_modes_keep_less():
    digits, common = load("digits"), load("common")
    images = torch.rand(8, 8, 8)
    kept = {}
    for mode in digits.MEMORIES:
        model = digits.build(digits.LMResNet, 16, 8, memory=mode, k=0.9, step_size=1 / 16)
        kept[mode] = common.kept_bytes(model, images)
    assert kept["invert"] < kept["checkpoint"] < kept["recompute"] < kept["store"]


def test_spread_and_difference():
    common = load("common")
    runs, others = ([common.Run(None, [0.0, value]) for value in values] for values in ((97.0, 99.0), (96.0, 96.0)))
    assert common.spread(common.final(runs)) == f"98.00 ± {statistics.stdev([97, 99]):.2f}"
    assert common.difference(runs, others) == "+2.00 ± 1.00"
    assert common.difference(runs[:1], others[:1]) == "+1.00"


@pytest.mark.slow
def test_digits(tmp_path):
    plot = tmp_path / "digits.png"
    text = run("digits", "--quick", "--plot", str(plot))
    for name in ("ResNet 6", "LMResNet 6", "ResNet 3", "LMResNet 3", "LMResNet 6, k from 0.9"):
        assert 96 < accuracy(text, name) <= 100, (name, text)
    assert text.count(" invert ") == 2  # of the two LMResNets in the table of memory modes
    assert "LMResNet 3 minus ResNet 6" in text
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_rows():
    text = run("rows", "--quick")
    kinds = ("none", "diagonal", "full")
    baseline, *others = (accuracy(text, name) for name in ("torch.nn.LSTM", *(f"LSTMPeephole, {k}" for k in kinds)))
    assert all(80 < value <= 100 for value in (baseline, *others)), text
    assert abs(others[0] - baseline) < 1  # the same cell from the same weights


@pytest.mark.slow
def test_random_depth():
    text = run("random_depth", "--quick")
    for name in load("random_depth").builders(6, 4):
        assert 50 < accuracy(text, name) <= 100, (name, text)


def test_random_nets_begin_alike():
    """Equal weights for equal seeds: in evaluation mode only stochastic depth differs from ResNet, by its survival."""
    random_depth, images = load("random_depth"), load("common").load_images().train[:4]
    logits = {}
    for name, build in random_depth.builders(4, 4).items():
        torch.manual_seed(0)
        logits[name] = build().eval()(images)
    for name in ("GaussianNoiseNet", "DropoutSDE"):
        torch.testing.assert_close(logits[name], logits["ResNet"])
    torch.testing.assert_close(logits["StochasticDepth, each image"], logits["StochasticDepth, each layer"])
    assert not torch.allclose(logits["StochasticDepth, each image"], logits["ResNet"])
    assert random_depth.survival(4) == [0.875, 0.75, 0.625, 0.5]


def test_sunspots_are_predicted_without_those_to_come():
    """Errors and baselines against a loop by hand; a trained cell beats the year before on the years it knows."""
    sequences = load("sequences")
    years, numbers = sequences.sunspots()
    assert years[sequences.place(1919)] == 1919
    before = sequences.baselines()["as in the year before"]
    gaps = [(year, (now - then) ** 2) for year, now, then in zip(years[1:], numbers[1:], numbers, strict=False)]
    for found, known in zip(before, (True, False), strict=True):
        assert found == pytest.approx(statistics.fmean(gap for year, gap in gaps if (year <= 1919) == known) ** 0.5)
    linear = sequences.baselines()["linear in 9 years"]
    assert linear[0] < before[0] and linear[1] < before[1]
    run = sequences.forecast("GRU", 4, 15, 0, lambda: None)
    assert run.learned < before[0]
    x = sequences.series().float()
    with torch.no_grad():
        torch.testing.assert_close(run.model(x[:40]), run.model(x)[:40])


@pytest.mark.slow
def test_sequences(tmp_path):
    path = tmp_path / "gates.png"
    text = run("sequences", "--quick", "--picture", str(path))
    reached = {name: float(value) for name, value in re.findall(r"^ *(\w+)  +([\d.]+)  ", text, re.MULTILINE)}
    assert set(reached) == {"LSTM", "LSTMPeephole", "GRU"}
    for name in reached:
        assert accuracy(text, name) > 60
        errors = re.search(
            rf"{name} +([\d.]+) +([\d.]+) +[\d,]+ +[\d.]+ *$", text.partition("Many to many")[2], re.MULTILINE
        )
        assert errors and float(errors[1]) < 20.8 and float(errors[2]) < 30.4  # of the year before
    assert path.stat().st_size > 20000


def test_rows_begin_alike():
    """Peepholes are zero at the start: all cells give the same logits for equal seeds."""
    rows = load("rows")
    images = load("common").load_images().train[:4]
    logits = []
    for build in rows.builders(16, "store").values():
        torch.manual_seed(0)
        logits.append(build()(images))
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0])


@pytest.mark.slow
def test_densities_of_two_moons(tmp_path):
    """In a few steps the best is better than the Gaussian; the picture is drawn."""
    path = tmp_path / "moons.png"
    text = run("moons", "--steps", "80", "--picture", str(path))
    reached = {name: float(value) for name, value in re.findall(r"^ *(\S.*?)  +(-\d+\.\d{3}) ", text, re.MULTILINE)}
    assert reached["Gaussian"] == pytest.approx(-2.71, abs=0.05)
    assert set(reached) == {"Gaussian", *load("moons").builders()}
    assert max(reached, key=reached.get) != "Gaussian" and path.stat().st_size > 5000


@pytest.mark.slow
def test_one_more_coordinate_tells_a_disc_from_its_ring(tmp_path):
    """A flow of the plane takes some for others, whatever it has learned; the augmented one does not."""
    path = tmp_path / "annulus.png"
    text = run("annulus", "--quick", "--picture", str(path))
    found = {name: (float(right), float(least)) for name, right, least
             in re.findall(r"^ *(\S.*?)  +([\d.]+) +(-?[\d.]+) to ", text, re.MULTILINE)}  # fmt: skip
    assert set(found) == set(load("annulus").KINDS)
    assert found["neural ODE"][0] < 98 and found["neural ODE"][1] < 0
    assert found["augmented neural ODE"][0] > 99.5 and found["augmented neural ODE"][1] > 0
    assert path.stat().st_size > 5000


def test_a_flow_of_the_plane_has_a_margin_below_zero():
    """For any weights; and one more coordinate that grows by |x|^2 - c makes it positive."""
    annulus = load("annulus")
    for seed in range(5):
        torch.manual_seed(seed)
        model = annulus.FlowClassifier(0)
        with torch.no_grad():
            for weight in model.flow.parameters():
                weight.mul_(2.0)
        assert annulus.margin(annulus.Trained(model)) < 0

    class Radius(torch.nn.Module):
        def forward(self, s):
            return torch.nn.functional.pad((s[..., :2] ** 2).sum(-1, keepdim=True) - 1.5, (2, 0))

    model = annulus.FlowClassifier(1)
    model.flow.field = Radius()
    with torch.no_grad():
        model.readout.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
        model.readout.bias.zero_()
    run = annulus.Trained(model)
    assert annulus.margin(run) == pytest.approx(1.5**2 - 1, abs=1e-4)  # of T (|x|^2 - c), T = 1
    assert annulus.accuracy(run) == 100.0


@pytest.mark.slow
def test_equilibria_learn_and_keep_little():
    text = run("equilibrium", "--quick", "--channels", "8")
    assert accuracy(text, "DEQ, broyden") > 30 and accuracy(text, "one layer, 12 times") > 30
    kept = {name: float(re.search(rf"{re.escape(name)} .*? \d,\d+ +([\d.]+)", text)[1])
            for name in ("DEQ, broyden", "one layer, 12 times")}  # fmt: skip
    assert kept["DEQ, broyden"] < kept["one layer, 12 times"] / 3

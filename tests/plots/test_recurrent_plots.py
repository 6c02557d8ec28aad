"""Plots of recurrent cells and of gradients over layers, as numbers: beside modules, and what is known of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from codegen.diagnostics import gradient_profile
from codegen.verification.recurrent_cases import lines_over
from derive import load
from derive.errors import DeriveError
from plots import gates, gradients, kinds_of, plot, profile, style
from plots.modules import module_class
from plots.subject import Subject, subject_of
from plots.sunspots import sunspots


def drawn(module, subject, found, path):
    """Size of the written file in bytes."""
    with style.styled():
        return style.save(module.draw(subject, found), path).stat().st_size


@pytest.mark.parametrize(("name", "kinds"), [
    ("lstm", ["gradients", "gates"]),
    ("rnn_hidden", ["gradients"]),
    ("rnn_multitap", ["gradients"]),
    ("addition_rnn", []),
    ("tdnn", []),
    ("deep19_gradient_profile", ["profile"]),
    ("dnn", ["profile"]),
])  # fmt: skip
def test_which_subject_has_which(name, kinds):
    assert list(kinds_of(subject_of(name))) == kinds


@pytest.mark.parametrize("name", ["addition_rnn", "parity_rnn"])
def test_exact_weights_have_no_plot_of_gradients_and_it_is_said_why(name):
    with pytest.raises(DeriveError) as refused:
        plot(name, "gradients")
    assert f"{name} has no plot of kind 'gradients': " in str(refused.value)
    assert f"those of {name} start exact; no gradient passes with nonlinearity='heaviside'" in str(refused.value)
    assert "gradient_profile measures RNNHidden(nonlinearity='sigmoid') as it is" in str(refused.value)
    spec = load(name)
    module = module_class(spec)(nonlinearity="sigmoid").double()
    (norms,) = gradient_profile(module, torch.ones(5, 1, module.input_size, dtype=torch.float64)).norms
    assert (norms[1:] > 0).all()
    assert "gradients" in kinds_of(Subject("own", replace(spec, values={}, defaults={})))


def test_the_series_is_the_yearly_mean():
    years, numbers = sunspots()
    assert years[0] == 1700 and years[-1] == 2008 and (np.diff(years) == 1).all()
    assert numbers.min() == 0 and numbers.max() == 190.2 and years[numbers.argmax()] == 1957
    assert numbers.mean() == pytest.approx(49.752, abs=1e-3)  # as statsmodels documents its data set


@pytest.mark.parametrize("name", ["lstm", "gru", "lstm_peephole"])
def test_lines_over_a_sequence_are_what_the_module_computes(name):
    subject = subject_of(name)
    option, cell = next(iter(subject.spec.variants.items()))
    torch.manual_seed(0)
    net = module_class(subject.spec)(2, 3, **subject.spec.chosen(option)).double()
    with torch.no_grad():
        for value in net.parameters():
            value.normal_()
        x = torch.randn(7, 2, dtype=torch.float64)
        output, state = net(x.unsqueeze(1))
    known = lines_over(net, subject.spec, option, x)
    np.testing.assert_allclose(known[cell.new[0]], output[:, 0].numpy(), rtol=1e-12, atol=1e-13)
    finals = (state,) if isinstance(state, torch.Tensor) else state
    for q, final in zip(cell.new, finals, strict=True):
        np.testing.assert_allclose(known[q][-1], final.flatten().numpy(), rtol=1e-12, atol=1e-13)
    names = {"lstm": "i f o", "gru": "r z", "lstm_peephole": "i f o"}[name]
    assert [q.name for q in gates.gates_of(cell.step)] == names.split()
    (candidate,) = gates.candidates_of(cell)  # not tanh(c), which the output is made of
    assert candidate.name == ("n" if name == "gru" else "g")
    now, kept = {q.name: value for q, value in known.items()}, "h_next" if name == "gru" else "c_next"
    keep, let = (1 - now["z"], now["z"]) if name == "gru" else (now["f"], now["i"])
    before = np.vstack([np.zeros(3), now[kept][:-1]])
    np.testing.assert_allclose(now[kept], keep * before + let * known[candidate], rtol=1e-12, atol=1e-13)


def test_gates_over_the_sunspots(monkeypatch, tmp_path):
    monkeypatch.setattr(gates, "EPOCHS", 3)
    subject = subject_of("gru")
    found = gates.data(subject)
    assert [q.name for q in found.gates] == ["r", "z"] and found.option == "before_deck"
    assert all(
        value.shape == (309, gates.HIDDEN) and 0 < value.min() < value.max() < 1 for value in found.gates.values()
    )
    ((candidate, values),) = found.candidates.items()
    assert candidate.name == "n" and -1 < values.min() < 0 < values.max() < 1
    images = [axes.images[0] for axes in gates.draw(subject, found).axes if axes.images and axes.get_ylabel()]
    assert [image.get_clim() for image in images][:3] == [(0, 1), (0, 1), (-1, 1)] and len(images) == 4
    error = np.sqrt(np.nanmean((found.predicted - found.numbers) ** 2))
    assert np.isnan(found.predicted[0]) and error < np.std(found.numbers)
    assert drawn(gates, subject, found, tmp_path / "gates.png") > 10000


def test_gradients_over_time(monkeypatch, tmp_path):
    monkeypatch.setattr(gradients, "STEPS", 30)
    subject = subject_of("rnn_hidden")
    every = gradients.data(subject)
    found = {one.name: one for one in every}
    for one in found.values():
        assert one.norms["h"][-1] == pytest.approx(gradients.HIDDEN**0.5)  # of the sum of the output itself
        assert (one.norms["h"][:-1] < one.norms["h"][1:] * one.largest * 1.5).all() and one.radius <= one.largest
    slopes = {name: np.polyfit(np.arange(21), np.log(one.norms["h"][5:26]), 1)[0] for name, one in found.items()}
    radius = np.log(found["identity"].radius)  # the Jacobian is the same at every step
    assert slopes["identity"] == pytest.approx(-radius, abs=0.1)
    assert "heaviside" not in found  # nothing passes through jumps
    assert slopes["sigmoid"] > np.log(4)  # its slope is at most 1/4
    assert drawn(gradients, subject, every, tmp_path / "gradients.svg") > 5000


@pytest.mark.parametrize(
    ("name", "options", "states"),
    [("rnn_multitap", {"tanh", "relu", "identity"}, {"h"}), ("delay_rnn", {""}, {"s", "r"})],
)
def test_gradients_of_cells_that_read_older_states(monkeypatch, tmp_path, name, options, states):
    monkeypatch.setattr(gradients, "STEPS", 12)
    subject = subject_of(name)
    found = gradients.data(subject)
    assert {one.name for one in found} == options and all(set(one.norms) == states for one in found)
    for one in found:  # of the sum of the last output in the state that it is
        assert max(norms[-1] for norms in one.norms.values()) == pytest.approx(gradients.HIDDEN**0.5)
    assert drawn(gradients, subject, found, tmp_path / "gradients.svg") > 5000


def test_gradients_over_nineteen_layers(monkeypatch, tmp_path):
    """Decades per layer as measured once at width 1024; N(0, 0.01^2) is scaled to another width."""
    monkeypatch.setattr(profile, "WIDTH", 128)
    subject = subject_of("deep19_gradient_profile")
    found = profile.data(subject)
    assert found.activations == ("elu", "relu", "sigmoid", "tanh") and found.neurons.shape == (4, 4, 19, 3)
    measured = [[0.19, 0.34, 0.85, 0.18], [0, 0, 0.62, 0], [0, 0, 0.50, -0.02], [0, 0, 1.10, 0]]
    np.testing.assert_allclose(profile.decades_per_layer(found), measured, atol=0.06)
    assert (found.neurons[..., 1] <= found.neurons[..., 2]).all()
    assert drawn(profile, subject, found, tmp_path / "profile.png") > 20000

"""The catalogue keeps its promises: ids and classes are a public contract."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from derive import load
from derive.catalog import CATALOG

ROOT = Path(__file__).parent.parent

CLASSES = {
    "resnet": "ResNet",
    "lm_resnet": "LMResNet",
    "revnet": "RevNet",
    "polynet": "PolyNet",
    "fractalnet": "FractalNet",
    "lstm_peephole": "LSTMPeephole",
    "backward_euler": "BackwardEuler",
    "trapezoid": "Trapezoid",
    "driven_oscillator": "DrivenOscillator",
    "cubic_ode": "CubicODE",
    "ctrnn_hopfield": "CTRNN",
    "forward_euler": "ForwardEuler",
    "leapfrog": "Leapfrog",
    "heun": "Heun",
    "rk4": "RK4",
    "linear_multistep": "LinearMultistep",
    "dnn": "DNN",
    "perceptron": "Perceptron",
    "splitting_ffn": "SplittingFFN",
    "resnet_deep_limit": "",
    "topology": "",
    "dyn_euler": "",
    "dyn_unrolled": "",
    "graph_product": "",
    "graph_sigmoid": "",
    "graph_relu": "",
    "chain_product": "",
    "ode_control": "",
    "hamiltonian_view": "",
    "liouville": "",
    "information": "",
    "mean_field_control": "",
    "planar_flow": "PlanarFlow",
    "radial_flow": "RadialFlow",
    "affine_coupling": "AffineCoupling",
    "nice": "NICE",
    "continuous_flow": "ContinuousFlow",
    "vi_flow": "",
    "neural_ode": "NeuralODE",
    "neural_sde": "NeuralSDE",
    "langevin_flow": "LangevinFlow",
    "shake_shake": "ShakeShake",
    "stochastic_depth": "StochasticDepth",
    "gaussian_noise_injection": "GaussianNoiseNet",
    "dropout_sde": "DropoutSDE",
    "deq": "DEQ",
    "sde_objective": "",
    "pathwise_gradient": "",
    "linear_eigen": "",
    "multitap_linear": "",
    "jury_stability": "",
    "bibo": "",
    "lyapunov_discrete": "",
    "scalar_nonlinear": "",
    "vector_nonlinear": "",
    "pascanu_bound": "",
    "cec": "",
    "deep19_gradient_profile": "",
    "torch_io": "",
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn_hidden": "RNNHidden",
    "rnn_output": "RNNOutput",
    "lstm_uwv": "LSTMUWV",
    "vanilla_lstm": "VanillaLSTM",
    "linear_recursion": "LinearRecursion",
    "rnn_multitap": "RNNMultitap",
    "tdnn": "TDNN",
    "lstm_general": "LSTMGeneral",
    "delay_rnn": "DelayRNN",
    "addition_rnn": "RNNHidden",
    "parity_rnn": "RNNHidden",
    "parity_mlp": "DNN",
    "lstm_stacked": "",
    "lstm_bidirectional": "",
    "sequence_losses": "",
}


def test_ids_and_classes_are_the_promised_ones():
    rows = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert {row["id"]: row["class"] for row in rows} == CLASSES
    assert {row["id"] for row in rows if row["kind"] == "statement"} == {id for id, name in CLASSES.items() if not name}
    assert all(set(row) == {"id", "kind", "class", "family", "title", "source"} for row in rows)


@pytest.mark.parametrize("name", CLASSES)
def test_a_spec_is_a_file_like_a_users_own(name):
    """It imports public names of `derive` and of the libraries that `derive` needs, and nothing of other entries."""
    text = (ROOT / "derive" / "catalog" / f"{name}.py").read_text(encoding="utf-8")
    assert text.count("\n") < 200
    libraries = {"derive", "sympy", "mpmath", "numpy", *sys.stdlib_module_names}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= libraries - {"derive"}
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None and node.module.split(".")[0] in libraries
            names = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
            assert not names & {f"derive.catalog.{other}" for other in CATALOG}
            assert not any(alias.name.startswith("_") for alias in node.names)
    assert load(name).id == name and bool(load(name).no_module) is not bool(CLASSES[name])

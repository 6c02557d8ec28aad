"""Derivations of the catalogue: numbering, checks, facts, verdicts on the decks, determinism."""

import hashlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from sympy import Eq, cos, expand, simplify, sin

from derive import DeriveError, api, explain, load
from derive.catalog import CATALOG
from derive.catalog.driven_oscillator import A, k, m, s, t, v
from derive.catalog.lstm_peephole import PEEPHOLES, bar_c, cell, into_candidate, into_output, past_cell, past_hidden
from derive.claims import judge
from derive.derivation import Kind
from derive.discretization import STEP_SIZE as h
from derive.lagrangian import merged
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Role
from derive.systems import DeckClaim

ROOT = Path(__file__).parents[2]


@cache
def derivation(name):
    return explain(load(name))


def relation(name, title):
    (found,) = [r for r in derivation(name).relations if r.name == title]
    return found


@pytest.mark.parametrize("name", CATALOG)
def test_relations_are_numbered_one_after_the_other(name):
    numbers = [int(r.number) for r in derivation(name).relations]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > (3 if load(name).no_module else 15)


@pytest.mark.parametrize("name", CATALOG)
def test_every_name_has_the_number_of_its_relation(name):
    found = derivation(name)
    for item in found.relations:
        if item.name:
            assert found.number_of(item.name) == item.number
    assert set(found.numbers.values()) <= {r.number for r in found.relations}
    assert found.number_of("nothing") == ""


@pytest.mark.parametrize("name", CATALOG)
def test_relations_have_formula_reason_and_the_check_that_belongs_to_their_kind(name):
    for item in derivation(name).relations:
        assert item.latex and item.text and item.reason and item.title
        checked = item.kind in (Kind.IDENTITY, Kind.ASYMPTOTIC, Kind.INEQUALITY)
        assert (item.check is not None) is checked, item.title
        assert bool(item.source) is (item.kind is Kind.STATEMENT), item.title


@pytest.mark.parametrize("name", CATALOG)
def test_latex_is_balanced_and_has_no_double_subscript(name):
    for item in derivation(name).relations:
        text = item.latex
        assert text.count("{") == text.count("}") and text.count(r"\left") == text.count(r"\right"), text
        assert not re.search(r"_\{[^{}]*\}_", text), text


@pytest.mark.parametrize("name", CATALOG)
def test_every_line_of_step_and_adjoint_has_a_number(name):
    """The emitted code writes these numbers behind its lines."""
    found = derivation(name)
    for option, recurrence in api.recurrences(load(name)).items():
        adjoint = reverse_sweep(recurrence.step).program
        lines = [("step", q) for q in recurrence.step.targets] + [("adjoint", q) for q in adjoint.targets]
        for kind, quantity in lines:
            name = ".".join(part for part in (str(option), kind, quantity.name) if part)
            assert found.number_of(name), quantity


FACTS = {
    "resnet": {"order": "1", "scheme": "forward Euler", "inverse": "the solution of an equation"},
    "lm_resnet": {
        "order": "1, 2 at k = 1",
        "order with start 'plain'": "1",
        "order with start 'matched'": "1, 2 at best",
        "consistent with": "u' = f/(k + 1)",
        "zero-stable for": "-1 < k <= 1",
        "inverse": "explicit",
    },
    "revnet": {"order": "1", "scheme": "symplectic Euler", "inverse": "explicit"},
    "polynet": {"state": "x", "order": "1, 2, 3, 4"},
    "fractalnet": {"inverse": "the solution of an equation"},
    "driven_oscillator": {"order": "1"},
    "cubic_ode": {"order": "1"},
    "ctrnn_hopfield": {"order": "1"},
    "forward_euler": {"order": "1"},
    "leapfrog": {
        "order": "2",
        "order with start 'euler'": "2",
        "zero-stable for": "every field",
        "inverse": "explicit",
    },
    "heun": {"order": "2"},
    "rk4": {"order": "4"},
    "shake_shake": {"weak order of small steps": "1"},
    "stochastic_depth": {
        f"weak order of small steps ({scaling})": "1/2; 1 where 1 - 2*survival = O(sqrt(h))"
        for scaling in ("plain", "inverted")
    },
    "gaussian_noise_injection": {"weak order of small steps": "1"},
    "dropout_sde": {"weak order of small steps": "1/2; 1 where 1 - 2*keep = O(sqrt(h))"},
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name):
    found = derivation(name).facts
    assert {key: found.get(key) for key in FACTS[name]} == FACTS[name]


VERDICTS = {
    "neural_ode": {"a(t_1)": True, "dL/dt_1": True, "E20": False, "sign of dL/dt_0": True},
    "resnet": {"E07": False},
    "lm_resnet": {"E12": False, "modified equation": True, "step": True},
    "driven_oscillator": {
        "E002-1": False,
        "step of s": True,
    },
    "revnet": {"E11": False, "step of x": True},
    "polynet": {"E08": False, "E08, second order": False, "E08, Picard": True, "E09": False},
    "fractalnet": {"E10": False, "E10, special weights": True},
    "cubic_ode": {"adjoint equation": True, "E38": False},
    "ctrnn_hopfield": {"E37": True},
    "perceptron": {"weighted sum": True},
    "chain_product": {f"E003-{place}": False for place in (16, 17, 18)},
    "splitting_ffn": {"layer": True, "second-order error": True},
    "resnet_deep_limit": {"E07": False},
    "dyn_euler": {"E002-1": False},
    "dyn_unrolled": {"E002-2": False, "E002-3": False},
    "lstm_peephole": {f"E003-L{place}": False for place in range(1, 9)},
    "forward_euler": {"step": True, "E04": True},
    "backward_euler": {"step of backward Euler": True, "E04": True},
    "trapezoid": {"step of the trapezoid rule": True, "E04": True},
    "leapfrog": {"step": True, "E04": False},
    "heun": {"predictor": True, "E02": False, "E04": True},
    "rk4": {"step": True, "k_3": True, "E004-1": False},
    "linear_multistep": {"E05": False},
    "ode_control": {"a(T)": True, "functional derivative": True, "E20": False},
    "hamiltonian_view": {"E32": False, "momentum": True, "E33": True, "E38": False},
    "liouville": {"E34": False},
    "information": {"entropy": True},
    "planar_flow": {"E23 (data to base)": True, "E23 (base to data)": True, "E24": False},
    "radial_flow": {"E26": False, "E26 with beta": True},
    "affine_coupling": {"E25": True},
    "shake_shake": {"step": True, "E13": False, "E13, diffusion": True, "E14": False, "test time": True},
    "stochastic_depth": {
        "step": True,
        "E13": False,
        "E13, diffusion": True,
        "E14": False,
        "E15": False,
        "test time": True,
    },
    "gaussian_noise_injection": {"step": True, "E17": False, "E17, diffusion": True},
    "dropout_sde": {"E18": True, "E18, draws": False, "E18, diffusion": True, "E15": False},
    "nice": {"E25": False},
    "continuous_flow": {"planar continuous flow": True},
    "vi_flow": {"E23": True},
    "deq": {"E21": False, "E22": False, "E22 step": True},
    "neural_sde": {"Euler-Maruyama": True},
    "langevin_flow": {"Fokker-Planck operator": True, "variance of the linear process": True},
    "sde_objective": {"E16": False},
    "pathwise_gradient": {"E19": False},
    "linear_eigen": dict.fromkeys([f"E003-{n}" for n in range(3, 9)], False),
    "jury_stability": {"E003-14": False},
    "scalar_nonlinear": {"E003-9": False, "E003-10": False, "E003-11": False},
    "vector_nonlinear": {"E003-12": False, "E003-13": False},
    "pascanu_bound": {"E004-2": False, "eigenvalue": False},
    "cec": {"E003-19": False},
    "deep19_gradient_profile": {"E003-21": False},
    "lstm": {"cell state": True, "hidden state": True, "carousel": True, "E003-19": False, "E003-L6": False},
    "lstm_uwv": {
        "cell state": True,
        "hidden state": True,
        "E003-23": False,
    },
    "linear_recursion": {"E003-1": False, "E003-2": False},
    "rnn_multitap": {"taps": True},
    "tdnn": {"lags": True},
    "lstm_general": {"state": True, "update": True, "value": True, "E30": False},
    "delay_rnn": {
        **dict.fromkeys(["velocity", "s_next", "W_s", "W_r", "W_x", "theta_s", "E000-1, step size 1"], True),
        **dict.fromkeys(["E000-1", "E000-2", "E000-3"], False),
    },
    "vanilla_lstm": {"state": True, "value": True, "E31": False, "E000-4": False},
    "rnn_hidden": {
        "hidden state": True,
        "output": True,
        "E002-6": False,
        "E002-7": False,
    },
    "parity_mlp": {"E003-24": False},
    "lstm_stacked": {"lower layer": True},
    "sequence_losses": {"L2": True, "E003-20": False, "E003-20, logits": True, "E003-20, sigmoid": True},
    "rnn_output": {"E002-8": False, "E002-8, teacher": False},
    "gru": {"update": True, "E003-22": False, "E003-22, reset": False},
}


@pytest.mark.parametrize("name", CATALOG)
def test_verdicts_on_the_decks(name):
    claims = derivation(name).claims
    assert {claim.id: claim.agrees for claim in claims} == VERDICTS.get(name, {})
    for claim in claims:
        assert claim.verdict.startswith("agrees" if claim.agrees else "differs")
        assert claim.agrees or claim.difference > 1e-3


def test_every_erratum_of_the_lectures_on_recurrent_networks_is_spoken_of():
    """In a claim with its verdict, or in the source or note of what is said instead."""
    spoken = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "derive" / "catalog").glob("*.py"))
    counts = {"E000-": 5, "E002-": 8, "E003-": 24, "E003-L": 8, "E004-": 4}
    errata = [f"{lecture}{place}" for lecture, count in counts.items() for place in range(1, count + 1)]
    assert [erratum for erratum in errata if not re.search(rf"{erratum}\b", spoken)] == []
    judged = {claim.split(",")[0] for verdicts in VERDICTS.values() for claim in verdicts} & set(errata)
    assert set(errata) - judged == {"E000-5", "E002-4", "E002-5", "E003-15", "E004-3", "E004-4"}


def test_local_errors_of_the_oscillator_are_those_of_the_exact_solution():
    """h^2/2 times the second derivatives of s and v along solutions, differentiated by hand."""
    found = derivation("driven_oscillator").results
    assert expand(found["local_error_s"] - (A * cos(t) - k * s) / (2 * m)) == 0
    assert expand(found["local_error_v"] + (k * v + A * sin(t)) / (2 * m)) == 0


def test_the_deck_s_formulas_with_all_defects_mended_agree():
    """Row form of the catalogue, transposed: no path is missing."""
    step = {name.removeprefix("full."): value for name, value in derivation("lstm_peephole").results.items()}
    mended = {"bar_c": past_cell(bar_c), "bar_h": past_hidden(bar_c) + into_candidate + into_output}
    context = merged(cell("full").step, reverse_sweep(cell("full").step).program.assignments)
    for about, says in mended.items():
        assert judge(DeckClaim("mended", "", about, says), step, context).agrees


def test_a_claim_about_nothing_derived_is_refused():
    with pytest.raises(DeriveError, match="order"):
        judge(DeckClaim("X", "deck", "ordre", h), derivation("resnet").results, None)


def test_lm_resnet_results():
    results = derivation("lm_resnet").results
    k = next(q for q in results["x_next"].free_symbols if q.name == "k")
    bar = next(q for q in results["bar_x_prev"].free_symbols if q.name == "bar_x_next")
    assert expand(results["bar_x_prev"] - k * bar) == 0
    assert str(results["effective_field"]) == "f/(k + 1)"
    assert api.analyse("lm_resnet").order_conditions == {2: Eq(k, 1)}


def test_lm_resnet_has_every_relation_of_a_two_step_net():
    names = {r.name for r in derivation("lm_resnet").relations}
    wanted = "discrete_hamiltonian pairing symplectic heavy_ball heavy_ball_limit local_error effective_field "
    wanted += "modified_equation modified_field root_condition inverse.x_prev step_determinant inverse_trust "
    wanted += "start_error.plain start_error.matched adjoint.bar_k adjoint.bar_theta_f loss.bar_output"
    assert set(wanted.split()) <= names


def test_oscillator_results_are_exact():
    results = derivation("driven_oscillator").results
    s = {q.name: q for q in results["determinant"].free_symbols}
    assert expand(results["determinant"] - (1 + h**2 * s["k"] / s["m"])) == 0
    assert expand(results["energy_ratio"] - (1 + h**2 * s["k"] / s["m"])) == 0
    assert results["energy_rate"] == 0
    assert simplify(results["growth"] - h**2 * s["k"] / s["m"]) == 0
    assert h in s.values()


@pytest.mark.parametrize("peephole", PEEPHOLES)
def test_lstm_has_a_gradient_for_everything(peephole):
    """The deck leaves the weights 'as an exercise': all of them, biases, peepholes, input and initial state."""
    recurrence = cell(peephole)
    cotangents = reverse_sweep(recurrence.step).cotangents
    parameters = [q for q in recurrence.step.inputs if q.role is Role.PARAMETER]
    assert len(parameters) == {"diagonal": 15, "full": 15, "none": 12}[peephole]
    wanted = {*parameters, *recurrence.old, *recurrence.inputs}
    assert len(wanted) == len(parameters) + 3 and wanted <= set(cotangents)
    found = derivation("lstm_peephole")
    for quantity in wanted:
        assert found.number_of(f"{peephole}.adjoint.bar_{quantity.name}"), quantity


def test_nothing_is_flattened():
    """About 53 operations on 31 forward ones; flat expressions give 3,631 (design, section 2)."""
    step = cell("full").step
    forward = sum(line.value.count_ops() for line in step.assignments)
    backward = sum(line.value.count_ops() for line in reverse_sweep(step).program.assignments)
    assert forward <= 60 and backward <= 120


def test_symbol_tables_list_every_quantity_once():
    for name in CATALOG:
        rows = derivation(name).symbols
        names = [row[1] for row in rows]
        assert len(names) == len(set(names)) and all(len(row) == 5 for row in rows)


SCRIPT = """
import hashlib
from derive import explain, load
from derive.catalog import CATALOG
from derive.catalog.driven_oscillator import A, k, m, s, t, v
from derive.catalog.lstm_peephole import bar_c, cell, into_candidate, into_output, past_cell, past_hidden
from derive.lagrangian import merged
for name in CATALOG:
    found = explain(load(name))
    text = "\\n".join(f"{r.number} {r.title} {r.latex} {r.text} {r.reason}" for r in found.relations)
    text += repr(dict(found.facts)) + repr(found.symbols) + repr([(c.id, c.difference) for c in found.claims])
    print(name, hashlib.sha256(text.encode()).hexdigest())
"""


def test_two_hash_seeds_write_the_same_text():
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "1")
    ]
    first, second = (run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(first.splitlines()) == len(CATALOG) and first == second
    assert len({line.split()[1] for line in first.splitlines()}) == len(CATALOG)
    assert hashlib.sha256(b"").hexdigest() not in first

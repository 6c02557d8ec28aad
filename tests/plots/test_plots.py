"""What is plotted, as numbers; that files are written, twice alike; that what does not exist is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import derive
from plots import (
    activations,
    cells,
    control,
    convergence,
    costates,
    crossing,
    delays,
    density,
    energy,
    equilibrium,
    kinds_of,
    memory,
    modes,
    paths,
    phase,
    plot,
    responses,
    stability,
    steps,
)
from plots.subject import subject_of
from tests.test_cli import refused, run

SUBJECTS = [
    ("polynet", "memory"),
    *(
        pytest.param(name, "stability", marks=pytest.mark.slow)
        for name in ("rk4", "stormer_verlet", "driven_oscillator", "lm_resnet")
    ),
]


def region(name):
    (found,) = stability.data(subject_of(name))
    return found


def inside(found, z):
    """Whether the filled region holds the cell nearest to z."""
    row, column = np.abs(found.im - z.imag).argmin(), np.abs(found.re - z.real).argmin()
    return bool(found.inside[row, column])


def test_the_region_of_rk4_is_where_its_polynomial_is_at_most_one():
    found = region("rk4")
    z = found.re[None, :] + 1j * found.im[:, None]
    assert (found.inside == (np.abs(1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24) <= 1)).mean() > 0.9999
    assert found.re[0] < -2.786 and found.im[-1] > 2.95
    on_circle = found.locus[np.isfinite(found.locus)]
    growth = 1 + on_circle + on_circle**2 / 2 + on_circle**3 / 6 + on_circle**4 / 24
    assert np.abs(np.abs(growth) - 1).max() < 1e-10


def test_the_locus_is_drawn_as_continuous_curves():
    for name in ("rk4", "dopri5", "bdf3", "radau2a_5"):
        found = region(name)
        jumps = np.abs(np.diff(found.locus, axis=1))
        near = np.abs(found.locus[:, 1:]) < 2 * found.im[-1]
        assert np.nanmax(np.where(near, jumps, 0)) < 0.2 * found.im[-1]


def test_regions_of_implicit_schemes_are_unbounded():
    assert inside(region("bdf3"), -1 + 4j) and not inside(region("bdf3"), 3 + 0j)
    assert region("bdf3").angle == pytest.approx(86.03, abs=0.01)
    assert inside(region("gauss4"), -5 + 5j) and not inside(region("gauss4"), 5 + 0j)


@pytest.mark.parametrize("name", ["hamiltonian_view", "liouville", "ode_control"])
def test_cells_of_the_phase_plane_keep_their_area(name):
    found = cells.data(subject_of(name))
    assert found.areas == pytest.approx([0.25] * len(found.times), rel=3e-3)
    assert abs(found.widths[-1] - found.widths[0]) > 0.05
    assert cells.area(np.array([[0, 0], [2, 0], [2, 3], [0, 3]])) == 6


def test_cells_over_level_lines_of_an_energy_that_reads_more_than_the_field(tmp_path):
    path = tmp_path / "priced.py"
    path.write_text(
        "from derive import ODE, OptimalControl, Spec, constant, parameter, state\n"
        'x, k, rho = state("x", ()), parameter("k"), constant("rho")\n'
        'SPEC = Spec(id="priced_rate", class_name="", title="priced", no_module="it is a problem", '
        "system=OptimalControl(ODE((x,), (-k * x,)), terminal=x**2, running=rho * k**4))\n"
    )
    assert cells.data(subject_of(str(path))).areas == pytest.approx([0.25] * 4, rel=3e-3)
    assert "cells" not in kinds_of(subject_of("mean_field_control"))


@pytest.mark.parametrize("name", ["mean_field_control", "ode_control"])
def test_the_best_control_is_cheaper_than_none(name):
    found = control.data(subject_of(name))
    assert found.cost < 0.5 * found.idle_cost and found.states.shape == found.idle.shape
    if name == "mean_field_control":
        (theta,) = found.controls.values()
        assert np.ptp(theta) < 1e-10


def test_curves_are_called_by_the_problems_own_names(tmp_path):
    path = tmp_path / "swing.py"
    path.write_text(
        "from derive import ODE, OptimalControl, Spec, parameter, state, time\n"
        'angle, speed, force, s = state("angle", ()), state("speed", ()), parameter("force"), time("s")\n'
        'SPEC = Spec(id="swing_problem", class_name="", title="swing", no_module="it is a problem", '
        "system=OptimalControl(ODE((angle, speed), (speed, force - angle), time=s), terminal=angle**2, "
        "running=force**2, controls=(force,)))\n"
    )
    subject = subject_of(str(path))
    drawn = costates.draw(subject, costates.data(subject))
    assert [text for one in drawn.axes[:3] for text in one.get_legend_handles_labels()[1]] == [
        r"$\mathrm{angle}$", r"$\mathrm{speed}$", r"$a_{\mathrm{angle}}$", r"$a_{\mathrm{speed}}$",
        r"in $\mathrm{force}$",
    ]  # fmt: skip
    both = control.draw(subject, control.data(subject))
    left, right = both.axes
    assert {one.get_xlabel() for one in (*drawn.axes, left, right)} == {"$s$"}
    assert right.get_legend_handles_labels()[1] == [r"$\mathrm{angle}$", r"$\mathrm{speed}$"]
    colours = [{line.get_color() for line in one.lines if line.get_label()[0] == "$"} for one in (left, right)]
    assert len(colours[0]) == 1 and len(colours[1]) == 2 and not colours[0] & colours[1]


def test_titles_say_what_is_shown():
    assert subject_of("ode_control").title == "Optimal control of an ODE (regulator)"
    assert subject_of("vi_flow").title == "Variational inference with normalizing flows\nshown on Planar flow"


def test_costates_end_with_the_gradient_of_the_loss_and_constant_controls_keep_h():
    found = costates.data(subject_of("liouville"))
    assert set(found.densities) == {"w", "b", r"\gamma"} and np.ptp(found.energy) < 1e-9
    moved = costates.data(subject_of("hamiltonian_view"))
    assert np.ptp(moved.energy) > 0.1 and found.times[0] == 0 and (np.diff(found.times) > 0).all()


def test_members_of_a_family_share_a_grid():
    explicit, middle, implicit = stability.data(subject_of("theta"))
    assert explicit.label == r"\theta = 0" and np.array_equal(explicit.re, implicit.re)
    assert inside(explicit, -1 + 0j) and not inside(implicit, 1 + 0j) and inside(middle, -3 + 3j)


def test_growth_of_partitioned_schemes_begins_at_the_end_of_the_interval():
    found = stability.data(subject_of("stormer_verlet"))
    assert found.end == 2
    assert np.allclose(found.radius[found.z < 1.98], 1) and (found.radius[found.z > 2.01] > 1.05).all()


@pytest.mark.parametrize("name", ["forward_euler", "heun", "rk4", "ab3", "strang", "ruth3", "bs32", "resnet"])
def test_observed_slopes_are_the_derived_orders(name):
    for curve in convergence.data(subject_of(name)):
        assert curve.slope == pytest.approx(curve.order, abs=0.1)


def test_implicit_schemes_are_run_too():
    for name, order in (("trapezoid", 2), ("bdf2", 2)):
        (curve,) = convergence.data(subject_of(name))
        assert curve.order == order and curve.slope == pytest.approx(order, abs=0.1)


def test_crossing_stops_where_implicit_steps_have_no_solution():
    assert np.isfinite(crossing.data(subject_of("backward_euler")).steps).all()


def test_statements_are_shown_on_a_system():
    subject = subject_of("topology")
    assert (subject.label, list(kinds_of(subject))) == ("topology", ["activations", "crossing"])


def test_a_scheme_that_is_not_zero_stable_diverges():
    (curve,) = convergence.data(subject_of("unstable_explicit_2step"))
    assert curve.slope < 0


def test_the_reference_beside_the_steps_is_the_solution():
    found = phase.data(subject_of("forward_euler")).motion
    s, v = found.exact.T
    assert np.ptp(v**2 / 2 - np.cos(s)) < 1e-11
    assert np.ptp(found.states[:, 1] ** 2 / 2 - np.cos(found.states[:, 0])) > 0.1


def test_symplectic_schemes_keep_energy_and_the_modified_one_better():
    for name, powers in (("symplectic_euler", [0, 1, 2]), ("stormer_verlet", [0, 2, 4])):
        found = energy.data(subject_of(name))
        own = found.schemes[subject_of(name).scheme.title]
        assert found.schemes["forward Euler"][-1] > 1 and own[-1] < 0.05 and own[-1] < 1.1 * own[len(own) // 4]
        assert list(found.corrected) == powers
        errors = [drift[-1] for drift in found.corrected.values()]
        assert errors[1] < errors[0] / 20 and errors[2] < errors[1] / 5


def test_what_is_not_symplectic_has_no_modified_hamiltonian():
    assert energy.data(subject_of("heun")).corrected == {}


@pytest.mark.parametrize("name", ["forward_euler", "resnet"])
def test_trajectories_cross_under_steps_and_not_under_the_flow(name):
    found = crossing.data(subject_of(name))
    assert crossing.crossings(found.steps) > 0 and (np.diff(found.flow, axis=1) > 0).all()


def test_memory_of_the_modes_grows_as_it_should():
    found = memory.data(subject_of("revnet"))
    growth = {mode: kept[-1] / kept[0] for mode, kept in found.states.items()}
    assert growth["store"] == pytest.approx(16, rel=0.1) and growth["recompute"] > 12
    assert growth["checkpoint"] < 6 and growth["invert"] == 1


def test_memory_of_every_mode_that_a_module_has():
    found = memory.data(subject_of("lm_resnet"))
    assert list(found.states) == ["autograd", "store", "recompute", "checkpoint", "invert", "exact"]
    assert found.states["exact"][-1] < found.states["invert"][-1] < 10
    (axes,) = memory.draw(subject_of("lm_resnet"), found).axes
    assert len(axes.lines) == 6


def test_a_trained_net_separates_what_its_flow_cannot():
    found = activations.data(subject_of("resnet"))
    assert found.net.shape == found.flow.shape == (7, 480, 2)
    assert found.accuracy[0] == 1 and found.accuracy[1] < 0.95
    assert np.array_equal(found.net[0], found.flow[0])


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_same_bytes_every_time(tmp_path, suffix):
    paths = [plot("ab2", output=tmp_path / f"{n}.{suffix}") for n in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes() and paths[0].stat().st_size > 5000


@pytest.mark.parametrize(("name", "default"), SUBJECTS)
def test_every_kind_is_written(name, default, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = kinds_of(subject_of(name))
    assert next(iter(kinds)) == default
    for kind in kinds:
        result = run("plot", name, "--kind", kind)
        assert (result.exit_code, result.stdout) == (0, f"{name}-{kind}.png\n")


def test_a_users_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = "from derive import LinearMultistep\nMINE = LinearMultistep(alpha=(1,), beta=(0, 1))\n"
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    assert run("plot", "mine.py").stdout == "mine-stability.png\n"
    assert run("plot", "mine.py:MINE", "-o", "a.svg").stdout == "a.svg\n"


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] in ("plots", "matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'derive[plots]'" in refused("plot", "rk4")


def test_what_there_is_not_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "did you mean rk4" in refused("plot", "rk44")
    assert "has no plot of kind 'melody'; it has: stability, convergence" in refused("plot", "rk4", "--kind", "melody")
    assert "it needs an ODE" in refused("plot", "polynet", "--kind", "convergence")
    assert "change the suffix" in refused("plot", "rk4", "-o", "a.jpg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["planar_flow", "radial_flow", "affine_coupling", "continuous_flow"])
def test_a_flow_s_density_is_that_of_the_pulled_grid(name):
    """Cells of the grid hold the mass in the data plane that they hold in the base."""
    found = density.data(subject_of(name))
    assert 0.8 < found.mass < 1.001
    assert np.abs(found.base.sum() * (found.side[1] - found.side[0]) ** 2 - 1) < 1e-3
    step = found.side[1] - found.side[0]
    inside = np.abs(found.pulled).max(axis=-1) < found.side[-1] - step
    rows, columns = (np.abs(found.side[None, :] - found.pulled[inside][:, k, None]).argmin(axis=1) for k in (0, 1))
    assert (found.data[rows, columns] > 0).all() and inside.any()


def test_what_has_a_density():
    assert next(iter(kinds_of(subject_of("planar_flow")))) == "density"
    assert "density" not in kinds_of(subject_of("rk4")) and list(kinds_of(subject_of("vi_flow"))) == ["density"]


def test_an_equilibrium_s_iterations_fall_at_the_rate_of_the_jacobian():
    found = equilibrium.data(subject_of("deq"))
    steps = np.log(found.residuals["picard"][-1] / found.residuals["picard"][20]) / (
        len(found.residuals["picard"]) - 21
    )
    assert np.exp(steps) == pytest.approx(found.radius, abs=0.02)
    assert (found.truncated[-1] / found.truncated[11]) ** (1 / 12) == pytest.approx(found.radius, abs=0.02)
    assert all(len(found.residuals[solver]) < 16 for solver in ("broyden", "anderson"))
    assert list(kinds_of(subject_of("deq"))) == ["equilibrium"]


def test_paths_end_as_the_stationary_density_says():
    found = paths.data(subject_of("langevin_flow"))
    width = found.side[1] - found.side[0]
    assert found.density.sum() * width == pytest.approx(1.0)
    for power in (2, 4):
        wanted = (found.side**power * found.density).sum() * width
        assert (found.ends**power).mean() == pytest.approx(wanted, rel=0.05)  # the step is 1/40
    assert found.shown.shape[0] == len(found.times) == len(found.mean)
    growing = paths.data(subject_of("sde_objective"))
    assert growing.density is None and np.abs(growing.mean / growing.exact - 1).max() < 0.02


def test_steps_of_a_pair_follow_the_stiffness():
    found = steps.data(subject_of("neural_ode"))
    kept = [one for one in found.attempts if one.accepted]
    lost = [one for one in found.attempts if not one.accepted]
    assert len(kept) == len(found.t) - 1 == 169 and len(lost) == 23
    assert sum(one.h for one in kept) == pytest.approx(steps.TIME, rel=1e-12) and found.t[-1] == pytest.approx(20)
    solver = solve_ivp(lambda t, z: [z[1], 8 * (1 - z[0] ** 2) * z[1] - z[0]], (0, 20), [1.2, 0], "DOP853", rtol=1e-11,
                       atol=1e-12, dense_output=True)  # fmt: skip
    assert np.abs(found.states - solver.sol(found.t).T).max() < 0.05 * np.abs(found.states).max()
    held = (found.t[:-1] > 2.6) & (found.t[:-1] < 4)
    sizes = np.array([one.h for one in kept])
    share = sizes[held] / found.limit[held]
    assert len(share) > 5 and 0.85 < share.min() < share.max() < 1.1  # what stability allows
    for place in (10, 60):  # the limit is the end of the real interval over the fastest rate, here in closed form
        x, v = found.states[place]
        rates = np.linalg.eigvals([[0, 1], [-16 * x * v - 1, 8 * (1 - x * x)]]).real
        end = -float(derive.analyse("dopri5").real_interval[0])
        assert found.limit[place] == pytest.approx(end / -rates.min(), rel=1e-5)


def test_steps_of_written_systems_and_of_pairs_alone(tmp_path):
    text = """
from derive import ODE, Adaptive, Spec, parameter, state
x, y = state("x", ()), state("y", ())
a = parameter("a")
FIELD = ODE(state=(x, y), velocity=(a * x - x * y, x * y - y))
SPEC = Spec(id="prey", class_name="Prey", title="Prey", system=Adaptive(FIELD, scheme="tsit5"), defaults={"a": 2.0})
"""
    (tmp_path / "prey.py").write_text(text, encoding="utf-8")
    found = steps.data(subject_of(str(tmp_path / "prey.py")))
    invariant = found.states.sum(1) - np.log(found.states[:, 0]) - 2 * np.log(found.states[:, 1])
    assert found.states[0] == pytest.approx([1.2, 0.6]) and np.ptp(invariant) < 2e-2
    assert "steps" in kinds_of(subject_of("bs32")) and "steps" not in kinds_of(subject_of("rk4"))
    path = tmp_path / "steps.png"
    assert (
        plot("neural_ode", None, path) == path and path.read_bytes() == plot("neural_ode", "steps", path).read_bytes()
    )


def test_what_has_no_plots_says_so_briefly():
    message = refused("plot", "graph_relu")
    assert "graph_relu has no plots" in message and len(message) < 200


def test_responses_of_scalar_recursions():
    """tanh settles by the sign of its start, relu answers a negative start once, the sigmoid oscillates at -7."""
    found = responses.data(subject_of("scalar_nonlinear"))
    assert found.names == ("linear", "sigmoid", "tanh", "relu") and found.weight.name == "w"
    place = {weight: at for at, weight in enumerate(responses.WEIGHTS)}
    linear, sigmoid, tanh, relu = found.states
    np.testing.assert_allclose(linear[0, place[1.1]], 1.1 ** np.arange(responses.STEPS + 1), rtol=1e-12)
    np.testing.assert_allclose(tanh[1], -tanh[0])
    assert abs(tanh[0, place[2.0], -1] - 0.9575040240772687) < 1e-8
    np.testing.assert_allclose(sigmoid[0, place[-7.0], -2:], [0.0563, 0.4027], atol=2e-2)
    assert list(relu[1, place[-1.0], :4]) == [-1, 1, 0, 0] and not relu[1, place[2.0], 1:].any()
    assert list(kinds_of(subject_of("scalar_nonlinear"))) == ["responses"]
    assert "responses" not in kinds_of(subject_of("lstm_peephole"))


@pytest.mark.parametrize("name", ["multitap_linear", "linear_eigen", "jury_stability"])
def test_modes_of_linear_recursions(name):
    assert list(kinds_of(subject_of(name))) == ["modes"]
    two, three, five = modes.data(subject_of(name))
    assert (two.verdict.value, three.verdict.value, five.verdict.value) == (True, False, True)
    assert max(abs(five.eigenvalues)) == pytest.approx(0.8930464293, abs=1e-10)
    for found, weights in ((two, (0.5, -0.75)), (three, (0.5, -0.75, -0.5)), (five, (0.5, 0, 0, 0, 0.25))):
        np.testing.assert_allclose(
            np.sort_complex(found.eigenvalues), np.sort_complex(np.roots([1, *np.negative(weights)]))
        )
        response = [1.0]
        for t in range(1, modes.STEPS + 1):
            response.append(sum(w * response[t - d] for d, w in enumerate(weights, 1) if t >= d))
        np.testing.assert_allclose(found.response, response, atol=1e-12)


def test_steps_of_a_delay_equation_are_those_of_its_scheme():
    assert next(iter(kinds_of(subject_of("delay_rnn")))) == "delays"
    found = delays.data(subject_of("delay_rnn"))
    A, B, C, phi = (float(number) for number in delays.NUMBERS)
    assert found.multiplier == A and len(found.states) == len(delays.STEPS)
    for lag, times, states in zip(delays.STEPS, found.times, found.states, strict=True):
        expected = [0.0]
        for n in range(1, len(times)):
            ago = np.tanh(expected[n - lag]) if n >= lag else 0.0
            expected.append((expected[-1] + (B * ago + C + phi) / lag) / (1 - A / lag))
        np.testing.assert_allclose(states, expected, atol=1e-13)
        assert times[-1] == delays.DELAYS


@pytest.mark.parametrize(
    ("name", "kind"), [("scalar_nonlinear", "responses"), ("multitap_linear", "modes"), ("delay_rnn", "delays")]
)
def test_plots_of_recursions_are_written(name, kind, tmp_path):
    first, again = (plot(name, kind, tmp_path / f"{n}.png").read_bytes() for n in "ab")
    assert first == again and len(first) > 10_000

"""The catalogue: one module per system, each with a `SPEC`; this tuple is the whole register.

A new entry is a new file `derive/catalog/<id>.py` and one line here. What it is called and where it is from stands in
its spec and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Listing:
    """What the register says about a system.

    Attributes:
        id: name of its module in this package, of its spec and of the emitted file.
        family: how its class is constructed and called.
        kind: "module" where code is emitted, "statement" where there is only a derivation.
        aliases: other names it is found under.
    """

    id: str
    family: str
    kind: str = "module"
    aliases: tuple[str, ...] = ()


REGISTER = (
    Listing("resnet", "depth"),
    Listing("lm_resnet", "depth"),
    Listing("revnet", "depth"),
    Listing("polynet", "depth"),
    Listing("fractalnet", "depth"),
    Listing("lstm_peephole", "recurrent"),
    Listing("backward_euler", "integrator"),
    Listing("trapezoid", "integrator"),
    Listing("driven_oscillator", "explicit system"),
    Listing("cubic_ode", "explicit system"),
    Listing("ctrnn_hopfield", "explicit system"),
    Listing("forward_euler", "integrator"),
    Listing("leapfrog", "integrator"),
    Listing("heun", "integrator"),
    Listing("rk4", "integrator"),
    Listing("linear_multistep", "integrator"),
    Listing("dnn", "depth", aliases=("ffn",)),
    Listing("perceptron", "depth"),
    Listing("splitting_ffn", "explicit system"),
    Listing("resnet_deep_limit", "depth", "statement"),
    Listing("topology", "depth", "statement"),
    Listing("dyn_euler", "explicit system", "statement"),
    Listing("dyn_unrolled", "explicit system", "statement"),
    Listing("graph_product", "graph", "statement"),
    Listing("graph_sigmoid", "graph", "statement"),
    Listing("graph_relu", "graph", "statement"),
    Listing("chain_product", "graph", "statement"),
    Listing("ode_control", "control", "statement"),
    Listing("hamiltonian_view", "control", "statement"),
    Listing("liouville", "control", "statement"),
    Listing("information", "control", "statement"),
    Listing("mean_field_control", "control", "statement"),
    # densities
    Listing("planar_flow", "flow"),
    Listing("radial_flow", "flow"),
    Listing("affine_coupling", "flow"),
    Listing("nice", "flow"),
    Listing("continuous_flow", "flow"),
    Listing("vi_flow", "flow", "statement"),
    # adaptive steps
    Listing("neural_ode", "adaptive"),
    # stochastic differential equations
    Listing("neural_sde", "sde"),
    Listing("langevin_flow", "sde"),
    # random residual nets
    Listing("shake_shake", "depth"),
    Listing("stochastic_depth", "depth"),
    Listing("gaussian_noise_injection", "depth"),
    Listing("dropout_sde", "depth"),
    # equilibria
    Listing("deq", "fixed point"),
    Listing("sde_objective", "sde", "statement"),
    Listing("pathwise_gradient", "sde", "statement"),
    # analyses of recursions
    Listing("linear_eigen", "recursion", "statement"),
    Listing("multitap_linear", "recursion", "statement"),
    Listing("jury_stability", "recursion", "statement"),
    Listing("bibo", "recursion", "statement"),
    Listing("lyapunov_discrete", "recursion", "statement"),
    Listing("scalar_nonlinear", "recursion", "statement"),
    Listing("vector_nonlinear", "recursion", "statement"),
    Listing("pascanu_bound", "recursion", "statement"),
    Listing("cec", "recursion", "statement"),
    Listing("deep19_gradient_profile", "recursion", "statement"),
    Listing("torch_io", "recursion", "statement"),
    # recurrent cells
    Listing("lstm", "recurrent"),
    Listing("gru", "recurrent"),
    Listing("rnn_hidden", "recurrent", aliases=("vanilla_rnn",)),
    Listing("rnn_output", "recurrent"),
    Listing("lstm_uwv", "recurrent"),
    Listing("vanilla_lstm", "recurrent"),
    Listing("linear_recursion", "recurrent"),
    Listing("rnn_multitap", "recurrent"),
    Listing("tdnn", "recurrent"),
    Listing("lstm_general", "recurrent"),
    # a delay equation
    Listing("delay_rnn", "recurrent", aliases=("sherstinsky_rnn",)),
    # recurrent networks with exact weights, stacks, losses over sequences
    Listing("addition_rnn", "recurrent"),
    Listing("parity_rnn", "recurrent"),
    Listing("parity_mlp", "depth"),
    Listing("lstm_stacked", "recurrent", "statement"),
    Listing("lstm_bidirectional", "recurrent", "statement"),
    Listing("sequence_losses", "recurrent", "statement"),
)
CATALOG = tuple(listing.id for listing in REGISTER)
ALIASES = {alias: listing.id for listing in REGISTER for alias in listing.aliases}

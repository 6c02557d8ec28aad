"""Gradients over the layers of a deep net at initialization: what a layer takes from them, and what that depends on."""

from sympy import Abs, Float, Integer, Rational

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Illustration,
    Relation,
    SampledCheck,
    Spec,
    input_,
    matvec,
    norm,
    number,
    parameter,
    relation,
    sigmoid,
    state,
)
from derive.catalog import deep19_gradient_profile_checks as checks

DECK = "recurrent networks 2/26/2018"
ROWS, FIELD = "Gradients of one neuron", "Wide nets at initialization"
TABLE = "Initialization and activation together"
X, W = input_("f_before", "n", latex="f_{k-1}", meaning="layer below"), parameter("W", ("m", "n"), meaning="weights")
delta = state("delta", "m", latex=r"\delta_k", meaning="cotangent of the argument of layer k")
layer = Builder()
z = layer.let("z", matvec(W, X), latex="z_k", meaning="argument")
f = layer.let("f", sigmoid(z), latex="f_k", meaning="output of the layer")


def table_row(initialization: str) -> Relation:
    """What a layer takes under one initialization, by activation."""
    values = tuple(checks.derived(name, *checks.INITIALIZATIONS[initialization]) for name in checks.ACTIVATIONS)
    shown = {name: f"{round(value, 2) + 0.0:.2f}" for name, value in zip(checks.ACTIVATIONS, values, strict=True)}
    return relation(
        f"decades lost in each layer, weights {initialization}",
        "asymptotic",
        r",\quad ".join(rf"\mathrm{{{name}}}: {value}" for name, value in shown.items()),
        text=", ".join(f"{name}: {value}" for name, value in shown.items()),
        reason=f"moments forwards, chi backwards, over {checks.LAYERS} layers; weights lose what delta loses, less "
        f"what f loses on the way up; beside {checks.SEEDS} random nets of width {checks.WIDTH}, to 0.03 and 3 %",
        check=SampledCheck(
            lambda claimed: checks.misses(initialization, claimed), values, lambda c: tuple(v + 0.1 for v in c)
        ),
        section=TABLE,
    )


def relations() -> tuple[Relation, ...]:
    """What is derived, in order."""
    lost = Float(str(checks.decades_of_sigmoid(1)), 12)
    return (
        relation(
            "what the figures show",
            "identity",
            r"\nabla_{W_k} E = \delta_k f_{k-1}^\top: \qquad \left|\nabla_{W_{k,j,:}} E\right| = |\delta_{k,j}|\, "
            r"|f_{k-1}|",
            text="|gradient of the weights of neuron j| = |delta_j| |f_before|",
            reason="one outer product per sample; layers below enter through f, layers above through delta",
            name="rows",
            value=Abs(delta) * norm(X),
            check=IdentityCheck(
                lambda known, _: checks.row_lengths(known[delta], known[X]), Abs(delta) * norm(X), (delta, X)
            ),
            section=ROWS,
        ),
        relation(
            "backward factor of a layer of independent weights",
            "definition",
            r"\chi = \sigma_w^2\, E f'(\sqrt{q} z)^2, \qquad q = \sigma_w^2\, E f(\sqrt{q} z)^2, \quad z \sim N(0, 1)",
            text="chi = sigma_w^2 E f'(sqrt(q) z)^2 at the fixed point q = sigma_w^2 E f(sqrt(q) z)^2, z normal",
            reason="weights of variance sigma_w^2/n and mean 0, no bias: |delta|^2 is multiplied by chi in the mean",
            section=FIELD,
        ),
        relation(
            "decades lost in each layer of sigmoids, sigma_w = 1",
            "asymptotic",
            rf"-\log_{{10}} \sqrt{{\chi}} = {float(lost):.4f}",
            reason=f"q has a fixed point above 0, the length of f does not fall: delta alone decides; beside "
            f"{checks.SEEDS} random nets of {checks.LAYERS} layers and width {checks.WIDTH}, to 3 %",
            name="lost",
            value=lost,
            check=SampledCheck(checks.sigmoid_misses, lost, lambda claimed: claimed * Rational(6, 5)),
            section=FIELD,
        ),
        relation(
            "decades lost in each layer of rectified units, sigma_w = 1",
            "asymptotic",
            r"|\delta_k|\, |f_{k-1}| \sim \left(\tfrac{\sigma_w^2}{2}\right)^{(N - k)/2} "
            r"\left(\tfrac{\sigma_w^2}{2}\right)^{(k-1)/2}: \qquad 0",
            reason="delta shrinks backwards as f shrinks forwards, by the same factor: gradients of weights are flat "
            "over depth; beside the same random nets, to 0.02",
            check=SampledCheck(checks.relu_misses, Integer(0), lambda claimed: claimed + Rational(1, 10)),
            section=FIELD,
        ),
        number(
            "gradient of weights ten layers down over that of the last layer, rectified units",
            Integer(1),
            lambda: checks.relu_ratio(10),
            r"\left(\frac{E \operatorname{relu}'(z)^2}{E \operatorname{relu}(z)^2}\right)^{10/2} = 1",
            reason="both means are 1/2, for every sigma_w",
            name="kept",
            section=FIELD,
        ),
        *map(table_row, checks.INITIALIZATIONS),
    )


SPEC = Spec(
    id="deep19_gradient_profile",
    class_name="",
    title="Gradients over the layers of a deep net",
    source=f"{DECK}, 'Vanishing gradient examples..': 19 layers, 1024 units, at initialization; Schoenholz et al., "
    "arXiv:1611.01232",
    system=layer.build([f]),
    relations=relations,
    claims=(
        DeckClaim(
            "E003-21",
            f"{DECK}, lines 652-761: in all cases gradients effectively vanish after about 10 layers",
            "kept",
            Integer(0),
            agrees=False,
            note="not a property of the activation alone: initialization, bias, the base of the logarithm and what "
            "counts as a layer are not stated; sigmoids lose, rectified units without bias keep gradients of weights",
        ),
    ),
    illustration=Illustration("dnn", ("profile",)),
    no_module="`derive generate dnn` emits a chain of layers with any of these activations",
)

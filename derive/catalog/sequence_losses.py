"""Losses of the outputs of all steps: which steps count, and what each divergence sends back."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, log

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Program,
    Quantity,
    Spec,
    constant,
    dot,
    gradient,
    identity,
    input_,
    logsumexp,
    relation,
    sigmoid,
    softmax,
    state,
    target,
    total,
    xlogx,
)
from derive.gradients import gradient_of
from derive.losses import SEQUENCE_LOSSES

D003, D004 = "recurrent networks 2/26/2018", "LSTM theory and workflows, 'How are LSTMs used in practice?'"
WHICH, OUTPUTS, LOGITS = "Which steps count", "Divergences of outputs", "Divergences of logits"
T = 3
o = state("o", "K", latex="o", meaning="logits")
y = state("y", "K", meaning="output, between 0 and 1")
d = target("d", "K", meaning="desired output")
e = input_("e", "K", meaning="anything; d = softmax(e) adds up to 1")
outputs = [state(f"o_{t}", "K", meaning=f"output of step {t}") for t in range(1, T + 1)]
wanted = [target(f"y_{t}", "K", meaning=f"target of step {t}") for t in range(1, T + 1)]
weights = [constant(f"m_{t}", meaning=f"weight of step {t}") for t in range(1, T + 1)]


def scalar(value: Expr) -> Program:
    """A loss as a program."""
    graph = Builder()
    return graph.build([graph.let("D", value, latex="D", meaning="divergence")])


steps = list(zip(weights, outputs, wanted, strict=True))
WEIGHED = scalar(sum((m * dot(a - b, a - b) / 2 for m, a, b in steps), Integer(0)))


def divergence(value: Callable[[Expr], Expr], about: Quantity, title: str, reason: str, name: str) -> Expr:
    """The gradient of a divergence in an output or in logits."""
    section = LOGITS if about == o else OUTPUTS
    return gradient(title, scalar(value(about)), about, reason=reason, name=name, section=section)


def kl(output: Expr) -> Expr:
    """KL(d | output)."""
    return total(xlogx(d)) - dot(d, log(output))


def bce(output: Expr) -> Expr:
    """Binary cross-entropy of an output."""
    return -total(d * log(output) + (1 - d) * log(1 - output))


of_softmax = gradient_of(total(d) * logsumexp(o) - dot(d, o), o)
SPEC = Spec(
    id="sequence_losses",
    class_name="",
    title="Losses over sequences",
    source=f"{D004}; {D003}, 'Significant issue left out: The Divergence'",
    system=None,
    loss=SEQUENCE_LOSSES,
    relations=(
        relation(
            "weights of the steps",
            "definition",
            r"L = \sum_t m_t\, \ell_t: \quad m = (0, \dots, 0, 1) \text{ many to one}, \quad m_t = 1 \text{ to many}, "
            r"\quad m_t = [t > t_b] \text{ after a burn-in}, \quad m_t = \tfrac{1}{T} \text{ mean}",
            text="L = sum of m_t ell_t: many to one (0, ..., 0, 1), to many 1, after a burn-in [t > t_b], mean 1/T",
            reason="the deck's figures for 'middle' and 'rightmost' are lost; the names are ours",
            name="weights",
            section=WHICH,
        ),
        gradient(
            "a step hears its own weight",
            WEIGHED,
            outputs[1],
            reason="only what starts the reverse sweep is multiplied; its recursions do not know of weights",
            name="weighed",
            section=WHICH,
        ),
        divergence(
            lambda a: dot(a - d, a - d) / 2, y, "half the squared distance", "the error itself", "squared_output"
        ),
        divergence(kl, y, "Kullback-Leibler divergence", "steep where the output is small", "kl_output"),
        divergence(bce, y, "binary cross-entropy", "(y - d)/(y (1 - y)) in one fraction", "bce_output"),
        identity(
            "the divergence of a softmax and its logits",
            total(xlogx(d)) - dot(d, o) + logsumexp(o) * total(d),
            kl(softmax(o)),
            reason="log softmax(o) = o - logsumexp(o): no logarithm of what underflows",
            name="kl_stable",
            section=LOGITS,
        ),
        divergence(
            lambda a: kl(softmax(a)),
            o,
            "Kullback-Leibler divergence of a softmax",
            "the softmax takes the 1/y away: the error where d adds up to 1, and the same for the cross-entropy, "
            "whose value differs by the entropy of d",
            "kl_logits",
        ),
        relation(
            "the same in logits alone",
            "identity",
            r"\nabla_o D = \mathbf 1^{\top} d\; \operatorname{softmax}(o) - d",
            text=f"gradient of D in o = {of_softmax}",
            reason="the reverse sweep through logsumexp and the one through the logarithm of a softmax agree",
            name="ce_logits",
            value=of_softmax,
            check=IdentityCheck(gradient_of(kl(softmax(o)), o), of_softmax, (d, o)),
            section=LOGITS,
        ),
        divergence(
            lambda a: bce(sigmoid(a)),
            o,
            "binary cross-entropy, sigmoid",
            "the slope y (1 - y) cancels",
            "bce_logits",
        ),
    ),
    claims=(
        DeckClaim("L2", D003, "squared_output", y - d, agrees=True),
        DeckClaim(
            "E003-20",
            f"{D003}, line 646: nabla D is proportional to the actual error, particularly for L2 and KL",
            "kl_output",
            y - d,
            agrees=False,
            note="in the output y it is -d/y; in the logits it is y - d",
        ),
        DeckClaim("E003-20, logits", D003, "kl_logits", softmax(o) - d, where={d: softmax(e)}, agrees=True),
        DeckClaim("E003-20, sigmoid", D003, "bce_logits", sigmoid(o) - d, agrees=True),
    ),
    no_module="`derive generate rnn_hidden` emits these losses with weights of steps; any spec takes `loss=...` of "
    "derive.losses or of one's own",
)

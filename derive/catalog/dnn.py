"""Deep feed-forward net: affine maps with an elementwise function between them."""

from derive import (
    Builder,
    Chain,
    Spec,
    Stack,
    elu,
    gelu,
    input_,
    matvec,
    parameter,
    relation,
    relu,
    selu,
    sigmoid,
    silu,
    softplus,
    step,
    tanh,
)
from derive.losses import SQUARED_ERROR

x = input_("x", "n", latex="f_{k-1}", meaning="output of the layer before, for the first one the input")
W = parameter("W", ("m", "n"), meaning="weights")
b = parameter("b", "m", meaning="bias")

ACTIVATIONS = {
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "elu": elu,
    "selu": selu,
    "softplus": softplus,
    "silu": silu,
    "gelu": gelu,
    "heaviside": step,
    "identity": None,
}


def chain(activation: str) -> Chain:
    """Affine maps with one activation between them and none at the end."""
    last, hidden = Builder(), Builder()
    affine = last.let("a", matvec(W, x) + b, meaning="argument of the activation, in the last layer the output")
    hidden.let("a", matvec(W, x) + b, meaning="argument of the activation, in the last layer the output")
    function = ACTIVATIONS[activation]
    y = affine if function is None else hidden.let("y", function(affine), latex="f_k", meaning="output")
    return Chain(last=last.build([affine]), hidden=hidden.build([y]))


SPEC = Spec(
    id="dnn",
    class_name="DNN",
    title="Deep feed-forward net",
    source="deck A, 'Deep Neural Network'; Rumelhart, Hinton and Williams 1986",
    system={activation: chain(activation) for activation in ACTIVATIONS},
    option="activation",
    stacks=(Stack("weight", (W,)), Stack("bias", (b,))),
    loss=SQUARED_ERROR,
    relations=(
        relation(
            "the recursion and where it starts",
            "definition",
            r"\tilde f_0 = \theta^0, \quad \tilde f_\ell = \theta^\ell \circ \sigma \circ \tilde f_{\ell - 1}, \quad "
            r"\theta^\ell(x) = W^\ell x + b^\ell, \quad N_0 = n",
            text="f_0 = theta^0, f_l = theta^l o sigma o f_(l-1), theta^l(x) = W^l x + b^l, N_0 = n",
            reason="the deck's recursion has no base case (E06); with this one there are L + 1 affine maps for L "
            "activations, W^l is (N_(l+1), N_l), and N_(L+1) = 1 is the deck's scalar net",
            section="The net",
        ),
    ),
)

"""Gradients through a chain of layers: products of Jacobians, what bounds them and what does not."""

from collections.abc import Callable
from functools import partial
from typing import Any

import mpmath
import numpy as np
from sympy import Expr, Integer, Matrix, Rational

from derive import (
    Builder,
    DeckClaim,
    IdentityCheck,
    Relation,
    SampledCheck,
    Spec,
    forward_and_reverse,
    input_,
    matvec,
    parameter,
    relation,
    relu,
    sigmoid,
    softplus,
    tanh,
)
from derive.products import chain_violations, power_violations
from derive.slopes import largest_slope, slope_bound, steepest

DECK = "recurrent networks 2/26/2018"
ROWS, SLOPES, BOUNDS = "The deck's row form", "Bounds on slopes", "Bounds on products"

X = input_("X", "n_0", meaning="input")
W = [parameter(f"W_{j}", (f"n_{j + 1}", f"n_{j}"), meaning=f"weights into layer {j + 1}") for j in range(3)]
net = Builder()
f = [X]
for place, activation in enumerate((tanh, sigmoid, softplus), 1):
    z = net.let(f"z_{place}", matvec(W[place - 1], f[-1]), meaning=f"argument of f_{place}")
    f.append(net.let(f"f_{place}", activation(z), meaning=f"output of layer {place}"))
system = net.build(f[-1:])
both = forward_and_reverse(system)
q = {quantity.name: quantity for quantity in (*both.inputs, *both.targets)}


def slopes(known: dict[Any, Any]) -> list[Any]:
    """Diagonals of the Jacobians of f_1, f_2, f_3, written out."""
    first, second, third = (known[q[f"f_{place}"]] for place in (1, 2, 3))
    return [1 - first**2, second * (1 - second), 1 - np.array([mpmath.exp(-value) for value in third])]


def row(place: int, known: dict[Any, Any]) -> Any:
    """The deck's product: the row nabla D times Jacobian and weights of each layer above `place`."""
    found = known[q["bar_f_3"]]
    for layer in range(3, place, -1):
        found = (found * slopes(known)[layer - 1]).dot(known[W[layer - 1]])
    return found


def whole(measured: Callable[[dict[Any, Any], Any], Any], name: str) -> IdentityCheck:
    """A product written out against the derived line of that name."""
    return IdentityCheck(measured, both.value(q[name]), both.inputs, given=both)


def deck_row(place: int) -> Relation:
    """Gradient at the output of a layer, as the deck multiplies it out."""
    factors = r"\,".join(rf"\nabla f_{layer}\, W_{layer - 1}" for layer in range(3, place, -1))
    return relation(
        f"gradient at the output of layer {place}",
        "identity",
        rf"\nabla_{{f_{place}}} Div = \nabla D\, {factors} = \bar f_{place}^{{\top}}",
        text=f"grad_f{place} Div = grad D {' '.join(f'grad_f_{n} W_{n - 1}' for n in range(3, place, -1))}"
        f" = transpose(bar_f_{place})",
        reason="rows: the transpose of our columns; a Jacobian is diagonal for elementwise functions only",
        check=IdentityCheck(
            lambda known, _: row(place, known), both.value(q[f"bar_f_{place}"]), both.inputs, given=both
        ),
        section=ROWS,
    )


WEIGHTS = relation(
    "gradient of weights in the middle",
    "identity",
    r"\nabla_{W_1} Div = \left(\nabla_{f_2} Div\, \nabla f_2\right)^{\top} f_1^{\top} = \delta_2\, f_1^{\top}",
    text="grad_W1 Div = transpose(grad_f2 Div grad_f_2) transpose(f_1) = delta_2 transpose(f_1), delta_2 = bar_z_2",
    reason="columns: delta_k = f_k' * bar_f_k",
    check=whole(lambda known, _: np.multiply.outer(row(2, known) * slopes(known)[1], known[f[1]]), "bar_W_1"),
    section=ROWS,
)


def bound(title: str, formula: str, text: str, reason: str, count: Callable[[float], int]) -> Relation:
    """An inequality that is attained; tightened by a thousandth it fails."""
    check = SampledCheck(count, 1.0, lambda slack: 0.999 * slack)
    return relation(title, "inequality", formula, text=text, reason=reason, check=check, section=BOUNDS)


A = Matrix([[0, 2], [Rational(1, 2), 0]])


def exact(title: str, name: str, measured: Expr, value: Expr, text: str, reason: str) -> Relation:
    """A number measured on the counterexample."""
    check, section = IdentityCheck(measured, value, (X,)), "A counterexample"
    return relation(title, "identity", text, reason=reason, name=name, value=value, check=check, section=section)


RELATIONS = (
    *map(deck_row, (2, 1)),
    WEIGHTS,
    *(slope_bound(name, SLOPES) for name in steepest()),
    relation(
        "how many of sigmoid, tanh and relu have slopes below 1 everywhere",
        "identity",
        r"\#\{f : \sup |f'| < 1\} = 1",
        text="number of them with sup |f'| < 1 = 1",
        reason="sigmoid alone; tanh'(0) = 1 and relu'(z) = 1 for z > 0",
        name="below_one",
        value=Integer(1),
        check=IdentityCheck(lambda *_: sum(largest_slope(f) < 1 for f in (sigmoid, tanh, relu)), Integer(1), (X,)),
        section=SLOPES,
    ),
    bound(
        "two-sided bound",
        r"\prod \sigma_{\min} \le \frac{|v J|}{|v|} \le \prod \sigma_{\max}",
        "product of the sigma_min <= |v J|/|v| <= product of the sigma_max",
        "each factor stretches by something between its singular values; attained where their directions are aligned",
        chain_violations,
    ),
    bound(
        "bound through the slopes",
        r"|\nabla_{f_k} Div| \le |\nabla D| \prod \gamma\, \sigma_{\max}(W)",
        "|grad_fk Div| <= |grad D| product of gamma sigma_max(W)",
        "a diagonal Jacobian stretches by gamma at most; only where gamma sigma_max < 1 must gradients vanish",
        partial(chain_violations, gamma=0.25, lower=False),
    ),
    bound(
        "the same matrix in every layer",
        r"\rho(W)^n \le \|W^n\| \le \kappa(U)\, \rho(W)^n, \qquad W = U \Lambda U^{-1}",
        "rho(W)^n <= |W^n| <= kappa(U) rho(W)^n for W = U Lambda U^-1",
        "in the long run the spectral radius decides, not the singular values",
        power_violations,
    ),
    exact(
        "largest singular value",
        "sigma_max",
        max(A.singular_values()),
        Integer(2),
        r"\sigma_{\max}(A) = 2",
        "A = [[0, 2], [1/2, 0]] has the singular values 2 and 1/2",
    ),
    exact(
        "largest singular value of the square",
        "sigma_max_of_square",
        max((A * A).singular_values()),
        Integer(1),
        r"\sigma_{\max}(A^2) = 1",
        "A^2 = I: the directions of successive stages are not aligned",
    ),
)

SPEC = Spec(
    id="chain_product",
    class_name="",
    title="Gradients through a chain of layers",
    source=f"{DECK}, 'The problem with training deep networks'; three layers stand for any number",
    system=system,
    relations=RELATIONS,
    statements=((r"\nabla f_n \text{ is the Jacobian of } f_n", f"{DECK}, line 585, which writes f_N (E003-15)"),),
    claims=(
        DeckClaim(
            "E003-16",
            f"{DECK}, lines 616-617: slopes of sigmoid, tanh and ReLU are always less than 1",
            "below_one",
            Integer(3),
            agrees=False,
            note="tanh and ReLU attain 1; right is 0 <= f' <= gamma",
        ),
        DeckClaim(
            "E003-17",
            f"{DECK}, lines 619, 625: multiplication by the Jacobian always shrinks",
            "gamma_selu",
            Integer(1),
            agrees=False,
            note="an active ReLU keeps lengths; SELU, SiLU and GELU may stretch",
        ),
        DeckClaim(
            "E003-18",
            f"{DECK}, lines 634-650: expands where each stage has singular values above 1",
            "sigma_max_of_square",
            Integer(4),
            agrees=False,
            note="two stages A with sigma_max = 2 each give the identity; only the two-sided bound is valid",
        ),
    ),
    no_module="`derive generate dnn` emits a chain of layers whose backward is this product",
)

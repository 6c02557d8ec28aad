"""PolyNet: a network applied to its own value, x + F(x) + F(F(x)) + ..., up to the order."""

from __future__ import annotations

from derive import Builder, DeckClaim, Network, Recurrence, Spec, Symbol, pushforward, state, step_size

x = state("x", "d", latex="x_n", meaning="features")
F = Network("F", per_layer=True)
h = step_size("h")
z = Symbol("z")
ORDERS = (1, 2, 3, 4)


def poly(order: int) -> Recurrence:
    """The block x + F(x) + F(F(x)) + ... with `order` terms, F = h times the network."""
    step = Builder()
    value, total = x, x
    for power in range(1, order + 1):
        slope = step.let(f"value_{power}", F(value), latex=rf"f^{{({power})}}", meaning=f"network, call {power}")
        value = step.let(
            f"power_{power}", h * slope, latex=rf"F^{{{power}}}", meaning=f"F applied {power} time{'s' * (power > 1)}"
        )
        total = total + value
    after = step.let("x_next", total, latex="x_{n+1}", meaning="features")
    return Recurrence(step.build((after,)), old=(x,), new=(after,))


def picard() -> Recurrence:
    """The block x + F(x + F(x)): two steps of the fixed-point iteration for x_next = x + F(x_next)."""
    step = Builder()
    first = step.let("y", x + h * F(x), meaning="first iterate")
    after = step.let("x_next", x + h * F(first), latex="x_{n+1}", meaning="features")
    return Recurrence(step.build((after,)), old=(x,), new=(after,))


SPEC = Spec(
    id="polynet",
    class_name="PolyNet",
    title="PolyNet: powers of one network",
    source="Zhang et al., PolyNet, CVPR 2017; deck A, 'PolyNet(@CVPR2017)'",
    system={order: poly(order) for order in ORDERS},
    option="order",
    defaults={"order": 2},
    beside={"Picard block": picard()},
    claims=(
        DeckClaim(
            id="E08",
            deck="deck A, 'PolyNet(@CVPR2017)': (I - F)^(-1) = I + F + F^2 + ..., as a block of x' = f(x)",
            about="limit_field",
            says=F(x),
            option=2,
            agrees=False,
            note="the series holds for linear F; else F(F(x)) expands about the origin, and the block is consistent "
            "with x' = f(x) only where f(0) = 0: for f = 1 it moves by 2 h",
        ),
        DeckClaim(
            id="E08, second order",
            deck="deck A, 'PolyNet(@CVPR2017)': backward Euler has f'(x) f(x) at h^2",
            about="expansion_2",
            says=pushforward(F(x), {x: F(x)}),
            option=2,
            agrees=False,
            note="the block has f'(0) f(x); the Picard block x + F(x + F(x)) has f'(x) f(x)",
        ),
        DeckClaim(
            id="E08, Picard",
            deck="the block x + F(x + F(x)) at h^2",
            about="Picard block.expansion_2",
            says=pushforward(F(x), {x: F(x)}),
            agrees=True,
            note="what the deck's formula would need",
        ),
        DeckClaim(
            id="E09",
            deck="deck A, 'PolyNet(@CVPR2017)': an approximation of backward Euler",
            about="stability_function",
            says=1 / (1 - z),
            option=2,
            agrees=False,
            note="R(z) = 1 + z + z^2 is bounded by 1 on [-1, 0] of the real axis only: A-stability is lost",
        ),
    ),
)

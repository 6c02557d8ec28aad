"""A recursion of one number with an activation: where it goes from which start, with which weight."""

from collections.abc import Callable

from sympy import Expr, Integer, Mul, diff

from derive import (
    Builder,
    IdentityCheck,
    Recurrence,
    Relation,
    ScalarRecursion,
    Spec,
    branch,
    relation,
    relu,
    sigmoid,
    state,
    tanh,
)
from derive.catalog import scalar_nonlinear_checks as checks
from derive.catalog.scalar_nonlinear_cases import CLAIMS, DECK, OTHER_CASES, TANH_CASES, c, of_the_sigmoid, x
from derive.catalog.scalar_nonlinear_checks import SIGMOID, TANH, h, w

ANY, STEPS = "Any activation", 5
u = state("u", (), meaning="argument of f")


def recursion(f: Callable[[Expr], Expr]) -> Recurrence:
    """h(t) = f(w h(t-1) + c x(t))."""
    step = Builder()
    after = step.let("h_next", f(w * h + c * x), latex="h_{t+1}", meaning="state after the step")
    return Recurrence(step.build([after]), old=(h,), new=(after,), inputs=(x,), output=after)


def unrolled(made: ScalarRecursion, start: Expr, steps: int) -> list[Expr]:
    """h(0), ..., h(steps) as expressions."""
    found = [start]
    for _ in range(steps):
        found.append(made.step.xreplace({h: found[-1]}))
    return found


def along() -> Expr:
    """d h(STEPS) / d h(0) of tanh."""
    return Mul(*(TANH.multiplier.xreplace({h: point}) for point in unrolled(TANH, h, STEPS)[:-1]))


def by_weight() -> Expr:
    """d h(STEPS) / d w of tanh."""
    found = Integer(0)
    for point in unrolled(TANH, h, STEPS)[:-1]:
        found = diff(TANH.step, w).xreplace({h: point}) + TANH.multiplier.xreplace({h: point}) * found
    return found


def on_the_branch(name: str, made: ScalarRecursion, f: Callable[[Expr], Expr]) -> Relation:
    """The multiplier of a fixed point as a function of its argument."""
    value = branch(f, u).multiplier
    return relation(
        f"multiplier of a fixed point, {name}",
        "identity",
        r"h^* = f(u),\ w = u / f(u): \qquad \mu = \frac{u f'(u)}{f(u)}",
        text=f"h* = f(u), w = u/f(u): mu = u f'(u)/f(u) = {value}",
        reason="the fixed points are a curve with the argument u = w h* as its parameter; mu = w f'(u)",
        name=f"multiplier_{name}",
        value=value,
        check=IdentityCheck(lambda known, _: checks.slope_at(made, known[u]), value, (u,)),
        section=ANY,
    )


def relations() -> tuple[Relation, ...]:
    """What is derived, in order."""
    return (
        relation(
            "what is left of the start",
            "identity",
            r"\frac{d h_t}{d h_0} = \prod_{j=1}^{t} w f'(w h_{j-1})",
            text="d h_t / d h_0 = product of w f'(w h_(j-1)), j = 1..t",
            reason=f"the chain rule; checked with tanh at t = {STEPS} against a difference quotient",
            name="along",
            value=along(),
            check=IdentityCheck(lambda known, _: checks.slope(TANH, known, STEPS, h), along(), (w, h)),
            section=ANY,
        ),
        relation(
            "what the weight does",
            "identity",
            r"\partial_w h_t = f'(w h_{t-1}) \left(h_{t-1} + w\, \partial_w h_{t-1}\right)",
            text="d h_t / d w = f'(w h_(t-1)) (h_(t-1) + w d h_(t-1) / d w)",
            reason="once more, and once for each earlier step",
            name="by_weight",
            value=by_weight(),
            check=IdentityCheck(lambda known, _: checks.slope(TANH, known, STEPS, w), by_weight(), (w, h)),
            section=ANY,
        ),
        on_the_branch("tanh", TANH, tanh),
        on_the_branch("sigmoid", SIGMOID, sigmoid),
        *TANH_CASES,
        *of_the_sigmoid(),
        *OTHER_CASES,
    )


SPEC = Spec(
    id="scalar_nonlinear",
    class_name="",
    title="Scalar recursions with an activation",
    source=f"{DECK}, 'How about non-linearities': h(t) = f(w h(t-1) + c x(t))",
    system={"linear": recursion(lambda z: z), **{f.__name__: recursion(f) for f in (sigmoid, tanh, relu)}},
    option="activation",
    defaults={"w": 0.9, "c": 1.0},
    relations=relations,
    claims=CLAIMS,
    no_module="`derive generate rnn_hidden` emits recursions with an activation; `derive.ScalarRecursion(step, state)` "
    "and `derive.branch(f, u)` answer for a step of your own",
)

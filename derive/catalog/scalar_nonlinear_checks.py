"""How the relations of `scalar_nonlinear` are measured: runs at 60 digits, roots by mpmath."""

from typing import Any

import mpmath

from derive import ScalarRecursion, parameter, relu, sigmoid, state, tanh
from derive.convergence import Values
from derive.evaluator import value_of
from derive.operators import Numeric
from derive.symbols import Quantity

NUDGE = "1e-20"
w, h = parameter("w", meaning="weight of the state"), state("h", (), meaning="state")
TANH, SIGMOID, RELU = (ScalarRecursion(f(w * h), h) for f in (tanh, sigmoid, relu))


def last(recursion: ScalarRecursion, start: Any, weight: Any, steps: int) -> Numeric:
    """h(steps)."""
    return recursion.run(start, steps, {w: weight})[-1]


def slope(recursion: ScalarRecursion, known: Values, steps: int, moving: Quantity) -> Numeric:
    """Difference quotient of h(steps) in the start or in the weight."""
    e = mpmath.mpf(NUDGE)
    nudges = [{**known, moving: known[moving] + sign * e} for sign in (1, -1)]
    up, down = (last(recursion, one[h], one[w], steps) for one in nudges)
    return (up - down) / (2 * e)


def slope_at(recursion: ScalarRecursion, argument: Any) -> Numeric:
    """Difference quotient of the step at the fixed point that has this argument."""
    fixed = value_of(recursion.step, {w: mpmath.mpf(1), h: argument})
    return slope(recursion, {h: fixed, w: argument / fixed}, 1, h)


def alone(weight: Any) -> bool:
    """Whether 0 is the only fixed point of tanh(w h)."""
    return len(TANH.fixed_points({w: weight}, (-2, 2))) == 1


def without_cycle(weight: Any) -> bool:
    """Whether tanh(-w h) has no cycle of two."""
    return not TANH.cycles(2, {w: -weight}, (-2, 2))


def dies_out(weight: Any) -> bool:
    """Whether 0 attracts under tanh(w h) and under tanh(-w h), and a step comes closer from near and from far."""
    starts = [mpmath.mpf(10) ** -digits for digits in range(4)]
    for signed in (weight, -weight):
        (middle,) = (orbit for orbit in TANH.fixed_points({w: signed}, (-2, 2)) if orbit.points == (0,))
        if not (middle.stable and all(abs(last(TANH, start, signed, 1)) < start for start in starts)):
            return False
    return True


def settles(weight: Any) -> bool:
    """Whether the fixed point of sigmoid(-w h) is stable, and there is no cycle of two beside it."""
    (fixed,) = SIGMOID.fixed_points({w: -weight}, (-1, 2))
    return fixed.stable and not SIGMOID.cycles(2, {w: -weight}, (-1, 2))


def onset() -> Numeric:
    """The weight at which the fixed point of the sigmoid has the multiplier -1."""
    found = mpmath.findroot(
        lambda weight, point: [
            value_of(SIGMOID.step, {w: weight, h: point}) - point,
            value_of(SIGMOID.multiplier, {w: weight, h: point}) + 1,
        ],
        (mpmath.mpf("-5.8"), mpmath.mpf("0.2")),
        tol=mpmath.mpf("1e-90"),
    )
    return found[0]


def slow_rate() -> Numeric:
    """What two steps from beside the fixed point at the onset add to 1 / (h - h*)^2."""
    weight, beside = onset(), mpmath.mpf("1e-15")
    (((fixed,), *_),) = SIGMOID.fixed_points({w: weight}, (-1, 2))
    return 1 / (last(SIGMOID, fixed + beside, weight, 2) - fixed) ** 2 - 1 / beside**2


def steepest() -> Numeric:
    """The largest multiplier of a fixed point of sigmoid(w h), w > 0, by bisection of its increments."""

    def multiplier(weight: Any) -> Any:
        (fixed,) = SIGMOID.fixed_points({w: weight}, (0, 1))
        return fixed.multiplier

    low, high = mpmath.mpf(1), mpmath.mpf(3)
    for _ in range(60):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (first, high) if multiplier(first) < multiplier(second) else (low, second)
    return multiplier(low)


def values_in_the_long_run(weight: Any) -> int:
    """How many values sigmoid(w h) visits in the long run."""
    late = SIGMOID.run(mpmath.mpf(1), 600, {w: mpmath.mpf(weight)})[-12:]
    return len({mpmath.nstr(value, 30) for value in late})

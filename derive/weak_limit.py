r"""The weak limit of a recurrence with random draws: the SDE whose conditional moments its small steps have.

An increment is affine in the draws, $x_{n+1} - x_n = a + \sum_k \omega_k g_k$. The chain with steps of size h whose
noise is scaled by $\sqrt h$, $x + h\, m + \sqrt h \sum_k (\omega_k - \mathbb E \omega_k) g_k$, has the mean and the
covariance of $dX = m\,dt + \sum_k \sqrt{\mathrm{Var}\,\omega_k}\, g_k\, dW^k$ over a step; the network is h = 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sympy import Expr, Integer, Rational, expand, factor, sqrt

from derive.displayed import Displayed, Line
from derive.errors import UnsupportedError
from derive.latex import latex, plain
from derive.laws import Law
from derive.networks import Call
from derive.operators import shape_of
from derive.program import symbols_of
from derive.random_recurrence import Draw, RandomRecurrence, in_root
from derive.reverse_sweep import elementwise_partials
from derive.sde import SDE
from derive.step_quantities import STEP_SIZE
from derive.symbols import Quantity, Role
from derive.verdict import Step, Verdict

ROOT_OF_STEP = Quantity("root_of_h", (), Role.STEP_SIZE, r"\sqrt{h}", "square root of the step size")
HALF = Rational(1, 2)


@dataclass(frozen=True)
class Noise:
    """What one draw adds to an increment.

    Attributes:
        draw: the draw.
        direction: g, what is multiplied by it.
    """

    draw: Draw
    direction: Expr

    @property
    def law(self) -> Law:
        """The law of the draw."""
        return self.draw.law

    @property
    def diffusion(self) -> Expr:
        """The direction times the standard deviation of the draw."""
        return sqrt(self.law.central(2)) * self.direction

    @property
    def third(self) -> Expr:
        """The third central moment of what it adds, component by component (one draw for all: of any combination)."""
        return self.law.central(3) * self.direction**3

    @property
    def kind(self) -> str:
        """As an SDE calls it: with a Brownian motion for each component, or with one for all."""
        return "diagonal" if self.draw.quantity.shape else "scalar"


@dataclass(frozen=True, repr=False)
class WeakLimit(Displayed):
    """The limit of a random recurrence.

    Attributes:
        state: the unknown.
        drift: conditional mean of the increment per unit of time.
        noises: one for each draw.
        scaled: whether the steps read their size, and thereby say themselves how their noise is scaled.
    """

    state: Quantity
    drift: Expr
    noises: tuple[Noise, ...]
    scaled: bool = False

    def lines(self) -> Iterator[Line]:
        """The SDE, with a Brownian motion for each draw, and the weak order."""
        x, noises = self.state, [(n.diffusion, n.draw.quantity) for n in self.noises]
        text = " + ".join(f"({plain(g)}) dW_{q}" for g, q in noises)
        shown = " + ".join(rf"\left({latex(g)}\right) dW^{{{q.latex}}}" for g, q in noises)
        yield (
            f"d{x} = ({plain(self.drift)}) dt + {text}",
            rf"d{x.latex} &= \left({latex(self.drift)}\right) dt + {shown}",
        )
        needed = " and ".join(rf"{latex(ratio)} = O(\sqrt{{h}})" for ratio in self.conditions)
        order = latex(self.order.value) + (rf";\ 1\ \text{{where}}\ {needed}" if needed else "")
        yield f"weak order {self.order_in_words}", rf"\text{{weak order}} &= {order}"

    @property
    def order_in_words(self) -> str:
        """The weak order, and what makes it 1 where it is less."""
        needed = ", ".join(f"{plain(ratio)} = O(sqrt(h))" for ratio in self.conditions)
        return str(self.order.value) + (f"; 1 where {needed}" if needed else "")

    @property
    def sde(self) -> SDE:
        """The limit as an SDE in Ito's sense.

        Raises:
            UnsupportedError: several draws, whose Brownian motions have no common form.
        """
        if len(self.noises) != 1:
            names = ", ".join(noise.draw.quantity.name for noise in self.noises)
            raise UnsupportedError(f"the draws {names} drive a Brownian motion each; an SDE object has one diffusion")
        (noise,) = self.noises
        return SDE(self.state, self.drift, noise.diffusion, noise=noise.kind)

    @cached_property
    def conditions(self) -> tuple[Expr, ...]:
        """What must be of the order of sqrt(h) for weak order 1: third central moments over variances."""
        odd = [noise.law for noise in self.noises if noise.law.central(3) != 0]
        return tuple(factor(law.central(3) / law.central(2)) for law in odd)

    @property
    def order(self) -> Verdict:
        """The weak order of the scaled chain as an approximation of the SDE, with the conditions compared."""
        odd = [noise for noise in self.noises if noise.law.central(3) != 0]
        steps = [
            Step("first moments of an increment: both are h times the drift, up to O(h^2) of the SDE"),
            Step("second central moments: both are h times diffusion times its transpose, up to O(h^2) of the SDE"),
        ]
        if not odd:
            steps += [
                Step("third central moments: zero in the chain, O(h^2) in the SDE"),
                Step("fourth moments and higher ones: O(h^2) in both, as the noise is of the size sqrt(h)"),
                Step("increments whose moments agree up to O(h^2) over a step give weak order 1 (Milstein, Talay)"),
            ]
            return Verdict(Integer(1), tuple(steps))
        for noise in odd:
            third = noise.law.central(3)
            steps.append(
                Step(
                    f"third central moments, of {noise.draw.quantity.name}: h^(3/2) times {plain(third)} in the chain, "
                    "O(h^2) in the SDE",
                    rf"h^{{3/2}}\, {latex(third)}\, {latex(noise.direction**3)}",
                )
            )
        conditions = ", ".join(f"{plain(ratio)} = O(sqrt(h))" for ratio in self.conditions)
        steps += [
            Step("what is left over N = T/h steps is O(sqrt(h)): weak order 1/2"),
            Step(f"it is O(h), weak order 1, only where {conditions}"),
        ]
        return Verdict(HALF, tuple(steps))


def match_moments(system: RandomRecurrence) -> WeakLimit:
    """Drift and diffusion by matching the conditional moments of the increment.

    Raises:
        UnsupportedError: several unknowns, an increment that is not affine in its draws, or a step that reads its size
            and is no small step when that is small.
    """
    if len(system.old) != 1:
        raise UnsupportedError(f"a state of {len(system.old)} parts; the weak limit is that of a single one")
    (x,), increment = system.old, increment_of(system)
    noises = [Noise(draw, _coefficient(increment, draw.quantity, system)) for draw in system.draws]
    drift = mean_increment(system)
    if STEP_SIZE not in system.step.inputs:
        return WeakLimit(x, drift, tuple(noises))
    parts = _powers(drift, 3)
    if any(parts[power] != 0 for power in (0, 1, 3)):
        raise UnsupportedError(
            f"the mean of an increment is not of the order of {STEP_SIZE}, up to {STEP_SIZE}^2: {drift}"
        )
    found = []
    for noise in noises:
        still, direction, next_one = _powers(noise.direction, 2)
        if still != 0 or (direction != 0 and next_one != 0):
            name = noise.draw.quantity.name
            raise UnsupportedError(
                f"{name} is multiplied by {noise.direction}, which is not of the order of sqrt({STEP_SIZE}), up to "
                f"{STEP_SIZE}^(3/2)"
            )
        if direction == 0:
            raise UnsupportedError(
                f"the noise of {noise.draw.quantity.name} is of the order of {STEP_SIZE} and vanishes in the limit, "
                f"the ODE d{x}/dt = {parts[2]}; allowed: noise of the order of sqrt({STEP_SIZE})"
            )
        found.append(Noise(noise.draw, direction))
    return WeakLimit(x, _grouped(parts[2]), tuple(found), scaled=True)


def mean_increment(system: RandomRecurrence) -> Expr:
    """The mean of an increment that is affine in the draws."""
    means = {draw.quantity: draw.law.expectation for draw in system.draws}
    return _grouped(expand(increment_of(system).xreplace(means)))


def increment_of(system: RandomRecurrence) -> Expr:
    """The increment of the one unknown of a step, with all lines put in."""
    table: dict[Expr, Expr] = {}
    for line in system.step.assignments:
        table[line.target] = line.value.xreplace(table)
    return expand(table.get(system.new[0], system.new[0]) - system.old[0])


def _coefficient(increment: Expr, draw: Quantity, system: RandomRecurrence) -> Expr:
    """What a draw is multiplied by; the increment must be affine in all of them."""
    names = {one.quantity for one in system.draws}
    found: Expr = Integer(0)
    for leaf, partial in elementwise_partials(increment):
        if isinstance(leaf, Quantity):
            found = partial if leaf == draw else found
        elif names & symbols_of(leaf):
            raise _not_affine(draw)
    if names & symbols_of(found):
        raise _not_affine(draw)
    return _grouped(expand(found))


def _not_affine(draw: Quantity) -> UnsupportedError:
    return UnsupportedError(
        f"the increment is not affine in {draw.name}: its moments do not follow from those of the draw; allowed: "
        "declare what multiplies a network or a vector as a draw of its own, with law Moments(...)"
    )


def _grouped(value: Expr) -> Expr:
    """Terms of one network or quantity together, its factors as they are usually written."""
    vectors = sorted((node for node in value.atoms(Call)), key=str)
    collected = value
    for node in vectors:
        rest, weight = collected.as_independent(node, as_Add=True)
        if weight != 0 and not symbols_of(weight / node) & symbols_of(node) and shape_of(weight / node) == ():
            collected = rest + factor(weight / node) * node
    return collected


def _powers(value: Expr, highest: int) -> list[Expr]:
    """Coefficients of powers of sqrt(h) up to the highest."""
    if any(STEP_SIZE in symbols_of(node) for node in value.atoms(Call)):
        raise UnsupportedError(f"a network is called at a point that depends on {STEP_SIZE}")
    series = expand(in_root(value, ROOT_OF_STEP))
    return [series.coeff(ROOT_OF_STEP, power) for power in range(highest + 1)]

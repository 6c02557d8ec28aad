"""Observed order of a module against the exact solution of the equation that its scheme is consistent with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import product
from typing import Any

import mpmath
import numpy as np
import torch
from sympy import Expr, Integer, Rational, S
from torch import Tensor, nn

from codegen.verification.functions_of_time import waves
from codegen.verification.measures import Measured, judged, uniform
from codegen.verification.reference import BIG_STEPS, solve, velocity
from codegen.verification.report import Row
from codegen.verification.samples import Sampled
from codegen.verification.step_setting import Numbers, Setting, numeric, per_layer
from codegen.verification.tame import gentle, is_tame, shortened, steepest
from derive.additive_steps import PartsScheme
from derive.discretization import discretize, with_substeps
from derive.expansion_sections import leading_error
from derive.networks import Network
from derive.numbering import Author
from derive.operators import Numeric
from derive.power_series import array_of
from derive.scheme_sections import stable_interval, write_starts
from derive.schemes import AdditiveTableau, ButcherTableau, LinearMultistep, Scheme, Splitting, scheme_by_name
from derive.series.one_step import additive_tableau
from derive.symbols import Quantity
from derive.systems import ODE
from derive.time_dependence import step_of_time
from derive.truncation import truncation

WITHIN = 0.1
DOUBLE_SHOWS = 5  # float64 shows orders up to this one; above it 50 digits are needed
DIGITS = 50
STEPS = {1: (128, 256), 2: (64, 128), 5: (8, 16)}
STEPS_OF_HIGHER_ORDERS = (16, 32)
STEPS_AT_FIFTY_DIGITS = (4, 8)  # the exact solution is known to about 1e-17
MOST_STEPS = 256
CLEAR = 3e-13  # norm of an error that rounding hardly touches
KNOWN = 1e-12  # to which the exact solution is computed
EXACT = 1e-11  # norm of an error that is rounding: the scheme solves the problem exactly
TYPICAL = Rational(1, 2)  # of a scheme's own symbols: inside the usual root conditions, special for no scheme
INTERVAL = (0.3, 1.3)
SAMPLES = 2
STEEPEST = 8.0  # slope of the field times the whole time


@dataclass(frozen=True)
class Expectation:
    """The order derived for one start and for values of the scheme's own symbols.

    Attributes:
        start: its name; empty for a one-step scheme.
        symbols: the values.
        order: of the error at a fixed time.
        speed: s of the equation u' = s f that the scheme is consistent with.
    """

    start: str
    symbols: Mapping[Quantity, Expr]
    order: int
    speed: Expr

    @property
    def label(self) -> str:
        """As in `start='plain', k=1`."""
        parts = [f"start={self.start!r}"] if self.start else []
        return ", ".join([*parts, *(f"{symbol}={value}" for symbol, value in self.symbols.items())])


def order_rows(spec: str, sample: Sampled, ode: ODE) -> Iterator[Row]:
    """One row for each start and each special value of the scheme's symbols."""
    scheme = scheme_by_name(sample.spec.scheme)
    problem_of = cache(partial(_Problem, ode, scheme))
    varying = sample.spec.may_vary if step_of_time(ode, scheme, sample.spec.may_vary) else ()
    for expected, functions in product(expectations(ode, scheme), dict.fromkeys(((), varying))):
        named = [f"{', '.join(q.name for q in functions)} of time"] if functions else []
        label = sample.titled(", ".join([expected.label, *named] if expected.label else named))
        check = "observed order" + (f" [{label}]" if label else "")
        problem = partial(problem_of, tuple(expected.symbols.items()), expected.speed, functions)
        measure = partial(_observed, sample.kind, problem, expected)
        yield judged(spec, check, str(expected.order), f"{WITHIN:g}", measure, partial(_is_near, expected.order))


def _is_near(order: int, observed: float) -> bool:
    return abs(observed - order) <= WITHIN


def expectations(ode: ODE, scheme: Scheme) -> list[Expectation]:
    """Derived orders: of the scheme at a typical value and at special values of its symbols, bounded by its start."""
    if isinstance(scheme, PartsScheme):
        order = int(leading_error(ode, scheme)[0])
        return [Expectation("", {}, order, Integer(1))]
    found = truncation(ode, scheme)
    scheme = found.scheme
    if isinstance(scheme, ButcherTableau):
        return [Expectation("", {}, found.order, found.speed)]
    symbols = sorted({s for w in (*scheme.alpha, *scheme.beta) for s in w.free_symbols}, key=str)
    typical = dict.fromkeys(symbols, TYPICAL)
    special = [{**typical, s: value.subs(typical)} for s in symbols for value in found.conditions.get(s, ())]
    cases = []
    for table in (typical, *special):
        alpha, beta = ([w.subs(table) for w in weights] for weights in (scheme.alpha, scheme.beta))
        member = replace(scheme, alpha=alpha, beta=beta)
        if stable_interval(member) is S.EmptySet:
            continue  # outside the root condition nothing converges
        analysis = truncation(ode, member)
        for start, reached in (write_starts(Author(), analysis) or {"": analysis.order}).items():
            cases.append(Expectation(start, table, min(analysis.order, reached), analysis.speed))
    return cases


def _observed(kind: Callable[..., nn.Module], make: Callable[[], _Problem], expected: Expectation) -> Measured:
    """Slope of the error at a fixed time between two numbers of steps, the last that rounding leaves alone."""
    problem = make()
    if expected.order > DOUBLE_SHOWS:
        few, many = STEPS_AT_FIFTY_DIGITS
        with mpmath.workdps(DIGITS):
            errors = [problem.evaluator_error(expected.start, steps) for steps in (few, many)]
    else:
        few, many = STEPS.get(expected.order, STEPS_OF_HIGHER_ORDERS)
        errors = [problem.module_error(kind, expected.start, steps) for steps in (few, many)]
        if max(errors) < EXACT:
            shown = f"errors {errors[0]:.1e}, {errors[1]:.1e}: no order shows"
            return Measured(expected.order, shown, "exact to rounding")
        while many < MOST_STEPS and errors[1] > CLEAR * 2**expected.order:
            few, many = many, 2 * many
            errors = [errors[1], problem.module_error(kind, expected.start, many)]
    detail = f"errors {errors[0]:.2e} and {errors[1]:.2e} with {few} and {many} steps of u' = ({expected.speed}) f"
    return Measured(math.log2(errors[0] / errors[1]), detail)


class _Problem:
    """A nonlinear, time-dependent initial value problem, the same for every number of steps.

    A network of its own in every layer is made time-dependent through its bias, where the scheme evaluates it at the
    steps' own times only.
    """

    def __init__(
        self,
        ode: ODE,
        scheme: Scheme,
        symbols: Sequence[tuple[Quantity, Expr]],
        speed: Expr,
        functions: tuple[Quantity, ...] = (),
    ) -> None:
        self.ode, self.speed = ode, speed
        self.recurrence = discretize(ode, scheme)
        first = Numbers().setting(ode, self.recurrence, max(2, self.recurrence.lags), "", INTERVAL)
        special = {q: torch.tensor(float(v), dtype=torch.float64) for q, v in symbols}
        self.once = {q: special.get(q, value[0] if per_layer(q) else value) for q, value in first.values.items()}
        self.first = replace(first, t0=0.0, t1=INTERVAL[1] - INTERVAL[0]) if first.layered else first
        driven = step_of_time(ode, scheme, functions)
        if driven is not None:
            moving = dict(zip(functions, waves([self.once[q] for q in functions]), strict=True))
            self.first = replace(self.first, recurrence=driven, functions=moving)
        self.drifts = _at_step_times_only(ode, scheme)
        generator = torch.Generator().manual_seed(19)
        shapes = first.input_shapes().values()
        self.inputs = [uniform((SAMPLES, *shape), -1.0, 1.0, generator) for shape in shapes]
        scale = gentle(self.first, self.samples(), STEEPEST)
        self.inputs = [scale * x for x in self.inputs]
        self.first = shortened(self.first, self._fits)

    def setting(self, start: str, steps: int) -> Setting:
        """The problem in so many steps."""
        rows = steps - (self.recurrence.lags - 1 if self.first.networks else 0)
        values = {q: value.expand(rows, *value.shape) if per_layer(q) else value for q, value in self.once.items()}
        times = [self.first.t0 + n * (self.first.t1 - self.first.t0) / steps for n in range(steps)]
        thetas = {
            n: torch.stack([self.theta(n, t) for t in (times if n.per_layer else [0.0])]) for n in self.first.networks
        }
        return replace(self.first, start=start, steps=steps, values=values, thetas=thetas)

    def theta(self, network: Network, t: Any) -> Tensor:
        """Parameters of a network at time t."""
        theta = self.first.thetas[network][0].clone()
        if network.per_layer and self.drifts:
            shapes = self.first.networks[network].shapes
            place = math.prod(shapes["W"])
            drift = torch.linspace(0.5, 1.5, *shapes["b"], dtype=theta.dtype)
            theta[place : place + math.prod(shapes["b"])] += float(t) * drift
        return theta

    def samples(self) -> list[Numeric]:
        """The inputs of each sample as one array."""
        return [self.first.joined(values) for values in zip(*(x.numpy() for x in self.inputs), strict=True)]

    def _fits(self, setting: Setting) -> bool:
        """Whether the solutions are tame, and computed as exactly as the errors of the scheme need it."""
        self.first = setting
        if steepest(setting, self.samples()) * (setting.t1 - setting.t0) > STEEPEST:
            return False
        for x in self.samples():
            found, again = (self.exact(x, lambda value: value, big_steps) for big_steps in (BIG_STEPS, 2 * BIG_STEPS))
            start = np.concatenate([np.ravel(part) for part in setting.initial(x)])
            if not is_tame(found, start) or not np.allclose(found, again, rtol=KNOWN, atol=KNOWN):
                return False
        return True

    def exact(self, x: Numeric, lift: Callable[[Any], Any], big_steps: int = BIG_STEPS) -> Numeric:
        """Solution at the last time for one sample."""

        def values_at(t: Any) -> dict[Quantity, Numeric]:
            thetas = {network.theta: lift(numeric(self.theta(network, t))) for network in self.first.networks}
            moving = {q: function.numeric(t, lift) for q, function in self.first.functions.items()}
            return {**{q: lift(numeric(value)) for q, value in self.once.items()}, **moving, **thetas}

        speed = lift(np.float64(self.speed))
        field = velocity(self.ode, speed, values_at, self.first.networks)
        start = np.concatenate([np.ravel(part) for part in self.first.initial(lift(x))])
        t0, t1 = (lift(np.float64(t)) for t in (self.first.t0, self.first.t1))
        return solve(field, t0, t1, start, big_steps)

    @cached_property
    def solution(self) -> Numeric:
        """The exact solutions of all samples in float64."""
        return np.stack([self.exact(x, lambda value: value) for x in self.samples()])

    def module_error(self, kind: Callable[..., nn.Module], start: str, steps: int) -> float:
        """Norm of the module's error at the last time, over all samples."""
        module = self.setting(start, steps).build(kind, {}, "store", "derived")
        with torch.no_grad():
            last = module(*self.inputs)
        streams = last if isinstance(last, tuple) else (last,)
        found = np.concatenate([one.numpy().reshape(SAMPLES, -1) for one in streams], axis=1)
        return float(np.linalg.norm(found - self.solution))

    def evaluator_error(self, start: str, steps: int) -> float:
        """The same for the recurrence itself at 50 digits (the module equals it to rounding by another check)."""
        errors = []
        for x in self.samples():
            state = self.setting(start, steps).run(x, _to_mpmath)[-1]
            found = np.concatenate([np.ravel(part) for part in state])
            errors += [abs(a - b) for a, b in zip(found, self.exact(x, _to_mpmath), strict=True)]
        return float(max(errors))


def _to_mpmath(value: Any) -> Any:
    if not np.ndim(value):
        return mpmath.mpf(float(value))
    return array_of([mpmath.mpf(float(entry)) for entry in np.ravel(value)]).reshape(np.shape(value))


def _at_step_times_only(ode: ODE, scheme: Scheme) -> bool:
    """Whether the field is evaluated at t_n alone in the step from t_n to t_(n+1)."""
    if isinstance(scheme, LinearMultistep):
        return scheme.explicit and all(weight == 0 for weight in scheme.beta[2:])
    if isinstance(scheme, Splitting):
        scheme = additive_tableau(with_substeps(scheme, ode))
    parts = scheme.parts if isinstance(scheme, AdditiveTableau) else (scheme,)
    return all(node == 0 for part in parts for node in part.c)

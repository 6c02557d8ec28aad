"""Checks of adaptive steps: the adjoint on grids that were accepted, times, closed forms, the continuous adjoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor, nn

from codegen.verification.adaptive_cases import INTERVAL, Model, model_of
from codegen.verification.measures import Measured, difference, functional, judged, row, uniform, worst_difference
from codegen.verification.report import Row
from derive.adaptive_checks import AdjointGap
from derive.systems import Spec

EXACT, NEAR = 1e-12, 1e-6
TIGHT = "dopri5"  # solves to tight tolerances, whatever the spec's own pair is
CURVED = 1e-5  # of second derivatives on a dense output, whose own are of lower order
CLOSED = 1e-7  # of solutions with rtol 1e-9
WITHIN, WITHIN_HIGH, HIGH = 0.1, 0.3, 6  # of the derived order; to orders above 6 float64 leaves few steps
COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # of steps
BEYOND = 4  # powers of h that are looked through for the derived gap
SETTLED = 0.3  # between the last two rates
ROUNDING = 3e-13  # smaller gaps between the adjoints are rounding
NUDGE = 1e-4
ADJOINTS = ("discrete", "continuous")
SHARES = (0.1, 0.37, 0.8, 0.9)


def adaptive_rows(spec: Spec, kind: Callable[..., nn.Module]) -> Iterator[Row]:
    """All of them."""
    model = model_of(spec)
    for one, method in product((model, *model.of_time()), getattr(kind, "methods", {})):
        label = f"{method}, {one.label}" if one.label else method
        check = f"derived gradient against autograd on the accepted steps [{label}]"
        yield row(spec.id, check, EXACT, partial(_on_accepted, one, kind, method))
    for one, adjoint in product((model, *model.of_time()), ADJOINTS):
        label = f"{one.label}, adjoint={adjoint!r}" if one.label else f"adjoint={adjoint!r}"
        check = f"gradients in t0, t1 and times against differences [{label}]"
        yield row(spec.id, check, NEAR, partial(_times, one, kind, adjoint))
    yield row(spec.id, "backwards in time: there and back", NEAR, partial(_there_and_back, model, kind))
    yield row(spec.id, "event: gradients of time and state against differences", NEAR, partial(_event, model, kind, 1))
    check = "event: second derivatives of time and state against differences of gradients"
    yield row(spec.id, check, CURVED, partial(_event, model, kind, 2))
    yield _gap_row(model, kind)
    if model.network is not None:
        for title, field, exact in CLOSED_FORMS:
            for adjoint in ADJOINTS:
                check = f"closed form: {title}, value and gradients [adjoint={adjoint!r}]"
                yield row(spec.id, check, CLOSED, partial(_closed, kind, field, exact, adjoint))


def _input(model: Model) -> Tensor:
    return uniform((4, model.features), -1.0, 1.0, torch.Generator().manual_seed(29))


def _leaf(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def _moments(shares: Sequence[float] = SHARES) -> Tensor:
    inner = [INTERVAL[0] + share * (INTERVAL[1] - INTERVAL[0]) for share in shares]
    return torch.tensor(inner, dtype=torch.float64, requires_grad=True)


def _on_accepted(model: Model, kind: Callable[..., nn.Module], method: str) -> Measured:
    """Both forms with steps that the control chose."""
    found = []
    for gradient in ("derived", "autograd"):
        x, times, ends = _input(model).requires_grad_(), _moments(), [_leaf(end) for end in INTERVAL]
        module: Any = model.build(kind, t0=ends[0], t1=ends[1], rtol=1e-6, method=method, gradient=gradient)
        outputs = (module(x), module.trajectory(x, times))
        leaves = [x, times, *module.parameters(), *ends]
        found.append([*(o.detach() for o in outputs), *torch.autograd.grad(functional(outputs), leaves)])
        steps = module.stats.accepted
    names = ["x(t1)", "outputs", "x0", "times", *(f"parameter {n}" for n in range(len(found[0]) - 6)), "t0", "t1"]
    worst = worst_difference(found[0], found[1], names)
    return Measured(worst.value, f"{worst.detail}, {steps} steps")


def _tight(model: Model, kind: Callable[..., nn.Module], **options: Any) -> Any:
    given = {"t0": INTERVAL[0], "t1": INTERVAL[1], **options}
    return model.build(kind, **given, method=TIGHT, rtol=1e-11, atol=1e-12)


def _times(model: Model, kind: Callable[..., nn.Module], adjoint: str) -> Measured:
    """Differences of the solution in its ends, and of the outputs in their times and in the initial one."""
    x, ends = _input(model), [_leaf(end) for end in INTERVAL]
    module = _tight(model, kind, t0=ends[0], t1=ends[1], adjoint=adjoint)
    found = list(torch.autograd.grad(functional([module(x)]), ends))
    times = _moments()
    found += torch.autograd.grad(functional([module.trajectory(x, times)]), [times, ends[0]])

    def at(t0: float, t1: float) -> float:
        with torch.no_grad():
            return float(functional([_tight(model, kind, t0=t0, t1=t1)(x)]))

    def moved(unit: Tensor, amount: float, start: float = 0.0) -> float:
        with torch.no_grad():
            other = _tight(model, kind, t0=INTERVAL[0] + start)
            return float(functional([other.trajectory(x, times.detach() + amount * unit)]))

    t0, t1 = INTERVAL
    units = torch.eye(len(times), dtype=torch.float64)
    slopes = [_slope(lambda e: at(t0 + e, t1)), _slope(lambda e: at(t0, t1 + e))]
    expected = [torch.tensor(slope, dtype=torch.float64) for slope in slopes]
    expected.append(torch.tensor([_slope(partial(moved, unit)) for unit in units], dtype=torch.float64))
    expected.append(torch.tensor(_slope(lambda e: moved(units[0], 0.0, e)), dtype=torch.float64))
    return worst_difference(found, expected, ["t0", "t1", "times", "t0 of outputs"])


def _slope(function: Callable[[float], float]) -> float:
    """Derivative at 0 by differences of order 4."""
    near, far = (function(n * NUDGE) - function(-n * NUDGE) for n in (1, 2))
    return (8 * near - far) / (12 * NUDGE)


def _there_and_back(model: Model, kind: Callable[..., nn.Module]) -> Measured:
    x = _input(model)
    with torch.no_grad():
        end = _tight(model, kind)(x)
        back = _tight(model, kind, t0=INTERVAL[1], t1=INTERVAL[0])(end)
    return Measured(difference(back, x), "t0 to t1 and back, rtol 1e-11")


def _event(model: Model, kind: Callable[..., nn.Module], order: int) -> Measured:
    """Where a projection of the state reaches its value half-way."""
    x = _input(model)
    weights = uniform(x.shape, 0.5, 1.0, torch.Generator().manual_seed(31))
    module = _tight(model, kind)
    with torch.no_grad():
        middle = (module.trajectory(x, _moments([0.5]).detach())[0] * weights).sum()

    def event(t: Tensor, state: Tensor) -> Tensor:
        return (state * weights).sum() - middle + (t - 0.5 * sum(INTERVAL))

    def found_at(start: Tensor) -> Tensor:
        time, state = module.until(start, event)
        return functional([time.reshape(1), state])

    start = x.clone().requires_grad_()
    direction = uniform(x.shape, -1.0, 1.0, torch.Generator().manual_seed(33))
    (gradient,) = torch.autograd.grad(found_at(start), start, create_graph=order == 2)
    found = (gradient * direction).sum()
    if order == 2:
        found = (torch.autograd.grad(found, start)[0] * direction).sum()

    def nudged(amount: float) -> float:
        moved = (x + amount * direction).requires_grad_()
        value = found_at(moved)
        return float(value.detach() if order == 1 else (torch.autograd.grad(value, moved)[0] * direction).sum())

    expected = torch.tensor(_slope(nudged), dtype=torch.float64)
    return Measured(difference(found, expected), "differences of order 4 along one direction")


def _gap_row(model: Model, kind: Callable[..., nn.Module]) -> Row:
    """The adjoints come together at the rate that the derived gap of one step has, less one."""
    system, most = model.system, model.system.pair.power + BEYOND
    first = AdjointGap(system.control, system.pair, system.step).leading(most)
    order = math.inf if first > most else first - 1
    within = WITHIN if order <= HIGH else WITHIN_HIGH
    return judged(
        model.spec.id, "continuous less discrete adjoint, order", f"{order:g}", f"{within:g}",
        partial(_off, model, kind, order), lambda off: off <= within,
    )  # fmt: skip


def _off(model: Model, kind: Callable[..., nn.Module], order: float) -> Measured:
    """How far the rate is from the order: on both sides where float64 shows it settled, else only below."""
    rates, where = _gap_rates(model, kind)
    if order == math.inf or not rates:
        agree = order == math.inf and not rates
        return Measured(0.0 if agree else math.inf, where, f"{rates[-1]:.3f}" if rates else "inf")
    if len(rates) > 1 and abs(rates[-1] - rates[-2]) <= SETTLED:
        return Measured(abs(rates[-1] - order), where, f"{rates[-1]:.3f}")
    found = max(rates)
    return Measured(max(order - found, 0.0), f"{where}; rates vary: from below", f"{found:.3f}")


def _gap_rates(model: Model, kind: Callable[..., nn.Module]) -> tuple[list[float], str]:
    """Rates at which the adjoints come together with more steps, until their gap is rounding.

    Each is the p of K n^-p (1 + c/n) through three numbers of steps.
    """
    counts: list[int] = []
    gaps: list[float] = []
    for steps in COUNTS:
        gradients = []
        for adjoint in ("discrete", "continuous"):
            x = _input(model).requires_grad_()
            module = model.build_even(kind, steps, adjoint=adjoint)
            gradients.append(torch.autograd.grad(functional([module(x)]), x)[0])
        gap = difference(gradients[1], gradients[0])
        if gap < ROUNDING:
            break
        counts.append(steps)
        gaps.append(gap)
    if len(counts) < 3:
        return [], f"they agree to rounding, steps: {COUNTS[len(counts)]}"
    logs = [math.log(fine / coarse) for coarse, fine in pairwise(counts)]
    slopes = [math.log(big / small) / log for (big, small), log in zip(pairwise(gaps), logs, strict=True)]
    shares = [(1 / coarse - 1 / fine) / log for (coarse, fine), log in zip(pairwise(counts), logs, strict=True)]
    rates = [(s * v - r * w) / (v - w) for (r, s), (v, w) in zip(pairwise(slopes), pairwise(shares), strict=True)]
    return rates, f"{gaps[-1]:.1e} with {counts[-1]} steps"


class _Closed(nn.Module):
    """A field with one parameter."""

    def __init__(self, velocity: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.velocity = velocity
        self.theta = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Its value."""
        return self.velocity(t, x, self.theta)


def _linear(t0: Tensor, t1: Tensor, x: Tensor, p: Tensor) -> Tensor:
    return torch.exp(p * (t1 - t0)) * (x + t0 / p + p**-2) - t1 / p - p**-2


def _logistic(t0: Tensor, t1: Tensor, x: Tensor, p: Tensor) -> Tensor:
    return x / (x + (1 - x) * torch.exp(-p * (t1 - t0)))


def _cubic(t0: Tensor, t1: Tensor, x: Tensor, p: Tensor) -> Tensor:
    return x / torch.sqrt(1 + 2 * p * x**2 * (t1 - t0))


def _oscillator(t0: Tensor, t1: Tensor, x: Tensor, p: Tensor) -> Tensor:
    (q, v), w = x.unbind(-1), p * (t1 - t0)
    return torch.stack((q * torch.cos(w) + v / p * torch.sin(w), v * torch.cos(w) - p * q * torch.sin(w)), -1)


CLOSED_FORMS = (
    ("x' = theta x + t", lambda t, x, p: p * x + t, _linear),
    ("x' = theta x (1 - x)", lambda t, x, p: p * x * (1 - x), _logistic),
    ("x' = -theta x^3", lambda t, x, p: -p * x**3, _cubic),
    ("q'' = -theta^2 q", lambda t, x, p: torch.stack((x[..., 1], -(p**2) * x[..., 0]), -1), _oscillator),
)


def _closed(kind: Callable[..., nn.Module], velocity: Any, exact: Any, adjoint: str) -> Measured:
    """Value and gradients in x0, theta, t0 and t1."""
    start = uniform((3, 2), 0.2, 0.8, torch.Generator().manual_seed(43))
    found: list[list[Tensor]] = []
    field = _Closed(velocity)
    for solve in (partial(_solving, kind, field, adjoint), partial(_exactly, exact, field)):
        x, (t0, t1) = start.clone().requires_grad_(), (_leaf(end) for end in INTERVAL)
        value = solve(t0, t1, x)
        found.append([value.detach(), *torch.autograd.grad(functional([value]), [x, field.theta, t0, t1])])
    return worst_difference(found[0], found[1], ["x(t1)", "x0", "theta", "t0", "t1"])


def _solving(kind: Callable[..., nn.Module], field: _Closed, adjoint: str, t0: Tensor, t1: Tensor, x: Tensor) -> Tensor:
    value: Tensor = kind(field, t0=t0, t1=t1, method=TIGHT, rtol=1e-9, atol=1e-11, adjoint=adjoint)(x)
    return value


def _exactly(exact: Any, field: _Closed, t0: Tensor, t1: Tensor, x: Tensor) -> Tensor:
    value: Tensor = exact(t0, t1, x, field.theta)
    return value

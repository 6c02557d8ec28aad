"""Times so short that a field blows nothing up: systems of any stiffness and growth are verified on tame data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from codegen.verification.reference import velocity
from codegen.verification.step_setting import Setting, has_rows, numeric
from derive.errors import DeriveError
from derive.operators import Numeric

HALVINGS = 30
GROWTH = 3.0  # of a solution over the whole time, in units of 1 or of its initial size
NUDGE = 1e-6


def shortened(setting: Setting, fits: Callable[[Setting], bool]) -> Setting:
    """The setting with its time halved until it fits.

    Raises:
        DeriveError: it does not after 30 halvings.
    """
    for halvings in range(HALVINGS):
        shorter = replace(setting, t1=setting.t0 + (setting.t1 - setting.t0) / 2**halvings)
        with np.errstate(all="ignore"):
            try:
                if fits(shorter):
                    return shorter
            except (OverflowError, ZeroDivisionError):
                continue
    raise DeriveError(
        f"the field grows or varies too fast at the seeded data: no time down to 2^-{HALVINGS - 1} of "
        f"{setting.t1 - setting.t0:g} is short enough to be computed; scale the unknowns or the parameters"
    )


def gentle(setting: Setting, samples: Sequence[Numeric], product: float) -> float:
    """Factor of the initial values, 1, 1/2 or 1/4: the first at which slope times time is bounded, or the gentlest."""
    factors = (1.0, 0.5, 0.25)
    steep = [steepest(setting, [factor * x for x in samples]) * (setting.t1 - setting.t0) for factor in factors]
    fitting = [factor for factor, found in zip(factors, steep, strict=True) if found <= product]
    return fitting[0] if fitting else factors[int(np.argmin(steep))]


def steepest(setting: Setting, samples: Sequence[Numeric]) -> float:
    """The largest slope of the field at several samples."""
    with np.errstate(all="ignore"):
        return max(slope(setting, sample) for sample in samples)


def tame_steps(setting: Setting, samples: Sequence[Numeric], product: float) -> Setting:
    """The setting over a time whose product with the field's slope is bounded and in which the steps do not blow up."""
    steep = steepest(setting, samples)

    def fits(shorter: Setting) -> bool:
        if steep * (shorter.t1 - shorter.t0) > product:
            return False
        paths = [[np.concatenate([np.ravel(part) for part in state]) for state in shorter.run(x)] for x in samples]
        return all(is_tame(path[-1], path[0]) for path in paths)

    return shortened(setting, fits)


def is_tame(end: Numeric, start: Numeric) -> bool:
    """Whether a solution stays of the order of magnitude of what it starts from."""
    size = float(np.max(np.abs(end))) if np.isfinite(end).all() else np.inf
    return size <= GROWTH * max(1.0, float(np.max(np.abs(start))))


def slope(setting: Setting, x: Numeric) -> float:
    """Frobenius norm of the field's Jacobian at the initial time, by differences."""

    def values_at(_: Any) -> dict[Any, Numeric]:
        thetas = {network.theta: numeric(theta[0]) for network, theta in setting.thetas.items()}
        return {**{q: numeric(v[0] if has_rows(q, v) else v) for q, v in setting.values.items()}, **thetas}

    assert setting.ode is not None
    field = velocity(setting.ode, 1.0, values_at, setting.networks)
    y = np.concatenate([np.ravel(part) for part in setting.initial(x)])
    columns = []
    for place in range(len(y)):
        nudge = np.zeros(len(y))
        nudge[place] = NUDGE
        columns.append((field(setting.t0, y + nudge) - field(setting.t0, y - nudge)) / (2 * NUDGE))
    return float(np.linalg.norm(columns))

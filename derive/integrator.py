"""A scheme alone as a system: an integrator of fields that are passed in."""

from __future__ import annotations

from derive.networks import Network
from derive.schemes import AdditiveTableau, MultistepFamily, Splitting
from derive.schemes.every import AnyScheme
from derive.schemes.stochastic import StochasticRungeKutta
from derive.sde import of_every_noise
from derive.symbols import state, time
from derive.system import System
from derive.systems import ODE, Spec


def integrator(scheme: AnyScheme | MultistepFamily, name: str) -> Spec:
    """The spec of x' = f(t, x) by a scheme; of a scheme in parts one stream for each, driven by the others.

    Of a scheme for stochastic equations, dx = f(t, x) dt + g(t, x) dW with noise of every kind.

    Args:
        scheme: the discretization.
        name: id of the spec, and in camel case its class.

    Raises:
        SpecError: the name cannot be one of Python's.
    """
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    if isinstance(scheme, StochasticRungeKutta):
        x, t = state("x", "d", meaning="state"), time("t")
        drift = Network("f", takes_time=True)(t, x)
        kinds = of_every_noise(x, drift, t, calculus=scheme.calculus, scheme=scheme)
        variants: dict[str | int, System] = {noise: kinds[noise] for noise in kinds}
        title = f"dx = f(t, x) dt + g(t, x) dW by {scheme.title}"
        return Spec(id=name, class_name=class_name, title=title, option="noise", system=variants)
    parts = len(scheme.parts) if isinstance(scheme, AdditiveTableau) else 0
    parts = scheme.parts if isinstance(scheme, Splitting) else parts
    system, equation = _streams(parts) if parts else _field()
    return Spec(id=name, class_name=class_name, title=f"{equation} by {scheme.title}", system=system, scheme=scheme)


def _field() -> tuple[ODE, str]:
    x, t = state("x", "d", meaning="state"), time("t")
    return ODE(state=(x,), velocity=(Network("f", takes_time=True)(t, x),), time=t), "x' = f(t, x)"


def _streams(parts: int) -> tuple[ODE, str]:
    """x' = f(y), y' = g(x); or x' = f_1(x) + f_2(x) + ... where there are not two parts."""
    if parts == 2:
        x, y = (state(name, "d", meaning=f"stream {name}") for name in "xy")
        return ODE(state=(x, y), velocity=(Network("f")(y), Network("g")(x))), "x' = f(y), y' = g(x)"
    x = state("x", "d", meaning="state")
    terms = [Network(f"f_{part + 1}")(x) for part in range(parts)]
    shown = " + ".join(f"f_{part + 1}(x)" for part in range(parts))
    return ODE(state=(x,), velocity=(sum(terms),), parts=tuple((term,) for term in terms)), f"x' = {shown}"

r"""Sections on optimal control: from one Lagrangian to the adjoint equation and all gradients."""

from __future__ import annotations

from dataclasses import dataclass

from sympy import Expr, Integer

from derive.control import OptimalControl
from derive.control_checks import pointwise, slope, slope_check, variation, velocity
from derive.control_runs import Values
from derive.control_words import clock_of
from derive.derivation import Kind
from derive.evaluator import value_of
from derive.gradients import collected, gradient_of
from derive.lagrangian import StepNames
from derive.latex import latex, plain
from derive.linearization import pushforward
from derive.numbering import Author
from derive.operators import Numeric
from derive.phase_space import paired
from derive.sampling import Sampler
from derive.symbols import Quantity

Results = dict[str, Expr]


def write_problem(author: Author, control: OptimalControl, names: StepNames) -> None:
    """Section: the ODE and the functional that is minimized."""
    for unknown, rate in zip(control.ode.state, control.ode.velocity, strict=True):
        author.relation(
            f"the ODE for {unknown.name}",
            Kind.DEFINITION,
            f"{velocity(unknown).latex} = {formula(rate)}",
            text=f"d{unknown}/d{clock_of(control)} = {plain(rate)}",
            reason=_driven(control),
            name=names.joined("ode", unknown.name),
        )
    shown, text = _functional(control)
    author.relation(
        "what is minimized",
        Kind.DEFINITION,
        f"J = {shown}",
        text=f"J = {text}",
        reason="given; the mean over initial states and targets" if control.population else "given",
        name=names.joined("cost"),
    )
    author.close(f"The problem{names.title}")


def _driven(control: OptimalControl) -> str:
    driven = ", ".join(f"{q.name}({clock_of(control)})" for q in control.controls)
    constant = ", ".join(q.name for q in control.constants)
    parts = [f"driven by {driven}" if driven else "", f"constant in time: {constant}" if constant else ""]
    return "; ".join(part for part in parts if part) or "given"


def _functional(control: OptimalControl) -> tuple[str, str]:
    """The cost in LaTeX and in plain characters; in the mean over a population."""
    shown, text = _moments(control)
    if control.running != 0:
        body = formula(control.running)
        body = rf"\left({body}\right)" if control.running.is_Add else body
        shown.append(rf"{_integral(control)} {body} \, d{clock_of(control).latex}")
        text.append(f"integral of ({plain(control.running)})")
    return _mean(control, " + ".join(shown) or "0", " + ".join(text) or "0")


def _moments(control: OptimalControl) -> tuple[list[str], list[str]]:
    costs = {moment: cost for moment, cost in control.moments.items() if cost != 0}
    shown = [valued(cost, moment) for moment, cost in costs.items()]
    return shown, [f"({plain(cost)} at {moment})" for moment, cost in costs.items()]


def _integral(control: OptimalControl) -> str:
    return rf"\int_{{{control.begin.latex}}}^{{{control.end.latex}}}"


def _mean(control: OptimalControl, shown: str, text: str) -> tuple[str, str]:
    return (rf"\mathbb{{E}}\left[{shown}\right]", f"E[{text}]") if control.population else (shown, text)


def formula(value: Expr) -> str:
    """LaTeX in continuous time."""
    return latex(value, continuous=True)


def at(shown: str, moment: Quantity, side: str = "") -> str:
    """A formula at a moment, just before or after it where `side` is - or +."""
    mark = rf"{moment.latex}^{{{side}}}" if side else moment.latex
    return rf"\left. {shown} \right|_{{{mark}}}"


def valued(value: Expr, moment: Quantity) -> str:
    """The value of an expression at a moment."""
    shown = formula(value)
    return at(rf"\left({shown}\right)" if value.is_Add or value.could_extract_minus_sign() else shown, moment)


def lagrangian_of(control: OptimalControl) -> Expr:
    """L = a . x' - H: the integrand of the functional is -L."""
    momenta = sum((paired(a, velocity(x)) for x, a in control.hamiltonian.costates.items()), Integer(0))
    return momenta - control.hamiltonian.energy


def write_lagrangian_form(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """Section: the Lagrangian, its Euler-Lagrange equations and its singular Legendre transform."""
    form, found = control.hamiltonian, lagrangian_of(control)
    constraint = sum(
        (paired(a, f - velocity(x)) for (x, a), f in zip(form.costates.items(), control.ode.velocity, strict=True)),
        control.running,
    )
    shown, text = (" + ".join([*side, ""]) for side in _moments(control))
    functional = rf"{shown}{_integral(control)} \left({formula(constraint)}\right) d{clock_of(control).latex}"
    author.relation(
        "one functional",
        Kind.DEFINITION,
        "S = " + _mean(control, functional, "")[0],
        text="S = " + _mean(control, "", f"{text}integral of ({plain(constraint)})")[1],
        reason="the ODE is a constraint at every time, the costate its multiplier; on solutions S = J",
        name=names.joined("functional"),
    )
    author.relation(
        "Lagrangian",
        Kind.DEFINITION,
        rf"L = {formula(found)}",
        text=f"L = {plain(found)}",
        reason="costate . velocity less costate . field, and less the running cost",
        name=names.joined("lagrangian"),
    )
    author.relation(
        "the integrand is minus the Lagrangian",
        Kind.IDENTITY,
        rf"{formula(constraint)} = -L = {formula(-found)}",
        text=f"{plain(constraint)} = -L = {plain(-found)}",
        reason="S is made of costs and minus the integral of L: the sign is the other one than in mechanics",
        name=names.joined("integrand"),
        check=pointwise(_integrand(control), -found),
    )
    results = {"integrand": -found} | _write_momenta(author, control, names, found)
    results |= _write_euler_lagrange(author, control, names, found)
    author.close(
        f"One Lagrangian{names.title}", "State and costate, forward and backward equation come from one functional."
    )
    return results


def _integrand(control: OptimalControl) -> Expr:
    """The constraint with its multiplier, and the running cost."""
    pairs = zip(control.hamiltonian.costates.items(), control.ode.velocity, strict=True)
    return sum((paired(a, f) - paired(a, velocity(x)) for (x, a), f in pairs), control.running)


def _write_momenta(author: Author, control: OptimalControl, names: StepNames, found: Expr) -> Results:
    results: Results = {}
    for unknown in control.hamiltonian.costates:
        rate, way = velocity(unknown), variation(unknown)
        momentum = gradient_of(found, rate)
        bent = gradient_of(paired(momentum, way), rate)
        results |= {f"momentum_{unknown.name}": momentum, f"velocity_hessian_{unknown.name}": bent}
        author.relation(
            f"momentum of {unknown.name}",
            Kind.IDENTITY,
            rf"\frac{{\partial L}}{{\partial {rate.latex}}} = {formula(momentum)}",
            text=f"dL/d{rate} = {plain(momentum)}",
            reason="the costate is the momentum",
            name=names.joined(f"momentum_{unknown.name}"),
            check=slope_check(found, {rate: way}, paired(momentum, way)),
        )
        author.relation(
            f"the Legendre transform in {unknown.name} is singular",
            Kind.IDENTITY,
            rf"\frac{{\partial^2 L}}{{\partial {rate.latex}^2}} = {formula(bent)}",
            text=f"d^2 L/d{rate}^2 = {plain(bent)}",
            reason="L is linear in the velocity, which the momentum therefore does not determine: H = costate . "
            "velocity - L is the first-order form, where the velocity drops out by itself",
            name=names.joined(f"velocity_hessian_{unknown.name}"),
            check=slope_check(paired(momentum, way), {rate: way}, bent),
        )
    energy = control.hamiltonian.energy
    momenta = sum((paired(a, velocity(x)) for x, a in control.hamiltonian.costates.items()), Integer(0))
    author.relation(
        "Hamiltonian",
        Kind.IDENTITY,
        rf"H = {formula(momenta)} - L = {formula(energy)}",
        text=f"H = {plain(momenta)} - L = {plain(energy)}",
        reason="the velocity cancels",
        name=names.joined("hamiltonian"),
        check=pointwise(momenta + _integrand(control), energy),
    )
    return {**results, "hamiltonian": energy}


def _write_euler_lagrange(author: Author, control: OptimalControl, names: StepNames, found: Expr) -> Results:
    results: Results = {}
    clock = clock_of(control)
    for (unknown, costate), f in zip(control.hamiltonian.costates.items(), control.ode.velocity, strict=True):
        way, rate, back = variation(unknown), velocity(unknown), velocity(costate)
        state_line, costate_line = rate - f, -back - control.hamiltonian.gradient_density(unknown)
        results |= {f"euler_lagrange_{costate.name}": state_line, f"euler_lagrange_{unknown.name}": costate_line}
        author.relation(
            f"Euler-Lagrange equation in {costate.name}",
            Kind.IDENTITY,
            _stationary(costate, state_line, clock),
            text=f"dL/d{costate} - d/d{clock} dL/d{velocity(costate)} = {plain(state_line)} = 0",
            reason=f"L has no derivative of {costate.name}: this is the ODE again",
            name=names.joined(f"euler_lagrange_{costate.name}"),
            check=slope_check(found, {costate: way}, paired(state_line, way)),
        )
        author.relation(
            f"Euler-Lagrange equation in {unknown.name}",
            Kind.IDENTITY,
            _stationary(unknown, costate_line, clock),
            text=f"dL/d{unknown} - d/d{clock} dL/d{rate} = {plain(costate_line)} = 0",
            reason=f"the momentum is the costate, so that its derivative in time is {back}",
            name=names.joined(f"euler_lagrange_{unknown.name}"),
            check=slope_check(found, {unknown: way}, paired(costate_line, way), less=paired(back, way)),
        )
    return results


def _stationary(quantity: Quantity, line: Expr, clock: Quantity) -> str:
    rate = velocity(quantity)
    return (
        rf"\frac{{\partial L}}{{\partial {quantity.latex}}} - \frac{{d}}{{d{clock.latex}}}"
        rf"\frac{{\partial L}}{{\partial {rate.latex}}} = {formula(line)} = 0"
    )


def write_adjoint_equations(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """Section: Hamilton's equations, what costates end with, how they jump, and the first variation."""
    form, clock, results = control.hamiltonian, clock_of(control), {}
    for unknown, costate in form.costates.items():
        value, way = form.costate_velocity(unknown), variation(unknown)
        results[f"costate_velocity_{unknown.name}"] = value
        author.relation(
            f"adjoint equation of {unknown.name}",
            Kind.IDENTITY,
            rf"{velocity(costate).latex} = -\frac{{\partial H}}{{\partial {unknown.latex}}} = {formula(value)}",
            text=f"d{costate}/d{clock} = -dH/d{unknown} = {plain(value)}",
            reason=f"Hamilton's equation; d{unknown}/d{clock} = dH/d{costate} is the ODE",
            name=names.joined("costate", unknown.name),
            check=slope_check(-form.energy, {unknown: way}, paired(value, way)),
        )
    results |= _write_ends(author, control, names)
    results |= _write_first_variation(author, control, names)
    author.close(
        f"The adjoint equation{names.title}", "Backwards in time, from what the costs are at the moments they arise."
    )
    return results


def _write_ends(author: Author, control: OptimalControl, names: StepNames) -> Results:
    results: Results = {}
    for moment, cost in control.moments.items():
        for unknown, costate in control.hamiltonian.costates.items():
            value, way = gradient_of(cost, unknown), variation(unknown)
            end = End(control, costate, moment)
            results[f"{end.word}_{moment.name}_{unknown.name}"] = value
            author.relation(
                f"{end.word} of {costate.name} at {moment.name}",
                Kind.IDENTITY,
                f"{end.shown} = {valued(value, moment)}",
                text=f"{end.text} = {plain(value)} at {moment}",
                reason="transversality: boundary term of the first variation" if end.last else "its cost is added",
                name=names.joined(f"{end.word}_{moment.name}_{unknown.name}"),
                check=slope_check(cost, {unknown: way}, paired(value, way)),
            )
    return results


@dataclass(frozen=True)
class End:
    """What costs at moments fix of a costate: its last value, or its jump."""

    control: OptimalControl
    costate: Quantity
    moment: Quantity

    @property
    def last(self) -> bool:
        """Whether nothing comes later."""
        return self.moment == self.control.end

    @property
    def word(self) -> str:
        """In titles and names."""
        return "end" if self.last else "jump"

    @property
    def shown(self) -> str:
        """In LaTeX."""
        letter = self.costate.latex
        jump = f"{at(letter, self.moment, '-')} - {at(letter, self.moment, '+')}"
        return at(letter, self.moment) if self.last else jump

    @property
    def text(self) -> str:
        """In plain characters."""
        before, after = (f"{self.costate}({self.moment}{side})" for side in "-+")
        return f"{self.costate}({self.moment})" if self.last else f"{before} - {after}"


def _write_first_variation(author: Author, control: OptimalControl, names: StepNames) -> Results:
    """d/dt (a . delta x) + delta ell = H_q . delta q: the identity from which all gradients follow."""
    form = control.hamiltonian
    moved = {q: variation(q) for q in (*control.controls, *control.constants) if form.gradient_density(q) != 0}
    value = collected(pushforward(form.energy, moved))
    states = {x: variation(x) for x in control.ode.state}

    def left(values: Values, sampler: Sampler) -> Numeric:
        found = slope(form.energy, values, {**moved, **states}, sampler)
        back = sum((paired(form.costate_velocity(x), way) for x, way in states.items()), Integer(0))
        return found + value_of(back, values, sampler.networks)

    shown = " + ".join(rf"{a.latex} \cdot \delta {x.latex}" for x, a in form.costates.items())
    text = " + ".join(f"{a} . delta {x}" for x, a in form.costates.items())
    more, spoken = (r" + \delta \ell", " + delta ell") if control.running != 0 else ("", "")
    author.relation(
        "first variation along solutions",
        Kind.IDENTITY,
        rf"\frac{{d}}{{d{clock_of(control).latex}}}\left({shown}\right){more} = {formula(value)}",
        text=f"d/d{clock_of(control)} ({text}){spoken} = {plain(value)}",
        reason="forward sweep against the adjoint equation: what the state does cancels; its integral gives all "
        "that follows",
        name=names.joined("variation"),
        check=pointwise(left, value, form.energy, *moved.values(), *states, *states.values()),
    )
    return {"variation": value}

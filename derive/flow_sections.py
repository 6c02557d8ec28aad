"""Sections of the derivation of a flow: map, log-determinant, invertibility, inverse, densities, adjoints."""

from __future__ import annotations

from sympy import Expr, Integer

from derive.checks import IdentityCheck
from derive.derivation import Kind
from derive.determinants import product
from derive.errors import UnsupportedError
from derive.flow import ContinuousFlow, Flow
from derive.flow_checks import (
    det_of,
    image_check,
    log_det_of,
    range_check,
    round_trip,
    signs_check,
    trace_check,
    trace_of,
)
from derive.flow_programs import LOG_DET, FlowPrograms, adjoint_of, flow_programs
from derive.invertibility import Condition, guaranteed, is_positive
from derive.lagrangian import StepNames, write_adjoint, write_lagrangian, write_program
from derive.latex import latex
from derive.numbering import Author
from derive.operators import Numeric, shape_of
from derive.program import Assignment, Program, symbols_of
from derive.symbols import Quantity, by_name, constant
from derive.systems import ODE
from derive.traces import named_divergence

SIGNS = {"> 0": "> 0", ">= 0": r"\ge 0", "!= 0": r"\ne 0"}
BASE = constant("log_q", latex=r"\log q(y)", meaning="logarithm of the base density at the image")
DENSITY = constant("log_p", latex=r"\log p(x)", meaning="logarithm of the density of the data")


def write_flow(author: Author, flow: Flow, names: StepNames) -> tuple[dict[str, Expr], dict[str, str]]:
    """All sections of a map; returns results by name, and facts."""
    derived = flow_programs(flow)
    write_program(author, flow.map, names, "map")
    author.close(f"The map{names.title}", "From data to base; every quantity is named once.")
    _write_constraint(author, flow, names)
    results = _write_log_det(author, flow, derived, names)
    results |= _write_conditions(author, flow, derived)
    _write_adjoint(author, derived.forward, names, "map", f"Adjoint of the map{names.title}")
    results |= _write_inverse(author, flow, derived, names)
    results |= _write_densities(author, derived)
    facts = {"direction": "data to base: forward gives (y, log|det dy/dx|)"}
    facts["inverse"] = "not derived" if derived.inverse is None else derived.inverse.title
    shown = [condition.text for condition in derived.conditions]
    return results, facts | _facts(derived) | ({"invertible for": ", ".join(shown)} if shown else {})


def _facts(derived: FlowPrograms) -> dict[str, str]:
    """What is wrong with a map that is not one to one, or not onto."""
    if derived.sign_change is not None:
        return {"one to one": "no: the determinant takes both signs"}
    return {"image": bounds_text(derived.bounds)} if derived.bounds else {}


def bounds_text(bounds: tuple[Expr, ...]) -> str:
    """What the components of the image of a map that is not onto are."""
    shown = " and ".join(map(str, bounds))
    return f"components between {shown}" if len(bounds) == 2 else f"components on one side of {shown}"


def _write_constraint(author: Author, flow: Flow, names: StepNames) -> None:
    if not flow.constrained:
        return
    constraint = flow.constraint()
    write_program(author, constraint, names, "constraint")
    _write_adjoint(author, constraint, names, "constraint", "")
    lead = "What the map reads where it is kept invertible, computed from what is learned; and the cotangents of that."
    author.close(f"The parameters that keep it invertible{names.title}", lead)


def _write_adjoint(author: Author, program: Program, names: StepNames, kind: str, title: str) -> None:
    adjoint = adjoint_of(program)
    if title:
        write_lagrangian(author, program, adjoint, f"Lagrangian of the {kind}")
    write_adjoint(author, program, adjoint, names, f"{kind}_adjoint")
    if title:
        lead = "Stationarity of the Lagrangian, last line first; the log-determinant has a cotangent of its own."
        author.close(title, lead)


def _write_log_det(author: Author, flow: Flow, derived: FlowPrograms, names: StepNames) -> dict[str, Expr]:
    """The factors, read from the linearization, and the sum of their logarithms."""
    results: dict[str, Expr] = {}
    whole = product(derived.factors)
    if whole is not None and derived.factors:
        whole_check = IdentityCheck(det_of(flow.map, flow.parts), whole, flow.map.inputs, flow.map.networks(), flow.map)
        title = "determinant of the Jacobian, " + ", ".join(dict.fromkeys(f.rule for f in derived.factors))
        jacobian = Quantity("det_J", (), LOG_DET.role, r"\det J")
        author.equation(jacobian, whole, title, Kind.IDENTITY, "read from the linearization", "det", whole_check)
        results["det"] = whole
    lines = derived.forward.assignments[len(flow.map.assignments) :]
    for line in lines:
        check: IdentityCheck | None = None
        if line.target == LOG_DET:
            left = log_det_of(flow.map, flow.parts)
            check = IdentityCheck(left, line.value, derived.forward.inputs, flow.map.networks(), derived.forward)
        author.assignment(line, names("map", line.target), check)
    results["log_det"] = derived.forward.value(LOG_DET)
    lead = (
        "From the forward sweep: a block triangular Jacobian has the determinants of its diagonal blocks, and "
        r"$\det(D + U V^\top) = \det(D) \det(I + V^\top D^{-1} U)$."
    )
    author.close(f"The log-determinant{names.title}", lead)
    return results


def _write_conditions(author: Author, flow: Flow, derived: FlowPrograms) -> dict[str, Expr]:
    results: dict[str, Expr] = {}
    positive = [c for c in derived.conditions if c.positive]
    if positive:
        author.relation(
            "the determinant is positive for all data",
            Kind.INEQUALITY,
            r",\quad ".join(f"{latex(c.value)} {SIGNS[c.sign]}" for c in positive),
            text=", ".join(c.text for c in positive),
            reason="values of its factors at the ends of the range of their one variable and where they are stationary",
            name="invertible",
            check=range_check(positive),
        )
        results |= {f"condition_{place}": c.value for place, c in enumerate(positive, 1)}
    for condition in derived.conditions:
        if not condition.positive:
            always = "" if condition.of_parameters else " for any data"
            author.relation(
                f"a factor that must not vanish{always}",
                Kind.DEFINITION,
                f"{latex(condition.value)} {SIGNS[condition.sign]}",
                text=condition.text,
                reason="the logarithm of the determinant is not finite there"
                + (", and with both signs the map is not one to one" if always else ""),
            )
    _write_failures(author, flow, derived)
    for place, condition in enumerate(positive, 1):
        _write_guarantee(author, flow, condition, f"guarantee_{place}")
    author.close("Invertibility", "What parameters must satisfy, and what guarantees it.")
    return results


def _write_failures(author: Author, flow: Flow, derived: FlowPrograms) -> None:
    """That the map is not one to one, or not onto, where either is known."""
    change = derived.sign_change
    if change is not None:
        author.relation(
            "the map is not one to one",
            Kind.INEQUALITY,
            r"\det J(x_-) < 0 < \det J(x_+)",
            text="det J < 0 at x = {}, det J > 0 at x = {}".format(*map(shown_vector, change.points)),
            reason="a map that is one to one keeps its orientation; seen "
            + ("at these points" if change.draws == 1 else f"for each of {change.draws} choices of the parameters"),
            name="not_one_to_one",
            check=signs_check(flow, change),
        )
    if derived.bounds:
        (image,) = flow.images
        author.relation(
            "the map is not onto",
            Kind.INEQUALITY,
            rf"{image.latex} \ne " + r", \quad ".join(latex(bound) for bound in derived.bounds),
            text=f"{image} has {bounds_text(derived.bounds)}",
            reason="the inverse exists only there, and only there may the density of the base be other than 0",
            name="image",
            check=image_check(flow, derived.bounds),
        )


def shown_vector(point: Numeric) -> str:
    """A point in few digits."""
    return "(" + ", ".join(f"{float(v):.3g}" for v in point) + ")"


def _write_guarantee(author: Author, flow: Flow, condition: Condition, name: str) -> None:
    """What a condition is with the constrained parameters in place, where any of them is in it."""
    if not symbols_of(condition.value) & set(flow.constrained):
        return
    left = condition.value.xreplace(dict(flow.effective))
    right = guaranteed(flow, condition)
    constraint = flow.constraint()
    check = IdentityCheck(left, right, tuple(by_name(symbols_of(right) | set(constraint.inputs))), given=constraint)
    why = "which is above zero" if is_positive(right) else "whose sign is not seen from its form"
    author.equation(left, right, "the condition on the constrained parameters", Kind.IDENTITY, why, name, check)


def _write_inverse(author: Author, flow: Flow, derived: FlowPrograms, names: StepNames) -> dict[str, Expr]:
    inverse, backward = derived.inverse, derived.backward
    if inverse is None or backward is None:
        return {}
    if inverse.equation is not None:
        unknown, value = inverse.equation
        if not shape_of(unknown):
            text = "the vector is put into what the map reads of it"
            author.equation(unknown, value, "the equation of the scalar", Kind.DEFINITION, text, "scalar_equation")
    write_program(author, backward, names, "inverse")
    check = round_trip(flow, derived.forward, backward, dict(inverse.parts))
    author.relation(
        "the inverse undoes the map",
        Kind.IDENTITY,
        r"f^{-1}(f(x)) = x, \qquad \log\left|\det J^{-1}\right| = - \log\left|\det J\right|",
        text="inverse(f(x)) = x, and its log-determinant is minus the map's",
        reason=f"{inverse.title}; checked with the constrained parameters in place",
        name="round_trip",
        check=check,
    )
    author.close(f"The inverse{names.title}", f"Found {inverse.title}.")
    _write_adjoint(author, backward, names, "inverse", f"Adjoint of the inverse{names.title}")
    return {"log_det_inverse": -derived.forward.value(LOG_DET)}


def _write_densities(author: Author, derived: FlowPrograms) -> dict[str, Expr]:
    log_det = derived.forward.value(LOG_DET)
    author.relation(
        "density of the data, from data to base",
        Kind.DEFINITION,
        r"\log p(x) = \log q(f(x)) + \log\left|\det J\right|",
        text="log p(x) = log q(f(x)) + log|det J|",
        reason="probability is conserved: p(x) dx = q(y) dy",
        name="density",
    )
    author.relation(
        "density of a sample, from base to data",
        Kind.DEFINITION,
        r"\log p(f^{-1}(y)) = \log q(y) - \log\left|\det J^{-1}\right|",
        text="log p(x) = log q(y) - log|det dx/dy| for x = inverse(y)",
        reason="the same in the other direction; layers one after the other add their log-determinants",
        name="sample_density",
    )
    author.close("Densities", "Both directions; the sign belongs to the direction.")
    return {"log_p": BASE + log_det, "log_q": DENSITY - log_det}


def write_continuous(author: Author, flow: ContinuousFlow, names: StepNames) -> dict[str, Expr]:
    """Sections of a continuous flow: the field, its divergence, and what it does to densities."""
    ode = flow.field
    program, (z,) = ode.field_program(), ode.state
    write_program(author, program, names, "map")
    author.close("The map: an ODE", "From the data at t0 to the base at t1.")
    rate = _divergence(author, ode, program)
    field = program.outputs[0]
    author.relation(
        "continuity equation",
        Kind.DEFINITION,
        rf"\partial_t p + \operatorname{{div}}\left(p\, {field.latex}\right) = 0 \;\Rightarrow\; \partial_t \log p + "
        rf"\nabla \log p \cdot {field.latex} = - \operatorname{{tr}} J",
        text=f"p_t + div(p {field}) = 0, divided by p: (log p)_t + grad log p . {field} = -tr J",
        reason=f"probability is conserved: div(p {field}) = grad p . {field} + p tr J",
        name="continuity",
    )
    for left, title, reason, name in (
        (
            rf"\frac{{d}}{{dt}} \log p({z.latex}(t), t) = - \operatorname{{tr}} J",
            "instantaneous change of variables",
            f"the total derivative along {z.latex}(t) is the left side of the continuity equation",
            "instantaneous",
        ),
        (
            rf"\frac{{d}}{{dt}} \log\left|\det \frac{{\partial {z.latex}(t)}}{{\partial {z.latex}(t_0)}}\right| "
            r"= \operatorname{tr} J",
            "rate of the log-determinant",
            "Jacobi's formula for the variational equation; it is integrated beside the state",
            "rate",
        ),
    ):
        author.relation(title, Kind.IDENTITY, left, reason=reason, name=name, check=trace_check(program, z))
    author.relation(
        "what is solved",
        Kind.DEFINITION,
        rf"s = ({z.latex}, \ell), \quad \dot s = g(t, s) = \left({field.latex}, \operatorname{{tr}} J\right), \quad "
        rf"s(t_0) = (x, 0), \quad s(t_1) = \left(y, \log\left|\det \partial y / \partial x\right|\right)",
        text=f"s = ({z}, l), s' = g(t, s) = ({field}, tr J), s(t0) = (x, 0), s(t1) = (y, log|det dy/dx|)",
        reason="the inverse is the solution from t1 back to t0",
        name="augmented",
    )
    author.close("The log-determinant: an integral", "The divergence of the field, integrated along the solution.")
    return {} if rate is None else {"trace": rate, "rate": -rate}


def _divergence(author: Author, ode: ODE, program: Program) -> Expr | None:
    """The trace in the quantities of the field, where its linearization is read."""
    name = Quantity("trace_J", (), LOG_DET.role, r"\operatorname{tr} J")
    try:
        rate = named_divergence(ode)
    except UnsupportedError:
        author.relation(
            "trace of the linearization",
            Kind.DEFINITION,
            r"\operatorname{tr} J = \sum_i e_i \cdot J e_i = \mathbb E_\epsilon\left[\epsilon \cdot J \epsilon\right],"
            r" \quad \mathbb E\, \epsilon \epsilon^{\top} = I",
            text="tr J = sum of e_i . J e_i over unit vectors, or the mean of e . J e over random signs e",
            reason="the field holds opaque networks: its trace is computed from products of its Jacobian with vectors",
            name="trace",
        )
        return None
    check = IdentityCheck(trace_of(program, ode.state[0]), rate, program.inputs, given=program)
    line = Assignment(name, rate, "diag(D) + U V^T has the trace sum(D) + sum of u . v")
    author.equation(name, rate if rate != 0 else Integer(0), "trace of the linearization", Kind.IDENTITY, line.reason,
                    "trace", check)  # fmt: skip
    return rate

"""Relations of an author's own: what else holds of a system, numbered and verified like what is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby

from sympy import Expr, Integer, sympify

from derive.checks import IDENTITY_TOLERANCE, IdentityCheck, StationarityCheck
from derive.derivation import Check, Kind, Relation
from derive.errors import SpecError, UnknownNameError
from derive.functions import as_expression
from derive.gradients import eliminated
from derive.latex import latex
from derive.networks import Network
from derive.numbering import Author
from derive.operators import Numeric
from derive.program import Assignment, Program, symbols_of, undeclared
from derive.reverse_sweep import reverse_sweep
from derive.symbols import Quantity, by_name, input_

CHECKED = (Kind.IDENTITY, Kind.ASYMPTOTIC, Kind.INEQUALITY)
HEADING = "What else holds"


def relation(
    title: str,
    kind: Kind | str,
    formula: str,
    *,
    reason: str = "",
    text: str = "",
    name: str = "",
    source: str = "",
    check: Check | None = None,
    value: Expr | None = None,
    section: str = HEADING,
) -> Relation:
    """A relation for `Spec.relations`.

    Args:
        title: what it is, in a few words.
        kind: identity, asymptotic, inequality (these three need a check), definition, or statement (needs a source).
        formula: in LaTeX, without delimiters.
        text: the same in plain characters.
        reason: why it holds.
        name: what it is called in `Derivation.numbers`, and in `results` where it has a `value`.
        source: where a statement is from.
        check: an object of `derive.checks`, or any with `run`, `terms` and `perturbed`.
        value: the expression it gives to the name, for deck claims to speak of.
        section: the heading it stands under; consecutive relations of one heading make one section.

    Raises:
        SpecError: no check where one belongs, one where none does, a statement without a source, or a value without
            a name.
    """
    if kind not in (known := [*Kind, *(each.value for each in Kind)]):
        raise UnknownNameError(f"kind of the relation {title!r}", str(kind), known[len(Kind) :])
    kind = Kind(kind)
    if kind in CHECKED and check is None:
        raise SpecError(f"{title}: a relation of kind {kind.value} needs check=...; without one it is a statement")
    if kind not in CHECKED and check is not None:
        raise SpecError(f"{title}: a relation of kind {kind.value} has nothing to check")
    if (kind is Kind.STATEMENT) != bool(source):
        raise SpecError(f"{title}: a statement, and nothing else, has source=...")
    if value is not None and not name:
        raise SpecError(f"{title}: give name=..., under which its value is found")
    because = reason or ("quoted" if kind is Kind.STATEMENT else kind.value)
    return Relation("", title, kind, formula, text or formula, because, name, source, check, value, section)


def identity(
    title: str,
    left: Expr,
    right: Expr,
    *,
    reason: str,
    name: str = "",
    check: Check | None = None,
    section: str = HEADING,
) -> Relation:
    """`left = right` at random points of all symbols, unless another check is given; `right` is the named result.

    Raises:
        SpecError: a symbol that nobody declared.
    """
    left, right = as_expression(left), as_expression(right)
    stray = undeclared(left) + undeclared(right)
    if stray:
        raise SpecError(f"{title} uses {', '.join(stray)}, which nobody declared; declare with constant, state, ...")
    if check is None:
        networks = left.atoms(Network) | right.atoms(Network)
        ordered = tuple(sorted(networks, key=lambda network: network.name))
        check = IdentityCheck(left, right, tuple(by_name(symbols_of(left) | symbols_of(right))), ordered)
    formula, text = f"{latex(left)} = {latex(right)}", f"{left} = {right}"
    return _equation(title, (formula, text), right, check, reason=reason, name=name, section=section)


def number(
    title: str,
    value: Expr | int,
    measured: Callable[[], Numeric],
    formula: str,
    *,
    reason: str,
    name: str,
    tolerance: float = IDENTITY_TOLERANCE,
    section: str = HEADING,
) -> Relation:
    """An exact number of an example, measured on it by other means; claims speak of it by its name.

    Args:
        title: what it is, in a few words.
        value: the number.
        measured: finds it at mpmath's precision.
        formula: in LaTeX, for both forms of the derivation.
        reason: why it is this one.
        name: under which claims find it.
        tolerance: of the relative difference.
        section: the heading it stands under.
    """
    beside = input_("z", ())
    check = IdentityCheck(lambda *_: measured(), sympify(value), (beside,), tolerance=tolerance, points=1)
    return relation(
        title, Kind.IDENTITY, formula, reason=reason, name=name, value=sympify(value), check=check, section=section
    )


def gradient(
    title: str, program: Program, about: Quantity, *, reason: str, name: str = "", section: str = HEADING
) -> Relation:
    """The gradient of the scalar that a program computes in one of its inputs, with all cotangents eliminated.

    It is derived by the reverse sweep, and checked against central differences of the program.
    """
    adjoint = reverse_sweep(program, (about,))
    (seed,) = adjoint.seeds.values()
    found = eliminated(adjoint, about)
    check = StationarityCheck(program, adjoint, Assignment(adjoint.cotangents[about], found), about)
    value = found.xreplace({seed: Integer(1)})
    formula = rf"\nabla_{{{about.latex}}} {program.outputs[0].latex} = {latex(value)}"
    text = f"gradient of {program.outputs[0]} in {about} = {value}"
    return _equation(title, (formula, text), value, check, reason=reason, name=name, section=section)


def cotangent(
    title: str, program: Program, about: Quantity, value: Expr, *, reason: str, name: str, section: str = HEADING
) -> Relation:
    """What a quantity of a program receives, in quantities of the program and their cotangents.

    It is checked against central differences of the program, beside what the reverse sweep makes of it.

    Raises:
        SpecError: the value reads what nobody declared.
    """
    adjoint = reverse_sweep(program)
    bar = adjoint.cotangents[about]
    check = StationarityCheck(program, adjoint, Assignment(bar, value), about)
    return identity(title, bar, value, reason=reason, name=name, check=check, section=section)


def _equation(title: str, shown: tuple[str, str], right: Expr, check: Check, *, name: str, **where: str) -> Relation:
    """An identity, as LaTeX and as text; its right side is its value where it has a name."""
    formula, text = shown
    value = right if name else None
    return relation(title, Kind.IDENTITY, formula, text=text, name=name, check=check, value=value, **where)


def write_relations(author: Author, relations: Iterable[Relation]) -> dict[str, Expr]:
    """Number the relations of a spec, one section per heading; returns the named values."""
    results = {}
    for heading, group in groupby(relations, key=lambda found: found.section):
        for found in group:
            author.append(replace(found, section=""))
            if found.value is not None:
                results[found.name] = found.value
        author.close(heading)
    return results

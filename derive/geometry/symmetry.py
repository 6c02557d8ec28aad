r"""The adjoint method $\Phi_h^* = \Phi_{-h}^{-1}$ of a scheme, and schemes that are their own adjoint.

Of a tableau it is $a^*_{ij} = b_{s+1-j} - a_{s+1-i,\,s+1-j}$, $b^*_i = b_{s+1-i}$ (Hairer, Norsett, Wanner, Solving
ODEs I, II.8). An irreducible tableau is symmetric iff its adjoint is the same tableau up to the order of the stages.
"""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, S, cancel, expand

from derive.geometry.reduction import reduced
from derive.geometry.stages import rebuilt
from derive.schemes import ButcherTableau, LinearMultistep, Scheme, Splitting
from derive.schemes.findings import shown
from derive.series.notation import differential
from derive.series.trees import tree, trees_up_to
from derive.series.weights import Stages, Tableau
from derive.verdict import Step, Verdict


def adjoint_method(scheme: Scheme) -> Scheme | None:
    """The scheme of the inverse map with -h; None for a multistep scheme that does not read its oldest value."""
    title = f"adjoint of {scheme.title}"
    if isinstance(scheme, LinearMultistep):
        return _reversed_multistep(scheme, title)
    if isinstance(scheme, Splitting):
        substep = None if scheme.substep is None else adjoint_method(scheme.substep)
        assert substep is None or isinstance(substep, ButcherTableau)
        return Splitting(scheme.stages[::-1], substep, scheme.order, title)
    stages = Stages(scheme)
    last = stages.count - 1
    return rebuilt(
        stages,
        lambda p, i, j: stages.b[p][last - j] - stages.A[p][last - i][last - j],
        [row[::-1] for row in stages.b],
        title,
    )


def is_symmetric(scheme: Scheme) -> Verdict:
    """Whether the step with -h undoes the step."""
    if isinstance(scheme, Splitting):
        return _symmetric_splitting(scheme)
    mirrored = adjoint_method(scheme)
    if isinstance(scheme, LinearMultistep):
        same = isinstance(mirrored, LinearMultistep) and _same_multistep(scheme, mirrored)
        return Verdict(S(same), (Step("the weights read the same backwards" if same else "other weights backwards"),))
    small = reduced(scheme)
    stages = Stages(small)
    order = next(_matchings(stages), None)
    if order is not None:
        shown = ", ".join(str(i + 1) for i in order)
        return Verdict(S.true, (Step(f"the adjoint is the same tableau with its stages in the order {shown}"),))
    return Verdict(S.false, (_different_tree(small),))


def _reversed_multistep(scheme: LinearMultistep, title: str) -> LinearMultistep | None:
    oldest = scheme.alpha[-1]
    if oldest == 0:
        return None
    alpha = [cancel(-weight / oldest) for weight in scheme.alpha[-2::-1]] + [cancel(1 / oldest)]
    beta = [cancel(weight / oldest) for weight in scheme.beta[::-1]]
    return LinearMultistep(alpha=alpha, beta=beta, title=title)


def _same_multistep(left: LinearMultistep, right: LinearMultistep) -> bool:
    weights = zip((*left.alpha, *left.beta), (*right.alpha, *right.beta), strict=True)
    return all(cancel(a - b) == 0 for a, b in weights)


def _symmetric_splitting(scheme: Splitting) -> Verdict:
    stages = _joined(scheme)
    if stages != stages[::-1]:
        return Verdict(S.false, (Step("the stages read differently backwards"),))
    step = Step("the stages read the same backwards")
    if scheme.substep is None:
        return Verdict(S.true, (step,))
    verdict = is_symmetric(scheme.substep)
    return Verdict(verdict.value, (step, *verdict.proof))


def _joined(scheme: Splitting) -> list[tuple[int, Expr]]:
    """Stages with neighbours of one part joined where they are flows of it, which add up; none of no time."""
    found: list[tuple[int, Expr]] = []
    for part, fraction in scheme.stages:
        if found and found[-1][1] == 0:
            found.pop()
        if found and found[-1][0] == part and scheme.substep is None:
            found[-1] = (part, _normal(found[-1][1] + fraction))
        else:
            found.append((part, _normal(fraction)))
    return found if found[-1][1] != 0 else found[:-1]


def _normal(value: Expr) -> Expr:
    return cancel(value) if value.free_symbols else expand(value)


def _matchings(stages: Stages) -> Iterator[tuple[int, ...]]:
    """Orders of the stages in which the tableau is its own adjoint, found stage by stage."""
    yield from _extended(stages, ())


def _extended(stages: Stages, chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    place = len(chosen)
    if place == stages.count:
        yield chosen
        return
    for candidate in range(stages.count):
        if candidate not in chosen and _fits(stages, (*chosen, candidate)):
            yield from _extended(stages, (*chosen, candidate))


def _fits(stages: Stages, chosen: tuple[int, ...]) -> bool:
    """Whether a_(ij) + a_(pi i, pi j) = b_j and b_(pi i) = b_i hold as far as the stages are matched."""
    i, image = len(chosen) - 1, chosen[-1]
    for p, (b, A) in enumerate(zip(stages.b, stages.A, strict=True)):
        c, total = stages.increments(tree(colour=p)), sum(b, stages.arithmetic.domain.zero)
        if not stages.vanishes(b[i] - b[image]) or not stages.vanishes(c[i] + c[image] - total):
            return False
        for j, other in enumerate(chosen):
            if not stages.vanishes(A[i][j] + A[image][other] - b[j]):
                return False
            if not stages.vanishes(A[j][i] + A[other][image] - b[i]):
                return False
    return True


def _different_tree(scheme: Tableau) -> Step:
    """The first elementary differential in which the step and its adjoint differ."""
    mirrored = adjoint_method(scheme)
    assert mirrored is not None and not isinstance(mirrored, LinearMultistep | Splitting)
    own, other = Stages(scheme), Stages(mirrored)
    for tau in trees_up_to(2 * own.count + 2, own.colours):
        a, b = own.arithmetic.expression(own.weight(tau)), other.arithmetic.expression(other.weight(tau))
        gap = cancel(a - b)
        if gap != 0 and not (gap.is_number and abs(gap) <= own.arithmetic.tolerance):
            values = f"{shown(a, scheme.digits)}, of the adjoint {shown(b, scheme.digits)}"
            return Step(f"the coefficients of {differential(tau)} differ: {values}")
    raise AssertionError("an irreducible scheme that is not its adjoint differs from it in some tree")

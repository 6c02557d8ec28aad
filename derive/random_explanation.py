"""All sections on a recurrence with random draws."""

from __future__ import annotations

from derive.depth_explanation import write_inverse
from derive.drafts import Draft, explain_cell
from derive.errors import UnsupportedError
from derive.lagrangian import StepNames
from derive.limit_sections import write_limit, write_linear_moments
from derive.random_recurrence import RandomRecurrence
from derive.random_sections import write_backward, write_laws, write_mean
from derive.weak_limit import WeakLimit, match_moments


def explain_random(draft: Draft, system: RandomRecurrence, names: StepNames) -> None:
    """The step and its adjoint for given draws, then what holds on average and in the limit of small steps."""
    author = draft.author
    explain_cell(draft, system, names)
    write_backward(author, system, names)
    if not names.prefix:
        write_inverse(draft, system, None, names)
    found = write_laws(author, system, names)
    limit = _limit(draft, system, names)
    if limit is not None:
        found |= write_mean(author, system, limit, names)
        found |= write_limit(author, system, limit, names)
        found |= write_linear_moments(author, system, limit, names)
    draft.results |= {names.joined(name): value for name, value in found.items()}


def _limit(draft: Draft, system: RandomRecurrence, names: StepNames) -> WeakLimit | None:
    """The weak limit and the facts of it; a fact that says why where there is none."""
    suffix = names.title
    try:
        limit = match_moments(system)
    except UnsupportedError as error:
        draft.facts[f"weak limit{suffix}"] = f"none derived: {error}"
        return None
    draft.facts[f"weak order of small steps{suffix}"] = limit.order_in_words
    return limit

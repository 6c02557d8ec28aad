"""Every property of every module that is asked for."""

from __future__ import annotations

import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from types import ModuleType

from torch.autograd.gradcheck import GradcheckError

from codegen.emission import emit
from codegen.verification.case import Case
from codegen.verification.loaded import importable, load_text
from codegen.verification.properties.register import CHEAP, FULL, PROPERTIES, SLOW, Property
from codegen.verification.properties.subject import Subject
from codegen.verification.verifier import cases_of, stacked_cases_of
from derive.systems import Spec

YES, NONE = "yes", "-"
EXCEPT = "yes, but not with "
ROUNDED = "states are rounded to fixed point and k to p/q, which is not differentiated"
REASON = 160  # characters of an error that are kept
Results = dict[str, str]


def matrix(reference: str, spec: Spec, full: bool = False, slow: bool = False) -> Results:
    """Key of a property -> `yes`, `-` where it has no meaning, or why it does not hold.

    Args:
        reference: where the spec is found.
        spec: a spec with a module.
        full: all but slow properties, with all memory modes of the first option, the first mode of the others, and
            recurrent modules with two layers in both directions too; else what is cheap with the first option and mode.
        slow: also the slow properties, with the first option and mode.
    """
    cost = SLOW if slow else FULL if full else CHEAP
    text = emit(spec)
    loaded = load_text(text)
    usual, small = cases_of(spec, loaded.Module)
    stacked = stacked_cases_of(spec, loaded.Module) if full else ([], [])
    subjects = {
        is_small: list(_subjects(reference, text, loaded, cases, is_small, full))
        for is_small, cases in ((False, usual + stacked[0]), (True, small + stacked[1]))
    }
    asked = [each for each in PROPERTIES if each.can_run and each.cost <= cost]
    with importable(loaded):
        return {e.key: judged(e, subjects[e.small][: 1 if e.cost == SLOW else None]) for e in asked}


def _subjects(
    reference: str, text: str, loaded: ModuleType, cases: list[Case], small: bool, full: bool
) -> Iterator[Subject]:
    """The first case with the first memory mode; then, where all is asked for, its other modes, and other cases."""
    for place, case in enumerate(cases):
        for memory in case.memory[: None if full and not place else 1]:
            yield Subject(reference, text, loaded, place, case, memory, small)
        if not full:
            return


def judged(each: Property, subjects: Iterable[Subject]) -> str:
    """`yes`, `-`, or the first reason why not; it begins with `yes, but` where the default options do well."""
    meant = [subject for subject in subjects if each.means(subject)]
    for place, subject in enumerate(meant):
        reason = _reason(each, subject)
        if reason is not None:
            return reason if not place else f"{EXCEPT}`{subject.label}`: {reason}"
    return YES if meant else NONE


def _reason(each: Property, subject: Subject) -> str | None:
    """Why a property does not hold, if it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            reason = each.check(subject)
            return ROUNDED if reason and each.of_reals and subject.rounds else reason
    except Exception as error:
        if each.limit is not None and re.search(each.limit.messages, str(error)):
            return each.limit.reason
        if each.of_reals and subject.rounds and isinstance(error, GradcheckError):
            return ROUNDED
        line = " ".join(str(error).split())
        return textwrap.shorten(f"{type(error).__name__}: {line}", REASON, placeholder=" ...")

"""The properties, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from codegen.verification.gradient_checks import ABSOLUTE, NUDGE, RELATIVE
from codegen.verification.properties import backward, batches, copies, numbers, processes, transforms
from codegen.verification.properties.subject import Subject

CHEAP, FULL, SLOW = range(3)
Check = Callable[[Subject], str | None]


def _always(subject: Subject) -> bool:
    return True


def _differentiable(subject: Subject) -> bool:
    return subject.case.differentiable


def _has_parameters(subject: Subject) -> bool:
    return _differentiable(subject) and any(True for _ in subject.build().parameters())


def _has_batch(subject: Subject) -> bool:
    return _differentiable(subject) and subject.batch > 0


def _has_parts(subject: Subject) -> bool:
    return _has_parameters(subject) and subject.batch >= processes.WORLD


def _has_samples(subject: Subject) -> bool:
    return subject.batch > 0


def _is_sequence(subject: Subject) -> bool:
    return subject.case.sequence


@dataclass(frozen=True)
class Limit:
    """A limit of torch's own.

    Attributes:
        messages: pattern of what torch says where it is met.
        reason: the same in words that say more.
    """

    messages: str
    reason: str


@dataclass(frozen=True)
class Property:
    """One row of the table.

    Attributes:
        key: its name in the stored results.
        title: its name in the table.
        check: subject -> None where it holds, or why not; what it raises is a reason too.
        means: where it makes sense.
        small: whether one sample and few numbers are enough, since it makes many calls.
        cost: CHEAP for every module, FULL for those that are shown in full, SLOW where that takes minutes.
        limit: where it may fail because of torch, whose own words for that say little.
        of_reals: whether it compares with arithmetic of real numbers, which a mode that rounds is not.
        needs_gpu: whether it can be tested on a machine with a GPU only.
    """

    key: str
    title: str
    check: Check
    means: Callable[[Subject], bool] = _differentiable
    small: bool = False
    cost: int = CHEAP
    limit: Limit | None = None
    of_reals: bool = False
    needs_gpu: bool = False

    @property
    def can_run(self) -> bool:
        """Whether this machine can test it."""
        return not self.needs_gpu or torch.cuda.is_available()


LEGACY = Limit(
    r"^vmap: aten::|^Batching rule not implemented for|^DispatchKey Batched ",
    "torch's older vmap enters the derived sweep itself and has no rules for operations in it",
)
HOOKS = Limit(
    r"torch\.func.* (don't|do not) (yet )?support saved tensor hooks",
    "torch checkpoints by hooks on saved tensors, which torch.func refuses; it takes the derivatives inside the step",
)
TIGHT = f"eps {NUDGE:g}, rtol {RELATIVE:g}, atol {ABSOLUTE:g}".replace("e-0", "e-")
PROPERTIES = (
    Property("gradcheck", f"`gradcheck` ({TIGHT})", backward.gradcheck, small=True, of_reals=True),
    Property(
        "gradgradcheck", f"`gradgradcheck` ({TIGHT})", backward.gradgradcheck, small=True, cost=FULL, of_reals=True
    ),
    Property("vmap", "`vmap` over samples", transforms.over_samples, _has_samples),
    Property("ensemble", "`vmap` over parameters (ensembles)", transforms.over_parameters, _has_parameters),
    Property("per_sample", "`vmap` of `grad`: per-sample gradients", transforms.per_sample_gradients, _has_batch),
    Property("jacrev", "`jacrev`", transforms.jacrev, small=True),
    Property("jvp", "`jvp`", transforms.jvp, small=True),
    Property("jacfwd", "`jacfwd`", transforms.jacfwd, small=True),
    Property("legacy", "`is_grads_batched`, `vectorize=True`", transforms.legacy_batched, small=True, limit=LEGACY),
    Property("compile", "`torch.compile(fullgraph=True)`", transforms.compiled, cost=SLOW),
    Property("copies", "`deepcopy`, `pickle`, `state_dict`", copies.copies),
    Property("float64", "float64", numbers.float64, _always, of_reals=True),
    Property("float32", "float32", numbers.float32),
    Property("bfloat16", "bfloat16", numbers.bfloat16),
    Property("autocast", "autocast to bfloat16", numbers.autocast),
    Property("strides", "input that is not contiguous", batches.not_contiguous),
    Property("one_sample", "batch of one", batches.batch_of_one, _has_batch),
    Property("one_step", "sequence of one step", batches.one_step, _is_sequence),
    Property("empty", "empty batch", batches.empty_batch, _has_batch),
    Property("unbatched", "no batch axis", batches.unbatched, _has_batch),
    Property("parameters", "gradient of parameters only", backward.only_parameters, _has_parameters),
    Property("inputs", "gradient of inputs only", backward.only_inputs),
    Property("frozen", "a frozen parameter", backward.frozen_parameter, _has_parameters),
    Property("retain", "`retain_graph`, backward twice", backward.backward_twice),
    Property("checkpoint", "activation checkpointing", backward.checkpointed, limit=HOOKS),
    Property("two_ways", "`autograd.grad` and `.backward`", backward.two_ways),
    Property("calls", "calls keep nothing", backward.calls_apart),
    Property("ddp", "DistributedDataParallel of 2 gloo processes", processes.data_parallel, _has_parts, cost=SLOW),
    Property("cuda", "CUDA as CPU", numbers.cuda, needs_gpu=True),
)

"""Two processes that train together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from codegen.verification.loaded import load_text
from codegen.verification.measures import Gradients
from codegen.verification.properties.subject import Subject, differing, leaves_of, smooth
from codegen.verification.verifier import cases_of
from derive import load

WORLD, ROUNDS = 2, 2  # torch arranges its buckets anew after the first round
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class _Job:
    """What a process needs to make the same module; cases hold functions, which do not travel."""

    reference: str
    text: str
    place: int
    memory: str
    folder: str


def data_parallel(subject: Subject) -> str | None:
    """Gradients after DistributedDataParallel over two gloo processes with a part of the batch each, against one."""
    with tempfile.TemporaryDirectory() as folder:
        job = _Job(subject.reference, subject.text, subject.place, subject.memory, folder)
        kept = {name: os.environ.get(name) for name in LOOPBACK}
        os.environ.update(LOOPBACK)
        try:
            torch.multiprocessing.spawn(_train, (job,), nprocs=WORLD)
        finally:
            _restore(kept)
        found = [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]
    expected = _gradients(subject, subject.build(), dict(subject.inputs), WORLD)
    for gradients in found:
        reason = differing(gradients, expected, what="gradient of parameter")
        if reason is not None:
            return reason
    return differing(found[0], found[1], 0.0, "gradient of parameter in the second process")


def _restore(kept: Mapping[str, str | None]) -> None:
    for name, value in kept.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def _gradients(subject: Subject, module: torch.nn.Module, inputs: Mapping[str, Tensor], share: int) -> Gradients:
    """Gradients of a share of the functional, which is a sum over samples; of the last of several rounds."""
    for _ in range(ROUNDS):
        module.zero_grad()
        (smooth(module(*leaves_of(list(inputs.values())))) / share).backward()
    return [parameter.grad for parameter in module.parameters()]


def _train(rank: int, job: _Job) -> None:
    """One process: every second sample."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{job.folder}/store", rank=rank, world_size=WORLD)
    loaded = load_text(job.text)
    usual, _ = cases_of(load(job.reference), loaded.Module)
    subject = Subject(job.reference, job.text, loaded, job.place, usual[job.place], job.memory)
    places = range(rank, subject.batch, WORLD)
    pairs = zip(subject.inputs.items(), subject.axes, strict=True)
    part = {n: x if axis is None else x.index_select(axis, torch.tensor(places)) for (n, x), axis in pairs}
    found = _gradients(subject, DistributedDataParallel(subject.build()), part, 1)
    torch.save(found, Path(job.folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()

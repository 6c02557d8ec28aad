"""Copies of a module: in memory, through a file, by its state."""

from __future__ import annotations

import copy
import pickle

import torch
from torch import nn

from codegen.verification.case import Outputs
from codegen.verification.properties.subject import Subject, differing_run, run_on


def copies(subject: Subject) -> str | None:
    """deepcopy, pickle and state_dict: to the bit the same, and nothing shared with the original."""
    module = subject.case.build({}, subject.memory, "derived")
    expected = run_on(Outputs(module, subject.case.call), subject.inputs)
    made = {"deepcopy": copy.deepcopy(module), "pickle": pickle.loads(pickle.dumps(module))}
    made["state_dict"] = _changed(subject.case.build({}, subject.memory, "derived"))
    made["state_dict"].load_state_dict(module.state_dict())
    for way, copied in made.items():
        for which in (copied, module):
            reason = differing_run(run_on(Outputs(which, subject.case.call), subject.inputs), expected, 0.0)
            if reason is not None:
                return f"{way}: {reason}"
            _changed(copied)
    return None


def _changed(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.5)
    return module

"""Which gradients are asked for, in which way, and how often."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from codegen.verification.gradient_checks import ABSOLUTE, NUDGE, RELATIVE
from codegen.verification.properties.subject import (
    Subject,
    Tensors,
    differing,
    differing_run,
    function_of,
    leaves_of,
    run,
    run_on,
    smooth,
)

FIRST, SECOND = torch.autograd.gradcheck, torch.autograd.gradgradcheck


def gradcheck(subject: Subject) -> str | None:
    """Central differences; torch raises where one entry differs."""
    function, inputs, parameters = function_of(subject)
    leaves = leaves_of((*inputs, *parameters))
    FIRST(lambda *tensors: smooth(function(*tensors)), leaves, eps=NUDGE, rtol=RELATIVE, atol=ABSOLUTE)
    return None


def gradgradcheck(subject: Subject) -> str | None:
    """The same of first derivatives."""
    function, inputs, parameters = function_of(subject)
    leaves = leaves_of((*inputs, *parameters))
    SECOND(lambda *tensors: smooth(function(*tensors)), leaves, eps=NUDGE, rtol=RELATIVE, atol=ABSOLUTE)
    return None


def only_parameters(subject: Subject) -> str | None:
    """Inputs that ask for no gradient change none of those of parameters."""
    module = subject.build()
    expected = run_on(module, subject.inputs)
    found = run(module, subject.inputs)
    return differing(found.gradients, expected.gradients[len(subject.inputs) :], what="gradient of parameter")


def only_inputs(subject: Subject) -> str | None:
    """Parameters that ask for no gradient change none of those of inputs; each input alone too."""
    module = subject.build()
    expected = run_on(module, subject.inputs)
    module.requires_grad_(False)
    found = run_on(module, subject.inputs)
    reason = differing(found.gradients, expected.gradients[: len(subject.inputs)], what="gradient of input")
    if reason is not None:
        return reason
    for place, name in enumerate(subject.inputs):
        if expected.gradients[place] is None:
            continue
        alone = run(module, {**subject.inputs, name: subject.inputs[name].clone().requires_grad_()})
        reason = differing(alone.gradients, expected.gradients[place : place + 1], what=f"gradient of {name} alone, ")
        if reason is not None:
            return reason
    return None


def frozen_parameter(subject: Subject) -> str | None:
    """Each parameter in turn: no gradient for it, and that of all others as before."""
    module = subject.build()
    expected = run_on(module, subject.inputs)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(False)
        found = run_on(module, subject.inputs)
        parameter.requires_grad_(True)
        pairs = zip(expected.names, expected.gradients, strict=True)
        reason = differing(found.gradients, [g for other, g in pairs if other != name], what="gradient")
        if reason is not None or parameter.grad is not None:
            return f"{name.removeprefix('module.')} frozen: {reason or 'it has a gradient'}"
    return None


def backward_twice(subject: Subject) -> str | None:
    """Through one graph, kept with retain_graph: the second time the same gradients, to the bit, are added."""
    leaves, module = leaves_of(list(subject.inputs.values())), subject.build()
    wanted = [*leaves, *module.parameters()]
    value = smooth(module(*leaves))
    value.backward(retain_graph=True)
    once = [_gradient(leaf) for leaf in wanted]
    value.backward()
    twice = [None if g is None else 2 * g for g in once]
    return differing([_gradient(leaf) for leaf in wanted], twice, 0.0, "gradient")


def checkpointed(subject: Subject) -> str | None:
    """Run again for the backward by torch.utils.checkpoint, whose hooks give out every saved tensor once."""
    module = subject.build()
    expected = run_on(module, subject.inputs)
    vars(module)["forward"] = partial(checkpoint, module.forward, use_reentrant=False)
    return differing_run(run_on(module, subject.inputs), expected, 0.0)


def two_ways(subject: Subject) -> str | None:
    """`.backward()`, which adds to what is in `.grad`, and `autograd.grad`, which leaves that alone."""
    module = subject.build()
    leaves = leaves_of(list(subject.inputs.values()))
    wanted = [*leaves, *module.parameters()]
    found = torch.autograd.grad(smooth(module(*leaves)), wanted, allow_unused=True)
    if any(leaf.grad is not None for leaf in wanted):
        return "autograd.grad writes into .grad"
    smooth(module(*leaves)).backward()
    reason = differing([leaf.grad for leaf in wanted], found, 0.0, "gradient")
    if reason is not None:
        return reason
    smooth(module(*leaves)).backward()
    return differing([leaf.grad for leaf in wanted], [None if g is None else g + g for g in found], 0.0, "sum")


def calls_apart(subject: Subject) -> str | None:
    """A call does not see those before it: two calls before both backward passes, then the first once more."""
    inputs = list(subject.inputs.values())
    other = [0.9 * x for x in inputs]
    expected = [_of_fresh(subject, given) for given in (inputs, other)]
    module = subject.build()
    leaves = [leaves_of(given) for given in (inputs, other)]
    outputs: list[Tensors] = [module(*given) for given in leaves]
    for given, values, wanted in list(zip(leaves, outputs, expected, strict=True))[::-1]:
        found = torch.autograd.grad(smooth(values), [*given, *module.parameters()], allow_unused=True)
        reason = differing((*values, *found), wanted, 0.0)
        if reason is not None:
            return reason
    return differing_run(run_on(module, subject.inputs), run_on(subject.build(), subject.inputs), 0.0)


def _of_fresh(subject: Subject, inputs: list[Tensor]) -> list[Tensor | None]:
    module, leaves = subject.build(), leaves_of(inputs)
    outputs: Tensors = module(*leaves)
    found = torch.autograd.grad(smooth(outputs), [*leaves, *module.parameters()], allow_unused=True)
    return [*outputs, *found]


def _gradient(leaf: Tensor) -> Tensor | None:
    return None if leaf.grad is None else leaf.grad.clone()

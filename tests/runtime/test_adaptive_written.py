"""Written-out fields with adaptive steps: in place where that serves, as a module where it does not."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from codegen.emission import emit
from codegen.verification.loaded import load_text
from derive import ODE, Adaptive, Network, Spec, UnsupportedError, constant, exp, matvec, parameter, sin, state, tanh
from derive import time as time_of

x, t = state("x", "d"), time_of("t")
W, b, c, V = parameter("W", ("m", "d")), parameter("b", "m"), parameter("c", "m"), parameter("V", ("d", "m"))
decay = constant("decay")
LAYER = ODE((x,), (matvec(V, tanh(matvec(W, x) + b + c * t)) - decay * x,), time=t)
q, p, k = state("q", ()), state("p", ()), parameter("k")
PENDULUM = ODE((q, p), (p, -k * sin(q) * exp(-t / 4)), time=t)


@cache
def emitted(which: str) -> Any:
    system = {"layer": LAYER, "pendulum": PENDULUM}[which]
    return load_text(emit(Spec(id=which, class_name="Own", title="Own", source="test", system=Adaptive(system)))).Own


def numbers(which: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    if which == "pendulum":
        return {"k": torch.tensor(1.3, dtype=torch.float64)}
    shapes = {"W": (5, 3), "b": (5,), "c": (5,), "V": (3, 5)}
    drawn = {name: torch.randn(*shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return {**drawn, "decay": 0.3}


def start(which: str, *batch: int) -> Tensor:
    size = 2 if which == "pendulum" else 3
    return torch.randn(*batch, size, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


def results(which: str, batch: tuple[int, ...], **options: Any) -> list[Tensor]:
    ends = [torch.tensor(end, dtype=torch.float64, requires_grad=True) for end in (0.3, 2.1)]
    module = emitted(which)(**numbers(which), t0=ends[0], t1=ends[1], **options)
    x0 = start(which, *batch).requires_grad_()
    assert module.form_of(x0, None, None).in_place
    times = torch.tensor([0.3, 0.4, 0.41, 1.9, 2.1], dtype=torch.float64, requires_grad=True)
    last, path = module(x0), module.trajectory(x0, times)
    moment, end = module.until(x0, lambda t, state: t - 1.0 + 1e-2 * state.sum())
    total = last.sin().sum() + (path * torch.arange(1.0, 6.0).view(-1, *[1] * x0.dim())).sin().sum()
    total = total + moment**2 + end.cos().sum()
    leaves = [x0, *ends, times, *module.parameters()]
    return [last.detach(), path.detach(), moment.detach(), *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("numbers_of_a_block", [1, 2**18])
@pytest.mark.parametrize("which", ["layer", "pendulum"])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_in_place_and_by_autograd_are_equal(
    which: str, batch: tuple[int, ...], numbers_of_a_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(emitted(which).forward.__globals__, "BLOCK_NUMBERS", numbers_of_a_block)
    found = results(which, batch)
    expected = results(which, batch, gradient="autograd")
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-11 * other.norm()


@pytest.mark.parametrize("options", [{"memory": "store"}, {"method": "bs32"}, {"method": "dop853"}])
def test_other_modes(options: dict[str, str]) -> None:
    found = results("layer", (4,), rtol=1e-9, atol=1e-11, **options)
    expected = results("layer", (4,), rtol=1e-9, atol=1e-11)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 2e-6 * other.norm()


def test_the_continuous_adjoint() -> None:
    gradients = []
    for adjoint in ("discrete", "continuous"):
        module = emitted("layer")(**numbers("layer"), rtol=1e-10, atol=1e-12, adjoint=adjoint)
        x0 = start("layer", 4).requires_grad_()
        gradients.append(torch.autograd.grad(module(x0).sin().sum(), [x0, *module.parameters()]))
    for one, other in zip(*gradients, strict=True):
        assert (one - other).norm() <= 1e-8 * other.norm()


def test_a_step_as_large_as_a_block() -> None:
    module = emitted("layer")(**numbers("layer"), rtol=1e-9, atol=1e-11)
    x0 = torch.randn(2000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    (found,) = torch.autograd.grad(module(x0).sin().sum(), x0)
    assert module.stats.accepted > 10 and module.stats.backward_evaluations == 6 * (module.stats.accepted - 2)
    (small,) = torch.autograd.grad(module(x0[:5]).sin().sum(), x0)
    assert torch.allclose(found[:5], small[:5], rtol=1e-6)


def test_many_blocks_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x0 = emitted("layer")(**numbers("layer"), rtol=1e-9, atol=1e-11), start("layer", 4).requires_grad_()
    (whole,) = torch.autograd.grad(module(x0).sin().sum(), x0)
    monkeypatch.setitem(emitted("layer").forward.__globals__, "BLOCK_NUMBERS", 2000)
    (found,) = torch.autograd.grad(module(x0).sin().sum(), x0)
    assert module.stats.accepted > 10 and module.stats.backward_evaluations == 6 * module.stats.accepted
    assert torch.allclose(found, whole, rtol=1e-13)


def test_float32_and_second_derivatives() -> None:
    values = {name: v.float() if isinstance(v, Tensor) else v for name, v in numbers("layer").items()}
    module, x0 = emitted("layer")(**values, rtol=1e-4, atol=1e-4), start("layer", 4).float().requires_grad_()
    y = module(x0)
    assert y.dtype == torch.float32
    (first,) = torch.autograd.grad(y.sum(), x0, create_graph=True)
    assert torch.autograd.grad(first.sum(), x0)[0].abs().sum() > 0


def test_vmap_and_empty_batches() -> None:
    module, x0 = emitted("pendulum")(**numbers("pendulum")), start("pendulum", 4, 2)
    assert torch.allclose(torch.vmap(module)(x0), module(x0), rtol=1e-12)
    assert module(x0[:0]).shape == (0, 2, 2)


def test_errors_name_what_is_allowed() -> None:
    layer, pendulum = emitted("layer"), emitted("pendulum")
    with pytest.raises(TypeError, match=r"x has dtype torch.float32, and V has torch.float64"):
        layer(**numbers("layer"))(start("layer", 2).float())
    with pytest.raises(ValueError, match=r"x0 has shape.*allowed: axis -1 of size 2, read size 3"):
        pendulum(**numbers("pendulum"))(start("layer", 2))
    with pytest.raises(ValueError, match=r"b has shape \(4,\); allowed: axis -1 of size 5"):
        layer(**{**numbers("layer"), "b": torch.ones(4, dtype=torch.float64)})
    with pytest.raises(TypeError, match="decay"):
        layer(**{**numbers("layer"), "decay": "a"})


def test_states_are_one_tensor_as_the_documentation_says() -> None:
    layer, pendulum = (emitted(which)(**numbers(which)) for which in ("layer", "pendulum"))
    known = "one tensor (..., 2) with q, p along the last axis"
    for given in ((torch.ones(3), torch.ones(3)), [1.0, 2.0]):
        for call in (pendulum, lambda x: pendulum.trajectory(x, [0.5]), lambda x: pendulum.until(x, lambda t, x: t)):
            with pytest.raises(TypeError, match=rf"x0 is a {type(given).__name__}; allowed: {re.escape(known)}"):
                call(given)
    assert pendulum.forward.__doc__ is not None and known[11:] in pendulum.forward.__doc__
    with pytest.raises(TypeError, match=r"x0 is a tuple; allowed: one tensor \(\.\.\., d\)"):
        layer((torch.ones(3),))


def test_what_the_field_holds_is_seen_from_the_module() -> None:
    layer, pendulum = (emitted(which)(**numbers(which)) for which in ("layer", "pendulum"))
    assert pendulum.k is pendulum.field.k and layer.W is layer.field.W and layer.decay == 0.3
    assert [name for name, _ in pendulum.named_parameters()] == ["field.k"]
    with pytest.raises(AttributeError, match="no setter"):
        pendulum.k = 2.0


def test_fields_that_have_no_class() -> None:
    u, f = state("u", "d"), Network("f")
    for ode in (ODE((x, u), (u, -x)), ODE((x,), (f(x) - x,))):
        with pytest.raises(UnsupportedError, match=r"allowed: one (vector, or scalars|network)"):
            emit(Spec(id="own", class_name="Own", title="Own", source="test", system=Adaptive(ode)))


def test_docstrings_say_how_the_state_is_laid_out() -> None:
    assert "shape (..., d)" in " ".join(emitted("layer").__doc__.split())
    assert "shape (..., 2), along the last axis q, p." in " ".join(emitted("pendulum").__doc__.split())

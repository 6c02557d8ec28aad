"""Small modules that each lack one property, and a right one."""

from __future__ import annotations

import sys

import torch
from torch import nn

from codegen.verification.case import Case
from codegen.verification.properties.subject import Subject


class Right(nn.Module):
    """tanh(W x + b)."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.W = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))
        self.b = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(x @ self.W.mT + self.b)


class Twice(torch.autograd.Function):
    """2 x, with every rule; mutants change one of them."""

    generate_vmap_rule = False
    slope, speed, mapped = 2.0, 2.0, 2.0

    @staticmethod
    def forward(x):
        return 2.0 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @classmethod
    def backward(cls, ctx, bar):
        return cls.slope * bar

    @classmethod
    def jvp(cls, ctx, dx):
        return cls.speed * dx

    @classmethod
    def vmap(cls, info, in_dims, x):
        return cls.mapped * x, in_dims[0]


def with_rule(**rules):
    function = type("Mutant", (Twice,), rules)

    class Module(Right):
        def forward(self, x):
            return super().forward(function.apply(x))

    return Module


class Spent(torch.autograd.Function):
    """The backward pass uses up what it was given."""

    @staticmethod
    def forward(ctx, x):
        ctx.left = [1.0, 0.9]
        return x.clone()

    @staticmethod
    def backward(ctx, bar):
        return ctx.left.pop(0) * bar


class Doubled(torch.autograd.Function):
    """Asks twice for what it saved."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, bar):
        return bar * (ctx.saved_tensors[0] + ctx.saved_tensors[0])


class Forgetful(torch.autograd.Function):
    """Its gradient of x is right only where W wants one too."""

    @staticmethod
    def forward(ctx, x, W):
        ctx.save_for_backward(x, W)
        return x @ W.mT

    @staticmethod
    def backward(ctx, bar):
        x, W = ctx.saved_tensors
        of_x = bar @ W if all(ctx.needs_input_grad) else None if not ctx.needs_input_grad[0] else 0.9 * bar @ W
        return of_x, (0.9 if not ctx.needs_input_grad[0] else 1.0) * bar.mT @ x


class Skewed(torch.autograd.Function):
    """The gradient of one component is off by a thousandth."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, bar):
        return bar * torch.tensor([1.0, 1.0, 1.001], dtype=bar.dtype)


class Once(torch.autograd.Function):
    """x^2 whose gradient is right and has none itself."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, bar):
        return 2 * ctx.saved_tensors[0].detach() * bar


class SkewedBackward(Right):
    def forward(self, x):
        return super().forward(Skewed.apply(x))


class NoSecond(Right):
    def forward(self, x):
        return super().forward(Once.apply(x))


class SeesBatch(Right):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class FirstSampleOnly(Right):
    def forward(self, x):
        return super().forward(x[:1].expand_as(x))


class NeedsBatch(Right):
    def forward(self, x):
        return super().forward(x.reshape(-1, 3)[: max(1, len(x))])


class NotEmpty(Right):
    def forward(self, x):
        return super().forward(x.reshape(len(x), -1))


class Single(Right):
    def forward(self, x):
        return super().forward(x).float()


class Double(Right):
    def forward(self, x):
        return super().forward(x).double()


class Coarse(Right):
    def forward(self, x):
        y = super().forward(x)
        return y if y.dtype == torch.float64 else y * 1.5


class SlightlyOff(Right):
    def forward(self, x):
        y = super().forward(x)
        return y if y.dtype == torch.float64 else y * 1.05


class Narrows(Right):
    def forward(self, x):
        y = super().forward(x)
        return y.bfloat16() if torch.is_autocast_enabled("cpu") else y


class Strided(Right):
    def forward(self, x):
        return super().forward(x.view(-1).view(x.shape))


class Counts(Right):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) * (1 + 1e-9 * self.calls)


class SharesItself(Right):
    def __deepcopy__(self, memo):
        return self


class NotPickled(Right):
    def __init__(self):
        super().__init__()
        self.function = lambda x: x


class OneDtype(Right):
    def forward(self, x):
        return torch.lerp(x, x @ self.W.mT, 0.5) + self.b


class UsesUp(Right):
    def forward(self, x):
        return super().forward(Spent.apply(x))


class UnpacksTwice(Right):
    def forward(self, x):
        return super().forward(Doubled.apply(x))


class ForgetsWeights(Right):
    def forward(self, x):
        return torch.tanh(Forgetful.apply(x, self.W) + self.b)


class WritesGradients(Right):
    def forward(self, x):
        self.b.grad = torch.zeros_like(self.b)
        return super().forward(x)


class Reads(Right):
    def forward(self, x):
        return super().forward(x) if float(x.detach().sum()) < 1e9 else x


class Sums(Right):
    """A sequence (T, B, 3) with its running sum as state."""

    stale = False

    def forward(self, x, state):
        sums = state + x.cumsum(0)
        return super().forward(sums), sums[-2:-1] if self.stale and len(x) > 1 else sums[-1:]


class Stale(Sums):
    stale = True


class Thresholds(Sums):
    """Nothing of it has a slope."""

    def forward(self, x, state):
        output, sums = super().forward(x, state)
        return (output > 0).to(x.dtype), sums.detach()


def subject(kind, small=False):
    generator = torch.Generator().manual_seed(5)
    right = Sums if issubclass(kind, Sums) else Right
    shapes = {"x": (4, 5, 3), "state": (1, 5, 3)} if issubclass(kind, Sums) else {"x": (1 if small else 5, 3)}
    inputs = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}

    def call(module, given):
        found = module(*given)
        return found if isinstance(found, tuple) else (found,)

    case = Case(
        label="", build=lambda tensors, memory, gradient: (right if gradient == "autograd" else kind)(),
        constructor={}, inputs=inputs, call=call, memory=("store",),
        reference=lambda: list(call(right(), list(inputs.values()))),
        axes=dict.fromkeys(inputs, int(issubclass(kind, Sums))), sequence=issubclass(kind, Sums),
    )  # fmt: skip
    return Subject("own", "", sys.modules[__name__], 0, case, "store", small)

"""tanh in place, faster than torch's on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor

TANH_IS_ONE = 20.0  # from here on tanh is 1 in double precision
LEAST_EXPM1 = 2**12  # elements from which on the exponential is the faster way to tanh
TWO = torch.tensor(2.0, device="cpu")  # added as a tensor, which takes half as long as with a number


def tanh_into(value: Tensor, out: Tensor) -> Tensor:
    """Write tanh(value) into `out`, which may be `value` itself.

    On CPUs as expm1(2 v) / (expm1(2 v) + 2), which loses no digits near 0 and takes half as long as torch.tanh there
    once its four operations cost less than they save. Half precision would be rounded four times.
    """
    if value.device.type != "cpu" or value.numel() < LEAST_EXPM1 or value.element_size() < 4:
        return torch.tanh(value, out=out)
    torch.clamp_max(value, TANH_IS_ONE, out=out)
    torch.add(out, out, out=out).expm1_()
    return out.div_(out + TWO)

"""What the statement on the layouts of torch says, asserted on torch."""

from __future__ import annotations

import pytest
import torch


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_layouts_of_outputs_and_states(batch_first, both):
    T, B, size, H, L, D = 5, 3, 2, 4, 2, 1 + both
    lstm = torch.nn.LSTM(size, H, L, batch_first=batch_first, bidirectional=both)
    o, (h, c) = lstm(torch.randn(B, T, size) if batch_first else torch.randn(T, B, size))
    assert o.shape == ((B, T, D * H) if batch_first else (T, B, D * H))
    assert h.shape == c.shape == (L * D, B, H)
    first, last = (o[:, 0], o[:, -1]) if batch_first else (o[0], o[-1])
    if both:
        assert torch.equal(last[:, :H], h[-2]) and torch.equal(first[:, H:], h[-1])
        assert not torch.allclose(last[:, H:], h[-1])
    else:
        assert torch.equal(last, h[-1])


def test_the_default_is_not_the_layout_of_the_deck():
    assert not torch.nn.LSTM(2, 4).batch_first
    with pytest.raises(RuntimeError, match="Expected hidden"):
        torch.nn.LSTM(2, 4)(torch.randn(3, 5, 2), (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)))

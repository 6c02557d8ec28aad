"""Rows of the verification table: what is said of shapes that differ and of checks that cannot run."""

from __future__ import annotations

import math

import torch

from codegen.verification.measures import row, worst_difference
from codegen.verification.report import table


def test_shapes_that_differ_are_named():
    found = worst_difference([torch.ones(3), torch.ones(())], [torch.ones(3), torch.ones(4)], ["y", "log_det"])
    assert found.value == math.inf
    assert (found.shown, found.detail) == ("shapes differ", "log_det: shape () found, shape (4,) expected")
    missing = worst_difference([None], [torch.ones(2)], ["w"])
    assert missing.detail == "w: nothing found, shape (2,) expected"


def test_equal_shapes_keep_the_number():
    found = worst_difference([torch.ones(3), None], [2 * torch.ones(3), None], ["y", "w"])
    assert (found.value, found.shown) == (0.5, "")


def test_the_reason_of_a_check_that_cannot_run_is_more_than_its_first_line():
    made = row("own", "value", 1e-12, lambda: torch.ops.aten.sigmoid_backward(1, torch.ones(2)))
    assert not made.passed and made.measured == "could not run"
    assert "Expected a value of type 'Tensor' for argument 'grad_output' but instead found type 'int'" in table([made])
    assert len(made.detail) < 400

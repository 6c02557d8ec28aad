"""Proof of an emitted module by numbers: every relation of its derivation, every derivative of the code."""

from __future__ import annotations

from codegen.verification.report import Row
from codegen.verification.verifier import verify

__all__ = ["Row", "verify"]

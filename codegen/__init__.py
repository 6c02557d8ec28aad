"""codegen: programs -> PyTorch text, and the proof that the text is right.

Names are resolved on first use: generating never imports torch.
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {"emit": "codegen.emission", "generate": "codegen.emission", "verify": "codegen.verification"}
__all__ = ["diagnostics", "emit", "generate", "verify"]


def __getattr__(name: str) -> Any:
    if name == "diagnostics":
        return importlib.import_module("codegen.diagnostics")
    if name not in _WHERE:
        raise AttributeError(f"module 'codegen' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)

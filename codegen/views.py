"""What the templates of all emitted files have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codegen.header import Header, header, literal
from codegen.inlining import support
from codegen.loss import loss_functions
from derive.derivation import Derivation
from derive.program import Program
from derive.systems import Spec

COMMON_IMPORTS = (
    "from typing import Any",
    "import torch",
    "from torch import Tensor, nn",
)



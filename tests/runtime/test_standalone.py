"""An emitted file works where there is nothing but torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

GENERATED = Path(__file__).parents[2] / "generated"
FILES = sorted(path.name for path in GENERATED.glob("*.py") if not path.name.startswith("_"))
NET = """
import sys
import torch
from lm_resnet import DERIVATION, LMResNet, loss

net = LMResNet([torch.nn.Linear(4, 4) for _ in range(5)], k=0.5, memory="invert")
x = torch.randn(3, 4, requires_grad=True)
loss(net(x), torch.tensor([0, 1, 2])).backward()
assert x.grad is not None and net.k.grad is not None and DERIVATION["id"] == "lm_resnet"
assert not {"codegen", "derive", "generated"} & set(sys.modules)
"""

EVERY_FILE = """
import importlib
import torch

known = set(sys.modules)
for name in {names}:
    module = importlib.import_module(name)
    assert module.Module.__name__ in vars(module), name
    found = {{each.partition(".")[0] for each in set(sys.modules) - known}}
    stray = found - set(sys.stdlib_module_names) - {{"torch", *{names}}}
    assert not stray, f"{{name}} imports {{sorted(stray)}}"
"""


def run(folder: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{text}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_copied_net_trains(tmp_path: Path) -> None:
    shutil.copy(GENERATED / "lm_resnet.py", tmp_path)
    run(tmp_path, NET)


def test_imports_are_torch_and_the_standard_library(tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(GENERATED / name, tmp_path)
    run(tmp_path, EVERY_FILE.format(names=[name.removesuffix(".py") for name in FILES]))

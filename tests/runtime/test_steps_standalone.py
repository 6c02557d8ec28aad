"""The runtime files, put one after the other without their imports of each other, are a file that works alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

RUNTIME = ("blocks", "steps", "sweep", "step_functions", "step_net", "cotangents")
USE = """
net = LMResNet(tanh_blocks(5, 4), k=0.5, memory="invert")
x = torch.randn(3, 4, requires_grad=True)
net(x).sum().backward()
assert x.grad is not None and net.k.grad is not None and "codegen" not in sys.modules
"""


def test_runtime_files_concatenate(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    sources = [root / "codegen" / "runtime" / f"{name}.py" for name in RUNTIME]
    text = "\n".join(path.read_text() for path in [*sources, Path(__file__).with_name("lm_resnet_by_hand.py")])
    text = re.sub(r"^from (codegen\.\S+|__future__) import .*\n", "", text, flags=re.MULTILINE)
    target = tmp_path / "alone.py"
    target.write_text("from __future__ import annotations\nimport sys\n" + text + USE)
    done = subprocess.run(
        [sys.executable, "-W", "error", target.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

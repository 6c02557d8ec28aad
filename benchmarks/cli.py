"""Wall times of whole processes of the command line, and what they import.

    python benchmarks/cli.py [--rounds 5]

All commands are run once before the timing (files in the page cache, bytecode compiled), then interleaved; the median
counts. A figure is met when the wall time is at most 1.1 times its target; processor time and load tell a slow command
from a busy machine.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLACK = 1.1
SPECS = ("lm_resnet", "lstm_peephole")


@dataclass(frozen=True)
class Command:
    """A command line, how long it may take, and the packages that it may not import."""

    name: str
    arguments: tuple[str, ...]
    target: float | None = None
    unwanted: tuple[str, ...] = ()


def commands(folder: Path) -> list[Command]:
    """What is timed; emitted files go to `folder`."""
    generate = [
        Command(f"derive generate {spec}", ("-m", "cli", "generate", spec, "-o", str(folder)), 1.0, ("torch",))
        for spec in SPECS
    ]
    return [
        Command("python -c pass", ("-c", "pass")),
        Command("python -c 'import sympy'", ("-c", "import sympy")),
        Command("derive --help", ("-m", "cli", "--help"), 0.2, ("sympy", "torch")),
        Command("derive list", ("-m", "cli", "list"), unwanted=("torch",)),
        *generate,
    ]


def run(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the root of the repository; a failure ends the benchmark with the message of the command."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"python {' '.join(arguments)}: exit status {done.returncode}\n{done.stderr}")
    return done


def imported(command: Command) -> list[str]:
    """Top-level packages that the process of a command imports, in order."""
    lines = run(("-X", "importtime", *command.arguments)).stderr.splitlines()
    names = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def cost(command: Command) -> tuple[float, float]:
    """Seconds from the start of the process to its end, and processor seconds of it and of what it starts."""
    before, start = os.times(), time.perf_counter()
    run(command.arguments)
    seconds, after = time.perf_counter() - start, os.times()
    return seconds, after.children_user - before.children_user + after.children_system - before.children_system


def digest(folder: Path, spec: str, seed: int) -> str:
    """Hash of the file that is emitted under one hash seed."""
    run(("-m", "cli", "generate", spec, "-o", str(folder)), PYTHONHASHSEED=str(seed))
    return hashlib.sha256((folder / f"{spec}.py").read_bytes()).hexdigest()


def judge(met: bool) -> str:
    return "met" if met else "MISSED"


def measure(timed: Sequence[Command], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and processor seconds of every command, interleaved."""
    costs: dict[str, list[tuple[float, float]]] = {command.name: [] for command in timed}
    for _ in range(rounds):
        for command in timed:
            costs[command.name].append(cost(command))
    return {
        name: (statistics.median(wall for wall, _ in found), statistics.median(cpu for _, cpu in found))
        for name, found in costs.items()
    }


def line(command: Command, costs: tuple[float, float], imports: Sequence[str]) -> str:
    """One row of the table."""
    wall, cpu = costs
    target = " " * 15
    if command.target is not None:
        target = f"{command.target:7.2f} {judge(wall <= SLACK * command.target):7}"
    absent = [f"{bad} {judge(bad not in imports)}" for bad in command.unwanted]
    return f"{command.name:32} {wall:6.2f} {cpu:9.2f} {target} {', '.join(absent)}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default 5)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed = commands(folder)
        found = {command.name: imported(command) for command in timed}  # the run that warms up, too
        costs = measure(timed, rounds)
        print(f"median of {rounds} interleaved runs of whole processes, in seconds; load {os.getloadavg()[0]:.1f}")
        print(f"{'command':32} {'wall':>6} {'processor':>9} {'target':>7} {'':7} not imported")
        for command in timed:
            print(line(command, costs[command.name], found[command.name]))
        for spec in SPECS:
            first, second = (digest(folder, spec, seed) for seed in (1, 2))
            print(f"{spec}: bytes under two hash seeds: {'the same' if first == second else 'DIFFERENT'}")


if __name__ == "__main__":
    main()

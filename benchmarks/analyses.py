"""Times of the analyses of schemes, each round in a fresh process so that nothing is remembered.

    python benchmarks/analyses.py [--rounds 5]

The tasks are interleaved, the median counts; a figure is met when it is at most 1.1 times its target. Importing is not
timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLACK = 1.1
PREPARE = """
import time
import derive
import derive.api
from derive.schemes import SCHEMES
{before}
start = time.perf_counter()
{what}
print(time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Task:
    """What is timed, and how many seconds it may take."""

    name: str
    what: str
    target: float
    before: str = ""


TASKS = (
    Task("every shipped scheme: order, errors, stability, shown", "for name in SCHEMES: str(derive.analyse(name))", 60),
    Task(
        "cash_karp: error terms to order 6",
        "found = derive.analyse('cash_karp'); [found.error_terms(q) for q in range(1, 7)]; found.principal_error_norm",
        1,
        "SCHEMES['cash_karp']",
    ),
    Task("dop853: order", "derive.analyse('dop853').order", 3, "SCHEMES['dop853']"),
    Task("rk4: modified equation to h^4", "derive.modified_equation('rk4', 4)", 3),
    Task("lm_resnet, symbolic k: modified equation to h^4", "derive.modified_equation('lm_resnet', 4)", 3),
)


def seconds(task: Task) -> float:
    """Of one run in a process of its own."""
    text = PREPARE.format(before=task.before, what=task.what)
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each task (default 5)")
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {task.name: [] for task in TASKS}
    for _ in range(rounds):
        for task in TASKS:
            found[task.name].append(seconds(task))
    print(f"median of {rounds} interleaved runs, in seconds; load {os.getloadavg()[0]:.1f}")
    for task in TASKS:
        median = statistics.median(found[task.name])
        print(f"{task.name:58} {median:8.3f} {task.target:6.0f} {'met' if median <= SLACK * task.target else 'MISSED'}")


if __name__ == "__main__":
    main()

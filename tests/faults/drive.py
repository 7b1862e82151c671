"""A drive that fails at the n-th operation, and programs that run on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KINDS = {"count": 0, "kill": 1, "full": 2, "broken": 3, "short": 4}
OPERATIONS = {"change": 0, "read": 1}


@dataclass(frozen=True)
class Outcome:
    """How a program ended: exit status, negative where a signal ended it; operations that were seen; what it said."""

    status: int
    seen: int
    said: str


class Runner:
    """A process that has imported everything and forks for each run, in which the drive fails as it is told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def run(
        self,
        program: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        kind: str = "count",
        n: int = 0,
        op: str = "change",
    ) -> Outcome:
        """Run a program of `worker.py`, with a fault at its n-th operation below `folder`."""
        asked = [program, list(arguments), str(folder), OPERATIONS[op], KINDS[kind], n]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return Outcome(*json.loads(self.process.stdout.readline()))


def compiled(folder: Path) -> Path:
    """The shim as a library; the test is skipped where there is no compiler or no Linux."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("faults are injected on Linux, with a C compiler")
    library = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


@contextmanager
def failing_drive(folder: Path) -> Iterator[Runner]:
    """Start the process that runs programs with faults; `folder` receives the shim."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(compiled(folder)),
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-W", "ignore", str(HERE / "worker.py")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
    )
    try:
        yield Runner(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()

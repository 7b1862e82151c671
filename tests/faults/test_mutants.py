"""Structured mutations of every format, read in a child with limits on memory and time: read or refused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from faults.mutants import FORMATS, safetensors
from fuzz.harness import CHILD

pytest.importorskip("resource")

SECONDS = 10
MEMORY = 3 * 2**30
MODEL_MEMORY = 16 * 2**30
"""Address space: torch alone takes more than 3 GiB of it, next to none of it real."""

HUNG = f"WRONG the process ended with {-signal.SIGALRM}"


class Reader:
    """A process that reads files one by one; another one where it died."""

    def __init__(self, memory: int = MEMORY) -> None:
        self.memory, self.counts = memory, Counter[str]()
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", str(CHILD), str(SECONDS), str(self.memory)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def read(self, path: Path) -> str:
        """What reading a file comes to: ``read``, ``refused``, or what went wrong."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        answer = ""
        while not answer.startswith(("read", "refused", "WRONG")):
            answer = self.process.stdout.readline()  # a child that hangs is ended by its own alarm
            if not answer:
                answer = f"WRONG the process ended with {self.process.wait()}"
        self.counts[answer.split()[0]] += 1
        if answer.startswith("WRONG") and self.process.poll() is not None:
            self.stop()
            self.start()
        return answer.strip()

    def stop(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def reader(memory: int = MEMORY) -> Iterator[Reader]:
    started = Reader(memory)
    try:
        yield started
    finally:
        started.stop()


def campaign(make: Callable[..., Path], n: int, start: int, *, memory: int = MEMORY) -> Counter[str]:
    """Read `n` mutants; what they came to. Fails at the first one that came to neither of the two."""
    with reader(memory) as child, tempfile.TemporaryDirectory() as home:

        @seed(start)
        @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def each(data: st.DataObject) -> None:
            folder = Path(home, "mutant")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            path = make(folder, data.draw)
            answer = child.read(path)
            if answer == HUNG:  # a machine that was busy elsewhere is not a file that hangs: that one does so again
                answer = child.read(path)
            assert answer in ("read", "refused"), answer

        each()
        return child.counts


@pytest.mark.parametrize("name", FORMATS)
def test_mutants_are_read_or_refused(name: str) -> None:
    counts = campaign(FORMATS[name], 20, 1)
    assert counts["refused"] > 0
    assert sum(counts.values()) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_mutants_are_read_or_refused(name: str) -> None:
    assert sum(campaign(FORMATS[name], 20_000, 2).values()) >= 20_000


@pytest.mark.slow
def test_many_mutants_of_a_model_are_read_or_refused(model: Path) -> None:
    assert sum(campaign(safetensors(model.read_bytes()), 20_000, 3, memory=MODEL_MEMORY).values()) >= 20_000


def test_mutants_of_a_model_are_read_or_refused(model: Path) -> None:
    counts = campaign(safetensors(model.read_bytes()), 20, 1, memory=MODEL_MEMORY)
    assert counts["refused"] > 5

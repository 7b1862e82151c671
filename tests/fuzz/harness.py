"""Damaged copies of files, and what reading them comes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fuzz.samples import Sample

CHILD = Path(__file__).parent / "read_many.py"
SECONDS = 90
"""Far more than any sample takes, also where a probe of `cyclestrain.io.soundness` runs into its own limit."""
MEMORY = 3 * 2**30
"""Address space: Python with HDF5, Zarr and RosettaSciIO takes about 1 GiB of it, far less of it real."""


@dataclass
class Verdict:
    """How many damaged files were read or refused, and every one that came to neither."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One damaged version of `content`: cut, flipped, overwritten, shifted or holed, mostly near the beginning."""
    data, size = bytearray(content), len(content)
    near = int(min(size, rng.choice([64, 512, 4096, size]))) or 1
    at = int(rng.integers(near))
    kind = rng.choice(["cut", "flip", "number", "number", "hole", "insert", "delete"])
    if kind == "cut":
        return bytes(data[: int(size * rng.random())])
    if kind == "flip":
        for bit in rng.integers(8 * near, size=int(rng.integers(1, 9))):
            data[bit // 8] ^= 1 << (bit % 8)
    elif kind == "number":
        width = int(rng.choice([1, 2, 4, 8]))
        value = [b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f" * 2, b"\x00\x00\x00\x80" * 2, rng.bytes(8), b"9" * 8]
        data[at : at + width] = value[int(rng.integers(6))][:width]
    elif kind == "hole":
        data[at : at + 256] = bytes(min(256, size - at))
    elif kind == "insert":
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    else:
        del data[at : at + int(rng.integers(1, 64))]
    return bytes(data)


def variants(sample: Path, target: str, folder: Path, n: int, seed: int) -> Iterator[Path]:
    """Copies of the file or folder `sample`, in each of which its member `target` is damaged; the path to be read."""
    rng = np.random.default_rng(seed)
    for index in range(n):
        home = folder / str(index)
        shutil.copytree(sample, home)
        victim = home / target
        victim.chmod(0o644)
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        yield home


def inputs(sample: Sample, folder: Path, n: int, seed: int) -> list[Path]:
    """Paths to read: the intact sample first, then damaged ones."""
    intact = folder / "intact"
    intact.mkdir(parents=True)
    sample.make(intact)
    homes = variants(intact, sample.damaged, folder / "damaged", n, seed)
    return [intact / sample.opened, *(home / sample.opened for home in homes)]


def try_all(paths: Sequence[Path], seconds: int = SECONDS, memory: int = MEMORY) -> Verdict:
    """Read every path in child processes; one that dies is replaced and the file that killed it is noted."""
    verdict, todo = Verdict(), [str(path) for path in paths]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    while todo:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(CHILD), str(seconds), str(memory)],
            input="\n".join(todo) + "\n",
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        answered = 0
        answers = [
            line for line in done.stdout.splitlines() if line.startswith(("START ", "read", "refused", "WRONG "))
        ]
        for line in answers:
            if line.startswith("START "):
                continue
            if line.startswith("WRONG"):
                verdict.wrong.append(f"{todo[answered]}: {line}")
            verdict.counts[line.split()[0]] += 1
            answered += 1
        if answered < len(todo):
            killer = todo[answered]
            verdict.wrong.append(f"{killer}: the process ended with {done.returncode} {done.stderr[-300:]!r}")
            verdict.counts["killed"] += 1
            answered += 1
        todo = todo[answered:]
    return verdict

"""What reading and mapping a scan costs that is stored as events; printed by `python benchmarks/large.py --sparse`.

The same counts are written as dense HDF5 (16 bits), as stempy writes electron counts and as LiberTEM's `raw_csr`.
Times are processor time; files are in the system's cache. The results of `map` are compared bit by bit.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from large import differences, finished, machine, program, watched
from large_costs import SIDE, mapped
from measuring import markdown

from cyclestrain.io import read

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from event_files import write_counted, write_raw_csr

CASES = ((256, 100), (256, 300), (256, 1000), (512, 2000))
"""Side of the detector, pixels, and electrons per pattern."""
MAPPED = (256, 1000)
"""The case that is mapped as well."""


def written(work: Path, detector: int, electrons: int) -> dict[str, Path]:
    """The scan of one case in every layout, written unless it is there."""
    folder = work / f"sparse-{detector}-{electrons}"
    folder.mkdir(exist_ok=True)
    paths = {"dense": folder / "dense.h5", "stempy": folder / "counted.h5", "raw_csr": folder / "s.toml"}
    if not paths["dense"].exists():
        size = ("--scan", SIDE, SIDE, "--detector", detector, detector, "--counts", electrons, "--seed", 301)
        command = program("simulate", "polycrystal", *map(str, size), "-o", paths["dense"])
        finished(watched(command, folder / "made.log"))
        with h5py.File(paths["dense"]) as file:
            counts = file["data"][...].astype(np.uint16)
        write_counted(paths["stempy"], counts)
        write_raw_csr(folder, counts)
    return paths


def seconds_to_read(path: Path) -> float:
    """Processor seconds per pattern of reading all blocks, of the second of two passes."""
    scan = read(path)
    for _ in range(2):
        start = time.process_time()
        n = sum(len(block.positions) for block in scan.blocks())
    return (time.process_time() - start) / n


def size(path: Path) -> int:
    """Bytes of a file, with those that belong to it."""
    return sum(file.stat().st_size for file in (path.parent.glob("*.raw") if path.suffix == ".toml" else [path]))


def rows(work: Path) -> Iterator[list[str]]:
    """Rows of the table."""
    for detector, electrons in CASES:
        paths = written(work, detector, electrons)
        some = read(paths["dense"]).row_band(0, 4)
        filled = np.count_nonzero(some) / some.size
        for name, path in paths.items():
            map_time = same = ""
            if (detector, electrons) == MAPPED:
                if name == "dense":
                    mapped(path)  # the first run of a kind may compile
                run = mapped(path)
                map_time = f"{run.processor_seconds:.1f} s"
                unequal = differences(paths["dense"].with_suffix(".nc"), path.with_suffix(".nc"))
                same = "the same" if not unequal else ", ".join(unequal)
            yield [
                f"{detector}x{detector}", f"{filled:.2%}", name, f"{size(path) / 1e6:.1f} MB",
                f"{1e6 * seconds_to_read(path):.0f} us", map_time, same,
            ]  # fmt: skip


def report(work: Path) -> None:
    """Print the table."""
    print(f"## Scans stored as events, {SIDE}x{SIDE} positions\n\nMachine: {machine()}.\n")
    head = ["detector", "pixels hit", "stored", "size", "reading a pattern", "map", "all arrays"]
    print(markdown(head, list(rows(work))), flush=True)

"""How fast, and how truly, a live map follows a detector: LiberTEM-live's simulated Merlin on this machine.

    python benchmarks/live.py [--seconds 60] [--rate 2000] [--side 32] [--pixels 128]

A simulated scan is sent again and again at the given rate by another process, on 127.0.0.1 alone; what is printed is
the rate that was reached, the largest lag (age of the oldest pattern that came and is not in the map), the patterns
that were lost or changed, the processor time that a pattern takes, and whether the map of the scan sent once is the
one that `cyclestrain map` makes of the file, bit by bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import cyclestrain as cs
from cyclestrain.simulation import PHANTOMS

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from simulators import merlin, write_merlin
from untrained import untrained_model

POLYCRYSTAL: dict[str, Any] = {"spacing": 16.0, "radius": 3.0, "grain_size": 50.0}


def send(path: Path, scan: tuple[int, int], dwell_us: int, pipe: Any) -> None:
    """Be a detector that sends a file again and again, until something is said."""
    with merlin(path, scan, dwell_us, continuous=True) as address:
        pipe.send(address)
        pipe.recv()


@contextmanager
def detector(path: Path, scan: tuple[int, int], rate: float) -> Any:
    """A detector in a process of its own: its address, and that process."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=send, args=(path, scan, round(1e6 / rate), there), daemon=True)
    process.start()
    if not here.poll(120):
        raise SystemExit("the simulated detector did not start")
    try:
        yield here.recv(), process
    finally:
        here.send("stop")
        process.join(20)
        process.kill()


def processor_time(but: int) -> float:
    """Seconds that this process and its children have used, the detector left out."""
    ended = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    used = sum(each.ru_utime + each.ru_stime for each in ended)
    for each in psutil.Process().children(recursive=True):
        try:
            if each.pid != but:
                used += sum(each.cpu_times()[:2])
        except psutil.NoSuchProcess:
            pass
    return used


class Watched(cs.RichProgress):
    """Reports, and notes the processor time when the scan starts: the workers are gone when it has ended."""

    def __init__(self, detector: int) -> None:
        super().__init__()
        self.detector, self.before = detector, 0.0

    def note(self, text: str) -> None:  # noqa: D102
        super().note(text)
        if "has started" in text:
            self.before = processor_time(self.detector)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the scan")
    parser.add_argument("--rate", type=float, default=2000.0, help="patterns per second")
    parser.add_argument("--side", type=int, default=32, help="positions along each side of the scan that is sent again")
    parser.add_argument("--pixels", type=int, default=128, help="pixels along each side of a pattern")
    options = parser.parse_args()
    n, shape = options.side, (options.side, options.side)
    common = POLYCRYSTAL | {"detector": (options.pixels, options.pixels)}
    runs = max(1, round(options.seconds * options.rate / n**2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, file, kept = folder / "model.safetensors", folder / "scan.mib", folder / "kept.npy"
        untrained_model(PHANTOMS["polycrystal"](scan=(12, 12), background=0.2, seed=3, **common).scan, model)
        patterns = np.asarray(PHANTOMS["polycrystal"](scan=shape, background=0.3, seed=5, **common).scan.source)
        write_merlin(file, patterns)
        with detector(file, shape, options.rate) as (address, _):
            maps = cs.live(model=model, merlin=address, scan_shape=shape, progress=False)
        offline = cs.map(file, model=model)
        equal = all(np.array_equal(maps[name], offline[name], equal_nan=True) for name in offline)
        with detector(file, shape, options.rate) as (address, process):
            progress = Watched(process.pid)
            whole = (n * runs, n)
            start = time.monotonic()
            found = cs.live(
                model=model, merlin=address, scan_shape=whole, keep=kept, preview=True, progress=progress,
                every=1e6 if options.seconds < 20 else 10.0,
            )  # fmt: skip
            wall = time.monotonic() - start
            used = processor_time(process.pid) - progress.before
        record = np.load(kept, mmap_mode="r").reshape(runs, *patterns.shape)
        lost = sum(int((record[run] != patterns).any((2, 3)).sum()) for run in range(runs))
        total = runs * n**2
        print(f"{total} patterns of {options.pixels} x {options.pixels} pixels, {wall:.0f} s from start to end")
        print(f"rate reached            {found.attrs['live_rate']:8.0f} per s, of {options.rate:g}")
        print(f"largest lag             {found.attrs['live_largest_lag']:8.2f} s")
        print(f"lost or changed         {lost:8d}")
        print(f"in the map              {found.attrs['live_positions']:8d}, valid {int(found['valid'].sum())}")
        print(f"processor time          {1e3 * used / total:8.2f} ms per pattern")
        print(f"sent once: the same map as of the file, bit by bit: {'yes' if equal else 'NO'}")


if __name__ == "__main__":
    main()

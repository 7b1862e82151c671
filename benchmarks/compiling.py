"""What a new installation compiles: seconds of every loop of a first map, with an empty cache of numba.

Usage: ``python benchmarks/compiling.py [SCAN]``; by default a small simulated polycrystal is mapped.

*Own* is without what a loop calls: parts are compiled first, and again inside every loop that they are copied into.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numba.core.event

SHOWN = 30
"""Loops that are shown, those that take longest."""


class Clock(numba.core.event.Listener):  # type: ignore[misc]
    """Adds up how long every compiled function takes, and how often it is compiled."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.forms: Counter[str] = Counter()
        self._open = threading.local()

    def on_start(self, event: Any) -> None:
        """Note when a function begins to be compiled."""
        self._stack().append([time.perf_counter(), 0.0])

    def on_end(self, event: Any) -> None:
        """Add what it took, without what was compiled for it meanwhile."""
        start, inner = self._stack().pop()
        took = time.perf_counter() - start
        function = event.data["dispatcher"].py_func
        name = f"{function.__module__}.{function.__name__}"
        self.own[name] += took - inner
        self.forms[name] += 1
        if self._stack():
            self._stack()[-1][1] += took

    def _stack(self) -> list[list[float]]:
        if not hasattr(self._open, "stack"):
            self._open.stack = []
        stack: list[list[float]] = self._open.stack
        return stack


def measure(path: Path | None) -> None:
    """Map a scan in this process, and print what was compiled."""
    clock = Clock()
    numba.core.event.register("numba:compile", clock)
    import cyclestrain as cs

    scan = path or cs.simulate("polycrystal", scan=(24, 24), detector=(128, 128), radius=3.0, seed=1).scan
    start = time.perf_counter()
    cs.map(scan)
    print(f"first map: {time.perf_counter() - start:.0f} s, of which compiling {clock.own.total():.0f} s\n")
    print(f"{'own, s':>8} {'forms':>6}  loop")
    for name, seconds in clock.own.most_common(SHOWN):
        print(f"{seconds:8.2f} {clock.forms[name]:6d}  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        measure(given.scan)
        return
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--here", *([str(given.scan)] if given.scan else [])]
        subprocess.run(command, env=os.environ | {"NUMBA_CACHE_DIR": cache}, check=True)


if __name__ == "__main__":
    main()

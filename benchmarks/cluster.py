"""A cluster of this machine beside one process, and from what is measured here a plan to 10^7 positions on 100 nodes.

``python benchmarks/cluster.py [--scan 32] [--workers 2]`` maps a simulated scan both ways, compares the bits, the time
of both passes and the processor time, then simulates a large cluster as a queue: a scheduler that needs some time for
each task, workers that read and fit, and a client that gathers. Every number of the plan is measured here or given.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

import cyclestrain as cs
from cyclestrain import pipeline
from cyclestrain.cluster import Cluster, connected
from cyclestrain.progress import SilentProgress

second: Any = sys.modules["cyclestrain.estimation.second_pass"]


class Stages(SilentProgress):
    """Progress that keeps the seconds of every stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stages]:
        """Time a stage."""
        start = time.perf_counter()
        yield self
        self.seconds[name] = time.perf_counter() - start

    @property
    def passes(self) -> float:
        """Seconds of both passes."""
        return sum(self.seconds[name] for name in ("fit patterns", "refit from neighbours"))


def processor() -> float:
    """Seconds of processor time of this process and of those that it started and that live."""
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True)))


def timed(scan: Path, **options: Any) -> tuple[xr.Dataset, Stages, float]:
    stages, before = Stages(), processor()
    maps = cs.map(scan, progress=stages, **options)
    return maps, stages, processor() - before


@dataclass(frozen=True)
class Plan:
    """Numbers from which a large run is simulated; times in seconds, sizes in bytes."""

    positions: float
    nodes: int
    cores: int
    pattern: int
    fit: float
    """Seconds of one core for one position, both passes."""
    context: float
    """Seconds of the client for one position: what is done between the passes and after them."""
    task: float
    """Seconds of scheduler and client for one task."""
    up: float
    down: float
    """Bytes for one position, to the workers and back."""
    shared: float
    """Bytes for one position of what is sent to every worker."""
    block: int
    """Bytes of the patterns of one task."""
    drive: float = 20e9
    """Bytes that the file system reads in a second."""

    def simulated(self) -> dict[str, float]:
        """Both passes as a queue of tasks; every node reads one block while it works on another."""
        block = max(1, self.block // self.pattern)
        n_tasks = int(np.ceil(self.positions / block))
        work = block * self.fit / 2 / self.cores  # half of it in each pass
        read = block * self.pattern * self.nodes / self.drive
        free, sent = np.zeros(self.nodes), 0.0
        for _ in range(2 * n_tasks):  # two passes; the scheduler serves one task after the other
            first = int(free.argmin())
            sent = sent + self.task
            free[first] = max(free[first], sent) + max(work, read)
        ideal = 2 * n_tasks * work / self.nodes
        serial = self.positions * self.context
        return {
            "tasks": 2 * n_tasks,
            "passes": float(free.max()),
            "ideal": ideal,
            "client alone": serial,
            "scheduler busy": 2 * n_tasks * self.task / float(free.max()),
            "patterns read": 2 * self.positions * self.pattern,
            "to workers": self.positions * (self.up + self.shared * self.nodes),
            "back": self.positions * self.down,
            "largest task": block * (2 * self.pattern + self.up + self.down) + self.positions * self.shared,
            "client memory": self.positions * 3 * self.down,  # fits of both passes, parts and fields
        }


class Meter:
    """Adds up what passes through some functions."""

    def __init__(self) -> None:
        self.total: dict[str, float] = {"client": 0.0, "up": 0.0, "down": 0.0, "shared": 0.0}

    def timed(self, module: Any, name: str) -> None:
        """Count the seconds of a function of a module."""
        plain = getattr(module, name)

        def measured(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return plain(*arguments, **options)
            finally:
                self.total["client"] += time.perf_counter() - start

        setattr(module, name, measured)

    def sized(self, name: str, kind: str) -> None:
        """Count the bytes of the first argument of a method of `Cluster`, or of what it returns."""
        plain = getattr(Cluster, name)

        def measured(cluster: Cluster, value: Any, *rest: Any) -> Any:
            out = plain(cluster, value, *rest)
            self.total[kind] += len(pickle.dumps(out if kind == "down" else value))
            return out

        setattr(Cluster, name, measured)


def report(plan: Plan) -> None:
    """Print the plan for more and more nodes."""
    print(f"\nplan: {plan}")
    print("nodes  passes, s  ideal, s  client alone, s  scheduler busy")
    for nodes in (1, 3, 10, 30, 100, 300, 1000):
        out = replace(plan, nodes=nodes).simulated()
        print(
            f"{nodes:5d}  {out['passes']:9.0f}  {out['ideal']:8.0f}  {out['client alone']:15.0f}  "
            f"{100 * out['scheduler busy']:12.2f} %"
        )
    out = plan.simulated()
    print(f"on {plan.nodes} nodes: {out['tasks']:.0f} tasks; GB:", end=" ")
    names = ("patterns read", "to workers", "back", "largest task", "client memory")
    print(", ".join(f"{name} {out[name] / 1e9:.3g}" for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=int, default=32)
    parser.add_argument("--detector", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--cores", type=int, default=32)
    given = parser.parse_args()
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        scan = Path(folder) / "scan.h5"
        size, detector = (given.scan, given.scan), (given.detector, given.detector)
        cs.simulate("polycrystal", scan, scan=size, detector=detector, radius=3.0, grain_size=100.0, background=0.4)
        with connected(f"local:{given.workers}") as client:
            block = cs.read(scan).block_bytes
            cs.map(scan, scan_roi="0:8,0:8")  # compiled loops are loaded
            cs.map(scan, scan_roi="0:8,0:8", client=client)
            one, here, cpu_here = timed(scan)
            for name, kind in (("_submitted", "up"), ("_result", "down")):
                meter.sized(name, kind)
            for module, name in ((pipeline, "smooth"), (pipeline, "finish"), (second, "find_sides")):
                meter.timed(module, name)
            two, there, cpu_there = timed(scan, client=client)
            start = time.perf_counter()
            client.gather(client.map(lambda n: n, range(500), pure=False))
            task = (time.perf_counter() - start) / 500
    xr.testing.assert_equal(one, two)
    n = given.scan**2
    print(f"same bits; {given.scan} x {given.scan} positions, {given.detector} x {given.detector} pixels")
    print(f"passes, s: {here.passes:.2f} in one process, {there.passes:.2f} with local:{given.workers}")
    print(f"processor time of the run, s: {cpu_here:.2f} in one process, {cpu_there:.2f} with local:{given.workers}")
    print({name: round(value, 2) for name, value in there.seconds.items()}, meter.total)
    fit, context = here.passes * psutil.cpu_count() / n, meter.total["client"] / n
    up, down = meter.total["up"] / n, meter.total["down"] / n
    report(Plan(1e7, given.nodes, given.cores, 2 * 256**2, fit, context, task, up, down, shared=16.0, block=block))


if __name__ == "__main__":
    main()

"""A cluster of this machine beside one process, and from what is measured here a plan to 10^7 positions on 100 nodes.

``python benchmarks/cluster.py [--scan 32] [--workers 2]`` maps a simulated scan both ways, compares the bits, the time
of both passes and the processor time, then simulates a large cluster as a queue: a scheduler that needs some time for
each task, workers that read and fit, and a client that gathers. Every number of the plan is measured here or given.
``--growth 128 256 512`` smooths larger and larger fields instead.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
from collections import defaultdict
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
from cyclestrain.affine import rotation
from cyclestrain.cluster import Cluster, connected
from cyclestrain.cluster.runner import SIDE
from cyclestrain.context import adaptive, smooth
from cyclestrain.data import AffineField, InTurn
from cyclestrain.progress import SilentProgress

CONTEXT = 2850.0
"""Bytes of the client for one position while context is found."""
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
    alone: float
    """Seconds of the client for one position: what it does alone between the passes and after them."""
    tiles: float
    """Seconds of one core for one position: what is done in tiles then."""
    tile_bytes: float
    """Bytes for one position that tiles take and give, both ways."""
    task: float
    """Seconds of scheduler and client for one task."""
    up: float
    down: float
    """Bytes for one position, to the workers and back."""
    block: int
    """Bytes of the patterns of one task."""
    drive: float = 20e9
    """Bytes that the file system reads in a second."""
    link: float = 1e9
    """Bytes that the client sends or receives in a second, through the scheduler."""
    halo: float = (1 + 2 * adaptive._halo(adaptive.RADII_SQUARED) / SIDE) ** 2
    """Positions of a tile with the halo of smoothing, over those without."""

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
        tiled = self.tiles / (self.nodes * self.cores), self.tile_bytes / self.link
        return {
            "tasks": 2 * n_tasks,
            "passes": float(free.max()),
            "ideal": ideal,
            "tiles": self.positions * self.halo * max(tiled),
            "client alone": self.positions * self.alone,
            "scheduler busy": 2 * n_tasks * self.task / float(free.max()),
            "patterns read": 2 * self.positions * self.pattern,
            "to workers": self.positions * self.up,
            "back": self.positions * self.down,
            "tiles both ways": self.positions * self.halo * self.tile_bytes,
            "largest task": block * (2 * self.pattern + self.up + self.down),
            "client memory": self.positions * (3 * self.down + CONTEXT),  # fits of both passes, parts and fields
        }


class Meter:
    """Adds up what passes through some functions."""

    def __init__(self) -> None:
        kinds = ("fit", "client", "tiles", "tile bytes", "up", "down")
        self.total: dict[str, float] = dict.fromkeys(kinds, 0.0)
        self.seconds: dict[str, float] = defaultdict(float)  # by the names of functions
        self._within = 0.0  # what is counted already

    def timed(self, module: Any, name: str, kind: str) -> None:
        """Count the processor time of a function of a module, without what is counted within it."""
        plain = getattr(module, name)

        def measured(*arguments: Any, **options: Any) -> Any:
            start, outside, self._within = time.process_time(), self._within, 0.0
            try:
                return plain(*arguments, **options)
            finally:
                spent = time.process_time() - start
                self.total[kind] += spent - self._within
                self.seconds[name] += spent - self._within
                self._within = outside + spent

        setattr(module, name, measured)

    def tiled(self) -> None:
        """Count processor time and bytes of what is done in tiles in this process."""

        def over(_: InTurn, parts: Any, work: Any, given: Any) -> Iterator[Any]:
            for part in parts:
                taken = given(part)
                start = time.process_time()
                found = work(taken)
                spent = time.process_time() - start
                self.total["tiles"] += spent
                self.seconds[f"tiles: {work.__name__}"] += spent
                self.total["tile bytes"] += len(pickle.dumps(taken)) + len(pickle.dumps(found))
                self._within += time.process_time() - start
                yield part, found

        InTurn.over = over  # type: ignore[assignment]

    def sized(self, name: str, kind: str) -> None:
        """Count the bytes of the task that a method of `Cluster` sends, or of what another returns."""
        plain = getattr(Cluster, name)

        def measured(cluster: Cluster, *given: Any) -> Any:
            out = plain(cluster, *given)
            self.total[kind] += len(pickle.dumps(out if kind == "down" else given[1]))
            return out

        setattr(Cluster, name, measured)


def growth(sides: list[int]) -> None:
    """Print the processor time of smoothing for a position of larger and larger fields, whole and in tiles."""
    for side in (sides[0], *sides):
        rng = np.random.default_rng(0)
        turns = 0.02 * np.kron(rng.standard_normal((side // 32, side // 32)), np.ones((32, 32)))
        affine = rotation(turns + 1e-3 * rng.standard_normal(turns.shape)) + 1e-3 * rng.standard_normal((2, 2))
        covariance, all_of_it = np.tile(1e-6 * np.eye(4), (*turns.shape, 1, 1)), np.ones(turns.shape, bool)
        field = AffineField(affine, covariance, np.zeros(turns.shape, int), all_of_it, (np.eye(2)[None],))
        spent = []
        for spread in (InTurn(), InTurn(SIDE)):
            start = time.process_time()
            smooth(field, spread)
            spent.append(1e6 * (time.process_time() - start) / turns.size)
        print(f"{side:5d} x {side}: {spent[0]:.0f} us a position, {spent[1]:.0f} in tiles of {SIDE}")


def report(plan: Plan) -> None:
    """Print the plan for more and more nodes."""
    print(f"\nplan: {plan}")
    print("nodes  passes, s  ideal, s  tiles, s  client alone, s  scheduler busy")
    for nodes in (1, 3, 10, 30, 100, 300, 1000):
        out = replace(plan, nodes=nodes).simulated()
        print(
            f"{nodes:5d}  {out['passes']:9.0f}  {out['ideal']:8.0f}  {out['tiles']:8.0f}  {out['client alone']:15.0f}  "
            f"{100 * out['scheduler busy']:12.2f} %"
        )
    out = plan.simulated()
    print(f"on {plan.nodes} nodes: {out['tasks']:.0f} tasks; GB:", end=" ")
    names = ("patterns read", "to workers", "back", "tiles both ways", "largest task", "client memory")
    print(", ".join(f"{name} {out[name] / 1e9:.3g}" for name in names))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=int, default=32)
    parser.add_argument("--detector", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--cores", type=int, default=32)
    parser.add_argument("--growth", type=int, nargs="*", help="smooth fields of these sides instead, multiples of 32")
    given = parser.parse_args()
    if given.growth:
        growth(given.growth)
        return
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
            two, there, cpu_there = timed(scan, client=client)
            start = time.perf_counter()
            client.gather(client.map(lambda n: n, range(500), pure=False))
            task = (time.perf_counter() - start) / 500
        for name in ("to_fields", "smooth", "with_unsettled", "with_doubts", "finish"):
            meter.timed(pipeline, name, "client")
        for name in ("find_sides", "find_starts"):
            meter.timed(second, name, "client")
        for name in ("first_pass", "second_pass"):
            meter.timed(pipeline, name, "fit")
        meter.tiled()
        cs.map(scan)
    xr.testing.assert_equal(one, two)
    n = given.scan**2
    print(f"same bits; {given.scan} x {given.scan} positions, {given.detector} x {given.detector} pixels")
    print(f"passes, s: {here.passes:.2f} in one process, {there.passes:.2f} with local:{given.workers}")
    print(f"processor time of the run, s: {cpu_here:.2f} in one process, {cpu_there:.2f} with local:{given.workers}")
    print({name: round(value, 2) for name, value in there.seconds.items()}, meter.total)
    print("us a position:", {name: round(1e6 * value / n, 1) for name, value in meter.seconds.items()})
    each = {name: value / n for name, value in meter.total.items()}
    measured = each["fit"], each["client"], each["tiles"], each["tile bytes"], task, each["up"], each["down"]
    report(Plan(1e7, given.nodes, given.cores, 2 * given.detector**2, *measured, block))


if __name__ == "__main__":
    main()

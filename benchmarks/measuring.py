"""What all benchmarks share: a simulated scan with a grain as reference, and the time of every stage of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import cyclestrain as cs
from cyclestrain.evaluation.bound import bound_of_pattern
from cyclestrain.progress import SilentProgress, Task
from cyclestrain.simulation import load_truth

ROUND = (1.0, 0.0)
"""Ellipse of the simulated detectors, as one knows it who has calibrated a camera.

Where it is not given, what a scan does not tell of it is in sigma: with grains that are strained by 1 to 2 % that is
more than all noise.
"""


@dataclass
class StageClock:
    """A `Progress` that remembers how long every stage took and what was said.

    Attributes
    ----------
    seconds
        Duration of each stage by name.
    notes
        Every automatic choice, in order.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Task]:
        """Time a stage; one that runs several times adds up."""
        start = time.perf_counter()
        yield SilentProgress()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def note(self, text: str) -> None:
        """Remember a choice."""
        self.notes.append(text)


@dataclass(frozen=True)
class SimulatedFile:
    """A simulated scan on disk.

    Attributes
    ----------
    scan
        HDF5 file: patterns at ``/data``, truth in ``/truth``.
    reference
        Mask of the reference region, a ``.npy`` file.
    truth
        The truth, dims ``(ry, rx)``.
    """

    scan: Path
    reference: Path
    truth: xr.Dataset


def simulated_file(folder: Path, name: str, options: Mapping[str, Any]) -> SimulatedFile:
    """Simulate a scan into `folder`, or take the one that is there; its largest grain's interior is the reference."""
    path, mask = folder / f"{name}.h5", folder / f"{name}_reference.npy"
    if not path.exists():
        cs.simulate(output=path, **options)
    truth = load_truth(path)
    np.save(mask, largest_grain(truth))
    return SimulatedFile(path, mask, truth)


def largest_grain(truth: xr.Dataset) -> np.ndarray:
    """Interior of the grain with the most interior positions, shape ``(ry, rx)``."""
    grain, interior = truth["grain"].values, truth["interior"].values
    return interior & (grain == np.bincount(grain[interior]).argmax())


def bound(simulated: SimulatedFile) -> dict[str, float]:
    """Cramer-Rao bound (standard deviation) of one pattern by component, root mean square over the interior.

    It is computed once for each grain, relative to the reference, which counts as known.
    """
    truth = simulated.truth
    grain, interior = truth["grain"].values, truth["interior"].values
    reference = truth["F"].values[np.load(simulated.reference)].mean(0)
    grains, first, count = np.unique(np.where(interior, grain, -1), return_index=True, return_counts=True)
    inside = grains >= 0
    at = [tuple(int(i) for i in np.unravel_index(k, grain.shape)) for k in first[inside]]
    bounds = [bound_of_pattern(truth, position, reference=reference) for position in at]
    return {
        name: float(np.sqrt(np.average([getattr(b, name) ** 2 for b in bounds], weights=count[inside])))
        for name in ("exx", "eyy", "exy", "rotation")
    }


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Table in Markdown, columns padded to the same width."""
    width = [max(len(line[k]) for line in [header, *rows]) for k in range(len(header))]
    lines = [header, ["-" * w for w in width], *rows]
    padded = [[cell.ljust(w) for cell, w in zip(line, width, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)

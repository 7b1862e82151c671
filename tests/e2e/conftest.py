"""Scans of a known truth and their maps, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.data import BoolArray
from cyclestrain.simulation import SimulatedScan, polycrystal

SHARED = Path(__file__).parents[3] / "shared" / "data"
QUICK: dict[str, Any] = {"scan": (24, 24), "detector": (128, 128), "grain_size": 150.0, "radius": 3.0}
"""A polycrystal of four grains or so on a small detector."""


ROUND = (1.0, 0.0)
"""Ellipse of a detector that is known not to be distorted: what remains in sigma are the counts."""


@dataclass(frozen=True)
class Mapped:
    """A simulated scan, its map and the grain that is its reference."""

    made: SimulatedScan
    maps: xr.Dataset
    reference: Path

    @property
    def truth(self) -> xr.Dataset:
        """What was simulated."""
        return self.made.truth


def largest_grain(truth: xr.Dataset) -> BoolArray:
    """Interior of the largest grain, shape ``(ry, rx)``."""
    interior, grain = truth["interior"].values, truth["grain"].values
    return interior & (grain == np.bincount(grain[interior]).argmax())


def mapped(folder: Path, **options: Any) -> Mapped:
    """Simulate a polycrystal and map it with its largest grain as the reference, the detector known to be round."""
    made = polycrystal(**{**QUICK, **options})
    reference = folder / "grain.npy"
    np.save(reference, largest_grain(made.truth))
    return Mapped(made, cs.map(made.scan, reference=str(reference), ellipse=ROUND), reference)


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    """25 % background."""
    return mapped(tmp_path_factory.mktemp("usual"), background=0.25, seed=3)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    """Two or three small grains, for what has nothing to do with accuracy."""
    return mapped(tmp_path_factory.mktemp("small"), scan=(8, 9), grain_size=30.0, background=0.1, seed=3)


@pytest.fixture(scope="session")
def measured() -> Path:
    """The folder of measured data; skips where it is not."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared/data with measured files is not here")
    return SHARED

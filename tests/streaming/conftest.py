"""A scan, a model of its material, and what another scan of it is mapped to offline, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import cyclestrain as cs
from cyclestrain.learning import Knowledge, Material
from cyclestrain.pipeline import prepare
from cyclestrain.progress import SilentProgress
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import polycrystal
from untrained import untrained_model

POLYCRYSTAL: dict[str, Any] = {"detector": (96, 96), "spacing": 16.0, "radius": 3.0, "grain_size": 50.0}


@dataclass(frozen=True)
class Sample:
    """A model and its file, patterns of another scan, what is known of it, and its map offline."""

    model: Path
    material: Material
    patterns: NDArray[Any]
    knowledge: Knowledge
    maps: xr.Dataset


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """What all tests of live maps use."""
    path = tmp_path_factory.mktemp("live") / "model.safetensors"
    learned = polycrystal(scan=(10, 10), background=0.2, seed=3, **POLYCRYSTAL).scan
    material = untrained_model(learned, path, ring=(8, 40))
    scan = polycrystal(scan=(18, 20), background=0.3, drift=1.0, seed=5, **POLYCRYSTAL).scan
    _, knowledge = prepare(scan, MapSettings(), SilentProgress(), material=material)
    return Sample(path, material, np.asarray(scan.source), knowledge, cs.map(scan, model=path))

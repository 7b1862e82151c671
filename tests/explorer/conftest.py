"""A small polycrystal with its map, made once; and the folder it lies in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.data import Scan
from cyclestrain.explorer import Opened
from cyclestrain.io import read
from explorer.browsing import CHROMIUM

SHAPE = (12, 14)


@dataclass(frozen=True)
class Small:
    """A mapped scan of a few grains."""

    scan: Path
    result: Path
    maps: xr.Dataset

    def opened(self, maps: xr.Dataset | None = None) -> Opened:
        """The result with its scan, or other maps with it."""
        return Opened(self.maps if maps is None else maps, str(self.result), scan=self.read())

    def read(self) -> Scan:
        """The scan."""
        return read(self.scan)

    def patterns(self) -> np.ndarray:
        """All patterns."""
        return np.asarray(self.read().source[:])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    scan, result = folder / "scan.h5", folder / "strain.nc"
    made = {"scan": SHAPE, "detector": (96, 96), "radius": 3.0, "background": 0.2, "seed": 5, "grain_size": 60.0}
    cs.simulate("polycrystal", scan, **made)
    maps = cs.map(scan, result, ellipse=(1.0, 0.0))
    return Small(scan, result, maps)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: run make test-app")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here, and make test-app could not install it")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()

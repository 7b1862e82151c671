"""Strain of crystals that scatter dynamically: contrast inside the disks must not move them. Minutes, ``-m slow``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cyclestrain as cs
from cyclestrain.evaluation import Accuracy, compare
from cyclestrain.simulation import SimulatedScan, record

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
pytest.importorskip("abtem")

from cyclestrain.simulation.multislice import heterostructure, silicon  # noqa: E402


@pytest.fixture(scope="module")
def thick() -> SimulatedScan:
    return silicon(scan=(16, 16))


@pytest.fixture(scope="module")
def monolayer() -> SimulatedScan:
    return heterostructure(scan=(16, 16))


def accuracy_of(made: SimulatedScan, background: float, folder: Path) -> Accuracy:
    """Of each pattern alone, relative to grain 0."""
    scan = record(made, background=background, seed=5)
    reference = folder / "grain.npy"
    np.save(reference, (scan.truth["grain"].values == 0) & scan.truth["interior"].values)
    return compare(cs.map(scan.scan, reference=str(reference)), scan.truth, "raw")


@pytest.mark.parametrize(("background", "most"), [(0.0, 4e-4), (0.25, 8e-4), (0.6, 1.1e-3)])
def test_thick_silicon(thick: SimulatedScan, background: float, most: float, tmp_path: Path) -> None:
    """Disk detection is off by 7e-3 (exx) and 4e-3 (eyy) here, with and without noise."""
    found = accuracy_of(thick, background, tmp_path)
    assert found.failures == 0
    assert max(found.exx.mae_interior, found.eyy.mae_interior) < most


@pytest.mark.parametrize(("background", "most"), [(0.0, 2e-4), (0.25, 1.4e-3), (0.6, 3.2e-3)])
def test_monolayer(monolayer: SimulatedScan, background: float, most: float, tmp_path: Path) -> None:
    """A ripple across two materials and vacuum: flat disks, limited by noise."""
    found = accuracy_of(monolayer, background, tmp_path)
    assert found.failures == 0
    assert max(found.exx.mae_interior, found.eyy.mae_interior) < most

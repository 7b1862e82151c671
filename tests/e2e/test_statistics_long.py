"""The accuracy that is promised, on full scans of the benchmark: minutes each, run with ``-m slow``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclestrain.evaluation import Accuracy, compare
from e2e.conftest import Mapped, mapped

pytestmark = pytest.mark.slow

FULL: dict[str, Any] = {"scan": (64, 64), "detector": (256, 256), "radius": None, "grain_size": 400.0}


def accuracy_of(one: Mapped) -> Accuracy:
    return compare(one.maps, one.truth, "raw")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("background", "exx", "exy", "failures"), [(0.25, 8.5e-4, 6.0e-4, 0.0), (0.6, 1.85e-3, 1.30e-3, 0.002)]
)
def test_benchmark(background: float, exx: float, exy: float, failures: float, seed: int, tmp_path: Path) -> None:
    found = accuracy_of(mapped(tmp_path, **FULL, background=background, seed=seed))
    assert found.failure_share <= failures
    assert found.exx.mae_interior <= exx
    assert found.exy.mae_interior <= exy
    if background <= 0.25:
        # No bias beyond 2e-4, apart from the noise of a grain's mean and of the reference's.
        noise = found.exx.scatter * np.sqrt(2 / 200)
        assert found.exx.bias_rms_large < np.hypot(2e-4, noise)
    for component in found.components:
        assert 0.9 < component.z_std < 1.15


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_noise(seed: int, tmp_path: Path) -> None:
    found = accuracy_of(mapped(tmp_path, **FULL, background=0.0, seed=seed))
    assert found.failures == 0
    assert max(found.exx.mae_interior, found.eyy.mae_interior, found.exy.mae_interior) < 3e-4
    assert found.exx.bias_rms_large < 2e-4


@pytest.mark.parametrize(
    "options",
    [
        {"lattice": "square"},
        {"lattice": "oblique"},
        {"radius": 2.0},
        {"radius": 8.0},
        {"detector": (128, 128)},
        {"detector": (384, 384)},
        {"detector": (512, 512), "scan": (32, 32)},
        {"centre_offset": (5.0, -5.0), "drift": 3.0},
    ],
    ids=str,
)
def test_no_setting_is_touched(options: dict[str, Any], tmp_path: Path) -> None:
    found = accuracy_of(mapped(tmp_path, **{**FULL, "scan": (40, 40), "background": 0.25, "seed": 1, **options}))
    assert found.failures == 0
    for component in found.components:
        assert 0.85 < component.z_std < 1.2

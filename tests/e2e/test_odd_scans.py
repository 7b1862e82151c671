"""Odd but legal scans: what is called valid is right within its own uncertainty, whatever the detector did.

Every oddity is tried once in every run; `-m slow` tries it at both backgrounds and several seeds.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import cyclestrain as cs
from cyclestrain.evaluation import relative_truth
from cyclestrain.simulation import SimulatedScan, polycrystal, uniform
from e2e.conftest import ROUND, largest_grain
from e2e.oddities import ODDITIES, Oddity

COMPONENTS = ("exx", "eyy", "exy", "rotation")
USUAL = {"scan": (16, 16), "detector": (128, 128), "grain_size": 90.0, "radius": 3.0}


@cache
def simulated(options: tuple[tuple[str, object], ...]) -> SimulatedScan:
    return polycrystal(**dict(options))  # type: ignore[arg-type]


def spoilt(odd: Oddity, background: float, seed: int) -> tuple[SimulatedScan, NDArray[np.generic]]:
    """A polycrystal with its truth, and its patterns as the odd instrument would have stored them."""
    options = {**USUAL, **odd.simulate, "background": background, "seed": seed}
    made = simulated(tuple(options.items()))
    rng = np.random.default_rng(1000 + seed)
    return made, odd.spoil(np.asarray(made.scan.source).copy(), rng)


def errors(maps: xr.Dataset, truth: xr.Dataset, where: NDArray[np.bool_], suffix: str) -> NDArray[np.float64]:
    """Error over sigma of exx, eyy, exy and rotation, shape ``(4, n)``."""
    expected = relative_truth(maps, truth, suffix)
    out = []
    for name in COMPONENTS:
        error = (maps[name + suffix] - expected[name]).values[where]
        if name == "rotation":
            error = (error + np.pi / 6) % (np.pi / 3) - np.pi / 6
        out.append(error / maps[f"{name}{suffix}_sigma"].values[where])
    return np.array(out)


def judge(odd: Oddity, background: float, seed: int, folder: Path) -> None:
    made, patterns = spoilt(odd, background, seed)
    np.save(folder / "grain.npy", largest_grain(made.truth))
    settings = {"ellipse": ROUND, **odd.settings}  # sigma is then that of the counts alone
    maps = cs.map(patterns, reference=str(folder / "grain.npy"), **settings)
    blank = ~patterns.any((-1, -2))
    assert not (maps["valid"].values & blank).any()
    inside = made.truth["interior"].values & ~blank
    valid = inside & maps["valid"].values
    assert valid.sum() > 0.95 * inside.sum()
    raw, best = (errors(maps, made.truth, valid, suffix) for suffix in ("_raw", ""))
    assert np.abs(raw).max() < 5.5
    assert np.mean(np.abs(raw) > 3.0) < 0.015
    assert (np.abs(raw.std(1) - 1.0) < 0.25).all()
    assert np.abs(best).max() < 5.5  # errors of neighbours are alike: few are independent
    assert np.mean(np.abs(best) > 3.0) < 0.06


@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_valid_strain_is_right(odd: Oddity, tmp_path: Path) -> None:
    index = ODDITIES.index(odd)
    judge(odd, (0.1, 0.5)[index % 2], 3 + index % 3, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("background", [0.1, 0.5])
@pytest.mark.parametrize("seed", [3, 4, 5])
@pytest.mark.parametrize("odd", ODDITIES, ids=lambda odd: odd.name)
def test_valid_strain_is_right_every_time(odd: Oddity, background: float, seed: int, tmp_path: Path) -> None:
    judge(odd, background, seed, tmp_path)


def test_vacuum_is_never_valid(tmp_path: Path) -> None:
    made, patterns = spoilt(ODDITIES[0], 0.1, 3)
    hole = uniform(scan=(16, 16), detector=(128, 128), radius=3.0, background=1.0, counts=2e4, noise_free=False, seed=9)
    patterns[:, :6] = np.asarray(hole.scan.source)[:, :6]
    maps = cs.map(patterns)
    assert not maps["valid"].values[:, :6].any()
    assert maps["valid"].values[:, 7:][made.truth["interior"].values[:, 7:]].all()

"""Where to measure next: what is unexplored, what changes, what is uncertain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import distance_transform_edt

import cyclestrain as cs
from cyclestrain.errors import InputError
from cyclestrain.result import interpolated, save_result

STRAINS = ("exx", "eyy", "exy", "rotation")


def made(field: np.ndarray, known: np.ndarray, sigma: float = 1e-4) -> xr.Dataset:
    maps = {name: (("ry", "rx"), np.where(known, field, np.nan)) for name in STRAINS}
    maps |= {f"{name}_sigma": (("ry", "rx"), np.where(known, sigma, np.nan)) for name in STRAINS}
    return xr.Dataset(maps | {"valid": (("ry", "rx"), known)})


def grid(shape: tuple[int, int]) -> np.ndarray:
    known = np.zeros(shape, bool)
    known[::3, ::3] = True
    return known


def test_positions_are_new_and_gather_at_a_step() -> None:
    field = np.where(np.arange(30) < 15, 0.0, 0.02) * np.ones((30, 1))
    known = grid(field.shape)
    found = cs.next_positions(made(field, known), 60)
    assert len({tuple(one) for one in found.tolist()}) == 60
    assert not known[tuple(found.T)].any()
    assert (np.abs(found[:, 1] - 14.5) < 6).mean() > 0.6


def test_they_lower_the_error_more_than_random_ones() -> None:
    y, x = np.mgrid[:40, :40] / 40
    field = 0.02 / (1 + np.exp((np.hypot(y - 0.4, x - 0.6) - 0.2) * 60))
    off = {}
    for name in ("best", "random"):
        known, rng = grid(field.shape), np.random.default_rng(0)
        for _ in range(4):
            best = cs.next_positions(made(field, known), 40)
            other = rng.choice(np.argwhere(~known), 40, replace=False)
            known[tuple((best if name == "best" else other).T)] = True
        off[name] = np.sqrt(np.mean((interpolated(field, known) - field) ** 2))
    assert off["best"] < 0.6 * off["random"]


def test_they_spread_over_what_is_unexplored() -> None:
    known = np.zeros((12, 12), bool)
    known[:, 0] = True
    found = cs.next_positions(made(np.zeros((12, 12)), known), 4)
    apart = np.hypot(*(found[:, None] - found).transpose(2, 0, 1))
    assert apart[np.triu_indices(4, 1)].min() > 2


def test_a_feature_between_what_is_known_is_found_before_an_edge_is_followed() -> None:
    known = np.zeros((32, 32), bool)
    known[2::4, 2::4] = True
    field = np.where(np.arange(32) < 20, 0.0, 0.02) * np.ones((32, 1))  # an edge that is seen
    field[10:15, 11:14] = 0.02  # columns 10 and 14 are known
    assert not field[known][:, None].reshape(8, 8)[:, :4].any()
    found = cs.next_positions(made(field, known), 80)
    inside = (np.abs(found - [12, 12]) <= [2, 1]).all(1)
    assert inside.any()
    known[tuple(found.T)] = True
    assert distance_transform_edt(~known).max() <= 2.0
    later = cs.next_positions(made(field, known), 40)
    at_the_edge, at_the_feature = np.abs(later[:, 1] - 19.5) < 3, (np.abs(later - [12, 12]) <= [5, 4]).all(1)
    assert (at_the_edge | at_the_feature).mean() > 0.7
    assert at_the_feature.sum() >= 5


def test_everything_measured_the_uncertain_ones_are_next() -> None:
    maps = made(np.zeros((6, 7)), np.ones((6, 7), bool))
    maps["exx_sigma"][2, 5] = maps["exx_sigma"][4, 1] = 5e-3
    assert {tuple(one) for one in cs.next_positions(maps, 2).tolist()} == {(2, 5), (4, 1)}


def test_vacuum_is_not_looked_at_again() -> None:
    known = np.ones((8, 8), bool)
    known[:, 4:] = False
    maps = made(np.zeros((8, 8)), known)
    maps["gain"] = ("ry", "rx"), np.where(np.arange(8) < 7, 1.0, np.nan) * np.ones((8, 1))
    assert (cs.next_positions(maps, 8)[:, 1] == 7).all()


def test_of_nothing_and_what_does_not_fit(tmp_path: Path) -> None:
    maps = made(np.zeros((9, 9)), np.zeros((9, 9), bool))
    first = cs.next_positions(maps, 4)
    assert len({(int(row) > 4, int(column) > 4) for row, column in first}) > 2
    save_result(maps, tmp_path / "maps.nc")
    np.testing.assert_array_equal(cs.next_positions(tmp_path / "maps.nc", 4), first)
    with pytest.raises(InputError, match="between 1 and all"):
        cs.next_positions(maps, 82)
    with pytest.raises(InputError, match="holds no eyy"):
        cs.next_positions(maps[["exx", "exy", "rotation"]], 1)

"""Tiles cover a scan once, and a local function in tiles is that of the scan."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.ndimage import maximum_filter

from cyclestrain.data import InTurn, Tile, tiles_of


@pytest.mark.parametrize(("shape", "side"), [((7, 9), 3), ((1, 20), 6), ((20, 1), 6), ((5, 5), 5), ((4, 6), 100)])
@pytest.mark.parametrize("halo", [0, 2, 30])
def test_tiles_cover_a_scan_once(shape: tuple[int, int], side: int, halo: int) -> None:
    index, times = np.arange(shape[0] * shape[1]), np.zeros(shape[0] * shape[1], int)
    for tile in tiles_of(shape, side, halo):
        inside = tile.without_halo(tile.cut(index))
        assert max(slice_.stop - slice_.start for slice_ in tile.inner) <= side
        times[inside] += 1
        tile.put(tile.without_halo(tile.cut(index)), index)
    assert_array_equal(times, 1)
    assert_array_equal(index, np.arange(index.size))


def widest(part: tuple[np.ndarray, Tile]) -> np.ndarray:
    values, tile = part
    return tile.without_halo(maximum_filter(values.reshape(tile.shape), 5, mode="constant").ravel())


def test_a_function_in_tiles_is_that_of_the_scan_if_the_halo_is_as_wide() -> None:
    values = np.random.default_rng(0).random(23 * 31)
    for halo, equal in ((2, True), (1, False)):
        out = np.zeros_like(values)
        for tile, found in InTurn().over(tiles_of((23, 31), 8, halo), widest, lambda tile: (tile.cut(values), tile)):
            tile.put(found, out)
        assert np.array_equal(out, maximum_filter(values.reshape(23, 31), 5, mode="constant").ravel()) is equal

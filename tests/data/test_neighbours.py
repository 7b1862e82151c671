"""Neighbours: who they are, their sums, means and counts, against plain loops over positions."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.data import (
    clearest_neighbour,
    count_around,
    local_means,
    mean_of_members,
    neighbour_members,
    quantile_around,
    values_around,
)

SHAPE = (5, 7)
ROWS, COLUMNS = (axis.ravel() for axis in np.indices(SHAPE))


def near(one: int, two: int, reach: int) -> bool:
    return max(abs(ROWS[one] - ROWS[two]), abs(COLUMNS[one] - COLUMNS[two])) <= reach


@pytest.mark.parametrize("reach", [1, 2])
def test_members_are_the_square_around_each_position_itself_first(reach: int) -> None:
    some = np.array([0, 8, 34])
    members = neighbour_members(ROWS, COLUMNS, some, reach)
    assert members.shape == (3, (2 * reach + 1) ** 2)
    np.testing.assert_array_equal(members[:, 0], some)
    for at, row in zip(some, members, strict=True):
        assert sorted(row[row >= 0]) == [k for k in range(35) if near(at, k, reach)]


def test_patterns_with_their_beam_elsewhere_are_not_summed() -> None:
    centre = np.zeros((35, 2))
    centre[9] = (0.0, 3.0)
    members = neighbour_members(ROWS, COLUMNS, np.array([8]), 1, centre)
    assert 9 not in members
    assert 1 in members


def test_means_of_members_and_local_means_are_means() -> None:
    values = np.random.default_rng(0).normal(size=(35, 3)).astype(np.float32)
    everywhere = np.arange(35)
    expected = [values[[k for k in everywhere if near(at, k, 1)]].mean(0) for at in everywhere]
    members = neighbour_members(ROWS, COLUMNS, everywhere, 1)
    np.testing.assert_allclose(mean_of_members(values, members), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(local_means(values, ROWS, COLUMNS, 1), expected, rtol=1e-5, atol=1e-6)


def test_counts_and_the_clearest_neighbour() -> None:
    rng = np.random.default_rng(1)
    there, clear = rng.random(SHAPE) < 0.4, rng.normal(5.0, 2.0, SHAPE)
    found, every = count_around(there, 1)
    for at in range(35):
        others = [k for k in range(35) if near(at, k, 1) and k != at]
        assert found.flat[at] == there.ravel()[others].sum()
        assert every.flat[at] == len(others)
        assert clearest_neighbour(clear).flat[at] == others[int(np.argmax(clear.ravel()[others]))]


def test_beyond_the_border_is_what_was_said() -> None:
    around = values_around(np.ones(SHAPE), np.nan)
    assert around.shape == (8, *SHAPE)
    assert np.isnan(around[:, 0, 0]).sum() == 5
    assert not np.isnan(around[:, 2, 3]).any()


@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (6, 1), (2, 2)])
def test_quantiles_of_neighbours_are_those_of_numpy_bit_by_bit(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(4).normal(size=shape)
    wanted = np.nanquantile(values_around(values, np.nan), 0.75, axis=0)
    np.testing.assert_array_equal(quantile_around(values, 0.75), wanted)

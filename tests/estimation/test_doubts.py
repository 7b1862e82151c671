"""Patterns that their entry does not explain are not valid, unless something known explains the misfit."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import AffineField, BoolArray, Fields, FloatArray
from cyclestrain.estimation import unexplained

SHAPE = (20, 24)


def fields(misfit: FloatArray, turn: FloatArray | float = 0.0, share: FloatArray | None = None) -> Fields:
    """One class with a misfit and a rotation at every position."""
    affine = rotation(np.broadcast_to(turn, SHAPE))
    valid = np.ones(SHAPE, bool)
    field = AffineField(affine, np.broadcast_to(1e-8 * np.eye(4), (*SHAPE, 4, 4)), np.zeros(SHAPE, int), valid,
                        (rotation(np.pi / 3 * np.arange(6)),))  # fmt: skip
    return Fields(field, field, np.zeros((*SHAPE, 2)), np.ones(SHAPE), misfit, valid, np.ones(SHAPE), share)


def noise(seed: int = 0) -> FloatArray:
    return 1 + 0.024 * np.random.default_rng(seed).standard_normal(SHAPE)


def disk(radius: float) -> BoolArray:
    y, x = np.indices(SHAPE)
    return np.asarray(np.hypot(y - 9, x - 12) < radius)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_other_structure(seed: int) -> None:
    assert not unexplained(fields(noise(seed))).any()


@pytest.mark.parametrize("excess", [0.3, 1.0, 9.0])
@pytest.mark.parametrize("radius", [1.1, 1.5, 3.0, 5.0])
def test_a_patch_that_misfits_is_unexplained_and_nothing_else(radius: float, excess: float) -> None:
    patch = disk(radius)
    np.testing.assert_array_equal(unexplained(fields(noise() + excess * patch)), patch)


@pytest.mark.parametrize("part", [0.01, 0.04, 0.1])
def test_scattered_positions_that_misfit_are_unexplained(part: float) -> None:
    there = np.random.default_rng(1).random(SHAPE) < part
    np.testing.assert_array_equal(unexplained(fields(noise() + 2.0 * there)), there)


def test_a_single_position_in_the_tail_of_few_counts_is_none() -> None:
    assert not unexplained(fields(noise() + 0.6 * disk(0.5))).any()


def test_misfit_that_follows_the_thickness_is_none() -> None:
    """Contrast inside the disks of a thicker half changes over a few positions."""
    thick = 1 / (1 + np.exp(-(np.arange(24) - 15) / 2.5))
    assert not unexplained(fields(noise() + 0.8 * thick)).any()
    spot = disk(0.5)
    np.testing.assert_array_equal(unexplained(fields(noise() + 0.8 * thick + 3.0 * spot)), spot)


def test_where_crystals_meet_misfit_is_no_other_structure() -> None:
    column = np.broadcast_to(np.arange(24), SHAPE)
    turn = np.where(column < 12, 0.0, 0.3)
    assert not unexplained(fields(noise() + 2.0 * (column == 12), turn)).any()


def test_a_wide_boundary_is_none_where_shares_say_that_it_is_a_mixture() -> None:
    column = np.broadcast_to(np.arange(24), SHAPE)
    wide, turn = np.abs(column - 12) <= 2, np.where(column < 12, 0.0, 0.3)
    share = np.where(wide, 0.7, 1.0)
    assert not unexplained(fields(noise() + 2.0 * wide, turn, share)).any()
    assert unexplained(fields(noise() + 2.0 * wide, turn))[:, 12].all()


def test_in_one_crystal_a_claimed_mixture_explains_nothing() -> None:
    """A pattern of another structure looks like a mixture of two turned crystals, of which there is one only."""
    patch = disk(1.5)
    np.testing.assert_array_equal(unexplained(fields(noise() + 5.0 * patch, 0.2, np.where(patch, 0.6, 1.0))), patch)

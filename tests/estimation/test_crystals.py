"""What counts as crystal."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import Doubt
from cyclestrain.estimation import BlockFit, to_fields

SHAPE = (12, 12)
DICTIONARY: Any = SimpleNamespace(entries=[SimpleNamespace(operators=rotation(np.pi / 3 * np.arange(6)))])


def sample(significance: np.ndarray, turn: np.ndarray | float = 0.0, summed: np.ndarray | float = 0.0) -> np.ndarray:
    """Crystal or not, from the significance and rotation of every position, and the significance of sums around it."""
    n = significance.size
    fit = BlockFit.unknown(np.arange(n)).with_values(
        np.arange(n),
        affine=rotation(np.broadcast_to(turn, SHAPE).ravel()),
        covariance=1e-5 * np.eye(4),
        significance=significance.ravel(),
        gain=significance.ravel() / 3.0,
        label=0,
        confidence=1.0,
        summed=np.broadcast_to(summed, SHAPE).ravel(),
    )
    return to_fields(fit, SHAPE, DICTIONARY).sample


def test_doubts_of_a_fit_are_told() -> None:
    """Faint, few of its reflections seen, strained beyond what was learned: each where it is, in crystal only.

    What is strained so far is valid only where more reflections were seen than such a transform needs, and not where
    much of the light is missing.
    """
    n = SHAPE[0] * SHAPE[1]
    affine, seen, significance, gain = np.tile(np.eye(2), (n, 1, 1)), np.ones(n), np.full(n, 40.0), np.ones(n)
    affine[[3, 7, 8], 0, 0], seen[4], significance[5], significance[6], gain[8:10] = 1.1, 0.5, 9.0, 0.0, 0.5
    affine[[28, 52, 76]], gain[[28, 76]] = np.diag([0.94, 1.06]), 0.7
    significance[76] = 9.0  # a faint pattern has not surely lost light
    fit = BlockFit.unknown(np.arange(n)).with_values(
        np.arange(n),
        affine=affine,
        covariance=1e-6 * np.eye(4),
        significance=significance,
        gain=gain,
        label=0,
        seen=seen,
        checked=np.arange(n) != 7,
    )
    fields = to_fields(fit, SHAPE, DICTIONARY)
    doubt = fields.doubt
    assert doubt is not None
    unchecked, faded = Doubt.STRAIN_RANGE | Doubt.FEW_REFLECTIONS, Doubt.STRAIN_RANGE | Doubt.OTHER_STRUCTURE
    expected = {3: Doubt.STRAIN_RANGE, 4: Doubt.FEW_REFLECTIONS, 5: Doubt.FAINT, 7: unchecked, 8: faded}
    expected |= {28: faded, 52: Doubt.STRAIN_RANGE, 76: Doubt.STRAIN_RANGE | Doubt.FAINT}
    assert fields.affine.valid.flat[[3, 9, 52, 76]].all()
    assert not fields.affine.valid.flat[[7, 8, 28]].any()
    assert {int(k): Doubt(int(doubt.flat[k])) for k in np.flatnonzero(doubt)} == expected


@pytest.mark.parametrize(("n_refused", "valid"), [(0, 9), (2, 7), (3, 0)])
def test_an_area_strained_far_is_of_another_structure_where_much_of_it_is_refused(n_refused: int, valid: int) -> None:
    """Noise lets some positions of a precipitate pass, which are as wrong as the others."""
    affine, place = np.tile(np.eye(2), (*SHAPE, 1, 1)), np.array([*np.ndindex(3, 3)]) + 4
    strain = np.where(np.arange(9) < n_refused, 0.16, 0.12)
    affine[tuple(place.T)] = (1.0 + strain)[:, None, None] * np.eye(2)
    n = SHAPE[0] * SHAPE[1]
    fit = BlockFit.unknown(np.arange(n)).with_values(
        np.arange(n),
        affine=affine.reshape(n, 2, 2),
        covariance=1e-6 * np.eye(4),
        significance=np.full(n, 40.0),
        gain=np.ones(n),
        label=0,
        seen=np.ones(n),
        checked=np.ones(n),
    )
    fields = to_fields(fit, SHAPE, DICTIONARY)
    assert fields.affine.valid[tuple(place.T)].sum() == valid
    assert fields.affine.valid.sum() == n - 9 + valid


@pytest.mark.parametrize(("significance", "expected"), [(2.0, True), (1.2, True), (0.3, False), (-1.0, False)])
def test_a_faint_pattern_within_a_faint_crystal_belongs_to_it_if_that_is_likelier(
    significance: float, expected: bool
) -> None:
    around = np.full(SHAPE, 3.0)
    around[5, 5] = significance
    assert sample(around)[5, 5] == expected


def test_a_faint_pattern_that_disagrees_with_the_crystal_around_does_not_belong_to_it() -> None:
    around, turn = np.full(SHAPE, 3.0), np.zeros(SHAPE)
    around[5, 5], turn[5, 5] = 2.4, np.deg2rad(15)
    assert not sample(around, turn)[5, 5]


def test_in_a_bright_crystal_an_empty_position_stays_empty() -> None:
    around = np.full(SHAPE, 30.0)
    around[5, 5] = 2.4
    assert not sample(around)[5, 5]


def test_crystal_does_not_grow_into_the_vacuum_beside_it() -> None:
    halves = np.full(SHAPE, 3.0)
    halves[:, 6:] = 2.0  # as turned as the crystal, as where neighbours tell the fit where to start
    found = sample(halves)
    assert found[:, :6].all()
    assert not found[:, 6:].any()


def test_faint_patterns_next_to_each_other_come_in_one_after_the_other() -> None:
    around = np.full(SHAPE, 3.0)
    around[4:6, 4:7] = 2.2
    assert sample(around).all()


def test_patterns_too_faint_alone_are_crystal_where_their_sum_surely_is() -> None:
    everywhere = np.full(SHAPE, 2.0)
    assert not sample(everywhere).any()
    assert sample(everywhere, summed=10.0).all()


def test_within_a_sum_that_is_crystal_a_pattern_without_it_stays_empty() -> None:
    around = np.full(SHAPE, 5.0)
    around[:, 6:] = 0.5  # the sums of the first column beside the crystal show it as well
    found = sample(around, summed=np.where(np.arange(12) < 7, 10.0, 0.0))
    assert found[:, :6].all()
    assert not found[:, 6:].any()


@pytest.mark.parametrize("place", [(0, 5), (5, 11), (0, 0)])
def test_the_border_of_the_scan_is_no_vacuum(place: tuple[int, int]) -> None:
    around = np.full(SHAPE, 3.0)
    around[place] = 1.5
    assert sample(around)[place]

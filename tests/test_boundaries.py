"""Where mixtures are looked for, and what is made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from cyclestrain.affine import rotation, symmetric
from cyclestrain.boundaries import MOST, Sides, find_sides
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.mixtures import Mixtures
from cyclestrain.model.mixture import Candidates, Decomposition
from cyclestrain.result import Fields
from cyclestrain.strain import Reference, StrainMaps, relative_strain
from laws import one_class_field

SIXFOLD = rotation(np.pi / 3 * np.arange(6))
SHAPE = (12, 20)
CERTAIN = np.full(SHAPE, 100.0)


def halves(turn: float = 0.3, edge: int = 10, sigma: float = 1e-4) -> AffineField:
    """Two crystals side by side, every second position labelled in another, equivalent way."""
    affine = np.broadcast_to(np.eye(2), (*SHAPE, 2, 2)).copy()
    affine[:, edge:] = rotation(turn)
    affine[::2, ::2] = affine[::2, ::2] @ SIXFOLD[2]
    return one_class_field(affine, sigma, SIXFOLD)


def sides_of(field: AffineField, gain: FloatArray | None = None) -> Sides:
    return find_sides(field, np.ones(SHAPE) if gain is None else gain, CERTAIN)


def columns(sides: Sides) -> set[int]:
    return set((sides.position % SHAPE[1]).tolist())


class TestSides:
    def test_both_sides_of_an_edge(self) -> None:
        gain = np.where(np.arange(SHAPE[1]) < 10, 1.0, 0.6) * np.ones(SHAPE)
        sides = sides_of(halves(), gain)
        assert columns(sides) == {9, 10}
        of = np.where(sides.source < 0, -1, sides.source % SHAPE[1])
        here = (sides.position % SHAPE[1] == 9)[:, None]
        np.testing.assert_array_equal(of[:, :2], np.where(here, [8, 11], [11, 8]))
        assert (of[:, 2:] == -1).all()
        np.testing.assert_allclose(sides.gain[:, :2], np.where(here, [1.0, 0.6], [0.6, 1.0]))

    @pytest.mark.parametrize("slope", [0.002, 0.008])
    def test_a_smooth_field_has_none(self, slope: float) -> None:
        wave = np.sin(np.arange(SHAPE[1]) / 1.6) * 1.6 * slope * np.ones(SHAPE)
        sides = sides_of(one_class_field(symmetric(1.0 + 0 * wave, 1.0 + wave, 0 * wave) @ rotation(wave)))
        assert len(sides.position) == 0

    def test_noise_is_no_edge(self) -> None:
        rng = np.random.default_rng(1)
        field = one_class_field(np.eye(2) + 8e-3 * rng.standard_normal((*SHAPE, 2, 2)), 8e-3, SIXFOLD)
        assert len(sides_of(field).position) < 0.05 * SHAPE[0] * SHAPE[1]

    def test_vacuum_is_a_side_without_a_crystal(self) -> None:
        field = halves(turn=0.0)
        label = np.where(np.arange(SHAPE[1]) < 10, 0, -1) * np.ones(SHAPE, int)
        sides = sides_of(replace(field, label=label, valid=label >= 0))
        assert columns(sides) == {9}
        assert sides.vacuum.all()
        assert (sides.source[:, 1:] == -1).all()
        assert not sides_of(halves()).vacuum.any()

    def test_a_wide_probe_is_seen_in_the_gain(self) -> None:
        far = np.abs(np.arange(SHAPE[1]) - 9.5) + 0.5
        for lost, expected in (([1.0] * 4, 1), ([0.7, 0.93, 1.0, 1.0], 2), ([0.6, 0.8, 0.94, 1.0], 3)):
            gain = np.interp(far, [1, 2, 3, 4], lost) * np.ones(SHAPE)
            assert columns(sides_of(halves(), gain)) == set(range(10 - expected, 10 + expected))

    def test_a_position_without_an_estimate_may_hold_its_neighbours(self) -> None:
        field = halves(turn=0.0)
        valid = np.ones(SHAPE, bool)
        valid[5, 5] = False
        field.affine[5, 5] = np.nan
        sides = sides_of(replace(field, valid=valid))
        assert sides.position.tolist() == [5 * SHAPE[1] + 5]
        own = sides.candidates(
            np.array([0]), np.array([0]), np.full((1, 2, 2), np.nan), np.array([np.nan]), np.zeros((1, 2))
        )
        assert own.label[0, 0] == -1
        assert own.label[0, 1] == 0

    def test_the_own_fit_is_recognised_in_any_labelling(self) -> None:
        sides = sides_of(halves())
        part = np.arange(len(sides.position))
        for turn, wanted in ((0.0, {9: 1, 10: 2}), (0.3, {9: 2, 10: 1}), (0.15, {9: -1, 10: -1})):
            affine = np.broadcast_to(rotation(turn) @ SIXFOLD[4], (len(part), 2, 2))
            nothing = np.zeros((len(part), 2))
            found = sides.candidates(part, np.zeros(len(part), int), affine, np.full(len(part), 1e-8), nothing)
            assert found.like.tolist() == [wanted[c] for c in (sides.position % SHAPE[1]).tolist()]


@pytest.fixture(scope="module")
def mixed() -> tuple[Mixtures, AffineField, StrainMaps]:
    """Two crystals 1 % apart; half of each side of their edge holds the other one by 40 +- 5 %."""
    field = halves(turn=0.3)
    field.affine[:, 10:] = symmetric(1.0, 0.99, 0.0) @ field.affine[:, 10:]
    sides = sides_of(field)
    mixtures, n = Mixtures.unknown(sides), len(sides.position)
    amplitude = np.repeat([[0.0, 0.6, 0.4, 0.0]], n, 0)
    amplitude[::4] = (0.0, 1.0, 0.0, 0.0)
    covariance = np.zeros((n, 1 + MOST, 1 + MOST))
    covariance[:, 1, 1] = covariance[:, 2, 2] = 0.05**2
    nobody = Candidates(
        np.zeros((n, 4), int), np.zeros((n, 4, 2, 2)), np.ones((n, 4)), np.ones(n, int), np.zeros((n, 2))
    )
    mixtures.put(np.arange(n), nobody, Decomposition(amplitude, covariance))
    known = Reference.known(np.eye(2)[None])
    return mixtures, field, relative_strain(field, known)


class TestMixtures:
    def test_strain_is_the_mean_and_the_rest_is_untouched(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        mixtures, field, maps = mixed
        got = mixtures.blend(maps, field)
        several = np.zeros(SHAPE, bool)
        several.flat[mixtures.position[mixtures.changed]] = True
        assert several.sum() == 18
        inside = np.where(np.arange(SHAPE[1]) < 10, 0.4, 0.6) * maps.exx[0, 19] * np.ones(SHAPE)
        np.testing.assert_allclose(got.exx[several], inside[several], atol=1e-12)
        for name in ("exx", "eyy", "exy", "rotation"):
            np.testing.assert_array_equal(getattr(got, name)[~several], getattr(maps, name)[~several])
        near = np.zeros(SHAPE, bool)
        near.flat[mixtures.position] = True
        np.testing.assert_array_equal(got.covariance[~near], maps.covariance[~near])

    def test_uncertainty_is_that_of_drawn_shares_and_strains(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        mixtures, field, maps = mixed
        k = int(np.flatnonzero(mixtures.changed)[0])
        rng = np.random.default_rng(0)
        amplitude = rng.multivariate_normal(mixtures.amplitude[k], mixtures.covariance[k], 20000)[:, 1:3]
        weight = amplitude / amplitude.sum(1, keepdims=True)
        ends = maps.exx.ravel()[mixtures.source[k, 1:3]]
        ends = ends + rng.standard_normal(weight.shape) * maps.sigma[..., 1].ravel()[mixtures.source[k, 1:3]]
        stated = mixtures.blend(maps, field).sigma[..., 1].ravel()[mixtures.position[k]]
        assert stated == pytest.approx((weight * ends).sum(1).std(), rel=0.03)

    def test_share_class_and_doubt(self, mixed: tuple[Mixtures, AffineField, StrainMaps]) -> None:
        mixtures, field, maps = mixed
        nothing = np.zeros(SHAPE)
        fields = Fields(
            field, field, np.zeros((*SHAPE, 2)), nothing, nothing, np.ones(SHAPE, bool), np.full(SHAPE, 0.9)
        )
        told = mixtures.told(fields)
        assert told.share is not None
        assert told.share_sigma is not None
        several = np.zeros(SHAPE, bool)
        several.flat[mixtures.position[mixtures.changed]] = True
        np.testing.assert_allclose(told.share[several], 0.6)
        assert (told.share[~several] == 1).all()
        np.testing.assert_allclose(told.share_sigma[several], np.hypot(0.4, 0.6) * 0.05, rtol=1e-6)
        np.testing.assert_allclose(told.confidence, 0.9)  # both are of one class
        wrong = ndtr(-0.1 / told.share_sigma[several])  # 60 % +- so much are less than half
        sigma = mixtures.blend(maps, told.context).sigma[..., 3][several]
        np.testing.assert_allclose(sigma, 0.3 * np.sqrt(wrong), rtol=0.02)

    def test_what_is_not_there_is_vacuum_or_unknown(self, mixed: tuple[Mixtures, AffineField, StrainMaps]) -> None:
        mixtures, field, maps = mixed
        halved = replace(mixtures, amplitude=0.5 * mixtures.amplitude, covariance=0.01 * mixtures.covariance)
        n = len(halved.position)
        beside, alone = replace(halved, vacuum=np.ones(n, bool)), replace(halved, vacuum=np.zeros(n, bool))
        np.testing.assert_allclose(halved.filled, 0.5)
        at = np.unravel_index(halved.position, SHAPE)
        vague, sure = alone.blend(maps, field).sigma[at], beside.blend(maps, field).sigma[at]
        assert (vague[:, 1] > 0.4 * maps.exx.std()).all()
        assert (sure[:, 1] < 0.1 * maps.exx.std()).all()

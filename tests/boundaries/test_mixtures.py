"""What is made of mixtures: strain, share, class and their uncertainties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from boundaries.halves import SHAPE, halves, sides_of
from cyclestrain.affine import symmetric
from cyclestrain.boundaries import Mixtures
from cyclestrain.boundaries.sides import MOST
from cyclestrain.data import AffineField, Doubt, Fields, StrainMaps
from cyclestrain.pattern import Decomposition
from cyclestrain.strain import Reference, relative_strain
from laws import candidates_apart


@pytest.fixture(scope="module")
def mixed() -> tuple[Mixtures, AffineField, StrainMaps]:
    """Two crystals 1 % apart; half of each side of their edge holds the other one by 40 +- 5 %."""
    field = halves(turn=0.3)
    field.affine[:, 10:] = symmetric(1.0, 0.99, 0.0) @ field.affine[:, 10:]
    sides = sides_of(field)
    n = len(sides.position)
    amplitude = np.repeat([[0.0, 0.6, 0.4, 0.0]], n, 0)
    amplitude[::4] = (0.0, 1.0, 0.0, 0.0)
    covariance = np.zeros((n, 1 + MOST, 1 + MOST))
    covariance[:, 1, 1] = covariance[:, 2, 2] = 0.05**2
    nobody = candidates_apart(
        np.zeros((n, 4), int), np.zeros((n, 4, 2, 2)), np.ones((n, 4)), np.ones(n, int), np.zeros((n, 2))
    )
    sides = replace(sides, scatter=0.0)
    mixtures = Mixtures.found(sides, nobody, Decomposition(amplitude, covariance, np.ones(n)))
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
        told = mixtures.with_dominant_crystal(fields)
        assert told.share is not None
        assert told.share_sigma is not None
        several = np.zeros(SHAPE, bool)
        several.flat[mixtures.position[mixtures.changed]] = True
        np.testing.assert_allclose(told.share[several], 0.6)
        assert (told.share[~several] == 1).all()
        assert told.doubt is not None
        np.testing.assert_array_equal((told.doubt & Doubt.MIXTURE) != 0, several)
        beside = np.zeros(SHAPE, bool)
        beside.flat[mixtures.position] = True
        np.testing.assert_array_equal((told.doubt & Doubt.BOUNDARY) != 0, beside & ~several)
        np.testing.assert_allclose(told.share_sigma[several], np.hypot(0.4, 0.6) * 0.05, rtol=1e-6)
        np.testing.assert_allclose(told.confidence, 0.9)  # both are of one class
        wrong = ndtr(-0.1 / told.share_sigma[several])  # 60 % +- so much are less than half
        sigma = mixtures.blend(maps, told.context).sigma[..., 3][several]
        np.testing.assert_allclose(sigma, 0.3 * np.sqrt(wrong), rtol=0.02)

    def test_fits_of_one_crystal_hold_how_far_they_were_drawn(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        """By far more than their noise they are off in all of it, in any labelling; by chance in none."""
        mixtures, field, _ = mixed
        several = np.zeros(SHAPE, bool)
        several.flat[mixtures.position[mixtures.changed]] = True
        nothing, sigma = np.zeros(SHAPE), np.sqrt(field.covariance[..., 0, 0].max())
        turned = field.operators[0][1]
        for far in (0.0, 0.5 * sigma, 100.0 * sigma):
            drawn = replace(field, affine=(field.affine + far * np.eye(2)) @ turned)
            fields = Fields(drawn, field, np.zeros((*SHAPE, 2)), nothing, nothing, np.ones(SHAPE, bool), nothing)
            told = mixtures.with_dominant_crystal(fields).affine
            grown = told.covariance - field.covariance
            assert not grown[~several].any()
            if far < sigma:
                assert not grown.any()
            else:
                np.testing.assert_allclose(np.trace(grown[several], axis1=1, axis2=2), 2 * far**2, rtol=0.1)
        none = replace(mixtures, changed=np.zeros_like(mixtures.changed)).with_dominant_crystal(fields).affine
        np.testing.assert_array_equal(none.covariance, field.covariance)

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

    def test_a_mixture_with_a_crystal_without_strain_has_none(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        """The strain of the other crystal alone would be that of a part of what is seen."""
        mixtures, field, maps = mixed
        left = np.broadcast_to(np.arange(SHAPE[1]) < 10, SHAPE)
        names = ("exx", "eyy", "exy", "rotation")
        without = replace(maps, **{name: np.where(left, np.nan, getattr(maps, name)) for name in names})
        several = np.zeros(SHAPE, bool)
        several.flat[mixtures.position[mixtures.changed]] = True
        np.testing.assert_array_equal(mixtures.holding(left) & ~left, several & ~left)
        got = mixtures.blend(without, field)
        np.testing.assert_array_equal(np.isnan(got.exx), left | several)
        little = np.where(mixtures.amplitude == 0.4, 0.02, mixtures.amplitude)
        got = replace(mixtures, amplitude=little).blend(without, field)
        np.testing.assert_array_equal(np.isnan(got.exx), left)

    def test_a_later_look_replaces_what_was_found(self, mixed: tuple[Mixtures, AffineField, StrainMaps]) -> None:
        mixtures = mixed[0]
        names = ("position", "source", "vacuum", "amplitude", "covariance", "changed", "misfit")
        later = Mixtures(**{name: getattr(mixtures, name)[::3] for name in names})
        later = replace(later, amplitude=2 * later.amplitude)
        joined = mixtures.updated(later)
        np.testing.assert_array_equal(joined.position, mixtures.position)
        twice = joined.amplitude.sum(1) / mixtures.amplitude.sum(1)
        np.testing.assert_allclose(twice, np.where(np.isin(mixtures.position, later.position), 2.0, 1.0))

    def test_a_crystal_from_another_mixture_is_noticed(self, mixed: tuple[Mixtures, AffineField, StrainMaps]) -> None:
        mixtures, (k, other) = mixed[0], np.flatnonzero(mixed[0].changed)[:2]
        assert not mixtures.from_mixtures(SHAPE).any()
        source = mixtures.source.copy()
        source[k, 1] = mixtures.position[other]
        found = np.flatnonzero(replace(mixtures, source=source).from_mixtures(SHAPE))
        assert found.tolist() == [mixtures.position[k]]

    def test_what_no_crystal_around_explains_is_given_none(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        """A crystal that was found nowhere looks like one of those around, the more the less all of them fit."""
        mixtures, field, _ = mixed
        misfit = np.random.default_rng(0).normal(2.0, 0.1, len(mixtures.position))
        odd, own = np.flatnonzero(mixtures.changed)[3], np.flatnonzero(~mixtures.changed)[3]
        misfit[[odd, own]] = 4.0  # an own fit is judged elsewhere, by what it leaves itself
        judged = replace(mixtures, misfit=misfit)
        nothing = np.zeros(SHAPE)
        fields = Fields(
            field, field, np.zeros((*SHAPE, 2)), nothing, nothing, np.ones(SHAPE, bool), np.full(SHAPE, 0.9)
        )
        told = judged.with_dominant_crystal(fields)
        assert np.flatnonzero(~told.context.valid).tolist() == [mixtures.position[odd]]
        assert told.doubt is not None
        assert np.flatnonzero(told.doubt & Doubt.OTHER_STRUCTURE).tolist() == [mixtures.position[odd]]
        misfit[odd] = 2.4  # too much only where there is no fit of its own
        for fitted, expected in ((True, []), (False, [odd])):
            found = replace(mixtures, misfit=misfit).unexplained(np.full(SHAPE, fitted))
            assert np.flatnonzero(found).tolist() == expected

    def test_strain_from_farther_away_is_less_sure_where_it_changes(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        mixtures, field, maps = mixed
        bent = replace(maps, exx=maps.exx + 1e-3 * np.arange(SHAPE[1]))  # by so much from column to column
        k = int(np.flatnonzero(mixtures.amplitude[:, 1] == 1.0)[2])
        position, source, shares = int(mixtures.position[k]), mixtures.source.copy(), mixtures.covariance.copy()
        row, column = divmod(position, SHAPE[1])
        shares[k] = 0.0  # the other crystal is surely not there
        variance = []
        for away in (2, 5):
            source[k, 1] = position + (away if column >= 10 else -away)
            from_there = replace(mixtures, source=source, covariance=shares)
            variance.append(from_there.blend(bent, field).sigma[row, column] ** 2)
        change = (5**2 - 2**2) * 0.5e-6  # of the four neighbours of a source two differ from it
        np.testing.assert_allclose(variance[1] - variance[0], [0.0, change, 0.0, 0.0], rtol=1e-6, atol=1e-12)

    def test_crystals_that_fill_more_than_the_probe_do_not_tell_their_shares(self) -> None:
        """One of them is brighter than where it is alone, unknown which: the share is uncertain by the excess."""
        sides = replace(sides_of(halves(turn=0.3)), scatter=0.0)
        n = len(sides.position)
        nobody = candidates_apart(
            np.zeros((n, 4), int), np.zeros((n, 4, 2, 2)), np.ones((n, 4)), np.ones(n, int), np.zeros((n, 2))
        )
        covariance = np.diag([0.0, 0.02**2, 0.02**2, 0.0]) * np.ones((n, 1, 1))
        sigma = []
        for total in (1.0, 1.4):
            amplitude = total * np.repeat([[0.0, 0.55, 0.45, 0.0]], n, 0)
            found = Mixtures.found(sides, nobody, Decomposition(amplitude, covariance, np.ones(n)))
            sigma.append(np.sqrt(found.weight_covariance[0, 1, 1]))
            assert (found.doubt.max() > 0.3) == (total > 1.0)
        assert sigma[0] < 0.02
        assert sigma[1] > 0.1

    def test_without_a_majority_any_crystal_may_be_dominant(
        self, mixed: tuple[Mixtures, AffineField, StrainMaps]
    ) -> None:
        """A crystal that was taken for two, with slightly different transforms, would have .6 here."""
        mixtures = mixed[0]
        amplitude = np.tile([0.0, 0.4, 0.35, 0.25], (len(mixtures.position), 1))
        split = replace(mixtures, amplitude=amplitude, covariance=0.01 * mixtures.covariance)
        assert (split.dominant == 1).all()
        np.testing.assert_allclose(split.doubt, amplitude * (0, 0, 1, 1), atol=1e-3)
        whole = replace(split, amplitude=amplitude[:, [0, 1, 2, 0]] + (0, 0, 0.25, 0))
        assert whole.doubt.max() < 1e-3

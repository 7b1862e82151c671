"""Of the equivalent labellings of a lattice, strain is that of the one which turns least, one for each grain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from cyclestrain.affine import left_polar, reciprocal, rotation, symmetric, wrap_angle
from cyclestrain.data import AffineField, FloatArray, IntArray, StrainMaps
from cyclestrain.strain import Reference, grain_rotation, relative_strain, strain_in_grains
from cyclestrain.strain.branches import branch_unsure
from cyclestrain.strain.reference import measure_reference
from laws import one_class_field

STRAIN = 0.012


def n_fold(order: int) -> FloatArray:
    return rotation(2 * np.pi * np.arange(order) / order)


def tensor(maps: StrainMaps) -> FloatArray:
    return symmetric(maps.eyy, maps.exx, maps.exy)


@dataclass(frozen=True)
class Polycrystal:
    """A field of strained grains, labelled at random, and its true gradients."""

    field: AffineField
    gradient: FloatArray
    grain: IntArray
    fold: int

    def truth(self, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Strain and rotation of the variant of each grain that turns least."""
        turned = self.gradient[..., None, :, :] @ n_fold(self.fold) @ np.linalg.inv(reference)
        stretch, theta = left_polar(turned)
        best = np.abs(theta).argmin(-1)[..., None]
        strain = np.take_along_axis(stretch, best[..., None, None], -3)[..., 0, :, :] - np.eye(2)
        return strain, np.take_along_axis(theta, best, -1)[..., 0]


def polycrystal(seed: int, fold: int, noise: float, shape: tuple[int, int] = (28, 28), n: int = 10) -> Polycrystal:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 1, (n, 2)) * shape
    grain = np.linalg.norm(np.stack(np.indices(shape), -1)[:, :, None] - places, axis=-1).argmin(-1)
    eyy, exx, exy = rng.uniform(-STRAIN, STRAIN, (3, n))
    gradient = (symmetric(1 + eyy, 1 + exx, exy) @ rotation(rng.uniform(0, 2 * np.pi, n)))[grain]
    affine = reciprocal(gradient) @ n_fold(fold)[rng.integers(0, fold, shape)]
    affine = affine + noise * rng.standard_normal(affine.shape)
    return Polycrystal(one_class_field(affine, noise, n_fold(fold)), gradient, grain, fold)


def reference_of(made: Polycrystal) -> tuple[Reference, FloatArray]:
    """The largest grain as it was measured, and as it is, in the variant that was measured."""
    mask = made.grain == np.bincount(made.grain.ravel()).argmax()
    found = measure_reference(made.field, mask)
    variants = made.gradient[mask][0] @ n_fold(made.fold)
    return found, variants[np.abs(variants - found.gradient[0]).max((1, 2)).argmin()]


class TestGrainsOfAnyRotation:
    @pytest.mark.parametrize("fold", [6, 4, 3])
    @pytest.mark.parametrize("noise", [3e-4, 1.5e-3])
    def test_no_grain_is_off(self, fold: int, noise: float) -> None:
        """Thirty polycrystals: errors against the least-turned variant are what sigma says, everywhere."""
        for seed in range(30):
            made = polycrystal(seed, fold, noise)
            reference, true_reference = reference_of(made)
            near = grain_rotation(relative_strain(made.field, reference), made.field)
            maps, unsure = strain_in_grains(made.field, reference, near)
            truth, theta = made.truth(true_reference)
            sigma = symmetric(*np.moveaxis(maps.sigma[..., :3], -1, 0))
            z = np.abs(tensor(maps) - truth) / sigma
            for k in np.unique(made.grain):
                assert np.median(z[made.grain == k], 0).max() < 5
            assert (z.max((-1, -2)) > 6).sum() == 0
            # Far from the change of labelling nothing is in doubt.
            far = np.abs(theta) < np.pi / fold - np.deg2rad(1.5)
            assert not unsure[far].any()

    def test_the_labelling_is_one_per_grain(self) -> None:
        """Also in grains whose positions alone would be of either."""
        rng = np.random.default_rng(1)
        gradient = np.broadcast_to(rotation(np.deg2rad(29.99)), (12, 12, 2, 2))
        affine = reciprocal(gradient) @ n_fold(6)[rng.integers(0, 6, (12, 12))] + rng.normal(0, 1e-3, (12, 12, 2, 2))
        field, reference = one_class_field(affine, 1e-3, n_fold(6)), Reference.known(np.diag([1.01, 0.99])[None])
        alone = relative_strain(field, reference)
        assert np.ptp(alone.rotation) > 1
        maps, unsure = strain_in_grains(field, reference, grain_rotation(alone, field))
        assert np.ptp(maps.rotation) < 0.01
        assert maps.exx.std() < 2e-3
        assert unsure.all()
        # Both variants are within three of the sigmas that are told.
        other = relative_strain(field, reference, maps.rotation - np.sign(maps.rotation) * np.pi / 3)
        assert np.abs(other.exy - maps.exy).min() > 5e-3
        assert (np.abs(other.exy - maps.exy) < 3 * maps.sigma[..., 2]).all()

    def test_what_lies_between_does_not_matter(self) -> None:
        """A grain at -25.8 degrees beside one at +29.7, joined by some that turn step by step."""
        degrees = np.repeat([-25.8, -28.0, -29.0, 29.7 - 60, 29.7 - 60 - 3], 6)
        gradient = np.broadcast_to(rotation(np.deg2rad(degrees)), (8, 30, 2, 2))
        field = one_class_field(reciprocal(gradient), 1e-4, n_fold(6))
        reference = Reference.known(np.diag([1.012, 0.99])[None])
        near = grain_rotation(relative_strain(field, reference), field)
        np.testing.assert_allclose(np.rad2deg(near), np.broadcast_to(wrap_angle(degrees, 60.0), (8, 30)), atol=1.0)

    def test_a_reference_of_the_lattices_own_symmetry_leaves_no_doubt(self) -> None:
        field = one_class_field(reciprocal(np.broadcast_to(rotation(np.pi / 6), (4, 4, 2, 2))), 1e-4, n_fold(6))
        reference = Reference.known(np.eye(2)[None])
        maps = relative_strain(field, reference)
        assert branch_unsure(maps, field).all()
        assert not strain_in_grains(field, reference, maps.rotation)[1].any()


class TestBentCrystals:
    @staticmethod
    def bent(theta: FloatArray, rng: np.random.Generator, noise: float = 1e-3) -> AffineField:
        """A six-fold crystal turned by `theta` from place to place, each pattern labelled at random."""
        affine = rotation(theta) @ symmetric(1.004, 0.997, 0.002)
        affine = affine @ n_fold(6)[rng.integers(6, size=theta.shape)] + rng.normal(0, noise, (*theta.shape, 2, 2))
        return one_class_field(affine, noise, n_fold(6))

    @pytest.mark.parametrize("columns", [30, 90, 400])
    def test_one_that_bends_beyond_half_its_symmetry_does_not_jump(self, columns: int) -> None:
        """In steps of 4.5, 1.5 and 0.3 degrees."""
        theta = np.deg2rad(np.linspace(-60, 75, columns))[None] * np.ones((4, 1))
        field = self.bent(theta, np.random.default_rng(1))
        reference = measure_reference(field, np.abs(theta) < np.deg2rad(4))
        smallest = relative_strain(field, reference)
        smooth = grain_rotation(smallest, field)
        assert np.abs(np.diff(smallest.rotation, axis=1)).max() > np.deg2rad(50)
        offset = np.median(smooth - theta)
        assert np.abs(smooth - theta - offset).max() < 8e-3
        again = relative_strain(field, reference, smooth)
        assert np.allclose(again.rotation, smooth, atol=1e-4)

    def test_single_positions_follow_the_grain_beside_them(self) -> None:
        theta = np.full((6, 6), np.deg2rad(27.0))
        theta[2, 3] += np.deg2rad(4.0)  # by itself -29 degrees
        field = self.bent(theta, np.random.default_rng(0), noise=1e-5)
        smallest = relative_strain(field, Reference.known(np.eye(2)[None]))
        assert np.ptp(smallest.rotation) > 0.9
        assert np.ptp(grain_rotation(smallest, field)) < 0.1


def test_a_class_without_reference_stays_blank_and_harms_no_other() -> None:
    affine = reciprocal(np.broadcast_to(rotation(np.deg2rad(20.0)), (6, 8, 2, 2)))
    label = np.repeat([0, 1], 4)[None] * np.ones((6, 8), int)
    field = one_class_field(affine, 1e-4, label=label)
    field = replace(field, operators=(n_fold(6), n_fold(4)))
    reference = Reference.known(np.stack([np.eye(2), np.full((2, 2), np.nan)]))
    near = grain_rotation(relative_strain(field, reference), field)
    maps, unsure = strain_in_grains(field, reference, near)
    np.testing.assert_array_equal(np.isnan(maps.exx), label == 1)
    np.testing.assert_allclose(np.rad2deg(maps.rotation[label == 0]), 20.0)
    assert not unsure.any()

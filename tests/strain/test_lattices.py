"""References that are lattices: the most symmetric shape, and the lattice of another class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import left_polar, reciprocal, rotation, symmetric
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.errors import InputError
from cyclestrain.strain import (
    Ellipse,
    Wanted,
    grain_rotation,
    is_same_lattice,
    measure_ellipse,
    pick_reference,
    relative_strain,
)
from cyclestrain.strain import strain_in_grains as strained
from laws import one_class_field

NOISE = 3e-4


def n_fold(order: int) -> FloatArray:
    return rotation(2 * np.pi * np.arange(order) / order)


def lattice(fold: int, length: float = 18.0) -> FloatArray:
    """Reciprocal vectors as columns, the first along +x (column)."""
    angle = np.deg2rad(90.0 if fold == 4 else 60.0)
    return length * np.array([[0.0, np.sin(angle)], [1.0, np.cos(angle)]])


def polycrystal(
    rng: np.random.Generator, fold: int, strain: float, n: int = 12, ellipse: Ellipse | None = None
) -> tuple[AffineField, FloatArray, FloatArray]:
    """Grains of 6 x 6 positions in a row, the true gradient of each position, and the basis of a strained entry."""
    gauge = np.eye(2) + rng.normal(0, 0.005, (2, 2))
    eyy, exx, exy = rng.uniform(-strain, strain, (3, n))
    number = np.broadcast_to(np.repeat(np.arange(n), 6), (6, 6 * n))
    gradient = (symmetric(1 + eyy, 1 + exx, exy) @ rotation(rng.uniform(0, 2 * np.pi, n)))[number]
    affine = reciprocal(gradient) @ n_fold(fold)[rng.integers(0, fold, number.shape)] @ gauge
    affine = (np.eye(2) if ellipse is None else ellipse.matrix) @ affine + rng.normal(0, NOISE, affine.shape)
    field = one_class_field(affine, NOISE, np.linalg.inv(gauge) @ n_fold(fold) @ gauge)
    return field, gradient, np.linalg.inv(gauge) @ lattice(fold)


def errors(field: AffineField, gradient: FloatArray, basis: FloatArray, ellipse: Ellipse) -> FloatArray:
    """Error over sigma of eyy, exx, exy against the truth itself at the mean spacing, shape ``(ry, rx, 3)``."""
    corrected = ellipse.corrected(field)
    reference = pick_reference(corrected, Wanted("ideal"), basis[None])
    maps, unsure = strained(corrected, reference, grain_rotation(relative_strain(corrected, reference), corrected))
    assert not unsure.any()
    maps = ellipse.widened(maps, absolute=True)
    spacing = np.exp(np.log(np.linalg.det(gradient[reference.mask])).mean() / 2)
    true, _ = left_polar(gradient / spacing)
    found = np.stack([maps.eyy + 1 - true[..., 0, 0], maps.exx + 1 - true[..., 1, 1], maps.exy - true[..., 0, 1]], -1)
    return found / maps.sigma[..., :3]


class TestIdeal:
    @pytest.mark.parametrize("fold", [3, 4, 6])
    def test_strain_is_the_truth_itself(self, fold: int) -> None:
        """Thirty polycrystals, grains of any rotation, a detector without distortion: no grain is off, no branches."""
        for seed in range(30):
            rng = np.random.default_rng([fold, seed])
            z = errors(*polycrystal(rng, fold, 0.012), Ellipse.given(1.0, 0.0))
            assert np.abs(np.median(z.reshape(6, 12, 6, 3), (0, 2))).max() < 1.5
            assert 0.9 < z.std() < 1.1

    @pytest.mark.parametrize("fold", [4, 6])
    def test_the_ellipse_is_in_sigma(self, fold: int) -> None:
        worst = []
        for seed in range(30):
            rng = np.random.default_rng([fold, seed])
            field, gradient, basis = polycrystal(rng, fold, 0.003, 4, Ellipse.given(1.02, 20.0 * seed))
            z = errors(field, gradient, basis, measure_ellipse(field))
            worst.append(np.abs(np.median(z.reshape(6, 4, 6, 3), (0, 2))).max())
        assert np.mean(np.array(worst) > 3) <= 0.05

    def test_a_single_strained_crystal_is_doubtful_not_unstrained(self) -> None:
        field, gradient, basis = polycrystal(np.random.default_rng(1), 4, 0.01, 1)
        ellipse = measure_ellipse(field)
        assert np.abs(errors(field, gradient, basis, ellipse)).max() < 3

    def test_rotation_counts_from_the_column_axis(self) -> None:
        turned = one_class_field(
            reciprocal(np.broadcast_to(rotation(np.deg2rad(11.0)), (3, 3, 2, 2))), NOISE, n_fold(6)
        )
        reference = pick_reference(turned, Wanted("ideal"), lattice(6)[None])
        np.testing.assert_allclose(np.rad2deg(relative_strain(turned, reference).rotation), 11.0, atol=1e-9)

    def test_lower_symmetry_is_refused_in_one_sentence(self) -> None:
        field = one_class_field(np.broadcast_to(np.eye(2), (3, 3, 2, 2)), operators=n_fold(2))
        with pytest.raises(InputError, match="3-, 4- or 6-fold axis"):
            pick_reference(field, Wanted("ideal"), lattice(4)[None])


class TestOfAnotherClass:
    @staticmethod
    def layered(fold: int, mismatch: float, turned: float) -> tuple[AffineField, FloatArray]:
        """A substrate below a layer whose entry has a basis of its own choice, turned and larger by `mismatch`."""
        layer = symmetric(1 + mismatch, 1.0, 0.001) @ rotation(np.deg2rad(turned))
        own = rotation(0.7) @ lattice(fold) / np.sqrt(1 + mismatch)  # of the layer's entry
        affine = np.broadcast_to(reciprocal(rotation(0.2)), (8, 6, 2, 2)).copy()
        affine[4:] = reciprocal(layer @ rotation(0.2)) @ lattice(fold) @ np.linalg.inv(own)
        label = np.repeat([0, 1], 4)[:, None] * np.ones((8, 6), int)
        field = replace(one_class_field(affine, NOISE), label=label, operators=(n_fold(fold), n_fold(fold)))
        return field, np.stack([lattice(fold), own @ np.array([[1.0, 1.0], [0.0, 1.0]])])

    @pytest.mark.parametrize("fold", [4, 6])
    @pytest.mark.parametrize(("mismatch", "turned"), [(0.02, 0.0), (0.06, 1.5), (-0.04, -3.0)])
    def test_a_layer_is_strained_against_its_substrate(self, fold: int, mismatch: float, turned: float) -> None:
        field, bases = self.layered(fold, mismatch, turned)
        reference = pick_reference(field, Wanted("class"), bases)
        maps = relative_strain(field, reference)
        np.testing.assert_allclose(maps.eyy[4:], mismatch, atol=1e-9)
        np.testing.assert_allclose(maps.exx[4:], 0.0, atol=1e-9)
        np.testing.assert_allclose(maps.exy[4:], 0.001, atol=1e-9)
        np.testing.assert_allclose(np.rad2deg(maps.rotation[4:]), turned, atol=1e-6)
        np.testing.assert_allclose(maps.exx[:4], 0.0, atol=1e-9)
        assert "also of class 1" in reference.text
        assert not reference.mask[4:].any()

    def test_lattices_that_do_not_correspond_have_none(self) -> None:
        field, bases = self.layered(4, 0.4, 0.0)
        assert list(pick_reference(field, Wanted("class"), bases).classes) == [True, False]

    def test_a_class_that_is_not_there(self) -> None:
        field, bases = self.layered(4, 0.02, 0.0)
        with pytest.raises(InputError, match="there are the classes 0 to 1"):
            pick_reference(field, Wanted("class", entry=2), bases)


BASES = {
    "square": np.array([[16.0, 0.0], [0.0, -16.0]]),
    "hexagonal": 16.0 * np.array([[1.0, -0.5], [0.0, -np.sqrt(0.75)]]),
    "rectangular": np.array([[14.0, 0.0], [0.0, -19.0]]),
    "rhombic": np.array([[14.0, 14.0], [9.0, -9.0]]),
    "oblique": np.array([[14.0, 3.7], [0.0, -16.1]]),
}


@pytest.mark.parametrize("name", BASES)
def test_a_turned_and_relabelled_copy_is_the_same_lattice(name: str) -> None:
    one = BASES[name]
    relabelled = rotation(0.7) @ one @ np.array([[0, 1], [-1, 0]])
    strained = symmetric(1.008, 0.994, 0.004) @ relabelled
    assert is_same_lattice(one, relabelled)
    assert is_same_lattice(one, strained)
    assert is_same_lattice(strained, one)
    assert not is_same_lattice(one, np.diag([1.04, 1.0]) @ one)


@pytest.mark.parametrize("name", BASES)
def test_a_mirror_image_is_another_lattice_only_where_it_is_oblique(name: str) -> None:
    """Mirror twins: no rotation of one explains the other, and half of such a scan was left without an entry."""
    image = np.diag([1.0, -1.0]) @ BASES[name] @ np.diag([1, -1])
    assert is_same_lattice(BASES[name], image) == (name != "oblique")

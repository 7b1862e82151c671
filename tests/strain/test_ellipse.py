"""An elliptic distortion of the detector is no strain between grains, or is in sigma."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import left_polar, reciprocal, rotation, symmetric
from cyclestrain.data import AffineField, FloatArray
from cyclestrain.strain import Ellipse, Reference, measure_ellipse, relative_strain
from cyclestrain.strain.reference import measure_reference
from cyclestrain.strain.variants import ideal_shape
from laws import one_class_field

NOISE = 2e-4
SIDE = 6


def n_fold(order: int) -> FloatArray:
    return rotation(2 * np.pi * np.arange(order) / order)


def grains_of(
    rng: np.random.Generator, n: int, fold: int, strain: float, ellipse: Ellipse, degrees: FloatArray | None = None
) -> tuple[AffineField, FloatArray]:
    """A row of square grains seen by a distorted detector, and the true gradient of each.

    The entry is strained a little, as one that was learned from the scan is, and patterns are labelled at random.
    """
    gauge = np.eye(2) + rng.normal(0, 0.005, (2, 2))
    exx, eyy, exy = rng.normal(0, strain, (3, n))
    theta = rng.uniform(0, 2 * np.pi, n) if degrees is None else np.deg2rad(degrees)
    gradient = symmetric(1 + eyy, 1 + exx, exy) @ rotation(theta)
    shape = (SIDE, SIDE * n)
    number = np.broadcast_to(np.repeat(np.arange(n), SIDE), shape)
    affine = ellipse.matrix @ reciprocal(gradient)[number] @ n_fold(fold)[rng.integers(0, fold, shape)] @ gauge
    affine = affine + rng.normal(0, NOISE, affine.shape)
    return one_class_field(affine, NOISE, np.linalg.inv(gauge) @ n_fold(fold) @ gauge), gradient


def worst(field: AffineField, gradient: FloatArray, fold: int) -> tuple[float, float]:
    """Largest error of the strain of a grain's mean over its sigma, and the median sigma."""
    ellipse = measure_ellipse(field)
    corrected = ellipse.corrected(field)
    mask = np.zeros(field.label.shape, bool)
    mask[:, :SIDE] = True
    maps = ellipse.widened(relative_strain(corrected, measure_reference(corrected, mask)))
    z = []
    for k in range(1, len(gradient)):
        stretch, theta = left_polar(gradient[k] @ n_fold(fold) @ np.linalg.inv(gradient[0]))
        true = stretch[np.abs(theta).argmin()]
        if np.abs(theta).min() > np.pi / fold - np.deg2rad(2):
            continue
        here = np.s_[:, SIDE * k : SIDE * (k + 1)]
        for name, value in (("eyy", true[0, 0] - 1), ("exx", true[1, 1] - 1), ("exy", true[0, 1])):
            sigma = maps.sigma[here][..., ("eyy", "exx", "exy").index(name)]
            z.append(np.abs(np.median(getattr(maps, name)[here]) - value) / np.median(sigma))
    return max(z, default=0.0), float(np.median(maps.sigma[..., :3]))


class TestFewOrientations:
    @pytest.mark.parametrize("fold", [4, 6, 3])
    @pytest.mark.parametrize("orientations", [2, 3, 5])
    @pytest.mark.parametrize("strain", [0.0, 1e-3, 3e-3])
    def test_false_strain_is_within_three_sigmas(self, fold: int, orientations: int, strain: float) -> None:
        """Forty fields with axes in the ratio 1.01 to 1.03."""
        rng = np.random.default_rng([fold, orientations, int(1e4 * strain)])
        z, sigma = [], []
        for _ in range(40):
            distorted = Ellipse.given(rng.uniform(1.01, 1.03), rng.uniform(0, 180))
            one, two = worst(*grains_of(rng, orientations, fold, strain, distorted), fold)
            z.append(one)
            sigma.append(two)
        assert np.mean(np.array(z) > 3) <= 0.05
        assert max(z) < 6
        if orientations == 5 and strain < 3e-3:
            assert np.median(sigma) < 2e-3

    @pytest.mark.parametrize("orientations", [2, 3])
    def test_few_grains_with_a_percent_of_strain(self, orientations: int) -> None:
        rng = np.random.default_rng(orientations)
        z = []
        for _ in range(60):
            distorted = Ellipse.given(rng.uniform(1.0, 1.03), rng.uniform(0, 180))
            z.append(worst(*grains_of(rng, orientations, 4, 0.007, distorted), 4)[0])
        assert np.mean(np.array(z) > 3) <= 0.07

    def test_the_numbers_come_back(self) -> None:
        rng = np.random.default_rng(3)
        field, _ = grains_of(rng, 2, 4, 0.0, Ellipse.given(1.0155, 32.0), np.array([0.0, 40.0]))
        found = measure_ellipse(field)
        assert abs(found.ratio - 1.0155) < 4 * np.sqrt(found.covariance[0, 0])
        assert found.degrees == pytest.approx(32.0, abs=4.0)
        assert "from 2 orientations" in str(found)
        assert " +- 0.00" in str(found)


class TestOneOrientation:
    @pytest.mark.parametrize("fold", [2, 4, 6])
    def test_it_is_not_taken_for_an_ellipse(self, fold: int) -> None:
        """A strained single crystal stays as it is; sigma grows where it is turned against the reference only."""
        field, _ = grains_of(np.random.default_rng(fold), 1, fold, 0.01, Ellipse.given(1.0, 0.0))
        found = measure_ellipse(field)
        assert not found.q.any()
        assert np.sqrt(found.covariance[0, 0]) > 1.5e-3
        assert "1 orientation only" in str(found)
        maps = relative_strain(field, measure_reference(field, np.ones(field.label.shape, bool)))
        np.testing.assert_allclose(found.widened(maps).sigma, maps.sigma, rtol=0.02)

    def test_parts_of_a_bent_crystal_are_one(self) -> None:
        theta = np.deg2rad(np.linspace(-20, 20, 60))[None] * np.ones((6, 1))
        affine = reciprocal(symmetric(1.005, 0.995, 0.0) @ rotation(theta))
        found = measure_ellipse(one_class_field(affine, 1e-4, n_fold(4)))
        assert found.orientations == 1
        assert not found.q.any()

    def test_nothing_is_known_of_a_scan_without_grains(self) -> None:
        field = one_class_field(np.broadcast_to(np.eye(2), (3, 3, 2, 2)), valid=np.zeros((3, 3), bool))
        found = measure_ellipse(field)
        assert found.orientations == 0
        assert np.sqrt(found.covariance[0, 0]) == pytest.approx(0.01)


class TestManyOrientations:
    @pytest.mark.parametrize("fold", [1, 2, 4, 6])
    @pytest.mark.parametrize("orientations", [9, 25])
    def test_none_is_corrected_where_there_is_none(self, fold: int, orientations: int) -> None:
        rng = np.random.default_rng([fold, orientations])
        wrong = 0
        for strain in np.repeat([0.0, 2e-3, 0.01], 10):
            field, _ = grains_of(rng, orientations, fold, strain, Ellipse.given(1.0, 0.0))
            wrong += bool(measure_ellipse(field).q.any())
        assert wrong <= 1

    @pytest.mark.parametrize("fold", [1, 2, 4, 6])
    def test_a_distortion_is_found(self, fold: int) -> None:
        rng, z = np.random.default_rng(fold), []
        for _ in range(15):
            true = Ellipse.given(1.02, rng.uniform(0, 180))
            found = measure_ellipse(grains_of(rng, 12, fold, 0.002, true)[0])
            assert found.q.any()
            z.append((found.q - true.q) / np.sqrt(np.diag(found.covariance)))
        assert np.sqrt(np.mean(np.square(z))) < 1.5


class TestGiven:
    def test_it_is_exact_and_said(self) -> None:
        assert not Ellipse.given(1.02, 30.0).covariance.any()
        assert Ellipse.given(1.02, 30.0).ratio == pytest.approx(1.02)
        assert "as given" in str(Ellipse.given(1.02, 30.0))
        assert str(Ellipse.given(1.0, 0.0)) == "none, as given"

    def test_correction_undoes_it(self) -> None:
        ellipse, rng = Ellipse.given(1.03, 50.0), np.random.default_rng(0)
        affine = np.eye(2) + rng.normal(0, 0.01, (3, 3, 2, 2))
        corrected = ellipse.corrected(one_class_field(ellipse.matrix @ affine))
        np.testing.assert_allclose(corrected.affine, affine, atol=1e-12)


@pytest.mark.parametrize("absolute", [False, True])
def test_widening_is_the_change_of_strain_with_the_distortion(absolute: bool) -> None:
    """By differences: the reference is recorded with the same distortion, or is a lattice that is known."""
    rng = np.random.default_rng(5)
    gradient = symmetric(1.01, 0.99, 0.004) @ rotation(0.4)
    reference = np.eye(2) if absolute else symmetric(1.003, 1.0, 0.001) @ rotation(0.1)
    step, base = 1e-5, rng.normal(0, 0.0, 2)

    def strain(q: FloatArray) -> FloatArray:
        inverse = np.linalg.inv(np.eye(2) + np.array([[-q[0], q[1]], [q[1], q[0]]]))
        known = reference if absolute else inverse @ reference
        maps = relative_strain(
            one_class_field(reciprocal(inverse @ gradient)[None, None]), Reference.known(known[None])
        )
        return np.array([maps.eyy[0, 0], maps.exx[0, 0], maps.exy[0, 0], maps.rotation[0, 0]])

    change = np.stack([(strain(base + d) - strain(base - d)) / (2 * step) for d in step * np.eye(2)], -1)
    covariance = np.array([[2e-6, 5e-7], [5e-7, 1e-6]])
    maps = relative_strain(one_class_field(reciprocal(gradient)[None, None], 0.0), Reference.known(reference[None]))
    found = Ellipse(np.zeros(2), covariance, 3).widened(maps, absolute=absolute).covariance[0, 0]
    np.testing.assert_allclose(found, change @ covariance @ change.T, atol=1e-10)


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 6])
def test_the_ideal_shape_makes_operators_rotations(fold: int) -> None:
    gauge = np.array([[1.01, 0.02], [-0.01, 0.98]])
    shape = ideal_shape(np.linalg.inv(gauge) @ n_fold(fold) @ gauge)
    operators = shape @ np.linalg.inv(gauge) @ n_fold(fold) @ gauge @ np.linalg.inv(shape)
    np.testing.assert_allclose(operators, np.broadcast_to(n_fold(fold), operators.shape), atol=1e-12)
    assert np.linalg.det(shape) == pytest.approx(1.0)

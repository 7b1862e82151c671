"""Derived maps: values by linear algebra, uncertainties by the scatter of noise, honest where degenerate."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import symmetric
from cyclestrain.strain import dilation, principal_strains, rotation_gradient

N = 20_000


def correlated(seed: int, size: float = 1e-3) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(3, 3))
    return size**2 * root @ root.T


def noisy(middle: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    return np.random.default_rng(9).multivariate_normal(middle, covariance, N)


@pytest.mark.parametrize("seed", range(5))
def test_principal_strains_are_eigenvalues_and_sigma_is_the_scatter(seed: int) -> None:
    middle, covariance = np.array([-0.02, 0.03, 0.02]) * (-1) ** seed, correlated(seed)
    found = principal_strains(middle, covariance)
    eyy, exx, exy = middle
    values, vectors = np.linalg.eigh(symmetric(eyy, exx, exy))
    assert found["smallest"].value == pytest.approx(values[0])
    assert found["largest"].value == pytest.approx(values[1])
    direction = np.array([np.sin(found["angle"].value), np.cos(found["angle"].value)])
    assert abs(direction @ vectors[:, 1]) == pytest.approx(1.0)
    drawn = principal_strains(noisy(middle, covariance), covariance) | {
        "dilation": dilation(noisy(middle, covariance), covariance)
    }
    for name, one in (found | {"dilation": dilation(middle, covariance)}).items():
        assert drawn[name].value.std() == pytest.approx(float(one.sigma), rel=0.03), name


def test_no_uncertainty_is_too_small_where_the_principal_strains_are_equal() -> None:
    covariance = correlated(3)
    drawn = principal_strains(noisy(np.array([0.01, 0.01, 0.0]), covariance), covariance)
    for name, truth in (("largest", 0.01), ("smallest", 0.01), ("shear", 0.0)):
        off = drawn[name].value - truth
        assert np.sqrt((off**2).mean()) < 1.5 * float(np.median(drawn[name].sigma))
    assert np.percentile(drawn["angle"].sigma, 1) > np.deg2rad(9)
    exact = principal_strains(np.array([0.01, 0.01, 0.0]), covariance)
    assert exact["angle"].sigma == pytest.approx(np.pi / 12**0.5)
    assert exact["shear"].sigma > 0


def test_the_camera_length_is_all_of_the_dilation_and_nothing_of_the_shear() -> None:
    common = np.array([1.01, 1.02, 0.005]) * 0.02
    covariance = np.outer(common, common)
    strain = np.array([0.01, 0.02, 0.005])
    assert dilation(strain, covariance).sigma == pytest.approx(0.0406)
    assert principal_strains(strain, covariance)["shear"].sigma < 2e-4


def test_unknown_positions_stay_unknown() -> None:
    nothing = principal_strains(np.full((2, 3), np.nan), np.full((2, 3, 3), np.nan))
    assert all(np.isnan(nothing[name].value).all() for name in ("largest", "shear", "angle"))


class TestRotationGradient:
    def test_of_a_bent_crystal_across_the_jump_of_its_symmetry(self) -> None:
        rows, columns = np.mgrid[:6, :9]
        period = np.full((6, 9), np.pi / 3)
        angle = 0.02 * rows - 0.05 * columns
        angle = (angle + np.pi / 6) % (np.pi / 3) - np.pi / 6
        maps = rotation_gradient(angle, np.full((6, 9), 1e-3), period, np.zeros((6, 9), int), step=0.5)
        np.testing.assert_allclose(maps["along_y"].value, 0.04)
        np.testing.assert_allclose(maps["along_x"].value, -0.10)

    def test_sigma_is_the_scatter_of_noise(self) -> None:
        angle = np.random.default_rng(0).normal(0, 1e-3, (200, 200))
        maps = rotation_gradient(
            angle, np.full(angle.shape, 1e-3), np.full(angle.shape, 6.0), np.zeros(angle.shape, int)
        )
        for estimate in maps.values():
            assert estimate.value[1:-1, 1:-1].std() == pytest.approx(float(estimate.sigma[5, 5]), rel=0.03)
            assert estimate.value[[0, -1], 0].std() < 3 * estimate.sigma[0, 0]
            np.testing.assert_allclose(estimate.sigma[0, 0] / estimate.sigma[5, 5], 2.0)

    def test_nothing_is_said_across_classes_or_of_single_positions(self) -> None:
        label = np.array([[0, 0, 1, -1, 1]])
        angle = np.array([[0.0, 0.1, 3.0, np.nan, 0.0]])
        maps = rotation_gradient(angle, np.full((1, 5), 0.01), np.full((1, 5), 6.0), label)
        np.testing.assert_allclose(maps["along_x"].value, [[0.1, 0.1, np.nan, np.nan, np.nan]])
        assert np.isnan(maps["along_y"].value).all()

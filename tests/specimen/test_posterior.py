"""Laws of the scatter around a best fit: parabolas keep their curvature, other minima and valleys count."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cyclestrain.data import FloatArray
from cyclestrain.specimen.posterior import Minima, Scatter, scatter_around

BOUNDS = (np.full(2, -50.0), np.full(2, 50.0))


def scatter(points: FloatArray, deviance: Callable[[FloatArray], FloatArray], covariance: FloatArray) -> Scatter:
    """Of one position with minima at some points."""
    minima = Minima(points[None], np.tile(covariance, (1, len(points), 1, 1)), deviance(points[None]))
    return scatter_around(minima, BOUNDS, deviance, far=4.0)


def test_a_parabola_has_the_covariance_of_its_curvature() -> None:
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    inverse = np.linalg.inv(covariance)
    found = scatter(np.zeros((1, 2)), lambda x: np.einsum("nki,ij,nkj->nk", x, inverse, x), covariance)
    np.testing.assert_allclose(found.covariance[0], covariance, rtol=0.1, atol=0.05)
    assert found.tail[0] < 1e-3


@pytest.mark.parametrize("higher", [0.0, 2.0, 6.0])
def test_another_minimum_counts_by_its_probability(higher: float) -> None:
    places = np.array([[0.0, 5.0], [0.0, -5.0]])

    def deviance(x: FloatArray) -> FloatArray:
        each = [((x - place) ** 2).sum(-1) + k * higher for k, place in enumerate(places)]
        return np.asarray(np.min(each, axis=0))

    found = scatter(places, deviance, np.eye(2))
    share = np.exp(-0.5 * higher) / (1 + np.exp(-0.5 * higher))
    assert found.opposite[0] == pytest.approx(share, rel=0.15)
    assert found.covariance[0, 1, 1] == pytest.approx(1 + 100 * share, rel=0.15)
    assert (found.tail[0] > 0.01) == (share < 1 / 16 and higher > 0)  # far from the best, in units of sigma


def test_a_valley_that_bends_is_wider_than_its_curvature_says() -> None:
    def deviance(x: FloatArray) -> FloatArray:
        return np.asarray((x[..., 0] / 6) ** 2 + ((x[..., 1] - 0.01 * x[..., 0] ** 2) / 0.3) ** 2)

    found = scatter(np.zeros((1, 2)), deviance, np.diag([36.0, 0.09]))
    assert found.covariance[0, 0, 0] == pytest.approx(36.0, rel=0.3)
    assert 0.7 < found.covariance[0, 1, 1] / (3 * 0.36**2 + 0.09) < 2


def test_nothing_outside_the_library_counts() -> None:
    bounds = (np.array([-1.0, -50.0]), np.array([1.0, 50.0]))
    minima = Minima(np.zeros((1, 1, 2)), 400 * np.eye(2)[None, None], np.zeros((1, 1)))
    found = scatter_around(minima, bounds, lambda x: np.zeros(x.shape[:2]), far=4.0)
    assert found.covariance[0, 0, 0] == pytest.approx(1 / 3, rel=0.3)

"""Rotation and handedness of the scan: right with an honest sigma where the beam is deflected, unknown elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from cyclestrain.affine import rotation, wrap_angle
from cyclestrain.calibration import ScanGeometry, geometry_from_centres
from cyclestrain.data import FloatArray

FLIP = np.diag([-1.0, 1.0])


def potential_gradient(rng: np.random.Generator, n: int = 40, width: float = 2.0) -> FloatArray:
    """Deflection by a rough sample, of unit size, in scan axes."""
    wide = gaussian_filter(rng.normal(size=(n + 20, n + 20)), width)[10:-10, 10:-10]
    field = np.stack(np.gradient(wide), -1)
    return field / field.std()


def on_detector(field: FloatArray, degrees: float, mirrored: bool) -> FloatArray:
    matrix = rotation(np.deg2rad(degrees)) @ (FLIP if mirrored else np.eye(2))
    return np.asarray(field @ matrix.T)


def error(found: ScanGeometry, degrees: float) -> float:
    assert found.angle is not None
    return float(np.rad2deg(wrap_angle(found.angle - np.deg2rad(degrees), np.pi)))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 37, 90, -120])
def test_rotation_and_handedness_within_two_degrees(degrees: float, mirrored: bool) -> None:
    rng = np.random.default_rng(degrees % 7)
    field = on_detector(potential_gradient(rng), degrees, mirrored)
    found = geometry_from_centres(field + rng.normal(0, 0.3, field.shape) + (64.0, 63.0))
    assert found.mirrored == mirrored
    assert abs(error(found, degrees)) < 2.0
    assert ("and mirrored" if mirrored else "not mirrored") in found.text


def test_sigma_is_the_scatter_of_the_error() -> None:
    rng = np.random.default_rng(0)
    pulls = []
    for _ in range(40):
        degrees = rng.uniform(-180, 180)
        field = on_detector(potential_gradient(rng), degrees, bool(rng.integers(2)))
        found = geometry_from_centres(field + rng.normal(0, 0.7, field.shape))
        if found.angle is not None:
            pulls.append(error(found, degrees) / np.rad2deg(found.sigma))
    assert len(pulls) > 30
    assert 0.6 < np.sqrt(np.mean(np.square(pulls))) < 1.5


def descan(rng: np.random.Generator, n: int) -> FloatArray:
    rows, columns = np.mgrid[:n, :n] / n
    return np.stack([rows * 3 + columns**2, rows - 2 * columns], -1) + rng.normal(0, 0.01, (n, n, 2))


def grains(rng: np.random.Generator, n: int) -> FloatArray:
    """Every grain shifts the disk's centre of mass by its own contrast."""
    seeds = rng.uniform(0, n, (12, 2))
    rows, columns = np.mgrid[:n, :n]
    nearest = ((rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    return rng.normal(size=(12, 2))[nearest] + rng.normal(0, 0.1, (n, n, 2))


def lines(rng: np.random.Generator, n: int) -> FloatArray:
    """Every line of the scan starts somewhere else."""
    return rng.normal(size=(n, 1, 2)) + rng.normal(0, 0.1, (n, n, 2))


def charging(rng: np.random.Generator, n: int) -> FloatArray:
    """The beam wanders while the scan is recorded."""
    return np.cumsum(rng.normal(size=(n * n, 2)), 0).reshape(n, n, 2)


def unrelated(rng: np.random.Generator, n: int) -> FloatArray:
    """Both components vary smoothly, with no relation to each other."""
    return np.asarray(gaussian_filter(rng.normal(size=(n, n, 2)), (3, 3, 0)))


def straight_edge(rng: np.random.Generator, n: int) -> FloatArray:
    """One straight edge looks the same in a mirror."""
    rows, columns = np.mgrid[:n, :n] - n / 2
    along = 0.8 * rows + 0.6 * columns
    return np.stack(np.gradient(np.tanh(along / 2)), -1) * 5 + rng.normal(0, 0.05, (n, n, 2))


@pytest.mark.parametrize("made", [descan, grains, lines, charging, unrelated, straight_edge])
def test_unknown_where_the_scan_does_not_tell(made: object) -> None:
    for seed in range(8):
        found = geometry_from_centres(made(np.random.default_rng(seed), 40))  # type: ignore[operator]
        assert found.angle is None, (seed, found.text)
        assert found.text.startswith("scan rotation: unknown, ")


def test_unknown_on_a_scan_of_a_few_positions() -> None:
    assert geometry_from_centres(np.zeros((5, 50, 2))).angle is None


def test_only_the_sample_counts() -> None:
    """Beside the sample the beam does what it likes."""
    rng = np.random.default_rng(1)
    field = on_detector(potential_gradient(rng, 56), 37, False)
    sample = np.zeros((56, 56), bool)
    sample[:40] = True
    field[40:] = rng.normal(0, 30.0, (16, 56, 2))
    assert abs(error(geometry_from_centres(field, sample), 37)) < 2.0

"""Coarse rotation and class from nothing, on patterns of known rotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cyclestrain.affine import rotation
from cyclestrain.calibration import Sample, calibrate, draw_sample
from cyclestrain.data import FloatArray, Scan, local_means
from cyclestrain.orientation import Alignment, PolarGrid, align, correlations, learn_templates, to_polar
from cyclestrain.orientation.correlation import peak_significance
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import SimulatedScan, two_phase
from laws import angle_error, simulated_field

FOLD = {"hexagonal": 6, "square": 4, "oblique": 2}


def grains(shape: tuple[int, int], size: int, rng: np.random.Generator) -> FloatArray:
    """Deformation gradients of square grains with random strain of up to 1.5 % and any rotation."""
    n = (-(-shape[0] // size), -(-shape[1] // size))
    own = (np.eye(2) + rng.uniform(-0.015, 0.015, (*n, 2, 2))) @ rotation(rng.uniform(0, 2 * np.pi, n))
    return np.repeat(np.repeat(own, size, 0), size, 1)[: shape[0], : shape[1]]


def correlated(made: SimulatedScan, seed: int = 0) -> tuple[NDArray[np.float32], Sample]:
    """Correlation of every pattern with the templates learned from all, and the sample."""
    sample = draw_sample(made.scan)
    calibration = calibrate(made.scan, sample, MapSettings())
    grid = PolarGrid.fitting(calibration)
    polar = to_polar(sample.patterns, calibration.good, calibration.centre.reshape(-1, 2), grid)
    rng = np.random.default_rng(seed)
    templates = learn_templates(polar, sample.rows, sample.columns, grid, rng)
    return correlations(polar, templates), sample


def aligned(made: SimulatedScan, seed: int = 0) -> Alignment:
    return align(correlated(made, seed)[0])


@pytest.mark.parametrize("detector", [(128, 128), (131, 131), (120, 163)])
@pytest.mark.parametrize("lattice", list(FOLD))
def test_rotation_is_found_modulo_symmetry(detector: tuple[int, int], lattice: str) -> None:
    """Any angle, odd and oblong detectors, unlike lattices: one class, every position within a degree."""
    rng = np.random.default_rng(sum(detector))
    gradient = grains((12, 15), 4, rng)
    made = simulated_field(gradient, detector=detector, lattice=lattice, background=0.25, counts=1e5, seed=5)
    found = aligned(made)
    error = angle_error(found.theta, made.truth["rotation"].values.ravel(), FOLD[lattice])
    assert (found.label == 0).all()
    assert np.abs(error).max() < 1.0
    assert found.height.min() > 0


@pytest.mark.parametrize("lattice", ["hexagonal", "oblique"])
def test_a_background_brighter_on_one_side_does_not_decide(lattice: str) -> None:
    """It stays where it is when a crystal turns: templates that followed it turned all grains alike."""
    gradient = grains((12, 15), 4, np.random.default_rng(7))
    made = simulated_field(gradient, detector=(128, 128), lattice=lattice, background=0.0, counts=3e5, seed=5)
    y, x = np.indices((128, 128)) - 63.5
    shaded = 200.0 * np.exp(-np.hypot(y, x) / 40.0) * (1.0 + x / 100.0)
    counts = np.asarray(made.scan.source) + np.random.default_rng(1).poisson(shaded, made.scan.shape)
    found = aligned(replace(made, scan=Scan(counts, name="shaded")))
    error = angle_error(found.theta, made.truth["rotation"].values.ravel(), FOLD[lattice])
    assert (found.label == 0).all()
    assert np.abs(error).max() < 1.0


@pytest.mark.parametrize("background", [0.6, 0.75])
def test_rotation_is_found_through_heavy_background(background: float) -> None:
    gradient = grains((16, 16), 8, np.random.default_rng(3))
    made = simulated_field(gradient, detector=(192, 192), background=background, counts=1e5, seed=1)
    found = aligned(made)
    error = np.abs(angle_error(found.theta, made.truth["rotation"].values.ravel(), 6))
    assert np.mean(error > 3.0) < 0.02
    assert np.sqrt(np.mean(error[error <= 3.0] ** 2)) < 0.8


def test_beam_centre_off_and_drifting() -> None:
    gradient = grains((12, 12), 4, np.random.default_rng(4))
    made = simulated_field(gradient, detector=(140, 128), background=0.25, centre_offset=(5.0, -4.0), drift=3.0)
    found = aligned(made)
    assert np.abs(angle_error(found.theta, made.truth["rotation"].values.ravel(), 6)).max() < 1.0


@pytest.mark.parametrize("seed", range(2))
def test_two_lattices_become_two_classes(seed: int) -> None:
    made = two_phase(scan=(16, 16), detector=(128, 128), background=0.2, seed=seed, sample_size=2.0, grain_size=50.0)
    found = aligned(made, seed)
    label, inside = made.truth["class"].values.ravel(), made.truth["interior"].values.ravel()
    assert inside.sum() > 90
    assert len(np.unique(label[inside])) == 2
    table = np.zeros((int(found.label.max()) + 1, 2), int)
    np.add.at(table, (found.label[inside], label[inside]), 1)
    # Each class that was learned is one phase; together they miss next to nothing.
    assert table.min(1).sum() <= 0.01 * inside.sum()


@pytest.mark.parametrize("seed", range(2))
def test_two_lattices_become_two_classes_where_no_pattern_tells_them(seed: int) -> None:
    """At 90 % background a pattern alone shows each of them at three standard deviations."""
    made = two_phase(scan=(40, 40), detector=(192, 192), background=0.9, grain_size=200.0, seed=seed)
    correlation, sample = correlated(made, seed)
    means = local_means(correlation, sample.rows, sample.columns, 2)
    found, truth = align(means).label, made.truth["class"].values.ravel()
    interior = made.truth["interior"].values.ravel() & (truth >= 0)
    assert correlation.shape[1] == 2
    agree = np.mean(found[interior] == truth[interior])
    assert max(agree, 1 - agree) > 0.97
    shown = peak_significance(means)
    assert np.median(shown[interior]) > 5
    assert np.median(shown[made.truth["share"].values.ravel() < 1e-3]) < 3


def test_patterns_that_are_all_the_same_have_a_template() -> None:
    """One crystal without noise."""
    made = simulated_field(np.tile(rotation(0.4), (6, 6, 1, 1)), detector=(128, 128), background=0.0, radius=3.0)
    found = aligned(made)
    assert (found.label == 0).all()
    assert found.height.min() > 0


def test_one_lattice_in_many_orientations_is_one_class() -> None:
    """Rotated copies of one crystal must not fill up the dictionary."""
    gradient = grains((18, 18), 3, np.random.default_rng(8))
    found = aligned(simulated_field(gradient, detector=(128, 128), background=0.3))
    assert (found.label == 0).all()


def test_a_turned_pattern_is_a_shift_along_the_angle() -> None:
    """Rotation equivariance, with the sign of the conventions: from +x towards +y."""
    gradient = rotation(np.array([[0.0, 0.35, -0.6]]))
    made = simulated_field(gradient, detector=(161, 161), background=0.0)
    calibration = calibrate(made.scan, draw_sample(made.scan), MapSettings())
    grid = PolarGrid.fitting(calibration)
    patterns = np.asarray(made.scan.source)[0]
    polar = to_polar(patterns, calibration.good, np.full((3, 2), 80.0), grid)
    flat = polar - polar.mean(-1, keepdims=True)
    angle = 2 * np.pi * np.arange(grid.n_angles) / grid.n_angles
    for n, theta in ((1, 0.35), (2, -0.6)):
        turned = np.stack([np.interp(angle - theta, angle, row, period=2 * np.pi) for row in flat[0]])
        assert np.corrcoef(turned.ravel(), flat[n].ravel())[0, 1] > 0.95
        other_way = np.stack([np.interp(angle + theta, angle, row, period=2 * np.pi) for row in flat[0]])
        assert np.corrcoef(other_way.ravel(), flat[n].ravel())[0, 1] < 0.6


def test_bright_and_bad_pixels_do_not_rule() -> None:
    gradient = grains((12, 12), 4, np.random.default_rng(5))
    made = simulated_field(gradient, detector=(128, 128), background=0.25)
    patterns = np.asarray(made.scan.source).copy()
    rng = np.random.default_rng(0)
    spots = rng.integers(0, 128, (12, 12, 6, 2))  # cosmic rays: elsewhere in every pattern
    for i, j in np.ndindex(12, 12):
        patterns[i, j, spots[i, j, :, 0], spots[i, j, :, 1]] = 3000
    made = replace(made, scan=replace(made.scan, source=patterns))
    found = aligned(made)
    error = np.abs(angle_error(found.theta, made.truth["rotation"].values.ravel(), 6))
    assert np.median(error) < 0.5
    assert np.mean(error > 2.0) < 0.03


def test_local_means_leave_out_what_is_outside() -> None:
    rows, columns = np.divmod(np.arange(12), 4)
    values = np.random.default_rng(0).random((12, 3))
    found = local_means(values, rows, columns, 1)
    grid = values.reshape(3, 4, 3)
    np.testing.assert_allclose(found[0], grid[:2, :2].mean((0, 1)))
    np.testing.assert_allclose(found[5], grid[:3, :3].mean((0, 1)))
    np.testing.assert_allclose(local_means(values, rows, columns, 0), values)
    np.testing.assert_allclose(local_means(np.ones((12, 2)), rows, columns, 2), 1.0)

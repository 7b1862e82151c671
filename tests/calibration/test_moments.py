"""Moments are those of NumPy, and noise is told from what a boundary changes."""

import numpy as np

from cyclestrain.calibration.moments import mean_and_noise, mean_of, neighbouring_pairs, variance_about


def test_mean_and_variance_are_those_of_numpy() -> None:
    patterns = np.random.default_rng(0).poisson(30.0, (50, 12, 9)).astype(np.uint16)
    mean = mean_of(patterns)
    np.testing.assert_allclose(mean, patterns.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance_about(mean, patterns), patterns.var(0), rtol=1e-12)


def test_pairs_are_neighbours_of_the_scan() -> None:
    rows, columns = np.divmod(np.arange(12), 4)
    assert neighbouring_pairs(rows, columns, 100).tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert len(neighbouring_pairs(rows, columns, 3)) == 3


def test_noise_does_not_hold_what_changes_at_a_boundary() -> None:
    rng = np.random.default_rng(1)
    level = np.where(np.arange(400)[:, None, None] // 20 % 2, 60.0, 100.0)  # another grain after every twentieth
    patterns = rng.poisson(np.broadcast_to(level, (400, 16, 16)))
    pairs = np.arange(399)
    mean, variance = mean_and_noise(patterns, pairs, 0.75)
    assert mean.shape == variance.shape == (256,)
    assert abs(variance.mean() / mean.mean() - 1) < 0.1
    assert mean_and_noise(patterns, pairs, 1.0)[1].mean() > 1.3 * mean.mean()


def test_pixels_are_those_that_are_used() -> None:
    patterns = np.random.default_rng(2).poisson(9.0, (30, 6, 6))
    seen = np.zeros((6, 6), bool)
    seen[2, 3] = seen[4, 1] = True
    some = mean_and_noise(patterns, np.arange(29), 1.0, seen)
    every = mean_and_noise(patterns, np.arange(29), 1.0)
    for one, other in zip(some, every, strict=True):
        np.testing.assert_array_equal(one, other.reshape(6, 6)[seen])

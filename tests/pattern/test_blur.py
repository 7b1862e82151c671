"""Disks that are softer in some patterns than in others: how soft they are, and that a fit which knows it is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.data import FloatArray
from cyclestrain.pattern import (
    Entry,
    PatternFit,
    WindowStack,
    blurs_in,
    expected_image,
    gather,
    predicted_positions,
    refine,
)
from cyclestrain.pattern.blur import blur_levels, nearest_level, pooled_blur
from laws import expected_counts, made_up_entry, ring_of_reflections, start_of

SHAPE = (100, 100)
CENTRE = np.array([49.7, 50.2])
GOOD = np.ones(SHAPE, bool)
MEAN, SPREAD = 0.6, 0.35
"""Of the variance of the blur of disks that are as sharp as they can be without."""
N = 60


@pytest.fixture(scope="module")
def sharp() -> Entry:
    """Two shells of reflections on a background that falls steeply."""
    reflections = np.concatenate([ring_of_reflections(20.0, 6), ring_of_reflections(36.0, 7)])
    made = made_up_entry(reflections, counts=2500.0)
    return replace(made, background=60.0 * np.exp(-np.arange(200.0) / 12.0) + 1.0)


@pytest.fixture(scope="module")
def entry(sharp: Entry) -> Entry:
    """The mean of all patterns."""
    return replace(sharp, probe=sharp.probe.softened(MEAN))


def drawn(sharp: Entry, variance: FloatArray, seed: int) -> FloatArray:
    """Patterns without strain, each with disks of its own softness about the mean."""
    rng = np.random.default_rng(seed)
    soft = [replace(sharp, probe=sharp.probe.softened(float(each) + MEAN)) for each in variance]
    return np.stack([rng.poisson(expected_counts(each, np.eye(2), CENTRE, 1.0, 1.0, SHAPE)) for each in soft]) * 1.0


def windows(entry: Entry, patterns: FloatArray) -> WindowStack:
    start = start_of(np.eye(2), CENTRE, len(patterns))
    return gather(patterns, predicted_positions(start, entry.reflections), entry.probe.half + 2, GOOD)


def fitted(entry: Entry, patterns: FloatArray) -> PatternFit:
    start = start_of(np.eye(2), CENTRE, len(patterns))
    return refine(windows(entry, patterns), entry, start, centre=start.centre, centre_sigma=0.1, robust=False)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_it_is_measured_within_its_noise_whatever_the_brightness(sharp: Entry, entry: Entry, factor: float) -> None:
    variance = np.repeat([-0.15, 0.0, 0.2, 0.5], N // 4)
    patterns = drawn(replace(sharp, intensity=factor * sharp.intensity), variance, seed=1)
    start = start_of(np.eye(2), CENTRE, N, gain=factor)
    found, information = blurs_in(windows(entry, patterns).windows, entry, start, 1.0, blur_levels(SPREAD))
    z = (found - variance[:, None]) * np.sqrt(information)
    assert abs(z.std() - 1) < 0.1
    assert abs(z.mean()) < 0.1


def test_a_fit_that_knows_it_sees_no_dilation(sharp: Entry, entry: Entry) -> None:
    """Softer disks on a slope look displaced outwards, all of them: a dilation of many sigmas that is none."""
    patterns = drawn(sharp, np.full(N, 0.7), seed=2)
    z = {}
    for name, known in (("plain", entry), ("soft", replace(entry, blur=SPREAD))):
        fit = fitted(known, patterns)
        dilation = fit.start.affine[:, 0, 0] + fit.start.affine[:, 1, 1] - 2.0
        sigma = np.sqrt(fit.covariance[:, 0, 0] + fit.covariance[:, 3, 3] + 2 * fit.covariance[:, 0, 3])
        z[name] = float((dilation / sigma).mean())
    assert abs(z["plain"]) > 1.0
    assert abs(z["soft"]) < 0.4


def test_sharp_patterns_and_soft_ones_scatter_as_they_say(sharp: Entry, entry: Entry) -> None:
    variance = np.random.default_rng(3).uniform(-MEAN, MEAN, 4 * N)
    fit = fitted(replace(entry, blur=SPREAD), drawn(sharp, variance, seed=3))
    sigma = np.sqrt(np.einsum("nii->ni", fit.covariance)[:, :4])
    z = (fit.start.affine - np.eye(2)).reshape(-1, 4) / sigma
    assert (np.abs(z.std(0) - 1) < 0.15).all()
    assert np.corrcoef(fit.blur, variance)[0, 1] > 0.95


def test_without_spread_nothing_changes(sharp: Entry, entry: Entry) -> None:
    fit = fitted(entry, drawn(sharp, np.zeros(8), seed=4))
    assert not fit.blur.any()


def test_what_single_patterns_hardly_tell_is_drawn_to_none() -> None:
    variance, sure = np.full((2, 3), 0.6), np.array([[1e6] * 3, [1e-3] * 3])
    np.testing.assert_allclose(pooled_blur(variance, sure, 0.4), [0.6, 0.0], atol=1e-3)


def test_levels_are_about_none_and_the_nearest_is_taken() -> None:
    levels = blur_levels(0.4)
    assert levels[len(levels) // 2] == 0
    np.testing.assert_allclose(levels, -levels[::-1])
    np.testing.assert_array_equal(levels[nearest_level(np.array([0.0, 9.0, -9.0, np.nan]), levels)], [0, 0.8, -0.8, 0])


def test_the_expected_pattern_is_as_soft(sharp: Entry, entry: Entry) -> None:
    """What is drawn beside a recorded pattern leaves no rings at the edges of its disks."""
    pattern = drawn(sharp, np.full(1, 0.7), seed=5)[0]
    rest = {
        blur: pattern - expected_image(pattern, GOOD, replace(entry, blur=blur), affine=np.eye(2), centre=CENTRE)
        for blur in (0.0, SPREAD)
    }
    assert (rest[SPREAD] ** 2).sum() < 0.97 * (rest[0.0] ** 2).sum()


def test_a_softened_probe_has_the_light_and_the_variance(entry: Entry) -> None:
    probe, s = entry.probe, entry.probe.oversampling
    m = probe.values.shape[0] // 2
    r = np.hypot(*np.mgrid[-m : m + 1, -m : m + 1]) / s

    def moment(values: FloatArray) -> float:
        return float((values * r**2).sum() / values.sum() / 2)

    for variance in (-0.3, 0.3):
        soft = probe.softened(variance)
        assert soft.values.sum() == pytest.approx(s**2)
        assert moment(soft.values) - moment(probe.values) == pytest.approx(variance, rel=0.02)

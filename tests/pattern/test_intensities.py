"""Intensities at known transforms: free of bias, as uncertain as they say, also where disks overlap or are cut."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.pattern import Entry, Priors, Probe, disks_touch, gather, measure_intensities

RADIUS, SHAPE = 4.0, (64, 64)
FINE = (np.arange(9) - 4) / 9


def covered(y: FloatArray, x: FloatArray) -> FloatArray:
    """Share of square pixels at these offsets that a disk with a steep edge covers, each a mean over 9 x 9 points."""
    far = np.hypot(y[..., None, None] + FINE[:, None], x[..., None, None] + FINE) - RADIUS
    return np.asarray((1 / (1 + np.exp(np.clip(far / 0.15, -50, 50)))).mean((-1, -2)))


def probe() -> Probe:
    y, x = np.mgrid[-128:129, -128:129] / 16
    values = covered(y, x)
    return Probe(values * 16**2 / values.sum(), 16, 6)


PROBE = probe()


def drawn(places: FloatArray, counts: FloatArray, level: float, centre: FloatArray) -> FloatArray:
    """Disks on a radial background."""
    y, x = np.indices(SHAPE, float)
    out = level * np.exp(-np.hypot(y - centre[0], x - centre[1]) / 40)
    for place, bright in zip(places, counts, strict=True):
        inside = covered(y - place[0], x - place[1])
        out += bright * inside / inside.sum()
    return np.asarray(out)


def entry(spacing: float, mean: float = 200.0, spread: float = 0.0) -> Entry:
    reflections = spacing * np.array([[0, 1], [0, -1], [1, 0], [-1, 0], [1, 1], [-1, -1]], float)
    priors = np.zeros((6, 9))
    priors[:, 1] = spread
    background = np.exp(-np.arange(60.0) / 40)
    return Entry(
        reflections, np.full(6, mean), spacing * np.eye(2), reflections / spacing, np.eye(2)[None], background, PROBE,
        Priors(priors), np.zeros((1, 1)),
    )  # fmt: skip


def measured(
    spacing: float, counts: FloatArray, level: float, n: int, good: NDArray[np.bool_] | None = None, spread: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Intensities found in draws of one pattern, and their sigmas."""
    rng, centre, one = np.random.default_rng(1), np.array([31.3, 32.2]), entry(spacing, spread=spread)
    places = centre + one.reflections
    patterns = rng.poisson(drawn(places, counts, level, centre), (n, *SHAPE)).astype(np.uint16)
    everywhere = np.tile(places, (n, 1, 1))
    stack = gather(patterns, everywhere, PROBE.half, np.ones(SHAPE, bool) if good is None else good)
    found = measure_intensities(stack, one, everywhere, np.tile(centre, (n, 1)), gain=np.ones(n))
    return found.value, found.sigma


@pytest.mark.parametrize("spacing", [17.0, 9.0, 7.0])
@pytest.mark.parametrize("level", [0.5, 6.0])
def test_errors_are_as_large_as_stated(spacing: float, level: float) -> None:
    """At 9 pixels windows hold each other's disks, at 7 disks of radius 4 overlap."""
    counts = np.array([400.0, 150.0, 60.0, 250.0, 0.0, 100.0])
    value, sigma = measured(spacing, counts, level, 400)
    z = (value - counts) / sigma
    assert np.abs(z.std(0) - 1).max() < 0.15
    assert np.abs(z.mean(0)).max() < 4.5 / np.sqrt(400) + 0.1


def test_what_overlapping_disks_share_is_in_sigma() -> None:
    counts = np.full(6, 200.0)
    apart, together = (measured(spacing, counts, 2.0, 4)[1].mean(0) for spacing in (17.0, 6.0))
    assert (together[[0, 4]] > 1.05 * apart[[0, 4]]).all()


def test_a_level_of_each_window_costs_precision() -> None:
    counts = np.full(6, 200.0)
    shared, own = (measured(17.0, counts, 4.0, 4, spread=spread)[1].mean() for spread in (0.0, 0.3))
    assert own > 1.1 * shared


def test_a_reflection_that_is_hidden_is_blank_and_misleads_no_other() -> None:
    good = np.ones(SHAPE, bool)
    good[:, 42:] = False  # the reflection at +x, half of that at (+y, +x)
    counts = np.array([500.0, 100.0, 100.0, 100.0, 500.0, 100.0])
    value, sigma = measured(17.0, counts, 2.0, 100, good)
    assert np.isnan(value[:, 0]).all()
    z = (value[:, 1:4] - counts[1:4]) / sigma[:, 1:4]
    assert np.abs(z.mean(0)).max() < 0.5


def test_what_the_model_does_not_explain_widens_sigma() -> None:
    """Disks with contrast: pixels deviate far beyond their noise, and the intensities with them."""
    rng, centre, one = np.random.default_rng(2), np.array([31.3, 32.2]), entry(17.0)
    places, everywhere = centre + one.reflections, np.tile(centre + one.reflections, (20, 1, 1))
    y, x = np.indices(SHAPE)
    sigmas = []
    for contrast in (0.0, 0.8):
        mean = drawn(places, np.full(6, 2000.0), 2.0, centre) * (1 + contrast * (-1.0) ** (y + x))
        stack = gather(rng.poisson(mean, (20, *SHAPE)).astype(np.uint16), everywhere, PROBE.half, np.ones(SHAPE, bool))
        found = measure_intensities(stack, one, everywhere, np.tile(centre, (20, 1)), gain=np.ones(20))
        sigmas.append(float(found.sigma.mean()))
    assert sigmas[1] > 1.5 * sigmas[0]


def test_disks_without_background_between_them_are_known() -> None:
    assert disks_touch(entry(9.0))
    assert not disks_touch(entry(12.0))

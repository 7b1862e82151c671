"""The direct beam's edge is found on any background and whatever the contrast inside it, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.data import FloatArray
from cyclestrain.learning.aperture import edge_of_beam
from cyclestrain.learning.lesson import Lesson
from cyclestrain.pattern import pixelated_disk

SIZE, N = 64, 100
CENTRE = np.array([31.6, 32.3])


def lesson_of(
    radius: float,
    width: float,
    tilt: float,
    *,
    height: float = 300.0,
    fall: float = 1.0,
    scatter: float = 0.0,
    bad: FloatArray | None = None,
) -> Lesson:
    """A beam with a slope of intensity inside, on a background that peaks within `width` pixels to `height` counts."""
    rng = np.random.default_rng(5)
    y, x = np.indices((SIZE, SIZE))
    dy, dx = y - CENTRE[0], x - CENTRE[1]
    half, over = int(radius) + 4, 16
    table = pixelated_disk(radius, 0.25, over, half * over)
    place = [np.clip(np.rint((d + half) * over).astype(int), 0, len(table) - 1) for d in (dy, dx)]
    disk = np.where(np.maximum(abs(dy), abs(dx)) < half - 1, table[place[0], place[1]], 0.0)
    peak = (1 + (dy**2 + dx**2) / width**2) ** -fall
    mean = 300 * disk * (1 + tilt * dx / radius - 0.3 * (dx / radius) ** 2) + height * peak + 2
    good = np.ones((SIZE, SIZE), bool) if bad is None else ~bad.astype(bool)
    centre = CENTRE + scatter * rng.standard_normal((N, 2))
    patterns = rng.poisson(mean, (N, SIZE, SIZE)).astype(np.uint16)
    return Lesson(patterns, np.arange(N)[:, None], good, centre, 0.1, np.zeros(N))


@pytest.mark.parametrize("width", [2.0, 5.0, 40.0])
@pytest.mark.parametrize("tilt", [0.0, 0.6])
@pytest.mark.parametrize("radius", [4.7, 8.1])
def test_radius_is_right_to_a_twentieth_of_a_pixel(radius: float, width: float, tilt: float) -> None:
    found = edge_of_beam(lesson_of(radius, width, tilt), 0.95 * radius)
    assert found is not None
    assert found[0] == pytest.approx(radius, abs=0.05)
    assert found[1] == pytest.approx(0.25, abs=0.12)


@pytest.mark.parametrize("radius", [2.6, 7.0])
@pytest.mark.parametrize("width", [1.5, 2.6])
def test_radius_is_right_where_half_the_height_of_a_peak_was_taken_for_it(radius: float, width: float) -> None:
    """Calibration is off by a pixel or a fifth where the background peaks on the disk."""
    for said in (0.8 * radius, min(1.2 * radius, radius + 1.0)):
        found = edge_of_beam(lesson_of(radius, width, 0.0, height=600.0), said)
        assert found is not None
        assert found[0] == pytest.approx(radius, abs=0.1)


@pytest.mark.parametrize(("width", "fall"), [(1.5, 0.7), (2.2, 1.5), (3.0, 1.5), (5.0, 3.0)])
def test_radius_is_right_however_the_background_falls_off(width: float, fall: float) -> None:
    """Backgrounds that no sum of a few given forms is like put it off by .02 to .2 pixels."""
    found = edge_of_beam(lesson_of(7.6, width, 0.0, height=3000.0, fall=fall), 7.4)
    assert found is not None
    assert found[0] == pytest.approx(7.6, abs=0.015)


def test_an_edge_that_moves_or_is_hidden_is_not_told() -> None:
    assert edge_of_beam(lesson_of(8.1, 5.0, 0.0, scatter=0.5), 8.0) is None
    stop = np.zeros((SIZE, SIZE))
    stop[:, 28:] = 1
    assert edge_of_beam(lesson_of(8.1, 5.0, 0.0, bad=stop), 8.0) is None

"""Lessons of sums that overlap: what their patterns have in common by chance is not learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import Calibration, IntArray, neighbour_members
from cyclestrain.learning.entry import _are_idle, _fitted, approached, learn_entry, with_images
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.plausibility import Unlearned
from cyclestrain.pattern import Entry, Priors
from cyclestrain.settings import MapSettings
from laws import simulated_field

SIDE = 10


def sums(n: int, reach: int) -> IntArray:
    rows, columns = np.divmod(np.arange(n * n), n)
    return neighbour_members(rows, columns, np.arange(n * n), reach)


def lesson_of(members: IntArray, seed: int, background: float = 0.8) -> tuple[Lesson, Calibration]:
    """A field of one crystal with flat disks, turned by a third of a radian."""
    gradient = np.broadcast_to(rotation(0.3), (SIDE, SIDE, 2, 2))
    made = simulated_field(gradient, detector=(128, 128), background=background, counts=4e4, radius=3.0, seed=seed)
    sample = draw_sample(made.scan)
    calibration = calibrate(made.scan, sample, MapSettings())
    centre, theta = calibration.centre.reshape(-1, 2), np.full(SIDE**2, 0.3 + 0.7)
    return Lesson(sample.patterns, members, calibration.good, centre, 0.1, theta), calibration


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_repeats_are_the_mean_number_of_sums_that_share_a_pattern(reach: int) -> None:
    members = sums(SIDE, reach)
    lesson = Lesson(np.zeros((SIDE**2, 2, 2)), members, np.ones((2, 2), bool), np.zeros((100, 2)), 0.1, np.zeros(100))
    held = [set(row[row >= 0].tolist()) for row in members]
    shares = [sum(len(one & other) for other in held) / len(one) for one in held]
    weight = [len(one) for one in held]
    assert lesson.repeats == pytest.approx(np.average(shares, weights=weight))
    assert (lesson.repeats == 1.0) == (reach == 0)


def test_disjoint_sums_repeat_nothing() -> None:
    lesson = Lesson(np.zeros((90, 2, 2)), np.arange(90).reshape(10, 9), np.ones((2, 2), bool), np.zeros((10, 2)), 0.1,
                    np.zeros(10))  # fmt: skip
    assert lesson.repeats == 1.0


@pytest.mark.parametrize("seed", [1, 2])
def test_noise_in_sums_that_overlap_is_no_image_of_the_disks(seed: int) -> None:
    """Each pattern is in up to nine sums: taken for independent, they show its noise nine times over."""
    lesson, calibration = lesson_of(sums(SIDE, 1), seed)
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    entry, noise = found
    spread = entry.priors.spread.copy()
    spread[:, 5:8] = 0.3  # as if contrast had been seen
    imaged = with_images(replace(entry, priors=Priors(spread)), noise, lesson, np.random.default_rng(0))[0]
    assert not len(imaged.disks)


@pytest.fixture(scope="module")
def learned() -> tuple[Lesson, Entry, float]:
    lesson, calibration = lesson_of(sums(SIDE, 0), seed=3, background=0.5)
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    return lesson, *found


@pytest.mark.parametrize(("slope", "idle"), [(0.003, True), (1.0, False)])
def test_slopes_of_the_background_are_left_out_where_they_change_nothing(
    learned: tuple[Lesson, Entry, float], slope: float, idle: bool
) -> None:
    lesson, entry, noise = learned
    spread = np.zeros_like(entry.priors.spread)
    spread[:, 2:4] = slope
    free = replace(entry, priors=Priors(spread))
    assert _are_idle(free.priors, _fitted(lesson, free, approached(lesson, free), noise)[1]) == idle
    assert not free.priors.on_even_background.spread.any()

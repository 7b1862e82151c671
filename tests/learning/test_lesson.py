"""Lessons of sums that overlap: what their patterns have in common by chance is not learned."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.calibration import calibrate, draw_sample
from cyclestrain.data import Calibration, FloatArray, IntArray, neighbour_members
from cyclestrain.learning.disk_images import disk_images
from cyclestrain.learning.entry import _lean, approached, fitted, learn_entry, retuned_entry, with_images
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.plausibility import Unlearned
from cyclestrain.learning.profiles import fits_of
from cyclestrain.learning.trust import trusted
from cyclestrain.pattern import Entry, Priors, Start
from cyclestrain.settings import MapSettings
from laws import simulated_field

entries = import_module("cyclestrain.learning.entry")
SIDE, DETECTOR = 10, (128, 128)


def sums(n: int, reach: int) -> IntArray:
    rows, columns = np.divmod(np.arange(n * n), n)
    return neighbour_members(rows, columns, np.arange(n * n), reach)


def lesson_of(
    members: IntArray,
    seed: int,
    background: float = 0.8,
    *,
    counts: float = 4e4,
    turned: float = 0.0,
    strain: float = 0.0,
    still: FloatArray | None = None,
) -> tuple[Lesson, Calibration]:
    """A field of a crystal with flat disks, half of it turned further, and what lies still on the detector."""
    rng = np.random.default_rng(seed)
    theta = 0.3 + np.where(np.arange(SIDE) < SIDE // 2, 0.0, turned)[:, None] * np.ones(SIDE)
    gradient = (np.eye(2) + rng.uniform(-strain, strain, (SIDE, SIDE, 2, 2))) @ rotation(theta)
    scan = simulated_field(
        gradient, detector=DETECTOR, background=background, counts=counts, radius=3.0, seed=seed
    ).scan  # fmt: skip
    if still is not None:
        counted = np.asarray(scan.source) + rng.poisson(np.broadcast_to(still, scan.shape)).astype(np.uint16)
        scan = replace(scan, source=counted)
    sample = draw_sample(scan)
    calibration = calibrate(scan, sample, MapSettings())
    centre = calibration.centre.reshape(-1, 2)
    return Lesson(sample.patterns, members, calibration.good, centre, 0.1, theta.ravel() + 0.7), calibration


def learned_of(lesson: Lesson, calibration: Calibration) -> tuple[Entry, float]:
    found = learn_entry(lesson, calibration, np.random.default_rng(0))
    assert not isinstance(found, Unlearned)
    return found


def asked_for_images(lesson: Lesson, entry: Entry, noise_scale: float) -> Entry:
    """The entry with images of its disks if they are believed, as if contrast had been seen."""
    spread = entry.priors.spread.copy()
    spread[:, 5:8] = 0.3
    seen = replace(entry, priors=Priors(spread))
    return with_images(seen, noise_scale, lesson, np.random.default_rng(0))[0]


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
    lesson, calibration = lesson_of(sums(SIDE, 1), seed, turned=1.3)
    entry, noise = learned_of(lesson, calibration)
    assert not len(asked_for_images(lesson, entry, noise).disks)
    stack, fit = fitted(lesson, entry, approached(lesson, entry), noise)
    fits = fits_of(stack, entry, fit, trusted(fit))
    assert (disk_images(fits, entry, lesson.common_noise(entry, noise))[0].width > 0).mean() < 0.3
    assert (disk_images(fits, entry, noise)[0].width > 0).mean() > 0.7


@pytest.fixture(scope="module")
def banded() -> tuple[Lesson, Entry, float]:
    """A band that lies still on the detector passes for an image of every disk."""
    y, x = np.indices(DETECTOR)
    band = 3.0 * np.exp(-0.5 * (((y - 0.7 * x) % 11.0 - 5.5) / 1.3) ** 2)
    lesson, calibration = lesson_of(sums(SIDE, 0), 1, 0.5, counts=4e5, strain=0.004, still=band)
    entry, noise = learned_of(lesson, calibration)
    return lesson, entry, noise


@pytest.mark.parametrize("hold", [False, True])
def test_images_that_hold_the_disks_are_not_believed(
    banded: tuple[Lesson, Entry, float], monkeypatch: pytest.MonkeyPatch, hold: bool
) -> None:
    monkeypatch.setattr(entries, "hold_disks", lambda *_: hold)
    assert bool(len(asked_for_images(*banded).disks)) != hold


@pytest.mark.parametrize(("left", "believed"), [(0.03, True), (0.06, False)])
def test_images_may_leave_a_little_contrast_to_single_patterns(
    banded: tuple[Lesson, Entry, float], monkeypatch: pytest.MonkeyPatch, left: float, believed: bool
) -> None:
    """Where they leave more than an eighth, fringes move from pattern to pattern, and their mean misleads."""
    alternate = entries._alternate

    def leaving(*args: Any, **options: Any) -> tuple[Entry, Start, float]:
        entry, *rest = alternate(*args, **options)
        spread = entry.priors.spread.copy()
        spread[:, 5:8] = left
        return replace(entry, priors=Priors(spread)), *rest

    monkeypatch.setattr(entries, "_alternate", leaving)
    assert bool(len(asked_for_images(*banded).disks)) == believed


def test_images_are_judged_with_the_deviations_that_are_left_out_afterwards(
    banded: tuple[Lesson, Entry, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without deviations of the background patterns fit worse, which is no fault of the images."""
    compared, judged = entries._compared, []

    def watched(lesson: Lesson, one: Any, other: Any) -> Any:
        judged.append(bool(other[0].priors.spread[:, 1:4].any()))
        return compared(lesson, one, other)

    monkeypatch.setattr(entries, "_compared", watched)
    monkeypatch.setattr(entries, "IDLE", np.inf)
    found = asked_for_images(*banded)
    assert judged == [True]
    assert len(found.disks)
    assert not found.priors.spread[:, 1:4].any()


@pytest.fixture(scope="module")
def learned() -> tuple[Lesson, Entry, float]:
    lesson, calibration = lesson_of(sums(SIDE, 0), seed=3, background=0.5)
    return lesson, *learned_of(lesson, calibration)


@pytest.mark.parametrize(("slope", "idle"), [(0.003, True), (1.0, False)])
def test_slopes_of_the_background_are_left_out_where_they_change_nothing(
    learned: tuple[Lesson, Entry, float], slope: float, idle: bool
) -> None:
    lesson, entry, noise = learned
    spread = np.zeros_like(entry.priors.spread)
    spread[:, 2:4] = slope
    free = replace(entry, priors=Priors(spread))
    fit = fitted(lesson, free, approached(lesson, free), noise)[1]
    assert (not _lean(free, free.priors, fit).priors.spread.any()) == idle
    assert not free.priors.on_even_background.spread.any()


@pytest.mark.parametrize(("slope", "kept"), [(0.003, False), (1.0, True)])
def test_an_entry_is_learned_without_slopes_that_change_nothing(
    learned: tuple[Lesson, Entry, float], monkeypatch: pytest.MonkeyPatch, slope: float, kept: bool
) -> None:
    lesson, entry, _ = learned

    def measured(*_: object) -> FloatArray:
        spread = np.zeros_like(entry.priors.spread)
        spread[:, 2:4] = slope
        return spread

    monkeypatch.setattr("cyclestrain.learning.entry.measure_deviations", measured)
    again = retuned_entry(entry, lesson, improve=True)[0]
    assert bool(again.priors.spread[:, 2:4].any()) == kept

"""The second profile of the background: how much of it patterns hold, and that a fit which knows it is not misled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.data import FloatArray
from cyclestrain.pattern import Entry, PatternFit, Start, expected_image, gather, in_place, predicted_positions, refine
from cyclestrain.pattern.dictionary import DARKEST
from cyclestrain.pattern.refine import film_in
from laws import expected_counts, made_up_entry, ring_of_reflections, start_of

SHAPE = (100, 100)
CENTRE = np.array([49.7, 50.2])
GOOD = np.ones(SHAPE, bool)
N = 64


@pytest.fixture(scope="module")
def entry() -> Entry:
    """Two shells of reflections on a falling background, and a film with a ring near the inner one."""
    reflections = np.concatenate([ring_of_reflections(24.0, 6), ring_of_reflections(38.0, 5)])
    made = made_up_entry(reflections, counts=1500.0, background=6.0)
    q = np.arange(len(made.background))
    return replace(made, film=4.0 * np.exp(-0.5 * ((q - 28.0) / 5.0) ** 2) - 0.2 * made.background)


def drawn(entry: Entry, film: FloatArray, seed: int) -> FloatArray:
    """Patterns without strain, each with its own film."""
    rng, out = np.random.default_rng(seed), []
    for profile in entry.backgrounds(film):
        mean = expected_counts(replace(entry, background=profile, film=np.zeros(0)), np.eye(2), CENTRE, 1.0, 1.0, SHAPE)
        out.append(rng.poisson(mean))
    return np.stack(out).astype(float)


def fitted(entry: Entry, patterns: FloatArray) -> PatternFit:
    start = start_of(np.eye(2), CENTRE, len(patterns))
    stack = gather(patterns, predicted_positions(start, entry.reflections), entry.probe.half + 2, GOOD)
    return refine(stack, entry, start, centre=start.centre, centre_sigma=0.1, robust=False)


def amounts(entry: Entry, patterns: FloatArray, start: Start | None = None) -> FloatArray:
    start = start or start_of(np.eye(2), CENTRE, len(patterns))
    places = predicted_positions(start, entry.reflections)
    return film_in(in_place(patterns, places, entry.probe.half + 2, GOOD), entry, start, 1.0)


def test_it_is_measured_whatever_the_brightness_of_the_disks(entry: Entry) -> None:
    """The same film beside disks of twice or half their light: right within its noise, which is small."""
    film = np.linspace(-0.8, 1.5, N)
    rng = np.random.default_rng(0)
    bright = replace(entry, intensity=entry.intensity * rng.choice([0.5, 2.0], len(entry.intensity)))
    for made in (entry, bright):
        found = amounts(entry, drawn(made, film, seed=1))
        assert np.std(found - film) < 0.1
        assert abs((found - film).mean()) < 0.03


def test_it_does_not_depend_on_how_many_patterns_are_summed(entry: Entry) -> None:
    patterns = drawn(entry, np.full(8, 0.7), seed=2)
    total = amounts(entry, patterns.sum(0, keepdims=True), start_of(np.eye(2), CENTRE, 1, 8.0, 8.0))
    assert total[0] == pytest.approx(amounts(entry, patterns).mean(), abs=0.03)


def test_a_film_that_varies_does_not_move_the_disks(entry: Entry) -> None:
    """Dilation follows the film where one profile stands for all, and does not where the entry has a second one."""
    film = np.linspace(0.0, 4.0, 5 * N)
    patterns = drawn(entry, film, seed=3)
    slopes, errors = [], []
    for each in (replace(entry, film=np.zeros(0)), entry):
        fit = fitted(each, patterns)
        dilation = 0.5 * np.trace(fit.start.affine, axis1=1, axis2=2) - 1.0
        (slope, _), covariance = np.polyfit(film, dilation, 1, cov=True)
        slopes.append(slope)
        errors.append(np.sqrt(covariance[0, 0]))
    assert abs(slopes[0]) > 6.0 * errors[0]
    assert abs(slopes[1]) < 3.0 * errors[1]


def test_no_film_is_held_where_the_entry_has_none(entry: Entry) -> None:
    plain = replace(entry, film=np.zeros(0))
    assert plain.backgrounds(np.ones(5)).shape == (1, len(plain.background))
    assert not fitted(plain, drawn(plain, np.zeros(4), seed=4)).film.any()


def test_a_background_stays_above_zero(entry: Entry) -> None:
    """However little of the film a pattern seems to hold."""
    np.testing.assert_array_less(0.99 * DARKEST * entry.background, entry.backgrounds(np.array([-30.0]))[0])


def test_the_fit_is_drawn_with_the_film(entry: Entry) -> None:
    """`show` compares a pattern with what was fitted: away from the disks that is the background with its film."""
    patterns = drawn(entry, np.full(16, 2.0), seed=5)
    images = [expected_image(each, GOOD, entry, affine=np.eye(2), centre=CENTRE) for each in patterns]
    y, x = np.indices(SHAPE)
    ring = np.abs(np.hypot(y - CENTRE[0], x - CENTRE[1]) - 31.0) < 2.0
    assert np.mean(images, 0)[ring].mean() == pytest.approx(patterns.mean(0)[ring].mean(), rel=0.01)


def test_a_film_of_another_length_is_refused(entry: Entry) -> None:
    with pytest.raises(ValueError, match="a film of 5 px beside a background of 200 px"):
        replace(entry, film=np.ones(5))

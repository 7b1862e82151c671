from __future__ import annotations

import numpy as np
import pytest

from crystals import CENTRE, DETECTOR, make_crystals, make_entry
from cyclestrain.network.views import Counts, Cutting, cut, look
from cyclestrain.pattern import gather

ENTRY = make_entry()
EVERY = np.arange(len(ENTRY.reflections))
CRYSTALS = make_crystals(4, ENTRY)
ROWS = np.array([2, 0, 3])
CUTTING = Cutting(half=5, rim=5.0, noise_scale=1.0)


def positions(rows: np.ndarray) -> np.ndarray:
    return CENTRE + np.einsum("nij,gj->ngi", CRYSTALS.affine[rows], ENTRY.reflections)


def views(source: Counts, at: np.ndarray, chosen: np.ndarray = EVERY):
    return look(source, ROWS, at, CRYSTALS.centre[ROWS], ENTRY, chosen=chosen, cutting=CUTTING)


def test_windows_are_cut_where_the_reflections_are() -> None:
    cuts = cut(
        Counts.of_patterns(CRYSTALS.patterns, CRYSTALS.good), ROWS, positions(ROWS), CRYSTALS.centre[ROWS], ENTRY, 4
    )
    origin = np.rint(positions(ROWS)).astype(int)
    np.testing.assert_array_equal(cuts.origin, origin)
    for n, row in enumerate(ROWS):
        y, x = origin[n, 5]
        np.testing.assert_array_equal(cuts.counts[n, 5], CRYSTALS.patterns[row, y - 4 : y + 5, x - 4 : x + 5])
        radius = np.hypot(*(np.mgrid[y - 4 : y + 5, x - 4 : x + 5] - CENTRE[:, None, None]))
        expected = np.interp(radius, np.arange(len(ENTRY.background)), ENTRY.background)
        np.testing.assert_allclose(cuts.background[n, 5], expected, rtol=1e-5)


def test_a_stack_looks_the_same_as_the_patterns_it_was_cut_from() -> None:
    at = positions(ROWS)
    stack = gather(CRYSTALS.patterns, positions(np.arange(4)), 8, CRYSTALS.good)
    chosen = EVERY[3:9]
    whole = views(Counts.of_patterns(CRYSTALS.patterns, CRYSTALS.good), at[:, chosen], chosen)
    parts = views(Counts.of_stack(stack, CRYSTALS.good), at[:, chosen], chosen)
    for name in ("windows", "fraction", "contrast", "share", "gain", "level"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-5, err_msg=name)


def test_whitened_windows_have_unit_noise_and_no_background() -> None:
    dim = make_entry(brightness=1e-3, background=30.0)
    crystals = make_crystals(60, dim, seed=1)
    at = crystals.centre[:, None] + np.einsum("nij,gj->ngi", crystals.affine, dim.reflections)
    source = Counts.of_patterns(crystals.patterns, crystals.good)
    seen = look(source, np.arange(60), at, crystals.centre, dim, chosen=EVERY, cutting=CUTTING)
    inside = seen.windows[..., 5, 5]
    assert abs(inside.mean()) < 4 / np.sqrt(inside.size)
    assert inside.std() == pytest.approx(1.0, abs=0.05)
    assert seen.level.mean() == pytest.approx(1.0, abs=0.01)


def test_gain_and_level_are_those_of_the_pattern() -> None:
    bright = make_entry(brightness=60.0 * 1.5, background=0.4)
    crystals = make_crystals(60, bright, seed=2)
    at = crystals.centre[:, None] + np.einsum("nij,gj->ngi", crystals.affine, ENTRY.reflections)
    source = Counts.of_patterns(crystals.patterns, crystals.good)
    seen = look(source, np.arange(60), at, crystals.centre, ENTRY, chosen=EVERY, cutting=CUTTING)
    assert seen.gain.mean() == pytest.approx(1.5, abs=0.05)
    assert (np.abs(seen.fraction) <= 0.5).all()
    assert ((seen.share > 0) & (seen.share < 1)).all()


def test_pixels_that_are_bad_or_beyond_the_detector_are_zero_and_unused() -> None:
    good = np.ones(DETECTOR, bool)
    at = positions(ROWS)
    y, x = np.rint(at[0, 4]).astype(int)
    good[y, x + 1] = False
    patterns = CRYSTALS.patterns.copy()
    patterns[:, y, x + 1] = 60000
    at[0, 0] = (1.0, 1.0)
    source = Counts.of_patterns(patterns, good)
    cuts = cut(source, ROWS, at, CRYSTALS.centre[ROWS], ENTRY, 4)
    assert cuts.used[0, 4, 4, 5] == 0
    assert cuts.counts[0, 4, 4, 5] == 0
    assert cuts.used[0, 0, :3].sum() == 0
    seen = views(source, at)
    assert seen.windows[0, 4, 5, 6] == 0
    assert (seen.windows[0, 0, :4] == 0).all()

"""Windows hold the detector's own pixels, and say where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.pattern import gather, in_place
from cyclestrain.pattern.windows import CUT, LEAST_CEILING, MASKED, cut_share


def cut(pattern: np.ndarray, good: np.ndarray, at: tuple[int, int], half: int) -> np.ndarray:
    """The same window, cut from a padded copy."""
    padded = np.pad(np.where(good, pattern, float(MASKED)), 40, constant_values=float(MASKED))
    y, x = at[0] + 40, at[1] + 40
    return padded[y - half : y + half + 1, x - half : x + half + 1].astype(np.float32)


@pytest.mark.parametrize("dtype", "u1 u2 u4 i2 i4 i8 f4 f8".split())
@pytest.mark.parametrize("half", [1, 4])
def test_windows_are_cut_around_the_nearest_pixel(dtype: str, half: int) -> None:
    rng = np.random.default_rng(0)
    least = 0 if np.dtype(dtype).kind == "u" else -50  # as where a dark image was subtracted
    patterns = rng.integers(least, 200, (3, 21, 34)).astype(dtype)
    good = rng.random((21, 34)) > 0.1
    # Corners, edges, outside, far outside, halves and the middle, in (y, x) order on a detector that is not square.
    places = np.array([[0, 0], [20, 33], [-0.4, 33.4], [10.2, 17.7], [-3, 5], [25, 40], [10, -12], [19.6, 2.4]])
    positions = np.broadcast_to(places, (3, *places.shape)) + np.array([0.0, 0.1, -0.1])[:, None, None]
    stack = gather(patterns, positions, half, good)
    assert stack.half == half
    assert stack.counts.dtype == np.float32
    np.testing.assert_array_equal(stack.origin, np.rint(positions))
    for n in range(3):
        for g in range(len(places)):
            expected = cut(patterns[n], good, tuple(stack.origin[n, g]), half)
            np.testing.assert_array_equal(stack.counts[n, g], expected)


def test_a_window_off_the_detector_is_wholly_masked() -> None:
    stack = gather(np.ones((1, 16, 16)), np.array([[[40.0, 8.0], [8.0, -30.0]]]), 3, np.ones((16, 16), bool))
    assert (stack.counts == MASKED).all()


def test_bad_pixels_are_masked_whatever_they_hold() -> None:
    patterns = np.ones((1, 16, 16), np.float32)
    patterns[0, 8, 8] = 1e9
    good = np.ones((16, 16), bool)
    good[8, 8] = False
    stack = gather(patterns, np.array([[[8.0, 8.0]]]), 2, good)
    assert stack.counts[0, 0, 2, 2] == MASKED
    assert (np.delete(stack.counts[0, 0].ravel(), 12) == 1).all()


def test_windows_of_a_sum_are_the_sum_of_windows() -> None:
    rng = np.random.default_rng(2)
    patterns, good = rng.poisson(3.0, (5, 20, 20)), rng.random((20, 20)) > 0.1
    positions = rng.uniform(0, 20, (3, 4, 2))
    members = np.array([[0, 1, 4], [2, -1, -1], [3, 3, -1]])
    found = gather(patterns, positions, 3, good, members).counts
    for n, own in enumerate(members):
        total = patterns[own[own >= 0]].sum(0)[None]
        np.testing.assert_array_equal(found[n], gather(total, positions[n : n + 1], 3, good).counts[0])


@pytest.mark.parametrize("members", [None, np.array([[0, 2], [1, -1], [3, 4]])])
def test_what_no_pixel_counts_beyond_the_end_of_the_scale_matters(members: np.ndarray | None) -> None:
    """Cut pixels are left out, in a sum those that any pattern has there; bad ones stay bad."""
    rng = np.random.default_rng(4)
    patterns, good = rng.poisson(60.0, (5, 20, 20)), rng.random((20, 20)) > 0.1
    positions = rng.uniform(0, 20, (3 if members is not None else 5, 4, 2))
    plain = gather(patterns, positions, 3, good, members).counts
    whole = gather(patterns, positions, 3, good, members, ceiling=70)
    other = gather(np.where(patterns >= 70, 250, patterns), positions, 3, good, members, ceiling=70)
    np.testing.assert_array_equal(whole.counts, other.counts)
    own = members if members is not None else np.arange(5)[:, None]
    reached = np.stack([(patterns[m[m >= 0]] >= 70).any(0) for m in own])
    expected = gather(reached.astype(float), positions, 3, good).counts == 1
    np.testing.assert_array_equal(whole.counts < 2 * MASKED, expected)
    np.testing.assert_array_equal(np.where(expected, 0, whole.counts), np.where(expected, 0, plain))
    y, x = np.mgrid[-3:4, -3:4]
    inside = np.hypot(y, x) <= 2
    unread = in_place(patterns, positions, 3, good, members, ceiling=70)
    for windows in (whole.windows, unread):
        np.testing.assert_allclose(cut_share(windows, 2.0, 70), expected[..., inside].mean(-1).max(-1))


def test_a_low_end_of_the_scale_cuts_nothing() -> None:
    """There, pixels that show it are bright by chance, and leaving them out would bias the rest."""
    patterns = np.random.default_rng(4).poisson(3.0, (2, 20, 20)).clip(max=4)
    positions = np.full((2, 1, 2), 10.0)
    good = np.ones((20, 20), bool)
    found = gather(patterns, positions, 3, good, ceiling=4)
    assert LEAST_CEILING > 4
    assert (found.counts > CUT).all()
    assert (cut_share(found.windows, 2.0, 4) > 0).any()

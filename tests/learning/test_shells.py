"""Disks that move outwards or inwards together: seen where shells of reflections disagree, and then in sigma."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.learning.shells import measure_common_shift
from cyclestrain.pattern import Entry, PatternFit, Start, gather, predicted_positions, refine
from cyclestrain.pattern.common_shift import with_common_shift
from laws import expected_counts, made_up_entry, ring_of_reflections

SHAPE = (84, 84)
CENTRE = np.array([41.6, 41.9])
RADII = (16.0, 27.7, 32.0)
SHELL = np.repeat(np.arange(3), 6)
N = 300


@pytest.fixture(scope="module")
def entry() -> Entry:
    rings = [ring_of_reflections(r) for r in RADII]
    return made_up_entry(np.concatenate(rings), counts=1500.0, background=3.0)


def shifted(entry: Entry, shifts: FloatArray, seed: int = 0) -> tuple[Start, PatternFit, FloatArray]:
    """Patterns whose shells lie outwards by `shifts` pixels, shape ``(n, shell)``, and their fit."""
    rng = np.random.default_rng(seed)
    n = len(shifts)
    affine = rotation(rng.uniform(-3, 3, n))
    start = Start(affine, CENTRE + rng.uniform(-0.5, 0.5, (n, 2)), np.ones(n), np.ones(n))
    outwards = entry.reflections / np.linalg.norm(entry.reflections, axis=1, keepdims=True)
    patterns = []
    for shift, a, c in zip(shifts, start.affine, start.centre, strict=True):
        moved = replace(entry, reflections=entry.reflections + shift[SHELL][:, None] * outwards)
        patterns.append(expected_counts(moved, a, c, 1.0, 1.0, SHAPE))
    counts = rng.poisson(np.stack(patterns)).astype(float)
    return start, fit_of(entry, counts, start), counts


def fit_of(entry: Entry, counts: FloatArray, start: Start) -> PatternFit:
    positions = predicted_positions(start, entry.reflections)
    stack = gather(counts, positions, entry.probe.half + 2, np.ones(SHAPE, bool))
    return refine(stack, entry, start, centre=start.centre, centre_sigma=0.1, iterations=4, robust=False)


def errors_of_dilation(start: Start, fit: PatternFit) -> FloatArray:
    """Error over sigma of the dilation of every pattern."""
    found = np.einsum("nji,njk->nik", start.affine, fit.start.affine)
    weight = start.affine.reshape(-1, 4) / 2
    sigma = np.sqrt(np.einsum("ni,nij,nj->n", weight, fit.affine_covariance, weight))
    return np.asarray((np.trace(found, axis1=1, axis2=2) / 2 - 1.0) / sigma)


def everywhere(fit: PatternFit) -> FloatArray:
    return np.ones(fit.shift_score.shape[:2])


@pytest.mark.parametrize("constant", [0.0, 0.2])
def test_noise_and_what_never_changes_are_no_common_shift(entry: Entry, constant: float) -> None:
    """What is the same in every pattern cancels against the reference; chance may show a little in one of fifty."""
    found = []
    for seed in range(5):
        fit = shifted(entry, np.tile([constant, 0.0, -constant], (40, 1)), seed)[1]
        found.append(measure_common_shift(entry, fit, everywhere(fit)))
    assert sum(shift == 0 for shift in found) >= 4
    assert max(found) < 0.02


@pytest.mark.parametrize("size", [0.05, 0.2])
def test_shells_that_move_on_their_own(entry: Entry, size: float) -> None:
    shifts = size * np.random.default_rng(1).standard_normal((N, 3))
    fit = shifted(entry, shifts)[1]
    assert measure_common_shift(entry, fit, everywhere(fit)) == pytest.approx(size, rel=0.2)


def test_a_few_patterns_that_are_something_else_do_not_count(entry: Entry) -> None:
    shifts = np.zeros((N, 3))
    shifts[:9, 0] = 1.0
    fit = shifted(entry, shifts)[1]
    assert measure_common_shift(entry, fit, everywhere(fit)) < 0.02


@pytest.mark.parametrize("together", [True, False])
def test_they_are_in_the_sigma_of_dilation(entry: Entry, together: bool) -> None:
    """A step of *all* disks by the same is hardly told from a dilation: two thirds of it are missed."""
    rng = np.random.default_rng(2)
    shifts = 0.15 * (rng.standard_normal((N, 1)) * np.ones(3) if together else rng.standard_normal((N, 3)))
    start, fit, counts = shifted(entry, shifts)
    common = measure_common_shift(entry, fit, everywhere(fit))
    doubtful = replace(entry, priors=replace(entry.priors, common_shift=common))
    again = fit_of(doubtful, counts, start)
    np.testing.assert_array_equal(again.start.affine, fit.start.affine)
    alone, with_shift = (np.std(errors_of_dilation(start, f)) for f in (fit, again))
    assert alone > 3.0
    assert with_shift < (0.45 * alone if together else 1.1)
    assert (again.shared > fit.shared).all()  # it is no noise: neighbours have it in common


def test_what_disks_have_in_common_already_is_not_added_twice(entry: Entry) -> None:
    start, _, counts = shifted(entry, np.zeros((20, 3)))
    once = fit_of(replace(entry, priors=replace(entry.priors, common_shift=0.1)), counts, start)
    given = (once.start.affine, entry.reflections, once.shift_information, entry.priors.wander, once.covariance)
    np.testing.assert_allclose(with_common_shift(*given, once.coherent, 0.1), once.coherent, rtol=1e-6, atol=1e-9)
    more = with_common_shift(*given, once.coherent, 0.2)
    np.testing.assert_allclose(more, 4.0 * once.coherent, rtol=1e-6, atol=1e-9)

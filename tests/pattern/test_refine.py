"""Refinement: from a coarse rotation to the affine, on patterns drawn by the simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import left_polar, reciprocal, rotation
from cyclestrain.data import FloatArray
from cyclestrain.pattern import (
    Entry,
    PatternFit,
    Priors,
    Probe,
    Start,
    WindowStack,
    approach,
    disk_profile,
    gather,
    in_place,
    predicted_positions,
    refine,
)
from cyclestrain.simulation import Acquisition
from cyclestrain.simulation.patterns import background
from laws import expected_counts, made_up_entry, ring_of_reflections, simulated_field, start_of

DETECTOR = (128, 128)


def entry_of(acquisition: Acquisition) -> Entry:
    """What learning should find: lattice, intensities, a soft disk one pixel wide at the edge, the background."""
    lattice = acquisition.make_lattice()
    keep = np.hypot(*lattice.vectors.T) < 56
    radius, n = acquisition.disk_radius, int(keep.sum())
    half = int(np.ceil(radius + 3))
    probe = Probe.from_profile(disk_profile(radius, 0.9, 8, half + 3.0), 8, half)
    smooth = background(acquisition.detector, 63.5, 63.5)
    width = 0.01 * min(acquisition.detector)
    profile = smooth.max() * (1 + 0.5 / width**2) / (1 + (np.arange(100.0) / width) ** 2)
    return Entry(
        lattice.vectors[keep],
        acquisition.counts * (1 - acquisition.background) * lattice.intensity[keep],
        lattice.vectors[:2].T,
        np.zeros((n, 2)),
        np.eye(2)[None],
        acquisition.counts * acquisition.background * profile,
        probe,
        Priors.none(n),
        np.zeros((3, 3)),
    )


def drawn(n: int, options: dict[str, object], turn: float, seed: int = 0) -> tuple[FloatArray, FloatArray, Start]:
    """Patterns of up to 2.5 % strain in every component, their affines, and starts wrong by up to `turn` degrees."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(-np.pi, np.pi, n)
    gradient = (np.eye(2) + rng.uniform(-0.025, 0.025, (n, 2, 2))) @ rotation(theta)
    made = simulated_field(gradient[None], detector=DETECTOR, seed=seed, **options)
    known = left_polar(gradient)[1] + np.deg2rad(turn) * rng.uniform(-1, 1, n)
    centre = np.stack([made.truth["centre_y"], made.truth["centre_x"]], -1)[0]
    off = centre + 0.1 * rng.standard_normal((n, 2))
    return np.asarray(made.scan.source)[0], reciprocal(gradient), Start.turned(known, off)


@pytest.mark.parametrize("lattice", ["hexagonal", "square", "oblique"])
@pytest.mark.parametrize(("share", "turn"), [(0.1, 2.0), (0.5, 1.0)])
def test_coarse_rotation_grows_into_the_affine(lattice: str, share: float, turn: float) -> None:
    options = {"lattice": lattice, "background": share, "counts": 1e5, "radius": 3.0, "drift": 2.0}
    entry, good = entry_of(Acquisition(detector=DETECTOR, **options)), np.ones(DETECTOR, bool)  # type: ignore[arg-type]
    patterns, truth, start = drawn(150, options, turn)
    near = approach(patterns, good, entry, start, centre_sigma=0.2)
    reach = 38.0  # pixels from the beam to the bright reflections
    assert np.quantile(np.abs(near.affine - truth).max((1, 2)), 0.99) * reach < 1.0  # within a pixel everywhere
    stack = gather(patterns, predicted_positions(near, entry.reflections), entry.probe.half + 1, good)
    fit = refine(stack, entry, near, centre=start.centre, centre_sigma=0.2)
    z = (fit.start.affine - truth).reshape(-1, 4) / np.sqrt(np.einsum("nii->ni", fit.affine_covariance))
    assert np.mean(np.abs(z) > 4.0) < 0.005
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.25)
    assert fit.significance.min() > 10
    np.testing.assert_allclose(np.median(fit.misfit), 1.0, atol=0.05)


def test_reflections_near_the_beam_that_lie_in_a_row_are_not_all_that_is_fitted_first() -> None:
    """A long cell has a row of bright disks near the beam, which tells nothing across it."""
    row = np.array([[14.0, 0.0], [28.0, 0.0], [42.0, 0.0]])
    across = np.array([[0.0, 44.0], [14.0, 44.0], [-14.0, 44.0]])
    entry = made_up_entry(np.concatenate([row, -row, across, -across]), counts=2000.0)
    rng, good = np.random.default_rng(1), np.ones((120, 120), bool)
    centre, affine = np.array([59.6, 60.3]), np.array([[1.015, -0.02], [0.03, 0.98]])
    counts = expected_counts(entry, affine, centre, 1.0, 1.0, good.shape)
    patterns, start = rng.poisson(counts, (60, *good.shape)), start_of(np.eye(2), centre, 60)
    near = approach(patterns, good, entry, start, centre_sigma=0.1)
    off = predicted_positions(near, entry.reflections) - centre - entry.reflections @ affine.T
    assert np.abs(off).max() < 0.6


def test_vacuum_has_no_significance() -> None:
    options = {"background": 0.5, "counts": 1e5, "radius": 3.0}
    entry, good = entry_of(Acquisition(detector=DETECTOR, **options)), np.ones(DETECTOR, bool)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    patterns = rng.poisson(0.5e5 * background(DETECTOR, 63.5, 63.5), (200, *DETECTOR))
    start = Start.turned(rng.uniform(-3, 3, 200), np.full((200, 2), 63.5))
    near = approach(patterns, good, entry, start, centre_sigma=0.1)
    stack = gather(patterns, predicted_positions(near, entry.reflections), entry.probe.half + 1, good)
    fit = refine(stack, entry, near, centre=start.centre, centre_sigma=0.1)
    assert np.mean(fit.significance > 5) < 0.01


def test_inflation_follows_misfit_beyond_counting() -> None:
    """Patterns that the entry does not explain get wider uncertainties; those it explains do not."""
    entry = made_up_entry(ring_of_reflections())
    affine, centre = np.eye(2), np.array([36.0, 38.0])
    counts = expected_counts(entry, affine, centre, 1.0, 1.0, (72, 76))
    y, x = np.indices(counts.shape)
    structured = counts * (1 + 0.4 * np.sin(1.5 * y) * np.sin(1.4 * x))
    rng = np.random.default_rng(0)
    draws = np.concatenate([rng.poisson(counts, (50, 72, 76)), rng.poisson(structured, (50, 72, 76))]).astype(float)
    start = start_of(affine, centre, 100)
    stack = gather(draws, predicted_positions(start, entry.reflections), entry.probe.half + 1, np.ones((72, 76), bool))
    fit = refine(stack, entry, start, centre=start.centre, centre_sigma=0.1, robust=False)
    assert (fit.inflation[:50] == 1).mean() > 0.9
    np.testing.assert_array_equal(fit.inflation[50:], fit.misfit[50:])
    assert fit.inflation[50:].min() > 2


def test_a_fit_that_left_the_detector_is_not_the_likelier_one() -> None:
    """Its windows hold fewer pixels, and so a smaller sum of squares than those of the fit that explains the disks."""
    entry = made_up_entry(ring_of_reflections())
    affine, centre, good = np.eye(2), np.array([36.0, 38.0]), np.ones((72, 76), bool)
    counts = expected_counts(entry, affine, centre, 1.0, 1.0, good.shape)
    y, x = np.indices(counts.shape)
    counts = counts * (1 + 0.15 * np.sin(1.5 * y) * np.sin(1.4 * x))  # no entry is perfect
    draws = np.random.default_rng(0).poisson(counts, (40, *good.shape)).astype(float)

    def fit(affine: FloatArray) -> PatternFit:
        start = start_of(affine, centre, 40)
        stack = gather(draws, predicted_positions(start, entry.reflections), entry.probe.half + 1, good)
        return refine(stack, entry, start, centre=start.centre, centre_sigma=0.1, iterations=0)

    right, gone = fit(affine), fit(2.0 * rotation(0.2))
    assert gone.n_pixels.sum() < 0.5 * right.n_pixels.sum()
    assert (right.penalty(entry) < gone.penalty(entry)).all()


WIDTHS = [0, 1, 2, 3, 5, 6, 7]
"""Columns of the widths of deviations that are fitted with a disk; that of its position only lowers its weight."""


def noisy_windows(entry: Entry, n: int) -> tuple[WindowStack, Start]:
    """Windows of Poisson draws, and a start a third of a pixel off."""
    centre, affine = np.array([36.0, 38.0]), np.array([[1.01, 0.004], [-0.006, 0.99]])
    draws = np.random.default_rng(0).poisson(expected_counts(entry, affine, centre, 1, 1, (72, 76)), (n, 72, 76))
    start = start_of(affine, centre + 0.3, n)
    places = predicted_positions(start, entry.reflections)
    return gather(draws, places, entry.probe.half + 2, np.ones((72, 76), bool)), start


@pytest.mark.parametrize("free", [WIDTHS[:2], WIDTHS[:4], WIDTHS])
def test_deviations_that_are_hardly_free_change_nothing(free: list[int]) -> None:
    """Levels alone, sloped backgrounds and contrast have sums of their own, which must agree with flat ones."""
    entry = made_up_entry(ring_of_reflections())
    stack, start = noisy_windows(entry, 20)
    spread = np.zeros_like(entry.priors.spread)
    spread[:, free] = 1e-7
    flat, freed = (
        refine(stack, one, start, centre=start.centre, centre_sigma=1.0)
        for one in (entry, replace(entry, priors=Priors(spread)))
    )
    sigma = np.sqrt(np.einsum("nii->ni", flat.affine_covariance)).reshape(-1, 2, 2)
    assert (np.abs(freed.start.affine - flat.start.affine) / sigma).max() < 1e-3
    np.testing.assert_allclose(freed.chi_square, flat.chi_square, rtol=1e-4)


@pytest.mark.parametrize("dtype", "u1 u2 u4 i2 i4 i8 f4 f8".split())
@pytest.mark.parametrize("summed", [False, True])
def test_windows_that_are_read_in_place_give_the_same_bits(dtype: type, summed: bool) -> None:
    """Also where pixels are bad or at the end of the scale, and where windows reach beyond the detector."""
    entry, rng = made_up_entry(ring_of_reflections()), np.random.default_rng(0)
    centre, n = np.array([36.0, 38.0]), 12
    draws = rng.poisson(expected_counts(entry, np.eye(2), centre, 1, 1, (72, 76)), (n, 72, 76))[:, :58, 5:62]
    good = rng.random(draws.shape[1:]) > 0.05
    members = np.stack([np.arange(n), (np.arange(n) + 1) % n, np.where(np.arange(n) % 2, 3, -1)], 1) if summed else None
    start = start_of(np.eye(2), centre - [0.0, 5.0] + 0.3, n)
    places, half = predicted_positions(start, entry.reflections), entry.probe.half + 2
    given = {"centre": start.centre, "centre_sigma": 1.0, "ceiling": float(np.quantile(draws, 0.99))}
    cut, read = (
        refine(find(draws.astype(dtype), places, half, good, members, ceiling=given["ceiling"]), entry, start, **given)  # type: ignore[operator]
        for find in (gather, in_place)
    )
    assert read.n_pixels.min() < read.n_pixels.max()
    assert read.saturated.max() > 0
    for name in ("covariance", "chi_square", "n_pixels", "saturated", "shift_score"):
        np.testing.assert_array_equal(getattr(read, name), getattr(cut, name))
    np.testing.assert_array_equal(read.start.affine, cut.start.affine)


@pytest.mark.parametrize("free", [[], WIDTHS[:2], WIDTHS])
def test_a_step_that_hardly_matters_is_the_last(free: list[int]) -> None:
    entry, near = made_up_entry(ring_of_reflections()), 0.05
    spread = np.zeros_like(entry.priors.spread)
    spread[:, free] = 0.02
    entry = replace(entry, priors=Priors(spread))
    stack, start = noisy_windows(entry, 20)
    given = {"centre": start.centre, "centre_sigma": 1.0}
    whole, ended = (refine(stack, entry, start, iterations=40, settled=settled, **given) for settled in (0.0, near))
    sigma = np.sqrt(np.einsum("nii->ni", whole.affine_covariance))
    off = np.abs(ended.start.affine - whole.start.affine).reshape(-1, 4) / sigma
    assert 0 < off.max() < near
    np.testing.assert_allclose(ended.covariance, whole.covariance, rtol=0.05, atol=0.01 * whole.covariance.max())
    np.testing.assert_allclose(ended.chi_square.sum(1), whole.chi_square.sum(1), rtol=1e-3)
    first = refine(stack, entry, start, iterations=1, **given)
    bold = refine(stack, entry, start, iterations=40, settled=1e6, **given)
    np.testing.assert_array_equal(bold.start.affine, first.start.affine)


def test_a_pattern_does_not_depend_on_those_fitted_with_it() -> None:
    entry = made_up_entry(ring_of_reflections())
    entry = replace(entry, priors=Priors(np.full_like(entry.priors.spread, 0.05)))
    stack, start = noisy_windows(entry, 19)
    together = refine(stack, entry, start, centre=start.centre, centre_sigma=1.0)
    for n in (0, 7, 8, 18):
        one = slice(n, n + 1)
        part = Start(start.affine[one], start.centre[one], start.gain[one], start.level[one])
        windows = WindowStack(stack.counts[one], stack.origin[one])
        alone = refine(windows, entry, part, centre=part.centre, centre_sigma=1.0)
        np.testing.assert_array_equal(alone.start.affine, together.start.affine[one])
        np.testing.assert_array_equal(alone.covariance, together.covariance[one])


def test_predicted_positions_are_centre_plus_affine() -> None:
    reflections = np.array([[3.0, 4.0], [-1.0, 2.0]])
    start = start_of(np.array([[1.0, 0.5], [0.0, 2.0]]), np.array([10.0, 20.0]), 3)
    np.testing.assert_allclose(
        predicted_positions(start, reflections), np.broadcast_to([[15, 28], [10, 24]], (3, 2, 2))
    )


def test_turned_start_is_a_rotation_without_strain() -> None:
    start = Start.turned(np.array([0.3, -1.0]), np.zeros((2, 2)))
    stretch, theta = left_polar(start.affine)
    np.testing.assert_allclose(theta, [0.3, -1.0])
    np.testing.assert_allclose(stretch, np.broadcast_to(np.eye(2), (2, 2, 2)), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_type_of_the_counts_does_not_matter(dtype: type) -> None:
    entry = made_up_entry(ring_of_reflections(), counts=800.0, background=2.0)
    counts = np.random.default_rng(0).poisson(expected_counts(entry, np.eye(2), (36, 38), 1, 1, (72, 76)), (5, 72, 76))
    start, good = start_of(np.eye(2), np.array([36.0, 38.0]), 5), np.ones((72, 76), bool)
    found = [
        approach(patterns, good, entry, start, centre_sigma=0.1).affine
        for patterns in (counts.astype(np.int64), counts.astype(dtype))
    ]
    np.testing.assert_array_equal(*found)


def drawn_with(parts: FloatArray, seed: int) -> tuple[Entry, PatternFit, FloatArray]:
    """Patterns whose reflections have these parts of the counts of their entry, fitted from 2 % off the truth."""
    entry = made_up_entry(ring_of_reflections())
    affine, centre = np.eye(2), np.array([36.0, 38.0])
    bright = replace(entry, intensity=entry.intensity * parts)
    draws = np.random.default_rng(seed).poisson(expected_counts(bright, affine, centre, 1, 1, (72, 76)), (200, 72, 76))
    start = start_of(affine, centre, 200)
    start = replace(start, affine=start.affine + 0.02 * np.random.default_rng(seed + 1).normal(size=(200, 2, 2)))
    places = predicted_positions(start, entry.reflections)
    stack = gather(draws.astype(float), places, entry.probe.half + 2, np.ones((72, 76), bool))
    fit = refine(stack, entry, start, centre=start.centre, centre_sigma=0.05, iterations=5)
    return entry, fit, (fit.start.affine - affine).reshape(-1, 4)


@pytest.mark.parametrize("part", [0.0, 0.15])
def test_a_reflection_that_is_hardly_there_fixes_nothing(part: float) -> None:
    """A pattern of another zone shares a row with the entry: across it, sigma must not be that of disks supposed."""
    parts = np.where(np.arange(6) % 3 == 0, 1.0, part)
    _, fit, error = drawn_with(parts, 1)
    supposed, stated = (
        np.sqrt(np.mean(error**2 / np.einsum("nii->ni", each), 0))
        for each in (fit.covariance[:, :4, :4], fit.affine_covariance)
    )
    assert supposed.max() > 1.5
    assert stated.max() < 1.3
    assert part > 0 or not fit.checked.any()


def test_what_is_as_bright_as_supposed_is_as_sure_as_supposed() -> None:
    _, fit, error = drawn_with(np.ones(6), 2)
    same = (fit.affine_covariance == fit.covariance[:, :4, :4]).all((1, 2))
    assert same.mean() > 0.99
    np.testing.assert_allclose((error / np.sqrt(np.einsum("nii->ni", fit.affine_covariance))).std(0), 1.0, atol=0.15)
    assert fit.checked.all()

"""The likelihood against the model's formula written down a second time, and against Poisson draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba as nb
import numpy as np
import pytest

from cyclestrain.affine import reciprocal, rotation
from cyclestrain.data import FloatArray
from cyclestrain.pattern import Entry, PatternFit, Priors, Start, gather, predicted_positions, refine
from cyclestrain.pattern.elimination import N_PARAMETERS
from cyclestrain.pattern.reflection import N_LOCAL, N_PLAIN, Window, add_contrast, contrast_modes
from laws import expected_counts, made_up_entry, numerical_jacobian, ring_of_reflections, start_of

SHAPE = (73, 80)
CENTRE = np.array([36.3, 40.8])
AFFINE = reciprocal(np.array([[1.012, 0.004], [-0.006, 0.991]]) @ rotation(0.3))
GAIN, LEVEL = 1.1, 0.9
UNKNOWN = 1e3
"""Prior standard deviation of a beam centre that nothing is known of, pixels."""
TRUTH = np.array([*AFFINE.ravel(), *CENTRE, GAIN, LEVEL])


@pytest.fixture(scope="module")
def entry() -> Entry:
    return made_up_entry(ring_of_reflections())


def counts_at(entry: Entry, parameters: FloatArray) -> FloatArray:
    affine, centre, gain, level = parameters[:4].reshape(2, 2), parameters[4:6], parameters[6], parameters[7]
    return expected_counts(entry, affine, centre, gain, level, SHAPE)


def parameters_of(start: Start) -> FloatArray:
    n = len(start.gain)
    return np.concatenate([start.affine.reshape(n, 4), start.centre, start.gain[:, None], start.level[:, None]], 1)


def fit(
    entry: Entry,
    patterns: FloatArray,
    iterations: int = 8,
    good: FloatArray | None = None,
    start: FloatArray = TRUTH,
    margin: int = 1,
    **options: object,
) -> PatternFit:
    patterns = patterns.reshape(-1, *SHAPE)
    good = np.ones(SHAPE, bool) if good is None else good
    begin = start_of(start[:4].reshape(2, 2), start[4:6], len(patterns), start[6], start[7])
    # The windows lie where the disks truly are: a start a little off must not cut them elsewhere.
    places = predicted_positions(start_of(AFFINE, CENTRE, len(patterns)), entry.reflections)
    stack = gather(patterns, places, entry.probe.half + margin, good)
    given = {"centre": begin.centre, "centre_sigma": UNKNOWN, "robust": False, **options}
    return refine(stack, entry, begin, iterations=iterations, **given)  # type: ignore[arg-type]


def compared_pixels(entry: Entry) -> FloatArray:
    """How many windows each pixel is compared in, at the truth."""
    out = np.zeros(SHAPE)
    for y, x in np.rint(predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0]).astype(int):
        h = entry.probe.half
        out[y - h : y + h + 1, x - h : x + h + 1] += entry.probe.support
    return out


def test_expected_counts_are_the_best_fit_of_themselves(entry: Entry) -> None:
    """At the truth of noise-free counts the score vanishes, the misfit too, and a fit stays."""
    counts = counts_at(entry, TRUTH)
    here = fit(entry, counts, iterations=0)
    sigma = np.sqrt(np.diagonal(here.covariance[0]))
    assert here.misfit[0] < 1e-4
    pulls = here.shift_score[0] / np.sqrt(np.einsum("gii->gi", here.shift_information[0]))
    assert np.abs(pulls).max() < 0.01
    stayed = parameters_of(fit(entry, counts).start)[0]
    assert (np.abs(stayed - TRUTH) / sigma).max() < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_a_start_within_a_pixel_finds_the_truth(entry: Entry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = counts_at(entry, TRUTH)
    sigma = np.sqrt(np.diagonal(fit(entry, counts, iterations=0).covariance[0]))
    start = TRUTH + rng.uniform(-1, 1, 8) * [0.012, 0.012, 0.012, 0.012, 0.3, 0.3, 0.2, 0.2]
    found = parameters_of(fit(entry, counts, iterations=12, start=start).start)[0]
    assert (np.abs(found - TRUTH) / sigma).max() < 0.05


def test_information_is_that_of_the_expected_counts(entry: Entry) -> None:
    """Fisher information of Poisson counts, ``sum d_i d_j / lambda``, from finite differences of the formula."""
    windows = compared_pixels(entry)
    assert windows.max() == 1  # no pixel counts twice
    # Over the spacing of the probe's nodes, as a probe that is linear between them has kinks.
    reach = np.abs(entry.reflections).max()
    node = 1.0 / entry.probe.oversampling
    steps = np.array([node / reach] * 4 + [node] * 2 + [1e-3] * 2)
    derivative = numerical_jacobian(lambda scaled: counts_at(entry, TRUTH + steps * scaled).ravel(), np.zeros(8), 1.0)
    derivative = derivative / steps
    weight = (windows / counts_at(entry, TRUTH)).ravel()
    information = derivative.T @ (weight[:, None] * derivative)
    covariance = fit(entry, counts_at(entry, TRUTH), iterations=0).covariance[0]
    scale = np.sqrt(np.diagonal(information))
    product = (covariance * np.outer(scale, scale)) @ (information / np.outer(scale, scale))
    np.testing.assert_allclose(product, np.eye(N_PARAMETERS), atol=0.03)


def test_scatter_of_poisson_draws_is_the_stated_covariance(entry: Entry) -> None:
    """Maximum likelihood is efficient and unbiased: all eight parameters, with their correlations."""
    rng = np.random.default_rng(1)
    n = 3000
    draws = rng.poisson(counts_at(entry, TRUTH), (n, *SHAPE)).astype(np.float32)
    found = fit(entry, draws)
    error = parameters_of(found.start) - TRUTH
    whitened = np.linalg.solve(np.linalg.cholesky(found.covariance.mean(0)), error.T)
    np.testing.assert_allclose(whitened.std(1), 1.0, atol=4 / np.sqrt(2 * n))
    np.testing.assert_allclose(np.corrcoef(whitened), np.eye(8), atol=4.5 / np.sqrt(n))
    np.testing.assert_allclose(whitened.mean(1), 0.0, atol=6 / np.sqrt(n))  # bias below a tenth of sigma
    np.testing.assert_allclose(found.misfit.mean(), 1.0, atol=0.01)
    assert (found.inflation == 1).mean() > 0.98


def test_misfit_has_the_spread_that_counting_gives(entry: Entry) -> None:
    """Also where there is less than a count per pixel, where Pearson's chi-square scatters more than usual."""
    rng = np.random.default_rng(2)
    scarce = replace(entry, intensity=entry.intensity / 30, background=entry.background / 30)
    for one in (entry, scarce):
        found = fit(one, rng.poisson(counts_at(one, TRUTH), (600, *SHAPE)).astype(float), iterations=0)
        z = (found.chi_square - found.n_pixels) / found.chi_error
        assert z.std() == pytest.approx(1.0, abs=0.1)
        assert abs(z.mean()) < 0.1


def test_masked_pixels_say_nothing(entry: Entry) -> None:
    rng = np.random.default_rng(3)
    counts = rng.poisson(counts_at(entry, TRUTH)).astype(float)
    good = rng.random(SHAPE) > 0.2
    spoilt = np.where(good, counts, 1e6)
    one, two = fit(entry, counts, good=good), fit(entry, spoilt, good=good)
    np.testing.assert_array_equal(parameters_of(one.start), parameters_of(two.start))
    np.testing.assert_array_equal(one.covariance, two.covariance)
    everything = fit(entry, counts)
    assert (np.diagonal(one.covariance[0]) > np.diagonal(everything.covariance[0])).all()


def test_information_of_two_halves_adds_up(entry: Entry) -> None:
    """Every pixel counts by itself: a checkerboard and its complement make the whole."""
    counts = counts_at(entry, TRUTH)
    board = np.indices(SHAPE).sum(0) % 2 == 0
    whole, black, white = (
        np.linalg.inv(fit(entry, counts, iterations=0, good=good).covariance[0])
        for good in (np.ones(SHAPE, bool), board, ~board)
    )
    scale = np.sqrt(np.diagonal(whole))
    np.testing.assert_allclose((black + white) / np.outer(scale, scale), whole / np.outer(scale, scale), atol=1e-3)


@pytest.mark.parametrize("lost", [0, 4])
def test_a_disk_without_pixels_is_left_out(entry: Entry, lost: int) -> None:
    """Beyond the detector, or on its dead part: as if that disk had never been in the entry."""
    counts = counts_at(entry, TRUTH)
    y, x = np.rint(predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0, lost]).astype(int)
    good = np.ones(SHAPE, bool)
    good[y - 9 : y + 10, x - 9 : x + 10] = False
    cut, without = fit(entry, counts, good=good), fit(entry.only(np.arange(6) != lost), counts, good=good)
    assert cut.n_pixels[0, lost] == 0
    np.testing.assert_allclose(cut.covariance, without.covariance, rtol=1e-6)
    np.testing.assert_allclose(parameters_of(cut.start), parameters_of(without.start), rtol=1e-9)


@pytest.mark.parametrize("scale", [0.2, 25.0])
def test_gain_of_the_detector_changes_no_uncertainty(entry: Entry, scale: float) -> None:
    """Counts in other units, noise scale told: the same estimate with the same covariance of the affine."""
    rng = np.random.default_rng(4)
    counts = rng.poisson(counts_at(entry, TRUTH)).astype(float)
    other = replace(entry, intensity=scale * entry.intensity, background=scale * entry.background)
    one, two = fit(entry, counts), fit(other, scale * counts, noise_scale=scale)
    np.testing.assert_allclose(two.affine_covariance, one.affine_covariance, rtol=2e-3)
    np.testing.assert_allclose(two.start.affine, one.start.affine, atol=2e-6)
    np.testing.assert_allclose(two.misfit, one.misfit, rtol=1e-3)


def test_a_known_centre_is_kept(entry: Entry) -> None:
    rng = np.random.default_rng(5)
    counts = rng.poisson(counts_at(entry, TRUTH)).astype(float)
    start = TRUTH + np.array([0, 0, 0, 0, 0.4, -0.4, 0, 0])
    held = fit(entry, counts, start=start, centre_sigma=1e-3)
    np.testing.assert_allclose(held.start.centre[0], start[4:6], atol=0.01 * 0.4)
    free = fit(entry, counts, start=start)
    np.testing.assert_allclose(free.start.centre[0], CENTRE, atol=4 * np.sqrt(free.covariance[0, 4, 4]))


def garbage(counts: FloatArray, place: FloatArray) -> FloatArray:
    """A bright spot beside the middle of one disk."""
    y, x = np.indices(SHAPE)
    return counts + 400.0 * np.exp(-0.5 * ((y - place[0] - 2.5) ** 2 + (x - place[1] + 1.5) ** 2) / 1.5**2)


@pytest.mark.parametrize("covered", [0, 3])
def test_a_reflection_covered_by_garbage_does_not_move_the_strain(entry: Entry, covered: int) -> None:
    place = predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0, covered]
    clean = counts_at(entry, TRUTH)
    sigma = np.sqrt(np.diagonal(fit(entry, clean, iterations=0).affine_covariance[0]))
    spoilt = garbage(clean, place)

    def moved(robust: bool) -> float:
        found = fit(entry, spoilt, iterations=10, centre_sigma=0.1, robust=robust)
        return float((np.abs(found.start.affine[0].ravel() - AFFINE.ravel()) / sigma).max())

    assert moved(True) < 1.0
    assert moved(False) > 5.0


def with_spread(entry: Entry, spread: list[float]) -> Entry:
    return replace(entry, priors=Priors(np.tile(spread, (len(entry.intensity), 1))))


def test_free_intensities_and_backgrounds_do_not_touch_the_strain(entry: Entry) -> None:
    """Wide priors: whatever each disk's brightness and the tilt of its background, affine and centre stay."""
    rng = np.random.default_rng(6)
    brightness = rng.uniform(0.4, 2.0, 6)
    changed = replace(entry, intensity=entry.intensity * brightness)
    counts = counts_at(changed, TRUTH)
    y, x = np.indices(SHAPE)
    places = np.rint(predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0])
    half = entry.probe.half
    smooth = counts_at(replace(entry, intensity=0 * entry.intensity), TRUTH)
    for (py, px), (level, v, u) in zip(places, rng.uniform(-0.5, 0.5, (6, 3)), strict=True):
        window = np.maximum(abs(y - py), abs(x - px)) <= half + 1
        counts += np.where(window, smooth * (level + v * (y - py) / half + u * (x - px) / half), 0.0)
    loose = with_spread(entry, [30.0, 30.0, 30.0, 30.0, *[0.0] * 4])
    sigma = np.sqrt(np.diagonal(fit(loose, counts, iterations=0).covariance[0]))
    found = fit(loose, counts, iterations=25)
    apart = (parameters_of(found.start)[0] - TRUTH) / sigma
    assert np.abs(apart[:6]).max() < 0.05
    assert found.misfit[0] < 1e-3
    total = found.start.gain[0] * entry.intensity + found.local[0, :, 0]
    np.testing.assert_allclose(total, GAIN * changed.intensity, rtol=5e-3)
    rigid = fit(entry, counts, iterations=25)
    apart = (parameters_of(rigid.start)[0] - TRUTH) / np.sqrt(np.diagonal(rigid.covariance[0]))
    assert np.abs(apart[:6]).max() > 1.0  # without the freedom the same counts mislead


def with_contrast(entry: Entry, slope: FloatArray, bowl: FloatArray, band: FloatArray) -> FloatArray:
    """Counts at the truth with a slope, a bowl and an uneven band along y of intensity inside every disk."""
    y, x = np.indices(SHAPE)
    dark = replace(entry, intensity=0 * entry.intensity)
    counts = counts_at(dark, TRUTH)
    for g, (py, px) in enumerate(predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0]):
        one = replace(dark, intensity=np.where(np.arange(6) == g, entry.intensity, 0.0))
        v, u = (y - py) / entry.probe.radius, (x - px) / entry.probe.radius
        inside = 1 + slope[g, 0] * v + slope[g, 1] * u + bowl[g] * (v**2 + u**2 - 0.5) + band[g] * (4 * v**3 - 2 * v)
        counts += inside * (counts_at(one, TRUTH) - counts_at(dark, TRUTH))
    return counts


def test_contrast_inside_the_disks_does_not_touch_the_strain(entry: Entry) -> None:
    """Position is read from the edges: a slope moves the centre of mass of a disk but not its edge."""
    rng = np.random.default_rng(12)
    slope, bowl = rng.uniform(-0.6, 0.6, (6, 2)), rng.uniform(-0.3, 0.3, 6)
    counts = with_contrast(entry, slope, bowl, rng.uniform(-0.3, 0.3, 6))
    loose = with_spread(entry, [0.0] * 5 + [30.0] * 4)
    sigma = np.sqrt(np.diagonal(fit(loose, counts, iterations=0).covariance[0]))
    found = fit(loose, counts, iterations=25)
    assert np.abs((parameters_of(found.start)[0] - TRUTH) / sigma)[:6].max() < 0.05
    np.testing.assert_allclose(found.local[0, :, 4:6], slope, atol=0.01)
    np.testing.assert_allclose(found.local[0, :, 6], bowl, atol=0.01)
    rigid = fit(entry, counts, iterations=25)
    apart = (parameters_of(rigid.start)[0] - TRUTH) / np.sqrt(np.diagonal(rigid.covariance[0]))
    assert np.abs(apart[:6]).max() > 3.0


def test_freedom_costs_precision_step_by_step(entry: Entry) -> None:
    """The wider a prior, the larger the stated uncertainty, from none to wholly free."""
    counts = counts_at(entry, TRUTH)
    for k in range(9):
        sigmas = []
        for width in (0.0, 0.03, 0.3, 30.0):
            spread = [0.0] * 9
            spread[k] = width
            one = fit(with_spread(entry, spread), counts, iterations=0)
            sigmas.append(np.sqrt(np.einsum("ii->i", one.affine_covariance[0])))
        assert (np.diff(sigmas, axis=0) >= -1e-9).all(), k


def test_scatter_with_drawn_deviations_is_the_stated_one(entry: Entry) -> None:
    """Intensities and positions that truly deviate as the priors say: error / sigma has standard deviation 1."""
    rng = np.random.default_rng(7)
    n, brightness, wander = 500, 0.25, 0.12
    patterns = np.empty((n, *SHAPE))
    inverse = np.linalg.inv(AFFINE)
    for i in range(n):
        one = replace(
            entry,
            intensity=entry.intensity * (1 + brightness * rng.standard_normal(6)),
            reflections=entry.reflections + wander * rng.standard_normal((6, 2)) @ inverse.T,
        )
        patterns[i] = rng.poisson(np.maximum(counts_at(one, TRUTH), 0))
    found = fit(with_spread(entry, [brightness, 0, 0, 0, wander, 0, 0, 0]), patterns, iterations=8)
    z = (found.start.affine.reshape(n, 4) - AFFINE.ravel()) / np.sqrt(np.einsum("nii->ni", found.affine_covariance))
    np.testing.assert_allclose(z.std(0), 1.0, atol=4 / np.sqrt(2 * n))


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_empty_patterns_end_in_finite_numbers_or_nan(entry: Entry, gain: float) -> None:
    """A blank pattern, or a blank background, must not crash or spread."""
    start = TRUTH.copy()
    counts = counts_at(entry, np.array([*TRUTH[:6], gain, 0.0]))
    found = fit(entry, np.stack([counts, counts_at(entry, TRUTH)]), start=start)
    np.testing.assert_allclose(parameters_of(found.start)[1], TRUTH, atol=1e-3)
    assert np.isfinite(parameters_of(found.start)[0]).all()


def test_patterns_do_not_depend_on_their_company(entry: Entry) -> None:
    rng = np.random.default_rng(8)
    draws = rng.poisson(counts_at(entry, TRUTH), (40, *SHAPE)).astype(float)
    together, alone = fit(entry, draws), fit(entry, draws[17])
    np.testing.assert_array_equal(parameters_of(together.start)[17], parameters_of(alone.start)[0])
    np.testing.assert_array_equal(together.covariance[17], alone.covariance[0])


def with_slopes(entry: Entry, slopes: FloatArray) -> FloatArray:
    """Expected counts of disks that are brighter on one side, by `slopes` ``(reflection, 2)`` per radius."""
    y, x = np.indices(SHAPE)
    dark = counts_at(replace(entry, intensity=0 * entry.intensity), TRUTH)
    disks = counts_at(entry, TRUTH) - dark
    slope = np.zeros(SHAPE)
    for place, (v, u) in zip(predicted_positions(start_of(AFFINE, CENTRE), entry.reflections)[0], slopes, strict=True):
        dy, dx = (y - place[0]) / entry.probe.radius, (x - place[1]) / entry.probe.radius
        slope += np.where(np.hypot(dy, dx) < 1.6, v * dy + u * dx, 0.0)
    return dark + disks * (1 + slope)


@pytest.mark.parametrize("kind", ["contrast", "wander"])
def test_shared_covariance_is_the_scatter_that_deviations_cause_without_noise(entry: Entry, kind: str) -> None:
    """Each reflection deviates as its prior says, nothing is random beside it."""
    rng = np.random.default_rng(8)
    width, n = 0.15, 200
    if kind == "contrast":
        one = with_spread(entry, [0.0] * 5 + [width, 0.0, 0.0])
        patterns = np.stack([with_slopes(entry, width * rng.standard_normal((6, 2))) for _ in range(n)])
    else:
        one = with_spread(entry, [0.0] * 4 + [width, 0.0, 0.0, 0.0])
        moves = width * rng.standard_normal((n, 6, 2)) @ np.linalg.inv(AFFINE).T
        patterns = np.stack([counts_at(replace(entry, reflections=entry.reflections + move), TRUTH) for move in moves])
    found = fit(one, patterns, iterations=12)
    stated = (found.covariance @ found.prior @ found.covariance)[:, :4, :4].mean(0)
    error = found.start.affine.reshape(n, 4) - AFFINE.ravel()
    whitened = np.linalg.solve(np.linalg.cholesky(stated), error.T)
    np.testing.assert_allclose(whitened.std(1), 1.0, atol=0.2)
    share = np.einsum("ij,ji", np.linalg.inv(found.affine_covariance.mean(0)), stated) / 4
    assert found.shared.mean() == pytest.approx(share, rel=0.05)
    assert 0.02 < share < 1.0


def test_where_nothing_deviates_neighbours_share_nothing(entry: Entry) -> None:
    assert fit(entry, counts_at(entry, TRUTH)).shared == 0.0


def test_a_fit_without_a_covariance_shares_nothing_and_stops_no_other(entry: Entry) -> None:
    found = fit(with_spread(entry, [0.3] + [0.0] * 4 + [0.2] * 3), np.stack([counts_at(entry, TRUTH)] * 2))
    covariance = found.covariance.copy()
    covariance[0] = np.nan
    shared = replace(found, covariance=covariance).shared
    assert shared[0] == 0.0
    assert shared[1] == found.shared[1] > 0.0


@nb.njit
def _add_contrast(window: Any, local: Any, fy: float, fx: float, radius: float) -> None:  # pragma: no cover
    add_contrast(window, local, fy, fx, radius, N_LOCAL)


def test_modes_of_contrast_are_drawn_as_they_are_fitted() -> None:
    """What `expected` draws and what the compiled fit adds to a disk: neither may swap rows and columns."""
    rng = np.random.default_rng(3)
    rows, columns = rng.uniform(-4, 4, (2, 40)).astype(np.float32)
    grid = np.stack([rows, columns, 0 * rows, 0 * rows, 0 * rows + 1])
    fy, fx, radius = 0.3, -0.2, 3.7
    drawn = contrast_modes((rows - fy) / radius, (columns - fx) / radius)
    for m, mode in enumerate(drawn):
        local, shape = np.zeros(N_LOCAL), np.ones((3, 40), np.float32)
        local[N_PLAIN + m] = 1.0
        window = Window(grid, shape, np.zeros((13, 40), np.float32), np.zeros(10, np.float32), grid)
        _add_contrast(window, local, fy, fx, radius)
        np.testing.assert_allclose(shape[0], 1 + mode, atol=1e-5)

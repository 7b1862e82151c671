"""Updates of the dictionary: the truth is a fixed point, a wrong profile is mended, deviations are measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cyclestrain.affine import rotation
from cyclestrain.data import FloatArray
from cyclestrain.learning.deviations import measure_coherence, measure_deviations
from cyclestrain.learning.profiles import fit_profiles, held_out_positions
from cyclestrain.machine import threads
from cyclestrain.pattern import (
    Entry,
    PatternFit,
    Priors,
    Probe,
    Start,
    WindowStack,
    disk_profile,
    gather,
    predicted_positions,
    refine,
)
from laws import expected_counts, made_up_entry, ring_of_reflections, start_of

SHAPE = (84, 84)
CENTRE = np.array([41.6, 41.9])


@pytest.fixture(scope="module")
def entry() -> Entry:
    return made_up_entry(ring_of_reflections(25.0), counts=1500.0, background=3.0)


def many_starts(n: int, seed: int = 0) -> Start:
    rng = np.random.default_rng(seed)
    affine = (np.eye(2) + rng.uniform(-0.02, 0.02, (n, 2, 2))) @ rotation(rng.uniform(-3, 3, n))
    return Start(affine, CENTRE + rng.uniform(-0.5, 0.5, (n, 2)), rng.uniform(0.8, 1.2, n), rng.uniform(0.8, 1.2, n))


def counts_of(entry: Entry, start: Start) -> FloatArray:
    return np.stack(
        [
            expected_counts(entry, a, c, g, b, SHAPE)
            for a, c, g, b in zip(start.affine, start.centre, start.gain, start.level, strict=True)
        ]
    )


def fitted(
    entry: Entry, patterns: FloatArray, start: Start, iterations: int = 3
) -> tuple[WindowStack, PatternFit, FloatArray]:
    good = np.ones(SHAPE, bool)
    stack = gather(patterns, predicted_positions(start, entry.reflections), entry.probe.half + 2, good)
    fit = refine(stack, entry, start, centre=start.centre, centre_sigma=0.1, iterations=iterations, robust=False)
    return stack, fit, np.ones(stack.counts.shape[:2])


def test_the_truth_is_a_fixed_point(entry: Entry) -> None:
    """Noise-free counts of an entry give its own probe and background back, and no deviations."""
    start = many_starts(60)
    stack, fit, trust = fitted(entry, counts_of(entry, start), start, iterations=0)
    profiles, deviations = fit_profiles(stack, entry, fit, trust, 1.0)
    expected = entry.probe.profile[: len(profiles.probe)]
    np.testing.assert_allclose(profiles.probe, expected, atol=0.012 * expected.max())
    seen = slice(18, 32)
    np.testing.assert_allclose(profiles.background[seen], entry.background[seen], rtol=0.01)
    sigma = np.sqrt(deviations.variance)
    assert np.nanmax(np.abs(deviations.value / sigma)) < 0.3  # third order is not looked for without contrast


@pytest.mark.parametrize("wrong", [-0.5, 0.4])
def test_a_wrong_radius_is_mended(entry: Entry, wrong: float) -> None:
    rng = np.random.default_rng(1)
    start = many_starts(200)
    patterns = rng.poisson(counts_of(entry, start)).astype(float)
    probe = Probe.from_profile(disk_profile(3.2 + wrong, 2.0, 8, 9.0), 8, entry.probe.half)
    learning = replace(entry, probe=probe)
    for _ in range(3):
        stack, fit, trust = fitted(learning, patterns, start, iterations=2)
        profiles, _ = fit_profiles(stack, learning, fit, trust, 1.0)
        learning = replace(
            learning, probe=Probe.from_profile(profiles.probe - profiles.probe[-8:].mean(), 8, probe.half)
        )
    assert learning.probe.radius == pytest.approx(entry.probe.radius, abs=0.03)
    truth = entry.probe.profile
    np.testing.assert_allclose(learning.probe.profile[:40], truth[:40], atol=0.03 * truth.max())


def test_untrusted_reflections_do_not_count(entry: Entry) -> None:
    start = many_starts(40)
    patterns = counts_of(entry, start)
    stack, fit, trust = fitted(entry, patterns, start, iterations=0)
    spoilt = WindowStack(stack.counts.copy(), stack.origin)
    spoilt.counts[:, 2] = 1e4
    trust[:, 2] = 0.0
    one, two = fit_profiles(stack, entry, fit, trust, 1.0)[0], fit_profiles(spoilt, entry, fit, trust, 1.0)[0]
    np.testing.assert_array_equal(one.probe, two.probe)
    np.testing.assert_array_equal(one.background, two.background)


def test_sums_do_not_depend_on_the_number_of_threads(entry: Entry) -> None:
    start = many_starts(50)
    patterns = np.random.default_rng(2).poisson(counts_of(entry, start)).astype(float)
    stack, fit, trust = fitted(entry, patterns, start)
    found = []
    for n in (1, 2):
        with threads(n):
            found.append(fit_profiles(stack, entry, fit, trust, 1.0)[0])
    np.testing.assert_array_equal(found[0].probe, found[-1].probe)
    np.testing.assert_array_equal(found[0].background, found[-1].background)


def deviating(
    entry: Entry, n: int, *, brightness: float = 0.0, wander: float = 0.0, level: float = 0.0, seed: int = 3
) -> FloatArray:
    """Measured priors of patterns whose reflections deviate by known standard deviations."""
    rng = np.random.default_rng(seed)
    start = many_starts(n, seed)
    patterns = np.empty((n, *SHAPE))
    y, x = np.indices(SHAPE)
    for i in range(n):
        one = Start(start.affine[i : i + 1], start.centre[i : i + 1], start.gain[i : i + 1], start.level[i : i + 1])
        off = wander * rng.standard_normal((6, 2)) @ np.linalg.inv(one.affine[0]).T
        own = replace(
            entry,
            intensity=entry.intensity * np.maximum(1 + brightness * rng.standard_normal(6), 0),
            reflections=entry.reflections + off,
        )
        patterns[i] = counts_of(own, one)[0]
        smooth = counts_of(replace(entry, intensity=0 * entry.intensity), one)[0]
        for py, px in predicted_positions(one, entry.reflections)[0]:
            near = np.hypot(y - py, x - px) < entry.probe.half + 2
            patterns[i] += np.where(near, level * rng.standard_normal() * smooth, 0)
    patterns = rng.poisson(np.maximum(patterns, 0)).astype(float)
    free = replace(entry, priors=Priors(np.full((6, 8), [3.0, *[0.0] * 7]))) if brightness else entry
    stack, fit, trust = fitted(free, patterns, start, iterations=4)
    _, deviations = fit_profiles(stack, free, fit, trust, 1.0)
    return measure_deviations(deviations, free, fit, trust)


def test_where_nothing_deviates_no_spread_is_found(entry: Entry) -> None:
    assert (deviating(entry, 400) < [0.03, 0.03, 0.03, 0.03, 0.05, 0.03, 0.03, 0.03, 0.03]).all()


@pytest.mark.parametrize("brightness", [0.1, 0.3])
def test_spread_of_the_intensities(entry: Entry, brightness: float) -> None:
    spread = deviating(entry, 400, brightness=brightness)
    np.testing.assert_allclose(spread[:, 0], brightness, rtol=0.3)
    assert spread[:, 0].mean() == pytest.approx(brightness, rel=0.12)
    assert spread[:, 4].max() < 0.05


def test_wandering_of_the_positions(entry: Entry) -> None:
    """Part of it is taken up by the affine: what is left is what the lattice does not explain."""
    spread = deviating(entry, 400, wander=0.2)
    assert (spread[:, 4] > 0.08).all()
    assert (spread[:, 4] < 0.22).all()


def test_spread_of_the_background(entry: Entry) -> None:
    spread = deviating(entry, 400, level=0.25)
    np.testing.assert_allclose(spread[:, 1], 0.25, rtol=0.25)


def sloped(entry: Entry, start: Start, slopes: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Patterns with slopes inside their disks, shape ``(n, reflection, 2)``."""
    y, x = np.indices(SHAPE)
    patterns = counts_of(replace(entry, intensity=0 * entry.intensity), start)
    disks = counts_of(entry, start) - patterns
    for i, places in enumerate(predicted_positions(start, entry.reflections)):
        slope = np.zeros(SHAPE)
        for place, (v, u) in zip(places, slopes[i], strict=True):
            dy, dx = (y - place[0]) / entry.probe.radius, (x - place[1]) / entry.probe.radius
            slope += np.where(np.hypot(dy, dx) < 1.6, v * dy + u * dx, 0.0)
        patterns[i] += disks[i] * (1 + slope)
    return rng.poisson(np.maximum(patterns, 0)).astype(float)


@pytest.mark.parametrize("contrast", [0.0, 0.4])
def test_spread_of_the_contrast(entry: Entry, contrast: float) -> None:
    """Slopes inside the disks that differ from pattern to pattern; the other modes stay at rest."""
    rng = np.random.default_rng(9)
    start = many_starts(300)
    patterns = sloped(entry, start, contrast * rng.standard_normal((300, 6, 2)), rng)
    free = replace(entry, priors=Priors(np.full((6, 8), [0.0] * 5 + [contrast] * 3)))
    stack, fit, trust = fitted(free, patterns, start, iterations=4)
    deviations = fit_profiles(stack, free, fit, trust, 1.0)[1]
    spread = measure_deviations(deviations, free, fit, trust)
    assert measure_coherence(deviations, spread, free, fit, trust) < 0.02
    assert spread[:, 5].mean() == pytest.approx(contrast, rel=0.25, abs=1e-9)
    assert spread[:, 6:].max() < 0.3 * contrast + 1e-9


@pytest.mark.parametrize("varies", [True, False])
def test_contrast_alike_in_all_disks_is_in_the_sigma_of_dilation(entry: Entry, varies: bool) -> None:
    """Slopes along the direction from the beam, as thickness makes them: they move all disks outwards or inwards.

    Those that are the same in every pattern cancel against the reference, and change nothing.
    """
    rng, n = np.random.default_rng(9), 300
    start = many_starts(n)
    place = np.einsum("nij,gj->ngi", start.affine, entry.reflections)
    common = 0.4 * rng.standard_normal((n, 1, 1)) if varies else 0.4
    slopes = common * place / np.linalg.norm(place, axis=-1, keepdims=True)
    patterns = sloped(entry, start, slopes, rng)
    free = replace(entry, priors=Priors(np.full((6, 8), [0.0] * 5 + [0.4 / np.sqrt(2), 0.0, 0.0])))
    stack, fit, trust = fitted(free, patterns, start, iterations=8)
    deviations = fit_profiles(stack, free, fit, trust, 1.0)[1]
    coherence = measure_coherence(deviations, measure_deviations(deviations, free, fit, trust), free, fit, trust)
    if not varies:
        assert coherence < 0.02
        return
    assert coherence == pytest.approx(2.0, rel=0.2)
    coherent = replace(free, priors=replace(free.priors, coherence=coherence))
    again = fitted(coherent, patterns, start, iterations=8)[1]
    np.testing.assert_array_equal(again.start.affine, fit.start.affine)
    turned = np.einsum("nji,njk->nik", start.affine, fit.start.affine)  # axes of the crystal
    dilation = np.trace(turned - np.einsum("nji,njk->nik", start.affine, start.affine), axis1=1, axis2=2) / 2
    weight = start.affine.reshape(n, 4) / 2
    alone, together = (np.sqrt(np.einsum("ni,nij,nj->n", weight, f.affine_covariance, weight)) for f in (fit, again))
    assert np.std(dilation / together) == pytest.approx(1.0, abs=0.1)
    assert np.std(dilation / alone) > 1.12
    assert (again.shared > fit.shared).mean() > 0.9  # it is no noise: neighbours have it in common


def test_held_out_position_is_that_of_a_fit_without_the_reflection(entry: Entry) -> None:
    rng = np.random.default_rng(4)
    n = 40
    start = many_starts(n)
    patterns = rng.poisson(counts_of(entry, start)).astype(float)
    stack, fit, _ = fitted(entry, patterns, start, iterations=8)
    held_out = held_out_positions(fit, entry.reflections)
    with_all = predicted_positions(fit.start, entry.reflections)
    expected = np.empty_like(held_out)
    for g in range(6):
        others = np.delete(np.arange(6), g)
        part = WindowStack(np.ascontiguousarray(stack.counts[:, others]), np.ascontiguousarray(stack.origin[:, others]))
        without = refine(
            part, entry.only(others), start, centre=start.centre, centre_sigma=0.1, iterations=8, robust=False
        )
        expected[:, g] = predicted_positions(without.start, entry.reflections)[:, g]
    move, wanted = (held_out - with_all).ravel(), (expected - with_all).ravel()
    assert np.corrcoef(move, wanted)[0, 1] > 0.98
    assert np.polyfit(wanted, move, 1)[0] == pytest.approx(0.95, abs=0.12)  # shrunk by the guard against one-sided fits
    assert np.std(move) > 0.01


def test_held_out_positions_follow_no_noise(entry: Entry) -> None:
    """Errors of fitted positions share the noise of their own disk; those of held-out positions do not."""
    rng = np.random.default_rng(5)
    start = start_of(rotation(0.4), CENTRE, 1500)
    patterns = rng.poisson(counts_of(entry, start_of(rotation(0.4), CENTRE)), (1500, *SHAPE)).astype(float)
    stack, fit, trust = fitted(entry, patterns, start, iterations=5)
    del stack, trust
    truth = predicted_positions(start, entry.reflections)
    held_out = held_out_positions(fit, entry.reflections) - truth
    together = predicted_positions(fit.start, entry.reflections) - truth
    # What each disk alone says of its own shift from the truth.
    own = together + np.linalg.solve(fit.shift_information, fit.shift_score[..., None])[..., 0]
    dependence = [
        np.corrcoef(own[:, g, i], e[:, g, i])[0, 1] for e in (held_out, together) for g in range(6) for i in (0, 1)
    ]
    assert np.abs(np.mean(dependence[:12])) < 0.12
    assert np.mean(dependence[12:]) > 0.4

"""Learning the dictionary: from coarse rotations to sharp, super-resolved entries.

Averaging turned patterns shows the reflections; fitting them to single patterns sharpens the rotations into affines,
the affines sharpen the average, and the windows shrink to what the reflections need. All alternations are maximum
likelihood at the detector's own pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.data import Calibration, FloatArray
from cyclestrain.learning.aperture import edge_of_beam
from cyclestrain.learning.blur import of_mean_blur, with_blur
from cyclestrain.learning.deviations import measure_coherence, measure_deviations, settled
from cyclestrain.learning.disk_images import disk_images, hold_disks, move_with_disks
from cyclestrain.learning.fitting import approached, fitted
from cyclestrain.learning.gauge import moved, regauged
from cyclestrain.learning.lattice import Lattice, find_lattice, finer_lattice
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.peaks import find_peaks
from cyclestrain.learning.plausibility import Plausibility, Unlearned
from cyclestrain.learning.probe_image import ProbeImage, centred, image_of, is_common
from cyclestrain.learning.profiles import fit_profiles, fits_of, held_out_errors
from cyclestrain.learning.reflections import measure_reflections
from cyclestrain.learning.second_crystal import second_crystal, without_touched
from cyclestrain.learning.shells import measure_common_shift
from cyclestrain.learning.spline_images import FIRST_PIXELS, MOST_PIXELS
from cyclestrain.learning.start import (
    OVERSAMPLING,
    average_again,
    entry_of,
    spacing,
    start_entry,
    window_half,
)
from cyclestrain.learning.symmetry import with_symmetry
from cyclestrain.learning.trust import trusted, typical_misfit
from cyclestrain.learning.window_sums import Fits
from cyclestrain.pattern import (
    Entry,
    PatternFit,
    Priors,
    Probe,
    Start,
    WindowStack,
    fit_edge,
    seen_edge,
)
from cyclestrain.pattern.dictionary import FIRST_CONTRAST

__all__ = ["MAX_PATTERNS", "clear_of_second", "learn_entry", "retuned_entry", "with_images"]

_Learned = tuple[Entry, Start, float]  # an entry, the fits of the patterns it was learned from, and the noise scale
BLURRIER = 0.1
"""How much softer than the learned edge that of the direct beam may be and still be believed, pixels."""
APART, APART_SHARE = 0.6, 0.12
"""How far, pixels and share, the radii of the direct beam and of the learned disk may be apart for that to be so."""
MOST_WORSE = 0.95
"""Share of patterns that the edge of the direct beam may explain worse than the learned one and still be believed."""
OVERLAP = 1.1
"""Diameter of patterned disks, in units of their distance, from which they cannot be told apart."""
CLEAR, LEFT = 10.0, 0.125
"""Fall of chi-square of the typical pattern from which images of the disks are believed, and part of the contrast that
they may leave to single patterns: where fringes move with thickness and tilt they left .37 and more."""
IDLE = 1e-3
"""Share of the variance of a typical pattern below which deviations of the background are left out: a fit takes two
thirds of the time without, and the error of thirty patterns that share them is larger by less than two hundredths."""
LEAST_PATTERNS, MAX_PATTERNS, RETUNED_PATTERNS = 50, 1024, 256
"""Patterns from which images of the disks are learned, most that an entry is (the mean of fewer holds too much of each
one's own noise, and more do not make it measurably better), and about as many that show dose and background of a known
one."""


def learn_entry(
    lesson: Lesson,
    calibration: Calibration,
    rng: np.random.Generator,
    rounds: int = 4,
    noise: float = np.nan,
    probe: Probe | None = None,
) -> tuple[Entry, float] | Unlearned:
    """Learn one entry from patterns whose coarse rotation is known.

    Parameters
    ----------
    lesson
        Patterns of one class with their coarse rotation.
    calibration
        Disk radius and ring.
    rng
        Random generator that picks the patterns where there are more than `MAX_PATTERNS`.
    rounds
        Alternations of fitting patterns and updating the entry.
    noise
        Variance over mean of a pixel, measured without a model; NaN where it is not known.
    probe
        Image of the probe to start from, and to stay with as far as the patterns do; by default disks are round until
        the patterns show otherwise.

    Returns
    -------
    entry, noise_scale
        The entry and the variance over mean of a pixel; the reason where the patterns show no crystal.
    """
    lesson = lesson.at_most(MAX_PATTERNS, rng)
    found = start_entry(lesson, calibration, probe)
    if found is None:
        return Unlearned.NO_LATTICE
    entry, crowded = found
    entry = replace(entry, grain=calibration.grain)
    start = approached(lesson, entry)
    entry, start, noise_scale = _alternate(lesson, entry, start, rounds=2, noise_scale=1.0, form=probe)
    entry, start = _look_again(lesson, calibration, entry, start, crowded=crowded)
    entry, start, noise_scale = _alternate(lesson, entry, start, rounds=rounds, noise_scale=noise_scale, form=probe)
    image = None if probe else _common_image(lesson, entry, start, noise_scale)
    if image is not None:
        # Contrast made up for a wrong disk: taken over, it would hold the image to that.
        fresh = replace(entry, probe=image, priors=entry.priors.without_contrast)
        other = _alternate(lesson, fresh, start, rounds=rounds, noise_scale=noise_scale)
        if _worse(lesson, (entry, start, noise_scale), other) < 0.5:
            entry, start, noise_scale = other
    if (clear := entry.clear_of_beam(start.affine)) is not entry:
        entry, start, noise_scale = _alternate(lesson, clear, start, rounds=2, noise_scale=noise_scale, form=probe)
    if entry.has_contrast and not entry.probe.is_image:
        entry, start, noise_scale = _sharper(lesson, calibration, entry, start, rounds=rounds, noise_scale=noise_scale)
    refusal = Plausibility.of(entry, calibration, noise_scale / noise).refusal
    if refusal:
        return refusal
    if entry.probe.is_image and 2.0 * entry.probe.radius > OVERLAP * spacing(entry.basis):
        return Unlearned.NO_DISK
    entry = replace(entry, second=second_crystal(lesson, calibration, entry, start, noise_scale))
    return _finished(lesson, entry, start), noise_scale


def clear_of_second(
    entry: Entry, noise_scale: float, lesson: Lesson, rng: np.random.Generator, rounds: int = 4
) -> tuple[Entry, float]:
    """An entry without the reflections that a second crystal touches, learned again; the same where there is none.

    Of one crystal, classes above another one and beside it are told to be one while they have the same reflections:
    which entries are new is to be decided before.

    Parameters
    ----------
    entry, noise_scale
        As from `learn_entry`.
    lesson, rng, rounds
        As for `learn_entry`.

    Returns
    -------
    entry, noise_scale
        As from `learn_entry`.
    """
    if not entry.second.size:
        return entry, noise_scale
    lesson = lesson.at_most(MAX_PATTERNS, rng)
    clear = without_touched(entry)
    start, form = approached(lesson, clear), clear.probe if clear.probe.is_image else None
    clear, start, noise_scale = _alternate(lesson, clear, start, rounds=rounds, noise_scale=noise_scale, form=form)
    return _finished(lesson, clear, start), noise_scale


def with_images(
    entry: Entry, noise_scale: float, lesson: Lesson, rng: np.random.Generator, rounds: int = 4
) -> tuple[Entry, float]:
    """An entry with an image of every disk, where contrast is the same in all patterns.

    Contrast of single patterns is then about the images, and is measured anew: if much is left, fringes move with
    thickness and tilt, and images that hold their mean would mislead. Where they explain patterns by little better,
    counts are too few to tell. Images explain whatever patterns have in common, also what is no crystal: whether an
    entry is one is to be decided before.

    Parameters
    ----------
    entry, noise_scale
        As from `learn_entry`.
    lesson, rng, rounds
        As for `learn_entry`.

    Returns
    -------
    entry, noise_scale
        What was given where images are not believed.
    """
    crowded = entry.overlaps or 2.0 * entry.probe.radius > spacing(entry.basis)
    if not entry.priors.spread[:, FIRST_CONTRAST:].any() or entry.probe.is_image or crowded or entry.second.size:
        return entry, noise_scale
    lesson = lesson.at_most(MAX_PATTERNS, rng)
    stack, fit = fitted(lesson, entry, approached(lesson, entry), noise_scale)
    trust = trusted(fit)
    if not _are_many(trust):
        return entry, noise_scale
    noise, fits = lesson.common_noise(entry, noise_scale), fits_of(stack, entry, fit, trust)
    if not move_with_disks(fits, held_out_errors(fit, entry.reflections), entry, noise):
        return entry, noise_scale
    imaged = _imaged(replace(entry, priors=entry.priors.without_contrast), fits, noise)
    after = _alternate(lesson, imaged, fit.start, rounds=rounds, noise_scale=noise_scale, lean=False)
    free, held = _compared(lesson, (entry, fit.start, noise_scale), after)
    clear = float(np.median(free.penalty(entry) - held.penalty(after[0]))) > CLEAR * lesson.repeats
    affines = free.start.affine, held.start.affine
    wild = after[0].contrast > LEFT * entry.contrast
    if wild or not clear or hold_disks(*affines, entry.reflections, lesson.repeats):
        return entry, noise_scale
    lean = _lean(after[0], after[0].priors, held)
    return _finished(lesson, lean, held.start), after[2]


def _finished(lesson: Lesson, entry: Entry, start: Start) -> Entry:
    """The entry as the mean lattice of the patterns, of which its symmetry is measured.

    Rounds may move all reflections by one affine; a sheared lattice has labellings that are no rotations.
    """
    entry, affine = regauged(entry, start.affine)
    return with_symmetry(entry, average_again(lesson, entry, replace(start, affine=affine)).coverage)


def retuned_entry(entry: Entry, lesson: Lesson, *, improve: bool) -> tuple[Entry, float]:
    """A known entry as another scan shows it: with the dose, background and deviations measured there.

    Parameters
    ----------
    entry
        Known entry, with intensities and background within a factor of a few of the scan's.
    lesson
        Patterns of the other scan.
    improve
        Whether reflections, their relative intensities and the probe are learned further as well.

    Returns
    -------
    entry, noise_scale
        As from `learn_entry`.
    """
    if not improve:  # what is measured are a few numbers and smooth profiles
        lesson = lesson.only(np.arange(0, len(lesson.theta), max(1, len(lesson.theta) // RETUNED_PATTERNS)))
    learned, _, noise_scale = _alternate(lesson, entry, approached(lesson, entry), rounds=3, noise_scale=1.0)
    if improve:
        return learned, noise_scale
    dose = float(learned.intensity.sum() / entry.intensity.sum())
    same = replace(
        entry,
        intensity=dose * entry.intensity,
        background=learned.background,
        film=learned.film,
        blur=learned.blur,
        priors=learned.priors,
        disks=learned.disks,
    )
    return same, noise_scale


def _alternate(
    lesson: Lesson,
    entry: Entry,
    start: Start,
    *,
    rounds: int,
    noise_scale: float,
    edge: tuple[float, float] | None = None,
    form: Probe | None = None,
    lean: bool = True,
) -> _Learned:
    """Alternate fits and updates; disks keep an `edge`, images a `form`; a `lean` entry is without what is idle."""
    for round_ in range(rounds):
        stack, fit = fitted(lesson, entry, start, noise_scale)
        noise_scale *= typical_misfit(fit)
        allowed, before = entry.priors, entry
        entry = _improved(lesson, stack, entry, fit, noise_scale, move=round_ > 0, edge=edge, form=form)
        if before.blur > 0 or round_ == 1:  # one look is enough where there is none
            entry = with_blur(entry, stack, before, fit, noise_scale)
        start = fit.start
    return _lean(entry, allowed, fit) if lean else entry, start, noise_scale


def _lean(entry: Entry, allowed: Priors, fit: PatternFit) -> Entry:
    """The entry without deviations of the background, if those that a fit allowed make no difference to a pattern."""
    clear = trusted(fit).any(1)
    idle = allowed.spread.any() and clear.any() and np.median(fit.shared[clear]) < IDLE
    return replace(entry, priors=entry.priors.on_even_background) if idle else entry


def _common_image(lesson: Lesson, entry: Entry, start: Start, noise_scale: float) -> Probe | None:
    """Image of a probe that is not round, None where the windows do not ask for one.

    Few of them are asked first, since most probes are round.
    """
    n, pixels = len(lesson.theta), len(lesson.theta) * len(entry.reflections) * float(entry.probe.support.sum())
    steps, image = [max(1, int(pixels / most)) for most in (FIRST_PIXELS, MOST_PIXELS)], None
    for step in sorted(set(steps), reverse=True):
        some = np.arange(0, n, step)
        image = _image(lesson.only(some), entry, start.only(some), noise_scale)
        if image is None or not is_common(image, steps[1] / step):
            return None
    if image is None or 2.0 * max(image.probe.radius, entry.probe.radius) > spacing(entry.basis):
        return None  # where disks overlap, an image would hold what is seen of their neighbours
    return centred(image.probe)


def _image(lesson: Lesson, entry: Entry, start: Start, noise_scale: float) -> ProbeImage | None:
    """Image of the probe in the windows of some patterns, None where they are too few."""
    stack, fit = fitted(lesson, entry, start, noise_scale)
    trust = trusted(fit)
    if (trust > 0).sum() < 3:
        return None
    fits = fits_of(stack, entry, fit, of_mean_blur(entry, fit, trust))
    noise = lesson.common_noise(entry, noise_scale)
    return image_of(fits, entry.variance_floor, entry.probe, entry.reflections, noise)


def _are_many(trust: FloatArray) -> bool:
    """Whether enough patterns are trusted to learn images of the disks from them."""
    return bool((trust > 0).any(1).sum() >= LEAST_PATTERNS)


def _imaged(entry: Entry, fits: Fits, noise_scale: float) -> Entry:
    """The entry with images of its disks as the windows show them."""
    disks, light = disk_images(fits, entry, noise_scale)
    return replace(entry, disks=disks, intensity=entry.intensity * light)


def _sharper(
    lesson: Lesson, calibration: Calibration, entry: Entry, start: Start, *, rounds: int, noise_scale: float
) -> _Learned:
    """The entry whose disks have the edge of the direct beam, if that is the sharper one.

    Learned from disks that are misplaced by their contrast, an edge comes out blurred and misplaces them; taken for a
    part of a peaked background, so does that of the direct beam. One aperture makes all disks, and nothing makes them
    sharper than it does: the blurred edge is the wrong one. It may well explain its own misplaced disks better, in most
    patterns or by much in a few, where contrast keeps fits from their best; but an edge of another radius is worse in
    nearly all of them.
    """
    edge = edge_of_beam(lesson, calibration.disk_radius)
    if edge is None or edge[0] + 1.0 > entry.probe.half:
        return entry, start, noise_scale
    radius, width, _ = fit_edge(entry.probe.profile, entry.probe.oversampling)
    if edge[1] > width + BLURRIER or abs(edge[0] - radius) > max(APART, APART_SHARE * radius):
        return entry, start, noise_scale
    r = np.arange((entry.probe.half + 3) * OVERSAMPLING) / OVERSAMPLING
    probe = Probe.from_profile(seen_edge(r, *edge), OVERSAMPLING, entry.probe.half)
    other = _alternate(lesson, replace(entry, probe=probe), start, rounds=rounds, noise_scale=noise_scale, edge=edge)
    learned = entry, start, noise_scale
    return other if _worse(lesson, learned, other) < MOST_WORSE else learned


def _compared(lesson: Lesson, one: _Learned, other: _Learned) -> tuple[PatternFit, PatternFit]:
    """Fits of two entries to the patterns, by the noise of the one with less."""
    noise = min(one[2], other[2])
    return fitted(lesson, *one[:2], noise)[1], fitted(lesson, *other[:2], noise)[1]


def _worse(lesson: Lesson, one: _Learned, other: _Learned) -> float:
    """Share of the patterns that the `other` entry explains worse."""
    first, second = _compared(lesson, one, other)
    return float((first.penalty(one[0]) < second.penalty(other[0])).mean())


def _look_again(
    lesson: Lesson, calibration: Calibration, entry: Entry, start: Start, *, crowded: bool
) -> tuple[Entry, Start]:
    """Average again with the fitted affines: sharper, it shows weaker reflections, and windows can shrink."""
    entry, affine = regauged(entry, start.affine)
    average, coverage, noise = average_again(lesson, entry, replace(start, affine=affine))
    radius = entry.probe.radius
    ring = (calibration.ring[0], float(average.shape[0] // 2))
    peaks = find_peaks(average, coverage, radius, ring, crowded=crowded)
    found = find_lattice(peaks, radius)
    if crowded and found is not None:
        found = finer_lattice(peaks, found, radius)
    lattice = measure_reflections(average, coverage, noise, entry.basis, radius=radius, ring=ring, others=peaks)
    if found is not None and abs(np.linalg.det(found) / np.linalg.det(entry.basis) - 1) > 0.05:
        # Another lattice, not a relabelled one: it has to explain more of the average.
        other = measure_reflections(average, coverage, noise, found, radius=radius, ring=ring, others=peaks)
        lattice = max(lattice, other, key=lambda each: float(np.sqrt(each.intensity).sum()))
    if not lattice.spans_plane:
        lattice = Lattice(entry.basis, entry.indices, entry.reflections, entry.intensity)
    half = window_half(radius, lattice.basis)
    probe = (
        entry.probe.resized(half)
        if entry.probe.is_image
        else Probe.from_profile(entry.probe.profile, OVERSAMPLING, half)
    )
    fresh = replace(entry_of(lattice, average, coverage, probe), background=entry.background, grain=entry.grain)
    return fresh, replace(start, affine=affine)


def _improved(
    lesson: Lesson,
    stack: WindowStack,
    entry: Entry,
    fit: PatternFit,
    noise_scale: float,
    *,
    move: bool,
    edge: tuple[float, float] | None = None,
    form: Probe | None = None,
) -> Entry:
    """One update of probe, background, intensities, priors and reflection positions."""
    trust = trusted(fit)
    if (trust > 0).sum() < 3:
        return entry
    profiles, deviations = fit_profiles(stack, entry, fit, trust, noise_scale, edge, lesson.repeats)
    if not profiles.probe.max() > 0:
        return entry
    gain = fit.start.gain
    weight = np.where(trust > 0, gain[:, None] ** 2 / deviations.variance[..., 0], 0.0)
    weight = np.nan_to_num(weight)
    relative = np.nan_to_num(deviations.value[..., 0]) / gain[:, None]
    intensity = entry.intensity + (weight * relative).sum(0) / np.maximum(weight.sum(0), 1e-30)
    intensity = np.maximum(intensity, 0.02 * entry.intensity)
    # An entry stands for one pattern, also where sums of several were fitted.
    scale = float(np.median((gain / lesson.summed)[trust.any(1)]))
    level = float(np.median((fit.start.level / lesson.summed)[trust.any(1)]))
    s = entry.probe.oversampling
    pedestal = float(np.mean(profiles.probe[-s:]))
    probe = Probe.from_profile(profiles.probe - pedestal, s, entry.probe.half)
    if entry.probe.is_image:
        form = probe if form is None else form.resized(entry.probe.half)
        fits = fits_of(stack, entry, fit, of_mean_blur(entry, fit, trust))
        noise = lesson.common_noise(entry, noise_scale)
        found = image_of(fits, entry.variance_floor, form, entry.reflections, noise)
        probe = centred(found.probe)
    # The widths of sums that overlap are less sure than they seem, but what is too wide harms less than what is none.
    priors = Priors(settled(entry.priors.spread, measure_deviations(deviations, entry, fit, trust)))
    if entry.has_contrast:
        coherence = measure_coherence(deviations, priors.spread, entry, fit, trust)
        priors = replace(priors, coherence=coherence, common_shift=measure_common_shift(entry, fit, trust))
    improved = replace(
        moved(entry, fit, trust) if move else entry,
        probe=probe,
        background=profiles.background * level,
        film=profiles.film * level,
        intensity=intensity * scale,
        priors=priors,
    )
    if len(entry.disks) and _are_many(trust):
        return _imaged(improved, fits_of(stack, entry, fit, trust), lesson.common_noise(entry, noise_scale))
    return improved

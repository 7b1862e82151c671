"""Learning an entry where disks overlap: all that reach a pixel are learned together.

Sharp places of the reflections come from the average, deconvolved with a disk of the direct beam's size: disks that
overlap are a sum, and the deconvolution takes it apart, where peaks of light would be the lenses that two disks share.
From there on patterns and what they share are fitted in turn, as for disks apart (`cyclestrain.learning.entry`), but
with the likelihood of `cyclestrain.pattern.overlapping`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import ndimage

from cyclestrain.affine import rotation
from cyclestrain.data import Calibration, FloatArray
from cyclestrain.learning.averages import distance_from_centre
from cyclestrain.learning.deviations import brightness_spread
from cyclestrain.learning.joint_sums import RADII, Form, Sums, radial_splines, sum_patterns
from cyclestrain.learning.lattice import Lattice, find_lattice, lattice_operators
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.peaks import Peaks, flattened, parabolic
from cyclestrain.learning.plausibility import Plausibility, Unlearned
from cyclestrain.learning.start import OVERSAMPLING, average_of, regauged, spacing
from cyclestrain.learning.trust import trusted, typical_misfit
from cyclestrain.pattern import Entry, PatternFit, Priors, Start, approach, predicted_positions, refine

__all__ = ["learn_overlapping"]

SOFT = 0.5
"""Edge of the disks to start from, pixels."""
NOISE = 0.05
"""Noise of the deconvolution, relative to the light of a disk."""
SHARP = 0.5
"""Radius that peaks of the deconvolved average are taken to have, in units of that of the disks."""
CLEAR_PEAKS = 5.0
"""Height of the peaks of the deconvolved average, robust standard deviations."""
TOUCHING = 1.02
"""Diameter of the disks, in units of the lattice's spacing, from which they overlap."""
SURROUND = 3.5
"""Pixels around the disk of the direct beam that are not compared."""
RIDGE = 1e-7
"""Added to the normal equations relative to their diagonal."""
FIRST_ROUNDS = 4
"""Rounds of weighting in the first fit of the average."""
REACH = 1.12
"""Outer distance of the pixels that are compared, in units of the ring's."""
ROUNDS = 5
"""Alternations of fitting the patterns and updating what they share."""
MOST_PATTERNS = 128
"""Largest number of patterns an entry is learned from."""
VISIBLE, SURELY = 2e-3, 3.0
"""Least intensity of a reflection relative to the brightest, and in standard deviations."""
DIMMEST = 1e-5
"""Least intensity of a reflection that is still looked at, relative to the brightest."""
LARGEST = np.array([0.4, 0.6, 0.15])
"""Largest step of the form: radius (pixels), logarithm of the edge, bowl."""


@dataclass(frozen=True)
class _State:
    """What is known so far: the entry, the form of its probe, where the patterns are, the noise."""

    entry: Entry
    form: Form
    start: Start
    noise_scale: float = 1.0


def learn_overlapping(lesson: Lesson, calibration: Calibration, noise: float) -> tuple[Entry, float] | Unlearned:
    """Learn one entry from patterns whose disks overlap.

    Parameters
    ----------
    lesson
        Patterns of one class with their coarse rotation.
    calibration
        Disk radius and ring.
    noise
        Variance over mean of a pixel, measured without a model; NaN where it is not known.

    Returns
    -------
    entry, noise_scale
        As from `cyclestrain.learning.entry.learn_entry`; the reason where the patterns show no crystal with such disks.
    """
    n = len(lesson.theta)
    lesson = lesson.only(np.unique(np.linspace(0, n - 1, min(MOST_PATTERNS, n)).astype(int)))
    first = _first_entry(lesson, calibration)
    if first is None:
        return Unlearned.NO_LATTICE
    state = _State(*first, _approached(lesson, first[0]))
    for round_ in range(ROUNDS):
        state = _improved(lesson, state, form=round_ > 0, prune=round_ == 1)
        if round_ == 1:
            entry, affine = regauged(state.entry, state.start.affine)
            state = replace(state, entry=entry, start=replace(state.start, affine=affine))
    entry = state.entry
    if not _overlap(entry.probe.radius, entry.basis):
        return Unlearned.NO_LATTICE
    average, _ = average_of(replace(lesson, centre=state.start.centre), state.start.affine, entry.average.shape[0] // 2)
    entry = replace(entry, average=average)
    refusal = Plausibility.of(entry, calibration, state.noise_scale / noise).refusal
    lattice = Lattice(entry.basis, entry.indices, entry.reflections, entry.intensity)
    if refusal or not lattice.spans_plane:
        return refusal or Unlearned.NO_LATTICE
    return replace(entry, operators=lattice_operators(lattice)), state.noise_scale


def _overlap(radius: float, basis: FloatArray) -> bool:
    """Whether disks of this radius overlap on a lattice."""
    return 2.0 * radius > TOUCHING * spacing(basis)


def _first_entry(lesson: Lesson, calibration: Calibration) -> tuple[Entry, Form] | None:
    """Entry from the average of coarsely turned patterns, and its form; None where it shows no such lattice."""
    form = Form(calibration.disk_radius, SOFT)
    probe = form.probe(OVERSAMPLING)
    inner, outer = form.radius + SURROUND, REACH * calibration.ring[1]
    average, coverage = average_of(lesson, rotation(lesson.theta), outer)
    basis = _deconvolved_lattice(average, coverage, form.radius, (inner, calibration.ring[1]))
    if basis is None or not _overlap(form.radius, basis):
        return None
    reach = int(np.ceil((outer + probe.half) / np.linalg.svd(basis, compute_uv=False)[-1]))
    indices = np.array([hk for hk in product(range(-reach, reach + 1), repeat=2) if hk != (0, 0)])
    nodes = indices @ basis.T
    near = np.hypot(*nodes.T) < outer + probe.half
    n = int(near.sum())
    seen = (coverage > 0.3 * coverage.max()) & (distance_from_centre(average) > inner)
    bright = float(np.median(average[seen])) * np.pi * form.radius**2
    entry = Entry(
        nodes[near], np.full(n, 0.5 * bright), basis, indices[near].astype(float), np.eye(2)[None],
        np.full(int(outer) + 34, 0.5 * float(np.median(average[seen]))), probe, Priors.none(n), average,
        grain=calibration.grain, annulus=(inner, outer),
    )  # fmt: skip
    middle = np.array([[average.shape[0] // 2] * 2], float)
    start = Start(np.eye(2)[None], middle, np.ones(1), np.ones(1))
    for _ in range(FIRST_ROUNDS):
        sums = sum_patterns(
            average[None], seen, entry, start, np.zeros((1, n)), shapes=form.derivatives(probe),
            splines=radial_splines(inner, outer), noise_scale=1.0 / max(float(coverage.max()), 1.0),
        )  # fmt: skip
        entry, _ = _stepped(entry, form, sums, fixed=True)
    return entry.only(entry.intensity > DIMMEST * entry.intensity.max()), form


def _deconvolved_lattice(
    average: FloatArray, coverage: FloatArray, radius: float, ring: tuple[float, float]
) -> FloatArray | None:
    """Lattice of the disks of an average, which may overlap: of the peaks that are left when a disk is taken out."""
    distance = distance_from_centre(average)
    used = (distance > ring[0]) & (distance < ring[1]) & (coverage > 0.3 * coverage.max())
    disk = np.fft.ifftshift(np.clip(radius + 0.5 - distance, 0.0, 1.0))
    spectrum, total = np.fft.rfft2(disk), float(disk.sum())
    inverse = np.conj(spectrum) / (np.abs(spectrum) ** 2 + (NOISE * total) ** 2)
    light = np.where(used, flattened(average, coverage), 0.0)
    sharp = np.fft.irfft2(np.fft.rfft2(light) * inverse, s=average.shape)
    sharp = ndimage.gaussian_filter(sharp, 0.7)
    peak = (sharp == ndimage.maximum_filter(sharp, 2 * max(1, int(0.4 * radius)) + 1)) & used
    scale = 1.4826 * float(np.median(np.abs(sharp[used] - np.median(sharp[used]))))
    significance = sharp / max(scale, 1e-12)
    at = np.argwhere(peak & (significance > CLEAR_PEAKS))
    at = at[np.argsort(-significance[tuple(at.T)])]
    middle = (np.array(average.shape) - 1) / 2
    places = np.array([parabolic(sharp, each) for each in at]).reshape(-1, 2)
    return find_lattice(Peaks(places - middle, significance[tuple(at.T)]), SHARP * radius)


def _approached(lesson: Lesson, entry: Entry) -> Start:
    return approach(
        lesson.patterns, lesson.good, entry, lesson.start, centre_sigma=lesson.centre_sigma, members=lesson.members,
        thorough=True,
    )  # fmt: skip


def _fitted(lesson: Lesson, entry: Entry, start: Start, noise_scale: float) -> PatternFit:
    windows = lesson.whole(predicted_positions(start, entry.reflections), entry.probe.half + 1)
    return refine(
        windows, entry, start, centre=lesson.centre, centre_sigma=lesson.centre_sigma, noise_scale=noise_scale
    )


def _improved(lesson: Lesson, state: _State, *, form: bool, prune: bool) -> _State:
    """Fit the patterns, and update what they share; the form of the probe only if it is asked for."""
    entry = state.entry
    fit = _fitted(lesson, entry, state.start, state.noise_scale)
    noise_scale = state.noise_scale * typical_misfit(fit)
    clear = np.flatnonzero(trusted(fit).any(1))
    if len(clear) < 3:
        return replace(state, start=fit.start)
    images = np.stack([lesson.patterns[m[m >= 0]].sum(0, dtype=np.float64) for m in lesson.members[clear]])
    usable = lesson.good & ~(images >= lesson.ceiling).any(0)
    inner, outer = entry.annulus or (0.0, 0.0)
    sums = sum_patterns(
        images, usable, entry, fit.start.only(clear), fit.local[clear, :, 0],
        shapes=state.form.derivatives(entry.probe), splines=radial_splines(inner, outer), noise_scale=noise_scale,
    )  # fmt: skip
    entry, changed = _stepped(entry, state.form, sums, fixed=not form)
    spread = np.zeros_like(entry.priors.spread)
    spread[:, 0] = brightness_spread(sums.value, sums.variance)
    # An entry stands for one pattern, also where sums of several were fitted.
    summed = (lesson.members[clear] >= 0).sum(1)
    scale, level = (float(np.median(each[clear] / summed)) for each in (fit.start.gain, fit.start.level))
    entry = replace(
        entry, priors=Priors(spread), intensity=scale * entry.intensity, background=level * entry.background
    )
    if prune:
        error = np.sqrt(np.diag(np.linalg.pinv(sums.normal))[: len(entry.intensity)])
        keep = entry.intensity > np.maximum(SURELY * error, VISIBLE * entry.intensity.max())
        fit, entry = fit, entry.only(keep)
    return _State(entry, changed, fit.start, noise_scale)


def _stepped(entry: Entry, form: Form, sums: Sums, *, fixed: bool) -> tuple[Entry, Form]:
    """Entry and form after a step of what patterns share, the form being `fixed` or not."""
    n, n_forms = len(entry.intensity), len(LARGEST)
    free = np.ones(len(sums.rhs), bool)
    free[n : n + n_forms] = not fixed
    information = np.diag(sums.normal)
    seen = information > 1e-6 * np.median(information[:n])
    scale = np.where(seen, 1.0 / np.sqrt(np.maximum(information, 1e-300)), 0.0)
    matrix = sums.normal * scale[:, None] * scale + RIDGE * np.eye(len(scale))
    step = np.zeros(len(scale))
    step[free] = np.linalg.solve(matrix[np.ix_(free, free)], (scale * sums.rhs)[free])
    step *= scale
    intensity = np.where(seen[:n], entry.intensity + step[:n], 0.0)
    splines = radial_splines(*(entry.annulus or (0.0, 0.0)))
    radii = np.minimum(np.arange(len(entry.background)) * RADII, splines.shape[1] - 1)
    background = entry.background + (step[n + n_forms :] @ splines)[radii]
    floor = 1e-3 * float(np.median(np.abs(background))) + 1e-9
    if not fixed:
        form = form.moved(np.clip(step[n : n + n_forms], -LARGEST, LARGEST))
    return replace(
        entry,
        intensity=np.maximum(intensity, 0.1 * DIMMEST * float(intensity.max())),
        background=np.maximum(background, floor),
        probe=form.probe(OVERSAMPLING),
    ), form

"""Learning an entry where disks overlap: all that reach a pixel are learned together.

Patterns and what they share are fitted in turn, as for disks apart (`cyclestrain.learning.entry`), but with the
likelihood of `cyclestrain.pattern.overlapping`. Disks are round, alike, and flat but for a bowl that all have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cyclestrain.data import Calibration
from cyclestrain.learning.deviations import brightness_spread
from cyclestrain.learning.gauge import regauged
from cyclestrain.learning.joint_sums import DIMMEST, Form, radial_splines, stepped, sum_patterns
from cyclestrain.learning.lattice import Lattice
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.overlapping_start import first_entry, overlap
from cyclestrain.learning.plausibility import Plausibility, Unlearned
from cyclestrain.learning.start import average_again
from cyclestrain.learning.symmetry import with_symmetry
from cyclestrain.learning.trust import trusted, typical_misfit
from cyclestrain.pattern import Entry, PatternFit, Priors, Start, approach, predicted_positions, refine

__all__ = ["learn_overlapping"]

ROUNDS = 5
"""Alternations of fitting the patterns and updating what they share."""
MOST_PATTERNS = 128
"""Largest number of patterns an entry is learned from."""
VISIBLE, SURELY = 2e-3, 3.0
"""Least intensity of a reflection relative to the brightest, and in standard deviations."""
LEAST_PAIRED = 0.35
"""Least share of the reflections with a partner across the beam: all of them are on nodes, whatever is there."""


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
    first = first_entry(lesson, calibration)
    if first is None:
        return Unlearned.NO_LATTICE
    state = _State(*first, _approached(lesson, first[0]))
    for round_ in range(ROUNDS):
        state = _improved(lesson, state, form=round_ > 0, prune=round_ == 1)
        if round_ == 1:
            entry, affine = regauged(state.entry, state.start.affine)
            state = replace(state, entry=entry, start=replace(state.start, affine=affine))
    entry = state.entry
    if not overlap(entry.probe.radius, entry.basis):
        return Unlearned.NO_LATTICE
    average, coverage, _ = average_again(lesson, entry, state.start)
    entry = replace(entry, average=average)
    judged = Plausibility.of(entry, calibration, state.noise_scale / noise)
    refusal = Unlearned.NO_CRYSTAL if judged.paired < LEAST_PAIRED else judged.refusal
    lattice = Lattice(entry.basis, entry.indices, entry.reflections, entry.intensity)
    if refusal or not lattice.spans_plane:
        return refusal or Unlearned.NO_LATTICE
    return with_symmetry(entry, coverage), state.noise_scale


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
    own = (fit.local[clear, :, 0] / fit.start.gain[clear, None]).mean(0)
    entry, changed = stepped(entry, state.form, sums, fixed=not form)
    entry = replace(entry, intensity=np.maximum(entry.intensity + own, DIMMEST * entry.intensity.max()))
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
        entry = entry.only(keep)
    return _State(entry, changed, fit.start, noise_scale)

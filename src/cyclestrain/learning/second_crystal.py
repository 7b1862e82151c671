"""A second crystal above or below the first one in all patterns, as in twisted layers.

Its disks reach into windows of the first one's and move on their own, which looks like strain. So reflections that they
touch are left out. In the average of the first crystal they stand where its model shows nothing, and span a lattice; in
single patterns that lattice is there at about the same brightness, and strained or turned against the first.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from scipy import ndimage

from cyclestrain.data import Calibration, FloatArray
from cyclestrain.learning.averages import Average, distance_from_centre
from cyclestrain.learning.fitting import fitted
from cyclestrain.learning.lattice import Lattice, find_lattice, nearest_node
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.peaks import Peaks, flattened, light_of_disks, local_maxima, parabolic, radial_spread
from cyclestrain.learning.reflections import SURROUND
from cyclestrain.learning.start import average_again, entry_of
from cyclestrain.learning.trust import trusted
from cyclestrain.pattern import Entry, PatternFit, Priors, Start

__all__ = ["second_crystal", "without_touched"]

SURE, LEAST_LIGHT = 8.0, 0.1
"""Light of a disk over its noise, and over that of a typical disk of the first crystal, from which it is looked at."""
FEWEST_DISKS, ON_LATTICE = 8, 0.6
"""Fewest disks on the nodes of a lattice, and least share of the light there, of a second crystal."""
EVERYWHERE, STEADY = 0.9, 0.5
"""Share of the patterns that show the second crystal, and least part of its typical brightness that they show."""
APART = 1.25
"""Square of how far the crystals move apart from pattern to pattern, over what noise explains, of two crystals."""
FEWEST_CLEAR = 6
"""Reflections whose windows, or else disks, the second crystal does not touch, from which the others are left out."""
MEDIAN_OF_FOUR = 3.357
"""Median of chi-square with four degrees of freedom."""


def second_crystal(
    lesson: Lesson, calibration: Calibration, entry: Entry, start: Start, noise_scale: float
) -> FloatArray:
    """Lattice of a second crystal, vectors as columns, pixels, shape ``(2, 2)``; empty where there is none.

    Parameters
    ----------
    lesson
        Patterns of the class.
    calibration
        Ring of the detector that is used.
    entry, start
        What was learned, and its fit to every pattern.
    noise_scale
        Variance over mean of a pixel.
    """
    average = average_again(lesson, entry, start)
    lattice = _other_lattice(average, entry, calibration.ring[0])
    if lattice is None:
        return np.zeros((0, 0))
    other = entry_of(lattice, average.mean, average.coverage, entry.probe)
    other = replace(other, background=entry.background, grain=entry.grain)
    fits = (fitted(lesson, each, start, noise_scale)[1] for each in (entry, other))
    return lattice.basis if _moves_apart(*fits) else np.zeros((0, 0))


def without_touched(entry: Entry) -> Entry:
    """An entry without deviations and without the reflections that its second crystal touches.

    Those of which it touches the window alone are kept where too few would be left, and all where these are too few;
    windows are as small as they can be.

    Parameters
    ----------
    entry
        Entry with a second crystal.
    """
    half = min(entry.probe.half, int(np.ceil(entry.probe.radius + 1.0)))
    found = replace(entry, probe=entry.probe.resized(half), priors=Priors.none(len(entry.intensity)))
    own = np.isfinite(entry.indices).all(1)
    for clear in (own & ~found.touched, own & (found.from_second > 2.0 * entry.probe.radius)):
        if clear.sum() >= FEWEST_CLEAR:
            return found.only(clear)
    return found


def _other_lattice(average: Average, entry: Entry, inner: float) -> Lattice | None:
    """Lattice of the disks that an average shows beside those on the lattice of an entry, None where they form none."""
    peaks, light = _disks_beside(average, entry, inner)
    if len(light) < FEWEST_DISKS:
        return None
    basis = find_lattice(peaks, entry.probe.radius)
    if basis is None:
        return None
    indices, distance = nearest_node(peaks.positions, basis)
    on = (distance < max(1.0, 0.3 * entry.probe.radius)) & indices.any(1)
    if on.sum() < FEWEST_DISKS or light[on].sum() < ON_LATTICE * light.sum():
        return None
    if nearest_node(entry.basis.T, basis)[1].max() < max(1.0, 0.3 * entry.probe.radius):
        return None  # the entry's own lattice, of which it has every second node or third
    lattice = Lattice(basis, indices[on], peaks.positions[on], light[on])
    return lattice if lattice.spans_plane else None


def _disks_beside(average: Average, entry: Entry, inner: float) -> tuple[Peaks, FloatArray]:
    """Disks of an average that are not on the lattice of an entry, brightest first, and the light of each."""
    radius, size = entry.probe.radius, len(average.mean)
    light_of = partial(light_of_disks, radius=radius, outer=radius + SURROUND)
    distance = distance_from_centre(average.mean)
    light = light_of(flattened(average.mean - _drawn(entry, size), average.coverage))
    noise = radial_spread(light_of(average.noise), distance, average.coverage)
    allowed = (light > SURE * noise) & (light > LEAST_LIGHT * np.median(entry.intensity))
    allowed &= (distance > inner) & (distance < size // 2 - radius) & (average.coverage > 0.3 * average.coverage.max())
    at = local_maxima(light, radius, allowed)
    places = np.array([parabolic(light, each) for each in at]).reshape(-1, 2) - size // 2
    own = entry.reflections[np.isfinite(entry.indices).all(1)]
    beside = np.linalg.norm(places[:, None] - own, axis=-1).min(1, initial=np.inf) > 0.5 * radius
    at, places = at[beside], places[beside]
    significance = light[tuple(at.T)] / np.maximum(noise[tuple(at.T)], 1e-12)
    return Peaks(places, significance), light[tuple(at.T)]


def _drawn(entry: Entry, size: int) -> FloatArray:
    """Disks on the lattice of an entry in its own frame, counts, shape ``(size, size)``."""
    out, middle, probe = np.zeros((size, size)), size // 2, entry.probe
    steps, half = probe.oversampling, probe.half + 1
    for g in np.flatnonzero(np.isfinite(entry.indices).all(1)):
        nearest = np.rint(entry.reflections[g]).astype(int)
        y, x = (np.arange(n - half, n + half + 1) for n in nearest)
        y, x = (axis[np.abs(axis) <= middle] for axis in (y, x))
        off = np.stack(np.meshgrid(y, x, indexing="ij")) - entry.reflections[g][:, None, None]
        values = ndimage.map_coordinates(probe.values, off * steps + probe.values.shape[0] // 2, order=1)
        out[np.ix_(y + middle, x + middle)] += entry.intensity[g] * values
    return out


def _moves_apart(first: PatternFit, other: PatternFit) -> bool:
    """Whether another lattice is in nearly all patterns, and is strained or turned on its own."""
    covariance = (first.covariance + other.covariance)[:, :4, :4]
    shown = trusted(first).any(1) & trusted(other).any(1) & np.isfinite(covariance).all((1, 2))
    part = other.start.gain / np.maximum(first.start.gain, 1e-9)
    if not shown.any() or (shown & (part > STEADY * np.median(part[shown]))).mean() < EVERYWHERE:
        return False
    between = other.start.affine[shown] @ np.linalg.inv(first.start.affine[shown])
    off = (between - np.median(between, 0)).reshape(-1, 4)
    square = np.einsum("ni,nij,nj->n", off, np.linalg.inv(covariance[shown]), off)
    return bool(np.median(square) > APART * MEDIAN_OF_FOUR)

"""The first entry of a class: the lattice that explains the average of its coarsely turned patterns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.affine import rotation
from cyclestrain.data import Calibration, FloatArray
from cyclestrain.learning.averages import Average, average_turned, radial_median
from cyclestrain.learning.lattice import Lattice, find_lattice, finer_lattice, lattice_score
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.peaks import Peaks, find_peaks
from cyclestrain.learning.reflections import disk_size, explained, measure_reflections, without_gaps
from cyclestrain.pattern import Entry, Priors, Probe, Start, disk_profile

__all__ = [
    "OVERSAMPLING",
    "average_again",
    "average_of",
    "entry_of",
    "spacing",
    "start_entry",
    "window_half",
]

OVERSAMPLING = 16
"""Nodes of the probe per detector pixel; with 8, positions are off by up to 2e-4 pixels."""
ON_LATTICE = 0.95
"""Least share of the intensity on nodes of a lattice whose peaks were compared with the noise of pixels alone."""
SIZES = np.array([1.0, 0.65, 0.4, 0.25])
"""Radii of the disks that are tried, in units of the direct beam's."""
MORE, MORE_DISKS = 1.1, 1.3
"""Least ratio of the light, or of the number of disks where the light is no less, by which a lattice explains more."""


def start_entry(lesson: Lesson, calibration: Calibration, probe: Probe | None = None) -> tuple[Entry, bool] | None:
    """First entry from coarsely turned patterns, or None where their average shows no lattice.

    The direct beam may be saturated or have a halo, so disks of its size and smaller ones are tried, and the size that
    explains most is kept. Peaks are looked for above what the average scatters by at their distance from the beam, and
    above the noise of its pixels: where disks fill the pattern, the first hides weak ones. The second is kept where it
    explains clearly more.

    Parameters
    ----------
    lesson
        Patterns of one class with their coarse rotation.
    calibration
        Disk radius and ring.
    probe
        Image of the probe where it is known; by default disks are round and of any size.

    Returns
    -------
    entry, crowded
        The entry, and whether the peaks were compared with the noise of pixels.
    """
    outer = 1.12 * calibration.ring[1]
    average, coverage, noise = average_of(lesson, rotation(lesson.theta), outer)
    ring = (calibration.ring[0], outer)
    tried = []
    for crowded in (False, True):
        radii = calibration.disk_radius * SIZES if probe is None else np.array([probe.radius])
        found = _best_lattice(average, coverage, radii, ring, crowded=crowded)
        if found is None:
            continue
        peaks, basis, radius = found
        if probe is None:
            radius = disk_size(average, coverage, peaks, radius, limit=0.45 * float(np.hypot(*basis).min()))
        lattice = measure_reflections(average, coverage, noise, basis, radius=radius, ring=ring, others=peaks)
        if lattice.spans_plane:
            tried.append((crowded, lattice, radius))
    if not tried:
        return None
    light = [explained(average, coverage, lattice.positions, radius) for _, lattice, radius in tried]
    more = len(tried) > 1 and _explains_more(tried[1][1], tried[0][1], light[1], light[0])
    crowded, lattice, radius = tried[int(more)]
    finer = without_gaps(average, coverage, lattice.basis, radius=radius, ring=ring)
    if finer is not lattice.basis:
        crowded, lattice = True, measure_reflections(average, coverage, noise, finer, radius=radius, ring=ring)
    half = window_half(radius, lattice.basis)
    if probe is None:
        shape = Probe.from_profile(disk_profile(radius, 1.5, OVERSAMPLING, half + 3), OVERSAMPLING, half)
    else:
        shape = probe.resized(half)
    return entry_of(lattice, average, coverage, shape), crowded


def _explains_more(new: Lattice, old: Lattice, new_light: float, old_light: float) -> bool:
    """Whether a lattice explains clearly more than another: more of the light, or no less of it in more disks."""
    on_lattice = float(new.intensity[np.isfinite(new.indices).all(1)].sum() / new.intensity.sum())
    if on_lattice < ON_LATTICE:  # what lies elsewhere is noise, bands or rings
        return False
    in_more = len(new.positions) > MORE_DISKS * len(old.positions)
    return new_light > MORE * old_light or (new_light > old_light and in_more)


def _best_lattice(
    average: FloatArray, coverage: FloatArray, radii: FloatArray, ring: tuple[float, float], *, crowded: bool = False
) -> tuple[Peaks, FloatArray, float] | None:
    """Peaks, lattice and the radius among several with which they explain most."""
    best, best_score = None, 0.0
    for radius in radii:
        if radius < 0.8 and best is not None:
            break
        peaks = find_peaks(average, coverage, max(radius, 0.8), ring, crowded=crowded)
        basis = find_lattice(peaks, radius)
        if basis is None:
            continue
        basis = finer_lattice(peaks, basis, radius) if crowded else basis
        score = float(lattice_score(peaks, basis, radius))
        if score > 1.15 * best_score:
            best, best_score = (peaks, basis, radius), score
    return best


def window_half(radius: float, basis: FloatArray, edge: float = 3.0) -> int:
    """Half width of a window that holds a disk and its surround but no neighbouring disk, pixels.

    Parameters
    ----------
    radius
        Radius of the disks, pixels.
    basis
        Lattice vectors as columns, pixels.
    edge
        Width of the surround, pixels.
    """
    return int(max(np.ceil(radius + 1.0), min(np.ceil(radius + edge), np.floor(spacing(basis) - radius - 1.0))))


def spacing(basis: FloatArray) -> float:
    """Least distance of the nodes of a reduced lattice, pixels, its vectors being columns."""
    return float(min(np.hypot(*basis[:, 0]), np.hypot(*basis[:, 1]), np.hypot(*(basis[:, 0] - basis[:, 1]))))


def average_of(lesson: Lesson, affine: FloatArray, outer: float) -> Average:
    """Average of the patterns of a lesson, see `average_turned`.

    Parameters
    ----------
    lesson
        Patterns; of sums the first one.
    affine
        Affine from the entry to each pattern, shape ``(n, 2, 2)``.
    outer
        Reach of the average, pixels.
    """
    reach, chosen = int(np.ceil(outer)), lesson.members[:, 0]
    return average_turned(lesson.patterns, lesson.good, lesson.centre, affine, reach, chosen)


def average_again(lesson: Lesson, entry: Entry, start: Start) -> Average:
    """Average of the patterns of a lesson as their fits turn them, as far as that of the entry reaches.

    Parameters
    ----------
    lesson, entry
        Patterns and the entry that was fitted to them.
    start
        Fit of every pattern.
    """
    return average_of(replace(lesson, centre=start.centre), start.affine, entry.average.shape[0] // 2)


def entry_of(lattice: Lattice, average: FloatArray, coverage: FloatArray, probe: Probe) -> Entry:
    """Entry of a lattice that was found in an average, without symmetry or deviations.

    Parameters
    ----------
    lattice
        Reflections with their intensities.
    average, coverage
        Centred average and number of patterns behind each pixel.
    probe
        Shape of the disks.
    """
    n = len(lattice.indices)
    background = np.maximum(radial_median(average, coverage), 1e-9)
    background = np.concatenate([background, np.full(32, background[-1])])
    return Entry(
        lattice.positions, lattice.intensity, lattice.basis, lattice.indices, np.eye(2)[None], background, probe,
        Priors.none(n), average,
    )  # fmt: skip

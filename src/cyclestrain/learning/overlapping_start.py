"""The first entry of a class whose disks overlap: its lattice, from the average with a disk taken out of it.

Disks that overlap are a sum. A deconvolution with a disk of the direct beam's size takes it apart, where peaks of light
would be the lenses that two disks share.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from scipy import ndimage

from cyclestrain.affine import rotation
from cyclestrain.data import BoolArray, Calibration, FloatArray
from cyclestrain.learning.averages import distance_from_centre
from cyclestrain.learning.joint_sums import Form, radial_splines, stepped, sum_patterns
from cyclestrain.learning.lattice import find_lattice, finer_lattices, nearest_node
from cyclestrain.learning.lesson import Lesson
from cyclestrain.learning.peaks import Peaks, flattened, parabolic
from cyclestrain.learning.plausibility import INDEXED
from cyclestrain.learning.start import OVERSAMPLING, average_of, spacing
from cyclestrain.pattern import Entry, Priors, Start

__all__ = ["first_entry", "overlap"]

SOFT = 0.5
"""Edge of the disks to start from, pixels."""
NOISE = 0.05
"""Noise of the deconvolution, relative to the light of a disk."""
SHARP = 0.5
"""Radius that peaks of the deconvolved average are taken to have, in units of that of the disks."""
CLEAR_PEAKS = 5.0
"""Height of the peaks of the deconvolved average, robust standard deviations."""
GAP = 1.5
"""Pixels between the edges of neighbouring disks below which no background is seen between them."""
DENSEST = 0.55
"""Least spacing of a lattice, in units of the diameter of the disks, that is told from one of fewer nodes."""
NEW_LIGHT, SURE_LIGHT = 0.04, 5.0
"""Least mean light of the nodes between those of a lattice: relative to that of its nodes, and in standard errors."""
N_FINER, LEAST_NEW = 7, 8
"""Lattices of two and three times the nodes, and least number of nodes by which one is judged."""
SURROUND = 3.5
"""Pixels around the disk of the direct beam that are not compared."""
FIRST_ROUNDS = 4
"""Rounds of weighting in the first fit of the average."""
REACH = 1.12
"""Outer distance of the pixels that are compared, in units of the ring's."""
COVERED = 0.3
"""Least share of the patterns that must have reached a pixel of the average."""
LEAST_LIGHT = 1e-5
"""Least intensity of a reflection, relative to the brightest, with which it is kept."""


def overlap(radius: float, basis: FloatArray) -> bool:
    """Whether disks overlap on a lattice, or nearly so.

    Parameters
    ----------
    radius
        Of the disks, pixels.
    basis
        Lattice vectors as columns, pixels.
    """
    return 2.0 * radius + GAP > spacing(basis)


def first_entry(lesson: Lesson, calibration: Calibration) -> tuple[Entry, Form] | None:
    """Entry from the average of coarsely turned patterns, and the form of its probe; None where disks do not overlap.

    Parameters
    ----------
    lesson
        Patterns of one class with their coarse rotation.
    calibration
        Disk radius and ring.
    """
    form = Form(calibration.disk_radius, SOFT)
    inner, outer = form.radius + SURROUND, REACH * calibration.ring[1]
    average, coverage, _ = average_of(lesson, rotation(lesson.theta), outer)
    seen = (coverage > COVERED * coverage.max()) & (distance_from_centre(average) > inner)
    sharp = _deconvolved(average, coverage, form.radius, seen)
    within = seen & (distance_from_centre(average) < calibration.ring[1])
    basis = _lattice(sharp, within, form.radius)
    if basis is None:
        return None
    patterns = float(coverage.max())
    found = _explained(average, seen, basis, form, (inner, outer), patterns) if overlap(form.radius, basis) else None
    most = 0.0
    for finer in _finer(sharp, within, basis, form.radius):
        entry = _explained(average, seen, finer, form, (inner, outer), patterns)
        light = _new_light(entry, basis)
        if light > most:
            found, most = entry, light
    return None if found is None else (replace(found, grain=calibration.grain), form)


def _deconvolved(average: FloatArray, coverage: FloatArray, radius: float, seen: BoolArray) -> FloatArray:
    """Average with a disk taken out of it (Wiener): a peak at the middle of every disk."""
    disk = np.fft.ifftshift(np.clip(radius + 0.5 - distance_from_centre(average), 0.0, 1.0))
    spectrum, total = np.fft.rfft2(disk), float(disk.sum())
    inverse = np.conj(spectrum) / (np.abs(spectrum) ** 2 + (NOISE * total) ** 2)
    light = np.where(seen, flattened(average, coverage), 0.0)
    sharp = np.fft.irfft2(np.fft.rfft2(light) * inverse, s=average.shape)
    return np.asarray(ndimage.gaussian_filter(sharp, 0.7))


def _lattice(sharp: FloatArray, within: BoolArray, radius: float) -> FloatArray | None:
    """Lattice of most of the peaks of a deconvolved average, None where there is none."""
    peak = (sharp == ndimage.maximum_filter(sharp, 2 * max(1, int(0.4 * radius)) + 1)) & within
    if not peak.any():
        return None
    values = sharp[within]
    scale = 1.4826 * float(np.median(np.abs(values - np.median(values))))
    significance = sharp / max(scale, 1e-12)
    at = np.argwhere(peak & (significance > CLEAR_PEAKS))
    at = at[np.argsort(-significance[tuple(at.T)])]
    middle = (np.array(sharp.shape) - 1) / 2
    places = np.array([parabolic(sharp, each) for each in at]).reshape(-1, 2) - middle
    weight = significance[tuple(at.T)]
    basis = find_lattice(Peaks(places, weight), SHARP * radius)
    if basis is None:
        return None
    near = nearest_node(places, basis)[1] < max(1.0, 0.5 * SHARP * radius)
    return basis if weight[near].sum() > INDEXED * weight.sum() else None


def _finer(sharp: FloatArray, within: BoolArray, basis: FloatArray, radius: float) -> list[FloatArray]:
    """Lattices of two or three times the nodes whose disks overlap, with some light on the new nodes, it seems."""
    middle = (np.array(sharp.shape) - 1) // 2
    out = []
    for finer in finer_lattices(basis)[1 : 1 + N_FINER]:
        if not overlap(radius, finer) or spacing(finer) < DENSEST * 2.0 * radius:
            continue
        nodes = _nodes(finer, len(sharp) / 2)[1]
        at = np.rint(nodes + middle).astype(int)
        inside = ((at >= 0) & (at < len(sharp))).all(1)
        nodes, at = nodes[inside], at[inside]
        used = within[tuple(at.T)]
        new = nearest_node(nodes, basis)[1] > 0.5
        rises, known = sharp[tuple(at[used & new].T)], sharp[tuple(at[used & ~new].T)]
        if len(rises) >= LEAST_NEW and rises.mean() > max(2.0 * rises.std() / len(rises) ** 0.5, 0.02 * known.mean()):
            out.append(finer)
    return out


def _nodes(basis: FloatArray, outer: float) -> tuple[FloatArray, FloatArray]:
    """Indices and places of the nodes of a lattice within some distance, without the beam."""
    reach = int(np.ceil(outer / np.linalg.svd(basis, compute_uv=False)[-1]))
    indices = np.array([hk for hk in product(range(-reach, reach + 1), repeat=2) if hk != (0, 0)], float)
    nodes = indices @ basis.T
    near = np.hypot(*nodes.T) < outer
    return indices[near], nodes[near]


def _explained(
    average: FloatArray, seen: BoolArray, basis: FloatArray, form: Form, annulus: tuple[float, float], patterns: float
) -> Entry:
    """Entry with the intensities and the background that explain an average of so many patterns."""
    probe = form.probe(OVERSAMPLING)
    indices, nodes = _nodes(basis, annulus[1] + probe.half)
    n, typical = len(nodes), 0.5 * float(np.median(average[seen]))
    entry = Entry(
        nodes, np.full(n, typical * np.pi * form.radius**2), basis, indices, np.eye(2)[None],
        np.full(int(annulus[1]) + 34, typical), probe, Priors.none(n), average, annulus=annulus,
    )  # fmt: skip
    middle = np.array([[len(average) // 2] * 2], float)
    start, none = Start(np.eye(2)[None], middle, np.ones(1), np.ones(1)), np.zeros((1, n))
    splines, shapes = radial_splines(*annulus), form.derivatives(probe)
    for _ in range(FIRST_ROUNDS):
        sums = sum_patterns(
            average[None], seen, entry, start, none, shapes=shapes, splines=splines, noise_scale=1.0 / patterns
        )
        entry, _ = stepped(entry, form, sums, fixed=True)
    return entry.only(entry.intensity > LEAST_LIGHT * entry.intensity.max())


def _new_light(entry: Entry, basis: FloatArray) -> float:
    """Mean light of the nodes that a coarser lattice does not have, relative to the others; zero where it is none."""
    new = nearest_node(entry.reflections, basis)[1] > 0.5
    if new.sum() < LEAST_NEW:
        return 0.0
    light, error = entry.intensity[new].mean(), entry.intensity[new].std() / np.sqrt(new.sum())
    relative = float(light / entry.intensity[~new].mean())
    return relative if light > SURE_LIGHT * error and relative > NEW_LIGHT else 0.0

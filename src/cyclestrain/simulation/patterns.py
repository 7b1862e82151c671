"""Expected diffraction patterns: disks drawn where the strained lattice puts them.

A reflection of the unstrained lattice stands at ``g' = F^-T g`` from the beam centre. Disks are *drawn* there, each
pixel holding the integral of the disk over its area; no image is ever warped, so that the simulation is an oracle
that shares nothing with the transform of the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from cyclestrain.affine import reciprocal
from cyclestrain.simulation._compiled import compiled
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.sample import Sample

__all__ = ["PatternModel", "background", "draw_disk", "make_pattern_model"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

EDGE = 0.2
"""Standard deviation in pixels of the blur of the disk edge; with the pixel's own width the edge is 1 px wide."""
EDGE_REACH = 4 * EDGE
"""Pixels from the edge on which its blur is seen."""
EDGE_STEPS = 1000.0
"""Points per pixel at which the profile of the edge is tabulated."""
EDGE_PROFILE = 0.5 * erfc((np.arange(2 * EDGE_REACH * EDGE_STEPS + 1) / EDGE_STEPS - EDGE_REACH) / (np.sqrt(2) * EDGE))
"""Share of the intensity from `EDGE_REACH` inside the edge to as far outside."""
SUBPIXELS = 4
"""Points along each side of a pixel at the edge of a disk."""
FRINGES = 0.8
"""Fringes of the inner structure per disk radius, along the reciprocal vector as in a convergent-beam disk."""
NEGLIGIBLE = 1e-7
"""Share of a crystal below which its reflections are not drawn."""


class _Row(NamedTuple):
    """The positions of one scan row."""

    centres: FloatArray  # of the beam, (rx, 2)
    crystal: IntArray  # those at each position, -1 for none, (rx, k)
    share: FloatArray  # of each, (rx, k)


class _Crystals(NamedTuple):
    """All crystals of the sample."""

    affine: FloatArray  # (n, 2, 2)
    phase: IntArray  # (n,)
    grain: IntArray  # (n,)


class _Phases(NamedTuple):
    """Reflections of all phases, see `PatternModel`."""

    reflections: FloatArray
    first: IntArray


@dataclass(frozen=True)
class PatternModel:
    """What is needed to draw the expected counts of any position.

    Attributes
    ----------
    acquisition
        Detector, dose, background and distortions.
    sample
        Crystals and their shares.
    centres
        Beam centre ``(y, x)`` of each position, shape ``(ry, rx, 2)``.
    affine
        Matrix that takes reciprocal vectors to recorded ones for each crystal, ``E F^-T``, shape ``(n, 2, 2)``.
    reflections
        Reciprocal vector (y, x), share of the beam and fringe phase of the reflections of all phases, shape
        ``(n_reflections, 4)``.
    first
        First reflection of each phase, and their number as the last element, shape ``(n_phases + 1,)``.
    optics
        Disk radius, texture, and the matrix ``E^-1`` row by row, shape ``(6,)``.
    """

    acquisition: Acquisition
    sample: Sample
    centres: FloatArray
    affine: FloatArray
    reflections: FloatArray
    first: IntArray
    optics: FloatArray

    def expected_row(self, row: int) -> NDArray[np.float32]:
        """Draw the expected counts of one scan row, shape ``(rx, qy, qx)``."""
        image = np.zeros((self.sample.crystal.shape[1], *self.acquisition.detector), np.float32)
        sample = self.sample
        _draw_row(
            image,
            _Row(self.centres[row], sample.crystal[row], sample.share[row]),
            _Crystals(self.affine, sample.phase, sample.grain),
            _Phases(self.reflections, self.first),
            self.optics,
            self.acquisition.background,
            self.acquisition.counts,
        )
        return image

    def largest_count(self) -> float:
        """Upper bound of the expected counts in a pixel."""
        acquisition = self.acquisition
        disk = (1 + acquisition.texture) / (np.pi * max(acquisition.disk_radius - 1.0, 0.3) ** 2)
        middle = (np.array(acquisition.detector) - 1) / 2
        smooth = float(background(acquisition.detector, middle[0], middle[1]).max()) * 4  # 4: centre in a corner
        share = acquisition.background
        return acquisition.counts * min(1.0, (1 - share) * disk + share * smooth)


def make_pattern_model(sample: Sample, acquisition: Acquisition) -> PatternModel:
    """Bring a sample and an acquisition into the form the drawing loop reads.

    Parameters
    ----------
    sample
        What is scanned.
    acquisition
        How it is recorded.
    """
    distortion = acquisition.distortion()
    blocks = [np.column_stack([la.vectors, la.intensity, la.structure_phase]) for la in sample.lattices]
    return PatternModel(
        acquisition=acquisition,
        sample=sample,
        centres=acquisition.centres(),
        affine=np.ascontiguousarray(distortion @ reciprocal(sample.deformation)),
        reflections=np.concatenate(blocks),
        first=np.cumsum([0, *(len(block) for block in blocks)]),
        optics=np.array([acquisition.disk_radius, acquisition.texture, *np.linalg.inv(distortion).ravel()]),
    )


@compiled
def background(shape: tuple[int, int], centre_y: float, centre_x: float) -> FloatArray:
    """Radial background ``1 / (1 + q^2 / 0.01^2)``, shape `shape`, summing to 1.

    `q` is the distance from the beam centre divided by the smaller side of the detector.

    Parameters
    ----------
    shape
        Of the detector.
    centre_y, centre_x
        Beam centre, pixels.
    """
    image = np.empty(shape)
    scale = 1.0 / (0.01 * min(shape)) ** 2
    total = 0.0
    for y in range(shape[0]):
        for x in range(shape[1]):
            value = 1.0 / (1.0 + scale * ((y - centre_y) ** 2 + (x - centre_x) ** 2))
            image[y, x] = value
            total += value
    return image / total


@compiled
def _edge(distance: float) -> float:
    """Look up the share of the intensity at `distance` pixels outside the edge."""
    place = (distance + EDGE_REACH) * EDGE_STEPS
    if place <= 0.0:
        return 1.0
    index = int(place)
    if index >= EDGE_PROFILE.size - 1:
        return 0.0
    rest = place - index
    return float(EDGE_PROFILE[index] * (1.0 - rest) + EDGE_PROFILE[index + 1] * rest)


@compiled
def _coverage(dy: float, dx: float, optics: FloatArray) -> float:
    """Share of the pixel at offset ``(dy, dx)`` from the middle of a disk that the (soft) disk covers."""
    distance = math.hypot(optics[2] * dy + optics[3] * dx, optics[4] * dy + optics[5] * dx) - optics[0]
    stretch = math.sqrt(optics[2] ** 2 + optics[3] ** 2 + optics[4] ** 2 + optics[5] ** 2)
    reach = EDGE_REACH + math.sqrt(0.5) * stretch  # beyond, the pixel is wholly inside or outside
    if distance < -reach:
        return 1.0
    if distance > reach:
        return 0.0
    covered = 0.0
    for j in range(SUBPIXELS):
        v = dy + (j + 0.5) / SUBPIXELS - 0.5
        for i in range(SUBPIXELS):
            u = dx + (i + 0.5) / SUBPIXELS - 0.5
            a, b = optics[2] * v + optics[3] * u, optics[4] * v + optics[5] * u
            covered += _edge(math.sqrt(a * a + b * b) - optics[0])
    return covered / SUBPIXELS**2


@compiled
def draw_disk(
    image: FloatArray,
    y: float,
    x: float,
    amount: float,
    optics: FloatArray,
    direction_y: float,
    direction_x: float,
    phase: float,
) -> float:
    """Add a disk to an image; return what was added.

    Parameters
    ----------
    image
        Shape ``(qy, qx)``.
    y, x
        Middle of the disk, pixels.
    amount
        What it holds if it lies wholly on the image.
    optics
        That of `PatternModel`.
    direction_y, direction_x
        Unit vector along which the fringe inside runs.
    phase
        Of the fringe, radians.
    """
    radius, texture = optics[0], optics[1]
    half = (radius + EDGE_REACH + 1.0) * (abs(optics[2]) + abs(optics[3]) + abs(optics[4]) + abs(optics[5])) / 2 + 1.0
    level = amount / (math.pi * radius**2)
    added = 0.0
    for j in range(max(0, math.ceil(y - half)), min(image.shape[0], math.floor(y + half) + 1)):
        for i in range(max(0, math.ceil(x - half)), min(image.shape[1], math.floor(x + half) + 1)):
            value = level * _coverage(j - y, i - x, optics)
            if value > 0.0 and texture > 0.0:
                along = direction_y * (j - y) + direction_x * (i - x)
                value *= 1.0 + texture * math.cos(2 * math.pi * FRINGES * along / radius + phase)
            image[j, i] += value
            added += value
    return added


@compiled
def _draw_crystal(
    image: FloatArray,
    centre: FloatArray,
    share: float,
    affine: FloatArray,
    reflections: FloatArray,
    optics: FloatArray,
    phase: float,
) -> float:
    added = 0.0
    for n in range(reflections.shape[0]):
        gy = affine[0, 0] * reflections[n, 0] + affine[0, 1] * reflections[n, 1]
        gx = affine[1, 0] * reflections[n, 0] + affine[1, 1] * reflections[n, 1]
        length = math.hypot(gy, gx)
        added += draw_disk(
            image,
            centre[0] + gy,
            centre[1] + gx,
            share * reflections[n, 2],
            optics,
            gy / length,
            gx / length,
            reflections[n, 3] + phase,
        )
    return added


@compiled
def _draw_row(
    image: NDArray[np.float32],
    row: _Row,
    crystals: _Crystals,
    phases: _Phases,
    optics: FloatArray,
    background_share: float,
    counts: float,
) -> None:
    """Draw the patterns of one scan row into `image`, shape ``(rx, qy, qx)``, zero before."""
    centres, crystal, share = row
    reflections, first = phases
    shape = (image.shape[1], image.shape[2])
    flat = optics.copy()
    flat[1] = 0.0
    smooth = background(shape, centres[0, 0], centres[0, 1])
    for x in range(image.shape[0]):
        scattered = 0.0
        for k in range(crystal.shape[1]):
            c = crystal[x, k]
            if c >= 0 and share[x, k] > NEGLIGIBLE:
                phase = crystals.phase[c]
                one_phase = reflections[first[phase] : first[phase + 1]]
                thickness = 2.4 * crystals.grain[c]  # fringes differ from grain to grain, as with thickness
                scattered += _draw_crystal(
                    image[x], centres[x], share[x, k], crystals.affine[c], one_phase, optics, thickness
                )
        probe = np.zeros(shape, np.float64)
        drawn = draw_disk(probe, centres[x, 0], centres[x, 1], 1.0, flat, 0.0, 0.0, 0.0)
        if x > 0 and (centres[x, 0] != centres[x - 1, 0] or centres[x, 1] != centres[x - 1, 1]):
            smooth = background(shape, centres[x, 0], centres[x, 1])
        rest = (1.0 - scattered) / drawn
        image[x] = counts * ((1.0 - background_share) * (image[x] + rest * probe) + background_share * smooth)

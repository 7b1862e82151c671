"""Unstrained reciprocal lattices: positions of the reflections, and the share of the beam in each.

Vectors are ``(y, x)`` in detector pixels from the beam centre; the first reciprocal vector points along +x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.errors import InputError

__all__ = ["LATTICES", "Lattice", "make_lattice"]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Geometry:
    """Shape of a reciprocal lattice.

    Attributes
    ----------
    ratio
        Length of the second basis vector in units of the first.
    angle
        Angle between them in radians.
    symmetry
        Order of the rotation that maps the lattice onto itself.
    fold
        Fold of the modulation of the intensities with the direction of the reflection.
    """

    ratio: float
    angle: float
    symmetry: int
    fold: int


LATTICES = {
    "hexagonal": Geometry(ratio=1.0, angle=np.pi / 3, symmetry=6, fold=3),
    "square": Geometry(ratio=1.0, angle=np.pi / 2, symmetry=4, fold=4),
    "rhombic": Geometry(ratio=1.0, angle=np.arccos(1 / 3), symmetry=2, fold=2),  # diamond along [110]
    "oblique": Geometry(ratio=1.15, angle=np.deg2rad(77.0), symmetry=2, fold=2),
}
"""The lattices that can be simulated, by name."""

MODULATION = 0.15
"""Relative modulation of the intensities with the direction of the reflection."""
CUT_OFF = 3.05
"""Longest reflection in units of the first ring."""
RING = np.array([1.0, np.sqrt(3.0), 2.0, np.sqrt(7.0), 3.0])
"""Radii of the rings of the benchmark in units of the first."""
RING_INTENSITY = np.array([1.9e-5, 2.6e-5, 0.6e-5, 0.6e-5, 0.3e-5]) * np.pi * 4.2**2
"""Share of the beam in one disk: intensity per pixel of the benchmark times the area of its disks (radius 4.2 px)."""


@dataclass(frozen=True)
class Lattice:
    """Reflections of an unstrained, unrotated crystal.

    Attributes
    ----------
    name
        One of `LATTICES`.
    symmetry
        Order of the rotational symmetry of the lattice: 6, 4 or 2.
    vectors
        Reciprocal vectors ``(y, x)`` in pixels, shape ``(n, 2)``.
    intensity
        Share of the beam in each disk, shape ``(n,)``.
    structure_phase
        Phase in radians of the fringe inside each disk, shape ``(n,)``; used with ``texture`` only.
    """

    name: str
    symmetry: int
    vectors: FloatArray
    intensity: FloatArray
    structure_phase: FloatArray


def make_lattice(name: str, spacing: float) -> Lattice:
    """Reflections of a lattice.

    The intensity of a disk follows the rings of the benchmark (interpolated between them for lattices that have other
    rings), modulated by 15 % with the direction of the reflection.

    Parameters
    ----------
    name
        One of `LATTICES`.
    spacing
        Length of the shortest reciprocal vector, pixels.

    Raises
    ------
    InputError
        If there is no lattice of that name.
    """
    if name not in LATTICES:
        raise InputError(f"the lattice is one of {', '.join(LATTICES)}, got {name!r}")
    geometry = LATTICES[name]
    first = np.array([0.0, 1.0])
    second = geometry.ratio * np.array([np.sin(geometry.angle), np.cos(geometry.angle)])
    h, k = (index.ravel() for index in np.mgrid[-5:6, -5:6])
    vectors = h[:, None] * first + k[:, None] * second
    length = np.hypot(vectors[:, 0], vectors[:, 1])
    keep = (length > 0) & (length < CUT_OFF)
    vectors, length = vectors[keep], length[keep]
    azimuth = np.arctan2(vectors[:, 0], vectors[:, 1])
    ring = np.exp(np.interp(length, RING, np.log(RING_INTENSITY)))
    return Lattice(
        name=name,
        symmetry=geometry.symmetry,
        vectors=spacing * vectors,
        intensity=ring * (1 + MODULATION * np.cos(geometry.fold * azimuth)),
        structure_phase=2 * np.pi * np.random.default_rng(0).random(len(length)),
    )

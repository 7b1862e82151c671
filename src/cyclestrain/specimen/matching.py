"""Which reflection of a dictionary entry is which of a known crystal, and how the crystal lies on the detector."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from cyclestrain.data import FloatArray, IntArray

__all__ = ["Match", "find_matches"]

SHAPE = 0.04
"""Ratio of the axes, minus one, up to which a strained entry is still the known lattice; twice that for polar ones."""
NEAR = 0.12
"""Distance, in units of the shortest reciprocal vector, within which two reflections are the same."""
MOST = 0.9
"""Least share of the entry's reflections that must be reflections of the crystal."""
SAME_SCALE = 0.05
"""Relative error of a pixel size that is believed."""


@dataclass(frozen=True)
class Match:
    """One way to lay a crystal on an entry.

    Attributes
    ----------
    turn
        Rotation, perhaps with a mirror, from the crystal's axes across the beam to those of the detector, ``(2, 2)``.
    scale
        Pixels of a reciprocal length of 1/nm.
    reflections
        Which of the crystal's reflections each of the entry is, -1 for none.
    """

    turn: FloatArray
    scale: float
    reflections: IntArray


def find_matches(
    crystal: FloatArray, entry: FloatArray, pixel: float | None = None, shape: float = SHAPE
) -> list[Match]:
    """All ways to lay a crystal on an entry: its symmetries, and those that its lattice alone has.

    Parameters
    ----------
    crystal
        Reciprocal vectors ``(y, x)`` of the crystal, 1/nm, shape ``(g, 2)``.
    entry
        Those of the entry, pixels, shape ``(n, 2)``.
    pixel
        Size of a pixel in 1/nm; None where it is not known.
    shape
        How far the ratio of the axes may be off.
    """
    order = np.argsort(np.hypot(*entry.T))
    one = entry[order[0]]
    beside = np.abs(one[0] * entry[order, 1] - one[1] * entry[order, 0])
    two = entry[order[np.flatnonzero(beside > 0.2 * (one @ one))[0]]]
    length = np.hypot(*crystal.T)
    short = np.flatnonzero(length < 3.2 * length.min())
    pair, found = np.stack([one, two], 1), []
    for a, b in itertools.permutations(short.tolist(), 2):
        own = crystal[[a, b]].T
        if abs(np.linalg.det(own)) < 1e-6 * length.min() ** 2:
            continue
        transform = pair @ np.linalg.inv(own)
        left, sizes, right = np.linalg.svd(transform)
        scale = float(np.sqrt(sizes[0] * sizes[1]))
        if sizes[0] > (1 + shape) * sizes[1] or (pixel and abs(scale * pixel - 1) > SAME_SCALE):
            continue
        apart = np.linalg.norm(entry[:, None] - crystal @ transform.T, axis=-1)
        nearest = apart.argmin(1)
        same = apart[np.arange(len(entry)), nearest] < NEAR * scale * length.min()
        if same.mean() >= MOST:
            found.append(Match(left @ right, scale, np.where(same, nearest, -1)))
    if not found:
        return []
    largest = max(one.scale for one in found)  # the coarsest crystal lattice that has all reflections of the entry
    return [one for one in found if one.scale > 0.9 * largest]

"""The lattice that explains the peaks of an average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.learning.peaks import Peaks

__all__ = ["Lattice", "basis_through", "find_lattice", "finer_lattice", "lattice_score", "nearest_node"]

FINER = 1.1
"""Least ratio of the scores of a finer lattice and of the one that the brightest peaks span."""


@dataclass(frozen=True)
class Lattice:
    """Lattice and reflections found in an average.

    Attributes
    ----------
    basis
        Reciprocal-lattice vectors ``(y, x)`` as columns, pixels, shape ``(2, 2)``.
    indices
        Integer indices, shape ``(reflection, 2)``; NaN for reflections on no node of the lattice (superstructures,
        twins), which are used as well, since they move with the crystal.
    positions
        Positions ``(y, x)`` relative to the beam centre, pixels, shape ``(reflection, 2)``.
    intensity
        Counts above background in each disk, shape ``(reflection,)``.
    """

    basis: FloatArray
    indices: FloatArray
    positions: FloatArray
    intensity: FloatArray

    @property
    def spans_plane(self) -> bool:
        """Whether the reflections fix an affine: at least three that do not lie on one line through the beam."""
        return len(self.positions) >= 3 and np.linalg.matrix_rank(self.positions, tol=1e-3) == 2


def find_lattice(peaks: Peaks, radius: float) -> FloatArray | None:
    """Basis (columns, pixels) of the lattice that explains most of the peaks, or None where there is none.

    Pairs among the peaks and their differences are tried and scored by `lattice_score`; the best is reduced and fitted.

    Parameters
    ----------
    peaks
        Peaks of an average.
    radius
        Radius of the disks, pixels, which sets how far a peak may lie from its node.
    """
    strong = peaks.positions[:24]
    if len(strong) < 2:
        return None
    tolerance = max(1.0, 0.3 * radius)
    weight = np.sqrt(np.minimum(peaks.significance, 100.0))
    differences = (strong[:, None] - strong[None, :]).reshape(-1, 2)
    vectors = np.concatenate([strong, differences])
    length = np.hypot(*vectors.T)
    keep = (length > max(3.0, 1.6 * radius)) & ((vectors[:, 1] > 0) | ((vectors[:, 1] == 0) & (vectors[:, 0] > 0)))
    vectors = vectors[keep][np.argsort(length[keep])][:160]
    first, second = np.triu_indices(len(vectors), 1)
    bases = np.stack([vectors[first], vectors[second]], -1)  # (pair, 2, 2), vectors as columns
    area = np.abs(np.linalg.det(bases))
    sides = np.hypot(*vectors[first].T) * np.hypot(*vectors[second].T)
    bases = bases[(area > 0.4 * sides) & (area > 2 * np.pi * tolerance**2)]
    if not len(bases):
        return None
    scores = lattice_score(peaks, bases, radius)
    best = bases[scores.argmax()] if scores.max() > 0 else None
    if best is None:
        return None
    for _ in range(4):
        best = _reduced(best)
        indices, distance = nearest_node(peaks.positions, best)
        good = (distance < tolerance) & indices.any(1)
        w = weight[good][:, None]
        if good.sum() < 2 or np.linalg.matrix_rank(indices[good]) < 2:
            return None
        best = np.linalg.lstsq(indices[good] * w, peaks.positions[good] * w, rcond=None)[0].T
    return best


def finer_lattice(peaks: Peaks, basis: FloatArray, radius: float) -> FloatArray:
    """The lattice, or that of up to four times its nodes, which explains most of the peaks.

    The brightest peaks alone, from which a lattice is found, may leave out the weak ones of a superstructure.

    Parameters
    ----------
    peaks, radius
        As for `find_lattice`.
    basis
        Lattice of the brightest peaks, vectors as columns, pixels.
    """
    finer = finer_lattices(basis)
    scores = lattice_score(peaks, finer, radius)
    best = int(scores.argmax())
    return finer[best] if scores[best] > FINER * scores[0] else basis


def finer_lattices(basis: FloatArray) -> FloatArray:
    """All lattices that hold the nodes of one, with up to four times as many, that itself first, ``(lattice, 2, 2)``.

    Parameters
    ----------
    basis
        Lattice vectors as columns, pixels.
    """
    cells = [np.array([[n // d, 0], [shift, d]]) for n in (1, 2, 3, 4) for d in _divisors(n) for shift in range(n // d)]
    return np.stack([_reduced(basis @ np.linalg.inv(cell)) for cell in cells])


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


def lattice_score(peaks: Peaks, basis: FloatArray, radius: float) -> Any:
    """Weight of the peaks that a basis indexes, less the weight that a lattice of its density would index by chance.

    Parameters
    ----------
    peaks
        Peaks of an average.
    basis
        One or many bases with vectors as columns, pixels, shape ``(..., 2, 2)``.
    radius
        Radius of the disks, pixels, which sets how far a peak may lie from its node.
    """
    tolerance = max(1.0, 0.3 * radius)
    weight = np.sqrt(np.minimum(peaks.significance, 100.0))
    _, distance = nearest_node(peaks.positions, basis)
    chance = np.minimum(1.0, np.pi * tolerance**2 / np.abs(np.linalg.det(basis)))[..., None]
    return (weight * ((distance < tolerance) * (1 - 0.3 * distance / tolerance) - 2.0 * chance)).sum(-1)


def _reduced(basis: FloatArray) -> FloatArray:
    """Lagrange-Gauss reduction: the two shortest vectors of the lattice."""
    a, b = basis[:, 0].copy(), basis[:, 1].copy()
    for _ in range(50):
        if np.hypot(*a) > np.hypot(*b):
            a, b = b, a
        m = np.rint(a @ b / (a @ a))
        if m == 0:
            break
        b = b - m * a
    if a[0] * b[1] - a[1] * b[0] > 0:  # right-handed in (x, y)
        b = -b
    return np.stack([a, b], 1)


def basis_through(indices: FloatArray, positions: FloatArray, weight: FloatArray, basis: FloatArray) -> FloatArray:
    """Lattice vectors as columns, pixels, that fit positions best, which may all be off by the same shift.

    Parameters
    ----------
    indices
        Integer indices of the positions, shape ``(n, 2)``; NaN for what is on no node.
    positions
        Positions ``(y, x)`` relative to the beam centre, pixels, shape ``(n, 2)``.
    weight
        How much each counts, shape ``(n,)``.
    basis
        What is kept where the positions are too few, shape ``(2, 2)``.
    """
    on_lattice = np.isfinite(indices).all(1)
    design = np.column_stack([indices, np.ones(len(indices))])[on_lattice]
    scale = np.sqrt(weight[on_lattice])[:, None]
    solution, _, rank, _ = np.linalg.lstsq(scale * design, scale * positions[on_lattice], rcond=None)
    return np.asarray(solution[:2].T) if rank == 3 else basis


def nearest_node(positions: FloatArray, basis: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Nearest integer indices, shape ``(..., n, 2)``, and the distance to their node, pixels, shape ``(..., n)``.

    Parameters
    ----------
    positions
        Positions ``(y, x)`` relative to the beam centre, pixels, shape ``(n, 2)``.
    basis
        One or many bases with vectors as columns, pixels, shape ``(..., 2, 2)``.
    """
    indices = np.rint(positions @ np.linalg.inv(basis).swapaxes(-1, -2))
    return indices, np.linalg.norm(positions - indices @ basis.swapaxes(-1, -2), axis=-1)

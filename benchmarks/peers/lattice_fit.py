"""What the runners share: input, the lattice fit to detected disks, output. NumPy and h5py only.

The peers are told what they cannot find blindly: the reciprocal lattice of the unstrained crystal, the rotation of
every pattern, the beam centre to start from, and the radius of the disks. Each detected disk is given to the nearest
predicted reflection, the affine is fitted by least squares, and `F = A^-T`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

MATCH = 0.12
"""Distance, in units of the shortest reciprocal vector, within which a disk belongs to a predicted reflection."""
FEWEST = 5
"""Disks a fit needs."""


@dataclass(frozen=True)
class Told:
    """What a peer is told about the scan.

    Attributes
    ----------
    reflections
        Reciprocal vectors ``(y, x)`` of the unstrained, unrotated lattice, pixels, shape ``(n, 2)``.
    rotation
        Of every position, radians, positive from +x to +y, shape ``(ry, rx)``.
    centre
        Beam centre ``(y, x)`` of every position, shape ``(ry, rx, 2)``.
    radius
        Of the disks, pixels.
    """

    reflections: np.ndarray
    rotation: np.ndarray
    centre: np.ndarray
    radius: float

    @classmethod
    def load(cls, path: Path) -> Told:
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(file["reflections"], file["rotation"], file["centre"], float(file["radius"]))

    def save(self, path: Path) -> None:
        """Write as ``.npz``."""
        np.savez(path, reflections=self.reflections, rotation=self.rotation, centre=self.centre, radius=self.radius)

    @property
    def spacing(self) -> float:
        """Length of the shortest reciprocal vector, pixels."""
        return float(np.hypot(*self.reflections.T).min())


def fit_affine(peaks: np.ndarray, told: Told, position: tuple[int, int], weighted: bool) -> np.ndarray:
    """Affine ``A`` of one pattern from its disks ``(y, x, height)``, shape ``(n, 3)``; NaN where too few are found."""
    theta = told.rotation[position]
    turn = np.array([[np.cos(theta), np.sin(theta)], [-np.sin(theta), np.cos(theta)]])
    affine, centre = turn, told.centre[position]
    for _ in range(2):  # the second time from the fitted lattice
        predicted = centre + told.reflections @ affine.T
        offset = np.hypot(*(peaks[:, None, :2] - predicted).transpose(2, 0, 1))
        if not offset.size:
            break
        nearest = offset.argmin(0)
        matched = offset[nearest, np.arange(len(predicted))] < MATCH * told.spacing
        if matched.sum() < FEWEST:
            break
        disks = peaks[nearest[matched]]
        weight = np.sqrt(np.maximum(disks[:, 2], 0.0))[:, None] if weighted else np.ones((len(disks), 1))
        design = np.column_stack([np.ones(len(disks)), told.reflections[matched]])
        solution, _, rank, _ = np.linalg.lstsq(weight * design, weight * disks[:, :2], rcond=None)
        if rank < 3:
            break
        centre, affine = solution[0], solution[1:].T
    else:
        return affine
    return np.full((2, 2), np.nan)


def parser(description: str) -> argparse.ArgumentParser:
    """Arguments that every runner has."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("scan", type=Path, help="HDF5 file with the patterns at /data, shape (ry, rx, qy, qx)")
    arguments.add_argument("told", type=Path, help=".npz file: reflections, rotation, centre, radius")
    arguments.add_argument("output", type=Path, help=".npz file to write: F (ry, rx, 2, 2), seconds, patterns")
    arguments.add_argument("--unweighted", action="store_true", help="every disk counts the same")
    return arguments


def run(arguments: argparse.Namespace, detect: Callable[[np.ndarray, Told], list[np.ndarray]]) -> None:
    """Detect the disks of every pattern, row by row, fit the lattice and write the deformation gradients.

    `detect` takes patterns ``(n, qy, qx)`` and gives disks ``(y, x, height)`` for each.
    """
    told = Told.load(arguments.told)
    gradient = np.full((*told.rotation.shape, 2, 2), np.nan)
    seconds, found = 0.0, 0
    with h5py.File(arguments.scan) as file:
        detect(file["data"][0, :1], told)  # whatever is compiled or planned at the first call
        for row in range(gradient.shape[0]):
            patterns = file["data"][row]
            start = time.perf_counter()
            for column, peaks in enumerate(detect(patterns, told)):
                affine = fit_affine(peaks, told, (row, column), not arguments.unweighted)
                gradient[row, column] = np.linalg.inv(affine).T
                found += len(peaks)
            seconds += time.perf_counter() - start
    n = gradient[..., 0, 0].size
    np.savez(arguments.output, F=gradient, seconds=seconds, patterns=n)
    print(f"{n / seconds:.0f} patterns/s, {found / n:.1f} disks per pattern")

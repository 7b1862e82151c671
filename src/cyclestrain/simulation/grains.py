"""Voronoi grains and their shares of the probe where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cyclestrain.affine import rotation, symmetric
from cyclestrain.simulation._compiled import compiled
from cyclestrain.simulation.sample import VACUUM

__all__ = ["Blend", "blend", "draw_deformations", "voronoi_blend"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]

OVERSAMPLING = 5
"""Points per position and axis at which the grain map is sampled; odd, so that positions are among the points."""
MAX_GRAINS = 8
"""Largest number of grains that are kept at one position."""


@dataclass(frozen=True)
class Blend:
    """Grains under the probe.

    Attributes
    ----------
    grain
        Grains at each position, largest share first, shape ``(ry, rx, k)``, filled up with `VACUUM`.
    share
        Their shares, shape ``(ry, rx, k)``, summing to 1.
    """

    grain: IntArray
    share: FloatArray


def draw_deformations(n: int, max_strain: float, rotation_range: float, rng: np.random.Generator) -> FloatArray:
    """Draw deformation gradients ``F = V R`` of grains, shape ``(n, 2, 2)``.

    Parameters
    ----------
    n
        Number of grains.
    max_strain
        Each strain component is one of -1, -1/2, 0, 1/2, 1 times this.
    rotation_range
        Rotations are uniform in 0 to this many degrees.
    rng
        Random generator.
    """
    yy, xx, yx = max_strain * rng.integers(-2, 3, (3, n)) / 2
    theta = np.deg2rad(rotation_range) * rng.random(n)
    deformation: FloatArray = symmetric(1 + yy, 1 + xx, yx) @ rotation(theta)
    return deformation


def voronoi_blend(
    seeds: FloatArray, scan: tuple[int, int], probe_width: float, *, sample_size: float | None = None
) -> Blend:
    """Voronoi grains around `seeds`, blended by a Gaussian probe.

    Parameters
    ----------
    seeds
        Middle ``(y, x)`` of each grain, positions, shape ``(n, 2)``.
    scan
        Number of positions ``(ry, rx)``.
    probe_width
        Full width at half maximum of the probe, positions.
    sample_size
        Axes of the elliptic sample as a share of the scan, with vacuum around it; by default it fills the scan.
    """
    sigma = max(probe_width, 1e-3) / np.sqrt(8 * np.log(2))
    half = int(np.ceil(4 * sigma * OVERSAMPLING))
    axes = [np.arange(-half, (n - 1) * OVERSAMPLING + half + 1) / OVERSAMPLING for n in scan]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    labels = np.asarray(cKDTree(seeds).query(points.reshape(-1, 2))[1]).reshape(points.shape[:2])
    if sample_size is not None:
        middle = (np.array(scan) - 1) / 2
        labels[np.sum(((points - middle) / (sample_size * np.array(scan) / 2)) ** 2, -1) > 1] = VACUUM
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / (sigma * OVERSAMPLING)) ** 2)
    return blend(labels, kernel, scan)


def blend(labels: IntArray, kernel: FloatArray, scan: tuple[int, int]) -> Blend:
    """Share of each label under the probe at every position.

    Parameters
    ----------
    labels
        Label map, `OVERSAMPLING` times finer than the scan, with a margin of half the kernel around the first and last
        position.
    kernel
        Probe along one axis of the label map; the probe is separable.
    scan
        Number of positions ``(ry, rx)``.
    """
    grain = np.full((*scan, MAX_GRAINS), VACUUM, np.int64)
    share = np.zeros((*scan, MAX_GRAINS))
    _accumulate(labels.astype(np.int64), kernel, grain, share)
    order = np.argsort(-share, axis=-1, kind="stable")
    grain, share = np.take_along_axis(grain, order, -1), np.take_along_axis(share, order, -1)
    used = max(1, int((share > 0).any((0, 1)).sum()))
    grain, share = grain[..., :used], share[..., :used]
    return Blend(grain, share / share.sum(-1, keepdims=True))


@compiled
def _accumulate(labels: IntArray, kernel: FloatArray, grain: IntArray, share: FloatArray) -> None:
    for y in range(grain.shape[0]):
        for x in range(grain.shape[1]):
            used = 0
            for j in range(kernel.size):
                for i in range(kernel.size):
                    label = labels[y * OVERSAMPLING + j, x * OVERSAMPLING + i]
                    slot = 0
                    while slot < used and grain[y, x, slot] != label:
                        slot += 1
                    if slot == MAX_GRAINS:
                        continue
                    if slot == used:
                        used += 1
                        grain[y, x, slot] = label
                    share[y, x, slot] += kernel[j] * kernel[i]

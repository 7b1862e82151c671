"""The state strain is relative to: a deformation gradient for each class, known or measured on a region."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cyclestrain.affine import deformation, left_polar, rotation
from cyclestrain.data import AffineField, BoolArray, FloatArray, IntArray, StrainMaps
from cyclestrain.strain.jacobians import gradient_jacobian
from cyclestrain.strain.variants import nearest_variant

__all__ = ["Reference", "measure_reference"]

FEWEST = 12
"""Triples of neighbours in line from which the scatter of a region is told apart from what varies smoothly in it."""
INFLATION = 2.94
"""How many second differences along rows and columns tell as much of a variance as one that is independent (53/18)."""
STATED = 12.0
"""How many independent differences a stated variance is worth: it is right to some 40 %."""


@dataclass(frozen=True)
class Reference:
    """The unstrained state strains are relative to.

    Attributes
    ----------
    mask
        Positions it was measured on, shape ``(ry, rx)``; all False for a known lattice.
    gradient
        Deformation gradient ``F_ref`` of each dictionary entry, shape ``(entry, 2, 2)``; NaN where an entry has none.
    covariance
        Of ``(F_yy, F_yx, F_xy, F_xx)`` of ``F_ref``, shape ``(entry, 4, 4)``.
    noise
        Share of it that the uncertainties of the members explain, shape ``(entry,)``; the rest is that they scatter.
    absolute
        Whether it is a known lattice, which no distortion of the detector has changed.
    text
        Which it is, in words.
    scale_sigma
        Relative uncertainty of its size, which all positions share: that of the camera length.
    phases, parameters
        Name and lattice constant, angstrom, of the known lattice of each entry; empty where none was given.
    pixel
        Size of a detector pixel, 1/nm, with which a known lattice was compared, and its relative uncertainty.
    unsure
        Entries that were learned as more symmetric than their known lattice is: strain depends on the labelling.
    """

    mask: BoolArray
    gradient: FloatArray
    covariance: FloatArray
    noise: FloatArray
    absolute: bool = False
    text: str = ""
    scale_sigma: float = 0.0
    phases: tuple[str, ...] = ()
    parameters: tuple[float, ...] = ()
    pixel: tuple[float, float] | None = None
    unsure: tuple[int, ...] = ()

    @property
    def classes(self) -> BoolArray:
        """Dictionary entries that have a reference, shape ``(entry,)``."""
        return np.asarray(np.isfinite(self.gradient).all((1, 2)))

    @classmethod
    def known(cls, gradient: FloatArray) -> Reference:
        """Exact reference that was not measured on the scan, shape ``(entry, 2, 2)``; its mask fits every scan."""
        n = len(gradient)
        return cls(np.zeros((1, 1), bool), gradient, np.zeros((n, 4, 4)), np.ones(n), absolute=True)

    def widened(self, maps: StrainMaps) -> StrainMaps:
        """Strain with the uncertainty of the size of the reference added to its covariance, in any axes."""
        if not self.scale_sigma:
            return maps
        change = np.stack([1 + maps.eyy, 1 + maps.exx, maps.exy, np.zeros_like(maps.exx)], -1) * self.scale_sigma
        return replace(maps, covariance=maps.covariance + change[..., :, None] * change[..., None, :])


def measure_reference(field: AffineField, mask: BoolArray) -> Reference:
    """Average deformation gradient over a region, one for each dictionary entry found in it.

    Parameters
    ----------
    field
        Affine of every position.
    mask
        The region, shape ``(ry, rx)``.

    Notes
    -----
    The mean is weighted by each position's information; positions more than 5 robust standard deviations from the
    region's median are left out. Rotation and stretch are averaged apart: the mean matrix of a bent crystal would be
    smaller than any of its own.

    The uncertainty is that of the mean of this region: strain that varies smoothly over it is what is averaged,
    no error. What members scatter is therefore measured on second differences between neighbours in line. A few members
    may scatter by less than their noise by chance: then what they state counts as well. Where the weights favour some
    of the states, by as much as the weighted mean differs from the plain one it is uncertain.
    """
    n = len(field.operators)
    gradient, covariance, noise = np.full((n, 2, 2), np.nan), np.full((n, 4, 4), np.nan), np.ones(n)
    used = np.zeros(mask.shape, bool)
    for k in range(n):
        here = mask & field.usable & (field.label == k)
        if not here.any():
            continue
        affine = field.affine[here]
        first = affine[len(affine) // 2]
        for _ in range(3):  # the anchor only picks the labelling; it moves to the median and stays there
            variants = nearest_variant(affine, field.operators[k], deformation(first))
            first = deformation(np.median(variants, axis=0))
        vectors = variants.reshape(-1, 4)
        jac = gradient_jacobian(variants)
        stated = jac @ field.covariance[here] @ jac.swapaxes(-1, -2)
        sigma2 = np.einsum("nii->ni", stated)
        centre = np.median(vectors, axis=0)
        width = np.maximum(1.4826 * np.median(np.abs(vectors - centre), axis=0), 1e-9)
        keep = (np.abs(vectors - centre) <= 5 * width + 1e-9).all(1)
        weight = keep / np.maximum(sigma2.mean(1), 1e-16)
        weight /= weight.sum()
        gradient[k], residual = _polar_mean(variants, weight)
        expected = (weight[:, None, None] ** 2 * stated).sum(0)
        place = np.argwhere(here)[keep]
        covariance[k] = _of_mean(residual[keep], weight[keep], place, expected) if keep.sum() > 1 else expected
        noise[k] = min(1.0, np.trace(expected) / max(np.trace(covariance[k]), 1e-300))
        used[here] = keep
    return Reference(used, gradient, covariance, noise)


def _of_mean(residual: FloatArray, weight: FloatArray, place: IntArray, stated: FloatArray) -> FloatArray:
    """Covariance of the weighted mean of a region, shape ``(4, 4)``.

    Parameters
    ----------
    residual
        What its members differ from the mean, shape ``(n, 4)``, at least two.
    weight
        Of the members, sum 1.
    place
        Row and column of each, shape ``(n, 2)``.
    stated
        What the uncertainties of the members make it, shape ``(4, 4)``.
    """
    n = len(residual)
    grid = np.full((*(place.max(0) + 1), 4), np.nan)
    grid[tuple(place.T)] = residual
    along = [np.diff(grid, 2, axis).reshape(-1, 4) for axis in (0, 1) if grid.shape[axis] > 2]
    second = np.concatenate([np.empty((0, 4)), *along])
    second = second[np.isfinite(second).all(1)] / np.sqrt(6.0)
    if len(second) < FEWEST:  # a single position has no scatter to be seen, and few tell no smooth part of it
        weighted = residual * weight[:, None]
        return _no_less_by_chance(n / (n - 1) * weighted.T @ weighted, stated, n - 1)
    plain, scatter = residual.mean(0), (weight**2).sum() * second.T @ second / len(second)
    return _no_less_by_chance(scatter, stated, len(second) / INFLATION) + np.outer(plain, plain)


def _no_less_by_chance(scatter: FloatArray, stated: FloatArray, number: float) -> FloatArray:
    """Covariance that `number` independent differences show; where it is below the stated one, a mean of both."""
    tiny = 1e-12 * np.trace(stated) + 1e-30
    root = np.linalg.cholesky(stated + tiny * np.eye(4))
    inverse = np.linalg.inv(root)
    values, vectors = np.linalg.eigh(inverse @ scatter @ inverse.T)
    values = np.maximum(values, (number * values + STATED) / (number + STATED))
    along = root @ vectors
    return np.asarray((along * values) @ along.T)


def _polar_mean(gradients: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean rotation times mean stretch, and how each gradient differs from it to first order, shape ``(n, 4)``."""
    middle = (weight[:, None, None] * gradients).sum(0)
    _, theta = left_polar(gradients @ np.linalg.inv(middle))
    mean_theta = float(weight @ theta)
    turned = rotation(mean_theta - theta) @ gradients
    mean = (weight[:, None, None] * turned).sum(0)
    spin = np.array([[0.0, 1.0], [-1.0, 0.0]]) @ mean
    residual = turned - mean + (theta - mean_theta)[:, None, None] * spin
    return mean, residual.reshape(-1, 4)

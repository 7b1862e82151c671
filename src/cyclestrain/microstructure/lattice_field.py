r"""The lattice of every position as local reciprocal vectors, in a form that closed circuits are taken through.

The reciprocal vectors of a position are :math:`g_i = A b_i`, with the affine `A` of its pattern and the basis
:math:`b_i` of its entry. Along a step `dr` of the scan :math:`g_i \cdot dr` lattice planes are crossed; around a closed
circuit their number is a whole one, :math:`n_i = \oint g_i \cdot dr`, the Burgers vector in lattice vectors of the
entry. That is the true Burgers vector of :math:`\oint F^{-1} dr`, since :math:`A = F^{-T}`, and linear in what was
fitted (the circuits are those of Cloete et al., Proc. R. Soc. A 478, 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from cyclestrain.affine import rotation
from cyclestrain.data import BoolArray, Doubt, FloatArray, IntArray
from cyclestrain.result import Transforms, stored_pixel
from cyclestrain.strain import coherent_areas, relabelled

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["LatticeField", "lattice_field"]

LARGEST_STEP = 0.15
"""Change of the affine between neighbours (strain, or radians) beyond which they are of different crystals."""
SPOILT = Doubt.MIXTURE | Doubt.OTHER_STRUCTURE
"""Doubts of positions through which no circuit is taken."""
UNKNOWN = 0.02
"""Standard deviation of the affine of a position that is filled in from around it, besides what its neighbours tell."""
REACH = 1.0
"""Standard deviation in positions of the mean from which it is filled in."""


@dataclass(frozen=True)
class LatticeField:
    """Local reciprocal lattice of a scan.

    Attributes
    ----------
    vectors
        Reciprocal vectors as rows, their components along y and x of the scan: lattice planes per position where the
        scale is known, else in units of the mean lattice, shape ``(ry, rx, 2, 2)``.
    covariance
        Of ``(g1_y, g1_x, g2_y, g2_x)``, shape ``(ry, rx, 4, 4)``.
    area
        Number of the crystal, -1 where there is none, shape ``(ry, rx)``; circuits stay within one.
    filled
        Positions that are filled in from their neighbours, shape ``(ry, rx)``.
    is_scaled
        Whether step and pixel size are known, so that a circuit counts lattice planes.
    """

    vectors: FloatArray
    covariance: FloatArray
    area: IntArray
    filled: BoolArray
    is_scaled: bool

    @cached_property
    def _means(self) -> dict[int, FloatArray]:
        areas = np.unique(self.area[self.area >= 0]).tolist()
        return {n: np.median(self.vectors[(self.area == n) & ~self.filled], axis=0) for n in areas}

    def mean(self, area: int) -> FloatArray:
        """Typical lattice of a crystal, shape ``(2, 2)``."""
        return self._means[area]


def lattice_field(maps: xr.Dataset) -> LatticeField:
    """Local reciprocal lattice of a result, from each pattern alone, so that errors of neighbours are independent.

    Parameters
    ----------
    maps
        A whole result.

    Raises
    ------
    InputError
        If it does not hold its transforms.
    """
    transforms = Transforms.stored(maps)
    best, raw = (transforms.on_a_true_detector(one) for one in (transforms.best, transforms.raw))
    near, area = coherent_areas(best, LARGEST_STEP)
    affine = relabelled(raw, np.tile(np.eye(2), (len(raw.operators), 1, 1)), near)
    good = best.usable & raw.usable & (raw.label == best.label)
    if "doubt" in maps:
        good &= (maps["doubt"].values & np.uint16(SPOILT)) == 0
    area = np.where(best.usable, area, -1)
    affine, covariance, filled, area = _filled(affine, raw.covariance, area, good)
    step, pixel = maps.attrs.get("real_step"), stored_pixel(maps)
    is_scaled = step is not None and pixel is not None and str(maps.attrs.get("real_step_unit")) == "nm"
    across = _scan_to_detector(transforms)
    label = np.maximum(best.label, 0)
    if is_scaled:
        assert pixel is not None
        bases = transforms.bases * float(maps.attrs["real_step"]) * pixel[0]
    else:
        bases = np.stack([_unit_basis(affine, (best.label == k) & good) for k in range(len(transforms.bases))])
    # Row i of the vectors is (A b_i)^T Q.
    design = np.einsum("...ci,dq->...iqdc", bases[label], across).reshape(*label.shape, 4, 4)
    vectors = np.einsum("...kl,...l->...k", design, affine.reshape(*label.shape, 4))
    spread = design @ covariance @ design.swapaxes(-1, -2)
    return LatticeField(vectors.reshape(*label.shape, 2, 2), spread, area, filled, is_scaled)


def _unit_basis(affine: FloatArray, here: BoolArray) -> FloatArray:
    """Vectors that the typical affine takes to the unit vectors: circuits are then in positions."""
    return np.linalg.inv(np.median(affine[here], axis=0)) if here.any() else np.eye(2)


def _scan_to_detector(transforms: Transforms) -> FloatArray:
    """Matrix that takes a vector of the scan to the detector."""
    turn = np.asarray(rotation(transforms.scan_rotation))
    return turn @ np.diag([-1.0, 1.0]) if transforms.mirrored else turn


def _filled(
    affine: FloatArray, covariance: FloatArray, area: IntArray, good: BoolArray
) -> tuple[FloatArray, FloatArray, BoolArray, IntArray]:
    """Fill in positions that are enclosed by a crystal from their neighbours, uncertain by what these differ."""
    out, spread, where = affine.copy(), covariance.copy(), np.zeros(area.shape, bool)
    told = good & (area >= 0)
    crystal = np.where(told, area, -1)
    away, nearest = ndimage.distance_transform_edt(~told, return_indices=True)
    crystal = np.where(away <= 2.5, crystal[tuple(nearest)], -1)
    for number in np.unique(crystal[crystal >= 0]):
        missing = (crystal == number) & ~told
        if not missing.any():
            continue
        weight = ndimage.gaussian_filter((told & (area == number)).astype(float), REACH)
        mine = (told & (area == number))[..., None] * affine.reshape(*area.shape, 4)
        sums = [
            np.stack([ndimage.gaussian_filter(part, REACH) for part in np.moveaxis(np.nan_to_num(mine**p), -1, 0)], -1)
            for p in (1, 2)
        ]
        reach = missing & (weight > 1e-3)
        mean, square = (each[reach] / weight[reach][:, None] for each in sums)
        out[reach] = mean.reshape(-1, 2, 2)
        variance = np.maximum(square - mean**2, 0.0) + UNKNOWN**2
        spread[reach] = variance[:, :, None] * np.eye(4)
        where |= reach
    return out, spread, where, np.where(told | where, crystal, -1)

"""Results for every position: the transform of its pattern, its strain and rotation, and what else a run finds.

Vectors and matrices are in ``(y, x)`` order, see `cyclestrain.affine`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cyclestrain.data.arrays import BoolArray, FloatArray, IntArray
from cyclestrain.data.doubt import Doubt

__all__ = ["AffineField", "Fields", "OperatorTable", "StrainMaps"]


@dataclass(frozen=True)
class AffineField:
    """The affine transform from its dictionary entry to every pattern of a scan.

    Attributes
    ----------
    affine
        ``A`` with ``g' = A g``, shape ``(ry, rx, 2, 2)``.
    covariance
        Covariance of ``(A_yy, A_yx, A_xy, A_xx)``, shape ``(ry, rx, 4, 4)``.
    label
        Dictionary entry of every position, -1 for none, shape ``(ry, rx)``.
    valid
        Positions whose affine can be trusted, shape ``(ry, rx)``.
    operators
        For each entry the affine maps of its lattice onto itself that are (nearly) rotations, identity first, each of
        shape ``(order, 2, 2)``.
    shared
        Share of the covariance that neighbours have in common, so that no mean over them lowers it, shape ``(ry, rx)``:
        contrast inside the disks, which follows thickness and tilt. None where there is none.
    scatter
        Variance by which positions scatter about their neighbours beyond their noise, over that of the noise, mean of
        the four components, shape ``(ry, rx)``. None where it was not looked for.
    """

    affine: FloatArray
    covariance: FloatArray
    label: IntArray
    valid: BoolArray
    operators: tuple[FloatArray, ...]
    shared: FloatArray | None = None
    scatter: FloatArray | None = None

    @property
    def usable(self) -> BoolArray:
        """Positions that are valid and whose affine is finite, shape ``(ry, rx)``."""
        return self.valid & np.isfinite(self.affine).all((-1, -2))

    @property
    def operator_table(self) -> OperatorTable:
        """Operators of all entries in one array, for compiled loops."""
        order = np.array([len(group) for group in self.operators])
        table = np.tile(np.eye(2), (len(order), int(order.max(initial=1)), 1, 1))
        for k, group in enumerate(self.operators):
            table[k, : len(group)] = group
        return OperatorTable(table, order)


@dataclass(frozen=True)
class OperatorTable:
    """Operators of an `AffineField`, shape ``(entry, most, 2, 2)``, and how many each entry has, shape ``(entry,)``."""

    operators: FloatArray
    order: IntArray


@dataclass(frozen=True)
class StrainMaps:
    """Strain and rotation of every position with their covariance.

    Attributes
    ----------
    eyy, exx, exy, rotation
        Shape ``(ry, rx)``; strain as a fraction, positive for tension, rotation in radians, positive from +x (column)
        to +y (row).
    covariance
        Covariance of ``(eyy, exx, exy, rotation)``, shape ``(ry, rx, 4, 4)``.
    gradient
        Deformation gradient ``F_rel`` relative to the reference in detector axes, shape ``(ry, rx, 2, 2)``.
    """

    eyy: FloatArray
    exx: FloatArray
    exy: FloatArray
    rotation: FloatArray
    covariance: FloatArray
    gradient: FloatArray

    @property
    def sigma(self) -> FloatArray:
        """Standard deviations in the order ``eyy, exx, exy, rotation``, shape ``(ry, rx, 4)``."""
        return np.sqrt(np.einsum("...ii->...i", self.covariance))


@dataclass(frozen=True)
class Fields:
    """What a run finds at every position, in arrays of shape ``(ry, rx, ...)``.

    Attributes
    ----------
    affine, context
        Transform of every position with covariance, label and validity: from its own pattern alone, and the best
        estimate.
    centre
        Beam centre ``(y, x)``, pixels.
    gain
        Brightness of the reflections relative to the entry.
    misfit
        Chi-square per degree of freedom.
    sample
        Positions that show a crystal.
    confidence
        Probability that the label is the right one.
    share, share_sigma
        Part of the probe in the dominant crystal and its standard deviation; None where it was not measured.
    doubt
        Reasons for doubt, bits of `Doubt`; None where there are none.
    """

    affine: AffineField
    context: AffineField
    centre: FloatArray
    gain: FloatArray
    misfit: FloatArray
    sample: BoolArray
    confidence: FloatArray
    share: FloatArray | None = None
    share_sigma: FloatArray | None = None
    doubt: IntArray | None = None

    def doubted(self, where: BoolArray, why: Doubt) -> Fields:
        """The same with one more reason for doubt at some positions, shape ``(ry, rx)``."""
        before = np.zeros(self.sample.shape, np.uint16) if self.doubt is None else self.doubt
        return replace(self, doubt=before | np.where(where, np.uint16(why), np.uint16(0)))

    def only(self, sample: BoolArray) -> Fields:
        """The same with nothing outside the positions that are the sample, shape ``(ry, rx)``."""
        affine, context = (
            replace(field, label=np.where(sample, field.label, -1), valid=field.valid & sample)
            for field in (self.affine, self.context)
        )
        return replace(self, affine=affine, context=context, sample=self.sample & sample)

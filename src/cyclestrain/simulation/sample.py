"""Crystals at every probe position, and the truth that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cyclestrain.affine import left_polar
from cyclestrain.data import Scan
from cyclestrain.simulation.lattice import Lattice

__all__ = ["INTERIOR_SHARE", "VACUUM", "Sample", "SimulatedScan", "make_truth"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

VACUUM = -1
"""Stands for crystal, grain and class of a position beside the sample."""
INTERIOR_SHARE = 0.999
"""Share of one grain from which a position counts as interior."""


@dataclass(frozen=True)
class Sample:
    """Crystals and their share of the probe at every position.

    Attributes
    ----------
    lattices
        Lattice of each phase.
    deformation
        Deformation gradient of each crystal from its unstrained, unrotated lattice, shape ``(n, 2, 2)``.
    phase
        Index into `lattices` of each crystal, shape ``(n,)``.
    grain
        Grain of each crystal, shape ``(n,)``; a grain with a strain field has a crystal per position.
    crystal
        Crystals at each position, largest share first, shape ``(ry, rx, k)``; `VACUUM` where there is none.
    share
        Shares of these crystals, shape ``(ry, rx, k)``, summing to 1.
    """

    lattices: tuple[Lattice, ...]
    deformation: FloatArray
    phase: IntArray
    grain: IntArray
    crystal: IntArray
    share: FloatArray

    @classmethod
    def from_field(cls, lattice: Lattice, deformation: FloatArray) -> Sample:
        """Sample of one grain whose deformation varies from position to position.

        Parameters
        ----------
        lattice
            Lattice of the grain.
        deformation
            Deformation gradient at every position, shape ``(ry, rx, 2, 2)``.
        """
        scan = deformation.shape[:2]
        n = scan[0] * scan[1]
        return cls(
            lattices=(lattice,),
            deformation=deformation.reshape(n, 2, 2),
            phase=np.zeros(n, np.int64),
            grain=np.zeros(n, np.int64),
            crystal=np.arange(n).reshape(*scan, 1),
            share=np.ones((*scan, 1)),
        )

    @property
    def dominant(self) -> IntArray:
        """Crystal with the largest share at each position, shape ``(ry, rx)``."""
        return self.crystal[..., 0]

    def per_position(self, values: NDArray[Any], vacuum: float) -> NDArray[Any]:
        """Values of the dominant crystal at every position, shape ``(ry, rx, ...)``.

        Parameters
        ----------
        values
            Values of each crystal, shape ``(n, ...)``.
        vacuum
            Value beside the sample.
        """
        result = values[self.dominant]
        result[self.dominant == VACUUM] = vacuum
        return result


@dataclass(frozen=True)
class SimulatedScan:
    """A simulated scan and the truth it was made from.

    Attributes
    ----------
    scan
        The patterns.
    truth
        What a perfect analysis finds, dims ``(ry, rx)``, see `make_truth`.
    """

    scan: Scan
    truth: xr.Dataset


def make_truth(sample: Sample, centres: FloatArray, parameters: Mapping[str, Any]) -> xr.Dataset:
    """Truth of a sample as a dataset with dims ``(ry, rx)``.

    ``F`` is the deformation gradient of the dominant crystal, (y, x) order, from its unstrained and unrotated lattice.
    ``exx, eyy, exy`` (detector axes, of ``F = V R``, ``eps = V - I``) are those of the dominant crystal in
    the interior, and averaged over the crystals by their share at boundaries; ``rotation`` is the dominant crystal's,
    radians. Vacuum has NaN there and -1 in ``grain, class``. ``share`` is the part of the probe in the largest crystal.

    All that is under the probe is in ``part_crystal`` (-1: vacuum) and ``part_share``, dims ``(ry, rx, part)``, largest
    share first, with ``crystal_F`` and ``crystal_class`` of each crystal.

    Parameters
    ----------
    sample
        Crystals at every position.
    centres
        Beam centre ``(y, x)`` of every position, pixels, shape ``(ry, rx, 2)``.
    parameters
        Attributes of the dataset: the phantom and its options.
    """
    stretch, theta = left_polar(sample.deformation)
    vacuum = sample.dominant == VACUUM
    interior = (sample.share[..., 0] >= INTERIOR_SHARE) & ~vacuum
    in_crystals = sample.share * (sample.crystal != VACUUM)
    inside = in_crystals.copy()
    inside[interior, 1:] = 0.0
    total = inside.sum(-1)
    total[vacuum] = 1.0

    def blended(row: int, column: int) -> FloatArray:
        strain = stretch[:, row, column] - (row == column)
        value: FloatArray = (inside * strain[sample.crystal]).sum(-1) / total
        value[vacuum] = np.nan
        return value

    position = ("ry", "rx")
    return xr.Dataset(
        {
            "F": ((*position, "row", "column"), sample.per_position(sample.deformation, np.nan)),
            "exx": (position, blended(1, 1)),
            "eyy": (position, blended(0, 0)),
            "exy": (position, blended(0, 1)),
            "rotation": (position, sample.per_position(theta, np.nan), {"unit": "rad"}),
            "grain": (position, sample.per_position(sample.grain, VACUUM).astype(np.int32)),
            "class": (position, sample.per_position(sample.phase, VACUUM).astype(np.int32)),
            "interior": (position, interior),
            "share": (position, in_crystals.max(-1)),
            "part_crystal": ((*position, "part"), sample.crystal.astype(np.int32)),
            "part_share": ((*position, "part"), sample.share),
            "crystal_F": (("crystal", "row", "column"), sample.deformation),
            "crystal_class": (("crystal",), sample.phase.astype(np.int32)),
            "centre_y": (position, centres[..., 0], {"unit": "px"}),
            "centre_x": (position, centres[..., 1], {"unit": "px"}),
        },
        attrs={
            **{name: _storable(value) for name, value in parameters.items()},
            "symmetry": [lattice.symmetry for lattice in sample.lattices],
            "conventions": "F = V R from the unstrained, unrotated lattice; matrices in (y, x) order; strain V - I in "
            "detector axes, x = column, y = row; rotation in radians, positive from +x to +y",
        },
    )


def _storable(value: Any) -> Any:
    """Value of a parameter in a form that netCDF attributes have."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return int(value)
    return list(value) if isinstance(value, tuple) else value

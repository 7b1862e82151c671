"""Calibration of detector and beam."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from cyclestrain.data.arrays import BoolArray, FloatArray, IntArray
from cyclestrain.data.cards import as_text

__all__ = ["INDEPENDENT", "Calibration", "Centres", "Grain"]


class Centres(NamedTuple):
    """Beam centres of consecutive positions, shape ``(m, 2)``, and the flat index of the first."""

    centre: FloatArray
    first: int


@dataclass(frozen=True)
class Grain:
    """Variance that the noise gives a disk over what it were if pixels scattered independently.

    Attributes
    ----------
    edge
        Of the place of the disk, which its edge tells.
    area
        Of what all its pixels tell together: brightness, contrast inside.
    """

    edge: float = 1.0
    area: float = 1.0

    def less(self, factor: float) -> Grain:
        """That of noise of which the places of disks show such a part only.

        Parameters
        ----------
        factor
            Variance of these places over what it should be.
        """
        edge = factor * self.edge
        if edge < LEAST_GRAIN:
            return INDEPENDENT
        return Grain(edge, 1.0 + (self.area - 1.0) * (edge - 1.0) / (self.edge - 1.0))

    @property
    def told(self) -> str:
        """It as a sentence, see `Calibration.choices`."""
        if self == INDEPENDENT:
            return f"{_OF_GRAIN} are brighter and darker together since crystals move; their noise is independent"
        return f"{_OF_GRAIN} scatter alike, which moves disks as {self.edge:.2g} times the noise would"


LEAST_GRAIN = 1.2
"""Variance of the place of a disk, over that of independent pixels, below which there is no grain: 10 % of sigma."""
_OF_GRAIN = "noise: neighbouring pixels"
INDEPENDENT = Grain()
"""That of pixels that scatter independently."""


@dataclass(frozen=True, repr=False)
class Calibration:
    """What was measured of the detector and the beam; none of it depends on a crystal.

    Attributes
    ----------
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)`` of every position, detector pixels, shape ``(ry, rx, 2)``; on a worker, which is given
        those of its block alone, shape ``(m, 2)``, and none before that.
    centre_sigma
        Standard deviation of the true centre about `centre`, pixels.
    disk_radius
        Radius of the direct beam's disk, pixels.
    ring
        Inner and outer radius of the part of the detector that is used, pixels from the beam centre.
    mean_pattern
        Average of the sampled patterns, shape ``(qy, qx)``, bad pixels filled.
    choices
        Every automatic choice as a sentence, for the log and the result file.
    pedestal
        Value in the file that stands for zero counts.
    beam_jump
        Distance of the centroid of a pattern's own direct disk from `centre`, pixels, beyond which the centroid is used
        instead.
    ceiling
        Value at which pixels stop counting, above `pedestal`; infinity where no pattern reaches it.
    grain
        What pixels that scatter alike do to the noise of disks.
    echo
        Variance of a mean over neighbouring positions over what it were if their noise was independent.
    first
        Flat index of the first position that `centre` holds.
    """

    good: BoolArray
    centre: FloatArray
    centre_sigma: float
    disk_radius: float
    ring: tuple[float, float]
    mean_pattern: FloatArray
    choices: tuple[str, ...] = ()
    pedestal: float = 0.0
    beam_jump: float = float("inf")
    ceiling: float = float("inf")
    grain: Grain = INDEPENDENT
    echo: float = 1.0
    first: int = 0

    def centres_at(self, positions: IntArray) -> FloatArray:
        """Beam centres ``(y, x)`` of some flat positions, pixels, shape ``(n, 2)``."""
        return self.centre.reshape(-1, 2)[positions - self.first]

    def centres_around(self, positions: IntArray, reach: int) -> Centres:
        """Beam centres of a block and of what lies within some rows and columns of it.

        Parameters
        ----------
        positions
            Flat positions of the block, ascending.
        reach
            Number of these rows and columns.
        """
        margin = reach * (self.centre.shape[1] + 1)
        first = max(0, int(positions[0]) - margin)
        return Centres(self.centre.reshape(-1, 2)[first : int(positions[-1]) + margin + 1], first)

    def with_grain(self, grain: Grain) -> Calibration:
        """The same with what was learned of the grain later."""
        choices = (each for each in self.choices if not each.startswith(_OF_GRAIN))
        return replace(self, grain=grain, choices=(*choices, grain.told))

    def with_centres(self, centres: Centres | None) -> Calibration:
        """The same with the beam centres of a part of the scan, or of none of it."""
        centre, first = centres or (np.empty((0, 2)), 0)
        return replace(self, centre=centre, first=first)

    def __repr__(self) -> str:
        return as_text("Calibration", [(name, text) for name, _, text in (one.partition(": ") for one in self.choices)])

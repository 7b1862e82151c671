"""Computed patterns with background, dose and shot noise, as a detector records them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.patterns import background as radial_background
from cyclestrain.simulation.sample import SimulatedScan
from cyclestrain.simulation.source import SimulatedPatterns

__all__ = ["record"]


@dataclass(frozen=True)
class _Recorded:
    """Computed patterns under a background and at a dose, as a source of expected counts for `SimulatedPatterns`."""

    acquisition: Acquisition
    patterns: NDArray[Any]

    def expected_row(self, row: int) -> NDArray[np.float32]:
        """Expected counts of one scan row, shape ``(rx, qy, qx)``."""
        own = self.acquisition
        smooth = np.stack([radial_background(own.detector, y, x) for y, x in own.centres()[row]])
        return np.asarray(
            own.counts * ((1 - own.background) * self.patterns[row] + own.background * smooth), np.float32
        )

    def largest_count(self) -> float:
        """Upper bound of the expected counts in a pixel."""
        return float(self.acquisition.counts * (self.patterns.max() + self.acquisition.background))


def record(computed: SimulatedScan, *, background: float, counts: float = 1e5, seed: int = 0) -> SimulatedScan:
    """Add a background and shot noise to computed patterns.

    Without background there is no shot noise either, as everywhere in `cyclestrain.simulation`.

    Parameters
    ----------
    computed
        Patterns that sum to at most 1, and their truth.
    background
        Share of the counts in the smooth background, 0 to 1.
    counts
        Electrons per pattern.
    seed
        Seed of the noise.
    """
    scan, attrs = computed.scan, computed.truth.attrs
    acquisition = Acquisition(
        scan=scan.scan_shape, detector=scan.detector_shape, background=background, counts=counts, seed=seed,
        lattice=str(attrs["lattice"]), spacing=float(attrs["spacing"]), radius=float(attrs["radius"]),
    )  # fmt: skip
    patterns = SimulatedPatterns(_Recorded(acquisition, scan.row_band(0, scan.scan_shape[0])))
    own = {"background": background, "counts": counts, "seed": seed, "noise_free": int(acquisition.is_noise_free)}
    return SimulatedScan(
        dataclasses.replace(scan, source=np.asarray(patterns)), computed.truth.assign_attrs(attrs | own)
    )

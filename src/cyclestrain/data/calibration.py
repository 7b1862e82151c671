"""What was measured of the detector and the beam."""

from __future__ import annotations

from dataclasses import dataclass

from cyclestrain.data.arrays import BoolArray, FloatArray

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """What was measured of the detector and the beam before any crystal is looked for.

    Attributes
    ----------
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    centre
        Beam centre ``(y, x)`` of every position, detector pixels, shape ``(ry, rx, 2)``.
    centre_sigma
        How far the true centre may be from `centre`, pixels.
    disk_radius
        Radius of the direct beam's disk, pixels.
    ring
        Inner and outer radius of the part of the detector that is used, pixels.
    mean_pattern
        Average of the sampled patterns, shape ``(qy, qx)``, bad pixels filled.
    choices
        Every automatic choice as a sentence, for the log and the result file.
    pedestal
        Level of the file's numbers from which counts are counted.
    beam_jump
        Distance from `centre`, pixels, from which the centroid of a pattern's own direct disk is believed instead.
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

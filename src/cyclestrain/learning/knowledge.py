"""All that is known before the first pattern is fitted for good, and what of it another scan can use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cyclestrain.data import Calibration
from cyclestrain.orientation import Templates
from cyclestrain.pattern import Dictionary

__all__ = ["Knowledge", "Material", "centre_prior", "describe"]


@dataclass(frozen=True)
class Knowledge:
    """All that is learned before the first pattern is fitted for good.

    `correlation_noise` is the standard deviation of the correlation of a pattern with the template of its class.
    """

    calibration: Calibration
    templates: Templates
    dictionary: Dictionary
    correlation_noise: float = 1.0


def centre_prior(calibration: Calibration) -> float:
    """Standard deviation of the beam centre that the fit is given, pixels."""
    return max(0.1, 3.0 * calibration.centre_sigma)


@dataclass(frozen=True)
class Material:
    """What was learned of a material and of how it was recorded: all that another scan of it needs but its network.

    Attributes
    ----------
    dictionary
        Entries, of maximum likelihood.
    templates
        Coarse templates, one for each entry, with the polar grid.
    ring
        Inner and outer radius of the part of the detector that is used, pixels.
    disk_radius
        Radius of the direct beam's disk, pixels.
    """

    dictionary: Dictionary
    templates: Templates
    ring: tuple[float, float]
    disk_radius: float


def describe(dictionary: Dictionary) -> list[str]:
    """A line for each entry, and one for the noise."""
    out = []
    for k, entry in enumerate(dictionary.entries):
        a, b = np.hypot(*entry.basis)
        out.append(
            f"entry {k}: {len(entry.indices)} reflections, lattice {a:.2f} x {b:.2f} px, "
            f"symmetry {entry.symmetry}-fold, disk radius {entry.probe.radius:.2f} px"
        )
    out.append(f"noise: variance = {dictionary.noise_scale:.3g} x mean")
    return out

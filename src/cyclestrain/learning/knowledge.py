"""What is learned from a scan, and the part of it that other scans can use."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cyclestrain.data import Calibration, Centres
from cyclestrain.learning.plausibility import Plausibility
from cyclestrain.orientation import Templates
from cyclestrain.pattern import Dictionary

__all__ = ["Knowledge", "Material", "centre_prior", "describe"]


@dataclass(frozen=True)
class Knowledge:
    """Everything that is learned of a scan before its patterns are fitted.

    `correlation_noise` is the standard deviation, by noise, of the correlation of a pattern with the template of its
    class; `pixel_noise` the variance over mean of a pixel, measured without a model, NaN where it is not known.
    """

    calibration: Calibration
    templates: Templates
    dictionary: Dictionary
    correlation_noise: float = 1.0
    pixel_noise: float = float("nan")

    def with_centres(self, centres: Centres | None) -> Knowledge:
        """The same with the beam centres of a block alone, or of none: what all blocks need."""
        return replace(self, calibration=self.calibration.with_centres(centres))

    @property
    def doubts(self) -> dict[int, str]:
        """What is unlike a crystal in an entry, in words, for every entry with such a fault."""
        misfit = self.dictionary.noise_scale / self.pixel_noise
        found = [Plausibility.of(entry, self.calibration, misfit).faults for entry in self.dictionary.entries]
        return {k: "; ".join(faults) for k, faults in enumerate(found) if faults}


def centre_prior(calibration: Calibration) -> float:
    """Standard deviation of the beam centre in the prior of the fits, pixels."""
    return max(0.1, 3.0 * calibration.centre_sigma)


@dataclass(frozen=True)
class Material:
    """What was learned of a material and of its recording: all that another scan of it needs, except the network.

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
    """Text lines for the log: one for each entry, and one for the noise."""
    out = []
    for k, entry in enumerate(dictionary.entries):
        a, b = np.hypot(*entry.basis)
        out.append(
            f"entry {k}: {len(entry.indices)} reflections, lattice {a:.2f} x {b:.2f} px, "
            f"symmetry {entry.symmetry}-fold, disk radius {entry.probe.radius:.2f} px"
        )
    out.append(f"noise: variance = {dictionary.noise_scale:.3g} x mean")
    return out

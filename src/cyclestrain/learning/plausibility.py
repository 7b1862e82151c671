"""Whether what was learned is a crystal seen by an aperture: spots at any places also give an entry."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from cyclestrain.calibration import Sample, mean_and_noise, neighbouring_pairs
from cyclestrain.data import BoolArray, Calibration
from cyclestrain.pattern import Entry

__all__ = ["Plausibility", "Unlearned", "counting_noise"]

INDEXED = 0.7
"""Least share of the intensity that lies on nodes of the lattice.

Measured: 0.11 to 0.62 on spots at random places, 1.00 on all crystals (superstructures, centred cells, one-sided ones).
"""
CERTAIN, OVERDETERMINED = 0.9, 6
"""Share of the intensity and number of the reflections on nodes that no chance explains, whatever else is missing."""
PAIRED, PAIRED_CERTAIN, LEAST_PAIRS = 0.6, 0.2, 3
"""Least share of the reflections that have a partner across the beam, of at least so many whose partner can be seen.

The second is asked for where the lattice is beyond chance. Measured: 0 to 0.5 on spots at random places, 0 on the edges
of bands that a dense lattice indexes whole, 0.76 to 1.00 on crystals, 0.38 to 0.56 on crystals tilted off their zone.
"""
SIZE, SIZE_PIXELS = 1.4, 1.0
"""Largest ratio, either way, and difference (pixels) between the radii of the learned disk and of the direct beam's.

Both have to be exceeded. Measured: at most 1.19 on crystals of round disks. A saturated beam looks up to 2.8 times as
large as the spots (recorded MoO3), so that this is no doubt by itself.
"""
MISFIT, MISFIT_OF_ODD = 2.5, 1.5
"""Largest ratio between the scatter of the patterns about the model and their noise, and where the disks are odd.

Measured: 0.94 to 1.23 on crystals of round disks, 3.1 and more on disks that overlap, on crosses and on false lattices;
1.0 on round rings that are seen whole, 1.7 and more where they are not.
"""
OVERLAP = 1.02
"""Diameter of the disks, in units of their distance, from which the light of one is taken for its neighbour's.

Measured on disks of 5 and 7 px at 25 % background: with a ratio of 1.0 and 1.05 they are right within their sigma, with
one of 1.12 the error was 1.6 sigmas.
"""

LEAST_SPACING = 3.0
"""Distance of reflections, pixels, below which there is no room for disks and what lies between them."""
SUMMED, INTERFERING = 1.05, 1.25
"""Largest such ratio without a doubt, and with which it is kept, of an entry whose disks overlap.

Measured: at most 1.01 where light adds up; where amplitudes do (full interference), 1.31 with an overlap of 30 %, at
errors of five sigmas, and 1.23 with one of a ninth, at errors of 1.3.
"""
MISFIT_OF_UNLIKE, CROWDED = 1.25, 0.6
"""Largest misfit of disks unlike the beam's where the beam's would overlap, and crowding from which `MISFIT` refuses.

Measured where rings of overlapping bullseyes cross, or every second one is left out: misfits of 1.4, and of 2.5 to 148
with a crowding of .65 and more. Of 80 scans that were right none had such disks, and none a misfit above 1.15.
"""
TOUCHED = 0.1
"""Largest share of the light into whose windows a second crystal may reach without a doubt."""
NOISE_PAIRS, NOISELESS = 64, 1e-4
"""Most pairs of positions on which the noise is measured, and the relative variance below which there is none."""
ALIKE = 0.5
"""Share of these pairs, those that differ least, that count."""


class Unlearned(Enum):
    """Why no entry could be learned from patterns."""

    NO_LATTICE = "the averaged pattern shows no lattice of reflections"
    NO_CRYSTAL = "the averaged pattern shows spots that lie on no lattice"
    NO_DISK = (
        "what lies at the reflections is no disk: the probe is patterned, the disks overlap, or a thick crystal fills "
        "them with contrast"
    )


@dataclass(frozen=True)
class Plausibility:
    """How much an entry is like a crystal: a few shares that spots at any places do not have.

    Attributes
    ----------
    indexed
        Share of the intensity that lies on nodes of the lattice.
    nodes
        Number of reflections on nodes.
    paired
        Share of the reflections, of those whose partner across the beam can be seen, that have one; NaN where there are
        too few.
    radius, beam_radius
        Radius of the learned disk and of the direct beam's, pixels.
    misfit
        Scatter of the patterns about the model over the noise of a pixel, NaN where that is not known.
    has_rim, is_flat
        Whether the disks end within their window, and whether they are flat inside, see `Probe`.
    spacing
        Least distance of the nodes of the lattice, pixels; infinite where light of several disks in a pixel is shared
        between them.
    overlaps
        Whether it is.
    touched
        Share of the light in reflections into whose windows disks of a second crystal reach, which lies above or below.
    """

    indexed: float
    nodes: int
    paired: float
    radius: float
    beam_radius: float
    misfit: float
    has_rim: bool
    is_flat: bool
    spacing: float = np.inf
    overlaps: bool = False
    touched: float = 0.0

    @classmethod
    def of(cls, entry: Entry, calibration: Calibration, misfit: float = np.nan) -> Plausibility:
        """Measure it on an entry.

        Parameters
        ----------
        entry
            What was learned.
        calibration
            Radius of the direct beam's disk.
        misfit
            Scatter of the patterns about the model over the noise of a pixel.
        """
        on_lattice = np.isfinite(entry.indices).all(1)
        middle = entry.average.shape[0] // 2
        opposite = np.clip(np.rint(middle - entry.reflections).astype(int), 0, entry.average.shape[0] - 1)
        seen = entry.average[tuple(opposite.T)] > 0  # zero where no pattern reached
        apart = np.linalg.norm(entry.reflections[:, None] + entry.reflections, axis=-1).min(1)
        pairs = apart[seen] < max(1.5, 0.4 * entry.probe.radius)
        return cls(
            indexed=float(entry.intensity[on_lattice].sum() / entry.intensity.sum()),
            nodes=int(on_lattice.sum()),
            paired=float(pairs.mean()) if len(pairs) >= LEAST_PAIRS else np.nan,
            radius=entry.probe.radius,
            beam_radius=calibration.disk_radius,
            misfit=misfit,
            has_rim=entry.probe.falls_off,
            is_flat=entry.probe.is_flat,
            spacing=np.inf if entry.overlaps else float(np.hypot(*entry.basis).min()),
            overlaps=entry.overlaps,
            touched=float(entry.intensity[entry.touched].sum() / entry.intensity.sum()),
        )

    @property
    def certain(self) -> bool:
        """Whether so many reflections lie on the lattice that it is beyond chance."""
        return self.indexed >= CERTAIN and self.nodes >= OVERDETERMINED

    @property
    def fits_beam(self) -> bool:
        """Whether the disks are about as large as the direct beam's."""
        alike = 1 / SIZE < self.radius / self.beam_radius < SIZE
        return alike or abs(self.radius - self.beam_radius) < SIZE_PIXELS

    @property
    def disks_overlap(self) -> bool:
        """Whether the disks, or one of the direct beam's size, are wider than the lattice."""
        return self.crowding > OVERLAP

    @property
    def crowding(self) -> float:
        """Diameter of the disks, or of one of the direct beam's size, in units of the lattice's spacing."""
        return self._diameter / self.spacing

    @property
    def gap(self) -> float:
        """Distance between the edges of such disks on neighbouring nodes, pixels, below zero where they overlap."""
        return self.spacing - self._diameter

    @property
    def _diameter(self) -> float:
        return 2.0 * max(self.radius, self.beam_radius)

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """What is unlike a crystal, in words."""
        found = {
            f"only {100 * self.indexed:.0f} % of the intensity lies on its lattice": self.indexed < INDEXED,
            f"only {100 * np.nan_to_num(self.paired):.0f} % of its reflections have a partner across the beam": (
                self.paired < (PAIRED_CERTAIN if self.certain else PAIRED)
            ),
            f"patterns scatter about it {self.misfit:.1f} times as much as their noise": self.misfit > MISFIT,
            "its disks overlap, and the light of two in a pixel is not shared between them": self.disks_overlap,
            "its disks overlap, and patterns scatter about the sum of their light: do they interfere?": (
                self.overlaps and self.misfit > SUMMED
            ),
            f"a second crystal lies above or below it, whose disks reach into windows of {100 * self.touched:.0f} % of "
            "its light": self.touched > TOUCHED,
        }
        return tuple(text for text, wrong in found.items() if wrong)

    @property
    def refusal(self) -> Unlearned | None:
        """Why the entry is not kept, None where it is: two faults that together exclude a crystal or a disk."""
        if self.indexed < INDEXED and (self.paired < PAIRED or not self.fits_beam):
            return Unlearned.NO_CRYSTAL
        odd = not self.is_flat or not self.fits_beam
        if self.spacing < LEAST_SPACING or (not self.fits_beam and self.spacing < self.beam_radius):
            # spots where the rings of patterned disks cross, or large disks overlap
            return Unlearned.NO_DISK
        if self.overlaps and self.misfit > INTERFERING:
            return Unlearned.NO_DISK
        if self.misfit > MISFIT and self.crowding > CROWDED:
            return Unlearned.NO_DISK
        if self.disks_overlap and not self.fits_beam and self.misfit > MISFIT_OF_UNLIKE:
            return Unlearned.NO_DISK
        if not self.has_rim or (odd and self.misfit > MISFIT_OF_ODD) or not (self.is_flat or self.fits_beam):
            return Unlearned.NO_DISK
        return None


def counting_noise(sample: Sample, seen: BoolArray) -> float:
    """Variance over mean of the darker pixels, from pairs of neighbouring positions; NaN where there is no such noise.

    Parameters
    ----------
    sample
        Patterns.
    seen
        Detector pixels to use, shape ``(qy, qx)``.
    """
    pairs = neighbouring_pairs(sample.rows, sample.columns, NOISE_PAIRS)
    if not len(pairs) or not seen.any():
        return float("nan")
    mean, variance = mean_and_noise(sample.patterns, pairs, ALIKE, seen)
    if not (mean > 0).any():
        return float("nan")
    dark = (mean > 0) & (mean <= np.median(mean[mean > 0]))
    if variance[dark].sum() <= NOISELESS * (mean[dark] ** 2).sum():
        return float("nan")
    return float(variance[dark].sum() / mean[dark].sum())

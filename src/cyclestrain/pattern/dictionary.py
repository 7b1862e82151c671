"""The dictionary: averaged patterns ("entries"), each a set of reflections that share one probe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from cyclestrain.data import INDEPENDENT, BoolArray, FloatArray, Grain
from cyclestrain.pattern.disk_images import NO_IMAGES, DiskImages
from cyclestrain.pattern.labelling import turned_intensities
from cyclestrain.pattern.probe import Probe

__all__ = ["Dictionary", "Entry", "Priors"]

N_SPREADS = 9
"""Number of widths of each reflection, see `Priors`."""
WIDTHS = np.array([0, 1, 2, 3, 5, 5, 6, 7, 7, 8, 8, 8, 8])
"""Column of the width of each deviation: intensity, level, slopes y and x; contrast: slopes, bowl, saddles, cubic."""
FIRST_CONTRAST = 5
"""Column of the first width of the contrast inside the disks."""
BESIDE_BEAM = 1.5
"""Distance of a window from the radius of the direct beam from which it holds none of its light, pixels."""
DARKEST = 0.05
"""Least background of a pattern, in units of the entry's."""
STRONG_CONTRAST = 0.1
"""Width of the contrast of the typical reflection from which fits take many steps: weaker ones are found in flat disks
by chance, and many steps then follow the noise of faint patterns."""


@dataclass(frozen=True)
class Priors:
    """Standard deviations of single reflections from the entry in one pattern; learned, zero where nothing deviates.

    Attributes
    ----------
    spread
        Standard deviations of a reflection's intensity (relative to its mean), of its background level (relative), of
        the background's slope in y and x (relative, from the window's centre to its edge), of its position (pixels),
        and of the contrast inside its disk (relative, from the middle to the edge): slope, bowl, saddle and third
        order. Shape ``(reflection, 9)``.
    coherence
        Part of the variance of contrast along the direction from the beam that all disks of a pattern have in common
        and that changes from pattern to pattern, 0 where each disk is its own. In a thick crystal the excitation
        error grows along that direction in every disk, so that thickness moves them all outwards or inwards: no
        residual shows that, it looks like strain.
    common_shift
        Standard deviation of what moves all disks of a pattern outwards or inwards together, pixels: contrast that
        nothing of the above describes, 0 where none is seen.
    """

    spread: FloatArray
    coherence: float = 0.0
    common_shift: float = 0.0

    def __post_init__(self) -> None:
        missing = N_SPREADS - self.spread.shape[1]
        if missing > 0:  # learned before contrast of third order was
            object.__setattr__(self, "spread", np.pad(self.spread, ((0, 0), (0, missing))))

    @property
    def of_deviations(self) -> FloatArray:
        """Width of every fitted deviation of each reflection, see `PatternFit.local`, shape ``(reflection, 13)``."""
        return self.spread[:, WIDTHS]

    @property
    def wander(self) -> FloatArray:
        """Standard deviation of each reflection's position, pixels, shape ``(reflection,)``."""
        return self.spread[:, 4]

    @property
    def is_even(self) -> bool:
        """Whether all disks are alike inside and where the lattice has them: no contrast, no wandering."""
        return not self.spread[:, FIRST_CONTRAST - 1 :].any()

    @property
    def without_contrast(self) -> Priors:
        """The same without contrast inside the disks, and without the wandering of positions that it causes."""
        spread = self.spread.copy()
        spread[:, FIRST_CONTRAST - 1 :] = 0.0
        return Priors(spread)

    @property
    def on_even_background(self) -> Priors:
        """The same without deviations of the background from its radial profile."""
        spread = self.spread.copy()
        spread[:, 1:4] = 0.0
        return replace(self, spread=spread)

    @classmethod
    def none(cls, n_reflections: int) -> Priors:
        """Priors of an entry from which no pattern deviates, all zero."""
        return cls(np.zeros((n_reflections, N_SPREADS)))


@dataclass(frozen=True, repr=False)
class Entry:
    """One averaged pattern: its reflections, probe and background, and how much single patterns deviate.

    Attributes
    ----------
    reflections
        Positions ``(y, x)`` relative to the beam centre, pixels, shape ``(reflection, 2)``.
    intensity
        Mean counts in each disk, shape ``(reflection,)``.
    basis
        Reciprocal-lattice vectors ``(y, x)`` as columns, pixels, shape ``(2, 2)``.
    indices
        Integer indices of the reflections in `basis`, shape ``(reflection, 2)``; NaN for reflections off the lattice.
    operators
        Affine maps of the lattice onto itself that are (nearly) rotations and keep the intensities, identity first,
        shape ``(order, 2, 2)``.
    background
        Radial profile of the background about the beam centre, counts per pixel at 0, 1, 2, ... pixels.
    film
        Second profile, of the same shape, of which patterns hold more or less: that of an amorphous film whose
        thickness varies, say. Patterns hold none of it in the mean, and about once of it more or less. Empty where the
        background of all patterns has one shape.
    blur
        How much the edge of all disks differs from pattern to pattern: standard deviation of the variance of a Gaussian
        blur about the probe, pixels squared, zero where it does not.
    probe
        Disk shape that all reflections share.
    priors
        Standard deviations of single patterns from the entry.
    average
        Average of the patterns in the entry's frame, centred, for inspection, shape ``(2 size + 1, 2 size + 1)``.
    grain
        What pixels that scatter alike do to the noise of its disks.
    annulus
        Inner and outer distance from the beam, pixels, of the pixels that are compared where disks overlap and all that
        reach a pixel are fitted together; None where every disk has a window of its own.
    disks
        What each disk shows in all patterns beyond the probe.
    second
        Lattice of a second crystal that lies above or below in all patterns and moves on its own: vectors as columns,
        pixels, shape ``(2, 2)``. Empty where there is none.
    """

    reflections: FloatArray
    intensity: FloatArray
    basis: FloatArray
    indices: FloatArray
    operators: FloatArray
    background: FloatArray
    probe: Probe
    priors: Priors
    average: FloatArray
    grain: Grain = INDEPENDENT
    annulus: tuple[float, float] | None = None
    disks: DiskImages = NO_IMAGES
    film: FloatArray = field(default_factory=lambda: np.zeros(0))
    blur: float = 0.0
    second: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        if len(self.disks) not in (0, len(self.reflections)):  # compiled loops trust it
            raise ValueError(f"{len(self.disks)} images for the disks of {len(self.reflections)} reflections")
        if len(self.film) not in (0, len(self.background)):
            raise ValueError(f"a film of {len(self.film)} px beside a background of {len(self.background)} px")

    def __repr__(self) -> str:
        a, b = np.hypot(*self.basis)
        return (
            f"Entry({len(self.reflections)} reflections, lattice {a:.2f} x {b:.2f} px, symmetry {self.symmetry}-fold, "
            f"disk radius {self.probe.radius:.2f} px)"
        )

    @property
    def symmetry(self) -> int:
        """Order of the rotational symmetry: 1, 2, 3, 4 or 6."""
        return len(self.operators)

    @cached_property
    def turned_intensities(self) -> FloatArray:
        """Intensity that each reflection has in every labelling, see `cyclestrain.pattern.labelling`."""
        return turned_intensities(self.reflections, self.intensity, self.operators)

    @property
    def overlaps(self) -> bool:
        """Whether its disks overlap, and are fitted together."""
        return self.annulus is not None

    @property
    def variance_floor(self) -> float:
        """Least variance of a pixel, counts: 1 % of a typical disk's peak, so that empty pixels cannot dominate."""
        return 0.01 * float(np.median(self.intensity)) * float(self.probe.values.max())

    @property
    def has_film(self) -> bool:
        """Whether the shape of the background varies from pattern to pattern."""
        return len(self.film) > 0

    def backgrounds(self, film: FloatArray) -> FloatArray:
        """Radial background of patterns, counts per pixel at a level of one, shape ``(n, radius)``.

        Parameters
        ----------
        film
            How much each holds of the `film`, shape ``(n,)``; where the entry has none, there is one profile for all.
        """
        if not self.has_film:
            return self.background[None]
        return np.maximum(self.background + film[:, None] * self.film, DARKEST * self.background)

    @property
    def has_free_intensities(self) -> bool:
        """Whether most of the light varies from pattern to pattern independently in each reflection."""
        return self._of_most_light(self.priors.spread[:, 0]) > 0

    @property
    def has_contrast(self) -> bool:
        """Whether disks differ inside from pattern to pattern by so much that it misleads a fit of few steps."""
        return self.contrast > STRONG_CONTRAST

    @property
    def contrast(self) -> float:
        """Width of the contrast inside disks, from pattern to pattern, that half of the light exceeds."""
        return self._of_most_light(self.priors.spread[:, FIRST_CONTRAST:].max(1, initial=0.0))

    def _of_most_light(self, width: FloatArray) -> float:
        """Width that half of the light exceeds: bright reflections fix a pattern, and in faint ones nothing is seen."""
        order = np.argsort(width)
        light = np.cumsum(self.intensity[order])
        return float(width[order][np.searchsorted(light, 0.5 * light[-1])]) if len(order) else 0.0

    @property
    def without_contrast(self) -> Entry:
        """The entry with disks that are flat inside in every pattern."""
        spread = self.priors.spread.copy()
        spread[:, FIRST_CONTRAST:] = 0.0
        return replace(self, priors=Priors(spread))

    def clear_of_beam(self, affine: FloatArray) -> Entry:
        """The entry without reflections whose windows hold a part of a direct beam that is not round.

        The background is the same all around the beam, and what is taken for it would hold these disks where they are.
        It keeps them where less than half of the light would be left.

        Parameters
        ----------
        affine
            Affines from the entry to patterns, shape ``(n, 2, 2)``.
        """
        if not self.probe.is_image or self.overlaps:
            return self
        distance = np.median(np.linalg.norm(self.reflections @ affine.swapaxes(-1, -2), axis=-1), axis=0)
        clear = distance > self.probe.half + self.probe.radius + BESIDE_BEAM
        if clear.all() or self.intensity[clear].sum() < 0.5 * self.intensity.sum():
            return self
        return self.only(clear)

    @property
    def from_second(self) -> FloatArray:
        """Distance of every reflection from the nearest disk of a second crystal, pixels, infinite without one."""
        if not self.second.size:
            return np.full(len(self.reflections), np.inf)
        node = np.rint(self.reflections @ np.linalg.inv(self.second).T)
        around = node[:, None] + np.stack(np.meshgrid(*[[-1, 0, 1]] * 2, indexing="ij"), -1).reshape(-1, 2)
        distance = np.linalg.norm(self.reflections[:, None] - around @ self.second.T, axis=-1)
        distance[(around == 0).all(-1)] = np.inf  # the direct beam is that of both
        return np.asarray(distance.min(1))

    @property
    def touched(self) -> BoolArray:
        """Reflections whose windows disks of a second crystal reach into, shape ``(reflection,)``."""
        return np.asarray(self.from_second < self.probe.half + self.probe.radius)

    def farther_from_beam(self, distance: float) -> Entry:
        """The entry compared only with pixels so much farther from the beam, where disks overlap; else the same."""
        if self.annulus is None:
            return self
        return replace(self, annulus=(self.annulus[0] + distance, self.annulus[1]))

    def only(self, keep: FloatArray | BoolArray) -> Entry:
        """The entry with some of its reflections, `keep` being a mask or indices."""
        return replace(
            self,
            reflections=self.reflections[keep],
            intensity=self.intensity[keep],
            indices=self.indices[keep],
            priors=replace(self.priors, spread=self.priors.spread[keep]),
            disks=self.disks.only(keep),
        )


@dataclass(frozen=True)
class Dictionary:
    """All entries of a scan.

    Attributes
    ----------
    entries
        One entry for each class of crystal.
    noise_scale
        Variance of a pixel divided by its mean: 1 for counted electrons, the gain for other detectors.
    """

    entries: tuple[Entry, ...]
    noise_scale: float

"""The probe: the one disk shape (image of the aperture) that all reflections share.

It is learned on a grid finer than the detector, because its edge, about a pixel wide, carries the position of a
reflection: blurring it loses precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray
from cyclestrain.pattern.disk import fit_edge, mean_profile, pixelated_disk

__all__ = ["Probe", "disk_profile"]

VECTOR = 16
"""Float32 values that the widest vector registers hold; the compared pixels are padded to a multiple of it."""
THINNING = 4
"""Of so many nodes one is kept of a probe that is blurred by at least a pixel."""
PLATEAU = 0.75
"""Part of the radius within which a disk is flat: a Gaussian spot falls to 0.68 of its height there."""
DEEPEST = 0.5
"""Least value of the profile there, relative to its maximum, that contrast leaves in a disk."""


@dataclass(frozen=True, repr=False)
class Probe:
    """Super-resolved disk shape.

    Attributes
    ----------
    values
        Counts that a detector pixel receives from a disk of unit total intensity at that offset from it, shape ``(2 m +
        1, 2 m + 1)``, centred, spacing ``1 / oversampling`` detector pixels.
    oversampling
        Nodes per detector pixel, an even number.
    half
        Reach of the windows in which the probe is compared with data, pixels from the nearest pixel.
    is_image
        Whether it was learned or recorded as an image, and not from a radial profile.
    """

    values: NDArray[np.float64]
    oversampling: int
    half: int
    is_image: bool = False

    def __repr__(self) -> str:
        return f"Probe(radius {self.radius:.2f} px, {self.oversampling} values per pixel)"

    @cached_property
    def radius(self) -> float:
        """Radius in detector pixels at which the azimuthal mean falls to half of its maximum.

        Of an image that is not round, the same of the brightest direction. That of the table where it does not fall
        that far within it, see `falls_off`.
        """
        profile = self._brightest if self.is_image else self.profile
        half = 0.5 * float(profile.max())
        last = int(np.flatnonzero(profile >= half)[-1])
        if last == len(profile) - 1:
            return last / self.oversampling
        upper, lower = profile[last], profile[last + 1]
        return float((last + (upper - half) / (upper - lower)) / self.oversampling)

    @property
    def _brightest(self) -> NDArray[np.float64]:
        """Largest value at radii ``0, 1, 2, ... / oversampling`` pixels."""
        ring = self._ring
        out = np.full(ring.max() + 1, -np.inf)
        np.maximum.at(out, ring.ravel(), self.values.ravel())
        return out[: self.values.shape[0] // 2 + 1]

    @property
    def _ring(self) -> NDArray[np.int64]:
        """Distance of every node from the middle, rounded to nodes, shape as `values`."""
        m = self.values.shape[0] // 2
        y, x = np.mgrid[-m : m + 1, -m : m + 1]
        return np.rint(np.hypot(y, x)).astype(np.int64)

    @property
    def falls_off(self) -> bool:
        """Whether the profile falls to half of its maximum within the window, as that of every aperture does."""
        return self.radius < self.half

    @property
    def has_plateau(self) -> bool:
        """Whether the profile is bright all over its inside, without dark rings or a hole."""
        inside = self.profile[: max(1, int(PLATEAU * self.radius * self.oversampling))]
        return bool(inside.min() > DEEPEST * self.profile.max())

    @property
    def is_flat(self) -> bool:
        """Whether nothing speaks against what it was taken for: dark rings are those of an image taken as round."""
        return self.is_image or self.has_plateau

    @property
    def roughness(self) -> float:
        """Deviation (root mean square) from the mean over all directions, relative to the probe's own."""
        round_ = self.profile[np.minimum(self._ring, self.values.shape[0] // 2)]
        return float(np.sqrt(((self.values - round_) ** 2).sum() / (self.values**2).sum()))

    @cached_property
    def profile(self) -> NDArray[np.float64]:
        """Azimuthal mean at radii ``0, 1, 2, ... / oversampling`` pixels."""
        r = self._ring.ravel()
        return (np.bincount(r, self.values.ravel()) / np.bincount(r))[: self.values.shape[0] // 2 + 1]

    def reach(self, part: float) -> float:
        """Radius within which a part of its light lies, pixels."""
        light = np.cumsum(np.bincount(self._ring.ravel(), self.values.ravel()))
        return float(np.argmax(light >= part * light[-1])) / self.oversampling

    @classmethod
    def from_profile(cls, profile: FloatArray, oversampling: int, half: int) -> Probe:
        """Round probe on square pixels, of unit total intensity, from its radial profile.

        Parameters
        ----------
        profile
            Radial profile at ``0, 1, 2, ... / oversampling`` pixels.
        oversampling, half
            As in `Probe`.
        """
        m = (half + 2) * oversampling
        radius, edge, height = fit_edge(profile, oversampling)
        values = height * pixelated_disk(radius, edge, oversampling, m)
        rest = profile - mean_profile(values, len(profile))
        y, x = np.mgrid[-m : m + 1, -m : m + 1]
        values += np.interp(np.hypot(y, x), np.arange(len(profile)), rest, right=0.0)
        return cls(values * (oversampling**2 / values.sum()), oversampling, half)

    def resized(self, half: int) -> Probe:
        """The probe for windows that reach `half` pixels."""
        m, wanted = self.values.shape[0] // 2, (half + 2) * self.oversampling
        values = np.pad(self.values, max(0, wanted - m))
        crop = values.shape[0] // 2 - wanted
        values = values[crop : crop + 2 * wanted + 1, crop : crop + 2 * wanted + 1]
        return replace(self, values=values * (self.oversampling**2 / values.sum()), half=half)

    @cached_property
    def _blurred(self) -> dict[tuple[float, int], Probe]:
        """Probes that `blurred` made before: every block of a scan needs the same ones."""
        return {}

    def blurred(self, sigma: float, half: int) -> Probe:
        """The probe after a Gaussian blur, for windows of another size, on a grid that is as coarse as it allows.

        Fine tables of large windows do not stay in the processor's cache, which takes longer than the fit itself.

        Parameters
        ----------
        sigma
            Standard deviation of the blur, detector pixels.
        half
            Reach of the windows, pixels.
        """
        if (sigma, half) not in self._blurred:
            self._blurred[sigma, half] = self._blur(sigma, half)
        return self._blurred[sigma, half]

    def _blur(self, sigma: float, half: int) -> Probe:
        m, wanted = self.values.shape[0] // 2, (half + 2) * self.oversampling
        values = _gaussian(np.pad(self.values, max(0, wanted - m)), sigma * self.oversampling)
        crop = values.shape[0] // 2 - wanted
        coarse = THINNING if sigma >= 1.0 and self.oversampling % (2 * THINNING) == 0 else 1
        values = values[crop : crop + 2 * wanted + 1 : coarse, crop : crop + 2 * wanted + 1 : coarse]
        return replace(self, values=values, half=half, oversampling=self.oversampling // coarse)

    def softened(self, variance: float) -> Probe:
        """The probe after a Gaussian blur, or about as much sharper than it is.

        Parameters
        ----------
        variance
            Of the blur, pixels squared; below zero for a sharper probe.
        """
        if variance == 0:
            return self
        sigma = np.sqrt(abs(variance)) * self.oversampling
        values = _gaussian(self.values, sigma)
        if variance < 0:  # the inverse of a blur to third order: of 1 + D it is 1 - D + D^2
            values = 3.0 * (self.values - values) + _gaussian(self.values, np.sqrt(2.0) * sigma)
        return replace(self, values=values * (self.oversampling**2 / values.sum()))

    @cached_property
    def _softer(self) -> dict[tuple[float, ...], NDArray[np.float32]]:
        """Tables that `compared_softened` made before."""
        return {}

    def compared_softened(self, variances: FloatArray) -> NDArray[np.float32]:
        """Tables of `compared` for probes that are `softened`, shape ``(variance, phase, phase, 3 * pixel)``."""
        key = tuple(variances.tolist())
        if key not in self._softer:
            self._softer[key] = np.stack([self.softened(each).compared[0] for each in key])
        return self._softer[key]

    @cached_property
    def tables(self) -> NDArray[np.float32]:
        """Polyphase tables, shape ``(3, phase_y, phase_x, size, size)``.

        The probe, and its derivatives with respect to the disk's position in y and x, at the pixels of a window
        whose disk sits ``phase / oversampling - 1/2`` pixels off the central pixel. Within a window the sub-pixel
        phase is constant, so the probe anywhere is a weighted sum of four contiguous windows.
        """
        s, h = self.oversampling, self.half
        m = self.values.shape[0] // 2
        dy = -np.gradient(self.values, axis=0) * s
        dx = -np.gradient(self.values, axis=1) * s
        phases = np.arange(s + 1) - s // 2
        rows = m + np.arange(-h, h + 1)[None, :] * s - phases[:, None]  # (phase, size)
        out = np.empty((3, s + 1, s + 1, 2 * h + 1, 2 * h + 1), np.float32)
        for k, image in enumerate((self.values, dy, dx)):
            out[k] = image[rows[:, None, :, None], rows[None, :, None, :]]
        return out

    @cached_property
    def squares(self) -> NDArray[np.float32]:
        """The same with all pixels of a window in one row, shape ``(phase_y, phase_x, 3, size * size)``."""
        tables = self.tables
        return np.ascontiguousarray(np.moveaxis(tables, 0, 2)).reshape(*tables.shape[1:3], 3, -1)

    @cached_property
    def support(self) -> NDArray[np.float32]:
        """Round window in which pixels are compared, shape ``(2 half + 1, 2 half + 1)``, ones and zeros."""
        y, x = np.mgrid[-self.half : self.half + 1, -self.half : self.half + 1]
        return (np.hypot(y, x) <= self.half + 0.3).astype(np.float32)

    @cached_property
    def compared(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Tables at the pixels of `support` only, and the places of these pixels.

        Returns
        -------
        tables
            Shape ``(phase, phase, 3 * pixel)``: the probe and its derivatives.
        grid
            Offsets (y, x) from the window's middle in pixels and in half widths, and 1 for a pixel, 0 for padding up
            to whole vector registers, shape ``(5, pixel)``.
        """
        y, x = np.nonzero(self.support)
        n, padded = len(y), -(-len(y) // VECTOR) * VECTOR
        grid = np.zeros((5, padded), np.float32)
        grid[0, :n], grid[1, :n], grid[4, :n] = y - self.half, x - self.half, 1.0
        grid[2:4] = grid[:2] / max(self.half, 1)
        tables = np.zeros((*self.tables.shape[1:3], 3, padded), np.float32)
        tables[..., :n] = np.moveaxis(self.tables[..., y, x], 0, 2)
        return tables.reshape(*tables.shape[:2], -1), grid


def _gaussian(values: FloatArray, sigma: float) -> NDArray[np.float64]:
    """Values blurred, dark around them; SciPy's filters are loaded where they are needed."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(values, sigma, mode="constant"), float)


def disk_profile(radius: float, edge: float, oversampling: int, length: float) -> NDArray[np.float64]:
    """Radial profile of a flat disk with a soft edge, at ``0, 1, 2, ... / oversampling`` pixels.

    Parameters
    ----------
    radius
        Radius of the disk, pixels.
    edge
        Width of its edge, pixels.
    oversampling
        Values per pixel.
    length
        Largest radius (excluded), pixels.
    """
    r = np.arange(0.0, length, 1.0 / oversampling)
    return 0.5 * (1.0 - np.tanh((r - radius) / (0.5 * edge)))

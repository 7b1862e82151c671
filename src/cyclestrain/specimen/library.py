"""Intensities of the reflections of a known crystal over thickness, tilt and polar displacement, smooth in between.

Plane waves are computed on a grid of directions (`cyclestrain.specimen.bloch`), averaged over the aperture, and
interpolated by cubic splines. A library is kept in the user's cache folder under a hash of all that it depends on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.errors import OutputError
from cyclestrain.files import write_whole
from cyclestrain.specimen.bloch import intensities, taking_part
from cyclestrain.specimen.structure import Zone

__all__ = ["Axes", "Library", "aperture_nodes", "cache_folder"]

FORMAT = 6
"""Raised where what is computed changes, so that libraries of earlier versions are not read."""
TRUSTED = 0.75
"""Length, in units of the longest beam that takes part, up to which intensities do not miss the beams beyond."""
APERTURE_RINGS = 4
"""Rings of directions whose weighted mean is that over the aperture: exact to degree ``4 rings - 1``."""


@dataclass(frozen=True)
class Axes:
    """What a library is computed over.

    Attributes
    ----------
    thickness
        Least, largest and step, nm.
    tilt
        Largest tilt along each axis, and step, radians.
    displacement
        Polar displacements, in units of that of the structure; one 0 for a crystal that has none.
    """

    thickness: tuple[float, float, float] = (4.0, 80.0, 1.0)
    tilt: tuple[float, float] = (7e-3, 0.5e-3)
    displacement: tuple[float, ...] = (0.0,)

    @property
    def is_polar(self) -> bool:
        """Whether displacements are one of the axes."""
        return len(self.displacement) > 1

    @property
    def thicknesses(self) -> FloatArray:
        """All thicknesses, nm."""
        least, largest, step = self.thickness
        return least + step * np.arange(round((largest - least) / step) + 1)

    def tilts(self, beyond: float = 0.0) -> FloatArray:
        """All tilts along one axis, radians, symmetric about 0, to at least `beyond` the largest."""
        largest, step = self.tilt
        n = int(np.ceil((largest + beyond) / step - 1e-9))
        return step * np.arange(-n, n + 1)


@dataclass(frozen=True)
class Library:
    """Share of the beam in every disk.

    Attributes
    ----------
    hkl
        Reflections, shape ``(g, 3)``.
    vectors
        Their reciprocal vectors ``(y, x)``, 1/nm, shape ``(g, 2)``, in axes across the beam that are the crystal's own.
    grid
        Values along each axis: thickness (nm), tilt y, tilt x (radians), and displacement if there is more than one.
    intensity
        Shape ``(*grid, g)``.
    coefficients
        Of the cubic spline through `intensity`.
    polar_direction
        Unit vector ``(y, x)`` of the polarization at a positive displacement, in the axes of `vectors`; None for none.
    surfaces
        By how much other surfaces of the crystal change `intensity` (`cyclestrain.specimen.bloch`), shape
        ``(surface, *grid, g)``.
    by_vibration
        By how much the standard deviation of the Debye-Waller factor changes `intensity`, shape as that; None for a
        factor that is known.
    """

    hkl: IntArray
    vectors: FloatArray
    grid: tuple[FloatArray, ...]
    intensity: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    polar_direction: FloatArray | None
    surfaces: NDArray[np.float16]
    by_vibration: NDArray[np.float32] | None = None

    @classmethod
    def computed(
        cls,
        zone: Zone,
        axes: Axes,
        aperture: float,
        largest: float,
        advance: Callable[[int], object] = lambda n: None,
    ) -> Library:
        """Compute a library, or read it if it was computed before.

        Parameters
        ----------
        zone
            Crystal and zone axis.
        axes
            What it runs over.
        aperture
            Half angle of the beam, radians.
        largest
            Length of the longest reflection that is wanted, 1/nm.
        advance
            Called with the number of plane waves computed.
        """
        hkl, vectors = taking_part(zone)
        length = np.hypot(*vectors.T)
        shown = int((length < min(0.1 * largest, TRUSTED * length[-1])).sum())
        file = cache_folder() / f"library-{_key(zone, axes, aperture, shown)}.npz"
        disks = _read(file)
        if disks is None:
            zones = [zone.displaced(amount) for amount in axes.displacement] if axes.is_polar else [zone]
            each = [_averaged(one, axes, aperture, shown, advance) for one in zones]
            disks = np.stack(each, 4)[..., 1:]  # without the direct beam
            _keep(file, disks)
        grid: tuple[FloatArray, ...] = (axes.thicknesses, axes.tilts(), axes.tilts())
        direction = None
        if axes.is_polar:
            grid, direction = (*grid, np.array(axes.displacement)), zone.polar_direction
        else:
            disks = disks[:, :, :, :, 0]
        made = cls.tabulated(hkl[1:shown], 10.0 * vectors[1:shown], grid, disks[0], direction)
        return dataclasses.replace(made, surfaces=disks[1:].astype(np.float16))

    @classmethod
    def tabulated(
        cls, hkl: IntArray, vectors: FloatArray, grid: tuple[FloatArray, ...], intensity: NDArray[np.float32],
        polar_direction: FloatArray | None = None,
    ) -> Library:  # fmt: skip
        """A library from its intensities, of which surfaces change nothing; parameters are its attributes."""
        coefficients = intensity.astype(float)
        for axis in range(len(grid)):
            coefficients = ndimage.spline_filter1d(coefficients, 3, axis=axis, mode="mirror")
        return cls(
            hkl,
            vectors,
            grid,
            intensity,
            coefficients.astype(np.float32),
            polar_direction,
            np.zeros((0, *intensity.shape), np.float16),
        )

    @property
    def steps(self) -> FloatArray:
        """Distance of neighbouring nodes along every axis."""
        return np.array([nodes[1] - nodes[0] for nodes in self.grid])

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """First and last node along every axis."""
        return np.array([nodes[0] for nodes in self.grid]), np.array([nodes[-1] for nodes in self.grid])

    def only(self, reflections: IntArray) -> Library:
        """The same for some reflections, which may repeat."""
        return dataclasses.replace(
            self, hkl=self.hkl[reflections], vectors=self.vectors[reflections],
            intensity=self.intensity[..., reflections], coefficients=self.coefficients[..., reflections],
            surfaces=self.surfaces[..., reflections],
            by_vibration=None if self.by_vibration is None else self.by_vibration[..., reflections],
        )  # fmt: skip

    def blended(self, others: Sequence[Library], weights: Sequence[float]) -> Library:
        """Weighted sum of this library and others over the same axes; `weights` are of this one, then of the others.

        What surfaces change is taken from this one.
        """
        parts = [(self, weights[0]), *zip(others, weights[1:], strict=True)]
        intensity, coefficients = np.zeros_like(self.intensity), np.zeros_like(self.coefficients)
        for one, weight in parts:
            intensity += np.float32(weight) * one.intensity
            coefficients += np.float32(weight) * one.coefficients
        return dataclasses.replace(self, intensity=intensity, coefficients=coefficients)

    def at(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Intensities and their derivatives.

        Parameters
        ----------
        points
            Thickness, tilts and displacement, in the units of `grid`, shape ``(n, len(grid))``.

        Returns
        -------
        value, slope
            Shapes ``(n, g)`` and ``(n, len(grid), g)``.
        """
        n, dims = points.shape
        first, weights, slopes = [], [], []
        for axis, (nodes, step) in enumerate(zip(self.grid, self.steps, strict=True)):
            place = np.clip((points[:, axis] - nodes[0]) / step, 0.0, len(nodes) - 1.0)
            cell = np.minimum(place.astype(int), len(nodes) - 2)
            weight, slope = _spline(place - cell)
            first.append(cell)
            weights.append(weight)
            slopes.append(slope / step)
        value = np.zeros((n, self.intensity.shape[-1]))
        slope = np.zeros((n, dims, self.intensity.shape[-1]))
        for offsets in itertools.product(range(4), repeat=dims):
            index = tuple(
                _mirrored(cell + offset - 1, len(nodes))
                for cell, offset, nodes in zip(first, offsets, self.grid, strict=True)
            )
            here = self.coefficients[index]
            factors = [weight[:, offset] for weight, offset in zip(weights, offsets, strict=True)]
            value += np.prod(factors, axis=0)[:, None] * here
            for axis, offset in enumerate(offsets):
                other = [*factors[:axis], slopes[axis][:, offset], *factors[axis + 1 :]]
                slope[:, axis] += np.prod(other, axis=0)[:, None] * here
        return value, slope

    def by_surfaces(self, points: FloatArray) -> FloatArray:
        """What other surfaces change, at the nodes nearest to points as `at` has them, shape ``(n, surface, g)``."""
        return np.moveaxis(self.surfaces[(slice(None), *self._nearest(points))].astype(float), 0, 1)

    def unknown(self, points: FloatArray) -> FloatArray:
        """What is not known of the crystal changes intensities so, each by its standard deviation, ``(n, k, g)``.

        Its surfaces, which share one place, and the Debye-Waller factor; at the nodes nearest to the points.
        """
        surfaces = self.by_surfaces(points)
        surfaces = surfaces / np.sqrt(max(surfaces.shape[1], 1))
        if self.by_vibration is None:
            return surfaces
        return np.concatenate([surfaces, self.by_vibration[self._nearest(points)][:, None].astype(float)], 1)

    def _nearest(self, points: FloatArray) -> tuple[Any, ...]:
        """Indices of the nodes nearest to points, one array for each axis."""
        index = np.rint((points - self.bounds[0]) / self.steps).astype(int)
        return tuple(index.clip(0, np.array(self.intensity.shape[:-1]) - 1).T)


def _spline(t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights of the four coefficients around a place within a cell, and their derivatives, shape ``(n, 4)``."""
    u = 1 - t
    value = [u**3, 3 * t**3 - 6 * t**2 + 4, 3 * u**3 - 6 * u**2 + 4, t**3]
    slope = [-3 * u**2, 9 * t**2 - 12 * t, 12 * u - 9 * u**2, 3 * t**2]
    return np.stack(value, 1) / 6, np.stack(slope, 1) / 6


def _mirrored(index: IntArray, n: int) -> IntArray:
    """Index of a coefficient, mirrored at both ends."""
    index = np.abs(index)
    return np.where(index > n - 1, 2 * (n - 1) - index, index)


def _averaged(
    zone: Zone, axes: Axes, aperture: float, shown: int, advance: Callable[[int], object]
) -> NDArray[np.float32]:
    """Intensity of disks and what surfaces change, over thickness and both tilts, ``(1 + surface, t, y, x, shown)``."""
    wide, wanted = axes.tilts(aperture + 2 * axes.tilt[1]), axes.tilts()
    directions = np.stack(np.meshgrid(wide, wide, indexing="ij"), -1).reshape(-1, 2)
    waves = intensities(zone, 10.0 * axes.thicknesses, directions, shown, advance)
    waves = waves.reshape(*waves.shape[:2], len(wide), len(wide), shown)
    step, margin = axes.tilt[1], (len(wide) - len(wanted)) // 2
    smooth = ndimage.spline_filter1d(waves, 3, axis=2, mode="mirror")
    smooth = ndimage.spline_filter1d(smooth, 3, axis=3, mode="mirror")
    total = np.zeros((*waves.shape[:2], len(wanted), len(wanted), shown))
    for (y, x), weight in _stencil(aperture / step).items():
        part = smooth[:, :, margin + y : margin + y + len(wanted), margin + x : margin + x + len(wanted)]
        total += weight * part
    total[0] = np.maximum(total[0], 0.0)
    return total.astype(np.float32)


def _stencil(radius: float) -> dict[tuple[int, int], float]:
    """Weights of the spline's coefficients around a node in the mean over a disk of `radius` steps of the grid."""
    places, shares = aperture_nodes()
    cells = np.floor(radius * places).astype(int)
    wy, wx = (_spline(radius * places[:, axis] - cells[:, axis])[0] for axis in (0, 1))
    total: dict[tuple[int, int], float] = {}
    for (y, x), share, along_y, along_x in zip(cells.tolist(), shares, wy, wx, strict=True):
        for j, i in np.ndindex(4, 4):
            at = (y + j - 1, x + i - 1)
            total[at] = total.get(at, 0.0) + float(share * along_y[j] * along_x[i])
    return total


def aperture_nodes() -> tuple[FloatArray, FloatArray]:
    """Directions in a disk of radius 1, shape ``(n, 2)``, and their weights in the mean over the disk, shape ``(n,)``.

    Gauss nodes in the square of the radius and equally many equally spaced directions on every ring: exact for
    polynomials up to degree ``4 m - 1`` with `m` rings of ``4 m`` nodes (Peirce, J. SIAM 5 (1957) 66).
    """
    nodes, weights = np.polynomial.legendre.leggauss(APERTURE_RINGS)
    n = 4 * APERTURE_RINGS
    radius, angle = np.sqrt((nodes + 1) / 2)[:, None], 2 * np.pi * np.arange(n) / n
    places = np.stack([radius * np.sin(angle), radius * np.cos(angle)], -1).reshape(-1, 2)
    return places, np.repeat(weights / 2 / n, n)


def cache_folder() -> Path:
    """Where libraries are kept: ``cyclestrain`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cyclestrain"


def _key(zone: Zone, axes: Axes, aperture: float, shown: int) -> str:
    """Hash of all that a library depends on."""
    cell = zone.cell
    facts = [
        FORMAT, cell.zone.tolist(), cell.cell.round(6).tolist(), cell.places.round(6).tolist(),
        cell.symbols, zone.vibration, zone.voltage, axes.thickness, axes.tilt, axes.displacement,
        round(aperture, 8), shown,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def _read(file: Path) -> NDArray[np.float32] | None:
    """A library that was kept; None if there is none that can be read."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return np.asarray(stored["intensity"], np.float32)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(file: Path, intensity: NDArray[np.float32]) -> None:
    """Keep a library; where that is not possible it is computed again the next time."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with write_whole(file, force=True) as temporary, open(temporary, "wb") as stream:
            np.savez(stream, intensity=intensity)
    except (OSError, OutputError):
        return

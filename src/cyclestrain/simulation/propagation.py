"""Electron waves through crystals, slice by slice: the intensity of every beam over thickness and direction.

See `cyclestrain.simulation.multislice` for the method. Needs the extra: ``pip install cyclestrain[multislice]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cyclestrain.affine import reciprocal
from cyclestrain.data import FloatArray, IntArray
from cyclestrain.simulation._compiled import compiled

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["VOLTAGE", "Crystal", "Library", "between", "diffract"]

VOLTAGE = 200e3
"""Acceleration voltage unless another is asked for, volts."""


SAMPLING = 0.12
"""Pixel of the projected unit cell, at most, in Angstrom: beams up to 2.8 1/Angstrom take part."""


FINE_SAMPLING, FINE_SLICE = 0.07, 0.7
"""The same where atoms are cut by slices, and the thickness of a slice, at most."""


FINE_REACH = 3.0
"""Length of the longest wave vector along the beam where atoms are cut by slices, 1/Angstrom."""


MOST_APART = 0.4e-3
"""Directions of the plane waves of a library, radians apart; contrast is smooth between them."""


KNOTS = 10
"""Plane waves along each axis of the aperture, at the least."""


@dataclass(frozen=True)
class Crystal:
    """One projected unit cell, seen along the beam.

    Attributes
    ----------
    transmission
        Factor by which each slice multiplies the wave, shape ``(slice, y, x)``, complex.
    cell
        Size of the cell ``(y, x)``, Angstrom.
    step
        Thickness of a slice, Angstrom.
    voltage
        Acceleration voltage, volts.
    """

    transmission: NDArray[np.complex64]
    cell: FloatArray
    step: float
    voltage: float

    @classmethod
    def from_atoms(cls, atoms: Atoms, slices: int | None, vibration: float) -> Crystal:
        """Project an orthogonal unit cell.

        Parameters
        ----------
        atoms
            The unit cell, with the beam along its third axis.
        slices
            Number of slices, in one of which every atom lies; None for thin slices that cut atoms, and finer pixels.
        vibration
            Debye-Waller factor `B`, square Angstrom.
        """
        return cls.from_alloy([(1.0, atoms)], slices, vibration)

    @classmethod
    def from_alloy(
        cls, parts: Sequence[tuple[float, Atoms]], slices: int | None, vibration: float, voltage: float = VOLTAGE
    ) -> Crystal:
        """Project the mean of some unit cells of one size, each with its share."""
        from abtem.core.energy import energy2sigma

        x, y, depth = (float(length) for length in parts[0][1].cell.lengths())
        cell = np.array([y, x])
        projected = np.sum([share * _project(atoms, slices, vibration) for share, atoms in parts], axis=0)
        projected *= _inside(_wave_vectors(projected.shape[1:], cell))
        projected = fft.ifft2(projected).real * (np.prod(projected.shape[1:]) / np.prod(cell))
        transmission = np.exp(1j * energy2sigma(voltage) * projected).astype(np.complex64)
        return cls(transmission, cell, depth / len(transmission), voltage)

    @property
    def wavelength(self) -> float:
        """Wavelength of the electrons, Angstrom."""
        from abtem.core.energy import energy2wavelength

        return float(energy2wavelength(self.voltage))

    @property
    def waves(self) -> FloatArray:
        """Wave vectors ``(y, x)`` of the beams, 1/Angstrom, shape ``(y, x, 2)``."""
        return _wave_vectors(self.transmission.shape[1:], self.cell)


def _project(atoms: Atoms, slices: int | None, vibration: float) -> NDArray[np.complex128]:
    """Fourier coefficients of the projected potential of every slice of an orthogonal cell, shape ``(slice, y, x)``.

    It is summed atom by atom in reciprocal space: places between the pixels are exact, where an interpolation would
    weaken the beams with long wave vectors (a quarter of a GaAs cell in 34 pixels lies halfway between two).
    """
    from abtem.parametrizations import LobatoParametrization

    x, y, depth = (float(length) for length in atoms.cell.lengths())
    pixel = FINE_SAMPLING if slices is None else SAMPLING
    waves = _wave_vectors(tuple(4 * ceil(length / pixel / 4) for length in (y, x)), np.array([y, x]))
    square = (waves**2).sum(-1)
    along = _whole_atoms(depth, slices) if slices else _cut_atoms(depth, ceil(depth / FINE_SLICE))
    symbols, places = np.array(list(atoms.symbols)), np.asarray(atoms.positions, float)
    total = np.zeros((slices or ceil(depth / FINE_SLICE), *square.shape), complex)
    for symbol in sorted(set(symbols)):
        scattered: Any = LobatoParametrization().projected_scattering_factor(symbol)
        own = places[symbols == symbol]
        phases = np.exp(-2j * np.pi * np.tensordot(own[:, 1::-1], waves, (1, -1)))
        for height, share in along(own[:, 2]):
            beyond = square + height**2
            factor = np.asarray(scattered(beyond), float) * np.exp(-0.25 * vibration * beyond)
            total += factor * np.tensordot(share, phases, 1)
    return total


Along = Callable[[FloatArray], Iterator[tuple[float, NDArray[Any]]]]
"""For the heights of atoms: wave vectors along the beam, and each atom's share of every slice ``(slice, atom)``."""


def _whole_atoms(depth: float, slices: int) -> Along:
    """Every atom lies in one slice."""

    def shares(z: FloatArray) -> Iterator[tuple[float, NDArray[Any]]]:
        layer = np.floor(z % depth / (depth / slices)).astype(int).clip(0, slices - 1)
        yield 0.0, (np.arange(slices)[:, None] == layer).astype(float)

    return shares


def _cut_atoms(depth: float, slices: int) -> Along:
    """Every slice has the part of each atom that lies between its faces."""
    step = depth / slices
    middle = (np.arange(slices) + 0.5) * step

    def shares(z: FloatArray) -> Iterator[tuple[float, NDArray[Any]]]:
        for n in range(-int(FINE_REACH * depth), int(FINE_REACH * depth) + 1):
            wave = np.exp(2j * np.pi * n / depth * (middle[:, None] - z))
            yield n / depth, np.sinc(n / slices) / slices * wave

    return shares


def _wave_vectors(shape: tuple[int, ...], cell: FloatArray) -> FloatArray:
    y, x = (fft.fftfreq(n, length / n) for n, length in zip(shape, cell, strict=True))
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1)


def _inside(waves: FloatArray) -> NDArray[np.bool_]:
    """Beams within two thirds of the largest wave vector: products of two do not wrap around."""
    largest = np.abs(waves).max((0, 1)).min()
    return np.asarray(np.hypot(waves[..., 0], waves[..., 1]) < 2 / 3 * largest)


def diffract(crystal: Crystal, deformation: FloatArray, depths: Sequence[int], incident: FloatArray) -> FloatArray:
    """Intensity of every beam behind a strained crystal.

    Parameters
    ----------
    crystal
        Unit cell.
    deformation
        Deformation gradient from that cell, shape ``(2, 2)``.
    depths
        Thicknesses in slices, ascending.
    incident
        Transverse wave vectors ``(y, x)`` of plane waves relative to the zone axis, 1/Angstrom, shape ``(n, 2)``.

    Returns
    -------
    intensity
        Share of each plane wave in each beam, shape ``(depth, n, y, x)``, beams ordered as `Crystal.waves`.
    """
    waves = crystal.waves @ reciprocal(deformation).T
    square = ((waves + incident[:, None, None]) ** 2).sum(-1)
    propagator = np.exp(-1j * np.pi * crystal.wavelength * crystal.step * square) * _inside(crystal.waves)
    propagator = propagator.astype(np.complex64)
    wave = np.zeros(propagator.shape, np.complex64)
    wave[:, 0, 0] = 1.0
    out = np.empty((len(depths), *wave.shape), np.float32)
    for k in range(depths[-1]):
        wave = fft.ifft2(wave, overwrite_x=True, workers=-1) * crystal.transmission[k % len(crystal.transmission)]
        wave = fft.fft2(wave, overwrite_x=True, workers=-1) * propagator
        if k + 1 in depths:
            out[depths.index(k + 1)] = np.abs(wave) ** 2
    return out


@dataclass(frozen=True)
class Library:
    """Intensity of the beams of one material over thickness and direction of the incident wave.

    Attributes
    ----------
    beams
        Wave vectors of the beams in the unstrained cell, 1/Angstrom, shape ``(beam, 2)``.
    thickness
        Ascending, Angstrom, shape ``(depth,)``.
    spacing
        Between neighbouring transverse wave vectors of the grid, whose middle is the zone axis, 1/Angstrom.
    wavelength
        Of the electrons, Angstrom.
    intensity
        Share of the plane wave, shape ``(depth, beam, y, x)``.
    """

    beams: FloatArray
    thickness: FloatArray
    spacing: float
    wavelength: float
    intensity: NDArray[np.float32]

    @classmethod
    def computed(
        cls, crystal: Crystal, deformation: FloatArray, *,
        thickness: FloatArray, aperture: float, tilt: float, largest: float,
    ) -> Library:  # fmt: skip
        """Compute what a scan needs.

        Parameters
        ----------
        crystal, deformation
            The strained cell.
        thickness
            All thicknesses that will be asked for, Angstrom.
        aperture
            Largest angle in the beam, radians.
        tilt
            Largest tilt of the crystal, radians.
        largest
            Length of the longest wave vector that reaches the detector, 1/Angstrom.
        """
        period = len(crystal.transmission)
        unit = period * crystal.step
        ends = np.maximum(np.rint(np.array([thickness.min(), thickness.max()]) / unit).astype(int), 1)
        depths = (period * np.arange(ends[0], ends[1] + 1)).tolist()
        spacing = min(MOST_APART, 2 * aperture / KNOTS) / crystal.wavelength
        n = int(np.ceil((aperture + tilt) / crystal.wavelength / spacing)) + 2  # two more to interpolate
        axis = spacing * np.arange(-n, n + 1)
        incident = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
        shown = _inside(crystal.waves) & (np.hypot(*np.moveaxis(crystal.waves, -1, 0)) < largest)
        rows = [diffract(crystal, deformation, depths, row)[..., shown] for row in incident]
        intensity = np.stack(rows).transpose(1, 3, 0, 2)  # (row, depth, column, beam) before
        return cls(
            crystal.waves[shown], crystal.step * np.array(depths), spacing, crystal.wavelength,
            np.ascontiguousarray(intensity),
        )  # fmt: skip

    def nearest(self, thickness: FloatArray) -> tuple[IntArray, FloatArray]:
        """Index of the thicknesses of whole cells that are nearest to some, and these thicknesses."""
        index = np.abs(self.thickness - np.asarray(thickness)[..., None]).argmin(-1)
        return index, self.thickness[index]


@compiled
def between(values: NDArray[np.float32], y: float, x: float) -> float:
    """Value between the samples of an image, by cubic convolution along both axes."""
    row, column = min(max(int(y), 1), values.shape[0] - 3), min(max(int(x), 1), values.shape[1] - 3)
    v, u = y - row, x - column
    total = 0.0
    for j in range(4):
        a = abs(v - (j - 1))
        weight_y = (1.5 * a - 2.5) * a * a + 1.0 if a < 1 else ((-0.5 * a + 2.5) * a - 4.0) * a + 2.0
        for i in range(4):
            b = abs(u - (i - 1))
            weight_x = (1.5 * b - 2.5) * b * b + 1.0 if b < 1 else ((-0.5 * b + 2.5) * b - 4.0) * b + 2.0
            total += weight_y * weight_x * values[row + j - 1, column + i - 1]
    return max(total, 0.0)

r"""Crystals along a zone axis: the beams of the zone and the Fourier coefficients of the potential.

With scattering factors `f_j` (angstrom; parametrisation of Kirkland, Advanced Computing in Electron Microscopy, from
abTEM), Debye-Waller factor `B` and unit cell volume `V`,

.. math:: U_g = \frac{\gamma}{\pi V} \sum_j f_j(g) \exp(-B g^2 / 4) \exp(-2 \pi i g r_j).

A polar crystal has a second parameter: how far its atoms are displaced from the centrosymmetric structure that is
nearest to it, in units of the displacement of the structure that was given; -1 is the same crystal poled the other way.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.errors import InputError
from cyclestrain.strain import KnownCell

__all__ = ["Zone", "parent_structure", "wavelength"]

ANIONS = frozenset({"N", "O", "F", "S", "Cl", "Se", "Br", "Te", "I"})
"""Elements that are displaced against the polarization."""
STILL = 1e-3
"""Displacement, angstrom, below which a structure is centrosymmetric."""
_REST_ENERGY, _HC = 510.99895e3, 12398.41984


def wavelength(voltage: float) -> float:
    """Relativistic wavelength of electrons, angstrom.

    Parameters
    ----------
    voltage
        Acceleration voltage, volts.

    Examples
    --------
    >>> round(wavelength(200e3), 6)
    0.025079
    """
    return float(_HC / np.sqrt(voltage * (voltage + 2 * _REST_ENERGY)))


@dataclass(frozen=True)
class Zone:
    """A crystal seen along a zone axis.

    Attributes
    ----------
    cell
        The unit cell and the direction.
    vibration
        Debye-Waller factor `B`, square angstrom.
    voltage
        Acceleration voltage, volts.
    """

    cell: KnownCell
    vibration: float
    voltage: float

    def __post_init__(self) -> None:
        if not self.cell.symbols:
            raise InputError(
                f"{self.cell.name}: the elements must be known; add elements=Si (or Ga-As) or give a CIF file"
            )

    @property
    def across(self) -> FloatArray:
        """Unit vectors ``y, x`` perpendicular to the beam as rows; x, y and the beam are right-handed, ``(2, 3)``."""
        beam, (y, x) = self.cell.zone @ self.cell.cell, self.cell.across
        return np.stack([y if np.cross(x, y) @ beam > 0 else -y, x])

    def beams(self, reach: float) -> tuple[IntArray, FloatArray]:
        """Reflections of the zone up to `reach` (1/angstrom): ``hkl``, and vectors ``(y, x)`` in 1/angstrom.

        The first is the direct beam; reflections that only double diffraction excites are among them.
        """
        reciprocal = np.linalg.inv(self.cell.cell).T
        most = np.ceil(reach * np.linalg.norm(self.cell.cell, axis=1)).astype(int)
        grid = np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij")
        hkl = np.stack(grid, -1).reshape(-1, 3)
        hkl = hkl[hkl @ self.cell.zone == 0]
        vectors = hkl @ reciprocal @ self.across.T
        steps = np.linalg.solve(self._basis(), vectors.T).T
        keep = (np.hypot(*vectors.T) < reach) & (np.abs(steps - np.rint(steps)) < 1e-3).all(1)
        order = np.argsort(np.hypot(*vectors[keep].T), kind="stable")
        return hkl[keep][order], vectors[keep][order]

    def _basis(self) -> FloatArray:
        """Lattice of the beams that are present, 1/angstrom, turned as `across` has it."""
        return 0.1 * self.across @ self.cell.across.T @ self.cell.lattice.basis

    @property
    def period(self) -> float:
        """Length along the beam after which the crystal repeats, angstrom."""
        return float(np.linalg.norm(self._direction @ self.cell.cell))

    @property
    def _direction(self) -> IntArray:
        """The zone axis without a common divisor."""
        return np.asarray(self.cell.zone // np.gcd.reduce(self.cell.zone))

    def layers(self) -> IntArray:
        """Basis of all reflections, rows ``hkl``: one of the first higher Laue zone, and two that span the zone."""
        most = max(int(np.abs(self._direction).max()), 1) + 1
        grid = np.meshgrid(*3 * [np.arange(-most, most + 1)], indexing="ij")
        hkl = np.stack(grid, -1).reshape(-1, 3)
        length = np.linalg.norm(hkl @ np.linalg.inv(self.cell.cell).T @ self.across.T, axis=1)
        hkl = hkl[np.argsort(length, kind="stable")]
        height = hkl @ self._direction
        flat = hkl[(height == 0) & hkl.any(1)]
        beside = next(one for one in flat if (np.abs(np.cross(flat[0], one)) == np.abs(self._direction)).all())
        return np.stack([hkl[height == 1][0], flat[0], beside])

    @property
    def displacement(self) -> FloatArray:
        """Displacement of every atom from the nearest centrosymmetric structure, angstrom, shape ``(atom, 3)``."""
        return parent_structure(self.cell)[1]

    @property
    def polar_direction(self) -> FloatArray | None:
        """Unit vector ``(y, x)`` of the polarization, from anions to cations; None where there is none."""
        moved = self.displacement @ self.across.T
        sign = np.array([-1.0 if symbol in ANIONS else 1.0 for symbol in self.cell.symbols])
        if (sign > 0).all() or (sign < 0).all() or np.abs(moved).max() < STILL:
            return None
        arrow = moved[sign > 0].mean(0) - moved[sign < 0].mean(0)
        return np.asarray(arrow / np.linalg.norm(arrow))

    def displaced(self, amount: float) -> Zone:
        """The same crystal with its polar displacement scaled by `amount`."""
        parent, moved = parent_structure(self.cell)
        places = (parent + amount * moved) @ np.linalg.inv(self.cell.cell)
        return dataclasses.replace(self, cell=dataclasses.replace(self.cell, places=places))

    def potential(self, hkl: IntArray) -> NDArray[np.complex128]:
        """Fourier coefficients `U` of the potential, 1/square angstrom, for ``hkl`` of any leading shape."""
        try:
            from abtem.parametrizations import KirklandParametrization
        except ImportError as error:
            raise InputError(f"{error}: intensities are computed with pip install 'cyclestrain[multislice]'") from error
        square = ((hkl @ np.linalg.inv(self.cell.cell).T) ** 2).sum(-1)
        total = np.zeros(hkl.shape[:-1], complex)
        symbols = np.array(self.cell.symbols)
        for symbol in sorted(set(self.cell.symbols)):
            factor = np.asarray(KirklandParametrization().scattering_factor(symbol)(square.ravel()), float)
            places = self.cell.places[symbols == symbol]
            total += factor.reshape(square.shape) * np.exp(-2j * np.pi * (hkl @ places.T)).sum(-1)
        gamma = 1 + self.voltage / _REST_ENERGY
        volume = abs(np.linalg.det(self.cell.cell))
        return np.asarray(gamma / (np.pi * volume) * total * np.exp(-0.25 * self.vibration * square))


def parent_structure(cell: KnownCell) -> tuple[FloatArray, FloatArray]:
    """The centrosymmetric structure that is nearest to a crystal, and its atoms' displacement from that.

    The centre of inversion is looked for halfway between atoms of one element; every atom and the inverted one of its
    kind that is nearest are moved to their mean.

    Returns
    -------
    parent, displacement
        Angstrom, shape ``(atom, 3)``.
    """
    symbols, best = np.array(cell.symbols), None
    rare = min(set(cell.symbols), key=lambda symbol: int((symbols == symbol).sum()))
    own = cell.places[symbols == rare]
    halves = np.stack(np.meshgrid(*3 * [[0.0, 0.5]], indexing="ij"), -1).reshape(-1, 3)
    for centre in ((own[:1] + own)[:, None] / 2 + halves).reshape(-1, 3):
        apart = 2 * centre - cell.places[:, None] - cell.places[None]  # from atom j to the inverted atom i
        apart -= np.rint(apart)
        length = np.linalg.norm(apart @ cell.cell, axis=-1)
        length[symbols[:, None] != symbols[None]] = np.inf
        partner = length.argmin(0)
        moved = -0.5 * apart[partner, np.arange(len(symbols))] @ cell.cell
        moved = moved - moved.mean(0)  # a common shift of all atoms changes nothing
        size = float((moved**2).sum())
        if best is None or size < best[0] - 1e-9:
            best = (size, moved)
    assert best is not None
    return cell.places @ cell.cell - best[1], best[1]

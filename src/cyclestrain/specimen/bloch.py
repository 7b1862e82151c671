r"""Bloch waves: intensities behind a perfect crystal for plane waves near a zone axis.

The wave vector of the incident wave across the zone axis is `k`; in the forward-scattering approximation the amplitudes
of the beams behind a thickness `t` are the first column of

.. math:: \exp(2 \pi i t A), \qquad A_{gg} = -\tfrac{\lambda}{2} (|g + k|^2 - |k|^2), \qquad
    A_{gh} = \tfrac{\lambda}{2} U_{g-h},

(Kirkland, Advanced Computing in Electron Microscopy, section 6; De Graef, Introduction to Conventional TEM, chapter 5)
with the shortest beams of the zone. Longer ones are never strong and take part by Bethe potentials (De Graef, chapter
5): what goes by way of such a beam `w`, far from its Ewald sphere, adds :math:`-A_{gw} A_{wh} / A_{ww}` to the
coupling. Beams of higher Laue zones and absorption are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.specimen.structure import Zone, wavelength

__all__ = ["REACH", "intensities", "taking_part"]

REACH = 1.9
"""Length of the longest beam that takes part, 1/angstrom."""
MOST_BEAMS = 125
"""Beams that take part at the most, the shortest ones."""
WEAK_REACH = 2.8
"""Length of the longest beam that takes part by Bethe potentials, 1/angstrom."""
TOGETHER = 32
"""Directions that are computed at a time."""
REAL = 1e-9
"""Imaginary part of a matrix, relative to its largest element, that is none."""


def taking_part(zone: Zone) -> tuple[IntArray, FloatArray]:
    """Beams that take part, as `Zone.beams`: whole shells, so that the symmetry of the crystal is kept."""
    hkl, vectors = zone.beams(REACH)
    if len(hkl) > MOST_BEAMS:
        length = np.hypot(*vectors.T)
        n = int(np.searchsorted(length, length[MOST_BEAMS] - 1e-6))
        hkl, vectors = hkl[:n], vectors[:n]
    return hkl, vectors


def intensities(
    zone: Zone,
    thickness: FloatArray,
    directions: FloatArray,
    shown: int,
    advance: Callable[[int], object] = lambda n: None,
) -> NDArray[np.float32]:
    """Share of a plane wave in each beam.

    Parameters
    ----------
    zone
        Crystal and zone axis.
    thickness
        Angstrom, shape ``(t,)``.
    directions
        Directions ``(y, x)`` of the incident waves relative to the zone axis, radians, shape ``(n, 2)``.
    shown
        How many beams are returned, in the order of `taking_part`.
    advance
        Called with the number of directions done.

    Returns
    -------
    intensity
        Shape ``(t, n, shown)``.
    """
    hkl, vectors = taking_part(zone)
    weak = _Weak.of(zone, hkl)
    lamda = wavelength(zone.voltage)
    coupling: NDArray[Any] = 0.5 * lamda * zone.potential(hkl[:, None] - hkl[None])
    coupling -= coupling[0, 0] * np.eye(len(hkl))
    if np.abs(coupling.imag).max() < REAL * np.abs(coupling).max():
        coupling = coupling.real
    out = np.empty((len(thickness), len(directions), shown), np.float32)
    with threadpool_limits(1):  # matrices as small as these only wait for each other's threads
        for start in range(0, len(directions), TOGETHER):
            part = slice(start, start + TOGETHER)
            waves = directions[part] / lamda
            error = _excitation(vectors, waves, lamda)
            by_way = weak.coupling(waves, lamda)
            values, states = np.linalg.eigh(coupling + by_way + error[..., None] * np.eye(len(hkl)))
            entering, leaving = states[:, 0].conj(), states[:, :shown]
            for row, t in zip(out, thickness, strict=True):
                amplitude = leaving @ (np.exp(2j * np.pi * t * values) * entering)[..., None]
                row[part] = np.abs(amplitude[..., 0]) ** 2
            advance(len(waves))
    return out


def _excitation(vectors: FloatArray, waves: FloatArray, lamda: float) -> FloatArray:
    """Diagonal of the matrix: of every beam for every incident wave, shape ``(n, beam)``."""
    return np.asarray(-0.5 * lamda * (((vectors + waves[:, None]) ** 2).sum(-1) - (waves**2).sum(-1)[:, None]))


class _Weak(NamedTuple):
    """Beams that take part by Bethe potentials: their vectors, and their coupling to the others ``(beam, weak)``."""

    vectors: FloatArray
    beside: NDArray[Any]

    @classmethod
    def of(cls, zone: Zone, strong: IntArray) -> _Weak:
        hkl, vectors = zone.beams(WEAK_REACH)
        hkl, vectors = hkl[len(strong) :], vectors[len(strong) :]
        beside = 0.5 * wavelength(zone.voltage) * zone.potential(strong[:, None] - hkl[None])
        real = beside.size and np.abs(beside.imag).max() < REAL * np.abs(beside).max()
        return cls(vectors, beside.real if real else beside)

    def coupling(self, waves: FloatArray, lamda: float) -> NDArray[Any]:
        """What they add for every incident wave, shape ``(n, beam, beam)``."""
        return (self.beside / -_excitation(self.vectors, waves, lamda)[:, None]) @ self.beside.conj().T

r"""Bloch waves: intensities behind a perfect crystal for plane waves near a zone axis.

The wave vector of the incident wave across the zone axis is `k`; in the forward-scattering approximation the amplitudes
of the beams behind a thickness `t` are the first column of

.. math:: \exp(2 \pi i t A), \qquad A_{gg} = -\tfrac{\lambda}{2} (|g + k|^2 - |k|^2), \qquad
    A_{gh} = C_{g-h} = \tfrac{\lambda}{2} U_{g-h}

(Kirkland, Advanced Computing in Electron Microscopy, section 6; De Graef, Introduction to Conventional TEM, chapter
5). Heavy columns bind states that are so narrow that hundreds of beams are needed for them, but they depend on `k`
little: the matrix is diagonalised once, on the axis, with all beams, and only the states of least kinetic energy are
followed to other directions, where :math:`A(k) = A(0) - \lambda k \cdot g` between these states (k.p theory:
Luttinger and Kohn, Phys. Rev. 97 (1955) 869). Beams that are longer still take part by Bethe potentials: what goes by
way of such a beam `w` adds :math:`-A_{gw} A_{wh} / A_{ww}`.

Higher Laue zones are far from their Ewald sphere, but what goes there and comes back is felt: the potential of layers
is not that of their mean along the beam. With period `L` along the beam and :math:`C_n(r)` the `n`-th Fourier
coefficient along it, the second order of the Magnus expansion (Blanes et al., Phys. Rep. 470 (2009) 151) is again a
potential,

.. math:: \Delta C(r) = -\frac{\lambda}{4 \pi^2} \sum_{n > 0} \left(\frac{L}{n}\right)^2 |\nabla C_n(r)|^2 ,

since the first order commutes. What is left is between which layers a crystal begins and ends, which nobody knows: at
the height `z` its surfaces are phase objects :math:`\pm 2 \sum_{n > 0} \mathrm{Im}(C_n(r) e^{2 \pi i n z / L}) L / n`.
What they change, to first order, is given beside the intensities as a part of their error. Absorption is left out, and
so is what stays in the ring of a higher Laue zone, which heavy columns at low voltage scatter to; `lost` says how much.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2, next_fast_len
from threadpoolctl import threadpool_limits

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.specimen.structure import Zone, wavelength

__all__ = ["REACH", "intensities", "lost", "taking_part"]

REACH = 2.8
"""Length of the longest beam that takes part, 1/angstrom."""
MOST_BEAMS = 500
"""Beams that take part at the most, the shortest ones."""
WEAK_REACH = 5.0
"""Length of the longest beam that takes part by Bethe potentials, 1/angstrom."""
STATES = 110
"""Bloch waves of the axis that are followed to other directions."""
LAYERS_REACH = 1.0
"""Height of the highest Laue zone that is gone to and back from, 1/angstrom."""
HEIGHTS = (0.125, 0.375)
"""Heights of the surfaces, in periods, whose mean square is that over all heights where the first zone counts most."""
NEAR_SPHERE = 0.02
"""Excitation error, 1/angstrom, beyond the eigenvalues of all states, from which nothing is lost to a beam."""
TOGETHER = 32
"""Directions that are computed at a time."""
WHOLE = 1e-3
"""Distance from a whole number that is none."""
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
    """Share of a plane wave in each beam, and by how much surfaces between other layers change it.

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
        Shape ``(1 + surfaces, t, n, shown)``: the share, then the change for surfaces at each of `HEIGHTS`.
    """
    lamda = wavelength(zone.voltage)
    out = np.empty((1 + len(HEIGHTS), len(thickness), len(directions), shown), np.float32)
    with threadpool_limits(1):  # matrices as small as these only wait for each other's threads
        axis = _States.on_axis(zone)
        for start in range(0, len(directions), TOGETHER):
            part = slice(start, start + TOGETHER)
            waves = directions[part] / lamda
            values, mixed = np.linalg.eigh(axis.matrix(waves, lamda))
            phases = np.exp(2j * np.pi * values[..., None] * thickness)
            leaving, within = axis.waves[:shown] @ mixed, phases * (axis.waves[0] @ mixed).conj()[..., None]
            amplitude = leaving @ within
            out[0, :, part] = (np.abs(amplitude) ** 2).transpose(2, 0, 1)
            for k, surface in enumerate(axis.surfaces, 1):
                change = (surface[:shown] @ mixed) @ within
                change -= leaving @ (phases * (surface[0] @ mixed).conj()[..., None])
                out[k, :, part] = -2 * (amplitude.conj() * change).imag.transpose(2, 0, 1)
            advance(len(waves))
    return out


class _States(NamedTuple):
    """Bloch waves for a plane wave along the axis.

    Attributes
    ----------
    value
        Eigenvalues, shape ``(state,)``, 1/angstrom.
    waves
        Amplitudes of the beams, shape ``(beam, state)``.
    transverse
        Wave vector ``(y, x)`` between the states, shape ``(2, state, state)``.
    surfaces
        What the phase of a surface at each of `HEIGHTS` makes of `waves`, shape ``(height, beam, state)``.
    """

    value: FloatArray
    waves: NDArray[Any]
    transverse: NDArray[Any]
    surfaces: NDArray[Any]

    @classmethod
    def on_axis(cls, zone: Zone) -> _States:
        hkl, vectors = taking_part(zone)
        matrix = _coupling(zone, hkl) - 0.5 * wavelength(zone.voltage) * np.diag((vectors**2).sum(1))
        if np.iscomplexobj(matrix) and np.abs(matrix.imag).max() < REAL * np.abs(matrix).max():
            matrix = matrix.real
        value, waves = np.linalg.eigh(matrix)
        value, waves = value[-STATES:], waves[:, -STATES:]
        transverse = np.stack([waves.conj().T @ (vectors[:, axis, None] * waves) for axis in (0, 1)])
        surfaces = np.stack([_among(hkl, partial(_surface, zone, z=z)) @ waves for z in HEIGHTS])
        return cls(value, waves, transverse, surfaces)

    def matrix(self, waves: FloatArray, lamda: float) -> NDArray[Any]:
        """`A` between the states for every incident wave, shape ``(n, state, state)``."""
        return np.diag(self.value) - lamda * np.tensordot(waves, self.transverse, 1)


def lost(zone: Zone, thickness: FloatArray) -> FloatArray:
    r"""Share of a wave along the axis that higher Laue zones take, to first order; no library knows of it.

    From a state with eigenvalue :math:`\gamma` and amplitudes `c` goes
    :math:`|2 \pi t \, \mathrm{sinc}((s - \gamma) t) \sum_h C_{G-h} c_h|^2` to a beam `G` with excitation error `s`.

    Parameters
    ----------
    zone
        Crystal and zone axis.
    thickness
        Angstrom, shape ``(t,)``.

    Returns
    -------
    share
        Shape ``(t,)``.
    """
    half, basis, axis = 0.5 * wavelength(zone.voltage), zone.layers(), _States.on_axis(zone)
    across, (hkl, _) = np.linalg.inv(zone.cell.cell).T @ zone.across.T, taking_part(zone)
    total = np.zeros((len(thickness), len(axis.value)))
    for n in range(1, max(1, int(LAYERS_REACH * zone.period)) + 1):
        radius = np.sqrt(n / zone.period / half) + 1.0
        most = int(np.ceil(radius * np.linalg.norm(np.linalg.inv(basis[1:] @ across), axis=0).max())) + n
        steps = np.stack(np.meshgrid(*2 * [np.arange(-most, most + 1)], indexing="ij"), -1).reshape(-1, 2)
        high = n * basis[0] + steps @ basis[1:]
        error = n / zone.period - half * ((high @ across) ** 2).sum(1)
        near = (error > axis.value.min() - NEAR_SPHERE) & (error < axis.value.max() + NEAR_SPHERE)
        coupled = (np.abs(half * zone.potential(high[near][:, None] - hkl) @ axis.waves) * 2 * np.pi) ** 2
        apart = error[near][:, None] - axis.value
        for row, t in zip(total, thickness, strict=True):
            row += (coupled * (t * np.sinc(apart * t)) ** 2).sum(0)
    return np.asarray((1 - np.exp(-total)) @ np.abs(axis.waves[0]) ** 2)


def _coupling(zone: Zone, hkl: IntArray) -> NDArray[Any]:
    """What couples the beams, shape ``(beam, beam)``: potential, layers, and the way by weak beams."""
    half = 0.5 * wavelength(zone.voltage)
    weak, vectors = zone.beams(WEAK_REACH)
    weak, vectors = weak[len(hkl) :], vectors[len(hkl) :]
    beside = half * zone.potential(hkl[:, None] - weak[None])
    between = _among(hkl, lambda apart: half * zone.potential(apart) + _layers(zone, apart))
    total = between + (beside / (half * (vectors**2).sum(1))) @ beside.conj().T
    return np.asarray(total - total[0, 0] * np.eye(len(hkl)))


def _among(hkl: IntArray, potential: Callable[[IntArray], NDArray[Any]]) -> NDArray[Any]:
    """Matrix of a potential among beams, from its Fourier coefficients."""
    apart, place = np.unique((hkl[:, None] - hkl[None]).reshape(-1, 3), axis=0, return_inverse=True)
    return potential(apart)[place].reshape(len(hkl), len(hkl))


def _surface(zone: Zone, hkl: IntArray, z: float) -> NDArray[np.complex128]:
    """Fourier coefficients of the phase of a surface at height `z`, in periods, for ``hkl`` of the zone.

    Layers that differ by a shift alone scatter to none of these.
    """
    half, basis = 0.5 * wavelength(zone.voltage), zone.layers()
    high, *flat = basis @ np.linalg.inv(zone.cell.cell).T @ zone.across.T
    shift = high @ np.linalg.inv(np.stack(flat))
    total = np.zeros(len(hkl), complex)
    height = int(LAYERS_REACH * zone.period)
    for n in (n for n in range(-height, height + 1) if n):
        if np.abs(n * shift - np.rint(n * shift)).max() < WHOLE:
            above = hkl + n * basis[0] - np.rint(n * shift).astype(int) @ basis[1:]
            total += half * zone.potential(above) * np.exp(2j * np.pi * n * z) * zone.period / (1j * n)
    return total


def _layers(zone: Zone, hkl: IntArray) -> NDArray[np.complex128]:
    """Fourier coefficients of what layers along the beam add to the potential, for ``hkl`` of the zone."""
    lamda, basis, period = wavelength(zone.voltage), zone.layers(), zone.period
    height = int(LAYERS_REACH * period)
    across = np.linalg.inv(zone.cell.cell).T @ zone.across.T
    most = int(np.ceil(WEAK_REACH * np.linalg.norm(np.linalg.inv(basis[1:] @ across), axis=0).max())) + height
    steps = np.stack(np.meshgrid(*2 * [np.arange(-most, most + 1)], indexing="ij"), -1).reshape(-1, 2)
    size = next_fast_len(4 * most)
    total = np.zeros((size, size))
    for n in range(1, height + 1):
        high = n * basis[0] + steps @ basis[1:]
        near = np.hypot(*(high @ across).T) < WEAK_REACH
        slope = np.zeros((2, size, size), complex)
        slope[:, steps[near, 0], steps[near, 1]] = (high[near] @ across).T * (0.5 * lamda * zone.potential(high[near]))
        total -= lamda * (period / n) ** 2 * (np.abs(ifft2(slope, norm="forward")) ** 2).sum(0)
    place = np.rint(np.linalg.solve(basis[1:] @ basis[1:].T, basis[1:] @ hkl.T)).astype(int)
    return np.asarray(fft2(total, norm="forward")[place[0], place[1]])

r"""Scans of crystals that scatter dynamically: strained silicon, and a WS2/WSe2 monolayer with a ripple and vacuum.

In crystals thicker than a few nanometres the convergent-beam disks are full of contrast that changes with thickness
and tilt. Disks that do not overlap do not interfere, so every point of a disk is one plane wave: at offset
:math:`\kappa` from the middle of reflection `g` the intensity is that of the beam `g` for an incident wave of
transverse wave vector :math:`\kappa + \tau/\lambda` (crystal tilt :math:`\tau`). The waves go slice by slice through
one projected unit cell (potentials by abTEM) in the coordinates of the lattice; the strain is in the propagator,

.. math:: P_g = \exp(-i \pi \lambda \Delta z |F^{-T} g + \kappa + \tau/\lambda|^2),

and in the place where the disk is drawn. That costs about a second for each position.
Needs the extra: ``pip install cyclestrain[multislice]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import map_coordinates
from scipy.special import erfc

from cyclestrain.affine import reciprocal, rotation, symmetric
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.patterns import EDGE
from cyclestrain.simulation.sample import VACUUM, Sample, SimulatedScan, make_truth

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["MATERIALS", "Crystal", "Specimen", "diffract", "heterostructure", "silicon"]

FloatArray = NDArray[np.floating[Any]]

VOLTAGE = 200e3
"""Acceleration voltage, volts."""
SAMPLING = 0.17
"""Largest pixel of the projected unit cell, Angstrom."""
KNOTS = 11
"""Number of plane waves along each axis of the aperture; contrast is smooth between them."""
SUBPIXELS = 4
"""Points per detector pixel and axis at which disks are drawn."""


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
    wavelength
        Wavelength of the electrons, Angstrom.
    """

    transmission: NDArray[np.complex64]
    cell: FloatArray
    step: float
    wavelength: float

    @classmethod
    def from_atoms(cls, atoms: Atoms, slices: int, vibration: float) -> Crystal:
        """Project an orthogonal unit cell.

        Parameters
        ----------
        atoms
            The unit cell, with the beam along its third axis.
        slices
            Number of slices.
        vibration
            Debye-Waller factor `B`, square Angstrom.
        """
        import abtem
        from abtem.core.energy import energy2sigma, energy2wavelength

        x, y, depth = (float(length) for length in atoms.cell.lengths())
        shape = (2 * round(x / SAMPLING / 2), 2 * round(y / SAMPLING / 2))
        potential = abtem.Potential(
            atoms, gpts=shape, slice_thickness=depth / slices, parametrization="lobato", projection="infinite"
        )
        projected = np.asarray(potential.build(lazy=False).array, float).transpose(0, 2, 1)
        cell = np.array([y, x])
        waves = _wave_vectors(projected.shape[1:], cell)
        damping = np.exp(-0.25 * vibration * (waves**2).sum(-1)) * _inside(waves)
        projected = fft.ifft2(fft.fft2(projected) * damping).real
        transmission = np.exp(1j * energy2sigma(VOLTAGE) * projected).astype(np.complex64)
        return cls(transmission, cell, depth / slices, float(energy2wavelength(VOLTAGE)))

    @property
    def waves(self) -> FloatArray:
        """Wave vectors ``(y, x)`` of the beams, 1/Angstrom, shape ``(y, x, 2)``."""
        return _wave_vectors(self.transmission.shape[1:], self.cell)


def _wave_vectors(shape: tuple[int, ...], cell: FloatArray) -> FloatArray:
    y, x = (fft.fftfreq(n, length / n) for n, length in zip(shape, cell, strict=True))
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1)


def _inside(waves: FloatArray) -> NDArray[np.bool_]:
    """Beams within two thirds of the largest wave vector: products of two do not wrap around."""
    largest = np.abs(waves).max((0, 1)).min()
    return np.asarray(np.hypot(waves[..., 0], waves[..., 1]) < 2 / 3 * largest)


def diffract(crystal: Crystal, deformation: FloatArray, n_slices: int, incident: FloatArray) -> FloatArray:
    """Intensity of every beam behind a strained crystal.

    Parameters
    ----------
    crystal
        Unit cell.
    deformation
        Deformation gradient from that cell, shape ``(2, 2)``.
    n_slices
        Thickness in slices.
    incident
        Transverse wave vectors ``(y, x)`` of plane waves relative to the zone axis, 1/Angstrom, shape ``(n, 2)``.

    Returns
    -------
    intensity
        Share of each plane wave in each beam, shape ``(n, y, x)``, ordered as `Crystal.waves`.
    """
    waves = crystal.waves @ reciprocal(deformation).T
    square = ((waves + incident[:, None, None]) ** 2).sum(-1)
    propagator = np.exp(-1j * np.pi * crystal.wavelength * crystal.step * square) * _inside(crystal.waves)
    propagator = propagator.astype(np.complex64)
    wave = np.zeros(propagator.shape, np.complex64)
    wave[:, 0, 0] = 1.0
    for k in range(n_slices):
        wave = fft.ifft2(wave, overwrite_x=True) * crystal.transmission[k % len(crystal.transmission)]
        wave = fft.fft2(wave, overwrite_x=True) * propagator
    return np.abs(wave) ** 2


@dataclass(frozen=True)
class Material:
    """A crystal and its orientation.

    Attributes
    ----------
    crystal
        Unit cell.
    lattice
        Name of its lattice in `cyclestrain.simulation.LATTICES`.
    turn
        Angle from that lattice, whose first vector is along +x, to the unit cell, radians.
    first
        Length of the shortest reciprocal vector, 1/Angstrom.
    """

    crystal: Crystal
    lattice: str
    turn: float
    first: float


def _silicon() -> Material:
    """Silicon along [110], x along [-110]."""
    from ase.lattice.cubic import Diamond

    a = 5.431
    atoms = Diamond(directions=[[-1, 1, 0], [0, 0, 1], [1, 1, 0]], symbol="Si", latticeconstant=a)
    atoms.translate([0.0, 0.0, a / np.sqrt(32)])  # layers into the middle of the slices
    return Material(Crystal.from_atoms(atoms, 2, 0.46), "rhombic", -float(np.arctan(np.sqrt(0.5))), np.sqrt(3) / a)


def _tungsten_disulfide() -> Material:
    """WS2 monolayer, a zigzag row of tungsten along x."""
    import abtem
    from ase.build import mx2

    a = 3.18
    atoms = abtem.orthogonalize_cell(mx2("WS2", kind="2H", a=a, thickness=3.19, vacuum=1.0))
    return Material(Crystal.from_atoms(atoms, 3, 0.4), "hexagonal", np.pi / 6, 2 / (np.sqrt(3) * a))


def _tungsten_diselenide() -> Material:
    """WSe2 on the lattice of WS2, from which its truth is measured."""
    import abtem
    from ase.build import mx2

    atoms = abtem.orthogonalize_cell(mx2("WSe2", kind="2H", a=3.18, thickness=3.36, vacuum=1.0))
    return Material(Crystal.from_atoms(atoms, 3, 0.4), "hexagonal", np.pi / 6, 2 / (np.sqrt(3) * 3.18))


MATERIALS: dict[str, Callable[[], Material]] = {
    "Si": _silicon,
    "WS2": _tungsten_disulfide,
    "WSe2": _tungsten_diselenide,
}
"""Functions that make the crystals, by name."""


@dataclass(frozen=True)
class Specimen:
    """Material, deformation, thickness and tilt at every position.

    Attributes
    ----------
    material
        Index into the list of materials, `VACUUM` beside the sample, shape ``(ry, rx)``.
    deformation
        Deformation gradient from the unturned unit cell, shape ``(ry, rx, 2, 2)``.
    thickness
        Thickness, Angstrom, shape ``(ry, rx)``.
    tilt
        Tilt ``(y, x)`` of the crystal, radians, shape ``(ry, rx, 2)``.
    """

    material: NDArray[np.integer[Any]]
    deformation: FloatArray
    thickness: FloatArray
    tilt: FloatArray


def silicon(
    scan: tuple[int, int] = (24, 24), detector: tuple[int, int] = (256, 256), radius: float = 5.0
) -> SimulatedScan:
    """Strained silicon along [110], 20 to 40 nm thick, tilted by up to 3 mrad, without background and noise.

    The first rows are an unstrained substrate (grain 0); strain sets in smoothly below.

    Parameters
    ----------
    scan, detector
        Number of positions ``(ry, rx)``, and detector pixels ``(qy, qx)``.
    radius
        Disk radius, pixels.

    Raises
    ------
    InputError
        If the packages for multislice are not installed.
    """
    y, x = _unit_square(scan)
    onset = _smooth_step((y - 0.3) / 0.35)
    yy = onset * (0.012 + 0.004 * np.sin(2 * np.pi * (x + y)))
    xx = onset * (0.004 + 0.006 * np.cos(2 * np.pi * x))
    yx = onset * 0.004 * np.sin(2 * np.pi * x + 3 * y)
    turn = np.deg2rad(0.6) * onset * np.sin(2 * np.pi * (x - 0.6 * y))
    thickness = 300 + 60 * np.sin(2 * np.pi * (0.8 * x + 0.5 * y)) + 40 * np.cos(2 * np.pi * (1.3 * y - 0.4 * x))
    size, direction = 1.5e-3 * (1 + np.sin(2 * np.pi * (0.7 * x - 0.9 * y))), 2 * np.pi * (0.9 * x + 0.7 * y)
    specimen = Specimen(
        np.zeros(scan, np.int64),
        (np.eye(2) + symmetric(yy, xx, yx)) @ rotation(turn),
        thickness,
        size[..., None] * np.stack([np.sin(direction), np.cos(direction)], -1),
    )
    return _simulate(specimen, ["Si"], (onset > 0).astype(np.int64), scan, detector, radius)


def heterostructure(
    scan: tuple[int, int] = (24, 24), detector: tuple[int, int] = (256, 256), radius: float = 5.0
) -> SimulatedScan:
    """Monolayer of WS2 beside WSe2 that is stretched by 3 %, with a ripple in the strain and vacuum at the right edge.

    The truth of both is relative to the lattice of WS2; a strip at the left edge is unstrained (grain 0).

    Parameters
    ----------
    scan, detector
        Number of positions ``(ry, rx)``, and detector pixels ``(qy, qx)``.
    radius
        Disk radius, pixels.

    Raises
    ------
    InputError
        If the packages for multislice are not installed.
    """
    y, x = _unit_square(scan)
    material = np.where(x < 0.45 + 0.05 * np.sin(2 * np.pi * y), 0, 1)
    onset = _smooth_step((x - 0.2) / 0.1)
    ripple = 0.008 * onset * np.sin(2 * np.pi * 2.5 * (x + 0.3 * y))
    mismatch = np.where(material == 1, 0.030, 0.0)
    stretch = np.eye(2) + symmetric(mismatch - 0.25 * ripple, mismatch + ripple, 0.2 * ripple)
    specimen = Specimen(
        np.where(x > 0.9, VACUUM, material),
        stretch @ rotation(np.deg2rad(0.5) * np.sin(2 * np.pi * 1.5 * y)),
        np.zeros(scan),
        0.02 * ripple[..., None] * np.array([1.0, 4.0]),
    )
    grain = np.where(material == 1, 2, (onset > 0).astype(np.int64))
    return _simulate(specimen, ["WS2", "WSe2"], grain, scan, detector, radius)


def _unit_square(scan: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in scan), indexing="ij")
    return y, x


def _smooth_step(t: FloatArray) -> FloatArray:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def _simulate(
    specimen: Specimen,
    names: list[str],
    grain: NDArray[np.integer[Any]],
    scan: tuple[int, int],
    detector: tuple[int, int],
    radius: float,
) -> SimulatedScan:
    """Draw every position of a specimen, and write down its truth."""
    try:
        materials = [MATERIALS[name]() for name in names]
    except ImportError as error:
        raise InputError(f"{error}: dynamical diffraction needs pip install 'cyclestrain[multislice]'") from error
    acquisition = Acquisition(
        scan=scan, detector=detector, background=0.0, radius=radius, lattice=materials[0].lattice, noise_free=True
    )
    turn = rotation(materials[0].turn)
    sample = Sample.from_field(acquisition.make_lattice(), specimen.deformation @ turn)
    crystal = np.where(specimen.material == VACUUM, VACUUM, sample.dominant)[..., None]
    sample = dataclasses.replace(sample, crystal=crystal, grain=grain.ravel())
    shape = (*scan, *detector)
    patterns = np.empty(shape, np.float32)
    for at in np.ndindex(scan):
        patterns[at] = _pattern(specimen, materials, at, acquisition)
    parameters = dataclasses.asdict(acquisition) | {"spacing": acquisition.ring, "radius": acquisition.disk_radius}
    parameters |= {"phantom": "+".join(names), "voltage": VOLTAGE}
    truth = make_truth(sample, acquisition.centres(), parameters)
    truth["thickness"] = (("ry", "rx"), specimen.thickness, {"unit": "Angstrom"})
    truth["tilt"] = (("ry", "rx", "axis"), specimen.tilt, {"unit": "rad"})
    return SimulatedScan(Scan(patterns, name="+".join(names)), truth)


def _pattern(
    specimen: Specimen, materials: list[Material], at: tuple[int, ...], acquisition: Acquisition
) -> FloatArray:
    """Share of the beam in every pixel, disks drawn where the strained lattice puts them."""
    centre = acquisition.centres()[at]
    image = np.zeros(acquisition.detector)
    k = int(specimen.material[at])
    radius = acquisition.disk_radius
    if k == VACUUM:
        _draw(image, centre, radius, np.ones((KNOTS, KNOTS)))
        return image
    material = materials[k]
    crystal, scale = material.crystal, acquisition.ring / material.first
    knots = np.linspace(-1, 1, KNOTS) * _reach(radius)
    offsets = np.stack(np.meshgrid(knots, knots, indexing="ij"), -1).reshape(-1, 2)
    incident = offsets / scale + specimen.tilt[at] / crystal.wavelength
    n_slices = max(round(float(specimen.thickness[at]) / crystal.step), len(crystal.transmission))
    intensity = diffract(crystal, specimen.deformation[at], n_slices, incident)
    places = centre + scale * crystal.waves @ reciprocal(specimen.deformation[at]).T
    seen = ((places > -radius) & (places < np.array(acquisition.detector) + radius)).all(-1) & _inside(crystal.waves)
    for row, column in zip(*np.nonzero(seen), strict=True):
        _draw(image, places[row, column], radius, intensity[:, row, column].reshape(KNOTS, KNOTS))
    return image


def _reach(radius: float) -> float:
    """Distance from the middle of a disk of the last plane wave, pixels: beyond the soft edge."""
    return radius + 4 * EDGE


def _draw(image: FloatArray, place: FloatArray, radius: float, intensity: FloatArray) -> None:
    """Add one disk whose inside follows `intensity`, given on a square of half width `_reach`; pixels integrate."""
    half = int(np.ceil(_reach(radius))) + 1
    first = np.rint(place).astype(int) - half
    rows, columns = (slice(max(f, 0), max(f + 2 * half + 1, 0)) for f in first)
    target = image[rows, columns]
    if not target.size:
        return
    fine = (np.arange(SUBPIXELS) + 0.5) / SUBPIXELS - 0.5
    start = (max(first[0], 0), max(first[1], 0))
    y, x = ((start[i] + np.arange(target.shape[i])[:, None] + fine).ravel() - place[i] for i in (0, 1))
    offset = np.stack(np.meshgrid(y, x, indexing="ij"))
    knots = (offset / _reach(radius) + 1) * (KNOTS - 1) / 2
    inside = np.maximum(map_coordinates(intensity, knots, order=3, mode="nearest"), 0.0)
    aperture = 0.5 * erfc((np.hypot(*offset) - radius) / (np.sqrt(2) * EDGE))
    shape = (target.shape[0], SUBPIXELS, target.shape[1], SUBPIXELS)
    target += (inside * aperture).reshape(shape).mean((1, 3)) / (np.pi * radius**2)

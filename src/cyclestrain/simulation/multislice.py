r"""Scans of crystals that scatter dynamically.

In crystals thicker than a few nanometres the convergent-beam disks are full of contrast that changes with thickness
and tilt. Disks that do not overlap do not interfere, so every point of a disk is one plane wave: at offset
:math:`\kappa` from the middle of reflection `g` the intensity is that of the beam `g` for an incident wave of
transverse wave vector :math:`\kappa + \tau/\lambda` (crystal tilt :math:`\tau`). The waves go slice by slice through
one projected unit cell (potentials by abTEM) in the coordinates of the lattice; the strain is in the propagator,

.. math:: P_g = \exp(-i \pi \lambda \Delta z |F^{-T} g + \kappa + \tau/\lambda|^2),

with one deformation `F` for each material of a scan (a strained cell), and exactly in the place where the disk of
every position is drawn. So one `Library` for each material holds all intensities, over thickness and over the
direction of the incident wave, in which tilts and aperture lie; positions read theirs from it.
Needs the extra: ``pip install cyclestrain[multislice]``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from cyclestrain.affine import reciprocal, rotation, symmetric
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.simulation._compiled import compiled
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.patterns import EDGE
from cyclestrain.simulation.sample import VACUUM, Sample, SimulatedScan, make_truth

if TYPE_CHECKING:
    from ase import Atoms

__all__ = [
    "MATERIALS",
    "ORIENTATIONS",
    "VOLTAGE",
    "Crystal",
    "Library",
    "Material",
    "Specimen",
    "cubic",
    "diffract",
    "heterostructure",
    "silicon",
    "simulate",
    "smooth_step",
    "unit_square",
]

FloatArray = NDArray[np.floating[Any]]

VOLTAGE = 200e3
"""Acceleration voltage, volts."""
SAMPLING = 0.17
"""Pixel of the projected unit cell, at most, in Angstrom."""
MOST_APART = 0.4e-3
"""Directions of the plane waves of a library, radians apart; contrast is smooth between them."""
KNOTS = 10
"""Plane waves along each axis of the aperture, at the least."""
SUBPIXELS = 4
FAINTEST = 1e-7
"""Largest share of the beam in a disk that is not drawn."""


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
        return cls.from_alloy([(1.0, atoms)], slices, vibration)

    @classmethod
    def from_alloy(cls, parts: Sequence[tuple[float, Atoms]], slices: int, vibration: float) -> Crystal:
        """Project the mean of some unit cells of one size, each with its share."""
        from abtem.core.energy import energy2sigma, energy2wavelength

        x, y, depth = (float(length) for length in parts[0][1].cell.lengths())
        projected = np.sum([share * _project(atoms, slices) for share, atoms in parts], axis=0)
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


def _project(atoms: Atoms, slices: int) -> FloatArray:
    """Projected potential of every slice of an orthogonal unit cell, shape ``(slice, y, x)``."""
    import abtem

    x, y, depth = (float(length) for length in atoms.cell.lengths())
    potential = abtem.Potential(
        atoms,
        gpts=(2 * round(x / SAMPLING / 2), 2 * round(y / SAMPLING / 2)),
        slice_thickness=depth / slices,
        parametrization="lobato",
        projection="infinite",
    )
    return np.asarray(potential.build(lazy=False).array, float).transpose(0, 2, 1)


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

    def at(self, thickness: float) -> NDArray[np.float32]:
        """Intensity at the nearest thickness, shape ``(beam, y, x)``."""
        return self.intensity[int(np.abs(self.thickness - thickness).argmin())]


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


ZONES = {"110": [[-1, 1, 0], [0, 0, 1], [1, 1, 0]], "100": np.eye(3, dtype=int).tolist(), "111": [
    [1, -1, 0], [1, 1, -2], [1, 1, 1],
]}  # fmt: skip
"""Directions of x, y and the beam."""
RHOMBIC = ("rhombic", -math.atan(math.sqrt(0.5)), math.sqrt(3.0))
ORIENTATIONS = {
    ("diamond", "110"): RHOMBIC,
    ("zincblende", "110"): RHOMBIC,
    ("fcc", "110"): RHOMBIC,
    ("diamond", "100"): ("square", np.pi / 4, math.sqrt(8.0)),
    ("fcc", "100"): ("square", 0.0, 2.0),
    ("bcc", "100"): ("square", np.pi / 4, math.sqrt(2.0)),
    ("perovskite", "100"): ("square", 0.0, 1.0),
    ("diamond", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("zincblende", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("fcc", "111"): ("hexagonal", 0.0, math.sqrt(8.0)),
    ("bcc", "111"): ("hexagonal", 0.0, math.sqrt(2.0)),
}
"""Name of the lattice, angle from it to the cell, and shortest reciprocal vector in units of 1/a."""


def cubic(
    structure: str, zone: str, symbols: Sequence[str], constant: float, vibration: float, alloy: float | None = None
) -> Material:
    """A cubic crystal along a zone axis.

    Parameters
    ----------
    structure, zone
        ``diamond``, ``zincblende``, ``fcc``, ``bcc`` or ``perovskite`` along ``110``, ``100`` or ``111``, where that
        lattice is one of `cyclestrain.simulation.LATTICES`.
    symbols
        Elements; of an alloy the two that share the places.
    constant
        Lattice constant, Angstrom.
    vibration
        Debye-Waller factor `B`, square Angstrom.
    alloy
        Share of the second element of an alloy.
    """
    lattice, turn, first = ORIENTATIONS[structure, zone]
    directions = ZONES[zone]
    parts = [(1.0, symbols)] if alloy is None else [(1 - alloy, symbols[:1]), (alloy, symbols[1:2])]
    cells: list[tuple[float, Any]] = [(share, _cell(structure, directions, of, constant)) for share, of in parts]
    depths = np.unique(np.round(cells[0][1].positions[:, 2], 3))
    slices = 3 if zone == "111" else len(depths)  # the double layers of diamond along [111] stay together
    for _, atoms in cells:
        atoms.translate([0.0, 0.0, atoms.cell.lengths()[2] * (5 / 24 if len(depths) == 6 else 0.5 / slices)])
        atoms.wrap()
    return Material(Crystal.from_alloy(cells, slices, vibration), lattice, turn, first / constant)


def _cell(structure: str, directions: list[list[int]], symbols: Sequence[str], constant: float) -> Atoms:
    from ase.lattice import compounds
    from ase.lattice import cubic as elements

    class Perovskite(elements.SimpleCubicFactory):
        bravais_basis = ((0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5))
        element_basis = (0, 1, 2, 2, 2)

    make = {
        "diamond": elements.Diamond,
        "fcc": elements.FaceCenteredCubic,
        "bcc": elements.BodyCenteredCubic,
        "zincblende": compounds.B3,
        "perovskite": Perovskite(),
    }[structure]
    symbol = symbols[0] if len(symbols) == 1 else tuple(symbols)
    return make(directions=directions, symbol=symbol, latticeconstant=constant)


def _monolayer(formula: str, thickness: float) -> Material:
    """Monolayer on the lattice of WS2, from which truth is measured, a zigzag row of tungsten along x."""
    import abtem
    from ase import build

    a, make = 3.18, cast("Any", build.mx2)
    atoms = abtem.orthogonalize_cell(make(formula, kind="2H", a=a, thickness=thickness, vacuum=1.0))
    return Material(Crystal.from_atoms(atoms, 3, 0.4), "hexagonal", np.pi / 6, 2 / (np.sqrt(3) * a))


MATERIALS: dict[str, Callable[[], Material]] = {
    "Si": lambda: cubic("diamond", "110", ["Si"], 5.431, 0.46),
    "WS2": lambda: _monolayer("WS2", 3.19),
    "WSe2": lambda: _monolayer("WSe2", 3.36),
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
    y, x = unit_square(scan)
    onset = smooth_step((y - 0.3) / 0.35)
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
    acquisition = Acquisition(scan=scan, detector=detector, radius=radius)
    return simulate(specimen, [MATERIALS["Si"]], (onset > 0).astype(np.int64), acquisition, "Si")


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
    y, x = unit_square(scan)
    material = np.where(x < 0.45 + 0.05 * np.sin(2 * np.pi * y), 0, 1)
    onset = smooth_step((x - 0.2) / 0.1)
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
    acquisition = Acquisition(scan=scan, detector=detector, radius=radius)
    return simulate(specimen, [MATERIALS["WS2"], MATERIALS["WSe2"]], grain, acquisition, "WS2+WSe2")


def unit_square(scan: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Positions of a scan ``y, x`` from 0 to 1."""
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in scan), indexing="ij")
    return y, x


def smooth_step(t: FloatArray) -> FloatArray:
    """From 0 at 0 to 1 at 1, flat at both ends."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))


def simulate(
    specimen: Specimen,
    materials: Sequence[Callable[[], Material]],
    grain: NDArray[np.integer[Any]],
    acquisition: Acquisition,
    name: str,
) -> SimulatedScan:
    """Draw every position of a specimen, without background and noise, and write down its truth.

    Parameters
    ----------
    specimen
        What stands at every position.
    materials
        What makes the crystals `Specimen.material` counts; the truth is relative to the lattice of the first.
    grain
        Grain of each position for the truth, shape ``(ry, rx)``.
    acquisition
        Scan, detector, radius and spacing of the disks; its lattice is that of the first material.
    name
        Of the scan.
    """
    try:
        made = [make() for make in materials]
    except ImportError as error:
        raise InputError(f"{error}: dynamical diffraction needs pip install 'cyclestrain[multislice]'") from error
    acquisition = dataclasses.replace(acquisition, background=0.0, lattice=made[0].lattice, noise_free=True)
    scale = acquisition.ring / made[0].first
    sample = Sample.from_field(acquisition.make_lattice(), specimen.deformation @ rotation(made[0].turn))
    crystal = np.where(specimen.material == VACUUM, VACUUM, sample.dominant)[..., None]
    sample = dataclasses.replace(sample, crystal=crystal, grain=grain.ravel())
    present = np.unique(specimen.material[specimen.material != VACUUM]).tolist()
    libraries = {k: _library(specimen, k, made[k].crystal, acquisition, scale) for k in present}
    patterns = np.zeros((*acquisition.scan, *acquisition.detector), np.float32)

    def draw(at: tuple[int, ...]) -> None:
        patterns[at] = _pattern(specimen, libraries, at, acquisition, scale)

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, np.ndindex(acquisition.scan)))
    parameters = dataclasses.asdict(acquisition) | {"spacing": acquisition.ring, "radius": acquisition.disk_radius}
    truth = make_truth(sample, acquisition.centres(), parameters | {"phantom": name, "voltage": VOLTAGE})
    truth["thickness"] = (("ry", "rx"), specimen.thickness, {"unit": "Angstrom"})
    truth["tilt"] = (("ry", "rx", "axis"), specimen.tilt, {"unit": "rad"})
    return SimulatedScan(Scan(patterns, name=name), truth)


def _library(specimen: Specimen, k: int, crystal: Crystal, acquisition: Acquisition, scale: float) -> Library:
    """All that the positions of material `k` read; its strained cell is that of their mean deformation."""
    here = specimen.material == k
    return Library.computed(
        crystal,
        specimen.deformation[here].mean(0),
        thickness=specimen.thickness[here],
        aperture=_reach(acquisition.disk_radius) / scale * crystal.wavelength,
        tilt=float(np.abs(specimen.tilt[here]).max()),
        largest=1.1 * (math.hypot(*acquisition.detector) / 2 + acquisition.disk_radius) / scale,
    )


def _pattern(
    specimen: Specimen, libraries: dict[int, Library], at: tuple[int, ...], acquisition: Acquisition, scale: float
) -> FloatArray:
    """Share of the beam in every pixel, disks drawn where the strained lattice puts them."""
    centre = acquisition.centres()[at]
    image = np.zeros(acquisition.detector)
    k = int(specimen.material[at])
    if k == VACUUM:
        empty = np.ones((1, 5, 5), np.float32)
        _draw(image, centre[None], empty, np.full(2, 2.0), 0.0, acquisition.disk_radius, EDGE, _reach(0.0))
        return image
    library = libraries[k]
    places = centre + scale * library.beams @ reciprocal(specimen.deformation[at]).T
    intensity = library.at(float(specimen.thickness[at]))
    middle = (intensity.shape[1] - 1) / 2 + specimen.tilt[at] / library.wavelength / library.spacing
    step = 1.0 / (scale * library.spacing)
    _draw(image, places, intensity, middle, step, acquisition.disk_radius, EDGE, _reach(0.0))
    return image


def _reach(radius: float) -> float:
    """Distance from the middle of a disk to where its soft edge ends, pixels."""
    return radius + 4 * EDGE


@compiled
def _between(values: NDArray[np.float32], y: float, x: float) -> float:
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


@compiled
def _draw(
    image: FloatArray,
    places: FloatArray,
    intensity: NDArray[np.float32],
    middle: FloatArray,
    step: float,
    radius: float,
    edge: float,
    reach: float,
) -> None:
    """Add a disk at every place; pixels integrate.

    What stands `d` pixels from the middle of a disk is `intensity`, shape ``(disk, y, x)``, at ``middle + step d``.
    """
    area = math.pi * radius * radius
    half = radius + reach + 1.0
    for n in range(places.shape[0]):
        if intensity[n].max() < FAINTEST:
            continue
        y, x = places[n, 0], places[n, 1]
        for j in range(max(0, math.ceil(y - half)), min(image.shape[0], math.floor(y + half) + 1)):
            for i in range(max(0, math.ceil(x - half)), min(image.shape[1], math.floor(x + half) + 1)):
                total = 0.0
                for q in range(SUBPIXELS * SUBPIXELS):
                    dy = j - y + (q // SUBPIXELS + 0.5) / SUBPIXELS - 0.5
                    dx = i - x + (q % SUBPIXELS + 0.5) / SUBPIXELS - 0.5
                    outside = math.hypot(dy, dx) - radius
                    if outside < reach:
                        share = 0.5 * math.erfc(outside / (math.sqrt(2.0) * edge)) if outside > -reach else 1.0
                        total += share * _between(intensity[n], middle[0] + step * dy, middle[1] + step * dx)
                image[j, i] += total / (SUBPIXELS * SUBPIXELS * area)

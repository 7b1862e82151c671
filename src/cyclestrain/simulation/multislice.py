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
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import reciprocal, rotation, symmetric
from cyclestrain.data import FloatArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.simulation._compiled import compiled
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.materials import MATERIALS, Material
from cyclestrain.simulation.patterns import EDGE
from cyclestrain.simulation.propagation import Crystal, Library, between
from cyclestrain.simulation.sample import VACUUM, Sample, SimulatedScan, make_truth

if TYPE_CHECKING:
    pass

__all__ = ["Specimen", "heterostructure", "silicon", "simulate", "smooth_step", "unit_square"]


SUBPIXELS = 4
FAINTEST = 1e-7
"""Largest share of the beam in a disk that is not drawn."""


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
    truth = make_truth(
        sample, acquisition.centres(), parameters | {"phantom": name, "voltage": made[0].crystal.voltage}
    )
    drawn = specimen.thickness.astype(float)
    for k, library in libraries.items():
        drawn[specimen.material == k] = library.nearest(specimen.thickness[specimen.material == k])[1]
    truth["thickness"] = (("ry", "rx"), drawn, {"unit": "Angstrom"})
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
    intensity = library.intensity[library.nearest(specimen.thickness[at])[0]]
    middle = (intensity.shape[1] - 1) / 2 + specimen.tilt[at] / library.wavelength / library.spacing
    step = 1.0 / (scale * library.spacing)
    _draw(image, places, intensity, middle, step, acquisition.disk_radius, EDGE, _reach(0.0))
    return image


def _reach(radius: float) -> float:
    """Distance from the middle of a disk to where its soft edge ends, pixels."""
    return radius + 4 * EDGE


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
                        total += share * between(intensity[n], middle[0] + step * dy, middle[1] + step * dx)
                image[j, i] += total / (SUBPIXELS * SUBPIXELS * area)

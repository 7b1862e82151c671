"""Many unlike scans of thick crystals: a table of specimens and how they are recorded.

Each row of `SETS` is one scan: a material (or layers of two) along a zone axis, its thickness, bend, convergence and
detector, and the background it is recorded on, from flat to a peak narrower than the direct beam's disk. In disks of a
few pixels, contrast that changes with thickness passes for motion: four sets are such. Work on those that are not
`ThickSet.held_out`, and report on the others.

    made = SETS["SiGe layers [110]"].make()          # seconds; truth included
    scan = SETS["SiGe layers [110]"].record(made, background=0.6, seed=1)

Needs the extra: ``pip install cyclestrain[multislice]``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.affine import rotation, symmetric
from cyclestrain.simulation.acquisition import Acquisition
from cyclestrain.simulation.materials import ORIENTATIONS, Material, cubic
from cyclestrain.simulation.multislice import Specimen, simulate, smooth_step, unit_square
from cyclestrain.simulation.sample import SimulatedScan

__all__ = ["SETS", "Background", "Layer", "ThickSet"]

FloatArray = NDArray[np.floating[Any]]

WAVELENGTH = 0.0250793
"""Of electrons of 200 kV, Angstrom."""
TETRAGONAL = 1.77
"""Strain along the growth direction of a film that is coherent with its substrate, in units of its misfit."""


@dataclass(frozen=True)
class Background:
    """Radial background ``(1 + (q / width)^2)^-fall``, `q` in pixels from the beam."""

    width: float
    fall: float = 1.0

    def image(self, shape: tuple[int, int], centre: FloatArray) -> FloatArray:
        """Image that sums to one."""
        y, x = np.indices(shape)
        square = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        image: FloatArray = (1.0 + square / self.width**2) ** -self.fall
        return image / image.sum()


FLAT = Background(60.0)
SMOOTH = Background(8.0)
PEAK = Background(2.56)
"""That of the published benchmark on 256 pixels."""
SHARP = Background(1.5)
NEEDLE = Background(2.2, 1.5)


@dataclass(frozen=True)
class Layer:
    """Part of the growth direction (row) and the share of the second element in it."""

    start: float
    stop: float
    share: float


@dataclass(frozen=True)
class ThickSet:
    """One scan.

    Attributes
    ----------
    material
        Structure, zone, elements, lattice constant (Angstrom) and Debye-Waller factor, see `multislice.cubic`.
    thickness
        Least and largest, nm.
    tilt
        Largest tilt of the bent crystal, mrad.
    convergence
        Half angle of the beam, mrad.
    ring
        Shortest reciprocal vector, pixels.
    background
        What it is recorded on.
    layers
        Coherent layers of an alloy, grown along the rows; none for a smooth strain in one material.
    misfit
        Of the pure second element.
    strain
        Size of the smooth strain.
    detector
        Pixels ``(qy, qx)``.
    seed
        Draws the course of strain, thickness and bend.
    held_out
        Kept for reporting.
    """

    material: tuple[str, str, tuple[str, ...], float, float]
    thickness: tuple[float, float]
    tilt: float
    convergence: float
    ring: float
    background: Background
    layers: tuple[Layer, ...] = ()
    misfit: float = 0.0418
    strain: float = 0.01
    detector: tuple[int, int] = (256, 256)
    seed: int = 0
    held_out: bool = False

    @property
    def radius(self) -> float:
        """Radius of the disks, pixels."""
        structure, zone, _, constant, _ = self.material
        return self.ring * self.convergence * 1e-3 / (WAVELENGTH * ORIENTATIONS[structure, zone][2] / constant)

    def acquisition(self, scan: tuple[int, int]) -> Acquisition:
        """Detector and disks."""
        return Acquisition(scan=scan, detector=self.detector, radius=self.radius, spacing=self.ring)

    def make(self, scan: tuple[int, int] = (24, 24)) -> SimulatedScan:
        """Patterns without background and noise."""
        y, x = unit_square(scan)
        wave = partial(_wave, y, x, np.random.default_rng(self.seed))
        onset = smooth_step((y - 0.25) / 0.15)
        share = np.zeros(scan)
        for layer in self.layers:
            share[(y >= layer.start) & (y < layer.stop)] = layer.share
        yy = TETRAGONAL * self.misfit * share + self.strain * onset * (0.7 * wave() + 0.3)
        xx = self.strain * onset * (0.7 * wave() - 0.3) + 0.1 * self.misfit * share
        turn = np.deg2rad(0.5) * onset * wave()
        least, largest = (10.0 * t for t in self.thickness)
        thickness = least + (largest - least) * (0.5 + 0.5 * wave())
        size, direction = 1e-3 * self.tilt * (0.5 + 0.5 * wave()), 2 * np.pi * wave()
        shares, material = np.unique(share, return_inverse=True)
        specimen = Specimen(
            material.reshape(scan),
            (np.eye(2) + symmetric(yy, xx, 0.4 * self.strain * onset * wave())) @ rotation(turn),
            thickness,
            size[..., None] * np.stack([np.sin(direction), np.cos(direction)], -1),
        )
        name = "-".join([*self.material[2], self.material[1]])
        grain = np.where(onset > 0, 1 + material.reshape(scan), 0)
        return simulate(specimen, [self._of(float(s)) for s in shares], grain, self.acquisition(scan), name)

    def _of(self, share: float) -> Callable[[], Material]:
        return partial(cubic, *self.material, alloy=share) if self.layers else partial(cubic, *self.material)

    def record(
        self,
        made: SimulatedScan,
        *,
        background: float,
        counts: float = 1e5,
        seed: int = 0,
        shape: Background | None = None,
    ) -> SimulatedScan:
        """Counts with a share of `background` of this set's (or another) `shape`, and with shot noise."""
        patterns, truth = made.scan.row_band(0, made.scan.scan_shape[0]), made.truth
        centres = np.stack([truth["centre_y"], truth["centre_x"]], -1)
        smooth = (shape or self.background).image(made.scan.detector_shape, centres[0, 0])
        rng = np.random.default_rng(seed)
        noisy = np.empty(patterns.shape, np.uint16)
        for at in np.ndindex(made.scan.scan_shape):
            noisy[at] = rng.poisson(counts * ((1 - background) * patterns[at] + background * smooth))
        own = {"background": background, "counts": counts, "seed": seed, "noise_free": 0}
        return SimulatedScan(dataclasses.replace(made.scan, source=noisy), truth.assign_attrs(truth.attrs | own))


def _wave(y: FloatArray, x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Smooth course between -1 and 1 over the scan with a random direction, period and phase."""
    angle, period, phase = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.3), rng.uniform(0, 2 * np.pi)
    along = math.sin(angle) * y + math.cos(angle) * x
    return np.asarray(np.sin(2 * np.pi * along / period + phase))


SI = ("diamond", "110", ("Si",), 5.431, 0.46)
SIGE = ("diamond", "110", ("Si", "Ge"), 5.431, 0.5)
STACK = (Layer(0.35, 0.55, 0.2), Layer(0.7, 0.9, 0.35))
SMALL = (128, 128)
MULTILAYER = (Layer(0.3, 0.42, 0.3), Layer(0.5, 0.62, 0.3), Layer(0.7, 0.82, 0.3))

SETS = {
    "SiGe layers [110]": ThickSet(SIGE, (23, 38), 3.3, 1.5, 41.0, PEAK, STACK, strain=0.003),
    "Si [110], flat": ThickSet(SI, (20, 40), 3.0, 1.0, 37.9, FLAT, seed=1),
    "Ge [110]": ThickSet(("diamond", "110", ("Ge",), 5.658, 0.57), (15, 30), 2.5, 1.2, 40.0, SMOOTH, seed=2),
    "Si [100]": ThickSet(("diamond", "100", ("Si",), 5.431, 0.46), (25, 45), 2.0, 2.0, 46.0, PEAK, seed=3),
    "Au [111]": ThickSet(("fcc", "111", ("Au",), 4.078, 0.57), (6, 14), 2.0, 3.0, 44.0, NEEDLE, seed=4),
    "SrTiO3 [100]": ThickSet(
        ("perovskite", "100", ("Sr", "Ti", "O"), 3.905, 0.5), (10, 25), 1.5, 1.5, 30.0, SHARP, seed=5
    ),
    "Al [100]": ThickSet(
        ("fcc", "100", ("Al",), 4.05, 0.86), (30, 60), 3.3, 1.0, 40.0, SMOOTH, detector=(192, 192), seed=6
    ),
    "Cu [100], small disks": ThickSet(
        ("fcc", "100", ("Cu",), 3.615, 0.55), (42, 52), 0.0, 2.7, 20.0, SMOOTH, strain=0.003, detector=SMALL, seed=4
    ),
    "Ni [111], small disks": ThickSet(
        ("fcc", "111", ("Ni",), 3.52, 0.4), (25, 40), 1.0, 2.6, 20.0, PEAK, strain=0.003, detector=SMALL, seed=7
    ),
    "SiGe multilayer [110]": ThickSet(
        SIGE, (28, 45), 3.0, 1.8, 36.0, SHARP, MULTILAYER, strain=0.003, seed=7, held_out=True
    ),
    "SiGe layers [100]": ThickSet(
        ("diamond", "100", ("Si", "Ge"), 5.431, 0.5),
        (20, 40),
        3.3,
        2.2,
        48.0,
        NEEDLE,
        STACK,
        strain=0.003,
        seed=8,
        held_out=True,
    ),
    "GaAs [110]": ThickSet(
        ("zincblende", "110", ("Ga", "As"), 5.653, 0.6), (20, 35), 3.3, 1.4, 42.0, PEAK, seed=9, held_out=True
    ),
    "Ge [111]": ThickSet(
        ("diamond", "111", ("Ge",), 5.658, 0.57), (15, 30), 2.0, 2.5, 44.0, SHARP, seed=10, held_out=True
    ),
    "Fe [100]": ThickSet(
        ("bcc", "100", ("Fe",), 2.866, 0.35), (15, 35), 3.0, 4.0, 50.0, NEEDLE, seed=11, held_out=True
    ),
    "Au [110]": ThickSet(("fcc", "110", ("Au",), 4.078, 0.57), (5, 12), 3.3, 2.0, 40.0, SMOOTH, seed=12, held_out=True),
    "Al [111]": ThickSet(("fcc", "111", ("Al",), 4.05, 0.86), (30, 60), 2.0, 1.0, 46.0, FLAT, seed=13, held_out=True),
    "Pd [110], small disks": ThickSet(
        ("fcc", "110", ("Pd",), 3.891, 0.45),
        (22, 32),
        0.5,
        1.9,
        17.0,
        SMOOTH,
        strain=0.003,
        detector=SMALL,
        seed=14,
        held_out=True,
    ),
    "W [100], small disks": ThickSet(
        ("bcc", "100", ("W",), 3.165, 0.2),
        (15, 25),
        1.0,
        2.2,
        18.0,
        PEAK,
        strain=0.003,
        detector=SMALL,
        seed=15,
        held_out=True,
    ),
}
"""Scans by name."""

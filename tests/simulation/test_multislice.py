"""Dynamical diffraction against abTEM's own multislice, and the scans made of it."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import reciprocal
from cyclestrain.data import Scan
from cyclestrain.simulation import SimulatedScan, record

pytestmark = pytest.mark.filterwarnings("ignore")
pytest.importorskip("abtem")

from cyclestrain.simulation.materials import MATERIALS  # noqa: E402
from cyclestrain.simulation.multislice import heterostructure, silicon  # noqa: E402
from cyclestrain.simulation.propagation import VOLTAGE, Crystal, diffract  # noqa: E402

MRAD = 1e-3


@pytest.mark.parametrize("tilt", [0.0, 2.0])
def test_beams_are_those_of_abtem(tilt: float) -> None:
    """Unstrained silicon without vibrations, 15 nm: the same intensities, tilted or not."""
    import abtem
    from ase.lattice.cubic import Diamond

    a = 5.431
    atoms = Diamond(directions=[[-1, 1, 0], [0, 0, 1], [1, 1, 0]], symbol="Si", latticeconstant=a)
    atoms.translate([0.0, 0.0, a / np.sqrt(32)])
    crystal = Crystal.from_atoms(atoms, 2, 0.0)
    incident = np.array([[0.0, tilt * MRAD / crystal.wavelength]])
    ours = diffract(crystal, np.eye(2), [80], incident)[0, 0]
    potential = abtem.Potential(
        atoms * (1, 1, 40), gpts=crystal.transmission.shape[:0:-1], slice_thickness=crystal.step,
        parametrization="lobato", projection="infinite",
    )  # fmt: skip
    wave = abtem.PlaneWave(energy=VOLTAGE, tilt=(tilt, 0.0)).multislice(potential, lazy=False)
    theirs = np.abs(np.fft.fft2(wave.array.T)) ** 2
    theirs /= theirs.sum()
    near = np.hypot(*np.moveaxis(crystal.waves, -1, 0)) < 1.0
    assert ours[0, 0] < 0.8  # dynamical
    np.testing.assert_allclose(ours[near], theirs[near], atol=5e-3)


def test_atoms_may_lie_between_pixels() -> None:
    """A crystal that is shifted across the beam scatters as before."""
    from ase.lattice.compounds import B3

    atoms = B3(directions=[[-1, 1, 0], [0, 0, 1], [1, 1, 0]], symbol=("Ga", "As"), latticeconstant=5.653)
    each = []
    for shift in ([0.0, 0.0, 0.5], [0.05, 0.03, 0.5]):
        moved = atoms.copy()
        moved.translate(shift)
        each.append(diffract(Crystal.from_atoms(moved, 2, 0.6), np.eye(2), [80], np.array([[0.02, 0.05]])))
    np.testing.assert_allclose(each[0], each[1], atol=1e-4)


def test_a_thick_crystal_loses_next_to_nothing() -> None:
    """Without absorption only what is scattered beyond the largest wave vector is missing."""
    crystal = MATERIALS["Si"]().crystal
    deformation = np.array([[1.01, 0.003], [0.002, 0.99]])
    intensity = diffract(crystal, deformation, [80, 150], np.array([[0.05, 0.1], [0.0, 0.0]]))
    assert (np.abs(intensity.sum((2, 3)) - 1) < 0.01).all()


@pytest.mark.parametrize("make", [silicon, heterostructure])
def test_disks_lie_where_the_strained_lattice_puts_them(make) -> None:
    """No pixel farther from the truth's lattice than a disk reaches has any intensity."""
    made = make(scan=(2, 2), detector=(128, 128), radius=3.0)
    truth, patterns = made.truth, np.asarray(made.scan.source)
    ring = truth.attrs["spacing"]
    basis = ring * np.array([[0, 1], [np.sqrt(8), 1]]) / np.array([[1], [3]])
    basis = basis if make is silicon else ring * np.array([[0, 1], [np.sqrt(0.75), 0.5]])
    index = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 2), -1).reshape(-1, 2)
    y, x = np.indices((128, 128))
    for at in np.ndindex(2, 1):
        vectors = index @ basis @ reciprocal(truth["F"].values[at]).T
        distance = np.min([np.hypot(y - 63.5 - v[0], x - 63.5 - v[1]) for v in vectors], axis=0)
        assert patterns[at][distance > 4.6].max() < 1e-5  # next to nothing in beams of higher Laue zones
        assert patterns[at][distance < 2.0].sum() > 0.3


def test_recorded_counts_add_up() -> None:
    made = heterostructure(scan=(2, 3), detector=(128, 128), radius=3.0)
    assert made.truth["class"].values[0].tolist() == [0, 0, -1]
    recorded = record(made, background=0.4, counts=2e4, seed=3)
    assert isinstance(recorded, SimulatedScan)
    assert isinstance(recorded.scan, Scan)
    counts = np.asarray(recorded.scan.source)
    assert counts.dtype.kind == "u"
    np.testing.assert_allclose(counts.sum((2, 3)), 2e4, rtol=0.06)
    assert recorded.truth.attrs["background"] == 0.4

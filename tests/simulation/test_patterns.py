"""Disks are where, and as large, as they are said to be."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass

from cyclestrain.affine import left_polar, reciprocal
from cyclestrain.simulation import LATTICES, Acquisition, AcquisitionOptions, polycrystal, uniform
from cyclestrain.simulation.lattice import make_lattice
from cyclestrain.simulation.patterns import background, draw_disk

# A pixel integrates over its area: the centre of mass of a disk with a 1 px edge keeps an aliasing error below this.
CENTRE_TOLERANCE = 1e-3
ROUND = np.array([4.2, 0.0, 1.0, 0.0, 0.0, 1.0])


@pytest.mark.parametrize(("y", "x"), [(20.0, 20.0), (19.73, 21.31), (20.5, 20.25), (18.125, 22.9)])
def test_disk_has_its_area_and_its_centre(y: float, x: float) -> None:
    image = np.zeros((41, 41))
    added = draw_disk(image, y, x, 1.0, ROUND, 0.0, 1.0, 0.0)
    assert added == pytest.approx(image.sum())
    assert image.sum() == pytest.approx(1.0, abs=3e-3)  # the blur of a convex edge adds (edge / radius)^2
    assert center_of_mass(image) == pytest.approx((y, x), abs=CENTRE_TOLERANCE)


def test_disk_is_flat_inside_and_its_edge_is_one_pixel_wide() -> None:
    image = np.zeros((41, 41))
    draw_disk(image, 20.0, 20.0, np.pi * 4.2**2, ROUND, 0.0, 1.0, 0.0)
    profile = image[20, 20:]
    assert profile[:4] == pytest.approx(1.0, abs=1e-3)
    assert 0.05 < profile[4] < 0.95
    assert profile[6:] == pytest.approx(0.0, abs=1e-6)


def test_reflections_off_the_detector_are_clipped() -> None:
    image = np.zeros((41, 41))
    assert draw_disk(image, -0.5, 20.0, 1.0, ROUND, 0.0, 1.0, 0.0) == pytest.approx(0.5, abs=0.01)
    assert draw_disk(image, -30.0, 20.0, 1.0, ROUND, 0.0, 1.0, 0.0) == 0.0


def test_ellipse_keeps_the_area_of_a_disk() -> None:
    optics = ROUND.copy()
    optics[2:] = np.linalg.inv(Acquisition(ellipse=(1.2, 30.0)).distortion()).ravel()
    image = np.zeros((61, 61))
    assert draw_disk(image, 30.2, 29.7, 1.0, optics, 0.0, 1.0, 0.0) == pytest.approx(1.0, abs=3e-3)


def spots(pattern: NDArray[np.float64], positions: NDArray[np.float64], half: int = 7) -> NDArray[np.float64]:
    found = []
    for y, x in positions:
        j, i = round(y) - half, round(x) - half
        found.append(np.add(center_of_mass(pattern[j : j + 2 * half + 1, i : i + 2 * half + 1]), (j, i)))
    return np.array(found)


@pytest.mark.parametrize("lattice", LATTICES)
def test_reflections_stand_at_the_strained_positions(lattice: str) -> None:
    simulated = uniform(
        strain=(0.02, -0.01, 0.015),
        rotation_deg=23.0,
        lattice=lattice,
        centre_offset=(2.3, -1.7),
        scan=(1, 1),
        background=0.0,
    )
    deformation = simulated.truth["F"].values[0, 0]
    vectors = make_lattice(lattice, 37.9).vectors
    centre = np.array([simulated.truth["centre_y"].item(), simulated.truth["centre_x"].item()])
    assert centre == pytest.approx((129.8, 125.8))
    # A plane wave stays on its lattice planes: g' . F a = g . a for every vector a of real space.
    expected = np.linalg.solve(deformation.T, vectors.T).T + centre
    expected = expected[np.all((expected > 10) & (expected < 245), axis=1)]
    found = spots(simulated.scan.source[0, 0].astype(float), expected)
    assert np.abs(found - expected).max() < CENTRE_TOLERANCE


def test_tension_along_x_pulls_reflections_in_along_x() -> None:
    simulated = uniform(strain=(0.02, 0.0, 0.0), scan=(1, 1), background=0.0)
    expected = np.array([[127.5, 127.5 + 37.9 / 1.02]])
    assert spots(simulated.scan.source[0, 0].astype(float), expected)[0] == pytest.approx(expected[0], abs=1e-3)


def test_pure_rotation_keeps_the_length_of_reflections() -> None:
    deformation = uniform(rotation_deg=40.0, scan=(1, 1), background=0.0).truth["F"].values[0, 0]
    vectors = make_lattice("oblique", 37.9).vectors
    turned = vectors @ reciprocal(deformation).T
    assert np.hypot(*turned.T) == pytest.approx(np.hypot(*vectors.T))
    assert np.rad2deg(left_polar(deformation)[1]) == pytest.approx(40.0)


@pytest.mark.parametrize("options", [{}, {"drift": 4.0}, {"texture": 0.6}, {"ellipse": (1.05, 20.0)}, {"radius": 9.0}])
def test_noise_free_patterns_hold_exactly_the_counts(options: AcquisitionOptions) -> None:
    simulated = polycrystal(**({"scan": (3, 4), "background": 0.4, "noise_free": True, "counts": 2e4} | options))
    assert simulated.scan.source.dtype == np.float32
    sums = np.asarray(simulated.scan.source, np.float64).sum((2, 3))
    assert sums == pytest.approx(2e4, rel=1e-5)


@pytest.mark.parametrize(("lattice", "order"), [("hexagonal", 6), ("square", 4), ("oblique", 2)])
def test_lattice_maps_onto_itself_under_its_symmetry(lattice: str, order: int) -> None:
    vectors = make_lattice(lattice, 1.0).vectors
    assert make_lattice(lattice, 1.0).symmetry == order
    angle = 2 * np.pi / order
    turned = vectors @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]).T
    distance = np.hypot(*np.moveaxis(turned[:, None] - vectors[None], -1, 0)).min(1)
    assert distance.max() < 1e-9


def test_hexagonal_lattice_has_the_36_reflections_of_the_benchmark() -> None:
    lattice = make_lattice("hexagonal", 37.9)
    assert len(lattice.vectors) == 36
    per_pixel = lattice.intensity / (np.pi * 4.2**2)
    first = np.isclose(np.hypot(*lattice.vectors.T), 37.9)
    assert per_pixel[first] == pytest.approx(1.9e-5, rel=0.1501)
    assert per_pixel[first].mean() == pytest.approx(1.9e-5)


def test_background_has_its_share_and_its_half_width() -> None:
    smooth = background((256, 256), 127.5, 127.5)
    assert smooth.sum() == pytest.approx(1.0)
    assert smooth[127, 130] / smooth[127, 127] == pytest.approx((1 + 0.5 / 6.5536) / (1 + (0.25 + 6.25) / 6.5536))
    clean = uniform(scan=(1, 1), background=0.0, noise_free=True).scan.source[0, 0]
    mixed = uniform(scan=(1, 1), background=0.6, noise_free=True).scan.source[0, 0]
    assert mixed == pytest.approx(0.4 * clean + 0.6 * 1e5 * smooth, abs=1e-2)


def test_texture_keeps_the_edge_and_changes_the_inside() -> None:
    flat = uniform(scan=(1, 1), background=0.0).scan.source[0, 0]
    textured = uniform(texture=0.5, scan=(1, 1), background=0.0).scan.source[0, 0]
    assert np.abs(textured[flat < 1e-5]).max() < 1e-4
    assert np.abs(textured - flat).max() > 0.3 * 1.9

"""Reflections, the lattice they span and its symmetry, found in averages whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cyclestrain.affine import left_polar, rotation
from cyclestrain.data import FloatArray
from cyclestrain.learning.lattice import Lattice, find_lattice
from cyclestrain.learning.peaks import Peaks, find_peaks
from cyclestrain.learning.reflections import disk_size, measure_reflections
from cyclestrain.learning.symmetry import lattice_operators
from cyclestrain.simulation import uniform
from cyclestrain.simulation.lattice import make_lattice

LATTICES = {"hexagonal": 6, "square": 4, "oblique": 2}


def nodes(basis: FloatArray, reach: int = 3) -> tuple[FloatArray, FloatArray]:
    """Indices and positions of a lattice, the origin left out, nearest first."""
    indices = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    indices = indices[indices.any(1)]
    positions = indices @ basis.T
    order = np.argsort(np.hypot(*positions.T))
    return indices[order].astype(float), positions[order]


def basis_of(name: str, spacing: float = 20.0, turn: float = 0.3, strain: float = 0.01) -> FloatArray:
    """Basis (columns) of a lattice of the simulator, turned and slightly strained."""
    vectors = make_lattice(name, spacing).vectors
    length = np.hypot(*vectors.T)
    first = vectors[np.argmin(np.abs(length - length.min()) + 1e-6 * np.abs(vectors[:, 0]))]
    across = np.abs(vectors[:, 0] * first[1] - vectors[:, 1] * first[0]) > 0.1 * spacing**2
    second = vectors[across][np.argmin(length[across])]
    strained = np.eye(2) + strain * np.array([[1.0, 0.6], [0.6, -1.0]])
    return strained @ rotation(turn) @ np.stack([first, second], 1)


def is_same_lattice(found: FloatArray, truth: FloatArray, tolerance: float) -> bool:
    change = np.linalg.solve(truth, found)
    return bool(
        np.abs(change - np.rint(change)).max() < tolerance and abs(abs(np.linalg.det(np.rint(change))) - 1) < 1e-9
    )


class TestFindLattice:
    @pytest.mark.parametrize("name", list(LATTICES))
    @pytest.mark.parametrize("seed", range(4))
    def test_basis_up_to_a_unimodular_change(self, name: str, seed: int) -> None:
        """Peaks missing, shifted by noise, and some that belong to nothing."""
        rng = np.random.default_rng(seed)
        truth = basis_of(name, spacing=rng.uniform(15, 30), turn=rng.uniform(-3, 3))
        _, positions = nodes(truth)
        positions = positions[:36]
        positions = positions[rng.random(36) > 0.3] + 0.2 * rng.standard_normal((1, 2))
        positions = np.concatenate(
            [positions + 0.2 * rng.standard_normal(positions.shape), rng.uniform(-60, 60, (3, 2))]
        )
        significance = np.concatenate([rng.uniform(10, 80, len(positions) - 3), np.full(3, 8.0)])
        order = np.argsort(-significance)
        found = find_lattice(Peaks(positions[order], significance[order]), 3.0)
        assert found is not None
        assert is_same_lattice(found, truth, 0.03)

    @pytest.mark.parametrize("name", list(LATTICES))
    def test_basis_is_reduced_and_right_handed(self, name: str) -> None:
        _, positions = nodes(basis_of(name))
        found = find_lattice(Peaks(positions[:30], np.full(30, 20.0)), 3.0)
        assert found is not None
        a, b = found.T
        assert abs(a @ b) <= 0.5 * min(a @ a, b @ b) * 1.01
        assert a[1] * b[0] - a[0] * b[1] > 0  # from a to b is from +x to +y

    def test_forbidden_reflections_do_not_double_the_cell(self) -> None:
        """A centred lattice: half of the nodes of the finer basis are absent, and stay absent."""
        fine = 14.0 * np.eye(2)
        indices, positions = nodes(fine)
        there = indices.sum(1) % 2 == 0
        found = find_lattice(Peaks(positions[there][:24], np.full(24, 30.0)), 2.5)
        assert found is not None
        assert abs(np.linalg.det(found)) == pytest.approx(2 * 14.0**2, rel=1e-3)

    @pytest.mark.parametrize("n", [0, 1])
    def test_no_peaks_no_lattice(self, n: int) -> None:
        assert find_lattice(Peaks(np.full((n, 2), 20.0), np.full(n, 30.0)), 3.0) is None

    def test_peaks_on_one_line_span_no_plane(self) -> None:
        row = 20.0 * np.arange(-3, 4)[:, None] * np.array([0.6, 0.8])
        found = find_lattice(Peaks(row[np.abs(row).sum(1) > 0], np.full(6, 30.0)), 3.0)
        assert found is None


def lattice_with(basis: FloatArray, brightness: FloatArray, indices: FloatArray, positions: FloatArray) -> Lattice:
    return Lattice(basis, indices, positions, brightness)


class TestSymmetry:
    def lattice(self, name: str, brightness: str) -> Lattice:
        basis = basis_of(name)
        indices, positions = nodes(basis)
        near = np.hypot(*positions.T) < 2.2 * np.hypot(*basis).min()
        indices, positions = indices[near], positions[near]
        azimuth = np.arctan2(*(positions @ rotation(0.3)).T)
        values = {
            "equal": np.ones(len(indices)),
            "noisy": 1 + 0.15 * np.random.default_rng(0).standard_normal(len(indices)),
            "threefold": 1.02 + np.cos(3 * azimuth),
            "twofold": np.where(np.cos(2 * azimuth) > 0, 1.0, 0.02),
            "one-sided": np.exp(2.5 * np.cos(azimuth)),
        }[brightness]
        return lattice_with(basis, 1000.0 * values, indices, positions)

    @pytest.mark.parametrize("brightness", ["equal", "noisy"])
    @pytest.mark.parametrize("name", list(LATTICES))
    def test_order_of_the_lattice(self, name: str, brightness: str) -> None:
        assert len(lattice_operators(self.lattice(name, brightness))) == LATTICES[name]

    @pytest.mark.parametrize(
        ("name", "brightness", "order"),
        [
            ("hexagonal", "threefold", 3),
            ("square", "twofold", 2),
            ("hexagonal", "one-sided", 1),
            ("square", "one-sided", 1),
            ("oblique", "one-sided", 1),
        ],
    )
    def test_brightness_breaks_it(self, name: str, brightness: str, order: int) -> None:
        assert len(lattice_operators(self.lattice(name, brightness))) == order

    @pytest.mark.parametrize("brightness", ["equal", "threefold"])
    def test_what_is_hidden_breaks_nothing(self, brightness: str) -> None:
        """Under a beam stop that covers a third: as symmetric as the whole; without word of it, less."""
        whole = self.lattice("hexagonal", brightness)
        hidden = np.abs(np.arctan2(*whole.positions.T) - 0.4) < np.pi / 3
        left = whole.intensity[~hidden], whole.indices[~hidden], whole.positions[~hidden]
        part = lattice_with(whole.basis, *left)

        def shown(positions: FloatArray) -> FloatArray:
            return np.abs(np.arctan2(*positions.T) - 0.4) >= np.pi / 3

        assert len(lattice_operators(part, shown)) == len(lattice_operators(whole))
        if brightness == "equal":
            assert len(lattice_operators(part)) < len(lattice_operators(whole))

    @pytest.mark.parametrize("name", list(LATTICES))
    def test_operators_map_the_lattice_onto_itself(self, name: str) -> None:
        lattice = self.lattice(name, "equal")
        operators = lattice_operators(lattice)
        np.testing.assert_allclose(operators[0], np.eye(2), atol=1e-12)
        for operator in operators:
            assert is_same_lattice(operator @ lattice.basis, lattice.basis, 1e-9)
        # In order of their angle, from +x to +y, each a power of the first.
        expected = 2 * np.pi / len(operators) * np.arange(len(operators))
        assert np.abs(np.angle(np.exp(1j * (left_polar(operators)[1] - expected)))).max() < np.deg2rad(2.0)
        for one in operators:
            for two in operators:
                assert np.abs(one @ two - operators).max((1, 2)).min() < 1e-9

    def test_reflections_off_the_lattice_have_no_say(self) -> None:
        one = self.lattice("square", "equal")
        extra = lattice_with(
            one.basis,
            np.append(one.intensity, 5e4),
            np.concatenate([one.indices, [[np.nan, np.nan]]]),
            np.concatenate([one.positions, [[7.0, 31.0]]]),
        )
        assert len(lattice_operators(extra)) == 4


def average_of(name: str, radius: float, background: float = 0.25, size: int = 64, spacing: float = 19.0) -> FloatArray:
    """A centred average of 64 simulated patterns of one crystal, shape ``(2 size + 1, 2 size + 1)``."""
    return halves_of(name, radius, background, size, spacing).mean(0)


def halves_of(name: str, radius: float, background: float = 0.25, size: int = 64, spacing: float = 19.0) -> FloatArray:
    """The same of every other pattern and of the rest, shape ``(2, 2 size + 1, 2 size + 1)``."""
    n = 2 * size + 1
    made = uniform(
        scan=(8, 8), detector=(n, n), lattice=name, radius=radius, spacing=spacing, background=background, counts=3e4,
        rotation_deg=17.0,
    )  # fmt: skip
    patterns = np.asarray(made.scan.source).reshape(-1, n, n)
    return np.stack([patterns[k::2].mean(0) for k in (0, 1)])


def noise_of(halves: FloatArray) -> FloatArray:
    """Noise of the average of two halves."""
    return np.asarray(0.5 * (halves[0] - halves[1]))


@pytest.mark.parametrize("name", list(LATTICES))
@pytest.mark.parametrize("radius", [2.0, 3.0])
def test_peaks_lattice_and_intensities_of_an_average(name: str, radius: float) -> None:
    halves = halves_of(name, radius)
    average = halves.mean(0)
    coverage, ring = np.full(average.shape, 64.0), (2 * radius + 2, 62.0)
    truth = make_lattice(name, 19.0)
    positions = truth.vectors @ rotation(np.deg2rad(17.0)).T
    inside = np.hypot(*positions.T) < 62.0 - radius - 1
    peaks = find_peaks(average, coverage, radius, ring)
    near = np.hypot(*(peaks.positions[:, None] - positions).transpose(2, 0, 1)).min(1)
    assert len(near) >= 6
    assert (near < 0.5).mean() > 0.9
    basis = find_lattice(peaks, radius)
    assert basis is not None
    assert is_same_lattice(basis, rotation(np.deg2rad(17.0)) @ basis_of(name, 19.0, 0.0), 0.03)
    found = measure_reflections(average, coverage, noise_of(halves), basis, radius=radius, ring=ring, others=peaks)
    assert found.spans_plane
    assert np.isfinite(found.indices).all()  # nothing is off the lattice
    np.testing.assert_allclose(found.positions, found.indices @ found.basis.T, atol=1e-9)
    distance = np.hypot(*(found.positions[:, None] - positions).transpose(2, 0, 1))
    assert (distance.min(1) < 0.5).all()  # none that is not there
    assert (distance.min(0)[inside] < 0.5).all()  # and all that are
    expected = 3e4 * 0.75 * truth.intensity[distance.argmin(1)]
    bright = (expected > 10) & (np.hypot(*found.positions.T) < 62.0 - radius - 4)
    # First values, of an aperture on whole pixels; learning sharpens them.
    np.testing.assert_allclose(found.intensity[bright] / expected[bright], 1.0, atol=0.3)
    assert abs(np.median(found.intensity[bright] / expected[bright]) - 1.0) < 0.1


@pytest.mark.parametrize("name", ["hexagonal", "square"])
@pytest.mark.parametrize("spacing", [12.0, 14.2, 15.0, 16.5, 18.0])
def test_no_reflection_is_lost_however_near_the_disks_are(name: str, spacing: float) -> None:
    """Half way between two disks is no quiet place: their light, taken for noise there, hid all but the brightest."""
    halves, ring = halves_of(name, 3.0, spacing=spacing), (8.0, 62.0)
    turned = rotation(np.deg2rad(17.0))
    basis = turned @ basis_of(name, spacing, 0.0, strain=0.0)
    coverage = np.full(halves[0].shape, 64.0)
    found = measure_reflections(halves.mean(0), coverage, noise_of(halves), basis, radius=3.0, ring=ring)
    truth = make_lattice(name, spacing)
    positions, expected = truth.vectors @ turned.T, 3e4 * 0.75 * truth.intensity
    clear = (np.hypot(*positions.T) < 56.0) & (expected > 5.0)
    distance = np.hypot(*(found.positions[:, None] - positions[clear]).transpose(2, 0, 1))
    assert clear.sum() > 12
    assert (distance.min(0) < 0.5).all()


def test_noise_has_no_peaks() -> None:
    rng = np.random.default_rng(0)
    y, x = np.indices((129, 129)) - 64
    smooth = 3.0 / (1 + np.hypot(y, x) / 10)
    average = rng.poisson(smooth, (64, 129, 129)).mean(0)
    peaks = find_peaks(average, np.full(average.shape, 64.0), 3.0, (8.0, 60.0))
    assert len(peaks.positions) <= 2


@pytest.mark.parametrize("radius", [1.5, 2.5, 4.0, 6.0])
def test_disk_size_from_the_reflections(radius: float) -> None:
    average = average_of("hexagonal", radius)
    peaks = find_peaks(average, np.full(average.shape, 64.0), radius, (2 * radius + 2, 62.0))
    found = disk_size(average, np.full(average.shape, 64.0), peaks, radius, limit=8.5)
    assert found == pytest.approx(radius, abs=0.6)


def test_disk_size_does_not_rest_on_the_size_that_was_looked_for() -> None:
    """The direct beam may wear a halo: peaks looked for with the wrong size still tell their own."""
    average = average_of("square", 2.5)
    for guess in (1.5, 4.0):
        peaks = find_peaks(average, np.full(average.shape, 64.0), guess, (9.0, 62.0))
        found = disk_size(average, np.full(average.shape, 64.0), peaks, guess, limit=8.0)
        assert found == pytest.approx(2.5, abs=0.6)


def test_a_hole_in_a_disk_hides_no_reflection() -> None:
    """The dark middle of a bullseye may pass for a bad pixel; what is mostly hidden is not used."""
    halves = halves_of("hexagonal", 4.0)
    average, noise = halves.mean(0), noise_of(halves)
    coverage, basis, ring = np.full(average.shape, 64.0), basis_of("hexagonal", 19.0, 0.0), (10.0, 62.0)
    basis = rotation(np.deg2rad(17.0)) @ basis
    whole = measure_reflections(average, coverage, noise, basis, radius=4.0, ring=ring)
    y, x = np.rint(whole.positions[:3] + 64).astype(int).T
    for dy in (0, 1):
        for dx in (0, 1):
            coverage[y + dy, x + dx] = average[y + dy, x + dx] = 0.0
    np.testing.assert_array_equal(
        measure_reflections(average, coverage, noise, basis, radius=4.0, ring=ring).indices, whole.indices
    )
    coverage[y[0] - 5 : y[0] + 6, x[0] - 5 : x[0] + 1] = 0.0
    np.testing.assert_array_equal(
        measure_reflections(average, coverage, noise, basis, radius=4.0, ring=ring).indices, whole.indices[1:]
    )

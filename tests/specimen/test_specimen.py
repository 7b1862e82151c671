"""Laws of the room `specimen`: what the library is, what a fit of it says, and when it says nothing."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import beta

from cyclestrain.errors import InputError
from cyclestrain.specimen import Axes, Library, Measured, Zone, dipole, fit_library, friedel_asymmetry, wavelength
from cyclestrain.specimen.bloch import intensities, lost, taking_part
from cyclestrain.specimen.library import aperture_nodes
from cyclestrain.specimen.matching import find_matches
from cyclestrain.specimen.structure import parent_structure
from cyclestrain.strain import KnownCell, known_cells

SILICON = "a=5.431,structure=diamond,zone=110,elements=Si"
ARSENIDE = "a=5.653,structure=zincblende,zone=110,elements=Ga-As"
AXES = Axes((15.0, 25.0, 1.0), (2e-3, 1e-3))


def made_up(seed=0, n_g=12):
    """A smooth library that needs no potentials."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(n_g) / n_g
    vectors = 3.0 * np.stack([np.sin(angle), np.cos(angle)], 1)
    t, y, x = np.meshgrid(np.arange(10.0, 31.0), 5e-4 * np.arange(-6, 7), 5e-4 * np.arange(-6, 7), indexing="ij")
    period, bright = rng.uniform(15, 40, n_g), rng.uniform(0.5, 1.5, n_g)
    lean = vectors @ np.stack([y, x]).reshape(2, -1) * 100
    value = bright * (1.5 + np.sin(t.reshape(-1, 1) / period * 6)) * np.exp(lean.T * 0.7)
    grid = (t[:, 0, 0], y[0, :, 0], x[0, 0])
    return Library.tabulated(np.zeros((n_g, 3), int), vectors, grid, value.reshape(*t.shape, n_g).astype(np.float32))


def test_spline_goes_through_the_nodes_and_its_slope_is_its_derivative():
    library = made_up()
    points = np.array([[14.0, 5e-4, -1e-3], [20.0, 0.0, 1.5e-3]])
    value, slope = library.at(points)
    np.testing.assert_allclose(value[0], library.intensity[4, 7, 4], rtol=1e-4)
    np.testing.assert_allclose(value[1], library.intensity[10, 6, 9], rtol=1e-4)
    for axis, step in enumerate((1e-4, 1e-7, 1e-7)):
        moved = points.copy()
        moved[:, axis] += step
        numeric = (library.at(moved)[0] - value) / step
        np.testing.assert_allclose(slope[:, axis], numeric, rtol=1e-2, atol=1e-3 * np.abs(numeric).max())


def test_fit_finds_what_a_library_was_asked_for_whatever_the_brightness():
    library, rng = made_up(), np.random.default_rng(1)
    n = 60
    truth = np.stack([rng.uniform(13, 27, n), *rng.uniform(-2e-3, 2e-3, (2, n))], 1)
    mean = rng.uniform(500, 5000, (n, 1)) * library.at(truth)[0]
    sigma = np.sqrt(mean + 200)
    found = fit_library(Measured(mean + sigma * rng.standard_normal(mean.shape), sigma), library, 0.0)
    error = found.parameters[:, 0] - truth
    z = error / np.sqrt(np.einsum("nii->ni", found.covariance))
    assert np.abs(error[:, 1:]).max() < 3e-4
    assert 0.8 < z[:, 1:].std() < 1.2


def test_reflections_that_were_not_measured_count_nothing():
    library = made_up()
    mean = 1e4 * library.at(np.array([[20.0, 1e-3, -5e-4]]))[0]
    mean[0, 3] = np.nan
    found = fit_library(Measured(mean, np.full(mean.shape, 10.0)), library, 0.0)
    np.testing.assert_allclose(found.parameters[0, 0], [20.0, 1e-3, -5e-4], rtol=1e-2)


def test_nothing_explains_intensities_of_another_crystal():
    library, other = made_up(), made_up(seed=5)
    mean = 1e4 * other.at(np.array([[20.0, 1e-3, -5e-4]]))[0][:, ::-1] ** 2
    found = fit_library(Measured(mean, np.sqrt(mean)), library, 0.01)
    assert found.chi_square[0] > 4


def test_crystal_is_found_on_the_detector_whichever_way_it_is_turned():
    grid = np.stack(np.meshgrid(np.arange(-3, 4), np.arange(-3, 4), indexing="ij"), -1).reshape(-1, 2)
    crystal = (grid[np.any(grid != 0, 1)] @ np.array([[2.0, 0.3], [0.0, 3.1]])).astype(float)
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    entry = 11.0 * crystal[np.hypot(*crystal.T) < 7] @ turn.T
    matches = find_matches(crystal, entry)
    assert any(np.allclose(one.turn, turn, atol=1e-6) for one in matches)
    assert all(abs(one.scale - 11.0) < 1e-6 for one in matches)
    assert len(matches) == 2  # an oblique lattice looks the same turned by half a turn, and in no other way
    assert not find_matches(crystal, entry, pixel=1 / 13.0)


def test_dipole_and_asymmetry_change_sign_with_the_pattern_and_have_an_honest_sigma():
    rng = np.random.default_rng(2)
    vectors = np.array([[0.0, 1.0], [0.0, -1.0], [2.0, 0.0], [-2.0, 0.0]])
    friedel = np.array([1, 0, 3, 2])
    mean = np.tile([900.0, 500.0, 400.0, 300.0], (4000, 1))
    data = Measured(rng.poisson(mean).astype(float), np.sqrt(mean))
    for function in (dipole, friedel_asymmetry):
        value, sigma = function(data, vectors, friedel)
        assert (value.mean(0) > 0).all()
        np.testing.assert_allclose(value.std(0), sigma.mean(0), rtol=0.1)
        other, _ = function(Measured(data.value[:, friedel], data.sigma[:, friedel]), vectors, friedel)
        np.testing.assert_allclose(other, -value, atol=1e-12)


def test_parent_of_a_polar_structure_is_centrosymmetric_and_half_way_to_its_opposite():
    places = np.array([[0, 0, 0], [0.5, 0.5, 0.54], [0.5, 0.5, 0.11], [0.5, 0, 0.62], [0, 0.5, 0.62]])
    cell = KnownCell(
        "polar", np.array([1, 0, 0]), np.diag([3.9, 3.9, 4.15]), places, ("Pb", "Ti", "O", "O", "O"), np.ones(5)
    )
    parent, moved = parent_structure(cell)
    np.testing.assert_allclose(parent + moved, places @ cell.cell)
    z = (parent[:, 2] - parent[0, 2]) / 4.15
    np.testing.assert_allclose(2 * z - np.rint(2 * z), 0, atol=1e-9)
    zone = Zone(cell, 0.5, 200e3)
    up, down = (zone.displaced(s).cell.places[:, 2] - zone.displaced(0).cell.places[:, 2] for s in (1.0, -1.0))
    np.testing.assert_allclose(up, -down, atol=1e-12)
    assert zone.polar_direction is not None


def test_elements_must_be_told():
    (cell,) = known_cells("a=5.431,structure=diamond,zone=110")
    with pytest.raises(InputError, match="elements"):
        Zone(cell, 0.5, 200e3)
    with pytest.raises(InputError, match="places for one"):
        known_cells(SILICON.replace("Si", "Ga-As"))


@pytest.mark.parametrize(
    ("known", "made", "vibration", "voltage"),
    [
        (SILICON, ("diamond", "110", ["Si"], 5.431), 0.46, 200e3),
        (ARSENIDE, ("zincblende", "110", ["Ga", "As"], 5.653), 0.65, 300e3),
    ],
)
def test_library_agrees_with_multislice_which_knows_nothing_of_it(known, made, vibration, voltage):
    """Heavy atoms need beams beyond those whose waves are followed."""
    pytest.importorskip("abtem")
    from cyclestrain.simulation.materials import cubic
    from cyclestrain.simulation.propagation import diffract

    (cell,) = known_cells(known)
    zone, crystal = Zone(cell, vibration, voltage), cubic(*made, vibration, voltage=voltage).crystal
    directions = 1e-3 * np.array([[0.0, 0.0], [2.0, 1.0], [-1.0, 4.0]])
    slices = len(crystal.transmission) * 60
    thickness = np.array([slices * crystal.step])
    own = intensities(zone, thickness, directions, 30)[0, 0]
    axes = np.stack([np.array([0, 0, 1.0]), np.array([-1, 1, 0]) / np.sqrt(2)]) @ zone.across.T
    theirs = diffract(crystal, np.eye(2), [slices], directions @ axes.T / crystal.wavelength)[0]
    _, vectors = taking_part(zone)
    for k, vector in enumerate(vectors[:30] @ axes.T):
        if k == 0:  # the direct beam pays for what the slices scatter beyond the last beam
            continue
        place = np.unravel_index(((crystal.waves - vector) ** 2).sum(-1).argmin(), theirs.shape[1:])
        np.testing.assert_allclose(own[:, k], theirs[(slice(None), *place)], atol=0.006)


def titanate():
    """PbTiO3 poled across the beam."""
    places = np.array([[0, 0, 0], [0.5, 0.5, 0.5377], [0.5, 0.5, 0.1118], [0.5, 0, 0.6174], [0, 0.5, 0.6174]])
    cell = np.diag([3.904, 3.904, 4.152])
    return KnownCell("PbTiO3", np.array([1, 0, 0]), cell, places, ("Pb", "Ti", "O", "O", "O"), np.ones(5))


def test_heavy_columns_and_layers_are_as_in_multislice_and_so_is_what_surfaces_change(monkeypatch):
    """The simulation cuts the atoms into slices; crystals begin with the layer of lead or with that of titanium."""
    pytest.importorskip("abtem")
    from ase import Atoms

    from cyclestrain.simulation.propagation import Crystal, diffract
    from cyclestrain.specimen import bloch

    cell, cells = titanate(), 20
    zone, directions = Zone(cell, 0.6, 200e3), 1e-3 * np.array([[0.0, 0.0], [1.0, 0.5], [-3.0, 2.0]])
    thickness = np.array([3.904 * cells])
    monkeypatch.setattr(bloch, "HEIGHTS", (0.25,))  # between the layers
    own, change = intensities(zone, thickness, directions, 45)[:, 0]
    monkeypatch.setattr(bloch, "LAYERS_REACH", 0.0)
    flat = intensities(zone, thickness, directions, 45)[0, 0]
    beside = zone.across @ np.array([0, 1.0, 0]), zone.across @ np.array([0, 0, 1.0])  # y and x of the simulation
    axes = np.stack(beside) @ np.eye(2)
    theirs = []
    for up in (0.75, 0.25):
        places = cell.places[:, [2, 1, 0]] + [0, 0, up]
        atoms = Atoms(cell.symbols, scaled_positions=places % 1.0, cell=[4.152, 3.904, 3.904], pbc=True)
        crystal = Crystal.from_atoms(atoms, None, 0.6)
        depth = cells * len(crystal.transmission)
        shares = diffract(crystal, np.eye(2), [depth], directions @ axes.T / crystal.wavelength)[0]
        vectors = taking_part(zone)[1][:45] @ axes.T
        at = [np.unravel_index(((crystal.waves - one) ** 2).sum(-1).argmin(), shares.shape[1:]) for one in vectors]
        theirs.append(np.stack([shares[(slice(None), *one)] for one in at], 1))
    mean, half = (theirs[0] + theirs[1]) / 2, (theirs[0] - theirs[1]) / 2

    def off(one, other):
        return np.linalg.norm((one - other)[:, 1:]) / np.linalg.norm(other[:, 1:])

    assert off(own, mean) < 0.035
    assert off(flat, mean) > 1.4 * off(own, mean)
    assert np.corrcoef(half[:, 1:].ravel(), change[:, 1:].ravel())[0, 1] > 0.98
    assert off(change, half) < 0.2


def test_what_the_vibration_changes_is_in_sigma():
    """Of a crystal that vibrates otherwise than its library thickness is off, by no more than sigma says."""
    library, rng, n = made_up(), np.random.default_rng(4), 60
    truth = np.stack([rng.uniform(13, 27, n), *rng.uniform(-2e-3, 2e-3, (2, n))], 1)
    change = np.float32(0.4) * np.gradient(library.intensity, axis=0)  # as 0.4 nm do
    known = dataclasses.replace(library, by_vibration=change)
    mean = 1e6 * (library.at(truth)[0] + known.unknown(truth)[:, -1])
    data = Measured(mean, np.full(mean.shape, 1e3))
    without, beside = (fit_library(data, one, 0.0) for one in (library, known))
    error = np.abs(without.parameters[:, 0, 0] - truth[:, 0])
    assert np.median(error / np.sqrt(without.covariance[:, 0, 0])) > 5
    assert 0.7 < np.median(error / np.sqrt(beside.covariance[:, 0, 0])) < 1.5
    np.testing.assert_allclose(without.parameters, beside.parameters)


def test_what_higher_laue_zones_take_is_told():
    """A slice-by-slice simulation of platinum at 120 kV has a seventh of the beam beyond 3.4 1/angstrom."""
    pytest.importorskip("abtem")
    from cyclestrain.simulation.materials import cubic
    from cyclestrain.simulation.propagation import diffract

    crystal = cubic("fcc", "100", ["Pt"], 3.924, 0.37, voltage=120e3, fine=True).crystal
    depth = 25 * len(crystal.transmission)
    drawn = diffract(crystal, np.eye(2), [depth], np.zeros((1, 2)))[0, 0]
    beyond = 1 - drawn[np.hypot(*np.moveaxis(crystal.waves, -1, 0)) < 3.4].sum()
    (cell,) = known_cells("a=3.924,structure=fcc,zone=100,elements=Pt")
    thickness = np.array([0.0, depth * crystal.step])
    none, told = lost(Zone(cell, 0.37, 120e3), thickness)
    assert none == 0
    assert 0.6 * beyond < told < 1.5 * beyond
    (cell,) = known_cells(SILICON)
    assert lost(Zone(cell, 0.46, 200e3), thickness).max() < 1e-3


def test_surfaces_change_nothing_where_layers_differ_by_a_shift():
    pytest.importorskip("abtem")
    (cell,) = known_cells("a=3.615,structure=fcc,zone=100,elements=Cu")
    own, *change = intensities(Zone(cell, 0.55, 120e3), np.array([200.0]), np.zeros((1, 2)), 20)
    assert own[..., 1:].max() > 0.01
    assert np.abs(change).max() < 2e-3


@pytest.mark.parametrize("axis", ["100", "110", "111", "112", "1-10"])
def test_layers_span_all_reflections(axis):
    (cell,) = known_cells(f"a=5.431,structure=diamond,zone={axis},elements=Si")
    zone = Zone(cell, 0.5, 200e3)
    basis = zone.layers()
    assert abs(round(np.linalg.det(basis))) == 1
    np.testing.assert_array_equal(basis @ zone.cell.zone, [1, 0, 0])
    assert zone.period == pytest.approx(5.431 * np.linalg.norm(zone.cell.zone))


def test_library_is_kept_and_a_damaged_one_is_computed_again(tmp_path, monkeypatch):
    pytest.importorskip("abtem")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cell,) = known_cells(SILICON)
    zone, counted = Zone(cell, 0.5, 200e3), []
    made = [Library.computed(zone, AXES, 5e-4, 6.0, counted.append) for _ in range(2)]
    np.testing.assert_array_equal(made[0].intensity, made[1].intensity)
    first = sum(counted)
    assert first > 0
    (file,) = (tmp_path / "cyclestrain").glob("library-*.npz")
    file.write_bytes(file.read_bytes()[:100])
    again = Library.computed(zone, AXES, 5e-4, 6.0, counted.append)
    assert sum(counted) == 2 * first
    np.testing.assert_array_equal(again.intensity, made[0].intensity)


def test_mean_over_the_aperture_is_exact_for_polynomials():
    """Moments of the unit disk, in polar coordinates; odd powers vanish."""
    places, weights = aperture_nodes()

    def moment(a, b):
        return 0.0 if a % 2 or b % 2 else 2 * beta((a + 1) / 2, (b + 1) / 2) / (a + b + 2) / np.pi

    degree = 15
    for a, b in ((a, total - a) for total in range(degree + 1) for a in range(total + 1)):
        found = (weights * places[:, 0] ** a * places[:, 1] ** b).sum()
        assert found == pytest.approx(moment(a, b), abs=1e-12)
    assert weights.min() > 0
    assert np.hypot(*places.T).max() < 1


def test_wavelength_is_relativistic():
    assert wavelength(300e3) == pytest.approx(0.019687, abs=1e-6)


def test_what_is_asked_for_must_make_sense():
    import cyclestrain as cs

    made = cs.simulate("uniform", scan=(3, 3), detector=(96, 96), radius=3.0, background=0.2)
    maps = cs.map(made.scan)
    with pytest.raises(InputError, match="intensities"):
        cs.tilt(maps)
    for options, words in (
        ({"polar": True}, "polar crystal"),
        ({"known": SILICON, "voltage": "fast"}, "kilovolts"),
        ({"known": SILICON, "thickness": (30.0, 20.0)}, "least and largest"),
        ({"known": [SILICON, SILICON]}, "one crystal"),
        ({"known": SILICON, "polar": True}, "no polar displacement"),
    ):
        with pytest.raises(InputError, match=words):
            cs.tilt(maps, **options)
    with pytest.raises(InputError, match="tilts"):
        cs.tilt_series([maps, maps], tilts=[0.0])
    with pytest.raises(InputError, match="at least 3 degrees"):
        cs.tilt_series([maps, maps], tilts=[0.0, 1.0])


def test_the_aperture_is_that_of_the_learned_probe(monkeypatch):
    """Dark bands across the direct beam of a thick crystal make that one look smaller."""
    import cyclestrain as cs

    made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    maps = cs.map(made.scan, intensities=True)
    given = {}
    monkeypatch.setattr(
        "cyclestrain.specimen.measure_specimen", lambda *all_of_it, **_: given.update(radii=all_of_it[4])
    )
    maps.attrs["calibration"] = json.dumps(json.loads(maps.attrs["calibration"]) | {"disk_radius": 2.6})
    cs.tilt(maps)
    np.testing.assert_allclose(given["radii"], 3.0, atol=0.1)

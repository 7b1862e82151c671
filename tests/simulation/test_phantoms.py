"""Samples, their truth and their noise."""

import numpy as np
import pytest

from cyclestrain.affine import left_polar
from cyclestrain.errors import InputError
from cyclestrain.simulation import PHANTOMS, Acquisition, dislocation, features, polycrystal, ripple, two_phase, uniform
from cyclestrain.simulation.grains import voronoi_blend
from cyclestrain.simulation.noise import count_dtype
from cyclestrain.simulation.patterns import make_pattern_model
from cyclestrain.simulation.phantoms import FEATURES, edge_dislocation, feature_map
from cyclestrain.simulation.sample import Sample
from cyclestrain.simulation.source import SimulatedPatterns

DETECTOR = (48, 48)


@pytest.mark.parametrize("name", PHANTOMS)
def test_every_phantom_makes_a_scan_and_a_consistent_truth(name: str) -> None:
    simulated = PHANTOMS[name](scan=(12, 10), detector=DETECTOR, counts=1e3)
    assert simulated.scan.shape == (12, 10, *DETECTOR)
    assert simulated.scan.source.dtype == np.uint16
    truth = simulated.truth
    assert {d: truth.sizes[d] for d in ("ry", "rx", "row", "column")} == {"ry": 12, "rx": 10, "row": 2, "column": 2}
    assert truth["part_share"].sum("part").values == pytest.approx(1.0)
    in_crystals = (truth["part_share"] * (truth["part_crystal"] >= 0)).max("part")
    assert truth["share"].values == pytest.approx(in_crystals.values)
    stretch, theta = left_polar(truth["F"].values[truth["interior"].values])
    inside = truth["interior"].values
    assert truth["exx"].values[inside] == pytest.approx(stretch[:, 1, 1] - 1)
    assert truth["eyy"].values[inside] == pytest.approx(stretch[:, 0, 0] - 1)
    assert truth["exy"].values[inside] == pytest.approx(stretch[:, 0, 1])
    assert truth["rotation"].values[inside] == pytest.approx(theta)


def test_grains_have_the_strains_of_the_benchmark() -> None:
    truth = polycrystal(scan=(32, 32), detector=(16, 16), counts=10, grain_size=60).truth
    assert len(np.unique(truth["grain"])) > 12
    inside = truth["interior"].values
    for name in ("exx", "eyy", "exy"):
        percent = 100 * truth[name].values[inside]
        assert percent == pytest.approx(np.round(percent))
        assert np.abs(percent).max() < 2 + 1e-9


def test_interior_is_one_grain_and_the_boundary_a_blend() -> None:
    blend = voronoi_blend(np.array([[4.0, 2.0], [4.0, 9.0]]), (9, 12), 0.7)  # boundary at x = 5.5
    assert blend.share.sum(-1) == pytest.approx(1.0)
    assert (blend.grain[:, :6, 0] == 0).all()
    assert (blend.grain[:, 6:, 0] == 1).all()
    interior = blend.share[4, :, 0] >= 0.999
    assert interior.tolist() == [True] * 5 + [False] * 2 + [True] * 5
    # A Gaussian of standard deviation 0.297 leaves 4.6 % on the other side of an edge half a position away.
    assert 1 - blend.share[4, 5, 0] == pytest.approx(0.046, abs=0.015)


def test_boundary_pattern_is_the_weighted_sum_of_the_grains() -> None:
    acquisition = Acquisition(scan=(1, 3), detector=DETECTOR, background=0.0)
    deformation = np.stack([np.eye(2), np.diag([1.02, 0.98])])
    sample = Sample(
        lattices=(acquisition.make_lattice(),),
        deformation=deformation,
        phase=np.zeros(2, np.int64),
        grain=np.arange(2),
        crystal=np.array([[[0, 1], [1, 0], [0, 1]]]),
        share=np.array([[[1.0, 0.0], [1.0, 0.0], [0.7, 0.3]]]),
    )
    first, second, mixed = make_pattern_model(sample, acquisition).expected_row(0)
    assert mixed == pytest.approx(0.7 * first + 0.3 * second, abs=1e-2)


def test_two_phases_have_classes_and_vacuum_around() -> None:
    simulated = two_phase(scan=(24, 24), detector=DETECTOR, counts=100, grain_size=60)
    truth = simulated.truth
    assert np.unique(truth["class"]).tolist() == [-1, 0, 1]
    assert truth["class"].values[0, 0] == truth["grain"].values[0, 0] == -1
    assert truth.attrs["symmetry"] == [6, 4]
    vacuum = truth["class"].values == -1
    assert np.isnan(truth["F"].values[vacuum]).all()
    assert not truth["interior"].values[vacuum].any()
    assert np.isfinite(truth["exx"].values[~vacuum]).all()


def test_vacuum_pattern_is_the_central_disk_alone() -> None:
    simulated = two_phase(scan=(12, 12), detector=(128, 128), background=0.0, counts=1.0)
    corner = simulated.scan.source[0, 0]
    y, x = np.mgrid[:128, :128] - 63.5
    assert corner[np.hypot(y, x) < 5].sum() == pytest.approx(1.0, abs=1e-5)


def test_ripple_has_its_amplitude_and_period() -> None:
    truth = ripple(scan=(1, 48), detector=(16, 16), counts=10, direction_deg=0.0, period=24.0, amplitude=0.01).truth
    exx = truth["exx"].values[0]
    assert exx.max() == pytest.approx(0.01, abs=1e-4)
    assert exx[:24] == pytest.approx(exx[24:])
    assert exx[6] == pytest.approx(0.01, abs=1e-4)
    assert exx[18] == pytest.approx(-0.01, abs=1e-4)


def test_circuit_around_a_dislocation_closes_but_for_the_burgers_vector() -> None:
    angle = np.linspace(0, 2 * np.pi, 4001)[:-1]
    circle = 50 * np.stack([np.sin(angle), np.cos(angle)], -1)
    step = 50 * np.stack([np.cos(angle), -np.sin(angle)], -1) * (2 * np.pi / 4000)
    gradient = edge_dislocation(circle, 0.35, 1e-3)
    assert np.einsum("nij,nj->i", gradient, step) == pytest.approx((0.0, 0.35), abs=1e-6)
    assert np.abs(dislocation(scan=(16, 16), detector=(16, 16), counts=10).truth["exx"]).max() < 0.05


def test_features_stand_where_the_map_says_and_nowhere_else() -> None:
    truth = features(scan=(48, 48), detector=(16, 16), counts=10, turn_deg=1.5, rotation_deg=17.0).truth
    place, exx, turn = feature_map((48, 48)), truth["exx"].values, np.rad2deg(truth["rotation"].values) - 17.0
    at = {name: place == k for k, name in enumerate(FEATURES)}
    assert np.abs(exx[at["flat"]]).max() < 1e-12
    assert exx[at["inclusion"] | at["lamella"] | at["turned lamella"]] == pytest.approx(0.02)
    assert turn == pytest.approx(1.5 * at["turned lamella"])
    assert at["flat"][:24, :24].all()  # the reference
    for name in ("eyy", "exy"):
        assert np.abs(truth[name].values).max() < 1e-12


def test_features_are_as_wide_as_they_are_called() -> None:
    place = feature_map((48, 48))
    beside = np.pad(place > 0, 1)
    around = sum(np.roll(beside, shift, (0, 1)) for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)))[1:-1, 1:-1]
    inclusions = place == FEATURES.index("inclusion")
    assert inclusions.sum() == 9
    assert (around[inclusions] == 0).all()
    for name in ("lamella", "turned lamella"):
        rows = (place == FEATURES.index(name)).sum(1)
        assert set(rows.tolist()) == {0, 3}


def test_ripple_among_the_features_has_its_amplitude_and_period() -> None:
    truth = features(scan=(48, 64), detector=(16, 16), counts=10, amplitude=0.01, period=8.0).truth
    inside = (feature_map((48, 64)) == FEATURES.index("ripple"))[36]
    exx = truth["exx"].values[36, inside]
    assert exx[8:] == pytest.approx(exx[:-8])
    assert (exx[0], exx.max(), exx.min()) == pytest.approx((0.0, 0.01, -0.01))


def test_same_seed_same_counts_whatever_the_reading_order_and_threads() -> None:
    simulated = polycrystal(scan=(4, 5), detector=DETECTOR, counts=1e3, seed=3)
    whole = np.asarray(simulated.scan.source)
    acquisition = Acquisition(scan=(4, 5), detector=DETECTOR, counts=1e3, seed=3)
    sample = Sample.from_field(acquisition.make_lattice(), simulated.truth["F"].values)
    one, two = (SimulatedPatterns(make_pattern_model(sample, acquisition), threads) for threads in (1, 2))
    inside = simulated.truth["interior"].values
    assert np.array_equal(np.asarray(one)[inside], whole[inside])
    assert np.array_equal(two[:], one[:])
    assert np.array_equal(one[2, 1:3], two[:][2, 1:3])
    assert np.array_equal(one[-1], two[3])
    assert np.array_equal(one[..., 5], two[:][..., 5])
    assert not np.array_equal(whole, polycrystal(scan=(4, 5), detector=DETECTOR, counts=1e3, seed=4).scan.source[:])


def test_noise_is_poisson() -> None:
    counts = np.asarray(uniform(scan=(40, 40), detector=(16, 16), background=0.5, counts=2e3).scan.source, float)
    mean, variance = counts.mean((0, 1)), counts.var((0, 1))
    ratio = variance[mean > 1] / mean[mean > 1]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)  # 1600 draws in each of > 20 pixels: sigma about 0.006
    assert counts.sum((2, 3)).mean() == pytest.approx(2e3, rel=5 * 2e3**-0.5 / 40)


def test_without_background_there_is_no_noise_unless_asked_for() -> None:
    assert Acquisition(background=0.0).is_noise_free
    assert not Acquisition(background=0.05).is_noise_free
    assert not Acquisition(background=0.0, noise_free=False).is_noise_free
    assert uniform(scan=(1, 1), detector=DETECTOR, background=0.0, noise_free=False).scan.source.dtype == np.uint16


def test_high_dose_gets_a_wider_type() -> None:
    assert count_dtype(6e4) == np.uint16
    assert count_dtype(6.5e4) == np.uint32
    bright = uniform(scan=(1, 1), detector=(64, 64), counts=1e6, radius=2.0).scan.source[:]
    assert bright.dtype == np.uint32
    assert bright.max() > 65535


def test_beam_centre_drifts_by_the_given_distance() -> None:
    centres = Acquisition(scan=(9, 17), drift=3.0, centre_offset=(1.0, -2.0)).centres()
    assert np.hypot(*(centres[-1, -1] - centres[0, 0])) == pytest.approx(3.0)
    assert centres.mean((0, 1)) == pytest.approx((128.5, 125.5))


@pytest.mark.parametrize(
    "options",
    [
        {"background": 1.5},
        {"counts": 0.0},
        {"scan": (0, 4)},
        {"lattice": "cubic"},
        {"radius": 500.0},
        {"spacing": -1.0},
        {"centre_offset": (900.0, 0.0)},
        {"texture": 2.0},
        {"ellipse": (0.0, 0.0)},
        {"grain_size": 0.0},
    ],
)
def test_impossible_parameters_are_refused_in_one_sentence(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="got"):
        polycrystal(**options)  # type: ignore[arg-type]

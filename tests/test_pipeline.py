"""The way of the data: what is given, what is picked, and what does not depend on how the scan is read."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import strangers
from cyclestrain.affine import reciprocal, rotation
from cyclestrain.calibration import subset
from cyclestrain.context import least_scatter, smooth
from cyclestrain.data import AffineField, Doubt, Scan
from cyclestrain.errors import InputError
from cyclestrain.evaluation import compare, relative_truth
from cyclestrain.pipeline import map_scan
from cyclestrain.progress import SilentProgress
from cyclestrain.result import MapResult
from cyclestrain.settings import MapSettings
from cyclestrain.simulation import SimulatedScan, polycrystal, ripple, two_phase, uniform
from cyclestrain.strain import Wanted, parse_reference, pick_reference, without_reference
from laws import one_class_field


@pytest.fixture(scope="module")
def made() -> SimulatedScan:
    return uniform(scan=(12, 13), detector=(128, 128), radius=3.0, background=0.2, rotation_deg=10.0, seed=1)


ROUND = (1.0, 0.0)
"""Ellipse of a detector that is known not to be distorted: what remains in sigma are the counts."""


class Notes(SilentProgress):
    """Remembers stages and notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, n: int = 1) -> None:
        self.done += n


def run(scan: Scan, progress: SilentProgress | None = None, **settings: object) -> MapResult:
    return map_scan(scan, MapSettings(**settings), progress or SilentProgress())  # type: ignore[arg-type]


class TestReferenceGiven:
    @pytest.mark.parametrize(
        ("text", "rows", "columns"),
        [
            ("0:2,1:3", slice(0, 2), slice(1, 3)),
            (" 1:4 , 0:5 ", slice(1, 4), slice(0, 5)),
            (":,2:3", slice(None), slice(2, 3)),
            ("3:,:2", slice(3, None), slice(None, 2)),
        ],
    )
    def test_region(self, text: str, rows: slice, columns: slice) -> None:
        expected = np.zeros((4, 5), bool)
        expected[rows, columns] = True
        np.testing.assert_array_equal(parse_reference(text, (4, 5)).region, expected)

    @pytest.mark.parametrize("text", ["", "1,2", "0:9,0:2", "4:5,0:2", "2:2,0:1", "0:2;0:2", "-1:2,0:1", "0:1,0:1,0:1"])
    def test_region_that_cannot_be(self, text: str) -> None:
        with pytest.raises(InputError, match="reference"):
            parse_reference(text, (4, 5))

    def test_mask(self, tmp_path: Path) -> None:
        mask = np.random.default_rng(0).random((4, 5)) > 0.5
        np.save(tmp_path / "mask.npy", mask.astype(np.uint8))
        np.testing.assert_array_equal(parse_reference(str(tmp_path / "mask.npy"), (4, 5)).region, mask)
        for name, bad in (("shape", np.ones((5, 4))), ("empty", np.zeros((4, 5)))):
            np.save(tmp_path / f"{name}.npy", bad)
            with pytest.raises(InputError, match="--reference: the mask"):
                parse_reference(str(tmp_path / f"{name}.npy"), (4, 5))
        (tmp_path / "text.npy").write_text("no array")
        with pytest.raises(InputError, match="is not a NumPy array"):
            parse_reference(str(tmp_path / "text.npy"), (4, 5))

    def test_automatic(self) -> None:
        assert parse_reference("auto", (4, 5)) == Wanted()

    def test_lattices(self) -> None:
        assert parse_reference("ideal", (4, 5)).kind == "ideal"
        for text in ("class 1", "class:1", "class1"):
            wanted = parse_reference(text, (4, 5))
            assert (wanted.kind, wanted.entry) == ("class", 1)


class TestReferencePicked:
    def test_largest_area_of_each_class(self) -> None:
        gradient = np.broadcast_to(np.eye(2), (6, 10, 2, 2)).copy()
        gradient[:, 6:] = rotation(0.2)  # a smaller grain of the same class
        gradient[4:] = np.diag([1.01, 0.99])  # another class
        label = np.zeros((6, 10), int)
        label[4:] = 1
        field = replace(
            one_class_field(reciprocal(gradient), 1e-5), label=label, operators=(np.eye(2)[None], np.eye(2)[None])
        )
        reference = pick_reference(field, Wanted())
        expected = np.zeros((6, 10), bool)
        expected[:4, :6] = expected[4:] = True
        np.testing.assert_array_equal(reference.mask, expected)
        np.testing.assert_allclose(reference.gradient, [np.eye(2), np.diag([1.01, 0.99])], atol=1e-12)
        expected_text = "the largest coherent area of each class: class 0: 24 positions; class 1: 20 positions (auto)"
        assert reference.text == expected_text

    def test_region_without_a_valid_position_is_refused(self) -> None:
        valid = np.ones((4, 4), bool)
        valid[:2] = False
        field = one_class_field(np.broadcast_to(np.eye(2), (4, 4, 2, 2)), valid=valid)
        mask = np.zeros((4, 4), bool)
        mask[0] = True
        with pytest.raises(InputError, match="no valid position"):
            pick_reference(field, Wanted("region", mask))

    def test_a_region_in_one_class_says_what_the_other_lacks(self) -> None:
        label = np.repeat([0, 1], 2)[:, None] * np.ones((4, 5), int)
        field = one_class_field(np.broadcast_to(np.eye(2), (4, 5, 2, 2)), operators=np.eye(2)[None])
        field = replace(field, label=label, operators=(np.eye(2)[None], np.eye(2)[None]))
        reference = pick_reference(field, Wanted("region", label == 0))
        blank, text = without_reference(field, reference)
        np.testing.assert_array_equal(blank, label == 1)
        assert text.startswith("no reference for class 1 (10 positions)")
        assert "--reference" in text
        both = pick_reference(field, Wanted("region", label >= 0))
        assert both.text == "the region given: class 0: 10 positions; class 1: 10 positions"
        assert without_reference(field, both)[1] == ""

    def test_a_region_counts_where_a_crystal_is(self) -> None:
        label = np.repeat([0, -1], 2)[:, None] * np.ones((4, 5), int)
        field = replace(
            one_class_field(np.broadcast_to(np.eye(2), (4, 5, 2, 2)), operators=np.eye(2)[None]), label=label
        )
        assert pick_reference(field, Wanted("region", label <= 0)).text == "the region given, 10 positions"


class TestReferenceIsALattice:
    def test_ideal_strain_is_the_truth_itself(self) -> None:
        """Grains of any rotation and up to 2 % of strain, none of which is the reference."""
        made = polycrystal(scan=(16, 16), detector=(128, 128), radius=3.0, background=0.2, grain_size=60.0, seed=2)
        maps = run(made.scan, reference="ideal", ellipse=ROUND).maps
        assert maps.attrs["reference_kind"] == "ideal"
        found = compare(maps, made.truth, "raw")
        for component in (found.exx, found.eyy, found.exy):
            assert 0.8 < component.z_std < 1.25
            assert component.bias_rms < 3e-4 or np.isnan(component.bias_rms)

    def test_a_phase_without_reference_is_doubtful_and_told(self) -> None:
        made = two_phase(scan=(16, 16), detector=(128, 128), radius=3.0, background=0.2, grain_size=50.0, seed=1)
        label, progress = made.truth["class"].values, Notes()
        here = np.argwhere((label == 0) & made.truth["interior"].values)[0]
        maps = run(made.scan, progress, reference=f"{here[0]}:{here[0] + 1},{here[1]}:{here[1] + 1}").maps
        other = maps["class"].values != maps["class"].values[tuple(here)]
        blank = (maps["doubt"].values & Doubt.NO_REFERENCE.value) > 0
        assert blank.any()
        mixed = (maps["doubt"].values & Doubt.MIXTURE.value) > 0  # such a pattern may hold the other phase as well
        assert not blank[~other & ~mixed].any()
        assert not (maps["valid"].values & (other | blank)).any()
        assert any(note.startswith("no reference for class") for note in progress.notes)
        assert 0 in maps.attrs["reference_positions"]


def test_every_choice_is_told_and_kept(made: SimulatedScan) -> None:
    progress = Notes()
    result = run(made.scan, progress)
    told = "\n".join(progress.notes)
    for choice in (
        "bad pixels",
        "beam centre",
        "disk radius",
        "ring used",
        "entry 0",
        "noise",
        "ellipse",
        "reference",
        "steps",
        "mosaic",
    ):
        assert choice in told
    for choice in result.maps.attrs["choices"].splitlines():
        assert choice in told
    assert progress.done >= made.scan.n_positions


def test_what_is_chosen_while_learning_is_told() -> None:
    """As that a probe is not round, which no calibration knows."""
    made = strangers.stranger(
        [strangers.square(19.0, reach=45.0)], strangers.field(strangers.deformed(degrees=np.full((12, 12), 12.0))),
        probe=strangers.cross(4.2), background=strangers.flat(), dose=2e5, detector=(96, 96), seed=1,
    )  # fmt: skip
    progress = Notes()
    choices = run(Scan(made.counts), progress).maps.attrs["choices"].splitlines()
    assert any(choice.startswith("probe: not round") for choice in choices)
    assert set(choices) <= set("\n".join(progress.notes).splitlines())


def test_what_smoothing_loses_is_told_in_strain(made: SimulatedScan) -> None:
    """Steps and mosaic that pass for noise, in multiples of what a single pattern is sure of."""
    maps = run(made.scan, ellipse=ROUND).maps
    told = {
        name: float(re.search(rf"^{name}: .*?([\d.e-]+) %", maps.attrs["choices"], re.MULTILINE)[1])  # type: ignore[index]
        for name in ("steps", "mosaic")
    }
    alone = 100 * float(np.sqrt((maps["exx_raw_sigma"] ** 2 + maps["eyy_raw_sigma"] ** 2).median() / 2))
    n = int(maps["valid"].sum())
    assert told["steps"] == pytest.approx(2.5 * alone, rel=0.2)
    assert told["mosaic"] == pytest.approx(least_scatter(n) * alone, rel=0.2)


def test_scatter_of_the_first_fits_is_in_sigma_of_the_last(
    made: SimulatedScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refits from what neighbours say may no longer show it."""

    def scattered(field: AffineField, *arguments: object, **options: object) -> AffineField:
        found = smooth(field, *arguments, **options)  # type: ignore[arg-type]
        first = options.get("before") is None
        return replace(found, scatter=np.full(field.label.shape, 0.25)) if first else found

    usual = run(made.scan, ellipse=ROUND).maps
    monkeypatch.setattr("cyclestrain.pipeline.smooth", scattered)
    told = run(made.scan, ellipse=ROUND).maps
    valid = usual["valid"].values
    added = (told["exx_sigma"] ** 2 - usual["exx_sigma"] ** 2) / usual["exx_raw_sigma"] ** 2
    assert np.median(added.values[valid]) == pytest.approx(0.25, rel=0.2)


def test_dictionary_goes_with_the_maps(made: SimulatedScan) -> None:
    dictionary = run(made.scan).dictionary
    assert dictionary.sizes["class"] == 1
    n = int(np.isfinite(dictionary["reflection_y"]).sum())
    assert n >= 30
    # Positions are indices times basis.
    entry = dictionary.isel({"class": 0})
    indices = np.stack([entry["reflection_h"], entry["reflection_k"]], -1)
    positions = np.stack([entry["reflection_y"], entry["reflection_x"]], -1)
    on_lattice = np.isfinite(indices).all(1)
    np.testing.assert_allclose(positions[on_lattice], indices[on_lattice] @ entry["basis"].values.T, atol=0.4)
    assert int(dictionary["symmetry"][0]) == 6


def test_a_scan_larger_than_the_sample_is_read_in_blocks(made: SimulatedScan) -> None:
    """Little memory: learned from a part, fitted in blocks of a few rows; the same within the uncertainties."""
    whole = run(made.scan, reference="0:4,:").maps
    parts = run(replace(made.scan, memory_bytes=12 * 2**20), reference="0:4,:").maps
    assert parts["valid"].all()
    for name in ("exx_raw", "eyy_raw", "exy_raw", "rotation_raw"):
        assert float(np.abs((parts[name] - whole[name]) / whole[f"{name}_sigma"]).max()) < 1.0
        assert float(np.abs((parts[name] - whole[name]) / whole[f"{name}_sigma"]).mean()) < 0.3


def test_what_is_given_wins(made: SimulatedScan) -> None:
    truth = float(made.truth["centre_y"][0, 0]), float(made.truth["centre_x"][0, 0])
    maps = run(made.scan, centre=truth, ring=(10.0, 45.0), classes=1, seed=7).maps
    assert "as given" in maps.attrs["choices"]
    assert "ring used: 10 to 45 px" in maps.attrs["choices"]
    assert maps["valid"].all()


def test_scan_without_crystal_says_what_to_try() -> None:
    rng = np.random.default_rng(0)
    y, x = np.indices((64, 64)) - 31.5
    beam = 3000.0 * (np.hypot(y, x) < 3) + 20 / (1 + np.hypot(y, x) / 4)
    with pytest.raises(InputError, match="--centre"):
        run(Scan(rng.poisson(np.broadcast_to(beam, (5, 5, 64, 64))).astype(np.uint16)))


class TestBentCrystal:
    @pytest.mark.parametrize("bend", [8.0, 100.0])
    def test_rotation_is_followed_and_strain_is_right(self, bend: float) -> None:
        made = ripple(
            scan=(12, 24), detector=(128, 128), radius=3.0, background=0.2, amplitude=0.005, bend_deg=bend, seed=3
        )
        maps = run(made.scan).maps
        found = compare(maps, made.truth)
        assert found.failures == 0
        assert np.rad2deg(np.ptp(maps["rotation"].values)) == pytest.approx(bend, abs=1.0)
        for component in (found.exx, found.eyy, found.exy):
            # A column is the whole reference of the strongly bent crystal: it is as uncertain as few patterns are.
            assert component.bias_max_large < (3e-4 if bend < 10 else 1.5e-3)
            assert component.scatter < 8e-4


class TestNetworkOnly:
    def test_the_prior_gains_where_crystals_repeat_and_raw_is_each_pattern_alone(self, made: SimulatedScan) -> None:
        maps = run(made.scan, until="network").maps
        default, raw = compare(maps, made.truth), compare(maps, made.truth, "raw")
        assert default.exx.mae < 0.4 * raw.exx.mae
        assert float(maps["exx_sigma"].median()) < float(maps["exx_raw_sigma"].median())


class TestCrowdedDisks:
    @pytest.mark.parametrize(("spacing", "radius"), [(20.0, 5.0), (20.0, 6.0), (24.0, 7.0)])
    def test_disks_that_fill_the_pattern_are_found(self, spacing: float, radius: float) -> None:
        made = polycrystal(
            scan=(12, 12), detector=(160, 160), spacing=spacing, radius=radius, background=0.2, grain_size=72.0, seed=4
        )
        result = run(made.scan, ellipse=ROUND)
        found = compare(result.maps, made.truth, "raw")
        assert result.dictionary.sizes["reflection"] >= 30
        assert found.failures == 0
        assert found.exx.mae_interior < 4e-3
        assert 0.8 < found.exx.z_std < 1.25


@pytest.mark.parametrize(("background", "tolerance"), [(0.6, 0.12), (0.8, 0.2)])
def test_patterns_dimmer_than_the_others_scatter_as_they_say(background: float, tolerance: float) -> None:
    """Half of the scan has a third of the counts, as where a support is thick."""
    bright = polycrystal(
        scan=(20, 20), detector=(128, 128), radius=3.0, background=background, counts=6e4, grain_size=200.0, seed=4
    )
    patterns = np.asarray(bright.scan.source).copy()
    patterns[:, :10] = np.random.default_rng(0).binomial(patterns[:, :10].astype(int), 0.35)
    maps = run(replace(bright.scan, source=patterns), ellipse=ROUND).maps
    interior = bright.truth["interior"].values & maps["valid"].values
    for half in np.s_[:, :10], np.s_[:, 10:]:
        z = []
        for name in ("exx", "eyy", "exy"):
            error = maps[f"{name}_raw"] - relative_truth(maps, bright.truth, "raw")[name]
            z.append((error / maps[f"{name}_raw_sigma"]).values[half][interior[half]])
        assert np.std(z) == pytest.approx(1.0, abs=tolerance)


def test_the_device_does_not_change_the_map(made: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the network runs on it: the likelihood has the same numbers everywhere."""

    def asked(settings: object) -> str:
        raise AssertionError("the map asked for a device")

    monkeypatch.setattr("cyclestrain.network.scan._device", asked)
    one, other = (run(made.scan, device=device).maps for device in ("cpu", "cuda"))
    for name in ("exx", "exx_raw", "exx_sigma", "rotation"):
        np.testing.assert_array_equal(one[name], other[name])


def test_results_do_not_depend_on_the_threads_of_linear_algebra() -> None:
    """Sums of matrix products end in other bits with another number of threads."""
    options = {"scan": (9, 11), "detector": (96, 96), "grain_size": 60.0, "radius": 3.0, "counts": 1.5e4}
    faint = polycrystal(**options, background=0.6, seed=3).scan
    maps = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            maps.append(map_scan(faint, MapSettings(), SilentProgress()).maps)
    np.testing.assert_array_equal(*(each["affine"].values for each in maps))


def test_results_do_not_depend_on_the_memory_allowed(made: SimulatedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned from is the same, whether the scan is held in memory, read in large blocks, or in small ones."""
    scan = replace(made.scan, source=np.asarray(made.scan.source))
    monkeypatch.setattr(subset, "SAMPLE_BYTES", scan.n_positions // 3 * scan.pattern_bytes)
    size = scan.n_positions * scan.pattern_bytes
    sizes = (20 * size, 3 * size, 16 * 24 * scan.pattern_bytes)
    whole, *others = (run(replace(scan, memory_bytes=size)).maps for size in sizes)
    for other in others:
        for name in ("exx", "exx_raw", "exx_sigma", "rotation", "class", "log_likelihood"):
            np.testing.assert_array_equal(other[name], whole[name], err_msg=name)

"""What a session shows is what the result says; what it changes follows from what is stored. No browser."""

from __future__ import annotations

import csv
import io
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import cyclestrain as cs
from cyclestrain.api.exploring import open_files
from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.explorer import Opened, Session, View
from cyclestrain.explorer.detectors import Disk, Reflections, Ring, parse_detector
from cyclestrain.explorer.exports import EXPORTS, export, python_lines
from cyclestrain.explorer.position import worst_first
from cyclestrain.explorer.profiles import profile
from cyclestrain.explorer.quantities import QUANTITIES, available, shown
from cyclestrain.explorer.regions import Line, Region
from cyclestrain.result import load_result, save_result
from cyclestrain.result import profile as profile_of_strain
from explorer.conftest import Small
from made_up import SHAPE, made_up_result

whole = st.integers(0, 500)
number = st.floats(-100, 100).map(lambda v: round(v, 2))
points = st.tuples(number, number)
regions = st.one_of(
    st.tuples(whole, whole, whole, whole).map(
        lambda c: Region(((min(c[:2]), min(c[2:])), (max(c[:2]) + 1, max(c[2:]) + 1)), rectangle=True)
    ),
    st.lists(points, min_size=3, max_size=6).map(lambda c: Region(tuple(c))),
)
limits = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
detectors = st.one_of(
    st.builds(Disk, number, number, number),
    st.builds(Ring, number, number),
    st.builds(Reflections, st.integers(0, 3), st.lists(st.integers(0, 40), min_size=1).map(tuple), number),
)
views = st.builds(
    View,
    map=st.sampled_from(list(QUANTITIES)), at=st.tuples(whole, whole), estimate=st.sampled_from(["", "raw"]),
    limits=st.none() | limits, brush=st.none() | limits, classes=st.none() | st.tuples() | st.tuples(st.integers(0, 9)),
    reference=st.none() | regions, line=st.none() | st.builds(Line, points, points, st.integers(1, 9).map(float)),
    brightness=st.sampled_from(["sqrt", "log", "linear"]), residual=st.booleans(),
    detector=st.none() | detectors,
)  # fmt: skip


@given(views)
def test_a_view_is_read_back_as_it_was_written(view: View) -> None:
    assert View.parse(str(view)) == view


@given(st.text(max_size=40))
def test_a_view_of_any_text_is_read_or_refused_in_words(text: str) -> None:
    for read in (View.parse, parse_detector, Line.parse, Region.parse):
        with suppress(InputError):
            read(text)


def test_every_map_can_be_shown_and_is_blank_where_the_result_is_not_valid() -> None:
    maps = made_up_result()
    for name in available(maps):
        for estimate in ("", "raw"):
            found = shown(maps, name, estimate)
            assert found.values.shape == SHAPE
            assert found.title
            assert np.isnan(found.values[1, 2])
            assert np.isfinite(found.values[0, 0])


def test_numbers_of_a_position_are_those_of_the_result_in_percent_and_degrees() -> None:
    maps = made_up_result()
    session = Session(Opened(maps), View(at=(2, 5)))
    found = {n.name: n for n in session.numbers()}
    assert found["exx"].value == pytest.approx(100 * float(maps["exx"][2, 5]))
    assert found["exx"].sigma == pytest.approx(100 * float(maps["exx_sigma"][2, 5]))
    assert found["rotation"].value == pytest.approx(np.degrees(float(maps["rotation"][2, 5])))
    assert found["dilation"].value == pytest.approx(100 * float(maps["exx"][2, 5] + maps["eyy"][2, 5]))
    shear = np.hypot(float(maps["exx"][2, 5] - maps["eyy"][2, 5]) / 2, float(maps["exy"][2, 5]))
    assert found["shear"].value == pytest.approx(100 * shear)
    session.change(estimate="raw")
    assert session.numbers()[0].value == pytest.approx(100 * float(maps["exx_raw"][2, 5]))


def test_noise_is_not_stretched_to_structure() -> None:
    maps = made_up_result()
    maps["exx"] = maps["exx"] * 0
    maps["exx_sigma"] = maps["exx_sigma"] * 0 + 0.01
    assert shown(maps, "exx").scale.high >= 2.0


def test_a_refused_change_changes_nothing(small: Small) -> None:
    session = Session(small.opened())
    before = session.view
    for bad in (
        {"map": "nothing"}, {"at": (99, 0)}, {"beside": "other:exx"}, {"map": "virtual"},
        {"reference": Region(((90.0, 90.0), (95.0, 90.0), (90.0, 95.0)))}, {"line": Line((0.0, 0.0), (1e9, 1e9))},
    ):  # fmt: skip
        with pytest.raises(InputError):
            session.change(**bad)
        assert session.view == before


@pytest.mark.parametrize("region", ["1:6,0:4", "0,0;7,0;7,5;0,5"])
def test_a_drawn_reference_is_that_of_a_run_with_it(small: Small, region: str) -> None:
    session = Session(small.opened(), View(reference=Region.parse(region)))
    lines = python_lines(session)
    assert "relative_to" in lines
    mask = Region.parse(region).mask((12, 14))
    assert (session.reference() & ~mask).sum() == 0
    assert session.reference().any()
    inside = session.maps["exx_raw"].values[session.reference()]
    sigma = session.maps["exx_raw_sigma"].values[session.reference()]
    assert abs(inside.mean()) < 4 * sigma.mean() / np.sqrt(inside.size)
    session.change(reference=None)
    assert session.maps is small.maps


def test_a_profile_is_that_of_the_accessor(small: Small) -> None:
    line = Line((1.0, 0.5), (10.0, 12.0), 3.0)
    for estimate in ("", "raw"):
        session = Session(small.opened(), View(line=line, estimate=estimate))
        expected = profile_of_strain(small.maps, line.start, line.stop, line.width, estimate)
        for name, factor in (("exx", 100.0), ("rotation", np.degrees(1.0))):
            found = session.profile(name)
            assert found is not None
            assert found.sigma is not None
            np.testing.assert_array_equal(found.count, expected["n"])
            away = found.values - factor * expected[name].values
            if name == "rotation":
                away -= 60.0 * np.round(away / 60.0)
            np.testing.assert_allclose(away, 0, atol=1e-9)
            np.testing.assert_allclose(found.sigma, factor * expected[f"{name}_sigma"].values)


@given(st.tuples(points, points), st.integers(1, 7))
def test_a_profile_of_a_constant_is_constant(ends: tuple, width: int) -> None:
    values, sigma = np.full((8, 9), 2.5), np.full((8, 9), 0.5)
    for independent in (True, False):
        found = profile(values, sigma, Line(*ends, float(width)), independent=independent)
        known = found.count > 0
        np.testing.assert_allclose(found.values[known], 2.5)
        assert np.isnan(found.values[~known]).all()
        assert found.sigma is not None
        wanted = 0.5 / np.sqrt(found.count[known]) if independent else 0.5
        np.testing.assert_allclose(found.sigma[known], wanted)


def test_fitted_disks_lie_on_the_recorded_ones(small: Small) -> None:
    opened = small.opened()
    pattern = opened.pattern((2, 3))
    assert pattern.counts is not None
    assert pattern.reflections is not None
    np.testing.assert_array_equal(pattern.counts, small.patterns()[2, 3])
    y, x = pattern.reflections.y, pattern.reflections.x
    grid = np.stack(np.indices(pattern.counts.shape), -1)[:, :, None]
    away = np.hypot(grid[..., 0] - y, grid[..., 1] - x).min(-1)
    radii = np.hypot(*(np.indices(pattern.counts.shape) - 47.5))
    ring = (radii > 12) & (radii < np.hypot(y - 47.5, x - 47.5).max())
    assert pattern.counts[ring & (away < 2.5)].mean() > 1.5 * pattern.counts[ring & (away > 5)].mean()


def test_the_residual_of_a_good_fit_is_noise(small: Small) -> None:
    residual = small.opened().residual((2, 3))
    used = np.isfinite(residual)
    assert used.sum() > 1000
    assert abs(residual[used].mean()) < 0.15
    assert 0.6 < residual[used].std() < 1.4


@pytest.mark.parametrize("detector", [Disk(3.0, -8.0, 4.2), Ring(10.0, 30.0), Ring(0.0, 4.0)])
def test_a_virtual_image_counts_the_electrons_in_the_detector(small: Small, detector: Disk | Ring) -> None:
    opened = small.opened()
    virtual = opened.virtual
    assert virtual is not None
    assert np.isnan(virtual.so_far(detector)[0]).all()
    seen: list[bool] = []
    image = virtual.image(detector, lambda: seen.append(virtual.so_far(detector)[1]))
    patterns, centre = small.patterns().astype(float), np.round(opened.centre)
    for at in ((0, 0), (5, 9), (11, 13)):
        y, x = np.indices(patterns.shape[2:]) - centre[at][:, None, None]
        if isinstance(detector, Disk):
            inside = np.hypot(y - detector.y, x - detector.x) <= detector.radius
        else:
            inside = (np.hypot(y, x) >= detector.inner) & (np.hypot(y, x) <= detector.outer)
        assert image[at] == pytest.approx(patterns[at][inside].sum())
    assert seen[-1]
    virtual.image(detector, lambda: pytest.fail("it was counted again"))


def test_a_detector_that_is_none_is_refused_in_words(small: Small) -> None:
    virtual = small.opened().virtual
    assert virtual is not None
    for bad in (Ring(9.0, 3.0), Disk(0.0, 0.0, 0.0), Reflections(7, (0,), 3.0), Reflections(0, (999,), 3.0)):
        with pytest.raises(InputError):
            virtual.image(bad)
    whole = virtual.image(Ring(0.0, 1e6))
    np.testing.assert_allclose(whole, small.patterns().sum((2, 3)))


def test_an_image_of_reflections_follows_the_lattice(small: Small) -> None:
    opened = small.opened()
    assert opened.virtual is not None
    brightest = np.argsort(-np.nan_to_num(small.maps["reflection_intensity"].values[0]))[:3]
    image = opened.virtual.image(Reflections(0, tuple(brightest.tolist()), 3.5))
    elsewhere = opened.virtual.image(Disk(25.0, 5.0, 3.5))
    assert np.nanmedian(image) > 3 * np.median(elsewhere) * 1.1
    pattern = opened.pattern((2, 3))
    assert pattern.reflections is not None
    places = np.stack([pattern.reflections.y[brightest], pattern.reflections.x[brightest]], -1).round()
    y, x = np.indices((96, 96))
    inside = (np.hypot(y - places[:, 0, None, None], x - places[:, 1, None, None]) <= 3.5).any(0)
    assert image[2, 3] == pytest.approx(small.patterns()[2, 3][inside].sum())


def test_the_worst_position_comes_first_and_says_why(small: Small) -> None:
    maps = small.maps.copy(deep=True)
    maps["log_likelihood"][4, 7] = -2.0
    maps["doubt"][4, 7] = 1
    session = Session(small.opened(maps))
    assert tuple(worst_first(maps)[0]) == (4, 7)
    assert session.to_worst() == 1
    assert session.view.at == (4, 7)
    text = " ".join(session.reasons())
    assert "explains the pattern worse" in text
    assert "misfit is 4" in text
    assert session.to_worst() == 2
    assert session.to_worst(-1) == 1
    assert session.view.at == (4, 7)


def test_filters_leave_what_they_say() -> None:
    maps = made_up_result()
    session = Session(Opened(maps), View(brush=(0.05, 0.11), classes=(1,)))
    values = 100 * maps["exx"].values
    wanted = (values >= 0.05) & (values <= 0.11) & (maps["class"].values == 1)
    np.testing.assert_array_equal(session.picked(), wanted & maps["valid"].values)


@pytest.mark.parametrize("what", list(EXPORTS))
def test_everything_on_the_screen_can_be_saved(small: Small, tmp_path: Path, what: str) -> None:
    view = View(line=Line((1.0, 1.0), (9.0, 12.0), 2.0), reference=Region.parse("1:6,0:4"), at=(2, 3))
    made = export(Session(small.opened(), view), what)
    start = {"png": b"\x89PNG", "svg": b"<?xml", "csv": b"#", "nc": b"\x89HDF"}[what.split(".")[1]]
    assert made.content.startswith(start)
    if what == "result.nc":
        path = tmp_path / made.name
        path.write_bytes(made.content)
        again = load_result(path)
        assert "region" in again.attrs["reference"]
        assert not np.allclose(again["exx"], small.maps["exx"], atol=1e-6, equal_nan=True)
    if what == "profile.csv":
        lines = made.content.decode().splitlines()[1:]
        rows = list(csv.reader(io.StringIO("\n".join(lines))))
        found = Session(small.opened(), view).profile()
        assert found is not None
        assert [float(row[1]) for row in rows[1:]] == pytest.approx(list(found.values), rel=1e-4, nan_ok=True)


def test_the_drawn_figure_of_every_kind_of_map_is_made(small: Small) -> None:
    for name in ("class", "doubt", "rotation", "misfit", "exx_sigma"):
        assert len(export(Session(small.opened(), View(map=name)), "map.png").content) > 5000
    assert len(export(Session(small.opened(), View(residual=True, at=(2, 3))), "pattern.png").content) > 5000


def test_without_a_scan_or_a_stored_fit_there_are_maps_and_a_reason(small: Small) -> None:
    old = small.maps.drop_vars(["affine", "affine_raw"])
    opened = Opened(old, "old.nc", trouble="no patterns: scan.h5 was not found from here")
    found = opened.pattern((1, 1))
    assert found.counts is None
    assert "was not found" in found.trouble
    assert "map the scan again" in found.trouble
    session = Session(opened)
    with pytest.raises(InputError, match="map the scan again"):
        session.change(reference=Region.parse("1:6,0:4"))
    with pytest.raises(InputError, match="not found"):
        opened.residual((1, 1))


def test_what_does_not_fit_the_result_is_refused_in_words(small: Small) -> None:
    scan = small.read()
    with pytest.raises(InputError, match="12 x 14 positions"):
        Opened(small.maps, scan=replace(scan, source=scan.source[:5]))
    with pytest.raises(InputError, match="same scan"):
        Opened(small.maps, "a.nc", other=made_up_result(), other_name="b.nc")


def test_a_pattern_that_cannot_be_read_is_a_sentence_not_a_crash(small: Small) -> None:
    class Broken:
        shape, dtype = (12, 14, 96, 96), np.dtype(np.uint16)

        def __getitem__(self, key: object) -> np.ndarray:
            raise OSError("filter returned failure during read")

    opened = Opened(small.maps, scan=replace(small.read(), source=Broken()))
    assert "cannot be read: filter returned failure" in opened.pattern((3, 3)).trouble
    assert opened.pattern((3, 3)).reflections is not None
    with pytest.raises((CyclestrainError, OSError)):
        opened.residual((3, 3))


def test_two_results_side_by_side_share_their_colours(small: Small) -> None:
    other = small.maps.copy(deep=True)
    other["exx"] = other["exx"] * 0.5
    opened = Opened(small.maps, "a.nc", other=other, other_name="b.nc")
    session = Session(opened, View(beside="other:exx"))
    assert session.shown("other:exx").scale == session.shown().scale
    np.testing.assert_allclose(session.shown("other:exx").values, 0.5 * session.shown().values)
    assert "--beside b.nc" in session.view.words("a.nc", None, "b.nc")


def test_the_line_of_python_makes_the_same_again(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.result.parent)
    view = View(line=Line((1.0, 1.0), (9.0, 12.0), 3.0), reference=Region.parse("0,0;7,0;7,5;0,5"))
    session, made = Session(small.opened(), view), {}
    exec(python_lines(session), made)
    xr.testing.assert_allclose(made["maps"][["exx", "rotation"]], session.maps[["exx", "rotation"]])
    found = session.profile()
    assert found is not None
    np.testing.assert_allclose(100 * made["line"]["exx"].values, found.values)


def test_explore_refuses_before_it_serves(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        cs.explore(small.result, view="map=nothing")
    with pytest.raises(InputError, match="does not exist"):
        cs.explore(tmp_path / "none.nc")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="another --port"):
            cs.explore(small.result, port=taken.getsockname()[1], browser=False)


def test_a_scan_that_was_moved_with_its_result_is_found(small: Small, tmp_path: Path) -> None:
    for file in (small.scan, small.result):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    maps = load_result(tmp_path / small.result.name)
    maps.attrs["input_path"] = f"/nowhere/{small.scan.name}"
    save_result(maps, tmp_path / small.result.name, force=True)
    opened = open_files(tmp_path / small.result.name, None, None, {})
    assert opened.scan is not None
    (tmp_path / small.scan.name).unlink()
    opened = open_files(tmp_path / small.result.name, None, None, {})
    assert opened.scan is None
    assert "give the scan after the result" in opened.trouble


def with_reflections(maps: xr.Dataset) -> xr.Dataset:
    """Intensities of three reflections, one of another class."""
    shape, rng = (maps.sizes["ry"], maps.sizes["rx"]), np.random.default_rng(3)
    values = rng.uniform(10, 50, (*shape, 3))
    values[:2, :, 0] = np.nan
    named = {"g_class": [0, 0, 1], "g_h": [1, 2, 1], "g_k": [-1, 0, -1]}
    values[..., 2] = np.where(np.isnan(values[..., 0]), 7.0, np.nan)
    dims = ("ry", "rx", "g")
    return xr.Dataset(
        {"intensity": (dims, values), "intensity_sigma": (dims, 0.1 * values)},
        coords={name: ("g", np.array(which)) for name, which in named.items()},
    )


def test_the_intensity_of_any_reflection_is_a_map(small: Small, tmp_path: Path) -> None:
    stored = with_reflections(small.maps)
    save_result(small.maps, tmp_path / "strain.nc", groups={"intensities": stored})
    opened = open_files(tmp_path / "strain.nc", small.scan, None, {})
    assert opened.reflections == [(1, -1), (2, 0)]
    session = Session(opened, View.parse("map=intensity:1,-1 beside=intensity:2,0 line=1,1:9,12:1"))
    found = session.shown()
    np.testing.assert_array_equal(found.values[:2], 7.0)
    np.testing.assert_array_equal(found.values[2:], stored["intensity"].values[2:, :, 0])
    np.testing.assert_allclose(found.sigma, 0.1 * found.values)
    assert "intensity of (1 -1)" in found.title
    np.testing.assert_array_equal(session.shown("intensity:2,0").values, stored["intensity"].values[..., 1])
    assert session.profile() is not None
    assert View.parse(str(session.view)) == session.view
    assert export(session, "map.png").name == "strain_intensity_1,-1.png"
    with pytest.raises(InputError, match="2 reflections, among them intensity:1,-1"):
        session.change(map="intensity:3,3")
    with pytest.raises(InputError, match="no intensities; map the scan again with --intensities"):
        Session(small.opened(), View.parse("map=intensity:1,0"))


def test_the_window_offers_every_reflection(small: Small) -> None:
    pytest.importorskip("bokeh")
    from cyclestrain.explorer.views.window import Window

    opened = Opened(small.maps, intensities=with_reflections(small.maps), scan=small.read())
    window = Window(Session(opened))
    names = [name for name, _ in window.controls.map.options["Intensity"]]
    assert names == ["intensity:1,-1", "intensity:2,0"]
    window.actions.choose(names[1])
    assert window.map.plot.title.text == "intensity of (2 0) (counts)"

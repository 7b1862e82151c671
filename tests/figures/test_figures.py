from __future__ import annotations

import os
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cyclestrain.data import Doubt
from cyclestrain.display.fields import (
    COMPONENTS,
    SIGMA,
    STRAINS,
    class_names,
    component_map,
    period_map,
    periods_deg,
    strain_axes_angle,
)
from cyclestrain.errors import InputError, OutputError
from cyclestrain.figures import dictionary_figure, save_figures, strain_figure, training_figure
from cyclestrain.figures.accuracy_maps import compare
from cyclestrain.figures.dictionary_view import probe_radius, radial_profile
from cyclestrain.figures.figures import accuracy_figure, uncertainty_figure
from cyclestrain.figures.line_profiles import runs
from cyclestrain.figures.maps import CYCLIC, DIVERGING
from cyclestrain.figures.panels import spread_note
from cyclestrain.network.log import Epoch, TrainingLog
from cyclestrain.network.losses import LossWeights
from cyclestrain.settings import ShowSettings
from figures import synthetic

SHAPES = [(48, 48), (40, 120), (90, 20), (3, 2), (1, 1), (2, 300)]


def maps_of(figure: Figure) -> list[Axes]:
    """Axes that show a map of the scan."""
    return [axes for axes in figure.axes if axes.images and axes.get_label()]


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def render(figure: Figure, tmp_path: Path) -> None:
    """Draw for real: most faults of a figure only show up then."""
    figure.savefig(tmp_path / "figure.png", dpi=40)


@pytest.mark.parametrize("shape", SHAPES)
def test_four_maps_with_histograms_and_colour_bars(shape: tuple[int, int], tmp_path: Path) -> None:
    figure = strain_figure(synthetic.smooth(shape))
    assert len(maps_of(figure)) == 4
    # Four maps, four histograms, four colour bars, the axes legend.
    assert len(figure.axes) == 13
    assert figure.get_figwidth() * 25.4 == pytest.approx(180)
    render(figure, tmp_path)


@pytest.mark.parametrize("shape", [(1, 64), (64, 1)])
def test_a_line_scan_becomes_four_profiles(shape: tuple[int, int], tmp_path: Path) -> None:
    ds = synthetic.smooth(shape)
    ds["valid"][{"rx": slice(0, 3)} if shape[0] == 1 else {"ry": slice(0, 3)}] = False
    figure = strain_figure(ds)
    profiles = [axes for axes in figure.axes if axes.lines and axes.collections]
    assert len(profiles) == 4
    line = np.asarray(profiles[0].lines[0].get_ydata(), dtype=float)
    assert np.isnan(line[:3]).all()
    np.testing.assert_allclose(line[3:], 100 * ds["exx"].values.ravel()[3:])
    render(figure, tmp_path)


@pytest.mark.parametrize("shape", [(1, 64), (64, 1)])
def test_a_line_scan_is_drawn_as_asked_for(shape: tuple[int, int], tmp_path: Path) -> None:
    look = ShowSettings(maps=("exx", "rotation", "exx_sigma"), width=85, font=8, limit=1.0)
    figure = strain_figure(synthetic.smooth(shape), look=look)
    profiles = [axes for axes in figure.axes if axes.lines and axes.get_label()]
    titles = [axes.get_label() for axes in profiles]
    assert titles == [STRAINS[0].label, COMPONENTS[3].label, f"{SIGMA} of {STRAINS[0].label}"]
    assert [bool(axes.collections) for axes in profiles] == [True, True, False]  # no band about an uncertainty
    assert profiles[0].get_ylim() == (-1, 1)
    assert figure.get_figwidth() * 25.4 == pytest.approx(85)
    render(figure, tmp_path)


def test_the_legend_of_classes_names_what_they_are() -> None:
    ds = synthetic.smooth().assign_attrs(phases="Si [110]; Ge [110]", symmetry=[2, 2])
    assert class_names(ds) == ("0 Si [110]", "1 Ge [110]")
    words = [text.get_text() for text in uncertainty_figure(ds).texts]
    assert [word for word in words if word.startswith("0 Si [110]: ")]


def test_maps_show_percent_and_degrees_in_the_layout_of_the_scan() -> None:
    ds = synthetic.smooth()
    shown = [np.ma.asarray(axes.images[0].get_array()) for axes in maps_of(strain_figure(ds))]
    keep = ds["valid"].values
    np.testing.assert_allclose(shown[0].filled(0)[keep], 100 * ds["exx"].values[keep], rtol=1e-6)
    np.testing.assert_allclose(shown[3].filled(0)[keep], np.rad2deg(ds["rotation"].values[keep]), rtol=1e-5)


def test_strains_share_one_range_about_zero() -> None:
    limits = [axes.images[0].get_clim() for axes in maps_of(strain_figure(synthetic.polycrystal()))]
    assert limits[0] == limits[1] == limits[2] == (-2.5, 2.5)


def test_positions_without_result_are_blank() -> None:
    ds = synthetic.polycrystal()
    # A failed fit may leave numbers behind: validity decides, not NaN.
    ds["exx"] = ds["exx"].fillna(0.5)
    image = maps_of(strain_figure(ds))[0].images[0]
    array = np.ma.asarray(image.get_array())
    np.testing.assert_array_equal(np.ma.getmaskarray(array), ~ds["valid"].values)
    assert image.get_cmap().get_bad()[3] == 0
    hatched = [patch for patch in maps_of(strain_figure(ds))[0].patches if patch.get_hatch()]
    assert len(hatched) == 1


def test_every_class_has_its_outline_and_none_is_vacuum_for_want_of_a_reference(tmp_path: Path) -> None:
    ds = synthetic.smooth((24, 24))
    label, reference = np.zeros((24, 24), np.int8), np.zeros((24, 24), bool)
    label[:, 8:16], label[:, 16:] = 1, 2
    reference[8:16, 2:6] = reference[8:16, 10:14] = True
    doubt = np.where(label == 2, Doubt.NO_REFERENCE.value, 0).astype(np.uint16)
    ds["class"], ds["reference"], ds["doubt"] = (("ry", "rx"), label), (("ry", "rx"), reference), (("ry", "rx"), doubt)
    ds["valid"] = ds["valid"] & (label < 2)
    figure = strain_figure(ds)
    text = texts_of(figure).replace("\n", " ")
    assert "class 0 solid, class 1 dashed" in text
    assert "Plain grey: no reference for this class" in text
    plain = np.ma.asarray(maps_of(figure)[0].images[1].get_array())
    np.testing.assert_array_equal(np.ma.getmaskarray(plain), label < 2)
    assert len(maps_of(figure)[0].collections) == 4
    assert "no reference: 33.3 %" in texts_of(uncertainty_figure(ds))
    render(figure, tmp_path)
    # A lattice as the reference has no outline.
    assert "outlined" not in texts_of(strain_figure(ds.assign_attrs(reference_kind="ideal")))


def test_maps_without_a_single_value(tmp_path: Path) -> None:
    ds = synthetic.polycrystal((6, 8))
    ds = ds.assign({name: ds[name] * np.nan for name in map(str, ds.data_vars) if ds[name].dtype.kind == "f"})
    ds["valid"] = xr.zeros_like(ds["valid"])
    ds["reference"] = xr.zeros_like(ds["reference"])
    figure = strain_figure(ds)
    assert "no valid position" in texts_of(figure)
    for drawn in (figure, uncertainty_figure(ds), accuracy_figure(ds, synthetic.smooth_truth((6, 8)))):
        render(drawn, tmp_path)


def test_rotation_is_cyclic_in_a_polycrystal_and_diverging_in_a_smooth_field() -> None:
    polycrystal = maps_of(strain_figure(synthetic.polycrystal()))[3].images[0]
    assert polycrystal.get_cmap().name == CYCLIC.name
    assert polycrystal.get_clim() == (-30, 30)
    smooth = maps_of(strain_figure(synthetic.smooth()))[3].images[0]
    assert smooth.get_cmap().name == DIVERGING.name
    assert smooth.get_clim()[1] < 2


def test_every_class_has_the_period_of_its_own_symmetry() -> None:
    ds = synthetic.polycrystal((6, 6)).assign_attrs(symmetry=[6, 4, 1])
    labels = np.zeros((6, 6), dtype=np.int8)
    labels[3:] = 1
    ds["class"] = ("ry", "rx"), labels
    assert (period_map(ds)[0, 0], period_map(ds)[5, 0]) == (60, 90)
    assert periods_deg(ds) == (60, 90)


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"axes": "detector", "scan_rotation_deg": 30.0}, -30.0),
        ({"axes": "scan", "scan_rotation_deg": 30.0}, 0.0),
        ({"axes": "crystal", "scan_rotation_deg": 30.0, "strain_axes_angle_deg": 45.0}, 15.0),
        ({"axes": "crystal", "scan_rotation_deg": 30.0}, None),
        ({}, 0.0),
    ],
)
def test_strain_axes_in_the_picture(attrs: dict[str, object], expected: float | None) -> None:
    assert strain_axes_angle(xr.Dataset(attrs=attrs)) == expected


def test_runs() -> None:
    assert runs(np.array([True, True, False, True])) == [(0, 2), (3, 4)]
    assert runs(np.zeros(3, dtype=bool)) == []


def test_scale_bar_is_in_real_units_or_in_positions() -> None:
    ds = synthetic.polycrystal()
    assert "5 nm" in texts_of(strain_figure(ds))
    assert "positions" in texts_of(strain_figure(synthetic.uncalibrated(ds)))


def test_a_result_with_nothing_but_the_four_maps(tmp_path: Path) -> None:
    ds = synthetic.smooth((20, 20))[["exx", "eyy", "exy", "rotation"]].drop_attrs()
    render(strain_figure(ds), tmp_path)
    render(uncertainty_figure(ds), tmp_path)
    with pytest.raises(InputError, match="exy"):
        strain_figure(ds.drop_vars("exy"))


@pytest.mark.parametrize("shape", [(48, 48), (40, 120), (1, 64)])
def test_uncertainty_figure_shows_all_variables(shape: tuple[int, int], tmp_path: Path) -> None:
    figure = uncertainty_figure(synthetic.polycrystal(shape))
    assert len(maps_of(figure)) == 8
    assert "vacuum" in texts_of(figure)
    render(figure, tmp_path)


def test_accuracy_figure_compares_every_component(tmp_path: Path) -> None:
    ds, truth = synthetic.smooth((30, 40)), synthetic.smooth_truth((30, 40))
    figure = accuracy_figure(ds, truth)
    assert len(maps_of(figure)) == 12
    assert texts_of(figure).count("MAE") == 5
    render(figure, tmp_path)
    with pytest.raises(InputError, match="not of the same scan"):
        accuracy_figure(ds, synthetic.smooth_truth((40, 30)))


def test_rotation_errors_are_modulo_the_symmetry() -> None:
    ds, truth = synthetic.smooth((30, 40)), synthetic.smooth_truth((30, 40))
    truth["rotation"] = truth["rotation"] + np.pi / 3
    comparison = compare(ds, truth)[3]
    assert float(np.ma.max(np.ma.abs(comparison.error))) < 1
    assert comparison.within_sigma == pytest.approx(0.68, abs=0.06)


@pytest.mark.parametrize("n_entries", [1, 2, 5])
def test_dictionary_figure(n_entries: int, tmp_path: Path) -> None:
    dictionary = synthetic.dictionary(n_entries)
    figure = dictionary_figure(dictionary)
    entries = [axes for axes in figure.axes if str(axes.get_label()).startswith("class")]
    assert len(entries) == n_entries
    drawn = np.asarray(entries[0].collections[0].get_offsets())
    found = np.stack(
        [dictionary["reflection_x"][0].dropna("reflection"), dictionary["reflection_y"][0].dropna("reflection")]
    )
    np.testing.assert_allclose(drawn, found.T)
    render(figure, tmp_path)


def test_probe_radius_is_where_its_edge_is() -> None:
    radius = probe_radius(radial_profile(synthetic.dictionary(1)))
    assert radius == pytest.approx(4.2, abs=0.05)


def test_a_probe_without_shape_and_an_entry_without_reflections(tmp_path: Path) -> None:
    dictionary = synthetic.dictionary(1)
    dictionary = dictionary.assign(probe=dictionary["probe"] * 0, reflection_y=dictionary["reflection_y"] * np.nan)
    assert probe_radius(radial_profile(dictionary)) is None
    render(dictionary_figure(dictionary), tmp_path)


@pytest.mark.parametrize("n", [1, 3, 40])
def test_training_curves_show_every_number_and_the_epoch_that_was_kept(n: int, tmp_path: Path) -> None:
    terms = {field.name: float(k) for k, field in enumerate(fields(LossWeights))}
    epochs = tuple(Epoch({name: -value * i for name, value in terms.items()}, 1.0 / (i + 1), 7.0) for i in range(n))
    figure = training_figure(TrainingLog(epochs, n // 2).dataset())
    panels = {str(axes.get_label()): axes for axes in figure.axes}
    assert set(panels) == {"held_out", "mask_radius", *terms}
    for name, axes in panels.items():
        kept, curve = axes.lines
        np.testing.assert_array_equal(np.asarray(kept.get_xdata()), n // 2 + 1)
        shown = np.asarray(curve.get_xydata(), float)
        np.testing.assert_array_equal(shown[:, 0], np.arange(1, n + 1))
        if name in terms:
            np.testing.assert_array_equal(shown[:, 1], [epoch.terms[name] for epoch in epochs])
        low, high = axes.get_ylim()
        assert low < shown[:, 1].min() <= shown[:, 1].max() < high
    assert f"epoch {n // 2 + 1}," in texts_of(figure)
    render(figure, tmp_path)


def test_component_map_of_the_raw_estimate() -> None:
    ds = synthetic.smooth((10, 10))
    raw = maps_of(strain_figure(ds, "raw"))[1].images[0].get_array()
    keep = ds["valid"].values
    np.testing.assert_allclose(np.ma.asarray(raw).filled(0)[keep], 100 * ds["eyy_raw"].values[keep], rtol=1e-6)
    sigma = component_map(ds, STRAINS[1], "raw", "sigma")
    np.testing.assert_allclose(sigma.filled(0)[keep], 100 * ds["eyy_raw_sigma"].values[keep], rtol=1e-6)


def test_saves_every_figure_in_every_format(tmp_path: Path) -> None:
    ds, truth = synthetic.smooth((12, 12)), synthetic.smooth_truth((12, 12))
    paths = save_figures(ds, synthetic.dictionary(1, 64), tmp_path / "out" / "scan", ("png", "svg", "pdf"), truth)
    names = {path.name for path in paths}
    stems = ("strain", "strain_raw", "uncertainty", "dictionary", "accuracy")
    assert names == {f"scan_{stem}.{kind}" for stem in stems for kind in ("png", "svg", "pdf")}
    signatures = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    for path in paths:
        assert path.read_bytes().startswith(signatures[path.suffix])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)


def test_saves_into_a_folder_and_leaves_out_what_is_missing(tmp_path: Path) -> None:
    ds = synthetic.smooth((8, 8))
    ds = ds.assign({f"{name}_raw": ds[name] for name in ("exx", "eyy", "exy", "rotation")})
    paths = save_figures(ds, None, f"{tmp_path / 'new'}/")
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["new/strain.png", "new/uncertainty.png"]


def test_refuses_what_cannot_be_written(tmp_path: Path) -> None:
    ds = synthetic.smooth((4, 4))
    with pytest.raises(OutputError, match="png, svg, pdf, not as 'bmp'"):
        save_figures(ds, None, tmp_path, ("bmp",))
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    with pytest.raises(OutputError, match="cannot make the folder"):
        save_figures(ds, None, blocker / "scan")
    (tmp_path / "taken_strain.png").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save_figures(ds, None, tmp_path / "taken")
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".part")]


def test_no_window_is_ever_opened() -> None:
    strain_figure(synthetic.smooth((4, 4)))
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_one_number_everywhere_is_written_with_few_digits() -> None:
    assert (
        spread_note(np.ma.masked_array(np.full((3, 3), 1.0) + 1e-12 * np.eye(3)), "%") == "median 1.00 %, spread 0.00 %"
    )

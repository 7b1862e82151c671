"""A report holds the numbers of its result, needs nothing from elsewhere, and harms no text that it is given."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.cli import main
from cyclestrain.data import Doubt
from cyclestrain.errors import InputError, OutputError
from cyclestrain.reporting import report_page
from cyclestrain.reporting.examples import chosen_positions, examples
from cyclestrain.reporting.words import doubts, phases, summary, uncertainty_holds
from e2e.conftest import Mapped


class Page(HTMLParser):
    """What a page refers to, its elements, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.refers_to: list[str] = []
        self.elements: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.refers_to += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def folder(small: Mapped, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan in a file and its result beside it."""
    from cyclestrain.simulation import save

    home = tmp_path_factory.mktemp("report")
    save(small.made, home / "scan.h5")
    cs.map(home / "scan.h5", home / "strain.nc", ellipse=(1.0, 0.0))
    return home


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(cs.report(folder / "strain.nc", folder / "page.html").read_text(encoding="utf-8"))


def test_it_is_one_file_that_loads_nothing(page: Page) -> None:
    assert {"script", "link", "iframe"}.isdisjoint(page.elements)
    assert all(place.startswith(("data:image/png;base64,", "#")) for place in page.refers_to)
    assert page.elements.count("img") == 4  # strain, uncertainty, patterns, dictionary


def test_it_says_what_was_measured_and_how(page: Page, folder: Path) -> None:
    maps = cs.load(folder / "strain.nc")
    for said in (
        *summary(maps),
        maps.attrs["reference"],
        "Poisson likelihood",
        "NeurIPS 2023",
        "cyclestrain map --config",
    ):
        assert said in page.text
    for row in doubts(maps):
        assert row.meaning in page.text


def test_doubts_are_counted(small: Mapped) -> None:
    maps = small.maps.copy()
    doubt = np.zeros(maps["valid"].shape, np.uint16)
    doubt[0, :3], doubt[1, 0] = Doubt.MISFIT | Doubt.FAINT, Doubt.FAINT
    valid = np.ones(doubt.shape, bool)
    valid[0, 0] = False
    rows = doubts(maps.assign(doubt=(("ry", "rx"), doubt), valid=(("ry", "rx"), valid)))
    assert [(row.name, row.positions, row.valid) for row in rows] == [("faint", 4, 3), ("misfit", 3, 2)]


def test_examples_are_the_extremes_of_the_fit(small: Mapped) -> None:
    places = {title: (ry, rx) for title, ry, rx in chosen_positions(small.maps)}
    fit, valid = small.maps["log_likelihood"].values, small.maps["valid"].values
    assert fit[places["best fit"]] == fit[valid].max()
    assert fit[places["worst valid fit"]] == fit[valid].min()
    assert (fit[valid] < fit[places["median fit"]]).sum() == pytest.approx(valid.sum() / 2, abs=1)
    assert small.maps["gain"].values[places["faintest valid"]] == small.maps["gain"].values[valid].min()


def test_residuals_of_the_examples_are_noise(small: Mapped) -> None:
    for example in examples(small.maps, small.made.scan):
        residual = ((example.recorded - example.fitted) / example.noise)[np.isfinite(example.fitted)]
        assert residual.std() == pytest.approx(1.0, abs=0.1)
        assert abs(residual.mean()) < 0.05


def test_names_are_text_and_never_markup(small: Mapped) -> None:
    maps = small.maps.assign_attrs(name="<script>alert(1)</script>", input_path='"><img src=x onerror=alert(1)>')
    html = report_page(maps, None, None)
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "<script>alert(1)</script>" in Page(html).text


def test_nothing_valid_is_a_report_too(small: Mapped) -> None:
    maps = small.maps.assign(valid=xr.zeros_like(small.maps["valid"]))
    assert "No position has a valid result" in Page(report_page(maps, None, small.made.scan)).text


def test_without_its_scan_it_says_so(folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "strain.nc"
    moved.write_bytes((folder / "strain.nc").read_bytes())
    maps = cs.load(moved)
    assert "not at hand" in Page(report_page(maps, None, None)).text


def test_a_changed_scan_is_not_shown_as_the_one_that_was_mapped(folder: Path, small: Mapped, tmp_path: Path) -> None:
    other = tmp_path / "scan.npy"
    np.save(other, np.asarray(small.made.scan.source)[:5])
    with pytest.raises(InputError, match="scan of shape"):
        cs.report(folder / "strain.nc", tmp_path / "page.html", scan=other)


def test_a_page_is_not_replaced_unless_asked(folder: Path, page: Page) -> None:
    with pytest.raises(OutputError, match="exists"):
        cs.report(folder / "strain.nc", folder / "page.html")


def test_command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert main(["report", "strain.nc"]) == 0
    assert "wrote strain.html" in capsys.readouterr().out
    assert (folder / "strain.html").stat().st_size > 100_000


def test_what_an_uncertainty_holds_depends_on_the_reference() -> None:
    """Strain of a known lattice has the size of a pixel in its uncertainty; relative strain has not."""
    relative, known = xr.Dataset(attrs={"reference_kind": "region"}), xr.Dataset(attrs={"reference_kind": "known"})
    assert "does not hold a wrong camera length" in uncertainty_holds(relative)
    assert "camera length" not in uncertainty_holds(known)
    assert "size of a pixel. It does not hold contrast" in uncertainty_holds(known)


def test_classes_are_named_where_their_lattices_are_known() -> None:
    sizes = {"lattice_parameter": [5.4321, np.nan], "lattice_parameter_sigma": [0.012, np.nan]}
    said = phases(xr.Dataset(attrs={"phases": "Si; unknown", **sizes}))
    assert said == [
        "Class 0 is Si, with a mean lattice constant of 5.432 \N{PLUS-MINUS SIGN} 0.012 angstrom in the plane of the "
        "pattern.",
        "Class 1 is unknown.",
    ]
    assert phases(xr.Dataset()) == []

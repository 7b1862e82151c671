"""Grains of mapped scans: sizes, turns, twins and phases are those that were put in."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.cli import main
from cyclestrain.errors import InputError
from cyclestrain.microstructure import coincidence
from cyclestrain.microstructure.coincidence import shared_row
from cyclestrain.microstructure.grains import _boundary
from strangers import Phase, deformed, disk, grains, peaked, phase, stranger

G111 = np.sqrt(3) / 0.405
"""Length of 111 of aluminium, 1/nm."""
ALUMINIUM, IRON = "a=4.05,structure=fcc,zone=110,name=aluminium", "a=2.87,structure=bcc,zone=110,name=iron"
TWIN = 2 * np.degrees(np.arctan(np.sqrt(0.5)))


def along_110(length: float = 18.0) -> Phase:
    """Aluminium along [110]: 111 and its mirror image, 70.53 degrees apart."""
    half = np.radians(TWIN / 2)
    one, two = (length * np.array([np.sin(angle), np.cos(angle)]) for angle in (-half, half))
    return phase(tuple(one), tuple(two), 2, seed=3)


@pytest.fixture(scope="module")
def twinned() -> xr.Dataset:
    """Three grains in stripes: the second is turned by 70.53 degrees, the third by 8 against that, and strained."""
    number = np.repeat([0, 1, 2], [6, 7, 5])[None].repeat(10, 0)
    gradients = np.stack([deformed(), deformed(degrees=TWIN), deformed(0.006, -0.004, degrees=TWIN + 8)])
    made = stranger(
        [along_110()], grains(number, gradients), probe=disk(3.5), background=peaked(12.0), backgrounds=0.3, seed=2
    )
    return cs.map(made.counts, ellipse=(1, 0), reference="0:10,0:5", step="2nm", pixel=f"{G111 / 18}+-{G111 / 1800}/nm")


def test_size_strain_and_orientation(twinned: xr.Dataset) -> None:
    found = cs.grains(twinned)
    by_place = sorted(found.grains, key=lambda one: one.rx)
    assert [one.positions for one in by_place] == [60, 70, 50]
    assert [one.grain for one in by_place] == [2, 1, 3]
    assert [one.neighbours for one in by_place] == [(1,), (2, 3), (1,)]
    assert by_place[0].area == pytest.approx(240.0)
    turned = [one.orientation_deg for one in by_place]
    assert turned[1] == pytest.approx(TWIN, abs=0.1)
    assert turned[2] == pytest.approx(TWIN + 8, abs=0.1)
    third = by_place[2]
    assert abs(third.exx - 0.006) < 4 * third.exx_sigma
    assert abs(third.eyy + 0.004) < 4 * third.eyy_sigma
    assert 0.5 * third.exx_sigma < third.exx_spread < 1.5 * third.exx_sigma  # nothing but noise within a grain
    np.testing.assert_array_equal(found.number[:, 7:12], 1)


def test_twins_by_name_where_the_crystal_is_known(twinned: xr.Dataset) -> None:
    unknown, told = cs.grains(twinned), cs.grains(twinned, known=[IRON, ALUMINIUM])
    assert {one.coincidence_sigma for one in unknown.boundaries} == {0}
    by_pair = {(one.first, one.second): one for one in told.boundaries}
    twin, other = by_pair[1, 2], by_pair[1, 3]
    assert twin.coincidence_sigma == 3
    assert twin.deviation_deg < 0.1
    assert twin.length == pytest.approx(20.0)
    assert twin.shared_row.count("=") == 1
    assert other.misorientation_deg == pytest.approx(8.0, abs=0.1)
    assert other.coincidence_sigma == 0
    assert all(one.phase == "aluminium" for one in told.grains)


def test_none_of_the_candidates_is_an_answer(twinned: xr.Dataset) -> None:
    (phases,) = cs.grains(twinned, known=[IRON, "a=5.43,structure=diamond,zone=001"]).phases
    assert next(iter(phases)) == "none of these"
    assert sum(phases.values()) == pytest.approx(1.0)
    (phases,) = cs.grains(twinned, known=[ALUMINIUM, "a=4.08,structure=fcc,zone=110,name=gold"]).phases
    assert phases["gold"] > 0.2  # 0.7 % apart with a pixel known to 1 %: not told
    assert max(phases.values()) < 0.9


def test_the_smallest_turn_modulo_the_symmetry(twinned: xr.Dataset) -> None:
    first, second, _ = cs.grains(twinned).grains
    pair = (replace(first, orientation_deg=85.0), replace(second, orientation_deg=-85.0))
    found = _boundary(*pair, 1.0, np.array([2]), np.eye(2)[None], 0)  # a pattern that half a turn leaves as it is
    assert found.misorientation_deg == pytest.approx(10.0)


@pytest.mark.parametrize(("columns", "meet"), [(slice(6, 7), True), (slice(3, 10), False)])
def test_neighbours_across_what_is_no_grain(twinned: xr.Dataset, columns: slice, meet: bool) -> None:
    blank = twinned.copy(deep=True)
    blank["affine"].values[:, columns] = np.nan
    first, second, third = sorted(cs.grains(blank).grains, key=lambda one: one.rx)
    assert (second.grain in first.neighbours) is meet
    assert second.grain in third.neighbours


def test_tables(twinned: xr.Dataset, tmp_path: Path) -> None:
    from cyclestrain.result import save_result

    file, output = tmp_path / "strain.nc", tmp_path / "grains.csv"
    save_result(twinned, file)
    assert main(["grains", str(file), "-o", str(output), "--known", ALUMINIUM]) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["positions"] for row in rows] == ["70", "60", "50"]
    assert rows[0]["neighbours"] == "2 3"
    beside = list(csv.DictReader((tmp_path / "grains_boundaries.csv").read_text().splitlines()))
    assert {row["coincidence_sigma"] for row in beside} == {"0", "3"}
    assert main(["grains", str(file), "-o", str(output)]) == 1  # nothing is replaced without --force
    with pytest.raises(InputError, match="affine"):
        cs.grains(twinned.drop_vars("affine"))


@pytest.mark.parametrize(
    ("degrees", "axis", "period", "sigma"),
    [
        (36.87, 1, 90, 5),
        (22.62, 1, 90, 13),
        (70.53, 2, 180, 3),
        (-70.0, 2, 180, 3),
        (38.94, 2, 180, 9),
        (38.21, 3, 120, 7),
        (21.79, 3, 60, 7),
        (13.17, 3, 60, 19),
        (60.0, 3, 120, 3),
    ],
)
def test_coincidences_of_the_tables(degrees: float, axis: int, period: float, sigma: int) -> None:
    found = coincidence(np.radians(degrees), axis, np.radians(period))
    assert found is not None
    assert found.sigma == sigma


def test_a_small_angle_is_no_coincidence() -> None:
    assert coincidence(np.radians(2.0), 1, np.pi / 2) is None
    assert coincidence(np.radians(36.9), 0, np.pi / 2) is None


def test_the_row_that_twins_share() -> None:
    basis = np.array([[0.0, np.sin(np.radians(TWIN))], [1.0, np.cos(np.radians(TWIN))]])
    row = shared_row(np.radians(TWIN), basis)
    assert row is not None
    first, second = (basis @ np.array(one) for one in row)
    turned = np.array(
        [[np.cos(np.radians(TWIN)), np.sin(np.radians(TWIN))], [-np.sin(np.radians(TWIN)), np.cos(np.radians(TWIN))]]
    )
    np.testing.assert_allclose(turned @ second, first, atol=1e-3)
    assert shared_row(np.radians(20.0), basis) is None

"""The study of WSe2 in WS2: what its simulator draws, and that it is found."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the installed package comes without its examples", allow_module_level=True)
sys.path.insert(0, str(EXAMPLES))

import ws2_monolayer as ws2  # noqa: E402
import ws2_wse2 as study  # noqa: E402

import cyclestrain as cs  # noqa: E402


def circle(middle, radius, n=4000):
    angle = np.linspace(0, 2 * np.pi, n + 1)
    return np.asarray(middle) + radius * np.stack([np.sin(angle), np.cos(angle)], -1)


def gained(field, path):
    """Displacement gained along a closed path."""
    return np.einsum("nij,nj->i", field(0.5 * (path[1:] + path[:-1])), np.diff(path, axis=0))


def test_a_triangle_swells_within_and_shears_without_and_leaves_no_gap():
    corners = ws2.specimen(64).triangles[0]
    at = np.random.default_rng(0).uniform(0, 64, (2000, 2))
    field = ws2.polygon_field(at, corners)
    np.testing.assert_allclose(np.trace(field, axis1=-2, axis2=-1), ws2.inside(at, corners), atol=1e-9)
    np.testing.assert_allclose(field, field.swapaxes(-1, -2), atol=1e-12)
    for radius in (3.0, 40.0):
        gap = gained(lambda p: ws2.polygon_field(p, corners), circle(corners.mean(0), radius))
        np.testing.assert_allclose(gap, 0, atol=2e-2 if radius > 30 else 1e-9)


def test_a_circuit_gains_the_burgers_vector_and_the_edges_of_a_triangle_none():
    burgers = np.array([0.1, 0.3])
    gap = gained(lambda p: ws2.dislocation_field(p, burgers), circle((0, 0), 2.0))
    np.testing.assert_allclose(gap, burgers, atol=1e-5)
    np.testing.assert_allclose(ws2.specimen(96).burgers.sum(0), 0, atol=1e-12)


def test_a_slope_shortens_the_projection_by_its_cosine():
    seen = ws2.projected(np.eye(2), np.array([0.0, 0.1]))
    np.testing.assert_allclose(seen, np.diag([1.0, np.cos(np.arctan(0.1))]), atol=1e-12)


@pytest.mark.parametrize("place", [(20.0, 20.0), (20.31, 19.77), (19.5, 20.999)])
def test_a_disk_stands_where_it_is_drawn(place):
    image = np.zeros((40, 40))
    ws2._add_disk(image, *place, 2.0, ws2.disk_table())
    y, x = np.indices(image.shape)
    assert image.sum() == pytest.approx(2.0, rel=1e-6)
    np.testing.assert_allclose([(y * image).sum() / 2, (x * image).sum() / 2], place, rtol=0, atol=3e-3)


def test_a_small_sheet_is_mapped(tmp_path):
    corners = np.array([[2.0, 2.0], [2.0, 11.0], [10.0, 6.5]])
    sheet = ws2.Specimen(14 * ws2.STEP, corners[None], np.zeros((0, 2)), np.zeros((0, 2)))
    truth = ws2.record(sheet, tmp_path / "s.h5", dose=2e5)
    maps = cs.map(tmp_path / "s.h5", ellipse=(1.0, 0.0))
    scan = study.Scan(tmp_path / "s.h5", sheet, truth, maps, (0.0, 0.0))
    bare, whole = truth.sheet < 0.01, truth.sheet > 0.99
    assert not maps["sample"].values[bare].any()
    assert maps["sample"].values[whole].all()
    phases = study.phases_found(maps)
    assert (phases[truth.selenide > 0.99] == ws2.WSE2).mean() > 0.95
    assert study.nearest(study.edges_of(phases), study.outline(sheet)).max() < 1.5
    true = study.true_strain(truth, maps["reference"].values)
    row = study.strain_rows("all", scan.maps, true, whole & maps["valid"].values)
    assert float(row[2]) < 1.5

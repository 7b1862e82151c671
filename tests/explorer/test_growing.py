"""What is looked at while a scan is recorded: what came is shown, what is to come is not, colours hold still."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from cyclestrain.display.ranges import ColourScale, steady
from cyclestrain.errors import InputError
from cyclestrain.explorer import Opened, Session, View
from cyclestrain.explorer.detectors import Ring
from cyclestrain.explorer.regions import Region
from cyclestrain.result import relative_to
from explorer.conftest import SHAPE, Small

RING = Ring(8.0, 30.0)


def rows(n: int) -> Any:
    """Positions of the first rows."""
    return np.broadcast_to(np.arange(SHAPE[0])[:, None] < n, SHAPE)


def of_rows(maps: xr.Dataset, n: int) -> xr.Dataset:
    """The result of the first rows alone."""
    there = xr.DataArray(rows(n), dims=("ry", "rx"))
    measured = [name for name in maps if {"ry", "rx"} <= set(maps[name].dims) and maps[name].dtype.kind == "f"]
    kept = {name: maps[name].where(there).transpose(*maps[name].dims) for name in measured}
    return maps.assign(kept | {name: maps[name] & there for name in ("valid", "sample")})


class Counted:
    """Patterns, and how many were read."""

    def __init__(self, patterns: np.ndarray) -> None:
        self.patterns, self.shape, self.dtype, self.n = patterns, patterns.shape, patterns.dtype, 0

    def __getitem__(self, key: Any) -> np.ndarray:
        found = self.patterns[key]
        self.n += found.size // (self.shape[2] * self.shape[3])
        return found


@pytest.fixture
def growing(small: Small) -> Opened:
    scan = replace(small.read(), source=Counted(small.patterns()))
    return Opened(of_rows(small.maps, 5), "live", scan=scan, in_file=False, growing=True, came=rows(5))


def test_what_has_not_come_is_said_and_shown_when_it_comes(growing: Opened, small: Small) -> None:
    early = growing.pattern((7, 3))
    assert early.counts is None
    assert "has not come yet" in early.trouble
    assert Session(growing, View(at=(7, 3))).reasons() == ["its pattern has not come yet"]
    with pytest.raises(InputError, match="not come yet"):
        growing.residual((7, 3))
    seen = growing.pattern((2, 3)).counts
    growing.grow(of_rows(small.maps, 9), rows(9))
    late = growing.pattern((7, 3))
    assert late.counts is not None
    np.testing.assert_array_equal(late.counts, small.patterns()[7, 3])
    assert not late.trouble
    assert growing.pattern((2, 3)).counts is seen  # patterns do not change
    assert np.isfinite(growing.residual((7, 3))).any()


def test_a_virtual_image_grows_and_no_pattern_is_read_twice(growing: Opened, small: Small) -> None:
    source: Any = growing.scan.source if growing.scan else None
    images = growing.virtual
    assert images is not None
    part = images.image(RING)
    assert np.isfinite(part[:5]).all()
    assert np.isnan(part[5:]).all()
    assert images.so_far(RING)[1]
    growing.grow(of_rows(small.maps, 9), rows(9))
    assert not images.so_far(RING)[1]
    whole = small.opened().virtual
    assert whole is not None
    growing.grow(small.maps, rows(SHAPE[0]))
    before = source.n
    np.testing.assert_array_equal(images.image(RING), whole.image(RING))
    assert source.n - before <= np.prod(SHAPE)  # one block holds them all here
    images.image(RING)
    assert source.n - before <= np.prod(SHAPE)


def test_colours_hold_still_until_they_no_longer_serve(growing: Opened, small: Small) -> None:
    session = Session(growing, View(map="exx"))
    first = session.shown().scale
    for n, factor in ((7, 0.9), (9, 0.7)):
        growing.grow(of_rows(small.maps.assign(exx=factor * small.maps["exx"]), n), rows(n))
        session.grown()
        assert session.shown().scale == first
    growing.grow(small.maps.assign(exx=3 * small.maps["exx"]), rows(SHAPE[0]))
    session.grown()
    assert session.shown().scale.high > first.high
    session.change(limits=(-0.2, 0.3))
    assert session.shown().scale == ColourScale(-0.2, 0.3)
    growing.end(small.maps, {}, growing.scan)
    session.change(limits=None)
    session.grown()
    assert session.shown().scale == Session(small.opened(), View(map="exx")).shown().scale


def test_a_scale_gives_way_to_values_beyond_it_and_to_much_narrower_ones() -> None:
    before = ColourScale(-2.0, 2.0)
    assert steady(ColourScale(-1.2, 1.2), before) is before
    for other in (ColourScale(-0.8, 0.8), ColourScale(-2.5, 2.5), ColourScale(0.0, 2.1), ColourScale(-1, 1, True)):
        assert steady(other, before) is other
    assert steady(before, None) is before


def test_a_drawn_reference_holds_as_soon_as_it_can(growing: Opened, small: Small) -> None:
    region = Region.parse("6:9,0:8")
    session = Session(growing, View(map="exx"))
    with pytest.raises(InputError):
        session.change(reference=region)
    growing.grow(of_rows(small.maps, 10), rows(10))
    assert not session.grown()
    session.change(reference=region)
    wanted = relative_to(of_rows(small.maps, 10), str(region))
    np.testing.assert_allclose(session.shown().values, 100 * wanted["exx"].values, equal_nan=True)
    growing.grow(of_rows(small.maps, 5), rows(5))  # as where calibration is renewed and they are not valid any more
    assert session.grown()
    np.testing.assert_array_equal(session.shown().values, 100 * of_rows(small.maps, 5)["exx"].values)
    growing.end(small.maps, {}, growing.scan)
    assert not session.grown()
    wanted = relative_to(small.maps, str(region))
    np.testing.assert_allclose(session.shown().values, 100 * wanted["exx"].values, equal_nan=True)


def test_in_the_end_it_is_the_explorer_of_the_result(growing: Opened, small: Small) -> None:
    session, plain = Session(growing, View(map="exx", at=(7, 3))), Session(small.opened(), View(map="exx", at=(7, 3)))
    growing.came = rows(SHAPE[0])
    growing.end(small.maps, {"dictionary": xr.Dataset()}, small.read())
    session.grown()
    assert session.numbers() == plain.numbers()
    assert growing.came is None
    assert list(growing.groups()) == ["dictionary"]
    assert session.to_worst() == plain.to_worst()
    assert session.view == plain.view

"""A person at a real browser: opens, drags, draws, saves; two of them at once; a scan that is broken.

Needs Playwright and Chromium, which `make test-app` installs; skipped where they are not to be had.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclestrain.explorer import Session, View
from cyclestrain.explorer.position import worst_first
from cyclestrain.result import load_result
from explorer.browsing import PATIENCE, Seen, open_window, served
from explorer.conftest import Small

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(small: Small) -> Iterator[str]:
    with served(small.result, small.scan) as where:
        yield where


@pytest.fixture
def seen(browser: Any, address: str) -> Iterator[Seen]:
    window = open_window(browser, address)
    yield window
    window.page.close()
    assert not window.wrong


def test_click_and_drag_show_the_pattern_that_was_recorded(seen: Seen, small: Small) -> None:
    seen.click("map", 3, 2)
    seen.wait("numbers", "row 2, column 3")
    np.testing.assert_array_equal(seen.image("pattern"), small.patterns()[2, 3])
    session = Session(small.opened(), View(at=(2, 3)))
    assert all(number.text in seen.text("numbers") for number in session.numbers())
    seen.drag("map", (3, 2), (6, 4), (9, 8))
    seen.wait("numbers", "row 8, column 9")
    seen.page.wait_for_timeout(100)
    np.testing.assert_array_equal(seen.image("pattern"), small.patterns()[8, 9])
    seen.press("ArrowRight")
    seen.wait("numbers", "row 8, column 10")
    disks = small.maps.strain.predicted(8, 10)
    np.testing.assert_allclose(np.sort(seen.source("pattern", "r"))[-1], disks.attrs["disk_radius"])


def test_the_worst_position_is_one_key_away_and_the_residual_another(seen: Seen, small: Small) -> None:
    row, column = worst_first(small.maps)[0]
    seen.press("w")
    seen.wait("numbers", f"row {row}, column {column}")
    assert len(seen.page.locator(".cs-numbers li").all_inner_texts()) >= 1
    seen.press("r")
    seen.wait("command", "residual=yes")
    residual = small.opened().residual((int(row), int(column)))
    np.testing.assert_allclose(seen.image("pattern"), residual, rtol=1e-5, atol=1e-5)


def test_a_drawn_region_becomes_the_reference_and_is_saved(seen: Seen, small: Small, tmp_path: Path) -> None:
    seen.choose("drag", "reference")
    seen.drag("map", (0, 1), (4, 6))
    seen.wait("command", "reference=1:7,0:5")
    wanted = small.maps.strain.relative_to("1:7,0:5")
    np.testing.assert_allclose(seen.image("map"), 100 * wanted["exx"], rtol=1e-4, atol=1e-5)
    seen.page.locator(".cs-export .bk-btn").first.click()
    with seen.page.expect_download() as download:
        seen.page.get_by_text("Result with this reference").click()
    path = tmp_path / "saved.nc"
    path.write_bytes(Path(download.value.path()).read_bytes())
    np.testing.assert_allclose(load_result(path)["exx"], wanted["exx"])
    seen.press("0")
    seen.page.wait_for_timeout(500)
    np.testing.assert_allclose(seen.image("map"), 100 * small.maps["exx"], rtol=1e-4, atol=1e-5)


def test_a_profile_is_drawn_and_everything_saved(seen: Seen, small: Small) -> None:
    seen.choose("drag", "profile")
    seen.drag("map", (1, 1), (12, 9))
    seen.wait("command", "line=1")
    words = re.search(r"profile\(\((.*?)\), \((.*?)\)", seen.text("command"))
    assert words is not None
    start, stop = ([float(part) for part in group.split(",")] for group in words.groups())
    line = small.maps.strain.profile(tuple(start), tuple(stop), width=3)
    np.testing.assert_allclose(seen.source("profile", "y"), 100 * line["exx"], rtol=1e-5, atol=1e-6)
    name, png = seen.saved("e")
    assert name == "strain_exx.png"
    assert png.startswith(b"\x89PNG")
    assert seen.saved("E")[1].startswith(b"<?xml")
    name, table = seen.saved("c")
    assert name == "strain_maps.csv" or name.endswith(".csv")
    assert len(table.splitlines()) > small.maps["exx"].size


def test_a_virtual_image_counts_what_the_detector_counts(seen: Seen, small: Small) -> None:
    seen.page.locator(".cs-bright_field .bk-btn").click()
    seen.wait("command", "map=virtual")
    opened = small.opened()
    assert opened.virtual is not None
    wanted = opened.virtual.image(opened.bright_field)
    until = time.monotonic() + PATIENCE
    while not np.allclose(seen.image("map"), wanted):
        assert time.monotonic() < until
        seen.page.wait_for_timeout(50)
    seen.choose("detect", "ring")
    seen.drag("pattern", (47.5 + 12, 47.5), (47.5 + 30, 47.5))
    seen.wait("command", "detector=ring(")


def test_the_histogram_picks_out_values(seen: Seen) -> None:
    low, high = seen.source("histogram", "left")[20], seen.source("histogram", "right")[40]
    seen.drag("histogram", (low, 5), (high, 20))
    seen.wait("command", "brush=")


def test_two_people_look_at_different_things(browser: Any, address: str, small: Small) -> None:
    one, other = open_window(browser, address), open_window(browser, address)
    one.click("map", 2, 9)
    other.click("map", 11, 3)
    one.wait("numbers", "row 9, column 2")
    other.wait("numbers", "row 3, column 11")
    other.press("d")
    one.press("r")
    one.wait("command", "residual=yes")
    assert "residual" not in other.text("command")
    assert not one.wrong + other.wrong
    for window in (one, other):
        window.page.close()


def test_a_view_is_opened_from_its_address(browser: Any, address: str) -> None:
    window = open_window(browser, f"{address}?view=map%3Drotation%20at%3D5,6&theme=dark")
    window.wait("numbers", "row 5, column 6")
    assert "map=rotation" in window.text("command")
    assert window.page.locator(".cs-root.cs-dark").count() == 1
    window.page.close()


def test_a_broken_scan_leaves_the_maps_and_says_so(browser: Any, small: Small, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    whole = small.scan.read_bytes()
    broken.write_bytes(whole[: len(whole) // 3])
    with served(small.result, broken) as where:
        window = open_window(browser, where)
        window.wait("trouble", "no patterns")
        window.click("map", 3, 2)
        window.wait("numbers", "row 2, column 3")
        assert not window.wrong
        window.page.close()


def test_other_machines_need_the_token(browser: Any, small: Small) -> None:
    with served(small.result, "--address", "127.0.0.2") as where:
        assert "token=" in where
        page = browser.new_page()
        assert page.goto(where.split("?")[0]).status == 403
        page.close()
        page = browser.new_page()
        page.goto(where)
        page.wait_for_selector(".cs-numbers table", timeout=PATIENCE * 1000)
        page.close()

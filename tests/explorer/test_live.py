"""The explorer on a map that grows, in a real browser: what came, what is still to come, and the end."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cyclestrain.result import load_result
from explorer.browsing import PATIENCE, Seen, open_page, running
from explorer.conftest import Small
from untrained import untrained_model

pytestmark = pytest.mark.browser
COPIES = 3
"""The small scan is recorded so often, one below the other."""


def until(holds: Callable[[], bool], what: str, patience: float = 8 * PATIENCE) -> None:
    """Wait until something holds."""
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def valid_rows(seen: Seen) -> np.ndarray:
    """Share of the positions of every row that the map shows."""
    return np.isfinite(seen.image("map")).mean(1)


def test_a_scan_is_watched_while_it_is_recorded(browser: Any, small: Small, tmp_path: Path) -> None:
    model, file, output = tmp_path / "model.safetensors", tmp_path / "scan.npy", tmp_path / "live.nc"
    untrained_model(small.read(), model)
    patterns = np.concatenate([small.patterns()] * COPIES)
    np.save(file, patterns)
    whole, first = file.read_bytes(), 24
    file.unlink()
    head, row = len(whole) - patterns.nbytes, patterns[0].nbytes
    words = ["--model", model, "--file", file, "-o", output, "--explore", "--timeout", "120", "--ellipse", "1", "0"]
    with running("live", *words, stop=signal.SIGINT) as (address, process):
        one, other = open_page(browser, address), open_page(browser, address)
        one.wait("waiting", "waiting for the scan to start")
        with file.open("wb") as stream:
            stream.write(whole[: head + first * row])
        for seen in (one, other):
            seen.page.wait_for_selector(".cs-numbers table", timeout=8e3 * PATIENCE)
            seen.page.wait_for_function("() => Bokeh.documents[0]?.is_idle")
        until(lambda: valid_rows(one)[:first].min() > 0.5, "the first rows did not appear")
        assert not valid_rows(one)[first:].any()
        one.wait("title", f"{first * patterns.shape[1]} of {patterns.shape[0] * patterns.shape[1]} positions")
        there = one.image("map", "came")
        np.testing.assert_array_equal(there > 0, np.arange(len(patterns))[:, None] < first + np.zeros((1, 14)))
        one.click("map", 3, 2)
        one.wait("numbers", "row 2, column 3")
        np.testing.assert_array_equal(one.image("pattern"), patterns[2, 3])
        other.click("map", 5, first + 4)
        other.wait("trouble", "has not come yet")
        with file.open("ab") as stream:
            stream.write(whole[head + first * row :])
        until(lambda: np.array_equal(other.image("pattern"), patterns[first + 4, 5]), "the pattern did not come")
        until(lambda: "recording" not in one.text("title"), "the scan did not end")
        maps = load_result(output)
        until(lambda: np.allclose(one.image("map"), 100 * maps["exx"], equal_nan=True, rtol=1e-4, atol=1e-5), "the end")
        one.wait("command", "cyclestrain explore")
        one.press("r")
        until(lambda: "residual=yes" in one.text("command"), "the finished result is explored")
        assert not one.wrong + other.wrong
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert maps.attrs["live_ended"] == ""

"""The explorer on a map that grows: what is passed on to it, and what it shows of that. No browser."""

from __future__ import annotations

import http.client
import queue
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import xarray as xr

from cyclestrain.data import Scan
from cyclestrain.settings import MapSettings
from cyclestrain.streaming import Course, GrowingFile, LiveWindow, fit_block, live_window, map_so_far, window
from cyclestrain.streaming.growing import open_growing
from cyclestrain.streaming.window import _Desk, _Maker


class Pipe:
    """Where messages go in this test."""

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.send = self.sent.put


class Loop:
    """A loop that calls at once."""

    def add_callback(self, call: Callable[..., None], *arguments: Any) -> None:
        call(*arguments)


def fitted(course: Course, sample: Any, first: int, stop: int) -> None:
    """Fit some positions of the sample."""
    scan = Scan(sample.patterns)
    columns = scan.scan_shape[1]
    for row in range(first // columns, stop // columns):
        course.take(fit_block(scan.part(slice(row, row + 1), slice(None)), sample.knowledge))


def test_the_window_shows_the_map_of_what_came_and_then_the_result(
    sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "REFRESH", 0.0)
    scan, pipe, desk = Scan(sample.patterns, name="growing"), Pipe(), _Desk()
    live, maker = LiveWindow("", pipe, None), _Maker(desk, Loop())  # type: ignore[arg-type]
    course = Course.begun(360)
    live.start(scan, MapSettings())
    live.show(course)

    def heard() -> int:
        n = 0
        while not pipe.sent.empty():
            message = pipe.sent.get()
            n += len(message.fit.positions) if hasattr(message, "fit") else 0
            maker.hear(message)
        maker.make()
        return n

    assert heard() == 0
    assert desk.opened is None
    course.knowledge = sample.knowledge
    fitted(course, sample, 0, 200)
    live.show(course)
    assert heard() == 200
    opened = desk.opened
    assert opened is not None
    assert opened.words.startswith("200 of 360 positions")
    wanted = map_so_far(scan, course.fit, course.fitted, sample.knowledge, MapSettings(), context=False)
    xr.testing.assert_equal(opened.maps, wanted.maps)
    np.testing.assert_array_equal(opened.came, course.fitted.reshape(scan.scan_shape))
    fitted(course, sample, 200, 360)
    live.show(course)
    assert heard() == 160  # each position once
    assert opened.growing
    assert opened.maps["valid"].values.mean() > 0.9
    live.end(course, map_so_far(scan, course.fit, course.fitted, sample.knowledge, MapSettings()), "a.nc", in_file=True)
    assert heard() == 0
    assert (opened.growing, opened.name, opened.in_file, opened.came) == (False, "a.nc", True, None)
    assert "dictionary" in opened.groups()


def test_estimates_of_each_pattern_alone_are_their_own_best(sample: Any) -> None:
    course = Course.begun(360)
    fitted(course, sample, 0, 360)
    maps = map_so_far(Scan(sample.patterns), course.fit, course.fitted, sample.knowledge, MapSettings(), context=False)
    np.testing.assert_array_equal(maps.maps["exx"].values, maps.maps["exx_raw"].values)


def test_a_window_is_served_to_this_machine_alone_and_ends_with_the_map(sample: Any) -> None:
    with live_window(0) as live:
        place = urlsplit(live.address)
        assert place.hostname == "127.0.0.1"
        live.start(Scan(sample.patterns), MapSettings())
        for host, status in ((place.netloc, 200), ("elsewhere.example", 302)):
            connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60)
            connection.request("GET", "/", headers={"Host": host})
            assert connection.getresponse().status == status
            connection.close()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=5)
        try:
            connection.request("GET", "/")
        except OSError:
            return
        finally:
            connection.close()
    pytest.fail("it is still served")


def test_a_growing_file_is_opened_anew_in_another_process(sample: Any, tmp_path: Any) -> None:
    import pickle

    np.save(tmp_path / "scan.npy", sample.patterns)
    file = open_growing(tmp_path / "scan.npy", None)
    assert isinstance(file, GrowingFile)
    again = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(again[3:5, 2], file[3:5, 2])

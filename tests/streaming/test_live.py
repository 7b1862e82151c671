"""Maps that grow: complete, they are what `map` makes; stopped, they hold what came."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import cyclestrain as cs
from cyclestrain import cli
from cyclestrain.data import Block, Scan
from cyclestrain.errors import InputError, OutputError
from cyclestrain.estimation import BlockFit
from cyclestrain.io import file_state
from cyclestrain.result import load_result
from cyclestrain.settings import MapSettings
from cyclestrain.streaming import Course, Helpers, Here, View, fit_block, follow, following, map_so_far
from cyclestrain.streaming.following import Heard
from cyclestrain.streaming.terminal import shrunk


@contextmanager
def growing(path: Path, patterns: np.ndarray, rows: int, pause: float = 0.02) -> Iterator[None]:
    """A ``.npy`` to which another thread writes this many rows of a scan."""
    np.save(path, patterns)
    whole = path.read_bytes()
    head, row = len(whole) - patterns.nbytes, patterns[0].nbytes
    path.unlink()

    def write() -> None:
        with path.open("wb") as stream:
            stream.write(whole[:head])
            for index in range(rows):
                stream.write(whole[head + index * row : head + (index + 1) * row])
                stream.flush()
                time.sleep(pause)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        writer.join(60)


def test_a_complete_scan_is_the_map_offline(sample: Any, tmp_path: Path) -> None:
    """Bit by bit, and what was written last is what is returned; the results in between are maps of what had come."""
    output, scan = tmp_path / "live.nc", tmp_path / "scan.npy"
    with growing(scan, sample.patterns, len(sample.patterns)):
        maps = cs.live(output, model=sample.model, file=scan, timeout=20, every=0.01, seed=0)
    assert maps.attrs["live_ended"] == ""
    assert maps.attrs["live_positions"] == maps["valid"].size
    for name in sample.maps:
        np.testing.assert_array_equal(maps[name].values, sample.maps[name].values, err_msg=str(name))
    xr.testing.assert_equal(load_result(output), maps)
    assert maps.attrs["input_state"] == file_state(scan)
    assert maps.attrs["settings_files"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.nc", "scan.npy"]


def test_a_scan_that_stops_is_mapped(sample: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, scan = tmp_path / "live.nc", tmp_path / "scan.npy"
    line = ["live", "--model", str(sample.model), "--file", str(scan), "-o", str(output), "--timeout", "1.5"]
    with growing(scan, sample.patterns, 14):
        assert cli.main([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["came"] == 280
    assert told["ended"] == "no pattern came for 1.5 s"
    maps = load_result(output)
    valid = maps["valid"].values
    assert valid[:14].mean() > 0.95
    assert not valid[14:].any()
    assert np.isnan(maps["exx"].values[14:]).all()
    assert valid.sum() == told["valid"]
    both = valid & sample.maps["valid"].values
    variance = sample.maps["affine_raw_covariance"].values[both][:, [0, 4, 7, 9]]  # of the upper triangle by rows
    off = (maps["affine_raw"].values[both] - sample.maps["affine_raw"].values[both]).reshape(-1, 4)
    assert np.median(np.abs(off) / np.sqrt(variance)) < 0.3  # learned from fewer patterns, and not refitted


class Stream:
    """A scan in memory whose rows come one by one, then `end` happens."""

    def __init__(self, patterns: np.ndarray, rows: int, end: Callable[[], str]) -> None:
        self.scan, self._rows, self._end, self._row = Scan(patterns), rows, end, 0

    def use(self, knowledge: Any) -> None:
        pass

    def rest(self) -> Any:
        return np.zeros(0, int)

    def drive(self, work: Any) -> Any:
        return work()

    def listen(self) -> Heard:
        nothing = np.zeros(0, int)
        if self._row == self._rows:
            return Heard(nothing, nothing, ended=self._end())
        columns = self.scan.scan_shape[1]
        new = np.arange(self._row * columns, (self._row + 1) * columns)
        self._row += 1
        return Heard(new, new)


def interrupt() -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("end", "said"), [(interrupt, "interrupted"), (lambda: "it stopped", "it stopped")])
def test_nothing_that_came_is_lost(
    sample: Any, end: Callable[[], str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BLOCK", 20)  # so that much is left to be fitted at the end
    kept: list[Any] = []
    stream, helpers = Stream(sample.patterns, 15, end), Helpers(Here(), Here())
    options: dict[str, Any] = {"keep": kept.append, "show": lambda _: None, "timeout": 5, "every": 9}
    course, result = follow(stream, sample.material, MapSettings(), helpers, **options)
    assert result is not None
    assert course.ended == said
    assert result is kept[-1]
    assert result.maps["valid"].values[:15].mean() > 0.95
    assert result.maps.attrs["live_positions"] == 300


def test_it_learns_again_and_keeps_maps_of_what_had_come(sample: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "GROWTH", 1.1)
    monkeypatch.setattr(following, "PAUSE", 0.0)
    kept: list[Any] = []
    learned: list[Any] = []
    stream, helpers = Stream(sample.patterns, 15, lambda: "it stopped"), Helpers(Here(), Here())
    monkeypatch.setattr(stream, "use", learned.append)
    options: dict[str, Any] = {"keep": kept.append, "show": lambda _: None, "timeout": 5, "every": 1e-6}
    follow(stream, sample.material, MapSettings(), helpers, **options)
    assert len(learned) == 2  # from 256 positions or more, then from a tenth more
    assert len(kept) > 1
    for result in kept:
        came = result.maps.attrs["live_positions"]
        assert result.maps["valid"].values.ravel()[:came].mean() > 0.8
        assert not result.maps["valid"].values.ravel()[came:].any()
    assert kept[0].maps.attrs["live_positions"] < 300


def test_a_preview_is_made_of_single_patterns(sample: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", sample.patterns)
    maps = cs.live(model=sample.model, file=tmp_path / "scan.npy", timeout=20, preview=True)
    assert "live: 360 of 360 positions had come" in maps.attrs["choices"]
    assert "live:" not in sample.maps.attrs["choices"]


def test_a_pedestal_is_taken_off(sample: Any) -> None:
    known = replace(sample.knowledge, calibration=replace(sample.knowledge.calibration, pedestal=7.0))
    block = Block(np.arange(20), sample.patterns[0])
    fit = fit_block(replace(block, patterns=block.patterns + np.uint16(7)), known)
    np.testing.assert_allclose(fit.affine, fit_block(block, sample.knowledge).affine, atol=1e-6)


def test_lag_is_the_age_of_the_oldest_pattern_that_is_not_fitted() -> None:
    course, nothing = Course.begun(24), np.zeros(0, int)
    course.hear(Heard(np.arange(12), np.arange(12)), 1.0)
    course.hear(Heard(np.arange(12, 20), nothing), 2.0)
    course.take(BlockFit.unknown(np.arange(12)))
    course.hear(Heard(nothing, nothing), 2.5)
    assert (course.lag, course.rate, course.seconds_left) == (0.5, 8 / 1.5, 0.75)
    course.take(BlockFit.unknown(np.arange(12, 20)))
    course.hear(Heard(nothing, nothing), 4.0)
    assert (course.lag, course.slowest, course.mean_rate) == (0.0, 0.5, 20.0)


def test_the_map_so_far_is_the_first_pass_with_context(sample: Any) -> None:
    """With the knowledge of the whole scan, the fits of what came are those of a map until its first pass."""
    offline = cs.map(Scan(sample.patterns), model=sample.model, until="refine")
    block = Block(np.arange(360), sample.patterns.reshape(-1, 96, 96))
    fit = fit_block(block, sample.knowledge)
    maps = map_so_far(Scan(sample.patterns), fit, np.ones(360, bool), sample.knowledge, MapSettings()).maps
    clear = offline["valid"].values & ~np.isnan(maps["exx_raw"].values)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(maps["affine_raw"].values[clear], offline["affine_raw"].values[clear])
    part = map_so_far(Scan(sample.patterns), fit, np.arange(360) < 240, sample.knowledge, MapSettings()).maps
    assert not part["valid"].values[12:].any()
    assert part["valid"].values[:12].mean() > 0.9


def test_what_is_wrong_is_said_before_anything_starts(sample: Any, tmp_path: Path) -> None:
    model = sample.model
    with pytest.raises(InputError, match="one of --dectris, --merlin and --file; none was given"):
        cs.live(model=model)
    with pytest.raises(InputError, match="live maps with a model"):
        cs.live(model=None, file="scan.npy")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="timeout: input should be greater than 0"):
        cs.live(model=model, file="scan.npy", timeout=0)
    with pytest.raises(InputError, match=r"does not exist after 0\.1 s"):
        cs.live(model=model, file=tmp_path / "scan.npy", timeout=0.1)
    (tmp_path / "there.nc").touch()
    with pytest.raises(OutputError, match="exists already"):
        cs.live(tmp_path / "there.nc", model=model, file="scan.npy")
    with pytest.raises(OutputError, match="written as a result"):
        cs.live(tmp_path / "there.png", model=model, file="scan.npy")


def test_vacuum_is_no_map_and_is_said(sample: Any, tmp_path: Path) -> None:
    empty = np.random.default_rng(0).poisson(0.02, sample.patterns.shape).astype(np.uint16)
    np.save(tmp_path / "scan.npy", empty)
    with pytest.raises(InputError, match="nothing can be mapped"):
        cs.live(model=sample.model, file=tmp_path / "scan.npy", timeout=0.5)


def test_the_terminal_shows_where_it_stands() -> None:
    course = Course.begun(24)
    course.hear(Heard(np.arange(12), np.arange(12)), 1.0)
    fit = BlockFit.unknown(np.arange(8))
    fit.affine[:] = np.diag([1.0, 1 / 1.01])
    course.take(fit)
    console = Console(width=80, force_terminal=True, record=True, file=StringIO())
    console.print(View((4, 6), console).drawn(course))
    text = console.export_text()
    assert text.count("▀") == 12
    assert "8 of 24 positions" in text


def test_large_maps_are_drawn_as_medians_in_blue_and_red_a_few_times_a_second() -> None:
    values = np.where(np.arange(200) < 100, -0.01, 0.01) * np.ones((80, 1))
    values[::3, ::3] = np.nan
    values[1, 1] = 5.0
    small, side = shrunk(values.ravel(), (80, 200))
    assert (small.shape, side) == ((20, 50), 4)
    np.testing.assert_array_equal(small, np.where(np.arange(50) < 25, -0.01, 0.01) * np.ones((20, 1)))
    course = Course.begun(values.size)
    course.came[:] = True
    course.strain[:, 1] = values.ravel()
    console = Console(width=80, force_terminal=True, color_system="truecolor", record=True, file=StringIO())
    console.print(View((80, 200), console).drawn(course))
    line = console.export_text(styles=True).splitlines()[0]
    assert 0 <= line.index("33;102;172") < line.index("178;24;43")
    drawn: list[Any] = []
    view = View((80, 200), console, drawn.append)
    view(course)
    view(course)
    assert len(drawn) == 1

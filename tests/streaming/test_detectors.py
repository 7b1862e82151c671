"""Detectors that LiberTEM-live simulates on this machine: no pattern is lost, and the map is the one offline."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclestrain as cs
from cyclestrain.errors import InputError
from cyclestrain.io import read
from simulators import HERE, dectris, free_ports, merlin, write_dectris, write_merlin

pytest.importorskip("libertem_live", reason="LiberTEM-live is not installed: pip install 'cyclestrain[live]'")

from cyclestrain.streaming.detectors import parse_address

pytestmark = [
    pytest.mark.filterwarnings("ignore:Slow worker startup:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the simulator leaves files open
]


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("libertem_live").setLevel(logging.ERROR)


def test_a_merlin_loses_nothing_and_ends_with_the_map_offline(sample: Any, tmp_path: Path) -> None:
    write_merlin(tmp_path / "scan.mib", sample.patterns)
    kept = tmp_path / "kept.npy"
    with merlin(tmp_path / "scan.mib", (18, 20), dwell_us=1000) as address:
        maps = cs.live(tmp_path / "live.nc", model=sample.model, merlin=address, keep=kept, timeout=60, every=0.1)
    np.testing.assert_array_equal(np.load(kept), sample.patterns)
    assert maps.attrs["live_ended"] == ""
    for name in sample.maps:
        np.testing.assert_array_equal(maps[name].values, sample.maps[name].values, err_msg=str(name))
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "scan.mib").source[:]), sample.patterns)
    assert {path.suffix for path in tmp_path.iterdir()} == {".hdr", ".mib", ".nc", ".npy"}


def test_addresses_and_detectors_that_do_not_answer(sample: Any, tmp_path: Path) -> None:
    assert parse_address("dectris", "dcu:9000").control == 80
    for text in ("", "host:x", "host:1:2:3", "host:70000"):
        with pytest.raises(InputError, match="HOST:PORT"):
            parse_address("merlin", text)


@pytest.mark.slow
def test_a_dectris_loses_nothing_and_ends_with_the_map_offline(sample: Any, tmp_path: Path) -> None:
    write_dectris(tmp_path / "series", sample.patterns)
    kept = tmp_path / "kept.npy"
    with dectris(tmp_path / "series", dwell_us=1000) as (address, arm):
        once = threading.Timer(25.0, arm)  # who listens later than the detector sends gets nothing
        once.start()
        options: dict[str, Any] = {"scan_shape": (18, 20), "keep": kept, "timeout": 120}
        maps = cs.live(tmp_path / "live.nc", model=sample.model, dectris=address, **options)
    np.testing.assert_array_equal(np.load(kept), sample.patterns)
    for name in sample.maps:
        np.testing.assert_array_equal(maps[name].values, sample.maps[name].values, err_msg=str(name))


@pytest.mark.slow
def test_a_merlin_that_falls_silent_is_mapped(sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for it is broken off, what came is mapped, and nothing is left running or lying about."""
    from libertem_live.detectors.merlin.sim import DataSocketSimulator

    whole = DataSocketSimulator._get_single_scan

    def part(self: Any, *arguments: Any) -> Any:
        for index, chunk in enumerate(whole(self, *arguments)):
            if index == 2 * 300:
                while not self.is_stopped():
                    time.sleep(0.1)
                return
            yield chunk

    monkeypatch.setattr(DataSocketSimulator, "_get_single_scan", part)
    write_merlin(tmp_path / "scan.mib", sample.patterns)
    with merlin(tmp_path / "scan.mib", (18, 20), dwell_us=1000) as address:
        maps = cs.live(tmp_path / "live.nc", model=sample.model, merlin=address, timeout=10)
    came = maps.attrs["live_positions"]
    assert maps.attrs["live_ended"] == "no pattern came for 10 s"
    assert 300 - 100 <= came <= 300  # LiberTEM-live hands patterns on in groups
    assert maps["valid"].values.ravel()[:came].mean() > 0.9
    assert not maps["valid"].values.ravel()[came:].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.nc", "scan.hdr", "scan.mib"]


def test_nobody_there_is_said(sample: Any) -> None:
    (port,) = free_ports(1)
    with pytest.raises(InputError, match=rf"no dectris at {HERE}:{port} answers"):
        cs.live(model=sample.model, dectris=f"{HERE}:{port}:{port}", timeout=1)

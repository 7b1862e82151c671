"""Detectors that LiberTEM-live simulates on this machine: no pattern is lost, and the map is the one offline."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cyclestrain as cs
from cyclestrain.errors import InputError
from cyclestrain.io import read
from simulators import merlin, write_merlin

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

"""A scan that is stored as events has the map of the dense scan, bit by bit, and is described like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from e2e.conftest import ROUND, Mapped
from event_files import write_counted, write_raw_csr


@pytest.fixture(scope="module")
def counts(small: Mapped) -> np.ndarray:
    return np.asarray(small.made.scan.source[...])


def test_the_map_is_the_same(tmp_path: Path, small: Mapped, counts: np.ndarray) -> None:
    write_counted(tmp_path / "s.h5", counts, version=2)
    maps = cs.map(tmp_path / "s.h5", reference=str(small.reference), ellipse=ROUND, memory=1.0)
    for name in maps.data_vars:
        if maps[name].dtype.kind in "fiub":
            xr.testing.assert_equal(maps[name].drop_attrs(), small.maps[name].drop_attrs())
    assert maps.attrs["input_contents"] == small.maps.attrs["input_contents"]


def test_it_is_described_like_the_dense_scan(tmp_path: Path, counts: np.ndarray) -> None:
    np.save(tmp_path / "s.npy", counts)
    dense, events = (cs.info(path).splitlines() for path in (tmp_path / "s.npy", write_raw_csr(tmp_path, counts)))
    assert [line for line in events if "file " not in line] == [line for line in dense if "file " not in line]

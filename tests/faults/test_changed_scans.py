"""A scan, or a model, that changes: between a kill and the next run, or while it is mapped. Never a mixture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cyclestrain import cli, data
from cyclestrain.calibration import subset
from cyclestrain.data import Scan
from cyclestrain.errors import InputError
from cyclestrain.io import contents_of, file_state, read, watched
from cyclestrain.result import load_result
from cyclestrain.simulation import uniform
from cyclestrain.storage import RunFolder


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan of more than 64 positions that is read row by row, sampled in part and not held in memory."""
    made = uniform(scan=(10, 9), detector=(96, 96), radius=3.0, background=0.2, drift=1.0, seed=2)
    np.save(tmp_path / "scan.npy", np.asarray(made.scan.source))
    monkeypatch.setattr(subset, "SAMPLE_BYTES", 30 * 96 * 96 * 2)
    monkeypatch.setattr(subset, "HELD_BYTES", 0)
    spans = data.Scan._spans
    monkeypatch.setattr(data.Scan, "_spans", lambda self, n: spans(self, 9 * self.pattern_bytes))
    return tmp_path / "scan.npy"


def command(scan: Path, until: str = "refine") -> list[str]:
    return ["map", str(scan), "-o", str(scan.with_name("strain.nc")), "--until", until]


def change(scan: Path, position: int) -> None:
    """Another pattern at one position, by somebody who leaves size and time of change as they were."""
    before, stored = scan.stat(), np.load(scan)
    flat = stored.reshape(-1, *stored.shape[2:])
    flat[position] = np.roll(flat[position], 7, 1)
    np.save(scan, stored)
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns))


def stopped_after(monkeypatch: pytest.MonkeyPatch, scan: Path, blocks: int, until: str = "refine") -> None:
    save, left = RunFolder.save_block, [blocks]

    def saved(self: RunFolder, first: int, outcome: dict[str, np.ndarray]) -> None:
        save(self, first, outcome)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "save_block", saved)
        assert cli.main(command(scan, until)) == cli.INTERRUPTED


def alone(scan: Path) -> xr.Dataset:
    """What a run without a past makes of the scan."""
    output = scan.with_name("alone.nc")
    assert cli.main(["map", str(scan), "-o", str(output), "--until", "refine", "--force"]) == 0
    return load_result(output)


def unsampled(scan: Path, within: range) -> int:
    """A position that the quick fingerprint does not look at."""
    seen = np.unique(np.linspace(0, 89, 64).round())
    return next(position for position in within if position not in seen)


@pytest.mark.parametrize("within", [range(9, 18), range(60, 90)], ids=["in a finished block", "where it goes on"])
def test_a_changed_scan_is_mapped_anew(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], within: range
) -> None:
    stopped_after(monkeypatch, scan, 4)
    change(scan, unsampled(scan, within))
    assert cli.main(command(scan)) == 0
    said = capsys.readouterr().err
    if within.start < 36:
        assert "the scan has changed since the run was interrupted" in said
    xr.testing.assert_equal(load_result(scan.with_name("strain.nc")), alone(scan))


def test_an_unchanged_scan_goes_on(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after(monkeypatch, scan, 4)
    assert cli.main(command(scan)) == 0
    assert "going on with the run that was interrupted" in capsys.readouterr().err
    xr.testing.assert_equal(load_result(scan.with_name("strain.nc")), alone(scan))


@pytest.mark.parametrize("when", [4 * 10**18, pytest.param(0, marks=pytest.mark.slow)])
def test_a_clock_that_jumps_costs_time_and_nothing_else(scan: Path, monkeypatch: pytest.MonkeyPatch, when: int) -> None:
    stopped_after(monkeypatch, scan, 4)
    for path in (*scan.with_name(".strain.nc.run").iterdir(), scan):
        os.utime(path, ns=(when, when))
    assert cli.main(command(scan)) == 0
    xr.testing.assert_equal(load_result(scan.with_name("strain.nc")), alone(scan))


def test_a_scan_that_changes_while_it_is_mapped_ends_the_run(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = RunFolder.save_block

    def saved(self: RunFolder, first: int, outcome: dict[str, np.ndarray]) -> None:
        save(self, first, outcome)
        if first == 81:  # all was read once, and the second pass reads it again
            change(scan, 40)

    monkeypatch.setattr(RunFolder, "save_block", saved)
    assert cli.main(command(scan, "context")) == 1
    assert "changed while it was worked on (scan position 40 was another pattern before)" in capsys.readouterr().err
    assert [path.name for path in scan.parent.iterdir()] == ["scan.npy"]


def test_results_remember_all_patterns(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(command(scan)) == 0
    again = ["map", "--config", str(scan.with_name("strain.nc")), "-o", str(scan.with_name("again.nc"))]
    assert cli.main(again) == 0
    assert "is not the scan" not in capsys.readouterr().err
    one, two = (load_result(scan.with_name(name)).attrs for name in ("strain.nc", "again.nc"))
    assert one["input_contents"] == two["input_contents"] != ""
    change(scan, unsampled(scan, range(40, 60)))
    assert cli.main([*again, "--force"]) == 0
    assert "is not the scan that" in capsys.readouterr().err


def test_hashes_are_of_the_patterns_however_they_are_read(tmp_path: Path) -> None:
    patterns = np.random.default_rng(0).poisson(2.0, (5, 4, 16, 16)).astype(np.uint16)
    np.save(tmp_path / "a.npy", patterns)
    np.save(tmp_path / "b.npy", patterns.astype(">u2"))
    digests = []
    for source in (tmp_path / "a.npy", tmp_path / "b.npy"):
        scan = watched(read(source))
        assert contents_of(scan).digest == ""
        for key in ((0, 0), (slice(None), slice(0, 2)), (slice(1, 5, 2), slice(1, 4)), (slice(3), ...), 4, (2, 3)):
            np.testing.assert_array_equal(scan.source[key], patterns[key])
        assert contents_of(scan).seen.all()
        np.testing.assert_array_equal(scan.source[:], patterns)
        digests.append(contents_of(scan).digest)
    assert len({*digests, contents_of(Scan(patterns)).digest}) == 1
    other = patterns.copy()
    other[4, 3, 15, 15] += 1
    assert contents_of(Scan(other)).digest != digests[0]
    scan = watched(read(tmp_path / "a.npy"))
    scan.source[:]
    np.save(tmp_path / "a.npy", other)
    with pytest.raises(InputError, match="scan position 19 was another pattern before"):
        scan.source[4]


def test_the_state_of_a_file_is_its_place_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "scan.zarr").mkdir()
    part = tmp_path / "scan.zarr" / "0.0"
    part.write_bytes(b"12")
    states = [file_state(str(tmp_path / "scan.zarr"))]
    for content, when in ((b"34", 10**18), (b"345", 10**18), (b"345", 2 * 10**18)):
        part.write_bytes(content)
        os.utime(part, ns=(when, when))
        states.append(file_state(str(tmp_path / "scan.zarr")))
    (tmp_path / "scan.zarr").rename(tmp_path / "moved.zarr")
    states.append(file_state(str(tmp_path / "moved.zarr")))
    assert len(set(states)) == 5
    assert file_state("") == ""

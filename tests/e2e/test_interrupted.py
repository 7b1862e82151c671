"""What stops a run from outside: Ctrl-C, a full disk, an input that is gone. Nothing that was done is lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cyclestrain import data
from cyclestrain.calibration import subset
from cyclestrain.cli import INTERRUPTED, main
from cyclestrain.result import load_result
from cyclestrain.simulation import uniform
from cyclestrain.storage import RunFolder
from full_disk import largest_file

pytest.importorskip("resource")  # Unix: limits, signals


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan that is read in blocks of one row and sampled in part, as a large one is."""
    made = uniform(scan=(10, 9), detector=(96, 96), radius=3.0, background=0.2, drift=1.0, seed=2)
    np.save(tmp_path / "scan.npy", np.asarray(made.scan.source))
    monkeypatch.setattr(subset, "SAMPLE_BYTES", 50 * 96 * 96 * 2)
    spans = data.Scan._spans
    monkeypatch.setattr(data.Scan, "_spans", lambda self, n: spans(self, 9 * self.pattern_bytes))
    return tmp_path / "scan.npy"


def command(scan: Path) -> list[str]:
    return ["map", str(scan), "-o", str(scan.with_name("strain.nc")), "--until", "refine"]


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of the error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def same_as_uninterrupted(scan: Path) -> None:
    """The same command goes on and ends with the result of a run that nothing stopped."""
    output = scan.with_name("strain.nc")
    state = output.with_name(".strain.nc.run")
    kept = len(list(state.glob("block*.npz")))
    assert kept > 0
    assert main(command(scan)) == 0
    assert not state.exists()
    resumed = load_result(output)
    assert main([*command(scan), "--force"]) == 0
    xr.testing.assert_equal(load_result(output), resumed)


def test_an_input_that_vanishes(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away, save = scan.with_name("elsewhere"), RunFolder.save_block

    def saved(self: RunFolder, first: int, outcome: dict[str, np.ndarray]) -> None:
        save(self, first, outcome)
        if scan.exists() and first >= 18:
            scan.rename(away)

    monkeypatch.setattr(RunFolder, "save_block", saved)
    assert main(command(scan)) == 1
    text = told(capsys)
    assert "scan.npy" in text
    assert "no longer reachable" in text
    monkeypatch.setattr(RunFolder, "save_block", save)
    away.rename(scan)
    same_as_uninterrupted(scan)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_fails(
    code: int, scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, calls = np.savez, iter(range(1000))

    def failing(*arguments: object, **arrays: np.ndarray) -> None:
        if next(calls) == 5:
            raise OSError(code, os.strerror(code))
        write(*arguments, **arrays)

    monkeypatch.setattr(np, "savez", failing)
    assert main(command(scan)) == 1
    text = told(capsys)
    assert ("the disk is full" if code == errno.ENOSPC else "read-only") in text
    same_as_uninterrupted(scan)


@pytest.mark.parametrize("n", [1000, 30_000])
def test_a_file_that_cannot_grow(n: int, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with largest_file(n):
        assert main(command(scan)) == 1
    assert "could not be written" in told(capsys)
    assert not scan.with_name("strain.nc").exists()
    assert main(command(scan)) == 0
    assert sorted(path.name for path in scan.parent.iterdir()) == ["scan.npy", "strain.nc"]


def test_control_c(scan: Path) -> None:
    state = scan.with_name(".strain.nc.run")
    slow = (
        "import sys, time; from cyclestrain import cli, data; from cyclestrain.calibration import subset;"
        "from cyclestrain.storage import RunFolder;"
        "subset.SAMPLE_BYTES = 50 * 96 * 96 * 2;"
        "spans = data.Scan._spans; data.Scan._spans = lambda self, n: spans(self, 9 * self.pattern_bytes);"
        "save = RunFolder.save_block;"
        "RunFolder.save_block = lambda *arguments: (save(*arguments), time.sleep(0.5));"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *command(scan)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background ignore it
    )
    patience = time.monotonic() + 120
    while len(list(state.glob("block*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "Traceback" not in text
    kept = "the dictionary and 2 finished blocks of patterns"
    assert text.splitlines()[-1] == f"error: interrupted; the same command goes on where it was, with {kept}"
    same_as_uninterrupted(scan)

"""At every operation of a run on the drive: killed, full, broken. Nothing is lost, nothing half, nothing left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from cyclestrain.simulation import uniform
from faults.drive import Outcome, Runner, failing_drive


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with failing_drive(tmp_path_factory.mktemp("shim")) as started:
        yield started


RIGHT = np.sin(1 + np.arange(8))


def after(folder: Path) -> None:
    """The output is there, right and alone."""
    assert [path.name for path in folder.iterdir()] == ["y.npy"]
    np.testing.assert_array_equal(np.load(folder / "y.npy"), RIGHT)


@pytest.mark.parametrize("kind", ["kill", "full", "broken", "short"])
def test_every_change_of_a_run_may_be_its_last(runner: Runner, tmp_path: Path, kind: str) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    n_all = runner.run("blocks", [str(whole / "y.npy")], whole).seen
    assert n_all > 40
    after(whole)
    for n in range(1, n_all + 1, 1 if kind == "kill" else 3):
        folder = tmp_path / str(n)
        folder.mkdir()
        output = folder / "y.npy"
        first = runner.run("blocks", [str(output)], folder, kind=kind, n=n)
        assert first.status in {"kill": (-9,), "short": (0,)}.get(kind, (0, 1)), first
        assert "Traceback" not in first.said
        if output.exists():  # whole or not at all
            np.testing.assert_array_equal(np.load(output), RIGHT)
        again = runner.run("blocks", [str(output)], folder)
        assert (again.status, again.said) == (0, ""), n  # what a crash leaves is never a damaged state
        after(folder)


@pytest.mark.parametrize("kind", ["broken", "short"])
def test_every_read_of_a_state_may_fail(runner: Runner, tmp_path: Path, kind: str) -> None:
    output = tmp_path / "y.npy"
    n_changes = runner.run("blocks", [str(output)], tmp_path).seen

    def resumed(kind: str, n: int) -> Outcome:
        output.unlink()
        runner.run("blocks", [str(output)], tmp_path, kind="kill", n=n_changes // 2)
        return runner.run("blocks", [str(output)], tmp_path, kind=kind, n=n, op="read")

    n_reads = resumed("count", 0).seen
    assert n_reads > 5
    for n in range(1, n_reads + 1):
        outcome = resumed(kind, n)
        assert "Traceback" not in outcome.said
        if outcome.status == 1:  # the drive failed where it could not be told whose state this is: it is kept
            assert "check the drive" in outcome.said
            assert runner.run("blocks", [str(output)], tmp_path).status == 0
        after(tmp_path)


def scan_in(folder: Path) -> Path:
    made = uniform(scan=(6, 5), detector=(96, 96), radius=3.0, background=0.2, drift=1.0, seed=2)
    np.save(folder / "scan.npy", np.asarray(made.scan.source))
    return folder / "scan.npy"


def map_killed_at(runner: Runner, folder: Path, kind: str, chosen: slice) -> int:
    """Maps with a fault at the chosen changes, each followed by the same command; number of those that were done."""
    scan = scan_in(folder)
    line = ["map", str(scan), "-o", str(folder / "strain.nc")]
    whole = runner.run("cyclestrain", line, folder)
    assert whole.status == 0, whole
    right = xr.load_dataset(folder / "strain.nc", engine="h5netcdf")
    done = 0
    for n in range(1, whole.seen + 1)[chosen]:
        (folder / "strain.nc").unlink()
        first = runner.run("cyclestrain", line, folder, kind=kind, n=n)
        assert "Traceback" not in first.said, first
        if not (folder / "strain.nc").exists():
            again = runner.run("cyclestrain", line, folder)
            assert again.status == 0, again
        elif list(folder.glob(".*")):  # it was killed while it cleaned up: the next run does that
            assert runner.run("cyclestrain", [*line, "--force"], folder).status == 0
        assert sorted(path.name for path in folder.iterdir()) == ["scan.npy", "strain.nc"]
        xr.testing.assert_equal(xr.load_dataset(folder / "strain.nc", engine="h5netcdf"), right)
        done += 1
    return done


def test_some_changes_of_a_map_may_be_its_last(runner: Runner, tmp_path: Path) -> None:
    assert map_killed_at(runner, tmp_path, "kill", slice(11, None, 40)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["kill", "full", "broken"])
def test_every_change_of_a_map_may_be_its_last(runner: Runner, tmp_path: Path, kind: str) -> None:
    assert map_killed_at(runner, tmp_path, kind, slice(None)) > 60

"""Processes that race for one output: never two at once, and nobody's state is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RACING = Path(__file__).parent / "racing.py"


def race(folder: Path, processes: int, n: int) -> int:
    """Let processes race; number of times that one of them owned the folder."""
    (folder / "truth").write_text("0 0")
    racers = [
        subprocess.Popen(
            [sys.executable, str(RACING), str(folder), str(n), str(seed)], stdout=subprocess.PIPE, text=True
        )
        for seed in range(processes)
    ]
    said = [racer.communicate(timeout=3000)[0] for racer in racers]
    assert said == [""] * processes
    assert [racer.returncode for racer in racers] == [0] * processes
    state, entries = (folder / "truth").read_text().split()
    assert {path.name for path in folder.iterdir()} <= {"truth", ".strain.nc.run"}
    assert (folder / ".strain.nc.run" / "knowledge.npz").exists() == (int(state) > 0)
    return int(entries)


def test_racing_processes_never_own_a_run_folder_together(tmp_path: Path) -> None:
    assert race(tmp_path, 3, 300) >= 300


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_ten_thousand_entries(tmp_path: Path, processes: int) -> None:
    assert race(tmp_path, processes, 10_000) >= 10_000

"""What cannot be mapped, as a user types it: one line on the error stream, exit code 1, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from cyclestrain.cli import main
from cyclestrain.data import FloatArray
from cyclestrain.simulation import uniform

SHAPE = (4, 5, 64, 64)


def crystal(scan: tuple[int, int] = (4, 5)) -> FloatArray:
    made = uniform(scan=scan, detector=(64, 64), radius=2.0, background=0.2, seed=1)
    return np.asarray(made.scan.source).astype(np.float32)


def direct_beam() -> FloatArray:
    """Vacuum with a beam and its tails."""
    y, x = np.indices(SHAPE[2:]) - 31.0
    beam = 2000.0 * (np.hypot(y, x) < 3) + 30.0 / (1 + np.hypot(y, x) / 5)
    return np.random.default_rng(0).poisson(np.broadcast_to(beam, SHAPE)).astype(np.uint16)


def with_value(value: float) -> FloatArray:
    patterns = crystal()
    patterns[2, 3, 30, 40] = value
    return patterns


ARRAYS: dict[str, tuple[Callable[[], FloatArray], str]] = {
    "one pattern alone": (lambda: crystal()[0, 0], "four dimensions|--scan"),
    "a stack": (lambda: crystal().reshape(-1, 64, 64), "four dimensions|--scan"),
    "five dimensions": (lambda: crystal()[None], "four dimensions|dimensions"),
    "NaN": (lambda: with_value(np.nan), "NaN|not finite|finite"),
    "infinite": (lambda: with_value(np.inf), "inf|finite"),
    "negative": (lambda: with_value(-4000.0), "down to -4000"),
    "all zero": (lambda: np.zeros(SHAPE, np.uint16), "zero|empty|nothing"),
    "constant": (lambda: np.ones(SHAPE, np.uint16), "one value 1 everywhere"),
    "vacuum": (direct_beam, "no crystal|no position"),
    "noise": (lambda: np.random.default_rng(0).poisson(0.5, SHAPE).astype(np.uint16), "no crystal|no position"),
    "1 x 1": (lambda: crystal((1, 1)), "at least two positions"),
    "text": (lambda: np.full(SHAPE[:3], "a"), "number|type|dtype"),
    "complex": (lambda: crystal().astype(complex), "complex|number|type"),
}


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that tells the error, without the notes on the choices before it."""
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert "Traceback" not in "".join(lines)
    assert "unexpected" not in errors[0]
    return errors[0]


def refused(arguments: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run ``map`` and check that it fails in one line and leaves the folder as it was."""
    before = {path.name: path.stat().st_mtime_ns for path in home.iterdir()}
    assert main(["map", *arguments]) == 1
    assert {path.name: path.stat().st_mtime_ns for path in home.iterdir()} == before
    return error_line(capsys)


def matches(text: str, pattern: str) -> bool:
    return any(part in text for part in pattern.split("|"))


@pytest.mark.parametrize("name", list(ARRAYS))
def test_arrays_that_are_no_scan_of_a_crystal(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected = ARRAYS[name]
    np.save(tmp_path / "scan.npy", make())
    text = refused([str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc")], tmp_path, capsys)
    assert matches(text, expected), text


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = refused([str(tmp_path / "scan.h5"), "-o", str(tmp_path / "strain.nc")], tmp_path, capsys)
    assert "scan.h5 does not exist" in text


def test_an_unknown_extension(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.foo").write_text("hello")
    text = refused([str(tmp_path / "scan.foo"), "-o", str(tmp_path / "strain.nc")], tmp_path, capsys)
    assert "no reader knows" in text


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_hdf5_file(share: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["data"] = crystal()
    content = (tmp_path / "scan.h5").read_bytes()
    (tmp_path / "scan.h5").write_bytes(content[: int(share * len(content))])
    text = refused([str(tmp_path / "scan.h5"), "-o", str(tmp_path / "strain.nc")], tmp_path, capsys)
    assert "truncated" in text


@pytest.mark.parametrize("place", ["missing/strain.nc", "scan.npy/strain.nc"])
def test_an_output_that_cannot_be_written(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No such folder, or a file where the folder should be: told before anything is computed."""
    np.save(tmp_path / "scan.npy", crystal())
    text = refused([str(tmp_path / "scan.npy"), "-o", str(tmp_path / place)], tmp_path, capsys)
    assert "folder" in text


def test_a_read_only_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home, locked = tmp_path / "home", tmp_path / "locked"
    home.mkdir()
    locked.mkdir()
    np.save(home / "scan.npy", crystal())
    locked.chmod(0o500)
    try:
        (locked / "probe").touch()
    except PermissionError:
        text = refused([str(home / "scan.npy"), "-o", str(locked / "strain.nc")], home, capsys)
        assert "locked" in text
    else:
        pytest.skip("this user may write everywhere")
    finally:
        locked.chmod(0o700)


def test_an_existing_result_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "scan.npy", crystal())
    (tmp_path / "strain.nc").write_text("precious")
    text = refused([str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc")], tmp_path, capsys)
    assert "--force" in text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--reference", "90:95,0:3"], "reference"),
        (["--reference", "nonsense"], "reference"),
        (["--reference", "gone.npy"], "does not exist"),
        (["--scan", "7", "7"], "7"),
        (["--centre", "2", "2"], "no crystal|no position|centre"),
        (["--ring", "1", "4"], "no crystal|no position|ring"),
        (["--memory", "0.1"], "at least 1"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "scan.npy", crystal())
    text = refused([str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc"), *options], tmp_path, capsys)
    assert matches(text, expected), text


def test_without_an_error_the_same_command_works(tmp_path: Path) -> None:
    """What the refused arrays are made from is a good scan."""
    np.save(tmp_path / "scan.npy", crystal())
    assert main(["map", str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.npy", "strain.nc"]

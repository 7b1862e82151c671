"""Many scans in one command: a folder with a table, failures that stop nobody, reruns that do what is missing."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.api import many
from cyclestrain.api.scans import find_scans, result_names
from cyclestrain.cli import INTERRUPTED, main
from cyclestrain.result import load_result, save_result

UNIFORM: dict[str, Any] = {"scan": (4, 5), "detector": (96, 96), "radius": 3.0, "background": 0.1}
REFINE = ["--until", "refine"]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five scans, the third of which is broken."""
    folder = tmp_path_factory.mktemp("night")
    for name in "abde":
        cs.simulate("uniform", folder / f"{name}.h5", seed=ord(name), **UNIFORM)
    (folder / "c.h5").write_bytes((folder / "d.h5").read_bytes()[:3000])
    return folder


@pytest.fixture
def home(night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that a test may change, and the current folder."""
    folder = tmp_path / "home"
    shutil.copytree(night, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the scans that are really mapped, in their order."""
    seen: list[str] = []
    carry_out = many.carry_out

    def noted(scan: cs.Scan, *arguments: Any) -> xr.Dataset:
        seen.append(Path(scan.path).name)
        return carry_out(scan, *arguments)

    monkeypatch.setattr(many, "carry_out", noted)
    return seen


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]


def table(folder: str = "out") -> dict[str, dict[str, str]]:
    """Rows of the table by the name of the scan."""
    with (Path(folder) / "summary.csv").open(newline="", encoding="utf-8") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


def test_a_broken_scan_stops_nobody_and_a_rerun_does_what_is_missing(
    home: Path, mapped: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["map", *(f"{name}.h5" for name in "abcde"), "-o", "out/", *REFINE]
    assert main(command) == 1
    out, err = capsys.readouterr()
    (sentence,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "c.h5" in sentence
    assert "4 of 5 scans have a result in out" in out
    names = [f"{name}_strain.nc" for name in "abde"]
    assert sorted(os.listdir("out")) == [*names, "summary.csv"]
    rows = table()
    assert [row["state"] for row in rows.values()] == ["mapped", "mapped", "failed", "mapped", "mapped"]
    assert rows["c.h5"]["message"] in sentence
    maps = load_result("out/b_strain.nc")
    valid = maps.where(maps["valid"])
    assert float(rows["b.h5"]["exx_percent"]) == pytest.approx(100 * float(valid["exx"].median()), rel=1e-3)
    assert float(rows["b.h5"]["rotation_sigma_deg"]) == pytest.approx(
        np.degrees(float(valid["rotation_sigma"].median())), rel=1e-3
    )
    assert (rows["b.h5"]["positions"], rows["b.h5"]["valid_percent"], rows["b.h5"]["classes"]) == ("20", "100", "1")
    xr.testing.assert_equal(maps, cs.map("b.h5", until="refine"))

    before = {name: Path("out", name).read_bytes() for name in names}
    shutil.copy("d.h5", "c.h5")
    del mapped[:]
    assert main(command) == 0
    assert mapped == ["c.h5"]
    assert {name: Path("out", name).read_bytes() for name in names} == before
    again = table()
    assert [row["state"] for row in again.values()] == ["skipped", "skipped", "mapped", "skipped", "skipped"]
    told = {"state", "message"}
    assert {k: v for k, v in again["b.h5"].items() if k not in told} == {
        k: v for k, v in rows["b.h5"].items() if k not in told
    }
    Path("out/e_strain.nc").unlink()
    del mapped[:]
    assert main(command) == 0
    assert mapped == ["e.h5"]


def test_results_that_would_be_others_are_kept_until_force(
    home: Path, mapped: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("used.npy", np.ones((96, 96), bool))
    command = ["map", "[ab].h5", "-o", "out", *REFINE, "--mask", "used.npy"]
    assert main(command) == 0
    before = Path("out/a_strain.nc").read_bytes()
    capsys.readouterr()

    assert main([*command, "--seed", "4"]) == 1
    assert [("other settings (seed)" in line, "--force" in line) for line in errors(capsys)] == [(True, True)] * 2
    with Path("out/summary.csv").open(newline="", encoding="utf-8") as stream:
        states = [(row["file"], row["state"]) for row in csv.DictReader(stream)]
    assert states == [("a.h5", "mapped"), ("b.h5", "mapped"), ("a.h5", "failed"), ("b.h5", "failed")]
    used = np.ones((96, 96), bool)
    used[:4] = False
    np.save("used.npy", used)
    assert main(command) == 1
    assert all("files that the settings name" in line for line in errors(capsys))
    np.save("used.npy", np.ones((96, 96), bool))

    Path("a.h5").touch()  # another date, the same patterns
    shutil.copy("d.h5", "b.h5")
    del mapped[:]
    assert main(command) == 1
    (sentence,) = errors(capsys)
    assert "b_strain.nc is there already and was made from other patterns" in sentence
    assert mapped == []
    assert Path("out/a_strain.nc").read_bytes() == before
    assert main([*command, "--force"]) == 0
    assert mapped == ["a.h5", "b.h5"]


def test_another_vacuum_image_under_the_same_name_is_another_setting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    y, x = np.indices((96, 96)) - 48.0
    beam = np.where(np.hypot(y, x) < 3.0, 1000.0, 0.0)
    np.save("vacuum.npy", beam)
    command = ["map", "a.h5", "-o", "out/", *REFINE, "--probe", "vacuum.npy"]
    assert main(command) == main(command) == 0
    np.save("vacuum.npy", beam + 1.0)
    assert main(command) == 1
    assert "files that the settings name" in errors(capsys)[0]


@pytest.mark.parametrize(
    ("name", "said"), [("model_fingerprint", "another model"), ("settings_files", "another content of the files")]
)
def test_a_result_of_another_model_or_mask_is_not_taken_for_this_one(home: Path, name: str, said: str) -> None:
    maps = cs.map("a.h5", until="refine")
    Path("out").mkdir()
    save_result(maps.assign_attrs({name: "other"}), "out/a_strain.nc")
    (row,) = cs.map_many("a.h5", "out", until="refine").failed
    assert f"made with {said}" in row.message


def test_the_table_is_that_of_the_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "a.h5", "c.h5", "-o", "out", *REFINE]) == 1
    assert main(["map", "b.h5", "-o", "out/", *REFINE]) == 0  # one scan, a folder
    assert list(table()) == ["a.h5", "c.h5", "b.h5"]
    Path("out/a_strain.nc").unlink()
    capsys.readouterr()
    assert main(["map", "b.h5", "c.h5", "-o", "out", *REFINE, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(row["file"], row["state"]) for row in told["scans"]] == [("b.h5", "skipped"), ("c.h5", "failed")]
    assert list(table()) == ["b.h5", "c.h5"]
    Path("out/summary.csv").write_text("my,own\n1,2\n")
    assert main(["map", "b.h5", "d.h5", "-o", "out", *REFINE]) == 1
    assert "no table that cyclestrain wrote" in errors(capsys)[0]
    assert Path("out/summary.csv").read_text() == "my,own\n1,2\n"


def test_a_fault_of_the_program_stops_nobody_and_control_c_says_what_is_done(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carry_out = many.carry_out

    def failing(error: BaseException) -> Any:
        def run(scan: cs.Scan, *arguments: Any) -> xr.Dataset:
            if Path(scan.path).name == "b.h5":
                raise error
            return carry_out(scan, *arguments)

        return run

    monkeypatch.setattr(many, "carry_out", failing(ValueError("odd")))
    batch = cs.map_many(["a.h5", "b.h5", "d.h5"], "out", until="refine")
    assert [row.state for row in batch.summaries] == ["mapped", "failed", "mapped"]
    assert "unexpected ValueError: odd" in batch.failed[0].message
    assert [line.split()[0] for line in str(batch).splitlines()] == ["scan", "a.h5", "b.h5", "d.h5"]
    monkeypatch.setattr(many, "carry_out", failing(KeyboardInterrupt()))
    assert main(["map", "a.h5", "b.h5", "d.h5", "-o", "out", *REFINE]) == INTERRUPTED
    (sentence,) = errors(capsys)
    assert sentence.endswith("1 of 3 scans are done, the same command does the others")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.h5", "b.h5"], "several scans are mapped into a folder; give one, -o maps/"),
        (["a.h5", "b.nc"], "if b.nc is the file to write, -o b.nc"),
        (["a.h5", "b.h5", "-o", "b.nc"], "not into one file"),
        (["a.h5", "b.h5", "-o", "a.h5"], "a.h5 is a file"),
        (["a.h5", "b.h5", "-o", "no/such"], "does not exist; create it"),
        (["x*.h5", "-o", "out/"], "no file matches x*.h5"),
        (["a.h5", "b.h5", "-o", "out", "--classes", "0"], "classes: input should be"),
        (["a.h5", "b.h5", "-o", "out", "--model", "m.safetensors"], "m.safetensors does not exist"),
    ],
)
def test_what_holds_for_all_scans_is_refused_at_once(
    arguments: list[str], expected: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(os.listdir())
    assert main(["map", *arguments]) == 1
    (sentence,) = errors(capsys)
    assert expected in sentence
    assert sorted(os.listdir()) == before


def test_one_scan_and_a_file_are_what_they_were(home: Path) -> None:
    assert main(["map", "a.h5", "-o", "a.nc", *REFINE]) == 0
    assert main(["map", "a.h5", *REFINE]) == 0
    assert {"a.nc", "a_strain.nc"} <= set(os.listdir())
    assert not Path("summary.csv").exists()


def test_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("1/x.mib", "2/x.mib", "2/X.MIB", "2/x.h5", "2/y.mib", "3/1/x.mib", "[z].mib"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert result_names(find_scans("?/x.mib")) == ["1_x_strain.nc", "2_x_strain.nc"]
    assert result_names(find_scans(["1/x.mib", "3/1/x.mib"])) == [f"{tmp_path.name}_1_x_strain.nc", "3_1_x_strain.nc"]
    assert result_names(find_scans(["2/x.h5", "2/x.mib", "2/y.mib"])) == [
        "x_h5_strain.nc", "x_mib_strain.nc", "y_strain.nc",
    ]  # fmt: skip
    with pytest.raises(cs.InputError, match="would both be"):
        result_names(find_scans(["2/x.mib", "2/X.MIB"]))  # one file where the drive does not tell letters apart
    everything = find_scans(["**/*.mib", "1/x.mib", "[z].mib"])
    assert [str(path) for path in everything] == ["1/x.mib", "2/x.mib", "2/y.mib", "3/1/x.mib", "[z].mib"]
    with pytest.raises(cs.InputError, match="not as ndarray"):
        find_scans([np.zeros((2, 2))])  # type: ignore[list-item]
    with pytest.raises(cs.InputError, match="nothing to map"):
        find_scans([])

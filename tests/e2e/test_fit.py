"""Fit once, map many: `cyclestrain fit` and `map --model` as a user types them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

import cyclestrain as cs
from cyclestrain import cli, network
from cyclestrain.network import TrainingSettings, load_model, save_model, scan
from cyclestrain.network.log import TrainingLog
from cyclestrain.result import load_group
from test_pipeline import Notes

POLYCRYSTAL: dict[str, Any] = {"detector": (96, 96), "spacing": 16.0, "radius": 3.0, "grain_size": 50.0}
ONE_GRAIN = "5:9,3:9"
"""Positions of the second scan that belong to one grain: the mean of two would hang on which positions count."""
FIT = ["--ring", "8", "40", "--epochs", "2", "--seed", "2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, a model fitted to it, and a scan of less dose, more background and a wandering beam."""
    folder = tmp_path_factory.mktemp("fit")
    cs.simulate("polycrystal", folder / "a.h5", scan=(10, 10), background=0.2, seed=3, **POLYCRYSTAL)
    other = {"counts": 3e4, "background": 0.4, "drift": 2.0, "centre_offset": (1.0, -2.0)}
    cs.simulate("polycrystal", folder / "b.h5", scan=(9, 10), seed=5, **other, **POLYCRYSTAL)
    assert cli.main(["fit", str(folder / "a.h5"), "-o", str(folder / "a.safetensors"), *FIT]) == 0
    return folder


def interrupt(log: TrainingLog, index: int) -> str:
    """In the place of `TrainingLog.row`, which is called when an epoch is done."""
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def own(home: Path) -> xr.Dataset:
    """Map of the second scan by what it teaches itself."""
    return cs.map(home / "b.h5", until="refine", ring=(8, 40), reference=ONE_GRAIN)


@pytest.mark.parametrize("until", ["refine", "network"])
def test_a_model_maps_another_dose_as_well_as_the_scan_itself(home: Path, own: xr.Dataset, until: Any) -> None:
    maps = cs.map(home / "b.h5", model=home / "a.safetensors", until=until, reference=ONE_GRAIN)
    both = (maps["valid"] & own["valid"]).values
    assert both.mean() > {"refine": 0.95, "network": 0.8}[until]
    for name in ("exx_raw", "eyy_raw", "exy_raw", "rotation_raw"):
        difference = ((maps[name] - own[name]) / own[f"{name}_sigma"]).values[both]
        # The brighter scan shows weak reflections that the other one does not. What a network errs for all positions of
        # a region alike, the mean of a reference does not show in its sigma.
        assert np.sqrt((difference**2).mean()) < {"refine": 0.3, "network": 1.4}[until]
    ratio = (maps["exx_raw_sigma"] / own["exx_raw_sigma"]).values[both]
    assert np.median(ratio) == pytest.approx(1.0, abs={"refine": 0.03, "network": 0.3}[until])
    assert float(maps["gain"].median()) == pytest.approx(1.0, abs=0.05)


def test_many_scans_with_one_model(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["map", str(home / "[ab].h5"), "-o", str(tmp_path / "out"), "--until", "refine"]
    model = tmp_path / "m.safetensors"
    shutil.copy(home / "a.safetensors", model)
    assert cli.main([*command, "--model", str(model)]) == 0
    alone = cs.map(home / "b.h5", model=home / "a.safetensors", until="refine")
    xr.testing.assert_equal(cs.load(tmp_path / "out" / "b_strain.nc"), alone)
    assert cli.main([*command, "--model", str(home / "a.safetensors")]) == 0  # the same model in another place
    assert capsys.readouterr().out.count("there already") == 2
    assert cli.main(command) == 1
    assert "made with another model" in capsys.readouterr().err


def test_a_result_remembers_its_model_and_repeats_with_it(home: Path, tmp_path: Path) -> None:
    for name in ("b.h5", "a.safetensors"):
        shutil.copy(home / name, tmp_path)
    line = ["map", str(tmp_path / "b.h5"), "-o", str(tmp_path / "b.nc"), "--until", "refine"]
    assert cli.main([*line, "--model", str(tmp_path / "a.safetensors")]) == 0
    first, notes = xr.load_dataset(tmp_path / "b.nc", engine="h5netcdf"), Notes()
    assert first.attrs["model_fingerprint"] in cs.info(tmp_path / "a.safetensors")
    assert str(tmp_path / "a.safetensors") in cs.info(tmp_path / "b.nc")
    again = cs.map(config=tmp_path / "b.nc", progress=notes)
    xr.testing.assert_equal(again, first)
    assert not any("not the" in note for note in notes.notes)
    model = load_model(home / "a.safetensors")
    save_model(replace(model, about=model.about | {"name": "another"}), tmp_path / "a.safetensors", force=True)
    cs.map(config=tmp_path / "b.nc", progress=notes)
    assert any("is not the model that" in note for note in notes.notes)


def test_info_explains_a_model(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(home / "a.safetensors")]) == 0
    text = capsys.readouterr().out
    for expected in (
        "model fitted to a", "entry 0: ", "symmetry 6-fold", "disk radius", "ring used: 8 to 40 px", "3 looks",
        "training: pass ", "patterns left out of it: deviance", '"seed": 2', "apply: cyclestrain map SCAN --model",
    ):  # fmt: skip
        assert expected in text
    assert max(len(line) for line in text.splitlines() if line.startswith("training")) < 120


def test_show_draws_the_training_of_models_and_results(home: Path, tmp_path: Path) -> None:
    model = str(home / "a.safetensors")
    assert cli.main(["show", model, "-o", str(tmp_path / "curves.png")]) == 0
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["show", model, "-o", str(tmp_path / "all"), "--formats", "svg"]) == 0
    assert {file.name for file in (tmp_path / "all").iterdir()} == {"training.svg", "dictionary.svg", "network.svg"}


def test_export_writes_a_file_for_each_look(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the files: tests/network/test_onnx_graphs.py."""
    monkeypatch.setattr(network, "save_graph", lambda graph, file, force: file.write_text(type(graph).__name__))
    line = ["export", str(home / "a.safetensors"), "-o", str(tmp_path / "encoder.onnx")]
    assert cli.main(line) == 0
    written = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert written == {"encoder_glance.onnx": "GlanceGraph", "encoder_gaze0.onnx": "GazeGraph"}
    assert cli.main(line) == 1
    assert cli.main([*line, "--force"]) == 0


def test_a_fit_starts_from_another_model(home: Path, tmp_path: Path) -> None:
    line = ["fit", str(home / "a.h5"), "-o", str(tmp_path / "b.safetensors"), "--epochs", "1"]
    assert cli.main([*line, "--init-from", str(home / "a.safetensors")]) == 0
    model, start = load_model(tmp_path / "b.safetensors"), load_model(home / "a.safetensors")
    assert json.loads(model.about["init_from"])["path"] == str(home / "a.safetensors")
    assert model.log.epochs[0].terms["cycle"] < start.log.epochs[0].terms["cycle"] - 0.3
    mine, its = model.material.dictionary.entries[0], start.material.dictionary.entries[0]
    np.testing.assert_array_equal(mine.indices, its.indices)
    np.testing.assert_allclose(mine.intensity, its.intensity, rtol=0.01)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("map b.h5 --model b.h5", "b.h5 is not a model of cyclestrain"),
        ("map b.h5 --model nowhere.safetensors", "the model nowhere.safetensors does not exist"),
        ("map b.h5 --model a.safetensors --ring 8 30", "leave out --ring and --classes"),
        ("map small.h5 --model a.safetensors", "the model does not fit small: half of its reflections are more than"),
        ("map b.h5 --bin 2 --model a.safetensors", "the model does not fit b: the direct beam has a radius of"),
        ("map square.h5 --model a.safetensors", "no crystal of the model is found in square"),
        ("fit square.h5 --init-from a.safetensors", "no crystal of the model is found in square"),
        ("fit b.h5 -o b.nc", "call it b.safetensors instead of b.nc"),
        ("fit b.h5 -o a.safetensors", "a.safetensors exists already"),
        ("fit b.h5 --epochs 0", "epochs: input should be greater than or equal to 1, got 0"),
        ("fit b.h5 --resume", "there is nothing to resume"),
        ("show b.safetensors", "the model b.safetensors does not exist"),
        ("export a.safetensors -o a.csv", "a model is exported as onnx, not as csv"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    home: Path, line: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    wrong = {"small.h5": {"detector": (40, 40)}, "square.h5": {"lattice": "square"}}
    for name, changes in wrong.items():
        if name in line and not Path(name).exists():
            cs.simulate("polycrystal", name, scan=(6, 6), **{**POLYCRYSTAL, **changes})
    before = {path.name for path in home.iterdir()}
    assert cli.main(line.split()) == 1
    errors = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error:")]
    assert len(errors) == 1
    assert expected in errors[0]
    assert {path.name for path in home.iterdir()} == before


def test_a_map_with_a_network_goes_on_with_its_training(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "TrainingSettings", partial(TrainingSettings, epochs=2, steps=3, batch=8))
    maps = [cs.map(home / "a.h5", until="network")]
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLog, "row", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cs.map(home / "a.h5", tmp_path / "a.nc", until="network")
    notes = Notes()
    maps.append(cs.map(home / "a.h5", tmp_path / "a.nc", until="network", progress=notes))
    assert "going on with the run that was interrupted" in notes.notes
    xr.testing.assert_equal(*maps)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]
    assert load_group(tmp_path / "a.nc", "training").sizes == {"epoch": 2}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_fit_ends_with_the_same_bits(home: Path, tmp_path: Path, kills: int) -> None:
    rng, output = np.random.default_rng(), tmp_path / "a.safetensors"
    line = [sys.executable, "-m", "cyclestrain.cli", "fit", str(home / "a.h5"), "-o", str(output), *FIT]
    for _ in range(kills):
        with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for _, _ in zip(range(rng.integers(1, 14)), process.stderr, strict=False):
                pass  # some lines of what it tells, then a moment more: anywhere in the work
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        if output.exists():
            break
    else:
        subprocess.run(line, capture_output=True, check=True)
    whole, resumed = load_file(home / "a.safetensors"), load_file(output)
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert load_model(home / "a.safetensors").log == load_model(output).log
    if (tmp_path / f".{output.name}.run").exists():  # killed after the model was written, before the state was removed
        subprocess.run([*line, "--force"], capture_output=True, check=True)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".tmp"] == [output.name]  # a file half written


def test_resume_goes_on_where_a_fit_was_interrupted(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["fit", str(home / "a.h5"), "-o", str(tmp_path / "a.safetensors"), *FIT]
    monkeypatch.setattr(TrainingLog, "row", interrupt)
    assert cli.main(line) == 130
    monkeypatch.undo()
    assert cli.main([*line[:-1], "3", "--resume"]) == 1  # another seed
    assert "there is nothing to resume" in capsys.readouterr().err
    assert cli.main([*line, "--resume"]) == 0
    assert "going on with the run that was interrupted" in capsys.readouterr().err
    whole, resumed = (load_file(folder / "a.safetensors") for folder in (home, tmp_path))
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []

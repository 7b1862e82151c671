"""Options and models that make no sense are refused in one sentence, before anything is computed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load, save

from cyclestrain import cli
from cyclestrain.errors import InputError
from cyclestrain.network import load_model
from cyclestrain.simulation import uniform

WRONG = {
    "--seed -1": "seed: input should be greater than or equal to 0",
    "--seed 99999999999999999999": "seed:",
    "--memory inf": "--memory is in GB and at least 1",
    "--memory nan": "--memory is in GB and at least 1",
    "--memory -3": "--memory is in GB and at least 1",
    "--centre nan 48": "centre: input should be a finite number",
    "--centre 48 inf": "centre: input should be a finite number",
    "--centre 500 500": "is not on the detector of 96x96 pixels",
    "--centre -20 40": "is not on the detector",
    "--ring nan 40": "ring: input should be a finite number",
    "--ring 40 8": "the inner radius should be less than the outer one",
    "--ring -8 40": "ring: input should be greater than or equal to 0",
    "--ring 300 400": "lies outside the detector of 96x96 pixels",
    "--ellipse 1e9 0": "ellipse: input should be less than or equal to 2",
    "--ellipse 0 0": "ellipse: input should be greater than or equal to 0.5",
    "--ellipse 1.01 nan": "ellipse: input should be a finite number",
    "--scan-rotation nan": "scan_rotation: input should be a finite number",
    "--scan-rotation inf": "scan_rotation: input should be a finite number",
    "--reference mask.npy": "starts like a NumPy file but its header cannot be read",
    "--reference objects.npy": "holds Python objects",
    "--reference huge.npy": "is truncated",
    "--reference nans.npy": "neither yes nor no",
    "--reference folder.npy": "is no file",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    made = uniform(scan=(4, 4), detector=(96, 96), radius=3.0, seed=2)
    np.save(folder / "scan.npy", np.asarray(made.scan.source))
    (folder / "mask.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '|b1', ")
    np.save(folder / "objects.npy", np.array([[None]]), allow_pickle=True)
    header = b"{'descr': '|b1', 'fortran_order': False, 'shape': (4, 4), }".ljust(117) + b"\n"
    (folder / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\1")
    np.save(folder / "nans.npy", np.full((4, 4), np.nan))
    (folder / "folder.npy").mkdir()
    return folder


@pytest.mark.parametrize("options", WRONG)
def test_options_that_make_no_sense_are_refused(
    home: Path, options: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert cli.main(["map", "scan.npy", "-o", "strain.nc", *options.split()]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert WRONG[options] in lines[0]
    assert "unexpected" not in lines[0]
    assert not [path for path in home.iterdir() if "strain.nc" in path.name]


Change = Callable[[dict[str, Any], dict[str, Any]], object]


def rewritten(model: Path, target: Path, change: Change, *, sign: bool) -> Path:
    """A model with another tree or other tensors, without its checksum unless it is to be found out by that."""
    content = model.read_bytes()
    (n,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + n])["__metadata__"]["cyclestrain"])
    tensors = load(content)
    change(header["tree"], tensors)
    if not sign:
        header.pop("checksum")
    target.write_bytes(save(tensors, {"cyclestrain": json.dumps(header)}))
    return target


def material(tree: dict[str, Any]) -> dict[str, Any]:
    return tree["material"]["fields"]


CHANGES: dict[str, Change] = {
    "ring": lambda tree, tensors: material(tree).update(ring={"tuple": [40.0, 5.0]}),
    "ring below 0": lambda tree, tensors: material(tree).update(ring={"tuple": [-5.0, 40.0]}),
    "ring nowhere": lambda tree, tensors: material(tree).update(ring={"tuple": [float("nan"), 40.0]}),
    "disk": lambda tree, tensors: material(tree).update(disk_radius=-3.0),
    "negated": lambda tree, tensors: material(tree)["templates"]["fields"]["grid"]["fields"].update(n_angles=-16),
    "settings": lambda tree, tensors: tree["settings"]["fields"].update(gazes=-1),
    "nan": lambda tree, tensors: tensors["network.glance.squeeze.weight"].fill_(float("nan")),
    "zero": lambda tree, tensors: [
        tensor.zero_() for name, tensor in tensors.items() if name.startswith("network.glance.")
    ],
    "no brightness": lambda tree, tensors: tensors["material.dictionary.entries.0.intensity"].zero_(),
    "infinite": lambda tree, tensors: tensors["material.templates.spectra"].fill_(float("inf")),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("sign", [False, True])
def test_models_that_cannot_be_are_refused(model: Path, tmp_path: Path, name: str, sign: bool) -> None:
    path = rewritten(model, tmp_path / "m.safetensors", CHANGES[name], sign=sign)
    with pytest.raises(InputError, match="is damaged") as error:
        load_model(path)
    assert ("checksum" in str(error.value)) == sign


def test_models_of_before_have_no_checksum(model: Path, tmp_path: Path) -> None:
    path = rewritten(model, tmp_path / "m.safetensors", lambda tree, tensors: None, sign=False)
    assert load_model(path).about == load_model(model).about


@pytest.mark.parametrize("value", [1e16, 1e38, 1e305, -1e300, 2.0**63])
def test_values_that_no_detector_counts_are_refused(
    tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    patterns = np.random.default_rng(0).poisson(3.0, (4, 4, 32, 32)) * value
    np.save(tmp_path / "scan.npy", patterns)
    assert cli.main(["info", str(tmp_path / "scan.npy")]) == 0  # warnings are errors here
    assert cli.main(["map", str(tmp_path / "scan.npy"), "-o", str(tmp_path / "strain.nc")]) == 1
    assert "which no detector counts" in capsys.readouterr().err

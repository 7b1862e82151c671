"""The default map needs neither torch nor safetensors; what needs them says so, with the line that installs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cyclestrain as cs
from cyclestrain.simulation import uniform
from untrained import untrained_model

BLOCK = """
import sys
MISSING = sys.argv.pop(1).split(",")
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import importlib.util
find_spec = importlib.util.find_spec
def missing(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = missing
from cyclestrain.cli import main
sys.exit(main(sys.argv[1:]))
"""


EXTRAS = "torch,safetensors,zarr,hdf5plugin,skimage"


def run(*arguments: str, missing: str = EXTRAS) -> subprocess.CompletedProcess[str]:
    """The command line where the extras, or what is named, are not installed."""
    return subprocess.run([sys.executable, "-c", BLOCK, missing, *arguments], capture_output=True, text=True)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = uniform(scan=(6, 6), detector=(128, 128), radius=3.0, background=0.1, seed=2)
    path = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(path, np.asarray(made.scan.source[:]))
    return path


def test_map_and_show(scan: Path) -> None:
    result = scan.with_name("strain.nc")
    done = run("map", str(scan), "-o", str(result))
    assert done.returncode == 0, done.stderr
    assert "36 of 36 positions valid" in done.stdout
    assert run("show", str(result), "-o", str(result.with_suffix(".png"))).returncode == 0


def test_a_map_with_a_model_needs_no_torch(scan: Path) -> None:
    """Only that of the network does, and says so."""
    model, result = scan.with_name("m.safetensors"), scan.with_name("again.nc")
    untrained_model(cs.read(scan), model)
    done = run("map", str(scan), "--model", str(model), "-o", str(result), missing="torch")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cs.load(result)["exx"], cs.map(scan, model=model)["exx"])
    done = run("map", str(scan), "--model", str(model), "--until", "network", missing="torch")
    assert done.returncode == 1
    assert "the network needs torch, which is not installed here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["map", "--until", "network"], ["map", "--model", "m.safetensors"], ["fit"], ["map", "--device", "cuda"]],
)
def test_what_needs_the_network_says_so_before_any_work(arguments: list[str], scan: Path) -> None:
    command, *options = arguments
    done = run(command, str(scan), *options)
    assert done.returncode == 1
    assert "pip install 'cyclestrain[network]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_format_says_what_it_needs(scan: Path) -> None:
    folder = scan.with_name("scan.zarr")
    folder.mkdir()
    (folder / ".zarray").write_text("{}")
    done = run("info", str(folder))
    assert done.returncode == 1
    assert "pip install 'cyclestrain[formats]'" in done.stderr

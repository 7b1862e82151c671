"""Bits of state files, and of models, that are not what was written: noticed, said and done anew, never used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from crystals import make_crystals, make_dictionary
from cyclestrain import cli
from cyclestrain.errors import InputError
from cyclestrain.network import Course, NetworkSettings, TrainingSettings, load_model, train
from cyclestrain.network.autoencoder import Autoencoder
from cyclestrain.network.checkpoint import Checkpoint
from cyclestrain.pipeline import KEPT
from cyclestrain.simulation import uniform
from cyclestrain.storage import PrivateFolder, RunFolder

DICTIONARY = make_dictionary()
CRYSTALS = make_crystals(24, DICTIONARY.entries[0])
COURSE = Course(CRYSTALS.patterns, CRYSTALS.good, CRYSTALS.theta[:, None], CRYSTALS.centre, 0.1)
SHAPE = NetworkSettings(gazes=1)
FLIPS = int(os.environ.get("FAULT_FLIPS", "10000"))
"""Number of flips of the slow tests."""


def flipped(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def bits(path: Path, n: int, seed: int) -> list[int]:
    """Bits of a file, drawn by chance from all of it and from its ends, where names, sizes and checksums are."""
    rng, size = np.random.default_rng(seed), 8 * path.stat().st_size
    ends = np.concatenate([np.arange(min(size, 2048)), size - 1 - np.arange(min(size, 2048))])
    return [int(rng.choice(ends)) if i % 2 else int(rng.integers(size)) for i in range(n)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a map and of a training that were interrupted."""
    home = tmp_path_factory.mktemp("state")
    folder = home / ".strain.nc.run"
    made = uniform(scan=(6, 5), detector=(96, 96), radius=3.0, background=0.2, seed=2)
    np.save(home / "scan.npy", np.asarray(made.scan.source))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cyclestrain.pipeline.to_fields", stop)
        assert cli.main(["map", str(home / "scan.npy"), "-o", str(home / "strain.nc")]) == cli.INTERRUPTED
    train(COURSE, DICTIONARY, settings=TrainingSettings(epochs=1, steps=1, batch=4), shape=SHAPE, run=keyed(folder))
    return folder


def stop(*arguments: object) -> None:
    raise KeyboardInterrupt


def keyed(folder: Path) -> RunFolder:
    """The folder under the key that its own run has."""
    key = PrivateFolder(folder, None).read("key", "key").decode()
    return RunFolder(PrivateFolder(folder, None), key)


def every_flip_is_noticed(state: Path, home: Path, n: int) -> int:
    """Flip bits one by one and load the file as a run does; number of flips."""
    names = [path.name for path in state.iterdir() if path.name not in ("lock", "key")]
    assert {"knowledge.npz", "calibration.npz", "training.npz", "block0.npz"} <= set(names)
    network = Autoencoder(DICTIONARY, SHAPE, 0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    done = 0
    for number, name in enumerate(sorted(names)):
        for bit in bits(state / name, n // len(names) + 1, number):
            folder, said = home / "run", list[str]()
            folder.mkdir()
            shutil.copy(state / name, folder / name)
            flipped(folder / name, bit)
            run = RunFolder(PrivateFolder(folder, None), keyed(state).key, said.append)
            if name == "training.npz":
                checkpoint = Checkpoint(network, torch.optim.AdamW(network.parameters()), np.random.default_rng(0))
                checkpoint.load(run)
                assert checkpoint.epoch == 0
                assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
            elif name.startswith("block"):
                assert not run.restore({"label": np.full(30, -1)}).any()
            else:
                assert run.load(name.removesuffix(".npz"), KEPT) is None, (name, bit)
            assert len(said) == 1, (name, bit)
            assert f"{name.removesuffix('.npz')} of the interrupted run is damaged" in said[0]
            assert not list(folder.iterdir())
            folder.rmdir()
            done += 1
    return done


def test_flipped_bits_of_the_state_are_noticed(state: Path, tmp_path: Path) -> None:
    assert keyed(state).load("knowledge", KEPT) is not None
    assert every_flip_is_noticed(state, tmp_path, 200) >= 200


@pytest.mark.slow
def test_many_flipped_bits_are_noticed(state: Path, tmp_path: Path) -> None:
    assert every_flip_is_noticed(state, tmp_path, FLIPS) >= FLIPS


def test_files_that_changed_places_are_noticed(state: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shutil.copy(state / "knowledge.npz", tmp_path / "calibration.npz")
    run = RunFolder(PrivateFolder(tmp_path, None), keyed(state).key, said.append)
    assert run.load("calibration", KEPT) is None
    shutil.copy(state / "knowledge.npz", tmp_path / "knowledge.npz")
    assert RunFolder(PrivateFolder(tmp_path, None), "another run", said.append).load("knowledge", KEPT) is None
    assert len(said) == 2


def test_a_map_with_a_damaged_state_ends_as_one_without(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, output = state.parent / "scan.npy", tmp_path / "other.nc"
    before, state = shutil.copytree(state, tmp_path / "state"), tmp_path / ".other.nc.run"
    (before / "training.npz").unlink()
    results = []
    for name in (None, "knowledge.npz", "block0.npz", "key"):
        shutil.rmtree(state, ignore_errors=True)
        shutil.copytree(before, state)
        if name is not None:
            flipped(state / name, 8 * (state / name).stat().st_size // 2)
        assert cli.main(["map", str(scan), "-o", str(output), "--force"]) == 0
        told = capsys.readouterr().err
        assert ("going on with the run" in told) == (name not in ("knowledge.npz", "key"))
        assert ("is damaged" in told) == (name not in (None, "key")), told
        results.append(output.read_bytes())
        assert not state.exists()
    assert cli.main(["map", str(scan), "-o", str(tmp_path / "alone.nc")]) == 0
    from cyclestrain.result import load_result

    right = load_result(tmp_path / "alone.nc")
    for content in results:
        (tmp_path / "one.nc").write_bytes(content)
        assert load_result(tmp_path / "one.nc").equals(right)


def flips_of_a_model(model: Path, home: Path, n: int) -> tuple[int, int]:
    """Flips that were refused, and those that changed nothing that counts."""
    refused, same = 0, 0
    right = load_model(model)
    for bit in bits(model, n, 3):
        copy = Path(shutil.copy(model, home / "m.safetensors"))
        flipped(copy, bit)
        try:
            found = load_model(copy)
        except InputError:
            refused += 1
            continue
        for key, value in found.network.state_dict().items():
            assert torch.equal(value, right.network.state_dict()[key])
        assert (found.about, found.log, found.material.ring) == (right.about, right.log, right.material.ring)
        same += 1
    return refused, same


def test_flipped_bits_of_a_model_are_refused(model: Path, tmp_path: Path) -> None:
    refused, same = flips_of_a_model(model, tmp_path, 60)
    assert refused > 50 > same


@pytest.mark.slow
def test_many_flipped_bits_of_a_model_are_refused(model: Path, tmp_path: Path) -> None:
    assert sum(flips_of_a_model(model, tmp_path, FLIPS // 5)) == FLIPS // 5

"""A killed run goes on where it was, with the same result, and never takes over the state of another run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from cyclestrain.data import Scan
from cyclestrain.errors import InputError, OutputError
from cyclestrain.storage import PrivateFolder, RunFolder, run_folder, run_key


@dataclass(frozen=True)
class Inner:
    values: np.ndarray
    count: int


@dataclass(frozen=True)
class Outer:
    parts: tuple[Inner, ...]
    ring: tuple[float, float]
    text: str
    scale: np.float64
    nothing: None = None


numbers = arrays_of.arrays(
    st.sampled_from(["f8", "i4", "?", "c8", "u2"]), arrays_of.array_shapes(min_dims=0, min_side=0, max_side=3)
)


@given(st.lists(numbers, max_size=3), st.floats(allow_nan=False), st.text())
def test_what_is_kept_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: list, x: float, text: str
) -> None:
    run = RunFolder(PrivateFolder(tmp_path_factory.mktemp("run"), None), "key")
    kept = Outer(tuple(Inner(value, len(values)) for value in values), (x, 2.0), text, np.float64(x))
    run.save("knowledge", kept)
    back = run.load("knowledge", (Inner, Outer))
    assert (back.ring, back.text, back.scale, back.nothing) == (kept.ring, text, x, None)
    assert isinstance(back.scale, np.float64)
    for mine, its in zip(kept.parts, back.parts, strict=True):
        np.testing.assert_array_equal(mine.values, its.values, strict=True)


def test_only_named_classes_are_made_and_nothing_is_pickled(tmp_path: Path) -> None:
    run = RunFolder(PrivateFolder(tmp_path, None), "key")
    run.save("knowledge", Inner(np.ones(3), 1))
    assert run.load("knowledge", (Outer,)) is None
    assert run.load("training", (Inner,)) is None
    for bad in (np.array([object()]), {1, 2}, print):
        with pytest.raises(TypeError):
            run.save("knowledge", bad)
    run.save("knowledge", Inner(np.ones(3), 1))
    (tmp_path / "knowledge.npz").write_bytes((tmp_path / "knowledge.npz").read_bytes()[:50])
    assert run.load("knowledge", (Inner,)) is None


def outcome(n: int) -> dict[str, np.ndarray]:
    return {"affine": np.full((n, 2, 2), np.nan), "label": np.full(n, -1)}


def test_blocks_are_restored_where_they_fit(tmp_path: Path) -> None:
    run, full = RunFolder(PrivateFolder(tmp_path, None), "key"), outcome(10)
    full["label"][:] = np.arange(10)
    for first in (0, 4):
        run.save_block(first, {name: values[first : first + 4] for name, values in full.items()})
    (tmp_path / "block8.npz").write_bytes(b"cut")
    back = outcome(10)
    assert run.restore(back).tolist() == [True] * 8 + [False] * 2
    np.testing.assert_array_equal(back["label"], [*range(8), -1, -1])
    assert run.restore(outcome(7)).tolist() == [True] * 4 + [False] * 3
    assert not run.restore({"label": np.zeros(10)}).any()


def test_finished_blocks_are_not_read_again() -> None:
    scan = Scan(np.arange(4 * 5 * 16 * 16, dtype=np.float32).reshape(4, 5, 16, 16))
    for size in (scan.pattern_bytes * 5, scan.pattern_bytes * 2):
        every = [block.positions for block in scan.blocks(size)]
        done = np.isin(np.arange(20), np.concatenate(every[::2]))
        left = [block.positions for block in scan.blocks(size, done=done)]
        assert [list(positions) for positions in left] == [list(positions) for positions in every[1::2]]


def test_a_run_goes_on_only_with_its_own_key(tmp_path: Path) -> None:
    output = tmp_path / "strain.nc"
    for key, expected in (("a", None), ("a", 5), ("b", None), ("b", 5)):
        try:
            with run_folder(output, key) as run:
                assert run.load("knowledge", ()) == expected
                run.save("knowledge", 5)
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            continue
    with run_folder(output, "b") as run:
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError), run_folder(output, "b"):
        raise InputError("no scan")
    assert not list(tmp_path.iterdir())
    assert run_key(scan="a", settings="b") != run_key(scan="b", settings="a")


def test_two_runs_to_one_output_do_not_mix(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with run_folder(tmp_path / "strain.nc", "a"):
        with pytest.raises(OutputError, match="another process"), run_folder(tmp_path / "strain.nc", "a"):
            pass
        assert (tmp_path / ".strain.nc.run").is_dir()


WORK = """
import sys, time
from pathlib import Path
import numpy as np
from cyclestrain.storage import run_folder
output = Path(sys.argv[1])
with run_folder(output, "key") as run:
    result = {"x": np.zeros(40)}
    done = run.restore(result)
    for first in range(0, 40, 2):
        if not done[first]:
            time.sleep(0.02)
            result["x"][first:first + 2] = np.sin(np.arange(first, first + 2))
            run.save_block(first, {"x": result["x"][first:first + 2]})
            print(first, flush=True)
    np.save(output, result["x"])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_killed_at_any_moment_the_work_goes_on(tmp_path: Path) -> None:
    output, rng, worked = tmp_path / "x.npy", np.random.default_rng(0), []
    for _ in range(30):
        process = subprocess.Popen([sys.executable, "-c", WORK, str(output)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()  # it has begun
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        worked += [int(line) for line in [first, *process.stdout] if line.strip()]
        process.stdout.close()
        process.wait()
        if output.exists():
            break
    subprocess.run([sys.executable, "-c", WORK, str(output)], check=True)  # removes what a kill at the end left over
    np.testing.assert_array_equal(np.load(output), np.sin(np.arange(40)))
    assert len(worked) == len(set(worked)) > 15  # no block was computed twice; some were kept but not yet announced
    assert list(tmp_path.iterdir()) == [output]

"""Blocks on the workers of a cluster: the same bits as in one process, whoever is killed, and clear refusals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import cyclestrain as cs
from cyclestrain.cli import main
from cyclestrain.context import scatter, smooth
from cyclestrain.errors import ClusterError
from cyclestrain.io import Contents, file_state
from cyclestrain.result import load_result
from cyclestrain.simulation import polycrystal
from cyclestrain.storage import RunFolder
from restless import restless

pytest.importorskip("distributed")

from cyclestrain.cluster import Cluster, Source, connected, connection, runner, worker

if TYPE_CHECKING:
    from distributed import Client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of this machine."""
    with connected("local:2") as made:
        yield made


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan with few counts on a pedestal, most of whose patterns are fitted from sums with their neighbours."""
    options: dict[str, Any] = {"scan": (9, 11), "detector": (96, 96), "grain_size": 60.0, "radius": 3.0}
    made = polycrystal(**options, background=0.6, counts=1.5e4, seed=3)
    file = tmp_path_factory.mktemp("scan") / "scan.npy"
    np.save(file, np.asarray(made.scan.source) + np.uint16(7))
    return file


@pytest.fixture(scope="module")
def alone(scan: Path) -> xr.Dataset:
    """Its map, made in this process."""
    return cs.map(scan)


def same(maps: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_equal(maps, expected)
    changing = ("created", "versions")
    for name, value in expected.attrs.items():
        if name not in changing:
            np.testing.assert_array_equal(maps.attrs[name], value, err_msg=name)


class Counted:
    """Progress that counts the positions of every stage."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}
        self.notes: list[str] = []

    def stage(self, name: str, total: int | None = None) -> Counted:
        self.done[name] = 0
        self._now = name
        return self

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, n: int = 1) -> None:
        self.done[self._now] += n

    def status(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_same_bits_as_in_one_process(scan: Path, alone: xr.Dataset, client: Client) -> None:
    """With pedestal, halos, mixtures and hashes; the process that asks reads its sample alone."""
    assert float(alone["valid"].mean()) > 0.9
    assert "pedestal" in alone.attrs["calibration"]
    progress = Counted()
    same(cs.map(scan, client=client, progress=progress), alone)
    assert progress.done["fit patterns"] == progress.done["refit from neighbours"] == 99
    assert progress.notes[0].startswith("cluster: 2 workers")
    assert len(client.nthreads()) == 2  # it stays open


def test_fields_in_tiles_on_workers_give_the_same_bits(
    scan: Path, alone: xr.Dataset, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles of a few positions, each with a halo; one worker dies while it has one."""
    submitted, sent = Cluster._submitted, []

    def counted(self: Cluster, function: Any, task: Any, shared: tuple[Any, ...] = ()) -> Any:
        out = submitted(self, function, task, shared)
        sent.append(function)
        if sent.count(worker.do_piece) == 3 and function is worker.do_piece:
            kill_workers(client, 1)
        return out

    monkeypatch.setattr(Cluster, "_submitted", counted)
    monkeypatch.setattr(runner, "SIDE", 4)
    same(cs.map(scan, client=client), alone)
    assert sent.count(worker.do_piece) > 20


def test_squares_and_tiles_of_a_larger_field_too(scan: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    field = restless((52, 61), 1)
    alone = smooth(field)
    monkeypatch.setattr(runner, "SIDE", 24)
    monkeypatch.setattr(scatter, "TOGETHER", 2)
    there = smooth(field, cluster_of(client, source_of(scan)))
    for name in ("affine", "covariance", "shared"):
        np.testing.assert_array_equal(getattr(there, name), getattr(alone, name), err_msg=name)


def kill_workers(client: Client, n: int) -> None:
    pids = list(client.run(os.getpid).values())
    for pid in pids[:n]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("n", [1, 2])
def test_killed_workers_cost_only_their_blocks(
    n: int, scan: Path, alone: xr.Dataset, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both die with what was sent to them, which is then sent again."""
    save, saved = RunFolder.save_block, []

    def killing(self: RunFolder, first: int, outcome: dict[str, np.ndarray]) -> None:
        save(self, first, outcome)
        saved.append(first)
        if len(saved) == 2:
            kill_workers(client, n)

    monkeypatch.setattr(RunFolder, "save_block", killing)
    same(cs.map(scan, tmp_path / "strain.nc", client=client), alone)
    assert len(saved) == len(set(saved)) > 3
    assert os.listdir(tmp_path) == ["strain.nc"]


def test_a_killed_client_goes_on_where_it_was(
    scan: Path, alone: xr.Dataset, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, state = tmp_path / "strain.nc", tmp_path / ".strain.nc.run"
    slow = (
        "import sys, time; from cyclestrain import cli; from cyclestrain.storage import RunFolder;"
        "save = RunFolder.save_block;"
        "RunFolder.save_block = lambda *arguments: (save(*arguments), time.sleep(0.3));"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    command = ["map", str(scan), "-o", str(output), "--cluster", client.scheduler.address]
    process = subprocess.Popen([sys.executable, "-c", slow, *command], stderr=subprocess.DEVNULL)
    patience = time.monotonic() + 120
    while len(list(state.glob("block*.npz"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < patience
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = {int(path.stem.removeprefix("block")) for path in state.glob("block*.npz")}
    save, again = RunFolder.save_block, set()

    def noted(self: RunFolder, first: int, outcome: dict[str, np.ndarray]) -> None:
        again.add(first)
        save(self, first, outcome)

    monkeypatch.setattr(RunFolder, "save_block", noted)
    assert main([*command, "--quiet"]) == 0
    assert again
    assert not again & kept
    same(load_result(output), alone)


def source_of(scan: Path) -> Source:
    opened = cs.read(scan)
    return Source(str(scan), cs.ReadSettings().model_dump_json(), file_state(str(scan)), opened.shape)


def cluster_of(client: Client, source: Source) -> Cluster:
    return Cluster(client, source, Contents("scan", np.zeros(99, np.uint64)))


def test_workers_that_cannot_do_it_are_named(
    scan: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = source_of(scan)
    client.wait_for_workers(2, timeout=120)  # one that was killed before may not be back yet
    assert cluster_of(client, good).check() == 2
    broken = tmp_path / "broken.npy"
    broken.write_bytes(b"junk")
    for source, expected in [
        (replace(good, path="/not/here.npy"), r"worker tcp://127.0.0.1:\d+ does not see /not/here.npy; put the scan"),
        (replace(good, path=str(broken)), r"worker tcp://\S+ cannot read the scan: .*broken.npy"),
        (replace(good, shape=(1, 99, 96, 96)), "is another scan on the worker"),
    ]:
        with pytest.raises(ClusterError, match=expected):
            cluster_of(client, source).check()
        with pytest.raises(ClusterError, match=expected):
            list(cluster_of(client, source).run(runner._look, cs.read(scan), (), len))
    task = worker.Task(good, 0.0, (0, 11), runner._look, None, version="99.1")
    with pytest.raises(ClusterError, match=r"runs on the worker \S+, 99.1 here; install the same"):
        client.submit(worker.do, task, pure=False).result(timeout=60)
    monkeypatch.setattr(runner, "__version__", "99.1")
    with pytest.raises(ClusterError, match=r"runs on the scheduler, 99\.1 here; install the same"):
        cs.map(scan, client=client)


def test_loops_take_the_threads_of_their_worker(scan: Path, client: Client) -> None:
    def threads(*_: object) -> tuple[int, int]:  # a function of its own: workers do not have this file
        from cyclestrain.machine import thread_count

        return thread_count(), len(os.sched_getaffinity(0))

    task = worker.Task(source_of(scan), 0.0, (0, 11), threads, None)
    taken, cores = client.submit(worker.do, task, pure=False).result(timeout=60)[0]
    assert taken == max(1, cores // 2)


def test_what_a_worker_finds_wrong_with_the_scan_is_told(
    scan: Path, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patterns = np.load(scan).astype(np.float32)
    np.save(tmp_path / "scan.npy", patterns)
    cluster = cluster_of(client, source_of(tmp_path / "scan.npy"))
    cluster.contents.note(np.arange(99), np.arange(1, 100, dtype=np.uint64))  # as if it had been another scan before
    with pytest.raises(cs.InputError, match="changed while it was worked on"):
        list(cluster.run(runner._look, cs.read(tmp_path / "scan.npy"), (), len))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--cluster", "locl:2"], "not 'locl:2'"),
        (["--cluster", "local:0"], "not 'local:0'"),
        (["--cluster", "none.json"], "no scheduler answers at none.json (none.json does not exist)"),
        (["--cluster", "tcp://127.0.0.1:PORT"], "no scheduler answers at tcp://127.0.0.1:"),
    ],
)
def test_what_is_no_cluster_is_refused(
    options: list[str], expected: str, scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connection, "CONNECTING", 0.5)
    with socket.socket() as free:  # bound, but nobody listens
        free.bind(("127.0.0.1", 0))
        typed = [word.replace("PORT", str(free.getsockname()[1])) for word in options]
        assert main(["map", str(scan), "-o", str(scan.with_name("x.nc")), *typed]) == 1
    assert expected in " ".join(capsys.readouterr().err.split())


def test_what_workers_cannot_read_is_refused(scan: Path, client: Client) -> None:
    with pytest.raises(cs.InputError, match="workers of a cluster read the scan themselves"):
        cs.map(np.load(scan), client=client)
    with pytest.raises(cs.InputError, match="not both"):
        cs.map(scan, client=client, cluster="local:2")
    with pytest.raises(cs.InputError, match="one machine"):
        cs.map(scan, client=client, until="network")


def test_a_worker_that_starts_again_slowly_keeps_its_place() -> None:
    """Where dask waited for a busy machine no longer than usual, the cluster would be a worker short to its end."""
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}), connected("local:1") as client:
        kill_workers(client, 1)
        time.sleep(1)  # a worker takes longer than this: it imports first
        client.wait_for_workers(1, timeout=60)
        assert client.submit(os.getpid).result(timeout=60)


def test_a_cluster_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    with connected("local:1"):
        pass
    assert dict(os.environ) == before

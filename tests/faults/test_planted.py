"""What somebody else put beside an output: links, pipes, folders of others. Nothing outside is read or changed."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cyclestrain import cli
from cyclestrain.errors import OutputError
from cyclestrain.files import check_writable, write_folder, write_whole
from cyclestrain.storage import run_folder

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="links and pipes of POSIX")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Somebody's folder, with files of the names that a run folder has."""
    folder = tmp_path / "precious"
    (folder / "deeper").mkdir(parents=True)
    for name in ("thesis.txt", "lock", "key", "knowledge.npz", "deeper/block0.npz"):
        (folder / name).write_text("years of work")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def opened(output: Path) -> None:
    with run_folder(output, "key") as run:
        run.save("knowledge", 1)


def test_a_run_folder_that_is_a_link_is_refused(tmp_path: Path, precious: Path) -> None:
    before = content(precious)
    (tmp_path / ".strain.nc.run").symlink_to(precious)
    with pytest.raises(OutputError, match="is a link or a file and not a folder; remove it"):
        opened(tmp_path / "strain.nc")
    assert content(precious) == before


@pytest.mark.parametrize("name", ["lock", "key", "knowledge.npz", "block0.npz", "key.0123abcd.tmp"])
@pytest.mark.parametrize("kind", ["link", "nowhere", "hard", "pipe", "folder"])
def test_what_is_planted_in_a_run_folder_leads_nowhere(tmp_path: Path, precious: Path, name: str, kind: str) -> None:
    before, folder = content(precious), tmp_path / ".strain.nc.run"
    folder.mkdir(0o700)
    plant: dict[str, Callable[[Path], None]] = {
        "link": lambda path: path.symlink_to(precious / "thesis.txt"),
        "nowhere": lambda path: path.symlink_to(precious / "new.txt"),
        "hard": lambda path: os.link(precious / "thesis.txt", path),
        "pipe": os.mkfifo,
        "folder": os.mkdir,
    }
    plant[kind](folder / name)
    with suppress(OutputError):
        opened(tmp_path / "strain.nc")
    assert content(precious) == before


def test_only_files_of_known_names_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / ".strain.nc.run"
    folder.mkdir(0o700)
    (folder / "notes.txt").write_text("mine")
    (folder / "blockade.npz").write_text("mine")
    opened(tmp_path / "strain.nc")
    assert sorted(path.name for path in folder.iterdir()) == ["blockade.npz", "notes.txt"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of others")
def test_a_run_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ".strain.nc.run"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(OutputError, match="belongs to another user"):
        opened(tmp_path / "strain.nc")
    assert not list(folder.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can make files of others")
def test_state_that_another_user_planted_is_not_used(tmp_path: Path) -> None:
    said: list[str] = []
    with suppress(KeyboardInterrupt), run_folder(tmp_path / "strain.nc", "key") as run:
        run.save("knowledge", 1)
        raise KeyboardInterrupt
    os.chown(tmp_path / ".strain.nc.run" / "knowledge.npz", 12345, 12345)
    with run_folder(tmp_path / "strain.nc", "key", note=said.append) as run:
        assert run.load("knowledge", ()) is None
    assert "belongs to another user" in said[0]


def as_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


ODD: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a socket": as_socket,
    "a link": lambda path: path.symlink_to(path.with_name("elsewhere.nc")),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("force", [False, True])
def test_only_regular_files_are_replaced(tmp_path: Path, kind: str, force: bool) -> None:
    target = tmp_path / "strain.nc"
    ODD[kind](target)
    (tmp_path / "elsewhere.nc").write_text("mine")
    before = os.lstat(target)
    with pytest.raises(OutputError, match=f"is {kind} and no regular file"):
        check_writable(target, force)
    with pytest.raises(OutputError, match=f"is {kind}"), write_whole(target, force) as temporary:
        temporary.write_text("a result")
    assert os.lstat(target) == before
    assert (tmp_path / "elsewhere.nc").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_map_to_a_pipe_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "scan.npy", np.ones((4, 4, 32, 32), np.uint16))
    os.mkfifo(tmp_path / "out.nc")
    assert cli.main(["map", str(tmp_path / "scan.npy"), "-o", str(tmp_path / "out.nc"), "--force"]) == 1
    assert "out.nc is a pipe and no regular file" in capsys.readouterr().err
    assert stat.S_ISFIFO(os.lstat(tmp_path / "out.nc").st_mode)


def test_a_folder_that_is_no_store_is_not_replaced(tmp_path: Path, precious: Path) -> None:
    before = content(precious)
    with pytest.raises(OutputError, match="no Zarr store"), write_folder(precious, force=True):
        pass
    with pytest.raises(OutputError, match="no Zarr store"):
        check_writable(precious, force=True, folder=True)
    assert content(precious) == before


def test_an_old_store_comes_back_where_its_successor_was_cut_short(tmp_path: Path) -> None:
    target = tmp_path / "maps.zspy"
    with write_folder(target) as temporary:
        (temporary / "zarr.json").write_text("{}")
    target.rename(tmp_path / ".maps.zspy.old")  # killed between the two steps
    with pytest.raises(OutputError, match="exists already"):
        check_writable(target, folder=True)
    assert (target / "zarr.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["maps.zspy"]


def test_leftovers_of_the_killed_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    stale = [tmp_path / f".{letter * 12}.cyclestrain.tmp" for letter in "abc"]
    stale[0].write_text("half a result")
    stale[1].mkdir()
    stale[2].symlink_to(tmp_path / "mine.txt")
    (tmp_path / "mine.txt").write_text("mine")
    with write_whole(tmp_path / "one.nc") as temporary:
        temporary.write_text("a result")
        check_writable(tmp_path / "two.nc")
        assert temporary.exists()
        assert not stale[0].exists()
        assert not stale[1].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [stale[2].name, "mine.txt", "one.nc"]


@pytest.mark.parametrize("n", [240, 245, 250, 255, 300])
def test_names_are_judged_before_the_computation(tmp_path: Path, n: int) -> None:
    output = tmp_path / ("x" * (n - 3) + ".nc")
    if n + 5 > os.pathconf(tmp_path, "PC_NAME_MAX"):
        with pytest.raises(OutputError, match="too long"):
            check_writable(output)
        return
    check_writable(output)
    with run_folder(output, "key") as run:
        run.save("knowledge", 1)
        with write_whole(output) as temporary:
            temporary.write_text("a result")
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_space_is_judged_before_the_computation(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="GB are free; free some space"):
        check_writable(tmp_path / "strain.nc", needs=10**18)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root plays a user without rights")
def test_a_folder_without_rights_is_told_at_once(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o755)
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        handle = os.open(closed, os.O_RDONLY)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.fchdir(handle)
        said = "written"
        try:
            check_writable("strain.nc")
        except OutputError as error:
            said = str(error)
        except BaseException as error:
            said = repr(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(process, 0)
    with os.fdopen(reader) as stream:
        assert "the folder is read-only; choose another folder" in stream.read()
    assert not list(closed.iterdir())

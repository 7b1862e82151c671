"""Writing of files that appear complete under their name or not at all, with one clear sentence where they cannot.

Only regular files, and Zarr stores, are ever replaced: a link, a pipe or a device under the name of an output is left
as it is. A file that is being written has a name of its own beside the output and is locked, so that what a process
that was killed left there can be told from what a living one writes, and is removed by the next run.
"""

from __future__ import annotations

import csv
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from cyclestrain.errors import OutputError, first_line

__all__ = [
    "check_writable",
    "complaint",
    "lock_or_leave",
    "scratch_folder",
    "sweep",
    "write_csv",
    "write_folder",
    "write_whole",
]

PathLike: TypeAlias = "str | os.PathLike[str]"

CAN_LOCK = sys.platform != "win32"
"""Whether open files are locked here; Windows neither removes nor replaces an open file anyway."""
BESIDE = 5
"""Bytes that the names of what lies beside an output, ``.NAME.run`` and ``.NAME.old``, are longer than its own."""
MOST_SWEPT = 100_000
"""Largest number of names of a folder that are looked through for leftovers."""
_LEFTOVER = re.compile(r"\.[0-9a-f]{12}\.cyclestrain\.tmp")
_STORE = ("zarr.json", ".zgroup", ".zarray")
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def check_writable(path: PathLike, force: bool = False, *, folder: bool = False, needs: int = 0) -> None:
    """Make sure that a result can be written, before the long computation; sweeps what killed writers left beside it.

    Parameters
    ----------
    path
        The file, or with `folder` the folder, to be written.
    force
        Whether an existing one may be replaced.
    folder
        Whether the result is a folder itself, as a Zarr store is.
    needs
        Bytes that have to be free on the drive.

    Raises
    ------
    OutputError
        If it exists and not `force`, or is something that is never replaced, its folder is missing or read-only, its
        name too long, or the drive full.
    """
    target = Path(path)
    if not target.name:
        raise OutputError(f"{str(path)!r} names no file; give the name of a file for the result")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; create it or choose another one")
    _check_name(target)
    if folder:
        _put_back(target)
    if _is_there(target, folder) and not force:
        raise OutputError(f"{target} exists already; choose another name or overwrite it with --force")
    try:  # permission bits mislead on network drives and for root: only writing is a test
        sweep(target.parent)
        with _temporary(target.parent):
            pass
        free = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise OutputError(complaint(target, error)) from error
    if needs > free:
        raise OutputError(
            f"{target} and the state of the run take up to {needs / 1e9:.2g} GB, {free / 1e9:.2g} GB are free; "
            "free some space or choose another drive"
        )


def _check_name(target: Path) -> None:
    try:
        longest = os.pathconf(target.parent, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # no POSIX
        longest = 255
    excess = len(os.fsencode(target.name)) + BESIDE - longest
    if excess > 0:
        raise OutputError(f"the name {target.name} is {excess} bytes too long for this drive; choose a shorter one")


def _is_there(target: Path, folder: bool = False) -> bool:
    """Whether something that may be replaced is at `target`.

    Raises
    ------
    OutputError
        If it is something that is never replaced.
    """
    try:
        mode = os.lstat(target).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise OutputError(complaint(target, error)) from error
    if stat.S_ISREG(mode):
        return True
    if not stat.S_ISDIR(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OutputError(f"{target} is {kind} and no regular file, and is not replaced; choose another name")
    if not folder:
        raise OutputError(f"{target} is a folder; give the name of a file for the result")
    if not any((target / mark).is_file() for mark in _STORE) and any(target.iterdir()):
        raise OutputError(f"{target} is a folder but no Zarr store, and is not replaced; choose another name")
    return True


def complaint(target: Path, error: BaseException) -> str:
    """One sentence for a user whose file could not be written.

    Parameters
    ----------
    target
        The file.
    error
        What the system said.
    """
    code = getattr(error, "errno", None)
    text = f"{os.strerror(code) if code else ''} {error}".lower()
    if code in (errno.ENOSPC, errno.EDQUOT) or "no space left" in text or "disk quota" in text:
        return f"{target} could not be written, the disk is full; free some space or choose another drive"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{target} could not be written, the folder is read-only; choose another folder"
    reason = os.strerror(code) if code else first_line(error)
    return f"{target} could not be written ({reason}); check the folder and the drive"


def lock_or_leave(handle: int) -> bool:
    """Lock an open file for this process, without waiting; False where another one holds it.

    The system releases the lock however the process ends.

    Parameters
    ----------
    handle
        Descriptor of the open file.

    Raises
    ------
    OSError
        If the drive cannot lock files at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryFile() as stream:
    ...     lock_or_leave(stream.fileno())
    True
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def sweep(folder: Path) -> None:
    """Remove what killed processes of this user left in a folder while they wrote there.

    Parameters
    ----------
    folder
        The folder.
    """
    with os.scandir(folder) as entries:
        for entry, _ in zip(entries, range(MOST_SWEPT), strict=False):
            if _LEFTOVER.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_stale(Path(entry.path))


def _remove_stale(path: Path) -> None:
    """Remove a leftover unless a living process holds it, or it is somebody else's."""
    state = os.lstat(path)
    if hasattr(os, "geteuid") and state.st_uid != os.geteuid():
        return
    if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
        return
    if not CAN_LOCK:
        _remove(path)  # fails where it is open
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if lock_or_leave(handle):
            _remove(path)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _temporary(parent: Path, folder: bool = False) -> Iterator[Path]:
    """A new file or folder for this process alone, locked, and removed at the end unless it was renamed."""
    while True:
        path = parent / f".{secrets.token_hex(6)}.cyclestrain.tmp"
        if folder:
            path.mkdir(0o700)
        handle = _opened(path, folder)
        if handle is None or _holds(handle, path):
            break
        os.close(handle)  # swept before it was locked: once more
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)
        _remove(path)


def _holds(handle: int, path: Path) -> bool:
    """Lock a new file; False where it was swept before."""
    try:
        if not lock_or_leave(handle):
            return False
    except OSError:  # a drive without locks, on which nothing is swept either
        return True
    return path.exists() and os.path.samestat(os.fstat(handle), os.lstat(path))


def _opened(path: Path, folder: bool) -> int | None:
    """Descriptor to lock; None on Windows, where an open file could not be renamed."""
    if not CAN_LOCK:
        if not folder:
            path.touch(0o600, exist_ok=False)
        return None
    flags = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _permissions(mode: int) -> int:
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask


def _meanwhile(target: Path) -> OutputError:
    return OutputError(f"{target} was created meanwhile; choose another name or overwrite it with --force")


def _settle(folder: Path) -> None:
    """Make the names in a folder last beyond a power cut, where the system can."""
    if CAN_LOCK:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for this process alone, removed at the end, or by the next run where the process is killed.

    Parameters
    ----------
    parent
        Folder in which it is made.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(_temporary(parent, folder=True))
        except OSError as error:
            raise OutputError(complaint(parent, error)) from error
        yield path


@contextmanager
def write_whole(target: Path, force: bool = False) -> Iterator[Path]:
    """Give a temporary file name beside the target, which takes its place if all goes well and vanishes otherwise.

    Parameters
    ----------
    target
        File to write.
    force
        Whether an existing file may be replaced.

    Raises
    ------
    OutputError
        If the target exists and not `force`, is no regular file, or cannot be written.
    """
    try:
        with _temporary(target.parent) as temporary:
            yield temporary
            with temporary.open("rb+") as stream:  # a power cut must not leave an empty file under the final name
                os.fsync(stream.fileno())
            temporary.chmod(_permissions(0o666))
            if _is_there(target) and not force:
                raise _meanwhile(target)
            temporary.replace(target)
            _settle(target.parent)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise OutputError(complaint(target, error)) from error


def write_csv(target: Path, rows: Iterable[Sequence[str]], force: bool = False) -> None:
    """Write rows of text as CSV, as `write_whole` does.

    Parameters
    ----------
    target, force
        As for `write_whole`.
    rows
        The header first.

    Raises
    ------
    OutputError
        As `write_whole`.
    """
    with write_whole(target, force) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def _put_back(target: Path) -> Path:
    """Name under which an old folder waits while a new one takes its place; back under its own if that was cut short.

    Parameters
    ----------
    target
        The folder.
    """
    old = target.with_name(f".{target.name}.old")
    if old.is_dir() and not old.is_symlink() and any((old / mark).is_file() for mark in _STORE):
        if os.path.lexists(target):
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(target)
    return old


@contextmanager
def write_folder(target: Path, force: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside the target, which takes its place if all goes well and vanishes otherwise.

    A folder cannot be replaced in one step: an old one is moved aside first and deleted last, so that at every moment a
    complete one is on the disk; where the process is killed between the two, the next one moves it back.

    Parameters
    ----------
    target
        Folder to write, a Zarr store.
    force
        Whether an existing store may be replaced.

    Raises
    ------
    OutputError
        If the target exists and not `force`, is no Zarr store, or cannot be written.
    """
    try:
        with _temporary(target.parent, folder=True) as temporary:
            yield temporary
            temporary.chmod(_permissions(0o777))
            old = _put_back(target)
            if _is_there(target, folder=True):
                if not force:
                    raise _meanwhile(target)
                if target.is_dir():
                    target.replace(old)
                else:
                    target.unlink()
            temporary.replace(target)
            _settle(target.parent)
        _put_back(target)
    except OSError as error:
        with suppress(OSError):  # the new one could not take the place: the old one is back
            _put_back(target)
        raise OutputError(complaint(target, error)) from error

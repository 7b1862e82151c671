"""A folder of the user's own beside an output, in which nothing leads elsewhere.

Its name is predictable, so anyone who may write beside the output can put something else there first. It is therefore
opened without following links, must belong to the user, and files in it are reached through the open folder, never
through its name again. Only files of known names are ever removed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from cyclestrain.errors import OutputError
from cyclestrain.files import lock_or_leave

__all__ = ["DamagedError", "PrivateFolder", "locked_folder"]

LOCK = "lock"
"""File that is locked while the folder is in use."""
MARK = b"\ncyclestrain state 1\n"
"""What every file ends with, before its checksum."""
_NOT_WHAT_IT_SHOULD_BE = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EINVAL)
"""Errors of opening a link, a socket, a folder, another user's file."""
TRIES = 50
"""Attempts to open a folder that another process removes at the same time."""

_HAS_HANDLES = os.open in os.supports_dir_fd and sys.platform != "win32"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | _NOFOLLOW | getattr(os, "O_NONBLOCK", 0)  # a pipe must not keep the reader waiting
_KNOWN = re.compile(
    r"(key|(calibration|knowledge|tuning|training|block[0-9]+)\.npz)(\.[0-9a-f]{8}\.tmp)?"
    r"|\.?(key\.txt|(knowledge|block[0-9]+)\.npz|training\.safetensors)(\.[a-z0-9_]{8}\.tmp)?"  # of version 0.1
)


class DamagedError(Exception):
    """A file of the folder is not what was written."""


@dataclass(frozen=True)
class PrivateFolder:
    """A folder that is open and locked; made by `locked_folder`.

    Attributes
    ----------
    path
        Its name, for messages.
    handle
        Descriptor of the open folder; None on Windows, where files are reached by name.
    """

    path: Path
    handle: int | None

    def names(self) -> list[str]:
        """Names of the files of known names, sorted."""
        where = self.path if self.handle is None else self.handle
        return sorted(name for name in os.listdir(where) if _KNOWN.fullmatch(name))

    def write(self, name: str, content: bytes, bound: str = "") -> None:
        """Write a file with a checksum; after a crash it is what it was before or what it is now.

        Parameters
        ----------
        name
            One of the known names.
        content
            What to keep.
        bound
            Text that has to be given again to `read`.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        if not _KNOWN.fullmatch(name):
            raise ValueError(f"{name} is no name of a file that is kept")
        temporary = f"{name}.{secrets.token_hex(4)}.tmp"
        handle = self._open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.write(MARK + _checksum(name, bound, content))
                stream.flush()
                os.fsync(stream.fileno())
            (old, new), at = self._at(temporary, name), self.handle
            os.replace(old, new, src_dir_fd=at, dst_dir_fd=at)
        except BaseException:
            self.remove(temporary)
            raise

    def read(self, name: str, bound: str = "") -> bytes:
        """Content of a file.

        Parameters
        ----------
        name
            One of the known names.
        bound
            Text it was written with.

        Raises
        ------
        DamagedError
            If it is not what `write` wrote.
        OSError
            If there is none, or the drive fails.
        """
        try:
            handle = self._open(name, _READ)
            with os.fdopen(handle, "rb") as stream:
                _check_own(os.fstat(stream.fileno()), self._state())
                stored = stream.read()
        except OSError as error:
            if error.errno in _NOT_WHAT_IT_SHOULD_BE:
                raise DamagedError(error.strerror or str(error)) from error
            raise
        content, mark = stored[: -(len(MARK) + 16)], stored[-(len(MARK) + 16) :]
        if mark != MARK + _checksum(name, bound, content):
            raise DamagedError("its checksum does not fit")
        return content

    def remove(self, name: str) -> None:
        """Remove a file of a known name, if it is there."""
        if _KNOWN.fullmatch(name):
            with suppress(OSError):
                os.unlink(self._at(name)[0], dir_fd=self.handle)

    def clear(self) -> None:
        """Remove every file of a known name."""
        for name in self.names():
            self.remove(name)

    def _state(self) -> os.stat_result:
        return os.stat(self.path, follow_symlinks=False) if self.handle is None else os.fstat(self.handle)

    def _at(self, *names: str) -> tuple[Any, ...]:
        return names if self.handle is not None else tuple(self.path / name for name in names)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._at(name)[0], flags, 0o600, dir_fd=self.handle)


def _checksum(name: str, bound: str, content: bytes) -> bytes:
    digest = xxhash.xxh3_128(f"{name}\n{bound}\n".encode())
    digest.update(content)
    return digest.digest()


def _check_own(file: os.stat_result, folder: os.stat_result) -> None:
    if not stat.S_ISREG(file.st_mode):
        raise DamagedError("it is no regular file")
    if file.st_uid != folder.st_uid:
        raise DamagedError("it belongs to another user")


@contextmanager
def locked_folder(path: Path, output: Path) -> Iterator[PrivateFolder]:
    """Open a folder of the user's own, made where it is missing, for this process alone.

    It is removed at the end where nothing of value is left in it, while it is still locked: a process that comes
    meanwhile finds that what it locked is no longer there, and tries again.

    Parameters
    ----------
    path
        The folder.
    output
        File that is written with its help, for messages.

    Raises
    ------
    OutputError
        If the folder is a link, or another user's, or another process holds it.
    OSError
        If it cannot be made.
    """
    for attempt in range(TRIES):
        try:
            folder, lock = _opened(path, output)
        except FileNotFoundError:  # another process has just removed it
            if not path.parent.is_dir():
                raise
            time.sleep(0.001 * attempt)
            continue
        break
    else:
        raise OutputError(f"{path} appears and disappears while it is opened; check what else writes {output}")
    try:
        yield folder
    finally:
        try:
            if not folder.names():
                _dissolve(folder, lock)
        finally:
            lock.release()
            if folder.handle is not None:
                os.close(folder.handle)


def _opened(path: Path, output: Path) -> tuple[PrivateFolder, _Lock]:
    """The folder and its lock.

    Raises
    ------
    FileNotFoundError
        If another process removed it meanwhile.
    """
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    there = os.stat(path, follow_symlinks=False)
    if not stat.S_ISDIR(there.st_mode):
        raise OutputError(
            f"{path}, where the state of the run is kept, is a link or a file and not a folder; remove it"
        )
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NOFOLLOW) if _HAS_HANDLES else None
    folder = PrivateFolder(path, handle)
    try:
        _check_owner(folder)
        lock = _Lock.of(folder, output)
        try:
            _check_place(folder, lock)
        except BaseException:
            lock.release()
            raise
    except BaseException:
        if handle is not None:
            os.close(handle)
        raise
    return folder, lock


def _check_owner(folder: PrivateFolder) -> None:
    if not _HAS_HANDLES:
        return
    owner = folder._state().st_uid
    if owner == os.geteuid():
        return
    with tempfile.TemporaryFile(dir=folder.path.parent) as mine:  # some drives take root for nobody
        if owner == os.fstat(mine.fileno()).st_uid:
            return
    raise OutputError(f"{folder.path} belongs to another user; choose another name for the output")


def _check_place(folder: PrivateFolder, lock: _Lock) -> None:
    """Make sure that the folder and its lock are still what is found under their names."""
    if not _HAS_HANDLES:
        return
    named = os.stat(folder.path, follow_symlinks=False)
    locked = os.stat(LOCK, dir_fd=folder.handle, follow_symlinks=False)
    if not (os.path.samestat(named, folder._state()) and os.path.samestat(locked, os.fstat(lock.handle))):
        raise FileNotFoundError(folder.path)


def _dissolve(folder: PrivateFolder, lock: _Lock) -> None:
    """Remove the lock and the folder; what is not of a known name stays, and the folder with it."""
    if folder.handle is None:  # Windows removes no file that is open
        lock.release()
    with suppress(OSError):
        os.unlink(folder._at(LOCK)[0], dir_fd=folder.handle)
        # By name: where another folder stands there now, or a new run has begun in this one, it is not empty and stays.
        os.rmdir(folder.path)


class _Lock:
    """The lock file of a folder, held by this process."""

    def __init__(self, handle: int, windows: Any = None) -> None:
        self.handle, self._windows = handle, windows

    @classmethod
    def of(cls, folder: PrivateFolder, output: Path) -> _Lock:
        busy = OutputError(f"another process is writing {output}; wait for it or choose another name")
        if not _HAS_HANDLES:
            return cls._of_windows(folder.path / LOCK, busy)
        try:
            handle = folder._open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | _NOFOLLOW)
        except FileNotFoundError:
            raise
        except OSError as error:
            if stat.S_ISREG(os.stat(LOCK, dir_fd=folder.handle, follow_symlinks=False).st_mode):
                raise
            raise OutputError(f"{folder.path / LOCK} is no regular file; remove it") from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OutputError(f"{folder.path / LOCK} is no regular file; remove it")
            if not lock_or_leave(handle):
                raise busy
        except OutputError:
            os.close(handle)
            raise
        except OSError as error:
            os.close(handle)
            raise OutputError(
                f"the drive of {output} cannot lock files ({error.strerror}), so that two runs could mix; "
                "write to another drive"
            ) from error
        return cls(handle)

    @classmethod
    def _of_windows(cls, path: Path, busy: OutputError) -> _Lock:
        import filelock

        held = filelock.FileLock(path, timeout=0)
        try:
            held.acquire()
        except filelock.Timeout:
            raise busy from None
        return cls(-1, held)

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._windows is not None:
            self._windows.release()
        elif self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

"""Writing of files that appear complete under their name or not at all, with one clear sentence where they cannot."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from cyclestrain.errors import OutputError
from cyclestrain.io.sources import first_line

__all__ = ["check_writable", "write_folder", "write_whole"]

PathLike: TypeAlias = "str | os.PathLike[str]"


def check_writable(path: PathLike, force: bool = False, *, folder: bool = False) -> None:
    """Make sure that a result can be written, before the long computation.

    Parameters
    ----------
    path
        The file, or with `folder` the folder, to be written.
    force
        Whether an existing one may be replaced.
    folder
        Whether the result is a folder itself, as a Zarr store is.

    Raises
    ------
    OutputError
        If it exists and not `force`, is a folder although a file is wanted, or its folder is missing or read-only.
    """
    target = Path(path)
    if target.is_dir() and not folder:
        raise OutputError(f"{target} is a folder; give the name of a file for the result")
    if target.exists() and not force:
        raise OutputError(f"{target} exists already; choose another name or overwrite it with --force")
    if not target.parent.is_dir():
        raise OutputError(f"the folder {target.parent} does not exist; create it or choose another one")
    try:  # permission bits mislead on network drives and for root: only writing is a test
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}."):
            pass
    except OSError as error:
        raise OutputError(_complaint(target, error)) from error


def _complaint(target: Path, error: BaseException) -> str:
    code = getattr(error, "errno", None)
    text = f"{os.strerror(code) if code else ''} {error}".lower()
    if code == errno.ENOSPC or "no space left" in text or "disk quota" in text:
        return f"{target} could not be written, the disk is full; free some space or choose another drive"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{target} could not be written, the folder is read-only; choose another folder"
    reason = os.strerror(code) if code else first_line(error)
    return f"{target} could not be written ({reason}); check the folder and the drive"


def _permissions(mode: int) -> int:
    umask = os.umask(0)
    os.umask(umask)
    return mode & ~umask


def _meanwhile(target: Path) -> OutputError:
    return OutputError(f"{target} was created meanwhile; choose another name or overwrite it with --force")


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
        If the target exists and not `force`, or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb+") as stream:  # a power cut must not leave an empty file under the final name
                os.fsync(stream.fileno())
            temporary.chmod(_permissions(0o666))
            if not force and target.exists():
                raise _meanwhile(target)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # HDF5 reports a full disk as either
        raise OutputError(_complaint(target, error)) from error


@contextmanager
def write_folder(target: Path, force: bool = False) -> Iterator[Path]:
    """Give a temporary folder beside the target, which takes its place if all goes well and vanishes otherwise.

    A folder cannot be replaced in one step: an old one is moved aside first and deleted last, so that at every moment a
    complete one is on the disk.

    Parameters
    ----------
    target
        Folder to write.
    force
        Whether an existing folder may be replaced.

    Raises
    ------
    OutputError
        If the target exists and not `force`, or cannot be written.
    """
    try:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
        old = temporary.with_suffix(".old")
        try:
            yield temporary
            temporary.chmod(_permissions(0o777))
            if target.exists():
                if not force:
                    raise _meanwhile(target)
                target.replace(old)
            temporary.replace(target)
        finally:
            if not target.exists() and old.exists():  # the new one could not take the place: the old one is back
                old.replace(target)
            for left in (temporary, old):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(_complaint(target, error)) from error

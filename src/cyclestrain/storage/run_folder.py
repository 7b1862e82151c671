"""State of a long run on disk: a run that was ended at any moment is resumed by the same command.

A run folder lies beside the output and holds what was learned and every finished block, each file complete or absent.
It belongs to one key, the input's fingerprint with the settings and versions; any other key starts anew. Nothing in it
is ever unpickled: arrays are ``.npz``, the tree of containers around them is JSON, and only the classes the caller
names are made from it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray
from cyclestrain.errors import InputError, OutputError, ReadError
from cyclestrain.io import write_whole
from cyclestrain.storage.containers import decode, encode

__all__ = ["RunFolder", "run_folder", "run_key"]

KEY, LOCK, TREE = "key.txt", "lock", "tree"
"""File with the key, file that is locked, and array that holds the tree of containers."""


def run_key(**parts: str) -> str:
    """Name of a run: the same for the same input, settings and versions.

    Examples
    --------
    >>> run_key(scan="abc", settings="{}") == run_key(settings="{}", scan="abc")
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with write_whole(path, force=True) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Arrays of a file, None where it is absent or damaged: then the work is done again."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


@dataclass(frozen=True)
class RunFolder:
    """State that an unfinished run has reached; made by `run_folder`."""

    path: Path

    def save(self, name: str, value: Any) -> None:
        """Keep a value.

        Parameters
        ----------
        name
            Name under which `load` finds it.
        value
            A tree as `cyclestrain.storage.encode` takes it.
        """
        arrays: dict[str, NDArray[Any]] = {}
        tree = json.dumps(encode(value, arrays, name))
        _write(self.path / f"{name}.npz", arrays | {TREE: np.frombuffer(tree.encode(), np.uint8)})

    def load(self, name: str, classes: Sequence[type]) -> Any:
        """Value that was kept under a name, or None where there is none or it is damaged.

        Parameters
        ----------
        name
            Name under which it was kept.
        classes
            Dataclasses that may be made from the file.
        """
        arrays = _read(self.path / f"{name}.npz")
        if arrays is None or TREE not in arrays:
            return None
        try:
            tree = json.loads(arrays.pop(TREE).tobytes())
            return decode(tree, arrays, classes)
        except (ValueError, KeyError, TypeError):  # written by another version of the package
            return None

    def save_block(self, first: int, outcome: Mapping[str, NDArray[Any]]) -> None:
        """Keep the outcome of a block of consecutive positions.

        Parameters
        ----------
        first
            Flat index of the first position.
        outcome
            Arrays by name, shape ``(n, ...)`` each.
        """
        _write(self.path / f"block{first}.npz", outcome)

    def restore(self, outcome: Mapping[str, NDArray[Any]]) -> BoolArray:
        """Fill the finished blocks into `outcome`, arrays over all positions, and return the mask of what they hold."""
        n_all = min(len(array) for array in outcome.values())
        finished = np.zeros(n_all, bool)
        for path in self.path.glob("block*.npz"):
            stored, number = _read(path), path.stem.removeprefix("block")
            if stored is None or not number.isdigit() or stored.keys() != outcome.keys():
                continue
            first, sizes = int(number), {len(array) for array in stored.values()}
            n = sizes.pop()
            fits = all(stored[name].shape[1:] == array.shape[1:] for name, array in outcome.items())
            if sizes or not fits or first + n > n_all:
                continue
            for name, array in outcome.items():
                array[first : first + n] = stored[name]
            finished[first : first + n] = True
        return finished


def _locked(stream: IO[str]) -> bool:
    """Whether this process now holds the lock, which the system releases however the process ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows: two runs at once only do the work twice
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holds(folder: Path, key: str) -> bool:
    try:
        return (folder / KEY).read_text(encoding="utf-8") == key
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def run_folder(output: Path, key: str, *, resume: bool = False) -> Iterator[RunFolder]:
    """Open the run folder of an output, which is resumed if it belongs to the key and emptied otherwise.

    It is removed when the ``with`` block ends without an error, which has to be after the result was saved, or with an
    `InputError`, which the same command would meet again. After a `ReadError` it is kept, since a drive may come back.

    Parameters
    ----------
    output
        File that the run will write.
    key
        Name of the run, see `run_key`.
    resume
        Whether the folder must belong to the key and hold something.

    Raises
    ------
    InputError
        If there is nothing to resume although `resume` is set.
    OutputError
        If the folder cannot be made, or another process is writing the same output.
    """
    folder = output.with_name(f".{output.name}.run")
    if resume and not (_holds(folder, key) and any(folder.glob("*.npz"))):
        raise InputError(
            f"there is nothing to resume: no interrupted run of this scan with these settings was writing {output}; "
            "leave out --resume to begin one"
        )
    try:
        folder.mkdir(exist_ok=True)
        with (folder / LOCK).open("w") as lock:
            if not _locked(lock):
                raise OutputError(f"another process is writing {output}; wait for it or choose another name")
            if not _holds(folder, key):
                for left in folder.iterdir():
                    if left.name != LOCK:
                        left.unlink()
                with write_whole(folder / KEY, force=True) as temporary:
                    temporary.write_text(key, encoding="utf-8")
            try:
                yield RunFolder(folder)
            except KeyboardInterrupt as stop:
                stop.add_note("the same command goes on where it was")
                raise
            except InputError as error:
                if not (isinstance(error, ReadError) and any(folder.glob("*.npz"))):
                    shutil.rmtree(folder, ignore_errors=True)
                raise
        shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the state of the run cannot be kept in {folder} ({reason}); check the drive") from error

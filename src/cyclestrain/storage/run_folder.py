"""State of a long run on disk: a run that was ended at any moment is resumed by the same command.

A run folder lies beside the output and holds what was calibrated and learned, every epoch of a training and every
finished block of the first pass, each file complete, with a checksum, or absent. It belongs to one key: the input's
place, size and time of change, its settings and versions; any other key starts anew. With each part of the state go the
hashes of the patterns that it was made from: a run goes on only where all of these are still the same. Nothing in it is
ever unpickled: arrays are ``.npz``, the tree of containers around them is JSON, and only the classes the caller names
are made from it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import BoolArray, Scan
from cyclestrain.errors import InputError, OutputError, ReadError
from cyclestrain.files import complaint
from cyclestrain.io import Contents, contents_of
from cyclestrain.storage.containers import decode, encode
from cyclestrain.storage.private_folder import DamagedError, PrivateFolder, locked_folder

__all__ = ["Rehash", "RunFolder", "run_folder", "run_key"]

KEY, TREE, CONTENTS = "key", "tree", "contents"
"""File with the key, and arrays that hold the tree of containers and the hashes of the patterns."""
Rehash: TypeAlias = Callable[[Scan, BoolArray], NDArray[np.uint64]]
"""Reads a scan again, except for blocks all of whose positions are masked, and gives the hashes, 0 where not read."""
_BLOCK = re.compile(r"block([0-9]+)\.npz")


def run_key(**parts: str) -> str:
    """Name of a run: the same for the same input, settings and versions.

    Examples
    --------
    >>> run_key(scan="abc", settings="{}") == run_key(settings="{}", scan="abc")
    True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class RunFolder:
    """State that an unfinished run has reached; made by `run_folder`.

    Attributes
    ----------
    folder
        Where it is kept.
    key
        Name of the run.
    note
        Called with a sentence where a part of the state cannot be used.
    contents
        Hashes of the patterns that were read so far, which are kept with everything that was made from them; None to
        keep none.
    """

    folder: PrivateFolder
    key: str
    note: Callable[[str], object] = _silent
    contents: Contents | None = None

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
        read = {CONTENTS: self.contents.seen} if self.contents else {}
        self._write(name, arrays | read | {TREE: np.frombuffer(tree.encode(), np.uint8)})

    def load(self, name: str, classes: Sequence[type]) -> Any:
        """Value that was kept under a name, or None where there is none or it is damaged, which is noted.

        Parameters
        ----------
        name
            Name under which it was kept.
        classes
            Dataclasses that may be made from the file.
        """
        arrays = self._read(name)
        if arrays is None:
            return None
        try:
            arrays.pop(CONTENTS, None)
            tree = json.loads(arrays.pop(TREE).tobytes())
            return decode(tree, arrays, classes)
        except Exception as error:  # whatever a file that was tampered with leads to
            self.refuse(name, error)
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
        n = min(len(array) for array in outcome.values())
        read = {CONTENTS: self.contents.seen[first : first + n]} if self.contents else {}
        self._write(f"block{first}", {**outcome, **read})

    def restore(self, outcome: Mapping[str, NDArray[Any]]) -> BoolArray:
        """Fill the finished blocks into `outcome`, arrays over all positions, and return the mask of what they hold."""
        n_all = min(len(array) for array in outcome.values())
        finished = np.zeros(n_all, bool)
        for first, stored in self._blocks():
            stored.pop(CONTENTS, None)
            sizes = {len(array) for array in stored.values() if array.ndim}
            if stored.keys() != outcome.keys() or len(sizes) != 1 or first + min(sizes) > n_all:
                continue
            if not all(stored[name].shape[1:] == array.shape[1:] for name, array in outcome.items()):
                continue
            part = slice(first, first + sizes.pop())
            for name, array in outcome.items():
                array[part] = stored[name]
            finished[part] = True
        return finished

    def refuse(self, name: str, error: Exception) -> None:
        """Note that what was kept under a name cannot be used, and remove it, so that no later run meets it.

        Parameters
        ----------
        name
            Name under which it was kept.
        error
            What is wrong with it.
        """
        self.note(f"{name} of the interrupted run is damaged ({error}); what it held is computed anew")
        self.folder.remove(f"{name}.npz")

    @property
    def kept(self) -> str:
        """What the same command would go on with, in words."""
        names = self.folder.names()
        blocks = sum(bool(_BLOCK.fullmatch(name)) for name in names)
        parts = {
            "knowledge.npz": "the dictionary",
            "tuning.npz": "the tuned settings",
            "training.npz": "the finished epochs of the network",
        }
        said = [text for name, text in parts.items() if name in names]
        if not said and "calibration.npz" in names:
            said = ["the calibration"]
        return " and ".join([*said, *([f"{blocks} finished blocks of patterns"] if blocks else [])])

    def outdated(self, scan: Scan, hashes: Rehash | None = None) -> bool:
        """Whether a pattern behind the state is no longer what it was: all of them are read again.

        Parameters
        ----------
        scan
            The scan as it is now.
        hashes
            Reads them elsewhere; by default they are read here.
        """
        behind = np.zeros(scan.n_positions, np.uint64)
        for name in self.folder.names():
            arrays = self._read(name.removesuffix(".npz")) if name.endswith(".npz") else None
            part = None if arrays is None else arrays.get(CONTENTS)
            found = _BLOCK.fullmatch(name)
            first = int(found[1]) if found else 0
            if part is None or part.dtype != behind.dtype or first + part.size > behind.size:
                continue
            here = behind[first : first + part.size]
            if ((here != 0) & (part != 0) & (here != part)).any():
                return True
            here[part != 0] = part[part != 0]
        now = (hashes or _hashes_now)(scan, behind == 0)
        return bool((now[behind != 0] != behind[behind != 0]).any())

    def _blocks(self) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        for name in self.folder.names():
            if found := _BLOCK.fullmatch(name):
                stored = self._read(name.removesuffix(".npz"))
                if stored is not None:
                    yield int(found[1]), stored

    def _write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        image = io.BytesIO()
        try:
            np.savez(image, allow_pickle=False, **arrays)
            self.folder.write(f"{name}.npz", image.getvalue(), self.key)
        except OSError as error:
            raise OutputError(complaint(self.folder.path / name, error)) from error

    def _read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Arrays of a file, None where it is absent or damaged: then the work is done again."""
        try:
            content = self.folder.read(f"{name}.npz", self.key)
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return {each: stored[each] for each in stored.files}
        except FileNotFoundError:
            return None
        except Exception as error:  # NumPy's parser and zipfile raise whatever a file that was tampered with leads to
            self.refuse(name, error)
            return None


def _hashes_now(scan: Scan, done: BoolArray) -> NDArray[np.uint64]:
    contents = contents_of(scan)
    for _ in scan.blocks(done=done):  # reading records the hashes
        pass
    return contents.seen


def _holds(folder: PrivateFolder, key: str) -> bool:
    try:
        return folder.read(KEY, KEY) == key.encode()
    except (FileNotFoundError, DamagedError):  # what it belongs to is not known: the state of another run
        return False


@contextmanager
def run_folder(
    output: Path,
    key: str,
    scan: Scan | None = None,
    *,
    resume: bool = False,
    note: Callable[[str], object] = _silent,
    hashes: Rehash | None = None,
) -> Iterator[RunFolder]:
    """Open the run folder of an output, which is resumed if it belongs to the key and emptied otherwise.

    It is removed when the ``with`` block ends without an error, which has to be after the result was saved, or with an
    `InputError`, which the same command would meet again. After a `ReadError` it is kept, since a drive may come back.

    Parameters
    ----------
    output
        File that the run will write.
    key
        Name of the run, see `run_key`.
    scan
        Scan whose patterns, all that the state was made from, must still be the same; None not to look.
    resume
        Whether the folder must belong to the key and hold something.
    note
        Called with a sentence where the state, or a part of it, cannot be used.
    hashes
        Reads the patterns behind a state again and hashes them; by default they are read here.

    Raises
    ------
    InputError
        If there is nothing to resume although `resume` is set.
    OutputError
        If the folder cannot be made or is not the user's, or another process is writing the same output.
    """
    path = output.with_name(f".{output.name}.run")
    nothing = InputError(
        f"there is nothing to resume: no interrupted run of this scan with these settings was writing {output}; "
        "leave out --resume to begin one"
    )
    if resume and not path.is_dir():
        raise nothing
    try:
        with locked_folder(path, output) as folder:
            run = RunFolder(folder, key, note, contents_of(scan) if scan else None)
            if resume and not (_holds(folder, key) and run.kept):
                raise nothing
            with _kept_or_cleared(run):
                _claim(run, scan, hashes)
                yield run
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"the state of the run cannot be kept in {path} ({reason}); check the drive") from error


def _claim(run: RunFolder, scan: Scan | None, hashes: Rehash | None) -> None:
    """Empty the folder unless what it holds is of this run, and of the scan as it is now."""
    mine = _holds(run.folder, run.key)
    if mine and scan is not None and run.outdated(scan, hashes):
        run.note("the scan has changed since the run was interrupted; it is mapped anew")
        mine = False
    for name in run.folder.names():
        if not mine or name.endswith(".tmp"):
            run.folder.remove(name)
    if not mine:
        run.folder.write(KEY, run.key.encode(), KEY)


@contextmanager
def _kept_or_cleared(run: RunFolder) -> Iterator[None]:
    """Keep the state where the same command can go on with it, and remove it otherwise."""
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = run.kept
        stop.add_note(
            f"the same command goes on where it was, with {kept}" if kept else "nothing was kept yet: it begins anew"
        )
        if not kept:
            run.folder.clear()
        raise
    except BaseException as error:
        again = isinstance(error, InputError) and not isinstance(error, ReadError)
        if again or not run.kept:
            run.folder.clear()
        raise
    run.folder.clear()

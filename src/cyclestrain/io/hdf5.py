"""HDF5 files of every layout: py4DSTEM and EMD, MATLAB v7.3, Dectris and NeXus, plain data sets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from cyclestrain.errors import CyclestrainError, InputError, first_line
from cyclestrain.io.counted import FRAMES, is_counted, load_counted
from cyclestrain.io.emd import calibrated
from cyclestrain.io.hdf5_links import check_links, check_sources
from cyclestrain.io.hyperspy_files import hyperspy_signal, in_hyperspy_layout
from cyclestrain.io.loaded import Candidate, Loaded, check_unpacked, choose, missing_parts
from cyclestrain.io.matlab import axis_order, is_matlab
from cyclestrain.io.sources import Concatenated, view_axes

__all__ = ["check_ahead", "has_hdf5_signature", "load_hdf5", "new_hdf5", "open_hdf5", "vendor_layout"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file."""
CHUNK_CACHE = 64 * 2**20
"""Cache of decompressed chunks for each data set, bytes."""
MOST_OBJECTS = 50_000
"""Largest number of objects of a file that are inspected, so that no file keeps the reader busy."""

_PART = re.compile(r"^data_\d{6}$")


def has_hdf5_signature(path: Path) -> bool:
    """Whether `path` starts like an HDF5 file (MATLAB and others put up to 2 KiB before it)."""
    with path.open("rb") as stream:
        head = stream.read(2048 + len(SIGNATURE))
    return any(head[start : start + len(SIGNATURE)] == SIGNATURE for start in (0, 512, 1024, 2048))


def check_ahead(paths: Iterable[Path]) -> None:
    """Begin to check the HDF5 files among `paths` in the background, so that opening them soon does not wait for it.

    Parameters
    ----------
    paths
        Files and whatever else; what is wrong with one is said where it is opened.
    """

    def check(path: Path) -> None:
        with suppress(CyclestrainError, OSError):
            if path.is_file() and has_hdf5_signature(path):
                check_links(path)

    for path in paths:
        Thread(target=check, args=(path,), daemon=True).start()


def open_hdf5(path: Path) -> Any:
    """Open `path` for reading, with all compression filters there are; the data sets keep the file open.

    Raises
    ------
    InputError
        If the file is truncated or no HDF5 file, or refers to what is no file, see `check_links`.
    """
    import h5py

    with suppress(ImportError):
        import hdf5plugin  # noqa: F401  (registers bitshuffle, LZ4, Blosc, Zstandard)

    check_links(path)
    try:
        return h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE, rdcc_nslots=10_007)
    except (OSError, RuntimeError, KeyError) as error:
        text = first_line(error)
        what = "is a truncated HDF5 file" if "truncated" in text else "starts like HDF5 but cannot be opened"
        raise InputError(f"{path} {what} ({text}); copy it again from its origin") from error


@contextmanager
def new_hdf5(path: Path, **options: Any) -> Iterator[Any]:
    """Give a new HDF5 file in memory, which is written to the disk in one go at the end.

    HDF5 crashes where a disk fills up, or goes away, under a file that is open.

    Parameters
    ----------
    path
        File to write.
    **options
        Options of `h5py.File`.
    """
    import h5py

    image = BytesIO()
    with h5py.File(image, "w", **options) as file:
        yield file
    path.write_bytes(image.getbuffer())


def vendor_layout(path: Path) -> str | None:
    """Name of the RosettaSciIO reader that fits the layout of this file best, or None to read it here.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        with open_hdf5(path) as file:
            velox = "Version" in file and "Data" in file
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise InputError(f"{path} is a damaged HDF5 file ({first_line(error)}); copy it again") from error
    if velox:
        return "EMD"
    return "Topspin" if path.suffix.lower() == ".app5" else None


def _children(group: Any) -> Iterator[tuple[str, Any]]:
    for key in group:
        try:
            yield key, group[key]
        except (KeyError, OSError, RuntimeError):  # a link to nowhere
            continue


def _walk(file: Any) -> dict[str, Any]:
    """Find data sets by path and, as lists of parts, the stacks that Dectris detectors split; not ``/truth``."""
    import h5py

    found: dict[str, Any] = {}
    todo, seen, n_objects = [("", file)], set(), 0
    while todo and n_objects < MOST_OBJECTS:
        name, group = todo.pop(0)
        parts = []
        for key, item in _children(group):
            n_objects += 1
            path = f"{name}/{key}"
            info = h5py.h5o.get_info(item.id)
            identity = (item.file.filename, info.addr)
            if path == "/truth" or identity in seen:
                continue
            seen.add(identity)
            if isinstance(item, h5py.Group):
                todo.append((path, item))
            elif isinstance(item, h5py.Dataset) and item.shape is not None:
                if _PART.match(key) and len(item.shape) == 3:
                    parts.append(item)
                else:
                    found[path] = item
        if parts:
            found[name or "/"] = parts
    return found


def _join(parts: list[Any], path: Path) -> Any:
    if len({(part.shape[1:], part.dtype) for part in parts}) > 1:
        raise InputError(f"{path}: its data files hold patterns of different shapes; name one of them instead")
    return parts[0] if len(parts) == 1 else Concatenated(tuple(parts))


def _detached(file: Any) -> InputError | None:
    """Return the complaint about a Dectris master file whose data files are missing."""
    group = file.get("entry/data")
    if not hasattr(group, "keys") or not any(_PART.match(key) and group.get(key) is None for key in group):
        return None
    return InputError(f"{file.filename} keeps its patterns in other files, which are missing; put them beside it")


def _scan_shape_beside(path: Path) -> tuple[int, int] | None:
    """Scan shape of an Arina recording, which the microscope notes in ``NAME.h5`` beside ``NAME_master.h5``."""
    notes = path.with_name(path.name.replace("_master", ""))
    if notes == path or not notes.is_file():
        return None
    try:
        with open_hdf5(notes) as file:
            attributes = file["STEM Metadata"].attrs
            return int(attributes["NumPixelsY"]), int(attributes["NumPixelsX"])
    except (InputError, KeyError, TypeError, ValueError):
        return None


def _written(dataset: Any) -> bool:
    storage: int = dataset.id.get_storage_size()
    return storage > 0 or bool(dataset.is_virtual) or bool(dataset.external)


def _missing(dataset: Any, path: Path) -> dict[str, str]:
    """Check the size of the chunks that a data set is stored in, and say how many were never written.

    Raises
    ------
    InputError
        If a single chunk is too large to be unpacked.
    """
    if dataset.chunks is None:
        return {}
    check_unpacked(math.prod(dataset.chunks) * dataset.dtype.itemsize, f"{path}: a chunk of {dataset.name}")
    expected = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, dataset.chunks, strict=True))
    return missing_parts(dataset.id.get_num_chunks(), expected)


def load_hdf5(path: Path, dataset: str | None) -> Loaded:
    """Open the scan in an HDF5 file, lazily.

    Parameters
    ----------
    path
        The file.
    dataset
        Name of the data set; None to choose by shape.

    Raises
    ------
    InputError
        If the file is damaged or incomplete, or which data set is the scan is not clear, see
        `cyclestrain.io.loaded.choose`.
    """
    try:
        return _load(open_hdf5(path), path, dataset)
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is a damaged HDF5 file ({first_line(error)}); copy it again") from error


def _check_filters(found: Any, path: Path) -> None:
    """Refuse what was compressed in a way that is not installed here, instead of failing at its first pattern."""
    import h5py

    first = found[0] if isinstance(found, list) else found
    settings = first.id.get_create_plist()
    filters = [settings.get_filter(k) for k in range(settings.get_nfilters())]
    missing = [str(one[0]) for one in filters if not h5py.h5z.filter_avail(one[0])]
    if missing:
        raise InputError(
            f"{path} is compressed with HDF5 filter {', '.join(missing)}, which is not installed here; "
            "pip install 'cyclestrain[formats]'"
        )


def _load(file: Any, path: Path, dataset: str | None) -> Loaded:
    if (dataset is None or dataset.strip("/") in (FRAMES, FRAMES.split("/")[0])) and is_counted(file):
        _check_filters(file[FRAMES], path)
        check_sources(file[FRAMES])
        return load_counted(file, path)
    found = _walk(file)
    shown = {name: _join(item, path) if isinstance(item, list) else item for name, item in found.items()}
    candidates = [
        Candidate(name, tuple(int(size) for size in item.shape), np.dtype(item.dtype)) for name, item in shown.items()
    ]
    detached = _detached(file)
    if detached is not None and not any(isinstance(item, list) for item in found.values()):
        raise detached
    picked = choose(candidates, str(path), dataset)
    _check_filters(found[picked.name], path)
    array = shown[picked.name]
    if isinstance(array, Concatenated) or isinstance(found[picked.name], list):
        n_positions, beside = picked.shape[0], _scan_shape_beside(path)
        fits = beside is not None and beside[0] * beside[1] == n_positions
        return Loaded(array, beside if fits else None, metadata={"dataset": picked.name})
    if 0 not in picked.shape and not _written(array):
        raise InputError(f"{path}: {picked} is declared but was never written; name another data set with --dataset")
    check_sources(array)
    missing = _missing(array, path)
    if "MATLAB_class" in array.attrs or is_matlab(path):
        order = axis_order(array)
        notes = {"dataset": picked.name, "matlab_axes": str(order), **missing}
        return Loaded(view_axes(array, order), metadata=notes)
    known = in_hyperspy_layout(array.parent)
    loaded = hyperspy_signal(array, array.parent) if known else calibrated(array)
    return replace(loaded, metadata={"dataset": picked.name, **missing, **loaded.metadata})

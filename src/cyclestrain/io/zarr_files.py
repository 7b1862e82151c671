"""Zarr arrays and groups, versions 2 and 3, as folders or zip files; HyperSpy's `.zspy` among them."""

from __future__ import annotations

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.errors import InputError, first_line
from cyclestrain.io.hyperspy_files import hyperspy_signal, in_hyperspy_layout
from cyclestrain.io.loaded import Candidate, Loaded, check_unpacked, choose, missing_parts

__all__ = ["is_zarr", "load_zarr"]

_MARKS = (".zarray", ".zgroup", "zarr.json")
_DESCRIPTIONS = frozenset({".zarray", "zarr.json"})
_CHUNK = re.compile(r"(c[/.])?[0-9]+([/.][0-9]+)*|c")
LARGEST_DESCRIPTION = 2**24
"""Largest description of an array or group, and largest overhead of a chunk, bytes."""


def is_zarr(path: Path) -> bool:
    """Whether the folder `path` is a Zarr array or group."""
    return any((path / mark).is_file() for mark in _MARKS)


def _arrays(path: Path) -> list[str]:
    """Names of the arrays in a store, without those of Python objects, as HyperSpy keeps markers in.

    Those are never loaded, and one of them is enough for Zarr to refuse to list the others.
    """
    found = _descriptions_in_zip(path) if path.is_file() else _descriptions_in_folder(path)
    return [name for name, described in found if _is_array(described) and described.get("dtype") != "|O"]


def _is_array(description: dict[str, Any]) -> bool:
    return "dtype" in description or description.get("node_type") == "array"


def _described(content: bytes) -> dict[str, Any]:
    description = json.loads(content)
    if not isinstance(description, dict):
        raise ValueError("its metadata is no JSON object")
    return description


def _descriptions_in_zip(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name, _, file = member.filename.rpartition("/")
            if file in _DESCRIPTIONS:
                if member.file_size > LARGEST_DESCRIPTION:
                    raise ValueError(f"{member.filename} takes {member.file_size} bytes")
                yield name, _described(archive.read(member))


def _descriptions_in_folder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder, below, files in os.walk(path):
        for file in _DESCRIPTIONS.intersection(files):
            place = Path(folder) / file
            if place.stat().st_size > LARGEST_DESCRIPTION:
                raise ValueError(f"{place} takes {place.stat().st_size} bytes")
            description = _described(place.read_bytes())
            if _is_array(description):
                below.clear()  # chunks
            yield Path(folder).relative_to(path).as_posix(), description


def _check_members(path: Path) -> None:
    """Make sure that everything in a folder is a file or a folder: Zarr would wait for ever for a pipe.

    Raises
    ------
    InputError
        If something else is in it.
    """
    todo = [str(path)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                elif not entry.is_file() and not entry.is_dir():
                    raise InputError(f"{path} holds {entry.path}, which is no regular file; copy the store again")


def _check_chunks(array: Any, path: Path, name: str) -> dict[str, str]:
    """Check the size of the parts an array is stored in, and say how many were never written.

    Raises
    ------
    InputError
        If parts have no size, a single one is too large to be unpacked, or a file of one is larger than it can be.
    """
    place = f"{path}: a chunk of {name or 'the array'}"
    dtype = np.dtype(array.dtype)
    if not all(size > 0 for size in (*array.chunks, *(array.shards or ()))):
        raise InputError(f"{place} has a side of 0 values; write or copy the store again")
    largest = math.prod(array.chunks) * dtype.itemsize
    check_unpacked(largest, place)
    stored = _stored_chunks(path, name)
    whole = math.prod(array.shards or array.chunks) * dtype.itemsize
    for file, size in stored:
        if size > 2 * whole + LARGEST_DESCRIPTION:
            raise InputError(f"{place} of {whole} bytes is stored in {size} bytes of {file}, it seems damaged")
    parts = array.shards or array.chunks
    expected = math.prod(-(-size // part) for size, part in zip(array.shape, parts, strict=True))
    return missing_parts(len(stored), expected)


def _stored_chunks(path: Path, name: str) -> list[tuple[str, int]]:
    """Files of the chunks of an array in a store, with their sizes."""
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            inside = [
                (member.filename.removeprefix(name).lstrip("/"), member.file_size)
                for member in archive.infolist()
                if member.filename.startswith(name)
            ]
    else:
        home = path / name
        files = (Path(folder, file) for folder, _, files in os.walk(home) for file in files)
        inside = [(file.relative_to(home).as_posix(), file.stat().st_size) for file in files]
    return [(file, size) for file, size in inside if _CHUNK.fullmatch(file)]


def load_zarr(path: Path, dataset: str | None) -> Loaded:
    """Open the scan of a Zarr store, which is read chunk by chunk.

    Parameters
    ----------
    path
        Folder or zip file.
    dataset
        Name of the array; None to choose by shape.

    Raises
    ------
    InputError
        If the store cannot be read, or which array is the scan is not clear, see `cyclestrain.io.loaded.choose`.
    """
    if find_spec("zarr") is None:
        raise InputError(f"{path} is a Zarr store, which needs another package: pip install 'cyclestrain[formats]'")
    import zarr
    from zarr.storage import ZipStore

    if path.is_dir():
        _check_members(path)
    try:
        store: Any = ZipStore(path, mode="r") if path.is_file() else str(path)
        root = zarr.open(store, mode="r")
        if isinstance(root, zarr.Array):
            return Loaded(root, metadata={"dataset": root.path, **_check_chunks(root, path, "")})
        arrays: dict[str, Any] = {name: root[name] for name in _arrays(path)}
        for name, item in arrays.items():
            if not isinstance(item, zarr.Array):
                raise ValueError(f"{name} is described as an array, but without its shape")
    except InputError:
        raise
    except Exception as error:  # Zarr raises whatever its store, codec or JSON raised
        raise InputError(
            f"{path} is not a readable Zarr store ({first_line(error)}); write or copy it again"
        ) from error
    candidates = [Candidate(name, tuple(item.shape), np.dtype(item.dtype)) for name, item in arrays.items()]
    picked = choose(candidates, str(path), dataset)
    array, parent = arrays[picked.name], picked.name.rpartition("/")[0]
    missing = _check_chunks(array, path, picked.name)
    group: Any = root[parent] if parent else root
    loaded = hyperspy_signal(array, group) if in_hyperspy_layout(group) else Loaded(array)
    return replace(loaded, metadata={"dataset": picked.name, **missing, **loaded.metadata})

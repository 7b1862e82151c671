"""Zarr arrays and groups, versions 2 and 3, as folders or zip files; HyperSpy's `.zspy` among them."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.io.hyperspy_files import hyperspy_signal, in_hyperspy_layout
from cyclestrain.io.loaded import Candidate, Loaded, choose
from cyclestrain.io.sources import first_line

__all__ = ["is_zarr", "load_zarr"]

_MARKS = (".zarray", ".zgroup", "zarr.json")
_DESCRIPTIONS = frozenset({".zarray", "zarr.json"})


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
        for member in archive.namelist():
            name, _, file = member.rpartition("/")
            if file in _DESCRIPTIONS:
                yield name, _described(archive.read(member))


def _descriptions_in_folder(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for folder, below, files in os.walk(path):
        for file in _DESCRIPTIONS.intersection(files):
            description = _described((Path(folder) / file).read_bytes())
            if _is_array(description):
                below.clear()  # chunks
            yield Path(folder).relative_to(path).as_posix(), description


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

    try:
        store: Any = ZipStore(path, mode="r") if path.is_file() else str(path)
        root = zarr.open(store, mode="r")
        if isinstance(root, zarr.Array):
            return Loaded(root, metadata={"dataset": root.path})
        arrays: dict[str, Any] = {name: root[name] for name in _arrays(path)}
    except Exception as error:  # Zarr raises whatever its store, codec or JSON raised
        raise InputError(
            f"{path} is not a readable Zarr store ({first_line(error)}); write or copy it again"
        ) from error
    candidates = [Candidate(name, tuple(item.shape), np.dtype(item.dtype)) for name, item in arrays.items()]
    picked = choose(candidates, str(path), dataset)
    array, parent = arrays[picked.name], picked.name.rpartition("/")[0]
    group: Any = root[parent] if parent else root
    loaded = hyperspy_signal(array, group) if in_hyperspy_layout(group) else Loaded(array)
    return replace(loaded, metadata={"dataset": picked.name, **loaded.metadata})

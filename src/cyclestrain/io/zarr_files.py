"""Zarr arrays and groups, versions 2 and 3, as folders or zip files; HyperSpy's `.zspy` among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.io.hyperspy_files import hyperspy_signal, in_hyperspy_layout
from cyclestrain.io.loaded import Candidate, Loaded, choose
from cyclestrain.io.sources import first_line

__all__ = ["is_zarr", "load_zarr"]

_MARKS = (".zarray", ".zgroup", "zarr.json")


def is_zarr(path: Path) -> bool:
    """Whether the folder `path` is a Zarr array or group."""
    return any((path / mark).is_file() for mark in _MARKS)


def load_zarr(path: Path, dataset: str | None) -> Loaded:
    """Find the array of a Zarr store, read chunk by chunk."""
    import zarr
    from zarr.storage import ZipStore

    try:
        store: Any = ZipStore(path, mode="r") if path.is_file() else str(path)
        root = zarr.open(store, mode="r")
        if isinstance(root, zarr.Array):
            return Loaded(root, metadata={"dataset": root.path})
        arrays = {name: item for name, item in root.members(max_depth=None) if isinstance(item, zarr.Array)}
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

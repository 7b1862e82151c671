"""The result file: one `xarray.Dataset` in one netCDF/HDF5 file, written whole or not at all."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cyclestrain.errors import InputError, first_line
from cyclestrain.files import check_writable, write_whole
from cyclestrain.io.hdf5 import has_hdf5_signature, open_hdf5

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["load_group", "load_result", "open_group", "save_result"]

PathLike: TypeAlias = "str | os.PathLike[str]"

VERSION_ATTRIBUTE = "cyclestrain_version"
"""Attribute that every result file has."""
SMALLEST_COMPRESSED = 1024
"""Number of values from which an array is compressed."""


def _attribute(value: Any) -> Any:
    """Convert an attribute to what netCDF stores: text, number or array of numbers; anything nested as JSON."""
    if isinstance(value, bool | np.bool_):
        return np.int8(value)
    if isinstance(value, str | int | float | np.integer | np.floating):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return value.astype(np.int8)
    if isinstance(value, np.ndarray) and value.dtype.kind in "uif" and value.ndim == 1:
        return value
    if isinstance(value, list | tuple) and value and all(type(item) in (int, float) for item in value):
        return np.asarray(value)
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return str(value)


def _prepared(dataset: xr.Dataset) -> xr.Dataset:
    prepared = dataset.copy()
    prepared.attrs = {str(key): _attribute(value) for key, value in dataset.attrs.items()}
    for name in prepared.variables:
        attributes = prepared[name].attrs
        prepared[name].attrs = {str(key): _attribute(value) for key, value in attributes.items()}
    return prepared


def _encoding(dataset: xr.Dataset) -> dict[Any, dict[str, Any]]:
    light = {"zlib": True, "complevel": 1, "shuffle": True}
    return {
        name: light | {key: sizes for key, sizes in variable.encoding.items() if key == "chunksizes"}
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "uifb" and variable.size >= SMALLEST_COMPRESSED
    }


def _this_version() -> str:
    try:
        return version("cyclestrain")
    except PackageNotFoundError:
        return "unknown"


def save_result(
    dataset: xr.Dataset, path: PathLike, force: bool = False, groups: Mapping[str, xr.Dataset] | None = None
) -> None:
    """Write a result atomically.

    Parameters
    ----------
    dataset
        The maps. Attributes may be text, numbers, arrays or anything that JSON can express.
    path
        The file; it appears complete or not at all.
    force
        Whether an existing file may be replaced.
    groups
        Further data sets by group name, for example ``dictionary``.

    Raises
    ------
    OutputError
        If the file exists and not `force`, or the folder is missing, read-only or full.
    """
    target = Path(path)
    check_writable(target, force)
    main = _prepared(dataset)
    main.attrs.setdefault(VERSION_ATTRIBUTE, _this_version())
    parts = [(None, main), *((name, _prepared(group)) for name, group in (groups or {}).items())]
    image = BytesIO()  # HDF5 crashes where a disk fills up or goes away under an open file; one write of bytes does not
    for name, part in parts:
        mode: Any = "w" if name is None else "a"
        part.to_netcdf(image, mode=mode, group=name, engine="h5netcdf", encoding=_encoding(part))
    with write_whole(target, force) as temporary:
        temporary.write_bytes(image.getbuffer())


def _open(path: PathLike, group: str | None) -> xr.Dataset:
    import xarray as xr

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_dataset(path, engine="h5netcdf", group=group) as stored:
            return stored.load()


def _check_result(path: PathLike) -> list[str]:
    """Make sure that `path` is a result; returns the names of its groups."""
    file = Path(path)
    try:
        if not file.is_file():
            what = "is a folder" if file.is_dir() else "is no file" if file.exists() else "does not exist"
            raise InputError(f"{file} {what}; give a result file written by cyclestrain")
        signature = has_hdf5_signature(file)
    except OSError as error:
        raise InputError(f"{file} cannot be opened ({error.strerror or error}); check its permissions") from error
    if not signature:
        raise InputError(f"{file} is not a netCDF/HDF5 file; give a result file written by cyclestrain")
    with open_hdf5(file) as handle:
        if VERSION_ATTRIBUTE not in handle.attrs:
            raise InputError(
                f"{file} is not a result that cyclestrain wrote (no {VERSION_ATTRIBUTE} in it); give one, "
                f"or map the scan first: cyclestrain map {file}"
            )
        return [key for key in handle if hasattr(handle[key], "keys")]


def load_result(path: PathLike) -> xr.Dataset:
    """Read the maps of a result file into memory.

    Raises
    ------
    InputError
        If the file is missing, damaged or no result.
    """
    _check_result(path)
    return _read(path, None)


def load_group(path: PathLike, name: str) -> xr.Dataset:
    """Read one group of a result file, for example ``dictionary``, into memory.

    Parameters
    ----------
    path
        Result file.
    name
        Name of the group.

    Raises
    ------
    InputError
        If the file is missing, damaged or no result, or has no such group.
    """
    names = _check_result(path)
    if name not in names:
        raise InputError(f"{path} has no group {name!r} but {', '.join(names) or 'none'}; choose one of these")
    return _read(path, name)


def open_group(path: PathLike, name: str, missing: str) -> xr.Dataset:
    """One group of a result file, whose arrays are read where they are used: for groups that are large.

    Parameters
    ----------
    path, name
        As for `load_group`.
    missing
        What to say of a result without it.

    Raises
    ------
    InputError
        As for `load_group`.
    """
    import xarray as xr

    if name not in _check_result(path):
        raise InputError(f"{path} {missing}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return xr.open_dataset(path, engine="h5netcdf", group=name)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}); map the scan again") from error


def _read(path: PathLike, group: str | None) -> xr.Dataset:
    try:
        return _open(path, group)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged ({first_line(error)}); map the scan again") from error

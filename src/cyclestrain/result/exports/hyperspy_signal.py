"""Export in the layout of HyperSpy, the same in HDF5 (`.hspy`) and Zarr version 2 (`.zspy`).

It is written here because the Zarr writer of RosettaSciIO needs zarr 2, and so that both have one layout.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.io.hdf5 import new_hdf5
from cyclestrain.result.exports.channels import Channels, channels_of
from cyclestrain.result.exports.notes import NOTES

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["hyperspy_signal", "write_hspy", "write_zspy"]

LAYOUT_VERSION = "3.3"
"""Version of HyperSpy's layout that is written."""
TITLE = "strain"


def _axis(name: str, size: int, scale: float, unit: str, navigate: bool) -> dict[str, Any]:
    return {
        "_type": "UniformDataAxis",
        "name": name,
        "size": size,
        "offset": 0.0,
        "scale": scale,
        "units": unit,
        "navigate": navigate,
        "is_binned": False,
    }


def _signal(root: Any, channels: Channels, notes: tuple[str, ...]) -> Any:
    """Fill the groups of one signal and return the group that its array belongs in."""
    group = root.create_group(f"Experiments/{TITLE}")
    # The package decides which class loads a signal; no HyperSpy extension is ours.
    group.attrs.update({"package": "", "package_version": ""})
    rows, columns = channels.shape
    scale, unit = (channels.step.value, channels.step.unit) if channels.step else (1.0, "")
    axes = (
        _axis("map", len(channels.maps), 1.0, "", True),
        _axis("y", rows, scale, unit, False),
        _axis("x", columns, scale, unit, False),
    )
    for index, axis in enumerate(axes):
        group.create_group(f"axis-{index}").attrs.update(axis)
    metadata = group.create_group("metadata")
    metadata.create_group("General").attrs.update({"title": TITLE})
    metadata.create_group("Signal").attrs.update({"signal_type": ""})
    metadata.create_group("_HyperSpy")
    own = {
        "channels": ", ".join(channels.names),
        "units": ", ".join(channel.unit for channel in channels.maps),
        "notes": "\n".join(notes),
    }
    metadata.create_group("cyclestrain").attrs.update(dict(channels.attributes) | own)
    for name in ("original_metadata", "learning_results"):
        group.create_group(name)
    group.create_group("attributes").attrs.update({"_lazy": False, "ragged": False})
    return group


def hyperspy_signal(maps: xr.Dataset, estimate: str = "") -> Any:
    """The maps of a result as `hyperspy.signals.Signal2D`, with the axes and metadata of the file.

    Parameters
    ----------
    maps
        A result, dimensions ``(ry, rx)``.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.

    Raises
    ------
    InputError
        If HyperSpy is not installed.
    """
    try:
        from hyperspy.signals import Signal2D
    except ImportError as error:
        raise InputError("HyperSpy is not installed here; pip install 'cyclestrain[hyperspy]'") from error
    channels = channels_of(maps, estimate)
    rows, columns = channels.shape
    scale, unit = (channels.step.value, channels.step.unit) if channels.step else (1.0, "")
    sizes = (("map", len(channels.maps), 1.0, ""), ("y", rows, scale, unit), ("x", columns, scale, unit))
    axes = [
        {"name": name, "size": size, "scale": step, "units": text, "navigate": name == "map"}
        for name, size, step, text in sizes
    ]
    own = {"channels": list(channels.names), "units": [channel.unit for channel in channels.maps]}
    metadata = {"General": {"title": TITLE}, "cyclestrain": dict(channels.attributes) | own | {"notes": NOTES["hspy"]}}
    return Signal2D(channels.stack(np.float64), axes=axes, metadata=metadata)


def write_hspy(channels: Channels, path: Path, notes: tuple[str, ...]) -> None:
    """Write a `.hspy` file: one stack of maps ``(map, y, x)`` in double precision.

    Parameters
    ----------
    channels
        Maps to export.
    path
        File to write.
    notes
        Sentences that are written into the metadata.
    """
    with new_hdf5(path, track_order=True) as file:
        file.attrs.update({"file_format": "HyperSpy", "file_format_version": LAYOUT_VERSION})
        group = _signal(file, channels, notes)
        group.create_dataset("data", data=channels.stack(np.float64), chunks=(1, *channels.shape), compression="gzip")


def write_zspy(channels: Channels, folder: Path, notes: tuple[str, ...]) -> None:
    """Write a `.zspy` folder: one stack of maps ``(map, y, x)`` in double precision.

    Parameters
    ----------
    channels
        Maps to export.
    folder
        Folder to write into.
    notes
        Sentences that are written into the metadata.
    """
    if find_spec("zarr") is None:
        raise InputError(
            "a .zspy folder is written with Zarr, which is not installed: pip install 'cyclestrain[formats]'"
        )
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    root.attrs.update({"file_format": "ZSpy", "file_format_version": LAYOUT_VERSION})
    group = _signal(root, channels, notes)
    # HyperSpy stores use "/" between the numbers of a chunk
    array = group.create_array(
        "data",
        shape=(len(channels.maps), *channels.shape),
        dtype="<f8",
        chunks=(1, *channels.shape),
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    array[:] = channels.stack(np.float64)

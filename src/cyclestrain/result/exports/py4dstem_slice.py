"""Export as EMD 1.0 for `py4DSTEM.read`: a RealSlice with the slices of its own strain maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cyclestrain.io.hdf5 import new_hdf5
from cyclestrain.result.exports.channels import Channels

__all__ = ["SLICES", "write_py4dstem"]

SLICES = {"e_xx": "eyy", "e_yy": "exx", "e_xy": "exy", "theta": "rotation"}
"""Map of the result in each slice of py4DSTEM, whose x is the row and whose y is the column."""

ROOT, NAME = "strain_map_root", "strain_map"


def _metadata(bundle: Any, name: str, kind: str, values: dict[str, Any]) -> None:
    """One dictionary in the way of emdfile: a data set per entry, its type in an attribute."""
    group = bundle.create_group(name)
    group.attrs.update({"emd_group_type": "metadata", "python_class": kind})
    for key, value in values.items():
        dataset = group.create_dataset(key.replace("/", "_"), data=value)
        if isinstance(value, str):
            dataset.attrs["type"] = "string"
        else:
            dataset.attrs["type"] = "bool" if isinstance(value, bool) else "number"


def write_py4dstem(channels: Channels, path: Path, notes: tuple[str, ...]) -> None:
    """Write an EMD 1.0 file: one RealSlice with e_xx, e_yy, e_xy, theta and mask, shape ``(5, ry, rx)``.

    Parameters
    ----------
    channels
        Maps to export.
    path
        File to write.
    notes
        Sentences that are written into the metadata.
    """
    import h5py

    arrays = [np.where(channels.valid, channels[name].values, 0.0) for name in SLICES.values()]
    step = channels.step
    calibration = {
        "R_pixel_size": step.value if step else 1.0,
        "R_pixel_units": step.unit if step else "pixels",
        "Q_pixel_size": 1.0,
        "Q_pixel_units": "pixels",
        "QR_flip": bool(channels.attributes.get("scan_mirrored", False)),
    }
    with new_hdf5(path) as file:
        file.attrs.update(
            {
                "emd_group_type": "file",
                "version_major": 1,
                "version_minor": 0,
                "authoring_program": "cyclestrain",
                "authoring_user": "",
            }
        )
        root = file.create_group(ROOT)
        root.attrs.update({"emd_group_type": "root", "python_class": "Root"})
        _metadata(root.create_group("metadatabundle"), "calibration", "Calibration", calibration)
        root["metadatabundle"].attrs["emd_group_type"] = "metadatabundle"
        group = root.create_group(NAME)
        group.attrs.update({"emd_group_type": "array", "python_class": "RealSlice"})
        data = group.create_dataset("data", data=np.stack([*arrays, channels.valid.astype(np.float64)]))
        data.attrs["units"] = "intensity"  # the unit that RealSlice always has, whatever it holds
        for axis in (0, 1):
            dim = group.create_dataset(f"dim{axis}", data=np.arange(2))
            dim.attrs.update({"name": f"dim{axis}", "units": "pixels"})
        labels = group.create_dataset("dim2", data=[*SLICES, "mask"], dtype=h5py.string_dtype())
        labels.attrs["name"] = "_labels_"
        bundle = group.create_group("metadatabundle")
        bundle.attrs["emd_group_type"] = "metadatabundle"
        _metadata(bundle, "cyclestrain", "Metadata", dict(channels.attributes) | {"notes": "\n".join(notes)})

"""Calibration and axis order of HDF5 files whose axes are stored beside the array.

These are EMD of py4DSTEM and emdfile (0.x and 1.0), Prismatic, HyperSpy, Merlin's fpd, and NeXus.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cyclestrain.data import Quantity
from cyclestrain.io.loaded import Loaded
from cyclestrain.io.sources import view_axes
from cyclestrain.io.units import real_step, reciprocal_step

__all__ = ["calibrated"]

LARGEST_SCALAR = 2**16
"""Largest single value of the metadata, bytes."""
_DETECTOR_AXIS = re.compile(r"^(q|k|det|d[xy]$)", re.IGNORECASE)


@dataclass(frozen=True)
class _Axis:
    name: str
    size: int
    step: float | None
    unit: str

    @property
    def on_detector(self) -> bool:
        return bool(_DETECTOR_AXIS.match(self.name))


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1)[0] if value.size else ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _upwards(group: Any) -> Iterator[Any]:
    """`group` and the groups it lies in, up to the root."""
    yield group
    while group.name != "/":
        group = group.parent
        yield group


def _names(group: Any, n: int) -> list[str]:
    """Data sets that hold the axes of an array: those that NeXus lists, ``dim0 ...`` (EMD 1.0), ``dim1 ...`` (0.x)."""
    listed = [_text(name) for name in np.atleast_1d(group.attrs.get("axes", []))]
    first = 0 if "dim0" in group else 1
    return listed if len(listed) == n else [f"dim{index + first}" for index in range(n)]


def _axes(dataset: Any) -> list[_Axis]:
    """Axes from the data sets beside the array."""
    group, shape = dataset.parent, dataset.shape
    axes: list[_Axis] = []
    for name, size in zip(_names(group, len(shape)), shape, strict=True):
        dim = group.get(name)
        if dim is None or not hasattr(dim, "shape"):
            axes.append(_Axis("", size, None, ""))
            continue
        linear = dim.ndim == 1 and dim.size > 1 and dim.dtype.kind in "uif"
        step = float(np.diff(dim[:2])[0]) if linear else None
        own = "" if name.startswith("dim") else name
        axes.append(_Axis(_text(dim.attrs.get("name", own)), size, step, _text(dim.attrs.get("units", ""))))
    return axes


def _calibration(dataset: Any) -> dict[str, Any]:
    """Find the calibration metadata nearest to the array: ``metadatabundle/calibration`` of EMD 1.0."""
    for group in _upwards(dataset.parent):
        found = group.get("metadatabundle/calibration")
        if found is not None and hasattr(found, "items"):
            scalars = {key: item for key, item in found.items() if _is_scalar(item)}
            return {key: item[()] for key, item in scalars.items()}
    return {}


def _is_scalar(item: Any) -> bool:
    """Whether a data set holds one value of a reasonable size."""
    return getattr(item, "shape", None) == () and item.dtype.itemsize <= LARGEST_SCALAR


def _order(axes: list[_Axis], reverse: bool) -> tuple[int, ...]:
    """Axes with size-1 extras dropped and the detector's last, each pair in the order of the file or in `reverse`."""
    kept = list(range(len(axes)))
    extra = [index for index in kept if axes[index].size == 1]
    while len(kept) > 4 and extra:
        kept.remove(extra.pop())
    if reverse:
        return tuple(reversed(kept))
    detector = [index for index in kept if axes[index].on_detector]
    if len(detector) != 2:
        return tuple(kept)
    return tuple([index for index in kept if index not in detector] + detector)


def _flag(value: Any) -> bool:
    return bool(value) if isinstance(value, bool | np.bool_ | int | np.integer) else False


def calibrated(dataset: Any) -> Loaded:
    """Scan with its steps and rotation from the h5py `dataset` of an EMD file.

    py4DSTEM calls the first scan axis Rx and the first detector axis Qx: both are rows here, so no axis moves. Its
    ``QR_rotation`` takes detector vectors to scan vectors, ``r = R(angle) q`` in (row, column) order, which makes it
    the angle of the scan axes in detector axes, from column to row. HyperSpy writes its arrays, which have rows before
    columns and the scan before the detector, with all axes in reverse, into the group ``signals``.
    """
    axes, calibration = _axes(dataset), _calibration(dataset)
    order = _order(axes, reverse=dataset.parent.parent.name == "/signals")
    scan = [(axes[index].step, axes[index].unit) for index in reversed(order[:-2])]
    detector = [(axes[index].step, axes[index].unit) for index in reversed(order[-2:])]
    stated = {
        key: (calibration.get(f"{key}_pixel_size"), _text(calibration.get(f"{key}_pixel_units", ""))) for key in "RQ"
    }
    metadata: dict[str, Any] = {"axis_names": ", ".join(axes[index].name for index in order)}
    rotation = 0.0
    angle = calibration.get("QR_rotation")
    if isinstance(angle, int | float | np.integer | np.floating) and math.isfinite(angle):
        metadata["QR_rotation"] = float(angle)
        metadata["QR_flip"] = _flag(calibration.get("QR_flip"))
        rotation = 0.0 if metadata["QR_flip"] else float(angle)
    source = view_axes(dataset, order)
    step: Quantity | None = real_step(stated["R"], *scan)
    return Loaded(source, None, step, reciprocal_step(stated["Q"], *detector), rotation, metadata)

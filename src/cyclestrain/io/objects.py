"""Scans that other libraries hold in memory: HyperSpy, py4DSTEM, LiberTEM, xarray, sparse arrays.

They are known by what they offer, not by their class: none of the libraries is needed here, and their calibration is
kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.io.events import EventPatterns, csr_patterns, from_coordinates
from cyclestrain.io.loaded import Loaded
from cyclestrain.io.sources import DaskSource
from cyclestrain.io.units import real_step, reciprocal_step

__all__ = ["load_object"]

DIMS = ("ry", "rx", "qy", "qx")
"""Names of the axes of a scan; an xarray object that has them may have them in any order."""


def load_object(thing: Any) -> tuple[Loaded, str] | None:
    """Patterns and calibration of an object of another library, and its name; None where it is no such object.

    Parameters
    ----------
    thing
        What was given for a scan.

    Raises
    ------
    InputError
        If its axes are not those of a scan.
    """
    if hasattr(thing, "axes_manager") and hasattr(thing, "data"):
        return _from_hyperspy(thing)
    if hasattr(thing, "calibration") and hasattr(thing, "data") and hasattr(thing.calibration, "get_Q_pixel_size"):
        return _from_py4dstem(thing)
    if hasattr(thing, "get_partitions") and hasattr(thing, "shape"):
        return _from_libertem(thing)
    if hasattr(thing, "data_vars"):
        raise InputError(
            f"an xarray Dataset holds several arrays ({', '.join(map(str, thing.data_vars))}); give one of them, for "
            "example dataset['patterns']"
        )
    if hasattr(thing, "dims") and hasattr(thing, "coords") and hasattr(thing, "variable"):
        return _from_xarray(thing)
    if hasattr(thing, "nnz") and (hasattr(thing, "coords") or hasattr(thing, "tocoo")):
        return Loaded(_from_sparse(thing), tuple(thing.shape[:2]) if len(thing.shape) == 4 else None), "array"
    return None


def _from_sparse(array: Any) -> EventPatterns:
    """Sparse array of SciPy or of the package sparse; of two dimensions, a row is a position and a column a pixel."""
    name = f"{type(array).__module__.split('.')[0]}.{type(array).__name__}"
    if getattr(array, "fill_value", 0) != 0:
        raise InputError(
            f"{name} is filled with {array.fill_value}, not with 0; a sparse scan lists all that was counted"
        )
    if getattr(array, "format", "") == "csr" and len(array.shape) == 2:
        return csr_patterns(array.indptr, array.indices, array.data, int(array.shape[1]), name)
    listed = array if hasattr(array, "coords") else array.tocoo()
    return from_coordinates(listed.coords, listed.data, listed.shape, name)


def _array(data: Any) -> Any:
    return DaskSource(data) if hasattr(data, "dask") else data


def _from_hyperspy(signal: Any) -> tuple[Loaded, str]:
    """Signal with two signal axes; its data have the navigation axes first, y before x."""
    manager = signal.axes_manager
    across, along = manager.signal_axes, manager.navigation_axes
    if len(across) != 2:
        raise InputError(
            f"a scan is a HyperSpy signal with two signal axes, the detector's; this one has {len(across)}: use "
            "signal.transpose(signal_axes=2)"
        )
    steps, pixels = (
        [(getattr(axis, "scale", None), str(axis.units)) for axis in axes] for axes in (along, across)
    )  # fmt: skip
    title = str(getattr(getattr(signal.metadata, "General", None), "title", "") or "signal")
    loaded = Loaded(_array(signal.data), real_step=real_step(*steps), reciprocal_step=reciprocal_step(*pixels))
    return loaded, title


def _from_py4dstem(cube: Any) -> tuple[Loaded, str]:
    """DataCube; its rotation has our sign, see `cyclestrain.io.emd.calibrated`."""
    known = cube.calibration
    angle, flip = known.get_QR_rotation(), bool(known.get_QR_flip())
    metadata = {} if angle is None else {"QR_rotation": float(angle), "QR_flip": flip}
    loaded = Loaded(
        _array(cube.data),
        real_step=real_step((known.get_R_pixel_size(), known.get_R_pixel_units())),
        reciprocal_step=reciprocal_step((known.get_Q_pixel_size(), known.get_Q_pixel_units())),
        scan_rotation=float(angle) if angle is not None and not flip else 0.0,
        metadata=metadata,
    )
    return loaded, str(getattr(cube, "name", "") or "datacube")


def _from_libertem(dataset: Any) -> tuple[Loaded, str]:
    """Data set of LiberTEM, read partition by partition as a dask array."""
    from libertem.contrib.daskadapter import make_dask_array

    array, _ = make_dask_array(dataset, dtype=np.dtype(dataset.dtype))
    return Loaded(DaskSource(array)), type(dataset).__name__


def _from_xarray(array: Any) -> tuple[Loaded, str]:
    """DataArray; spacings of its coordinates are the calibration where they have units."""
    if set(array.dims) == set(DIMS):
        array = array.transpose(*DIMS)
    steps = [_spacing(array, dim) for dim in array.dims]
    loaded = Loaded(
        _array(array.data), real_step=real_step(*steps[:-2]), reciprocal_step=reciprocal_step(*steps[-2:])
    )  # fmt: skip
    return loaded, str(array.name or "array")


def _spacing(array: Any, dim: str) -> tuple[float | None, str]:
    """Step and unit of an evenly spaced coordinate."""
    if dim not in array.coords or array.sizes[dim] < 2:
        return None, ""
    values = np.asarray(array.coords[dim].values)
    if values.dtype.kind not in "uif":
        return None, ""
    steps = np.diff(values.astype(float))
    even = np.ptp(steps) <= 1e-3 * abs(steps.mean())
    return (float(steps.mean()) if even else None), str(array.coords[dim].attrs.get("units", ""))

"""One way in: any file or array becomes a lazy `cyclestrain.data.Scan`."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from pathlib import Path
from typing import Any, Literal, TypeAlias, Unpack

import numpy as np

from cyclestrain.data import PatternSource, Scan
from cyclestrain.errors import InputError
from cyclestrain.io import loaded as limits
from cyclestrain.io.events import EventPatterns
from cyclestrain.io.frames import load_frames
from cyclestrain.io.hdf5 import has_hdf5_signature, load_hdf5, vendor_layout
from cyclestrain.io.loaded import Loaded, is_numeric
from cyclestrain.io.numpy_files import load_npy, load_npz
from cyclestrain.io.objects import load_object
from cyclestrain.io.raw import RawLayout, load_raw
from cyclestrain.io.raw_csr import load_raw_csr
from cyclestrain.io.regions import Parts
from cyclestrain.io.sources import DaskSource, Stored, restack, view_axes
from cyclestrain.io.tiff import has_tiff_signature, load_tiff
from cyclestrain.io.units import parse_pixel, parse_step
from cyclestrain.io.vendor import knows, load_vendor
from cyclestrain.io.zarr_files import is_zarr, load_zarr
from cyclestrain.settings import ReadOptions, ReadSettings, reading_given, validated

__all__ = ["factorisations", "read", "read_images"]

Readable: TypeAlias = "str | os.PathLike[str] | PatternSource | Scan"

_OWN = frozenset(
    {".npy", ".npz", ".h5", ".hdf5", ".py4dstem", ".nc", ".mat", ".hspy", ".zspy", ".nxs", ".tif", ".tiff"}
)

_TIFF = frozenset({".tif", ".tiff"})

LARGEST_DETECTOR = 32_768
"""Largest believable detector side in pixels; beyond it a header is damaged."""

RAW_OPTIONS = (
    "a raw binary file needs both --shape and --dtype, a sparse scan that does not state its shape needs --shape; "
    "other files need none of them"
)

MOST_PATTERNS = 2**32
"""Most believable patterns of a scan, likewise; how they could be arranged is found in a moment up to here."""


def read(path_or_array: Readable, reading: ReadSettings | None = None, **options: Unpack[ReadOptions]) -> Scan:
    """Open a 4D-STEM scan without reading its patterns.

    Parameters
    ----------
    path_or_array
        A file (NumPy, HDF5 of any layout, Zarr, electron-counted scans of stempy, ``raw_csr`` of LiberTEM, a sparse
        matrix of SciPy, or any format of RosettaSciIO), a folder of such files with one pattern or an equal number of
        patterns each, an array of shape ``(ry, rx, qy, qx)``, ``(n, qy, qx)`` or ``(qy, qx)`` (NumPy, dask, xarray, a
        sparse array, ...), a HyperSpy signal, a py4DSTEM data cube or a LiberTEM data set, whose calibration is kept,
        or a scan.
    reading
        How to read it, all at once.
    **options
        The same one by one, fields of `cyclestrain.ReadSettings`: ``dataset`` (name of the array in a file that holds
        several), ``scan_shape`` (``(ry, rx)`` for a stack of patterns, or instead of what the file states), ``shape``,
        ``dtype``, ``offset`` and ``order`` (of a raw binary file; ``shape`` also of a sparse matrix), ``flyback``
        (positions at the end of each scan row that are left out), ``scan_roi`` and ``detector_roi`` (regions
        ``y0:y1,x0:x1``, upper ends excluded; the rest is never read), ``bin`` (detector pixels that are summed into
        one, along each axis), ``transpose`` and ``flip`` (exchange the axes of the detector, then reverse ``y``, ``x``
        or ``yx``), ``step`` (of the probe, ``"0.5nm"``) and ``pixel`` (of the detector, ``"0.1+-0.002/nm"``), instead
        of what the file states.

    Returns
    -------
    Scan
        Patterns in native numbers, with the steps and the rotation that the file states.

    Raises
    ------
    InputError
        Saying what was expected, what came and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> read(np.zeros((12, 16, 16)), scan_shape=(3, 4)).shape
    (3, 4, 16, 16)
    """
    how = validated(ReadSettings, reading_given(reading, options))
    parts = Parts(how.flyback, how.scan_roi, how.detector_roi, how.bin, how.flip, how.transpose)
    stated = _stated(how)
    scan_shape, layout = how.scan_shape, _layout(how.shape, how.dtype, how.offset, how.order)
    if scan_shape is not None:  # what the file holds: rows with their flyback
        scan_shape = (scan_shape[0], scan_shape[1] + how.flyback)
    scan = _open(path_or_array, how.dataset, scan_shape, layout, shape=how.shape if layout is None else None)
    if stated:
        scan = dataclasses.replace(scan, **stated)
    return scan if parts == Parts() else parts.of(scan)


def read_images(path_or_array: Readable, reading: ReadSettings, detector: tuple[int, int] | None = None) -> Scan:
    """Open an image, a stack of images or a scan that was recorded on the detector of another scan.

    Parameters
    ----------
    path_or_array
        As for `read`; a stack needs no scan shape.
    reading
        How the other scan is read: its part of the detector, bins, flips and transposition hold here as well.
    detector
        What is left of the detector after that, ``(qy, qx)``; images that have this shape already are left as they are.

    Raises
    ------
    InputError
        If it cannot be read, or has another detector.
    """
    if isinstance(path_or_array, str | os.PathLike) or not len(getattr(path_or_array, "shape", ())) == 3:
        scan = _open(path_or_array, None, None, None, line=True)
    else:
        scan = _open(path_or_array, None, (1, int(path_or_array.shape[0])), None)
    if detector is not None and scan.detector_shape == detector:
        return scan
    parts = Parts(0, None, reading.detector_roi, reading.bin, reading.flip, reading.transpose)
    scan = scan if parts == Parts() else parts.of(scan)
    if detector is not None and scan.detector_shape != detector:
        raise InputError(
            f"the probe {scan.path or scan.name} has images of {scan.detector_shape[0]}x{scan.detector_shape[1]} px, "
            f"the scan has {detector[0]}x{detector[1]}; record both on one detector, at one camera length and binning"
        )
    return scan


def _open(
    path_or_array: Readable, dataset: str | None, scan_shape: tuple[int, int] | None, layout: RawLayout | None,
    *, line: bool = False, shape: tuple[int, ...] | None = None,
) -> Scan:  # fmt: skip
    if dataset is not None and not isinstance(path_or_array, str | os.PathLike):
        raise InputError(f"--dataset {dataset} names an array in a file, but an array was given; leave it out")
    if isinstance(path_or_array, Scan):
        scan = path_or_array
        if scan_shape is None or scan_shape == scan.scan_shape:
            return scan
        return dataclasses.replace(scan, source=_as_scan(scan.source, scan_shape, scan.name))
    if not isinstance(path_or_array, str | os.PathLike):
        if (other := load_object(path_or_array)) is not None:
            return _finish(_arranged(other[0], shape), other[1], "", scan_shape)
        return _finish(_arranged(Loaded(_from_memory(path_or_array)), shape), "array", "", scan_shape)
    if not os.fspath(path_or_array):  # which pathlib takes for the current folder
        raise InputError("the name of the scan is empty; give a file or a folder")
    path = Path(path_or_array)
    with warnings.catch_warnings():  # what third parties warn about is no news to the user
        warnings.simplefilter("ignore")
        found = _arranged(_load(path, dataset, layout), shape)
        if line and found.scan_shape is None and len(found.source.shape) == 3:
            scan_shape = (1, int(found.source.shape[0]))
        return _finish(found, _name_of(path), str(path), scan_shape)


def _stated(how: ReadSettings) -> dict[str, Any]:
    """Steps that the user states, as fields of `Scan`."""
    out: dict[str, Any] = {}
    if how.step is not None:
        out["real_step"] = parse_step(how.step)
    if how.pixel is not None:
        out["reciprocal_step"], out["pixel_ratio"] = parse_pixel(how.pixel)
    return out


def _layout(
    shape: tuple[int, ...] | None, dtype: str | None, offset: int, order: Literal["C", "F"]
) -> RawLayout | None:
    if dtype is None and not offset and order == "C":
        return None
    if shape is None or dtype is None:
        raise InputError(RAW_OPTIONS)
    return RawLayout(tuple(shape), dtype, offset, order)


def _arranged(found: Loaded, shape: tuple[int, ...] | None) -> Loaded:
    """What was found with the shape that the user states, which only raw numbers and sparse scans need."""
    if isinstance(found.source, EventPatterns):
        scan_shape = (shape[0], shape[1]) if shape is not None and len(shape) == 4 else found.scan_shape
        return dataclasses.replace(found, source=found.source.arranged(shape), scan_shape=scan_shape)
    if shape is not None:
        raise InputError(RAW_OPTIONS)
    return found


def _from_memory(array: Any) -> PatternSource:
    if hasattr(array, "dask"):
        return DaskSource(array)
    if not (hasattr(array, "shape") and hasattr(array, "dtype") and hasattr(array, "__getitem__")):
        raise InputError(f"a scan is a file or an array of numbers, not a {type(array).__name__}; give one of those")
    try:
        np.dtype(array.dtype)
    except TypeError as error:
        raise InputError(
            f"a {type(array).__module__} {type(array).__name__} has no NumPy type; convert it with numpy.asarray first"
        ) from error
    source: PatternSource = array
    return source


def _load(path: Path, dataset: str | None, layout: RawLayout | None) -> Loaded:
    try:
        return _dispatch(path, dataset, layout)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path} cannot be opened ({reason}); check its permissions and the drive") from error


def _dispatch(path: Path, dataset: str | None, layout: RawLayout | None) -> Loaded:
    if not path.exists():
        raise InputError(f"{path} does not exist; check the spelling and the folder")
    if not path.is_dir() and not path.is_file():  # reading a pipe or a device need never end
        raise InputError(f"{path} is neither a file nor a folder but a pipe or a device; save the scan as a file first")
    if path.is_dir():
        if is_zarr(path):
            return load_zarr(path, dataset)
        return load_frames(path, lambda file: _open_file(file, dataset, layout), lambda file: _readable(file, layout))
    return _open_file(path, dataset, layout)


def _readable(path: Path, layout: RawLayout | None) -> bool:
    return layout is not None or path.suffix.lower() in _OWN or knows(path)


def _open_file(path: Path, dataset: str | None, layout: RawLayout | None) -> Loaded:
    if layout is not None:
        return _only(load_raw(path, layout), path, dataset)
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return _only(load_raw_csr(path), path, dataset)
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        raise InputError(f"{path} is empty; copy it again from its origin")
    if head.startswith(b"\x93NUMPY"):
        return _only(load_npy(path), path, dataset)
    if head.startswith(b"PK") and suffix in (".npz", ".zip", ".zspy"):
        return load_npz(path, dataset) if suffix == ".npz" else load_zarr(path, dataset)
    if has_tiff_signature(head) and suffix in _TIFF:
        return _only(load_tiff(path), path, dataset)
    if has_hdf5_signature(path):
        reader = vendor_layout(path)
        if reader is None:
            return load_hdf5(path, dataset)
        return load_vendor(path, dataset, reader)
    if suffix in _OWN:
        hint = "; save it from MATLAB with -v7.3" if suffix == ".mat" else "; copy or write it again"
        raise InputError(f"{path} has the extension {suffix} but not the content of such a file{hint}")
    if knows(path):
        return load_vendor(path, dataset)
    raise InputError(
        f"{path}: no reader knows files that end in {suffix or 'nothing'}; "
        "give NumPy, HDF5, Zarr or a microscope's format that RosettaSciIO reads, "
        "or both --shape and --dtype of raw numbers"
    )


def _only(found: Loaded, path: Path, dataset: str | None) -> Loaded:
    """`found`, the one array of its file, which has no name."""
    if dataset is not None:
        raise InputError(f"{path} holds one array without a name; leave out --dataset {dataset}")
    return found


def factorisations(n: int, most: int = 3) -> list[tuple[int, int]]:
    """Scan shapes ``(ry, rx)`` of a number of positions, the squarest first.

    Parameters
    ----------
    n
        Number of positions.
    most
        Largest number of shapes.

    Examples
    --------
    >>> factorisations(12)
    [(3, 4), (2, 6), (1, 12)]
    """
    rows = (ry for ry in range(math.isqrt(n), 0, -1) if n % ry == 0)
    return [(ry, n // ry) for ry, _ in zip(rows, range(most), strict=False)]


def _name_of(path: Path) -> str:
    """Name of a file without its extensions; what starts with a digit is none.

    Examples
    --------
    >>> _name_of(Path("tilt_0.25_1.h5")), _name_of(Path("scan.ome.tif")), _name_of(Path(".h5"))
    ('tilt_0.25_1', 'scan', '.h5')
    """
    name = path.name
    while (suffix := Path(name).suffix)[1:2].isalpha():
        name = name.removesuffix(suffix)
    return name


def _as_scan(source: PatternSource, scan_shape: tuple[int, int] | None, name: str) -> PatternSource:
    """`source` of two to four dimensions with four, ``(ry, rx, qy, qx)``."""
    shape = tuple(int(size) for size in source.shape)
    if len(shape) == 2:
        source, shape = view_axes(source, (None, None, 0, 1)), (1, 1, *shape)
    if len(shape) not in (3, 4):
        raise InputError(
            f"{name} has {len(shape)} dimensions {shape}, a scan has four (ry, rx, qy, qx); "
            "pick another data set with --dataset or cut the array down"
        )
    n_positions = math.prod(shape[:-2])
    choices = " or ".join(f"--scan {ry} {rx}" for ry, rx in factorisations(n_positions))
    if scan_shape is None:
        if len(shape) == 3:
            raise InputError(
                f"{name} is a stack of {n_positions} patterns of {shape[1]}x{shape[2]} pixels without a scan shape; "
                f"give its rows and columns, for example {choices}"
            )
        return source
    if min(scan_shape) < 1 or math.prod(scan_shape) != n_positions:
        raise InputError(
            f"{name} holds {n_positions} patterns, which do not make a scan of {scan_shape[0]}x{scan_shape[1]}; "
            f"use for example {choices}{_flyback_hint(n_positions, scan_shape)}"
        )
    return restack(source, scan_shape)


def _flyback_hint(n_positions: int, scan_shape: tuple[int, int]) -> str:
    rows, columns = scan_shape
    extra, rest = divmod(n_positions, rows) if rows > 0 else (0, 1)
    if rest or not columns < extra <= columns + max(2, columns // 10):
        return ""
    return f", or --flyback {extra - columns} if rows of {columns} end with positions of the beam flying back"


def _check(source: PatternSource, name: str) -> None:
    shape, dtype = tuple(int(size) for size in source.shape), np.dtype(source.dtype)
    if not is_numeric(dtype):
        raise InputError(f"{name} holds values of type {dtype}; patterns are real numbers (counts), convert them first")
    if 0 in shape:
        raise InputError(f"{name} is empty: one axis of {shape} has size 0; check how it was written")
    if len(shape) < 2:
        raise InputError(f"{name} has {len(shape)} dimensions, a scan has four (ry, rx, qy, qx); give another array")
    small, large = min(shape[-2:]), max(shape[-2:])
    if small < limits.SMALLEST_DETECTOR:
        raise InputError(
            f"{name} has patterns of {shape[-2]}x{shape[-1]} pixels, at least "
            f"{limits.SMALLEST_DETECTOR}x{limits.SMALLEST_DETECTOR} are needed; check the order of its axes {shape}"
        )
    if large > LARGEST_DETECTOR:
        raise InputError(
            f"{name} has patterns of {shape[-2]}x{shape[-1]} pixels, which no detector has; its header seems damaged"
        )
    if math.prod(shape[:-2]) > MOST_PATTERNS:
        raise InputError(f"{name} declares {math.prod(shape[:-2])} patterns, which no scan has; it seems damaged")


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type patterns are handed out in: native byte order, no bits, no half precision."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.dtype(np.float16) or dtype.itemsize > 8:
        return np.dtype(np.float32 if dtype.itemsize == 2 else np.float64)
    return dtype.newbyteorder("=")


def _finish(found: Loaded, name: str, path: str, scan_shape: tuple[int, int] | None) -> Scan:
    label = path or name
    _check(found.source, label)
    source = _as_scan(found.source, scan_shape or found.scan_shape, label)
    dtype = np.dtype(source.dtype)
    if not isinstance(source, np.ndarray) or not source.flags.writeable or dtype != _native(dtype):
        source = Stored(source, label, _native(dtype))
    return Scan(source, name, path, found.real_step, found.reciprocal_step, found.scan_rotation, dict(found.metadata))

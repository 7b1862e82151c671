"""Files whose descriptions are mutated with their structure kept: what a fuzzer of bytes hardly ever reaches.

Every function makes one file in a folder from draws of `hypothesis`, and returns the path to read.
"""

from __future__ import annotations

import copy
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from hypothesis import strategies as st

__all__ = ["FORMATS"]

Draw = Callable[[Any], Any]

SHAPE = (3, 4, 16, 16)
PATTERNS = np.random.default_rng(0).poisson(3.0, SHAPE).astype(np.uint16)

ODD_NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    15,
    16,
    17,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
]
ODD_TEXTS = [
    "", "|O", "<u2", ">f8", "<f2", "|b1", "<c16", "|S5", "<U3", "<M8[ns]", "|V8", "uint16", "float16", "x" * 999,
    "\x1b[2J", "\x00", "../../up", "/", ".", "é", "F", "C", "gzip", "zstd", "blosc", "bytes", "transpose", "NaN",
]  # fmt: skip
ODD = [
    None, True, False, 0.5, -1.5, 1e308, float("nan"), float("inf"), [], {}, [[]], [0], [-1, 4], [16, 16], [2**40] * 4,
    [3, 4, 16, 16], {"name": "gzip"}, [{"name": "bytes"}], *ODD_NUMBERS, *ODD_TEXTS,
]  # fmt: skip

odd = st.sampled_from(ODD).map(copy.deepcopy)  # what is put into a tree may be changed there
small = st.integers(0, 5)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a tree of JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def mutated(tree: Any, draw: Draw) -> Any:
    """A tree with one to three odd changes: something replaced, removed, doubled or put into another place."""
    tree = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(tree)))
        if not path:
            continue
        home, key = tree, path[-1]
        for step in path[:-1]:
            home = home[step]
        change = draw(st.sampled_from(["replace", "replace", "remove", "wrap", "swap", "add"]))
        if change == "replace":
            home[key] = draw(odd)
        elif change == "remove":
            del home[key]
        elif change == "wrap":
            home[key] = [home[key]] * draw(st.integers(1, 4))
        elif change == "swap":
            home[key] = tree
            tree = _cut(tree)
        elif isinstance(home, dict):
            home[str(draw(odd))] = draw(odd)
        else:
            home.insert(key, draw(odd))
    return tree


def _cut(tree: Any, depth: int = 0) -> Any:
    """A tree without the circle that a swap made: what lies deeper than five levels is left out."""
    if depth > 5:
        return None
    if isinstance(tree, dict):
        return {key: _cut(item, depth + 1) for key, item in tree.items()}
    return [_cut(item, depth + 1) for item in tree] if isinstance(tree, list) else tree


def damaged(content: bytes, draw: Draw, first: int = 4096) -> bytes:
    """Bytes in which some numbers are replaced by odd ones."""
    data = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        width = draw(st.sampled_from([1, 2, 4, 8]))
        at = draw(st.integers(0, min(first, len(data)) - 1))
        number = draw(st.sampled_from(ODD_NUMBERS)) % 2 ** (8 * width)
        data[at : at + width] = number.to_bytes(width, "little")
    return bytes(data)


def npy_bytes(draw: Draw) -> bytes:
    header = mutated({"descr": "<u2", "fortran_order": False, "shape": list(SHAPE)}, draw)
    if isinstance(header, dict) and isinstance(header.get("shape"), list) and draw(st.integers(0, 4)):
        header["shape"] = tuple(header["shape"])
    text = repr(header).encode() + b" " * draw(st.integers(0, 80)) + b"\n"
    version = draw(st.sampled_from([(1, 0)] * 4 + [(2, 0), (3, 0), (9, 9)]))
    length = draw(st.sampled_from([len(text)] * 6 + [0, 2**16 - 1, 1, 2**31]))
    size = struct.pack("<H", length % 2**16) if version == (1, 0) else struct.pack("<I", length)
    return (
        b"\x93NUMPY" + bytes(version) + size + text + PATTERNS.tobytes()[: draw(st.sampled_from([-1, 10**9, 0, 777]))]
    )


def npy(folder: Path, draw: Draw) -> Path:
    (folder / "a.npy").write_bytes(npy_bytes(draw))
    return folder / "a.npy"


def npz(folder: Path, draw: Draw) -> Path:
    image = io.BytesIO()
    with zipfile.ZipFile(image, "w") as archive:
        for number in range(draw(st.integers(0, 3))):
            name = draw(st.sampled_from([f"x{number}.npy", "data.npy", "../up.npy", "é.npy", "x", "/abs.npy", ".npy"]))
            packing = draw(
                st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
            )
            with warnings.catch_warnings():  # of a name that is there twice
                warnings.simplefilter("ignore")
                archive.writestr(zipfile.ZipInfo(name), npy_bytes(draw), packing)
    content = image.getvalue()
    directory = content.rfind(b"PK\x01\x02")
    if directory > 0 and draw(st.booleans()):  # sizes and offsets of the last member
        content = content[:directory] + damaged(content[directory:], draw, 64)
    (folder / "a.npz").write_bytes(content)
    return folder / "a.npz"


def zarr_store(folder: Path, draw: Draw) -> Path:
    path, version = folder / "a.zarr", draw(st.sampled_from([2, 3]))
    nested = draw(st.booleans())
    root = zarr.open_group(path, mode="w", zarr_format=version) if nested else None
    options: dict[str, Any] = {"shape": SHAPE, "chunks": (1, 4, 16, 16), "dtype": "u2"}
    if version == 3 and draw(st.booleans()):
        options |= {"shards": (3, 4, 16, 16)}
    if root is None:
        array = zarr.create_array(path, zarr_format=version, **options)
    else:
        array = root.create_array("data", **options)
    array[:] = PATTERNS
    files = sorted(file for file in path.rglob("*") if file.is_file())
    described = [file for file in files if file.name in (".zarray", "zarr.json", ".zgroup", ".zattrs")]
    for file in described if draw(st.booleans()) else [draw(st.sampled_from(described))]:
        file.write_text(json.dumps(mutated(json.loads(file.read_text()), draw)))
    for file in set(files) - set(described):
        fate = draw(st.integers(0, 9))
        if fate == 0:
            file.unlink()
        elif fate == 1:
            file.write_bytes(damaged(file.read_bytes(), draw))
        elif fate == 2:
            file.write_bytes(file.read_bytes()[: draw(st.integers(0, 40))])
    return path


DTYPES = ["u2", ">u2", "f4", "f2", "i8", "?", "c8", "S4", "f8", np.dtype([("a", "u2"), ("b", "f4")]), np.dtype("V7"),
          h5py.string_dtype(), h5py.vlen_dtype(np.uint16), h5py.enum_dtype({"A": 0}, "u2"), h5py.ref_dtype]  # fmt: skip
AXES = st.lists(st.sampled_from([0, 1, 2, 4, 16, 17, 64, 2**20, 2**40]), min_size=0, max_size=6)


def _dataset(group: Any, name: str, draw: Draw) -> None:
    shape = draw(st.one_of(st.just(SHAPE), AXES.map(tuple)))
    dtype = draw(st.sampled_from(DTYPES))
    options: dict[str, Any] = {}
    if shape and draw(st.booleans()):
        options["chunks"] = tuple(min(max(size, 1), draw(st.sampled_from([1, 4, 16, 4096]))) for size in shape)
        options["maxshape"] = draw(st.sampled_from([None, tuple(None for _ in shape)]))
        options["compression"] = draw(st.sampled_from([None, "gzip", "lzf"]))
        options["shuffle"] = draw(st.booleans())
        options["fletcher32"] = draw(st.booleans())
    try:
        made = group.create_dataset(name, shape, dtype, **options)
        if shape == SHAPE:
            made[...] = PATTERNS.astype(dtype) if np.dtype(dtype).kind in "uifbc" else made[...]
    except (ValueError, TypeError, OSError, RuntimeError, OverflowError, MemoryError):
        return


def _reference(group: Any, name: str, draw: Draw) -> None:
    target = draw(st.sampled_from(["/", "/data", "/a/b", ".", "..", "/loop", "/nothing"]))
    file = draw(st.sampled_from(["a.h5", "b.h5", "gone.h5", ".", "", "..", "/"]))
    kind = draw(st.sampled_from(["soft", "far", "hard", "virtual", "raw"]))
    try:
        if kind == "soft":
            group[name] = h5py.SoftLink(target)
        elif kind == "far":
            group[name] = h5py.ExternalLink(file, target)
        elif kind == "hard":
            group[name] = group.file["/"]
        elif kind == "raw":
            group.create_dataset(name, SHAPE, "u2", external=[("raw.bin", draw(small), 10 ** draw(small))])
        else:
            layout = h5py.VirtualLayout(SHAPE, "u2")
            layout[...] = h5py.VirtualSource(file or ".", target, SHAPE)
            group.create_virtual_dataset(name, layout)
    except (ValueError, TypeError, OSError, RuntimeError, KeyError):
        return


ATTRIBUTES = ["units", "name", "axes", "emd_group_type", "MATLAB_class", "NX_class", "signal", "cyclestrain_version"]
NAMES = [
    "data", "dim0", "dim1", "dim2", "a", "b", "loop", "Version", "Data", "data_000001", "entry", "truth", "signals",
    "metadatabundle", "calibration", "R_pixel_size", "QR_rotation", "é", "\x1b[2J",
]  # fmt: skip


def _attribute(item: Any, draw: Draw) -> None:
    value = draw(st.one_of(odd, st.just(np.zeros((2, 0))), st.just(np.array(["a", "b"], dtype="S1")), st.just(b"\xff")))
    try:
        item.attrs[draw(st.sampled_from(ATTRIBUTES))] = value
    except (ValueError, TypeError, OSError, RuntimeError, OverflowError):
        return


def _tree(file: Any, draw: Draw) -> None:
    groups = [file]
    for _ in range(draw(st.integers(1, 6))):
        group, name = draw(st.sampled_from(groups)), draw(st.sampled_from(NAMES))
        if name in group:
            continue
        what = draw(st.sampled_from(["dataset", "dataset", "dataset", "reference", "group"]))
        if what == "group":
            groups.append(group.create_group(name))
        else:
            (_dataset if what == "dataset" else _reference)(group, name, draw)
        _attribute(group, draw)
        if what == "dataset" and name in group and draw(st.booleans()):
            _attribute(group[name], draw)


def hdf5(folder: Path, draw: Draw) -> Path:
    with h5py.File(folder / "b.h5", "w") as file:
        file["data"] = PATTERNS
        _reference(file, "loop", draw)
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        _tree(file, draw)
    (folder / "a.h5").write_bytes(damaged(image.getvalue(), draw))
    return folder / "a.h5"


def matlab(folder: Path, draw: Draw) -> Path:
    image = io.BytesIO()
    with h5py.File(image, "w", userblock_size=512) as file:
        _dataset(file, "data", draw)
        for item in file.values():
            item.attrs["MATLAB_class"] = np.bytes_(draw(st.sampled_from(["uint16", "double", "struct", "cell", ""])))
        _tree(file, draw)
    content = bytearray(image.getvalue())
    content[:20] = b"MATLAB 7.3 MAT-file "
    (folder / "a.mat").write_bytes(damaged(bytes(content), draw))
    return folder / "a.mat"


def safetensors(model: bytes) -> Callable[[Path, Draw], Path]:
    """Mutations of a model: of the header of the file, and of the tree of the model in it."""
    (n,) = struct.unpack("<Q", model[:8])
    outer = json.loads(model[8 : 8 + n])
    inner = json.loads(outer["__metadata__"]["cyclestrain"])
    inner.pop("checksum")  # what somebody writes who knows the format

    def make(folder: Path, draw: Draw) -> Path:
        header = dict(outer)
        tree = mutated(inner, draw) if draw(st.integers(0, 3)) else inner
        header["__metadata__"] = {"cyclestrain": json.dumps(tree)}
        if draw(st.booleans()):
            header = mutated(header, draw)
        text = json.dumps(header).encode()
        length = draw(st.sampled_from([len(text)] * 8 + [0, 2**63, 2**40, len(text) // 2]))
        (folder / "a.safetensors").write_bytes(struct.pack("<Q", length) + text + model[8 + n :])
        return folder / "a.safetensors"

    return make


FORMATS: dict[str, Callable[[Path, Draw], Path]] = {
    "npy": npy,
    "npz": npz,
    "zarr": zarr_store,
    "hdf5": hdf5,
    "matlab": matlab,
}

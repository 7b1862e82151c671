"""Scans written as events, in every layout that is read."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import scipy.sparse


def matrix(array: np.ndarray) -> scipy.sparse.csr_matrix:
    """A row per position, a column per pixel."""
    return scipy.sparse.csr_matrix(array.reshape(np.prod(array.shape[:-2]), -1))


def electrons(array: np.ndarray) -> list[np.ndarray]:
    """Flat pixel of every electron of every pattern, in the order of the pixels."""
    rows = array.reshape(-1, np.prod(array.shape[-2:]))
    return [np.repeat(np.arange(row.size), row).astype(np.uint32) for row in rows]


def write_counted(path: Path, array: np.ndarray, version: int = 1) -> None:
    """As stempy writes electron counts.

    Version 1 lists a pixel that was hit twice twice. In version 2 a position may have frames at the end of the file as
    well, version 3 has the same number of frames for each, one after another.
    """
    hits, n = electrons(array), int(np.prod(array.shape[:2]))
    frames, positions = hits, np.arange(n, dtype=np.int32)
    if version == 2:
        order = np.random.default_rng(0).permutation(n)
        frames = [hits[k][::2] for k in range(n)] + [hits[k][1::2] for k in order]
        positions = np.concatenate([positions, order]).astype(np.int32)
    if version == 3:
        frames = [part for one in hits for part in (one[::3], one[1::3], one[2::3])]
    with h5py.File(path, "w") as file:
        if version > 1:
            file.attrs["version"] = version
        where = file.create_dataset("electron_events/scan_positions", data=positions)
        where.attrs["Nx"], where.attrs["Ny"] = array.shape[1], array.shape[0]
        listed = file.create_dataset("electron_events/frames", (len(frames),), h5py.vlen_dtype(np.uint32))
        listed.attrs["Nx"], listed.attrs["Ny"] = array.shape[2:]
        for k, pixels in enumerate(frames):
            listed[k] = pixels


def write_raw_csr(folder: Path, array: np.ndarray) -> Path:
    """As LiberTEM reads them: the header ``s.toml`` and three raw files."""
    rows = matrix(array.astype(array.dtype.newbyteorder("=")))
    text = [f"[params]\nfiletype = 'raw_csr'\nnav_shape = {list(array.shape[:2])}\nsig_shape = {list(array.shape[2:])}"]
    text.append("[raw_csr]")
    for name in ("indptr", "indices", "data"):
        values = getattr(rows, name).astype(array.dtype if name == "data" else np.int32)
        values.tofile(folder / f"{name}.raw")
        text.append(f"{name}_file = '{name}.raw'\n{name}_dtype = '{values.dtype.str}'")
    (folder / "s.toml").write_text("\n".join(text))
    return folder / "s.toml"


def write_npz(path: Path, array: np.ndarray, compressed: bool = True) -> None:
    """A sparse matrix of SciPy."""
    scipy.sparse.save_npz(path, scipy.sparse.csr_array(matrix(array)), compressed=compressed)

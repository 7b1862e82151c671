"""The intensities of a result: a data set of their own, stored in the group ``intensities`` and read lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.data import FloatArray, IntArray
from cyclestrain.errors import InputError
from cyclestrain.pattern import Dictionary, Intensities

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["intensities_dataset", "measured_reflections", "virtual_dark_field"]

TILE, DEEP = 64, 8
"""Positions along each side, and reflections, of the pieces in which intensities are stored.

One reflection of a large scan is read without the others, and all of one position without the rest of the scan.
"""


def intensities_dataset(found: Intensities, dictionary: Dictionary, maps: xr.Dataset, affine: FloatArray) -> xr.Dataset:
    """Data set of the intensities of a scan.

    Parameters
    ----------
    found
        Intensities, shape ``(ry, rx, g)``.
    dictionary
        The entries whose reflections `g` runs over.
    maps
        Maps of the same scan, for the coordinates of its positions.
    affine
        Transform of every position in the labelling of the intensities, shape ``(ry, rx, 2, 2)``.

    Returns
    -------
    intensities
        `intensity` and `intensity_sigma`, dimensions ``(ry, rx, g)``, NaN for reflections of another class than that
        of the position. Coordinates of `g`: `g_class`, `g_h`, `g_k` (indices in the basis of the entry, NaN off its
        lattice), `g_y`, `g_x` (the reciprocal vector in the entry, pixels; at a position it is
        ``labelled_affine`` times that) and `g_friedel` (the index along `g` of the reflection at -g,
        -1 where there is none); `labelled_affine`, the transform of every position in the labelling of the intensities.
    """
    import xarray as xr

    entries = dictionary.entries
    label = np.concatenate([np.full(len(entry.reflections), k) for k, entry in enumerate(entries)])
    indices = np.concatenate([entry.indices for entry in entries])
    vectors = np.concatenate([entry.reflections for entry in entries])
    words: dict[str, tuple[Any, str, str]] = {
        "g_class": (label, "1", "dictionary entry of the reflection"),
        "g_h": (indices[:, 0], "1", "first index in the basis of the entry"),
        "g_k": (indices[:, 1], "1", "second index in the basis of the entry"),
        "g_y": (vectors[:, 0], "px", "reciprocal vector in the entry, detector row"),
        "g_x": (vectors[:, 1], "px", "reciprocal vector in the entry, detector column"),
        "g_friedel": (_friedel(label, indices), "1", "index along g of the reflection at -g, -1 for none"),
    }
    coords = {name: ("g", values, {"units": unit, "long_name": text}) for name, (values, unit, text) in words.items()}
    stored = {"chunksizes": tuple(np.minimum(found.value.shape, (TILE, TILE, DEEP)).tolist())}
    variables = {
        "intensity": (found.value, "counts in the disk, above the background"),
        "intensity_sigma": (found.sigma, "standard uncertainty of intensity"),
    }
    out = xr.Dataset(
        {
            name: (("ry", "rx", "g"), values, {"units": "counts", "long_name": text})
            for name, (values, text) in variables.items()
        },
        coords={**coords, **{dim: maps[dim] for dim in ("ry", "rx")}},
        attrs={
            "long_name": "intensity of every reflection at every position",
            "labelling": "a reflection of a class is the same one in a whole grain, in the labelling of rotation",
        },
    )
    for name in out.data_vars:
        out[name].encoding = dict(stored)
    text = "affine of the pattern in the labelling of the intensities: reflection g is at centre + labelled_affine g"
    out["labelled_affine"] = (("ry", "rx", "row", "column"), affine, {"units": "1", "long_name": text})
    return out


def _friedel(label: IntArray, indices: FloatArray) -> IntArray:
    """Index of the reflection of the same class with the opposite indices, -1 for none."""
    opposite = (label[:, None] == label[None]) & (np.abs(indices[:, None] + indices[None]) < 0.5).all(-1)
    return np.where(opposite.any(1), opposite.argmax(1), -1)


def measured_reflections(intensities: xr.Dataset) -> list[tuple[int, int]]:
    """Indices of all reflections that have intensities, those of small indices first.

    Parameters
    ----------
    intensities
        Those of a result.
    """
    pairs = np.stack([intensities["g_h"].values, intensities["g_k"].values], 1)
    known = np.unique(pairs[np.isfinite(pairs).all(1)].astype(int), axis=0)
    return [(int(h), int(k)) for h, k in known[np.argsort(np.abs(known).sum(1), kind="stable")]]


def virtual_dark_field(intensities: xr.Dataset, h: int, k: int) -> xr.Dataset:
    """Intensity of one reflection of every class that has it: a virtual dark field whose detector follows the lattice.

    Parameters
    ----------
    intensities
        Those of a result.
    h, k
        Indices of the reflection in the basis of its entry.

    Returns
    -------
    field
        `intensity` and `intensity_sigma`, dimensions ``(ry, rx)``, counts; NaN where the class has no such reflection.

    Raises
    ------
    InputError
        If no class has it.
    """
    import xarray as xr

    chosen = np.flatnonzero((intensities["g_h"].values == h) & (intensities["g_k"].values == k))
    if not len(chosen):
        known = measured_reflections(intensities)
        some = ", ".join(f"{a} {b}" for a, b in known[:8])
        raise InputError(f"there is no reflection {h} {k} in this result; it has {len(known)}, among them {some}")
    out = {}
    for name in ("intensity", "intensity_sigma"):
        each = [intensities[name].isel(g=int(g)).values for g in chosen]
        whole = each[0]
        for other in each[1:]:
            whole = np.where(np.isfinite(whole), whole, other)
        attrs = dict(intensities[name].attrs) | {"reflection": [h, k]}
        out[name] = (("ry", "rx"), whole, attrs)
    return xr.Dataset(out, coords={dim: intensities[dim] for dim in ("ry", "rx")})

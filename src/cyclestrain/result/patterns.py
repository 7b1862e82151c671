"""From a result back to its patterns: where the fitted reflections are, and the counts that were expected.

Beside the maps a result holds the whole transform of every position and the entries it belongs to, in the
coordinates of the detector: a reflection `g` of entry `k` is at ``centre + affine @ g``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cyclestrain.data import AffineField, BoolArray, Fields, FloatArray, Scan
from cyclestrain.errors import InputError
from cyclestrain.pattern import NO_IMAGES, Dictionary, DiskImages, Entry, Priors, Probe, expected_image, stacked_images

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Predicted",
    "Predictions",
    "expected",
    "pattern_variables",
    "pixel_noise",
    "predicted",
    "recorded_pattern",
    "stored_entries",
    "whole_covariance",
]

PAIRS = np.triu_indices(4)
"""Elements of a covariance of four numbers that are stored: its upper triangle, row by row."""
LEAST_EXPECTED = 0.05
"""Least expected counts of a pixel for its noise: below, single electrons would stand out like faults."""


def whole_covariance(triangle: FloatArray) -> FloatArray:
    """Covariance of four numbers, shape ``(..., 4, 4)``, from its upper triangle (`PAIRS`), shape ``(..., 10)``."""
    out = np.zeros((*triangle.shape[:-1], 4, 4))
    out[..., PAIRS[0], PAIRS[1]] = out[..., PAIRS[1], PAIRS[0]] = triangle
    return out


def stacked(arrays: list[FloatArray], fill: float = np.nan) -> FloatArray:
    """Stack arrays of different sizes, padded at the end of each axis.

    Parameters
    ----------
    arrays
        At least one, all with the same number of axes.
    fill
        Value of the padding.
    """
    out = np.full((len(arrays), *np.max([a.shape for a in arrays], axis=0)), fill)
    for k, a in enumerate(arrays):
        out[k][tuple(slice(n) for n in a.shape)] = a
    return out


def pattern_variables(fields: Fields, dictionary: Dictionary, good: BoolArray) -> dict[str, Any]:
    """Variables of a result from which its patterns can be drawn again.

    Parameters
    ----------
    fields
        What was found at every position, as it is on the detector: not corrected for an ellipse.
    dictionary
        Entries that were fitted.
    good
        Detector pixels that can be trusted, shape ``(qy, qx)``.
    """
    entries = dictionary.entries
    out: dict[str, Any] = {}
    for suffix, field in (("", fields.context), ("_raw", fields.affine)):
        out |= _transform(field, suffix)
    by_reflection, lengths = ("entry", "reflection"), [len(e.probe.values) for e in entries]
    probes = [np.pad(e.probe.values, (max(lengths) - n) // 2) for e, n in zip(entries, lengths, strict=True)]
    shape = {
        "oversampling": entries[0].probe.oversampling,
        "half": [e.probe.half for e in entries],
        "image": [int(e.probe.is_image) for e in entries],
    }
    described: dict[str, tuple[tuple[str, ...], Any, str, str]] = {
        "reflection_y": (by_reflection, stacked([e.reflections[:, 0] for e in entries]), "px", "row from centre"),
        "reflection_x": (by_reflection, stacked([e.reflections[:, 1] for e in entries]), "px", "column from centre"),
        "reflection_h": (by_reflection, stacked([e.indices[:, 0] for e in entries]), "1", "first index in the basis"),
        "reflection_k": (by_reflection, stacked([e.indices[:, 1] for e in entries]), "1", "second index in the basis"),
        "reflection_intensity": (
            by_reflection, stacked([e.intensity for e in entries]), "counts", "mean counts in the disk"
        ),
        "reflection_spread": (
            (*by_reflection, "deviation"), stacked([e.priors.spread for e in entries]), "1",
            "spread of intensity, level, slope y, x, position (px), contrast (slope, bowl, saddle)",
        ),
        "basis": (("entry", "row", "column"), np.stack([e.basis for e in entries]), "px", "lattice vectors, columns"),
        "operators": (
            ("entry", "operator", "row", "column"), stacked([e.operators for e in entries]), "1",
            "maps of the lattice onto itself",
        ),
        "background": (("entry", "radius"), stacked([e.background for e in entries]), "counts", "radial background"),
        "probe": (("entry", "py", "px"), np.stack(probes).astype(np.float32), "1", "disk of unit intensity"),
        "class_raw": (("ry", "rx"), fields.affine.label.astype(np.int8), "1", "dictionary entry of affine_raw"),
        "good_pixel": (("qy", "qx"), good, "1", "detector pixels that can be trusted"),
    }  # fmt: skip
    out |= {
        name: (dims, values, {"units": unit, "long_name": text})
        for name, (dims, values, unit, text) in described.items()
    }
    out["probe"][2].update(shape)
    if any(entry.overlaps for entry in entries):
        text = "distance from the beam of the pixels compared where disks overlap: inner, outer; NaN where they do not"
        annuli = np.array([entry.annulus or (np.nan, np.nan) for entry in entries])
        out["annulus"] = (("entry", "edge"), annuli, {"units": "px", "long_name": text})
    if any(entry.has_film for entry in entries):
        text = "second profile of the background, of which patterns hold more or less; zero where all have one shape"
        films = stacked([entry.film if entry.has_film else np.zeros(len(entry.background)) for entry in entries])
        out["film"] = (("entry", "radius"), films, {"units": "counts", "long_name": text})
    if any(entry.blur > 0 for entry in entries):
        text = "spread, from pattern to pattern, of the variance of a blur of all disks; zero where they are alike"
        out["blur"] = (("entry",), np.array([entry.blur for entry in entries]), {"units": "px2", "long_name": text})
    return out | _disk_images(entries)


def _disk_images(entries: tuple[Entry, ...]) -> dict[str, Any]:
    """What each disk shows in all patterns beyond the probe, NaN around smaller images; nothing where none does."""
    disks = [entry.disks for entry in entries]
    images = stacked_images(disks, max(len(entry.reflections) for entry in entries), np.nan)
    if not images.size:
        return {}
    text = "what the disk of a reflection shows in all patterns beyond the probe, for unit intensity"
    about = {"units": "1", "long_name": text, "nodes_per_pixel": max(each.step for each in disks)}
    return {"disk_image": (("entry", "reflection", "iy", "ix"), images, about)}


def _transform(field: AffineField, suffix: str) -> dict[str, Any]:
    """The affine of every position with its covariance."""
    dims = ("ry", "rx")
    text = "affine A of the pattern: a reflection g of the entry is at centre + A g"
    pairs = "upper triangle of the covariance of (A_yy, A_yx, A_xy, A_xx), row by row"
    covariance = field.covariance[..., PAIRS[0], PAIRS[1]].astype(np.float32)
    affine = np.where(field.usable[..., None, None], field.affine, np.nan).astype(np.float32)
    return {
        f"affine{suffix}": ((*dims, "row", "column"), affine, {"units": "1", "long_name": text}),
        f"affine{suffix}_covariance": ((*dims, "pair"), covariance, {"units": "1", "long_name": pairs}),
    }


def _checked(maps: xr.Dataset, ry: int, rx: int) -> None:
    """Make sure that a result holds its transform, and the position.

    Raises
    ------
    InputError
        If it does not.
    """
    missing = [name for name in ("affine", "centre_y", "class", "reflection_y") if name not in maps]
    if missing:
        raise InputError(
            f"this result holds no {missing[0]!r}, which older versions did not store: map the scan again, with "
            "`cyclestrain map --config RESULT.nc`, to draw its fit over the patterns"
        )
    n_rows, n_columns = maps.sizes["ry"], maps.sizes["rx"]
    if not (0 <= ry < n_rows and 0 <= rx < n_columns):
        raise InputError(
            f"there is no position ({ry}, {rx}): the maps have rows 0 to {n_rows - 1} and columns 0 to {n_columns - 1}"
        )


def _transform_at(maps: xr.Dataset, ry: int, rx: int) -> tuple[int, FloatArray, FloatArray]:
    """Entry, affine and beam centre of a position; the entry is -1 where no crystal was fitted."""
    affine = maps["affine"].values[ry, rx].astype(float)
    centre = np.array([float(maps[name].values[ry, rx]) for name in ("centre_y", "centre_x")])
    entry = int(maps["class"].values[ry, rx]) if np.isfinite(affine).all() and np.isfinite(centre).all() else -1
    return entry, affine, centre


def stored_entries(maps: xr.Dataset) -> tuple[Entry, ...]:
    """The dictionary of a result, as far as its patterns need it: without the averaged patterns.

    Parameters
    ----------
    maps
        A result that holds its transform.
    """
    return tuple(_entry(maps.isel(entry=k), _stored_probe(maps, k)) for k in range(maps.sizes["entry"]))


def _stored_probe(maps: xr.Dataset, k: int) -> Probe:
    """Probe of an entry."""
    about = maps["probe"].attrs
    half, image = (np.broadcast_to(about.get(name, 0), maps.sizes["entry"])[k] for name in ("half", "image"))
    return Probe(maps["probe"].values[k].astype(float), int(about["oversampling"]), int(half), bool(image))


def _entry(one: xr.Dataset, probe: Probe) -> Entry:
    here = np.isfinite(one["reflection_y"].values)
    operators, background = one["operators"].values, one["background"].values
    film = one["film"].values[np.isfinite(background)] if "film" in one else np.zeros(0)  # stored where one has any
    annulus = one["annulus"].values if "annulus" in one else np.full(2, np.nan)  # stored where disks overlap

    def pair(a: str, b: str) -> FloatArray:
        return np.stack([one[f"reflection_{name}"].values[here] for name in (a, b)], 1)

    return Entry(
        disks=_stored_images(one, here),
        reflections=pair("y", "x"),
        intensity=one["reflection_intensity"].values[here],
        basis=one["basis"].values,
        indices=pair("h", "k"),
        operators=operators[np.isfinite(operators).all((-1, -2))],
        background=background[np.isfinite(background)],
        film=film if film.any() else np.zeros(0),
        blur=float(one["blur"]) if "blur" in one else 0.0,  # stored where disks of any differ
        probe=probe,
        priors=Priors(one["reflection_spread"].values[here]),
        average=np.zeros((1, 1)),
        annulus=(float(annulus[0]), float(annulus[1])) if np.isfinite(annulus).all() else None,
    )


def _stored_images(one: xr.Dataset, here: BoolArray) -> DiskImages:
    """Images of the disks of an entry."""
    if "disk_image" not in one or np.isnan(one["disk_image"].values).all():
        return NO_IMAGES
    images = one["disk_image"].values[here]
    seen = np.isfinite(images).all(0).any(0)
    return DiskImages(
        images[:, seen][:, :, seen].astype(float), int(one["disk_image"].attrs["nodes_per_pixel"]),
        np.zeros(int(here.sum())),
    )  # fmt: skip


def predicted(maps: xr.Dataset, ry: int, rx: int) -> xr.Dataset:
    """Reflections of the fitted pattern of one position, in detector pixels.

    Parameters
    ----------
    maps
        A result.
    ry, rx
        Row and column of the position, counted from 0.

    Returns
    -------
    reflections
        Dimension ``reflection``; `y`, `x` (pixels; pixel centres at integers), `h`, `k` (indices in the basis of the
        entry, NaN off its lattice), `intensity` (expected counts in the disk: those of the entry times the gain of the
        position). Attributes: `disk_radius`, `centre_y`, `centre_x` (pixels) and `class`. Empty, with class -1, where
        no crystal was fitted.

    Raises
    ------
    InputError
        If there is no such position, or the result is of a version that did not store the transform.
    """
    import xarray as xr

    found = Predictions(maps).at(ry, rx)
    variables: dict[str, Any] = {
        "y": (("reflection",), found.y, {"units": "px", "long_name": "detector row"}),
        "x": (("reflection",), found.x, {"units": "px", "long_name": "detector column"}),
        "h": (("reflection",), found.h),
        "k": (("reflection",), found.k),
        "intensity": (("reflection",), found.intensity, {"units": "counts"}),
    }
    y, x = found.centre
    attrs = {"class": found.label, "disk_radius": found.disk_radius, "centre_y": y, "centre_x": x}
    return xr.Dataset(variables, attrs=attrs)


@dataclass(frozen=True)
class Predicted:
    """Reflections of the fitted pattern of one position, see `predicted`, of which it has the names.

    Attributes
    ----------
    y, x, h, k, intensity
        Of every reflection, shape ``(n_reflections,)``.
    label
        Class of the position, -1 where no crystal was fitted.
    disk_radius
        Pixels.
    centre
        ``(y, x)`` of the direct beam, pixels.
    """

    y: FloatArray
    x: FloatArray
    h: FloatArray
    k: FloatArray
    intensity: FloatArray
    label: int
    disk_radius: float
    centre: tuple[float, float]


class Predictions:
    """What `predicted` gives, for who asks for one position after the other: as plain arrays, which takes no time.

    Parameters
    ----------
    maps
        A result.
    """

    def __init__(self, maps: xr.Dataset) -> None:
        self._maps = maps
        self._entries: dict[int, tuple[dict[str, FloatArray], float]] = {}

    def at(self, ry: int, rx: int) -> Predicted:
        """See `predicted`."""
        maps = self._maps
        _checked(maps, ry, rx)
        label, affine, centre = _transform_at(maps, ry, rx)
        own, radius = self._entry(max(label, 0))
        here = np.full(len(own["y"]), label >= 0)
        places = centre + np.stack([own["y"], own["x"]], 1)[here] @ affine.T
        gain = float(maps["gain"].values[ry, rx])
        return Predicted(
            y=places[:, 0],
            x=places[:, 1],
            h=own["h"][here],
            k=own["k"][here],
            intensity=gain * own["intensity"][here],
            label=label,
            disk_radius=radius,
            centre=(centre[0], centre[1]),
        )

    def _entry(self, k: int) -> tuple[dict[str, FloatArray], float]:
        """Reflections of an entry, and the radius of its disk."""
        if k not in self._entries:
            columns = {name: self._maps[f"reflection_{name}"].values[k] for name in ("y", "x", "h", "k", "intensity")}
            here = np.isfinite(columns["y"])
            found = {name: values[here] for name, values in columns.items()}
            self._entries[k] = found, _stored_probe(self._maps, k).radius
        return self._entries[k]


def recorded_pattern(maps: xr.Dataset, scan: Scan, ry: int, rx: int) -> xr.DataArray:
    """The recorded pattern of one position, as it is in the file, dimensions ``(qy, qx)``.

    Parameters
    ----------
    maps
        A result.
    scan
        The scan it was made from, read as it was for the map.
    ry, rx
        Row and column of the position in the result, counted from 0.

    Raises
    ------
    InputError
        If there is no such position, or the scan is not the one that was mapped.
    """
    import xarray as xr

    _checked(maps, ry, rx)
    shape = (maps.sizes["ry"], maps.sizes["rx"], maps.sizes["qy"], maps.sizes["qx"])
    if scan.shape != shape:
        raise InputError(
            f"the result is of a scan of shape {shape}, {scan.name} has {scan.shape}; give the scan that was mapped, "
            "read with the same options (--scan-roi, --detector-roi, --bin)"
        )
    return xr.DataArray(np.asarray(scan.source[ry, rx]), dims=("qy", "qx"), name="pattern", attrs={"units": "counts"})


def expected(maps: xr.Dataset, scan: Scan, ry: int, rx: int) -> xr.DataArray:
    """Counts that the model expects at one position, dimensions ``(qy, qx)``, in the values of the file.

    The fitted transform is drawn with its entry; brightness, background level and, where the entry lets them vary,
    single intensities and contrast are the most probable ones of that pattern. What remains of ``pattern - expected``
    is what no transform of the entry explains.

    Parameters
    ----------
    maps, scan, ry, rx
        As for `recorded_pattern`.

    Returns
    -------
    counts
        NaN inside the ring that is used, beyond the outermost reflection (where disks overlap: outside of the annulus
        that is compared), at bad pixels, and everywhere if no crystal was fitted.

    Raises
    ------
    InputError
        As for `recorded_pattern`.
    """
    pattern = recorded_pattern(maps, scan, ry, rx)
    label, affine, centre = _transform_at(maps, ry, rx)
    calibration = json.loads(maps.attrs["calibration"])
    pedestal, good = float(calibration["pedestal"]), maps["good_pixel"].values.astype(bool)
    image: NDArray[Any] = np.full(pattern.shape, np.nan)
    if label >= 0:
        entry, scale = stored_entries(maps)[label], float(calibration["noise_scale"])
        above = pattern.values.astype(float) - pedestal
        counts = expected_image(above, good, entry, affine=affine, centre=centre, noise_scale=scale)
        y, x = np.indices(pattern.shape)
        farthest = np.hypot(*(affine @ entry.reflections.T)).max() + entry.probe.half
        inner, outer = entry.annulus or (calibration["ring"][0], farthest)
        radii = np.hypot(y - centre[0], x - centre[1])
        image = np.where(good & (radii >= inner) & (radii <= outer), counts + pedestal, np.nan)
    return pattern.copy(data=image).rename("expected")


def pixel_noise(maps: xr.Dataset, counts: FloatArray) -> FloatArray:
    """Standard deviation of every pixel where the model expects some counts, shape ``(qy, qx)``.

    Parameters
    ----------
    maps
        A result.
    counts
        What `expected` gives, in the values of the file.
    """
    calibration = json.loads(maps.attrs["calibration"])
    above = np.maximum(counts - float(calibration["pedestal"]), LEAST_EXPECTED)
    return np.asarray(np.sqrt(float(calibration["noise_scale"]) * above))

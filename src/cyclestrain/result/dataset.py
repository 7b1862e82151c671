"""The result as `xarray.Dataset`: one with every map of a run, and one with its dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from cyclestrain.data import Doubt, Fields, FloatArray, IntArray, Quantity, Scan, StrainMaps
from cyclestrain.pattern import Dictionary
from cyclestrain.result.patterns import PAIRS, stacked
from cyclestrain.strain import Reference

__all__ = [
    "NAMES",
    "UNITS",
    "MapResult",
    "assemble",
    "dictionary_dataset",
    "maps_beside",
    "strain_variables",
    "with_sigma",
]

UNITS = {"exx": "1", "eyy": "1", "exy": "1", "rotation": "rad"}
"""Unit of each component."""
DOUBT_ATTRIBUTES = {
    "long_name": "reasons for doubt, one bit each (CF flags)",
    "flag_masks": np.array([flag.value for flag in Doubt], np.uint16),
    "flag_meanings": " ".join(flag.name.lower() for flag in Doubt if flag.name),
    "meanings": "; ".join(f"{flag.value}: {flag.meaning}" for flag in Doubt),
}
"""Attributes of the map of doubt, after the CF conventions, section 3.5."""
NAMES = {
    "exx": "strain along x",
    "eyy": "strain along y",
    "exy": "tensor shear strain",
    "rotation": "lattice rotation, positive from +x (column) to +y (row)",
}
"""Long name of each component."""


@dataclass(frozen=True)
class MapResult:
    """Result of a run: ``maps`` with dimensions ``(ry, rx)``, and the ``dictionary`` that they were fitted with.

    `training` is the log of the network's training, None where none was trained; `intensities` are those of every
    reflection, None where they were not asked for.
    """

    maps: xr.Dataset
    dictionary: xr.Dataset
    training: xr.Dataset | None = None
    intensities: xr.Dataset | None = None

    @property
    def groups(self) -> dict[str, xr.Dataset]:
        """Data sets that are stored beside the maps, by name."""
        others = {"training": self.training, "intensities": self.intensities}
        return {"dictionary": self.dictionary} | {name: one for name, one in others.items() if one is not None}


def with_sigma(name: str, value: FloatArray, sigma: FloatArray, unit: str, text: str) -> dict[str, Any]:
    """Variables of a map and of its uncertainty, ``NAME`` and ``NAME_sigma``.

    Parameters
    ----------
    name, unit, text
        Name, unit and description.
    value, sigma
        Shape ``(ry, rx)``.
    """
    of_sigma = {"units": unit, "long_name": f"standard uncertainty of {name}"}
    return {
        name: (("ry", "rx"), value, {"units": unit, "long_name": text}),
        f"{name}_sigma": (("ry", "rx"), sigma, of_sigma),
    }


def maps_beside(maps: xr.Dataset, variables: dict[str, Any]) -> xr.Dataset:
    """Data set of maps that were made from a result: its coordinates, name and step.

    Parameters
    ----------
    maps
        The result.
    variables
        What was made, dimensions ``(ry, rx)``.
    """
    keep = {name: maps.attrs[name] for name in ("name", "real_step", "real_step_unit") if name in maps.attrs}
    return xr.Dataset(variables, coords={dim: maps[dim] for dim in ("ry", "rx")}, attrs=keep)


def strain_variables(maps: StrainMaps, suffix: str) -> dict[str, Any]:
    """Variables of a result for strain and rotation with their uncertainties.

    Parameters
    ----------
    maps
        Strain in the axes of the result.
    suffix
        ``""`` for the best estimate, ``_raw`` for each pattern alone.
    """
    out: dict[str, Any] = {}
    sigma = maps.sigma
    for k, name in enumerate(("eyy", "exx", "exy", "rotation")):
        out |= with_sigma(f"{name}{suffix}", getattr(maps, name), sigma[..., k], UNITS[name], NAMES[name])
    text = "upper triangle of the covariance of (eyy, exx, exy, rotation), row by row"
    triangle = maps.covariance[..., PAIRS[0], PAIRS[1]].astype(np.float32)
    out[f"strain{suffix}_covariance"] = (("ry", "rx", "pair"), triangle, {"units": "1", "long_name": text})
    return out


def assemble(
    fields: Fields, estimate: StrainMaps, raw: StrainMaps, reference: Reference, attrs: dict[str, Any], scan: Scan
) -> xr.Dataset:
    """Put all maps of a run into one data set.

    Parameters
    ----------
    fields
        What was found at every position.
    estimate, raw
        Strain with and without the neighbours' information, in the axes of the result.
    reference
        Reference that strain is relative to.
    attrs
        Attributes of the data set.
    scan
        Scan, for coordinates and calibration.
    """
    dims = ("ry", "rx")
    order = ("exx", "eyy", "exy", "rotation")
    variables = strain_variables(estimate, "") | strain_variables(raw, "_raw")
    covariances = {name: variables[name] for name in ("strain_covariance", "strain_raw_covariance")}
    variables = {
        name: variables[name]
        for suffix in ("", "_raw", "_sigma", "_raw_sigma")
        for name in (f"{c}{suffix}" for c in order)
    }
    valid = fields.context.valid & np.isfinite(estimate.exx)
    variables |= {
        "class": (dims, fields.context.label.astype(np.int8), {"long_name": "dictionary entry, -1 for none"}),
        "class_confidence": (dims, fields.confidence, {"units": "1", "long_name": "probability of the class"}),
        # A crystal that is seen only with the help of its neighbours is there as well.
        "sample": (dims, fields.sample | fields.context.valid, {"long_name": "a crystal is there"}),
        "valid": (dims, valid, {"long_name": "the estimate is meant to be used"}),
        "reference": (dims, reference.mask, {"long_name": "positions of the reference region"}),
        "centre_y": (dims, fields.centre[..., 0], {"units": "px", "long_name": "beam centre, detector row"}),
        "centre_x": (dims, fields.centre[..., 1], {"units": "px", "long_name": "beam centre, detector column"}),
        "gain": (dims, fields.gain, {"units": "1", "long_name": "brightness of the reflections relative to the entry"}),
        "log_likelihood": (
            dims,
            -0.5 * fields.misfit,
            {
                "units": "1",
                "long_name": "log-likelihood per degree of freedom (-1/2 where the model explains the pattern)",
            },
        ),
    }
    if fields.share is not None:
        text = "part of the probe in the dominant crystal"
        variables["share"] = (dims, fields.share, {"units": "1", "long_name": text})
        variables["share_sigma"] = (
            dims, fields.share_sigma, {"units": "1", "long_name": "standard uncertainty of share"}
        )  # fmt: skip
    variables |= covariances
    variables["doubt"] = (dims, _doubt(fields), DOUBT_ATTRIBUTES)
    coords: dict[str, Any] = {}
    for dim, size, first in zip(dims, scan.scan_shape, scan.origin, strict=True):
        step = scan.real_step or Quantity(1.0, "positions")
        coords[dim] = ((dim,), (first + np.arange(size)) * step.value, {"units": step.unit})
    return xr.Dataset(variables, coords=coords, attrs=attrs)


def _doubt(fields: Fields) -> IntArray:
    return np.zeros(fields.sample.shape, np.uint16) if fields.doubt is None else fields.doubt.astype(np.uint16)


def dictionary_dataset(dictionary: Dictionary) -> xr.Dataset:
    """Data set of a dictionary: averages, reflections, lattice vectors, probe and background of every entry.

    The probe is that of the first entry.
    """
    entries = dictionary.entries
    averages = [e.average for e in entries]
    size = max(a.shape[0] for a in averages)
    centred = [np.pad(a, (size - a.shape[0]) // 2, constant_values=np.nan) for a in averages]
    by_reflection = ("class", "reflection")
    variables: dict[str, Any] = {
        "average": (("class", "y", "x"), np.stack(centred), {"long_name": "averaged pattern", "units": "counts"}),
        "reflection_y": (by_reflection, stacked([e.reflections[:, 0] for e in entries]), {"units": "px"}),
        "reflection_x": (by_reflection, stacked([e.reflections[:, 1] for e in entries]), {"units": "px"}),
        "reflection_h": (by_reflection, stacked([e.indices[:, 0] for e in entries])),
        "reflection_k": (by_reflection, stacked([e.indices[:, 1] for e in entries])),
        "reflection_intensity": (by_reflection, stacked([e.intensity for e in entries]), {"units": "counts"}),
        "reflection_spread": (
            ("class", "reflection", "deviation"), stacked([e.priors.spread for e in entries]),
            {"long_name": "widths: intensity, level, slope y, x, position (px), contrast (slope, bowl, saddle, cubic)"},
        ),
        "basis": (("class", "row", "column"), np.stack([e.basis for e in entries]), {"units": "px"}),
        "symmetry": (("class",), np.array([e.symmetry for e in entries])),
        "background": (("class", "radius"), stacked([e.background for e in entries]), {"units": "counts"}),
        "probe": (
            ("py", "px"), entries[0].probe.values,
            {"oversampling": entries[0].probe.oversampling, "long_name": "disk of unit intensity"}
            | ({"radius": entries[0].probe.radius} if entries[0].probe.is_image else {}),
        ),
    }  # fmt: skip
    attrs = {"centre_y": (size - 1) / 2, "centre_x": (size - 1) / 2, "noise_scale": dictionary.noise_scale}
    return xr.Dataset(variables, attrs=attrs)

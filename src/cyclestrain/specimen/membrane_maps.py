"""Maps of a membrane from results of scans at known tilts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.errors import InputError
from cyclestrain.result import maps_beside, strain_covariance, with_sigma
from cyclestrain.specimen.ripples import fit_membrane, slope_bound

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["membrane_maps"]

_COMPONENTS = ("eyy", "exx", "exy", "rotation")
_TEXTS = {
    "slope_y": ("1", "slope of the membrane along y, dh/dy, towards the source"),
    "slope_x": ("1", "slope of the membrane along x, dh/dx, towards the source"),
    "eyy": ("1", "strain along y in the membrane, without foreshortening"),
    "exx": ("1", "strain along x in the membrane, without foreshortening"),
    "exy": ("1", "tensor shear in the membrane, without foreshortening"),
    "rotation": ("rad", "rotation in the membrane"),
}
MISFIT = 4.0
"""Chi-square per degree of freedom beyond which no membrane explains the scans."""


def membrane_maps(maps: Sequence[xr.Dataset], tilts: Sequence[float], axis: float = 0.0) -> xr.Dataset:
    """Slope and strain of several scans, or a bound of the slope from one, see `cyclestrain.tilt_series`.

    Parameters
    ----------
    maps
        Results of the same positions.
    tilts
        Tilt of the stage in each, degrees.
    axis
        Direction of the tilt axis on the detector, degrees from +x towards +y.

    Raises
    ------
    InputError
        If the scans differ in shape, or tilts are missing or too near to each other.
    """
    _check(maps, tilts)
    return _one(maps[0]) if len(maps) == 1 else _several(maps, tilts, axis)


def _check(maps: Sequence[xr.Dataset], tilts: Sequence[float]) -> None:
    if len(tilts) != len(maps):
        raise InputError(f"{len(maps)} results need as many tilts, not {len(tilts)}: --tilts 0 15 for two")
    shapes = {(one.sizes["ry"], one.sizes["rx"]) for one in maps}
    if len(shapes) > 1:
        raise InputError(f"the scans have different shapes, {sorted(shapes)}; crop them with --scan-roi")
    if any(one.attrs.get("axes", "detector") != "detector" for one in maps):
        raise InputError("strain should be in axes of the detector; map the scans again with --axes detector")
    if not np.isfinite(tilts).all() or np.abs(tilts).max() > 70 or (len(maps) > 1 and np.ptp(tilts) < 3):
        raise InputError("tilts are degrees between -70 and 70, of two scans at least 3 degrees apart")


def _measured(maps: xr.Dataset) -> tuple[FloatArray, FloatArray]:
    """``(eyy, exx, exy, rotation)`` of all positions and its covariance; NaN where it is not valid."""
    value = np.stack([maps[name].values for name in _COMPONENTS], -1).reshape(-1, 4).astype(float)
    value[~maps["valid"].values.ravel().astype(bool)] = np.nan
    return value, strain_covariance(maps).reshape(-1, 4, 4)


def _one(maps: xr.Dataset) -> xr.Dataset:
    value, covariance = _measured(maps)
    bound = slope_bound(value[:, :3], covariance[:, :3, :3])
    out = {name: (value[:, k], bound.sigma[:, k], *_TEXTS[name]) for k, name in enumerate(_COMPONENTS[:3])}
    found = _dataset(maps, out)
    shape = (maps.sizes["ry"], maps.sizes["rx"])
    text = {"units": "1", "long_name": "upper bound of the slope, if the membrane is not stretched"}
    found["slope_bound"] = (("ry", "rx"), bound.slope.reshape(shape), text)
    text = {"long_name": "strain is as a slope makes it; a compression along one direction looks the same"}
    found["foreshortened"] = (("ry", "rx"), bound.foreshortened.reshape(shape), text)
    return found


def _several(maps: Sequence[xr.Dataset], tilts: Sequence[float], axis: float) -> xr.Dataset:
    values, covariances = zip(*(_measured(one) for one in maps), strict=True)
    across = np.deg2rad(axis) + np.pi / 2
    lifted = np.tan(np.deg2rad(np.asarray(tilts, float)))[:, None] * np.array([np.sin(across), np.cos(across)])
    found = fit_membrane(np.stack(values), np.stack(covariances), lifted)
    sigma = np.sqrt(np.einsum("nii->ni", found.covariance))
    out = {name: (found.value[:, k], sigma[:, k], *words) for k, (name, words) in enumerate(_TEXTS.items())}
    made, shape = _dataset(maps[0], out), (maps[0].sizes["ry"], maps[0].sizes["rx"])
    text = {"units": "1", "long_name": "chi-square per degree of freedom"}
    made["misfit"] = (("ry", "rx"), found.chi_square.reshape(shape), text)
    made["valid"] = (("ry", "rx"), (found.chi_square < MISFIT).reshape(shape), {"long_name": "may be used"})
    return made.assign_attrs(tilts_deg=list(map(float, tilts)), tilt_axis_deg=float(axis))


def _dataset(maps: xr.Dataset, found: dict[str, tuple[FloatArray, FloatArray, str, str]]) -> xr.Dataset:
    shape = (maps.sizes["ry"], maps.sizes["rx"])
    out: dict[str, Any] = {}
    for name, (value, sigma, *words) in found.items():
        out |= with_sigma(name, value.reshape(shape), sigma.reshape(shape), *words)
    return maps_beside(maps, out)

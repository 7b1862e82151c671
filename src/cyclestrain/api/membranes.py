"""`tilt_series`: slope and strain of a membrane from scans at known tilts of the stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.api.arguments import PathLike
from cyclestrain.data import FloatArray
from cyclestrain.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["tilt_series"]

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


def tilt_series(
    results: Sequence[PathLike | xr.Dataset],
    output: PathLike | None = None,
    *,
    tilts: Sequence[float],
    tilt_axis: float = 0.0,
    force: bool = False,
) -> xr.Dataset:
    """Tell slope and strain of a membrane apart, from scans of the same positions at known tilts of the stage.

    A slope shortens the projected lattice, which in one scan is the same as a strain. Of one scan an upper bound of the
    slope is given, and strain whose sigma holds what such a slope would do. Two or more tilts give slope and strain.
    Positions must be those of the same places of the membrane, and each result relative to the same flat part of it:
    a slope of that part is taken for none, and a drift between scans for a slope.

    Parameters
    ----------
    results
        Results of ``map``, in axes of the detector (the default); in Python also data sets.
    output
        File to write (netCDF); by default nothing is written.
    tilts
        Tilt of the stage in each scan, degrees, at least 3 degrees apart: positive where, 90 degrees further than the
        tilt axis from +x towards +y, the membrane is lifted towards the source.
    tilt_axis
        Direction of the tilt axis on the detector, degrees from +x towards +y.
    force
        Whether an existing file is replaced.

    Returns
    -------
    membrane
        Dimensions ``(ry, rx)``. Of several scans `slope_y`, `slope_x`, `eyy`, `exx`, `exy`, `rotation` with `_sigma`,
        `misfit` (chi-square per degree of freedom) and `valid`. Of one scan `slope_bound`, `foreshortened` (the strain
        is as a slope makes it: a ripple, or a compression along one direction, which one scan cannot tell apart) and
        `eyy`, `exx`, `exy` with `_sigma`.

    Raises
    ------
    InputError
        If the scans differ in shape, or tilts are missing or too near to each other.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import cyclestrain as cs
    >>> made = cs.simulate("uniform", scan=(4, 4), detector=(96, 96), radius=3.0, background=0.2)
    >>> found = cs.tilt_series([cs.map(made.scan)], tilts=[0])
    >>> int(found.foreshortened.sum())
    0
    """
    import xarray as xr

    from cyclestrain.files import check_writable
    from cyclestrain.result import load_result, save_result

    if output is not None:
        check_writable(output, force)
    each = [one if isinstance(one, xr.Dataset) else load_result(one) for one in results]
    _check(each, tilts)
    found = _one(each[0]) if len(each) == 1 else _several(each, tilts, tilt_axis)
    if output is not None:
        save_result(found, output, force)
    return found


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
    covariance = np.zeros((len(value), 4, 4))
    upper = np.triu_indices(4)
    if "strain_covariance" in maps:
        pairs = maps["strain_covariance"].values.reshape(-1, 10)
        covariance[:, upper[0], upper[1]] = covariance[:, upper[1], upper[0]] = pairs
    else:
        sigma = np.stack([maps[f"{name}_sigma"].values for name in _COMPONENTS], -1).reshape(-1, 4)
        covariance[:] = sigma[..., None] ** 2 * np.eye(4)
    value[~maps["valid"].values.ravel().astype(bool)] = np.nan
    return value, covariance


def _one(maps: xr.Dataset) -> xr.Dataset:
    from cyclestrain.specimen import slope_bound

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
    from cyclestrain.specimen import fit_membrane

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
    import xarray as xr

    shape = (maps.sizes["ry"], maps.sizes["rx"])
    out: dict[str, Any] = {}
    for name, (value, sigma, unit, text) in found.items():
        out[name] = (("ry", "rx"), value.reshape(shape), {"units": unit, "long_name": text})
        attrs = {"units": unit, "long_name": f"standard uncertainty of {name}"}
        out[f"{name}_sigma"] = (("ry", "rx"), sigma.reshape(shape), attrs)
    keep = {name: maps.attrs[name] for name in ("name", "real_step", "real_step_unit") if name in maps.attrs}
    return xr.Dataset(out, coords={dim: maps[dim] for dim in ("ry", "rx")}, attrs=keep)

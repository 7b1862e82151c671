"""Maps that follow from those of a result: principal strains, dilation, largest shear, gradient of the rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.result.dataset import with_sigma
from cyclestrain.result.lines import estimate_suffix, lattice_period
from cyclestrain.result.patterns import whole_covariance
from cyclestrain.strain import Estimate, dilation, principal_strains, rotation_gradient

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["curvature", "principal", "principal_estimates", "strain_covariance"]

_NAMES = {
    "largest": ("1", "largest principal strain"),
    "smallest": ("1", "smallest principal strain"),
    "dilation": ("1", "relative change of area, exx + eyy"),
    "shear": ("1", "largest tensor shear in any axes, half the difference of the principal strains"),
    "angle": ("rad", "direction of the largest principal strain, from +x (column) to +y (row)"),
}


def principal(maps: xr.Dataset, estimate: Literal["", "raw"] = "") -> xr.Dataset:
    """Principal strains, their direction, dilation and largest shear of every position.

    Parameters
    ----------
    maps
        A result.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.

    Returns
    -------
    principal
        `largest` and `smallest` principal strain, `dilation` (exx + eyy, the change of area), `shear` (half of their
        difference, the largest tensor shear), each with `_sigma`, and `angle` of the largest one from +x (column)
        towards +y (row), radians, with `angle_sigma` (at most that of an angle that is not known). Sigmas follow from
        the covariance of the components; results of earlier versions, which do not hold it, take them as independent.
        Where `shear` is not well above its sigma, noise alone makes it positive, and the angle means nothing.
    """
    found = principal_estimates(maps, estimate)
    return _dataset(maps, {name: (found[name], *words) for name, words in _NAMES.items()})


def principal_estimates(maps: xr.Dataset, estimate: Literal["", "raw"] = "") -> dict[str, Estimate]:
    """What `principal` gives, by its names, as plain arrays with their sigmas.

    Parameters
    ----------
    maps, estimate
        As for `principal`.
    """
    suffix = estimate_suffix(estimate)
    strain = np.stack([maps[f"{name}{suffix}"].values for name in ("eyy", "exx", "exy")], -1)
    covariance = strain_covariance(maps, suffix)[..., :3, :3]
    return principal_strains(strain, covariance) | {"dilation": dilation(strain, covariance)}


def curvature(maps: xr.Dataset, estimate: Literal["", "raw"] = "") -> xr.Dataset:
    """How fast the lattice turns along the scan, see `cyclestrain.strain.rotation_gradient`.

    Parameters
    ----------
    maps, estimate
        As for `principal`.

    Returns
    -------
    gradient
        `along_y` and `along_x`, radians per unit of the probe step (per position where that is unknown), each with
        `_sigma`. Blank where no neighbour is of the same class.
    """
    suffix = estimate_suffix(estimate)
    angle, sigma = (maps[f"rotation{suffix}{part}"].values.astype(float) for part in ("", "_sigma"))
    good = np.isfinite(angle)
    if "valid" in maps:
        good &= maps["valid"].values.astype(bool)
    period = np.full(angle.shape, 2 * np.pi)
    period[good] = lattice_period(maps, good)
    label = np.where(good, maps["class"].values if "class" in maps else 0, -1).astype(int)
    step, unit = float(maps.attrs.get("real_step", 1.0)), str(maps.attrs.get("real_step_unit", "position"))
    found = rotation_gradient(angle, sigma, period, label, step)
    names = {name: f"gradient of the rotation along {name[-1]} of the scan" for name in found}
    return _dataset(maps, {name: (found[name], f"rad/{unit}", names[name]) for name in found})


def strain_covariance(maps: xr.Dataset, suffix: str = "") -> FloatArray:
    """Covariance of ``(eyy, exx, exy, rotation)``, shape ``(ry, rx, 4, 4)``; independent where a result has none.

    Parameters
    ----------
    maps
        A result.
    suffix
        ``""`` for the best estimate, ``_raw`` for each pattern alone.
    """
    if f"strain{suffix}_covariance" in maps:
        return whole_covariance(maps[f"strain{suffix}_covariance"].values)
    names = ("eyy", "exx", "exy", "rotation")
    sigma = np.stack([maps[f"{name}{suffix}_sigma"].values for name in names], -1).astype(float)
    return np.asarray(sigma[..., None] ** 2 * np.eye(4))


def _dataset(maps: xr.Dataset, found: dict[str, tuple[Estimate, str, str]]) -> xr.Dataset:
    import xarray as xr

    out: dict[str, Any] = {}
    for name, (estimate, unit, text) in found.items():
        out |= with_sigma(name, estimate.value, estimate.sigma, unit, text)
    return xr.Dataset(out, coords=maps[["exx"]].coords, attrs=maps.attrs)

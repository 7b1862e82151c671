"""What is asked of strain maps along a line: profiles across interfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cyclestrain.data import FloatArray
from cyclestrain.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["estimate_suffix", "lattice_period", "profile"]

COMPONENTS = ("exx", "eyy", "exy", "rotation")


def profile(
    maps: xr.Dataset,
    start: tuple[float, float],
    stop: tuple[float, float],
    width: float = 1.0,
    estimate: Literal["", "raw"] = "",
) -> xr.Dataset:
    """Strain and rotation along a line, averaged across it.

    Positions are taken as they were measured: each belongs to the nearest whole step along the line, nothing is
    interpolated. Positions that are not valid do not count.

    Parameters
    ----------
    maps
        A result.
    start, stop
        First and last position ``(ry, rx)`` of the line, counted from 0; they need not be whole numbers.
    width
        Width across the line within which positions are averaged, positions.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.

    Returns
    -------
    profile
        Dimension ``distance`` from `start`, in the unit of the probe step, else in positions. Each component with its
        `_sigma`, and `n`, the number of positions in each mean. A sigma is that of the mean where patterns stand alone
        (``raw``); of the best estimate it is the mean sigma, since estimates of neighbours lean on the same patterns.
        Rotation is averaged as an angle, modulo the symmetry of the class.

    Raises
    ------
    InputError
        If the line has no length, no position lies on it, or the width is less than one position.
    """
    import xarray as xr

    (y0, x0), (y1, x1) = start, stop
    length = float(np.hypot(y1 - y0, x1 - x0))
    if not length > 0 or not width >= 1:
        raise InputError(
            f"a profile needs two different ends and a width of at least 1 position, got {start} to {stop}, {width:g}"
        )
    along = np.array([y1 - y0, x1 - x0]) / length
    rows, columns = np.mgrid[: maps.sizes["ry"], : maps.sizes["rx"]]
    offset = np.stack([rows - y0, columns - x0], -1)
    t, across = offset @ along, offset @ (along[1], -along[0])
    suffix = estimate_suffix(estimate)
    good = np.isfinite(maps[f"exx{suffix}"].values)
    if "valid" in maps:
        good &= maps["valid"].values.astype(bool)
    n_bins = int(np.floor(length + 0.5)) + 1
    bins = np.floor(t + 0.5).astype(int)
    here = good & (np.abs(across) <= width / 2) & (bins >= 0) & (bins < n_bins)
    if not here.any():
        raise InputError(
            f"no valid position lies on the line from {start} to {stop}; choose another, or a larger width"
        )
    place = bins[here]
    count = np.bincount(place, minlength=n_bins)
    out: dict[str, Any] = {"n": (("distance",), count, {"long_name": "positions in the mean"})}
    for name in COMPONENTS:
        values, sigma = (maps[f"{name}{suffix}{part}"].values[here] for part in ("", "_sigma"))
        if name == "rotation":
            values = _near_each_other(values, lattice_period(maps, here))
        mean = _mean(values, place, n_bins)
        spread = np.sqrt(_mean(sigma**2, place, n_bins))
        if estimate == "raw":
            spread /= np.sqrt(np.maximum(count, 1))
        attrs = maps[f"{name}{suffix}"].attrs
        out[name] = (("distance",), mean, attrs)
        out[f"{name}_sigma"] = (("distance",), spread, {"units": attrs.get("units", "1")})
    step, unit = maps.attrs.get("real_step", 1.0), maps.attrs.get("real_step_unit", "positions")
    coords = {"distance": (("distance",), np.arange(n_bins) * float(step), {"units": str(unit)})}
    return xr.Dataset(out, coords=coords, attrs={"start": list(start), "stop": list(stop), "width": float(width)})


def estimate_suffix(estimate: str) -> str:
    """End of the names of the variables of an estimate.

    Raises
    ------
    InputError
        If there is no such estimate.
    """
    if estimate not in ("", "raw"):
        raise InputError(f"estimate is '' for the best one or 'raw' for each pattern alone, not {estimate!r}")
    return f"_{estimate}" if estimate else ""


def _mean(values: FloatArray, place: Any, n: int) -> FloatArray:
    count = np.bincount(place, minlength=n)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(place, values, minlength=n) / np.where(count, count, np.nan))


def lattice_period(maps: xr.Dataset, here: Any) -> FloatArray:
    """Angle after which the lattice of the chosen positions looks the same, radians."""
    orders = np.atleast_1d(maps.attrs.get("symmetry", 1)).astype(float)
    label = maps["class"].values[here].astype(int) if "class" in maps else np.zeros(int(here.sum()), int)
    return np.asarray(2 * np.pi / orders[np.clip(label, 0, len(orders) - 1)])


def _near_each_other(angle: FloatArray, period: FloatArray) -> FloatArray:
    """Angles moved by multiples of their periods to within half of one of the first."""
    return angle - period * np.round((angle - angle[0]) / period)

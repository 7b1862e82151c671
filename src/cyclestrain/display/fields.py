"""What figures read from a result: masked maps in the units of plots, steps, axes and periods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cyclestrain.affine import wrap_angle
from cyclestrain.data import Doubt, Quantity
from cyclestrain.errors import InputError

__all__ = [
    "COMPONENTS",
    "DERIVED",
    "SIGMA",
    "STRAINS",
    "Component",
    "class_names",
    "component_map",
    "masked_map",
    "no_reference",
    "period_map",
    "periods_deg",
    "reference_mask",
    "reference_masks",
    "scan_step",
    "strain_axes_angle",
    "usable",
    "wrap_map",
]

Map = np.ma.MaskedArray[Any, Any]


@dataclass(frozen=True)
class Component:
    """A quantity of the result: its variable, its symbol, and the unit of plots with the factor that leads to it."""

    name: str
    symbol: str
    unit: str
    factor: float
    positive: bool = False
    """Whether it is a length, for which half of a scale about zero would say nothing."""

    @property
    def label(self) -> str:
        """Symbol and unit, as in a title."""
        return f"{self.symbol} ({self.unit})"


COMPONENTS = (
    Component("exx", r"$\varepsilon_{xx}$", "%", 100.0),
    Component("eyy", r"$\varepsilon_{yy}$", "%", 100.0),
    Component("exy", r"$\varepsilon_{xy}$", "%", 100.0),
    Component("rotation", r"rotation $\theta$", "°", 180 / np.pi),
)
"""Strain and rotation in the order of the figures."""
DERIVED = (
    Component("dilation", r"dilation $\varepsilon_{xx}+\varepsilon_{yy}$", "%", 100.0),
    Component("largest", r"largest $\varepsilon_1$", "%", 100.0),
    Component("smallest", r"smallest $\varepsilon_2$", "%", 100.0),
    Component("shear", r"shear $(\varepsilon_1-\varepsilon_2)/2$", "%", 100.0, positive=True),
)
"""What follows from the strains, if the data set holds it."""
STRAINS = COMPONENTS[:3]
"""The components that are strains."""
SIGMA = r"$\sigma$"
"""Symbol of a standard deviation."""


def usable(ds: xr.Dataset) -> NDArray[np.bool_]:
    """Mask of the positions that hold a result, on the sample and valid, shape ``(ry, rx)``."""
    mask = np.ones((ds.sizes["ry"], ds.sizes["rx"]), dtype=bool)
    for name in ("sample", "valid"):
        if name in ds:
            mask &= ds[name].values.astype(bool)
    return mask


def class_names(ds: xr.Dataset) -> tuple[str, ...]:
    """Name of every class: its number, and the structure that it is where strain is relative to known lattices.

    Parameters
    ----------
    ds
        A result.
    """
    labels = np.asarray(ds["class"].values)
    n = max(int(labels.max(initial=0)) + 1, len(np.atleast_1d(ds.attrs.get("symmetry", [1]))))
    known = str(ds.attrs["phases"]).split("; ") if ds.attrs.get("phases") else []
    return tuple(f"{k} {known[k]}" if k < len(known) else str(k) for k in range(n))


def masked_map(ds: xr.Dataset, name: str, factor: float = 1.0) -> Map:
    """A variable times a factor, masked where it is not finite or the position holds no result.

    Parameters
    ----------
    ds
        A result.
    name
        Name of the variable.
    factor
        Factor from the stored unit to that of the map.

    Raises
    ------
    InputError
        If the result has no such variable.
    """
    if name not in ds:
        known = sorted(str(other) for other in ds.data_vars if ds[other].dims == ("ry", "rx"))
        raise InputError(f"the result has no variable {name!r}; it has {', '.join(known)}")
    values = np.asarray(ds[name].transpose("ry", "rx").values, dtype=np.float64) * factor
    return np.ma.masked_where(~(usable(ds) & np.isfinite(values)), values)


def component_map(ds: xr.Dataset, component: Component, estimate: str = "", kind: str = "") -> Map:
    """Map of a component in the unit of plots, masked where the position holds no result.

    Parameters
    ----------
    ds
        A result.
    component
        One of `COMPONENTS`.
    estimate
        ``""`` for the best estimate, ``"raw"`` for each pattern alone.
    kind
        ``""`` for the values, ``"sigma"`` for their standard deviations.

    Raises
    ------
    InputError
        If the result has no such map.
    """
    name = "_".join(part for part in (component.name, estimate, kind) if part)
    return masked_map(ds, name, component.factor)


def period_map(ds: xr.Dataset) -> NDArray[np.float64]:
    """Degrees after which the rotation repeats at every position: 360 over the measured symmetry of its class."""
    periods = 360.0 / np.maximum(np.atleast_1d(ds.attrs.get("symmetry", 1)).astype(np.float64), 1.0)
    shape = (ds.sizes["ry"], ds.sizes["rx"])
    if "class" not in ds:
        return np.full(shape, periods.max())
    labels = ds["class"].transpose("ry", "rx").values.astype(int)
    known = (labels >= 0) & (labels < periods.size)
    return np.where(known, periods[np.where(known, labels, 0)], periods.max())


def periods_deg(ds: xr.Dataset) -> tuple[float, ...]:
    """Periods of the rotation that occur among the positions with a result, degrees, the longest last."""
    periods, used = period_map(ds), usable(ds)
    return tuple(float(period) for period in np.unique(periods[used] if used.any() else periods))


def wrap_map(values: Map, period: NDArray[np.float64]) -> Map:
    """Angles brought into ``[-period / 2, period / 2)`` of their own position, with the same mask.

    Parameters
    ----------
    values
        Angles, degrees.
    period
        Period at every position, degrees, see `period_map`.
    """
    return np.ma.masked_array(wrap_angle(values.filled(0.0), period), np.ma.getmaskarray(values))


def reference_mask(ds: xr.Dataset) -> NDArray[np.bool_]:
    """Mask of the reference region, shape ``(ry, rx)``; all false where there is none or it is the ideal lattice."""
    if "reference" not in ds or ds.attrs.get("reference_kind") in ("ideal", "known"):
        return np.zeros((ds.sizes["ry"], ds.sizes["rx"]), dtype=bool)
    return np.asarray(ds["reference"].transpose("ry", "rx").values, dtype=bool)


def reference_masks(ds: xr.Dataset) -> dict[int, NDArray[np.bool_]]:
    """Mask of the reference region of every class that has one, see `reference_mask`."""
    mask = reference_mask(ds)
    if not mask.any():
        return {}
    if "class" not in ds:
        return {0: mask}
    labels = ds["class"].transpose("ry", "rx").values
    return {int(k): mask & (labels == k) for k in np.unique(labels[mask])}


def no_reference(ds: xr.Dataset) -> NDArray[np.bool_]:
    """Positions of a crystal whose class has no reference to be strained against, shape ``(ry, rx)``."""
    if "doubt" not in ds:
        return np.zeros((ds.sizes["ry"], ds.sizes["rx"]), dtype=bool)
    doubt = ds["doubt"].transpose("ry", "rx").values.astype(np.int64)
    return np.asarray(doubt & int(Doubt.NO_REFERENCE) != 0)


def scan_step(ds: xr.Dataset) -> Quantity:
    """Distance between neighbouring positions; ``1 positions`` where it is not known."""
    step = ds.attrs.get("real_step")
    if step is None or not np.isfinite(step) or step <= 0:
        return Quantity(1.0, "positions")
    return Quantity(float(step), str(ds.attrs.get("real_step_unit", "nm")))


def strain_axes_angle(ds: xr.Dataset) -> float | None:
    """Angle of the strain's x axis in the picture (the scan frame), degrees from +x to +y; None where unknown."""
    scan_rotation = float(ds.attrs.get("scan_rotation_deg", 0.0))
    axes = ds.attrs.get("axes", "detector")
    defaults = {"detector": 0.0, "scan": scan_rotation}
    angle = ds.attrs.get("strain_axes_angle_deg", defaults.get(axes))
    if axes != "scan" and ds.attrs.get("scan_mirrored"):  # their y axis is on the other side of x than in the picture
        return None
    return None if angle is None or not np.isfinite(angle) else float(angle) - scan_rotation

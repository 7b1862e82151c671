"""What can be shown as a map: every quantity of a result and those that follow from it, in the units of plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from cyclestrain.data import BoolArray, Doubt, FloatArray
from cyclestrain.display.fields import class_names, period_map, periods_deg, usable
from cyclestrain.display.ranges import ColourScale, nice_ceiling, rotation_scale, sequential_scale, symmetric_scale
from cyclestrain.errors import InputError
from cyclestrain.result import principal_estimates

__all__ = ["QUANTITIES", "Estimate", "Quantity", "Shown", "available", "shown"]

Estimate = Literal["", "raw"]
Kind = Literal["strain", "rotation", "positive", "free", "class", "doubt"]
DEGREES = 180 / np.pi
NO_NARROWER = 2.0
"""Least half width of a scale of strain in median standard deviations: below it noise would look like structure."""
NO_DOUBT = "no doubt"


@dataclass(frozen=True)
class Quantity:
    """A quantity that can be shown: its name, title, unit, the heading it stands under, and how its scale is made."""

    name: str
    title: str
    unit: str
    heading: str
    kind: Kind
    factor: float = 1.0

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


_STRAINS = (
    Quantity("exx", "strain εxx", "%", "Strain", "strain", 100.0),
    Quantity("eyy", "strain εyy", "%", "Strain", "strain", 100.0),
    Quantity("exy", "shear εxy", "%", "Strain", "strain", 100.0),
    Quantity("rotation", "rotation θ", "°", "Strain", "rotation", DEGREES),
)
_DERIVED = (
    Quantity("dilation", "dilation", "%", "Derived", "strain", 100.0),
    Quantity("shear", "largest shear", "%", "Derived", "positive", 100.0),
    Quantity("largest", "principal ε₁", "%", "Derived", "strain", 100.0),
    Quantity("smallest", "principal ε₂", "%", "Derived", "strain", 100.0),
)
DERIVED = tuple(quantity.name for quantity in _DERIVED)
"""Quantities that follow from strain, named as in `cyclestrain.result.principal`."""
_COMPONENTS = ("exx", "eyy", "exy", "rotation")
_SIGMAS = tuple(
    Quantity(f"{of.name}_sigma", f"σ of {of.title}", of.unit, "Uncertainty", "positive", of.factor)
    for of in (*_STRAINS, *_DERIVED)
)
_OTHERS = (
    Quantity("doubt", "doubt", "", "Position", "doubt"),
    Quantity("misfit", "misfit χ²/dof", "", "Position", "free"),
    Quantity("class", "class", "", "Position", "class"),
    Quantity("class_confidence", "class probability", "", "Position", "positive"),
    Quantity("gain", "gain", "", "Position", "free"),
    Quantity("share", "share", "", "Position", "positive"),
    Quantity("centre_y", "centre, row", "px", "Position", "free"),
    Quantity("centre_x", "centre, column", "px", "Position", "free"),
)
QUANTITIES = {quantity.name: quantity for quantity in (*_STRAINS, *_DERIVED, *_SIGMAS, *_OTHERS)}
"""Every quantity by name, in the order in which they are offered."""
_WHERE_A_CRYSTAL_IS = ("doubt", "misfit", "class", "class_confidence", "gain", "share")


@dataclass(frozen=True)
class Shown:
    """A map in the unit of plots.

    Attributes
    ----------
    title
        What it is, with its unit.
    unit
        Unit of the values.
    values
        Shape ``(ry, rx)``, NaN where blank.
    sigma
        Standard deviation of each, None where there is none.
    scale
        Values at the ends of the colours.
    kind
        How its colours are chosen.
    categories
        Names of the values 0, 1, 2, ... of a map of categories.
    """

    title: str
    unit: str
    values: FloatArray
    sigma: FloatArray | None
    scale: ColourScale
    kind: Kind = "free"
    categories: tuple[str, ...] = ()


def available(maps: xr.Dataset) -> tuple[str, ...]:
    """Names of the quantities that a result has, in the order of `QUANTITIES`."""
    names = set(map(str, maps.data_vars))
    if {"exx", "eyy", "exy", "exx_sigma", "eyy_sigma", "exy_sigma"} <= names:
        names |= {f"{name}{kind}" for name in DERIVED for kind in ("", "_sigma")}
    if "log_likelihood" in maps:
        names.add("misfit")
    return tuple(name for name in QUANTITIES if name in names)


def shown(maps: xr.Dataset, name: str, estimate: Estimate = "") -> Shown:
    """A quantity of a result as a map.

    Parameters
    ----------
    maps
        A result.
    name
        One of `available`.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone; where the quantity has both.

    Raises
    ------
    InputError
        If the result has no such quantity.
    """
    if name not in available(maps):
        raise InputError(f"there is no map {name!r}; choose one of {', '.join(available(maps))}")
    quantity = QUANTITIES[name]
    if quantity.kind in ("class", "doubt"):
        return _categories(maps, quantity)
    values = _blank(maps, name, _values(maps, name, estimate) * quantity.factor)
    if quantity.kind == "rotation":
        period = period_map(maps)
        values = np.mod(values + period / 2, period) - period / 2
    sigma = _sigma(maps, name, estimate)
    sigma = None if sigma is None else _blank(maps, name, sigma * quantity.factor)
    return Shown(quantity.label, quantity.unit, values, sigma, _scale(maps, quantity, values, sigma), quantity.kind)


def _plain(maps: xr.Dataset, name: str) -> FloatArray:
    return np.asarray(maps[name].transpose("ry", "rx").values, float)


def _component(maps: xr.Dataset, name: str, estimate: Estimate, kind: str = "") -> FloatArray:
    full = "_".join(part for part in (name, estimate, kind) if part)
    return _plain(maps, full if full in maps else "_".join(part for part in (name, kind) if part))


def _blank(maps: xr.Dataset, name: str, values: FloatArray) -> FloatArray:
    """NaN where a position has no result; what is known without one is shown wherever a crystal is."""
    if name.startswith("centre"):
        return values
    if name in _WHERE_A_CRYSTAL_IS:
        where = maps["sample"].values.astype(bool) if "sample" in maps else np.ones(values.shape, bool)
    else:
        where = usable(maps)
    return np.where(where, values, np.nan)


def _values(maps: xr.Dataset, name: str, estimate: Estimate) -> FloatArray:
    if name == "misfit":
        return -2.0 * _plain(maps, "log_likelihood")
    if name.endswith("_sigma"):
        found = _sigma(maps, name.removesuffix("_sigma"), estimate)
        return np.full(usable(maps).shape, np.nan) if found is None else found
    if name in _COMPONENTS:
        return _component(maps, name, estimate)
    if name not in DERIVED:
        return _plain(maps, name)
    return _derived(maps, name, estimate, "")


def _derived(maps: xr.Dataset, name: str, estimate: Estimate, kind: str) -> FloatArray:
    """A quantity that follows from strain, or with `kind` ``_sigma`` its standard deviation."""
    both = estimate if f"exx_{estimate}" in maps else ""
    found = principal_estimates(maps, both)[name]
    return np.asarray(found.sigma if kind else found.value, float)


def _sigma(maps: xr.Dataset, name: str, estimate: Estimate) -> FloatArray | None:
    """Standard deviation in the stored unit, None where there is none."""
    if name == "share":
        return _plain(maps, "share_sigma") if "share_sigma" in maps else None
    if f"{'exx' if name in DERIVED else name}_sigma" not in maps:
        return None
    if name in DERIVED:
        return _derived(maps, name, estimate, "_sigma")
    return _component(maps, name, estimate, "sigma") if name in _COMPONENTS else None


def _scale(maps: xr.Dataset, quantity: Quantity, values: FloatArray, sigma: FloatArray | None) -> ColourScale:
    if quantity.kind == "rotation":
        return rotation_scale(values, periods_deg(maps)[-1])
    if quantity.kind == "strain":
        finite = np.array([]) if sigma is None else sigma[np.isfinite(sigma)]
        noise = NO_NARROWER * float(np.median(finite)) if finite.size else 0.0
        return symmetric_scale(values, smallest=max(noise, 0.05))
    if quantity.name in ("share", "class_confidence"):
        return ColourScale(0.0, 1.0)
    if quantity.kind == "positive":
        return sequential_scale(values)
    return sequential_scale(values, from_zero=False)


def _categories(maps: xr.Dataset, quantity: Quantity) -> Shown:
    if quantity.kind == "class":
        labels = _plain(maps, "class").astype(int)
        values, names = np.where(labels >= 0, labels, np.nan), tuple(f"class {name}" for name in class_names(maps))
    else:
        values, names = _doubts(_plain(maps, "doubt").astype(np.int64))
    values = _blank(maps, quantity.name, values)
    scale = ColourScale(-0.5, len(names) - 0.5)
    return Shown(quantity.title, "", values, None, scale, quantity.kind, names)


def _doubts(doubt: np.ndarray) -> tuple[FloatArray, tuple[str, ...]]:
    """Number of the first reason of every position, 0 for none, and the reasons that occur, in words."""
    found = [flag for flag in Doubt if (doubt & flag.value).any()]
    values = np.zeros(doubt.shape)
    for k, flag in reversed(list(enumerate(found, 1))):
        values[(doubt & flag.value) != 0] = k
    return values, (NO_DOUBT, *(flag.label for flag in found))


def in_range(values: FloatArray, limits: tuple[float, float] | None) -> BoolArray:
    """Positions whose value lies in a range, all of them where there is none.

    Parameters
    ----------
    values
        A map.
    limits
        Low and high end; both belong to the range.
    """
    if limits is None:
        return np.ones(values.shape, bool)
    with np.errstate(invalid="ignore"):
        return (values >= limits[0]) & (values <= limits[1])


def padded_scale(low: float, high: float) -> ColourScale:
    """A scale of two limits a person gave, of some width whatever they are."""
    if high > low:
        return ColourScale(low, high)
    return ColourScale(low, low + nice_ceiling(max(abs(low), 1.0) * 0.01))

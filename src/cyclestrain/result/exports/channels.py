"""The maps of a result that are exported, blank where it is not valid, with their descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cyclestrain.data import BoolArray, FloatArray, Quantity
from cyclestrain.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["COMPONENTS", "Channel", "Channels", "channels_of"]

COMPONENTS = ("exx", "eyy", "exy", "rotation")
"""Strain and rotation in the order in which they are exported."""
_UNITS = {"rotation": "rad"}
_FLAGS = ("class", "class_confidence", "share", "sample", "valid")


@dataclass(frozen=True)
class Channel:
    """One map: its name in the result, its unit (``1`` for none), a description, and values of shape ``(ry, rx)``."""

    name: str
    unit: str
    description: str
    values: FloatArray


@dataclass(frozen=True)
class Channels:
    """The maps to export.

    Attributes
    ----------
    maps
        Strains and rotation, their standard deviations, class and flags, as far as the result has them.
    valid
        Positions whose values are meant to be used, shape ``(ry, rx)``.
    step
        Distance between neighbouring positions, if known.
    attributes
        Attributes of the result as plain text and numbers.
    """

    maps: tuple[Channel, ...]
    valid: BoolArray
    step: Quantity | None
    attributes: Mapping[str, str | float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps."""
        return tuple(channel.name for channel in self.maps)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(ry, rx)``."""
        rows, columns = self.valid.shape
        return rows, columns

    def __getitem__(self, name: str) -> Channel:
        return self.maps[self.names.index(name)]

    def stack(self, dtype: type[np.floating[Any]]) -> FloatArray:
        """All maps in one array of the given type, shape ``(n, ry, rx)``."""
        return np.stack([channel.values for channel in self.maps]).astype(dtype)


def _attribute(value: Any) -> str | float:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return float(value) if isinstance(value, int | float) else str(value)


def _step(maps: xr.Dataset) -> Quantity | None:
    """Probe step from the coordinates; positions that are only counted are no distance."""
    attributes = maps.attrs
    if "real_step" in attributes:
        return Quantity(float(attributes["real_step"]), str(attributes["real_step_unit"]))
    return None


def channels_of(maps: xr.Dataset, estimate: str = "") -> Channels:
    """Collect the maps of a result.

    Parameters
    ----------
    maps
        A result, dimensions ``(ry, rx)``.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.

    Raises
    ------
    InputError
        If the result lacks a strain or the rotation of that estimate.
    """
    suffix = f"_{estimate}" if estimate else ""
    missing = [name for name in COMPONENTS if f"{name}{suffix}" not in maps]
    if missing:
        raise InputError(f"this is no strain map: it has no {', '.join(f'{name}{suffix}' for name in missing)}")
    arrays = {name: np.asarray(maps[f"{name}{suffix}"].values, np.float64) for name in COMPONENTS}
    valid: BoolArray = np.asarray(np.isfinite(np.stack(list(arrays.values()))).all(0))
    if "valid" in maps:
        valid = np.logical_and(valid, maps["valid"].values.astype(bool))
    channels = []
    for kind in ("", "_sigma"):
        for name in COMPONENTS:
            if f"{name}{suffix}{kind}" not in maps:
                continue
            variable = maps[f"{name}{suffix}{kind}"]
            values = np.where(valid, variable.values.astype(np.float64), np.nan)
            text = str(variable.attrs.get("long_name", name + kind))
            channels.append(Channel(name + kind, _UNITS.get(name, "1"), text, values))
    for name in _FLAGS:
        if name in maps or name == "valid":
            values = valid if name == "valid" else maps[name].values
            text = str(maps[name].attrs.get("long_name", name)) if name in maps else "the estimate is meant to be used"
            channels.append(Channel(name, "1", text, values.astype(np.float64)))
    attributes = {str(key): _attribute(value) for key, value in maps.attrs.items()}
    attributes["estimate"] = estimate or "best"
    return Channels(tuple(channels), valid, _step(maps), attributes)

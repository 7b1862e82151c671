"""HyperSpy's own layout, the same in HDF5 (`.hspy`) and Zarr (`.zspy`): axes as groups beside the array."""

from __future__ import annotations

from typing import Any

from cyclestrain.io.loaded import Loaded
from cyclestrain.io.sources import view_axes
from cyclestrain.io.units import real_step, reciprocal_step

__all__ = ["hyperspy_signal", "in_hyperspy_layout"]


def in_hyperspy_layout(group: Any) -> bool:
    """Whether `group`, of h5py or Zarr, is a HyperSpy signal."""
    return "data" in group and "axis-0" in group


def hyperspy_signal(array: Any, group: Any) -> Loaded:
    """Scan from a HyperSpy signal: navigation axes first, with the steps of its axes.

    Parameters
    ----------
    array
        Array of the signal, of h5py or Zarr.
    group
        Group that holds the array and its axes.
    """
    axes = [dict(group[f"axis-{index}"].attrs) for index in range(len(array.shape))]
    kept = list(range(len(axes)))
    extra = [index for index in kept if array.shape[index] == 1]
    while len(kept) > 4 and extra:
        kept.remove(extra.pop())
    detector = [index for index in kept if not axes[index].get("navigate", False)]
    order = kept
    if len(detector) == 2:
        order = [index for index in kept if index not in detector] + detector
    pairs = [(axes[index].get("scale"), axes[index].get("units")) for index in order]
    return Loaded(
        view_axes(array, tuple(order)),
        None,
        real_step(*reversed(pairs[:-2])),
        reciprocal_step(*reversed(pairs[-2:])),
        0.0,
        {"axis_names": ", ".join(str(axes[index].get("name", "")) for index in order)},
    )

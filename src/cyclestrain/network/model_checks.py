"""Checks that the parts of a model file can be those of a model, before a map is made with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["check_sound"]

_NEVER_ZERO = ("intensity", "reflections", "basis", "values", "spectra")
"""Arrays of a dictionary and its templates that hold something in every model."""


def check_sound(parts: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Make sure that numbers are finite, sizes positive, the ring a ring, and no part empty of all content.

    Reflections off the lattice have no indices: pairs of NaN there are as they should be.

    Parameters
    ----------
    parts
        ``material``, ``settings`` and ``centre_sigma`` of the file.
    weights
        Tensors of the network.

    Raises
    ------
    ValueError
        Saying which number cannot be.
    """
    material = parts["material"]
    for name, value in _numbers(material, "material"):
        _check_value(name, value)
    inner, outer = material.ring
    if not 0 <= inner < outer:
        raise ValueError(f"its ring is {inner:g} to {outer:g} px")
    for name, number in (
        ("disk radius", material.disk_radius),
        ("noise scale", material.dictionary.noise_scale),
        ("spread of the beam centre", parts["centre_sigma"]),
    ):
        if not 0 < number < math.inf:
            raise ValueError(f"its {name} is {number:g}")
    for name, value in _numbers(parts["settings"], "settings"):
        if type(value) is int and value < 0:
            raise ValueError(f"{name} is {value}")
    for name, weight in weights.items():
        if not bool(weight.isfinite().all()):
            raise ValueError(f"{name} of its network is not finite")
    if not any(bool(weight.any()) for name, weight in weights.items() if name.startswith("glance.")):
        raise ValueError("its network is all zero")


def _check_value(name: str, value: Any) -> None:
    leaf = name.rpartition(".")[2]
    if isinstance(value, np.ndarray):
        off_lattice = np.isnan(value).all(-1, keepdims=True) if leaf == "indices" and value.ndim == 2 else False
        if not (np.isfinite(value) | off_lattice).all():
            raise ValueError(f"{name} is not finite")
        if leaf in _NEVER_ZERO and not value.any():
            raise ValueError(f"{name} is all zero")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    elif type(value) is int and value < 1:
        raise ValueError(f"{name} is {value}")


def _numbers(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every number and array in a tree of dataclasses, with its name."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{name}.{index}")
    else:
        yield name, value

"""Checks that the parts of a model file can be those of a network, before it is applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["check_sound"]


def check_sound(parts: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> None:
    """Make sure that sizes are positive, weights finite, and the network not empty of all content.

    Parameters
    ----------
    parts
        ``settings`` and ``centre_sigma`` of the file.
    weights
        Tensors of the network.

    Raises
    ------
    ValueError
        Saying which number cannot be.
    """
    sigma, settings = parts["centre_sigma"], parts["settings"]
    if not 0 < sigma < math.inf:
        raise ValueError(f"its spread of the beam centre is {sigma:g}")
    for field in fields(settings):
        value = getattr(settings, field.name)
        if type(value) is int and value < 0:
            raise ValueError(f"settings.{field.name} is {value}")
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise ValueError(f"{name} of its network is not finite")
    if not any(weight.any() for name, weight in weights.items() if name.startswith("glance.")):
        raise ValueError("its network is all zero")

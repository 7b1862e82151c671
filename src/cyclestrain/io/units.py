"""Conversion of steps in the units of instruments to nm, 1/nm and mrad."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from cyclestrain.data import Quantity

__all__ = ["real_step", "reciprocal_step"]

_NANOMETRES = {
    "m": 1e9,
    "mm": 1e6,
    "um": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "nm": 1.0,
    "nanometer": 1.0,
    "a": 0.1,
    "ang": 0.1,
    "angstrom": 0.1,
    "angstroms": 0.1,
    "pm": 1e-3,
}
_MILLIRADIANS = {"rad": 1e3, "mrad": 1.0}
# micro sign, Greek mu, a-ring, angstrom sign, superscript minus and one; py4DSTEM and Prismatic write "[n_m^-1]"
_TO_ASCII = str.maketrans("\u00b5\u03bc\u00c5\u212b\u207b\u00b9", "uuAA-1", "_ []")
_RECIPROCAL = re.compile(r"^(?:1/|inv)\(?(\w+)\)?$|^\(?(\w+)\)?\^?\(?-1\)?$")


def _plain(unit: Any) -> str:
    text = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else str(unit or "")
    return text.translate(_TO_ASCII).lower()


def _number(scale: Any) -> float | None:
    try:
        value = abs(float(scale))
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and value > 0 else None


def _first(pairs: Iterable[tuple[Any, Any]], convert: Any) -> Quantity | None:
    for scale, unit in pairs:
        value, quantity = _number(scale), convert(_plain(unit))
        if value is not None and quantity is not None:
            return Quantity(value * quantity.value, quantity.unit)
    return None


def _real(unit: str) -> Quantity | None:
    factor = _NANOMETRES.get(unit)
    return None if factor is None else Quantity(factor, "nm")


def _reciprocal(unit: str) -> Quantity | None:
    if unit in _MILLIRADIANS:
        return Quantity(_MILLIRADIANS[unit], "mrad")
    match = _RECIPROCAL.match(unit)
    factor = _NANOMETRES.get(match[1] or match[2]) if match else None
    return None if factor is None else Quantity(1 / factor, "1/nm")


def real_step(*pairs: tuple[Any, Any]) -> Quantity | None:
    """Probe step in nm: the first pair that is a length, else None.

    The sign of the scale only says in which direction an axis was drawn, and is dropped.

    Parameters
    ----------
    *pairs
        Pairs ``(scale, unit)`` as a file states them.

    Examples
    --------
    >>> real_step((-1.5, "Å"))
    Quantity(value=0.15, unit='nm')
    """
    value = _first(pairs, _real)
    return None if value is None else Quantity(float(f"{value.value:.12g}"), value.unit)


def reciprocal_step(*pairs: tuple[Any, Any]) -> Quantity | None:
    """Detector pixel in 1/nm (or mrad): the first pair that is a wavenumber or an angle, else None.

    Parameters
    ----------
    *pairs
        Pairs ``(scale, unit)`` as a file states them.

    Examples
    --------
    >>> reciprocal_step((0.02, "cm"), (0.02, "A^-1"))
    Quantity(value=0.2, unit='1/nm')
    """
    value = _first(pairs, _reciprocal)
    return None if value is None else Quantity(float(f"{value.value:.12g}"), value.unit)

"""Conversion of steps, in the units of instruments or as a person types them, to nm, 1/nm and mrad."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from cyclestrain.data import Quantity
from cyclestrain.errors import InputError

__all__ = ["parse_pixel", "parse_step", "real_step", "reciprocal_step"]

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


_NUMBER = r"[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?"
_TYPED = re.compile(
    rf"\s*({_NUMBER})(?:\s*[,x]\s*({_NUMBER}))?(?:\s*(?:\+-|\+/-|\u00b1)\s*({_NUMBER})\s*(%?))?\s*(\D.*?)\s*"
)


def parse_step(text: str) -> Quantity:
    """Probe step as it is typed, in nm.

    Parameters
    ----------
    text
        A number with a unit of length: ``0.5nm``, ``12 A``.

    Raises
    ------
    InputError
        If it is no positive length.

    Examples
    --------
    >>> parse_step("0.5nm")
    Quantity(value=0.5, unit='nm')
    """
    found = _TYPED.fullmatch(text)
    step = real_step((found[1], found[5])) if found and not found[2] else None
    if step is None:
        raise InputError(f"--step is a length with its unit, such as 0.5nm or 12A, not {text!r}")
    return step


def parse_pixel(text: str) -> tuple[Quantity, float]:
    """Size of a detector pixel as it is typed, in 1/nm (or mrad), and its height over its width.

    Parameters
    ----------
    text
        A number with a reciprocal unit, ``0.1/nm``; two numbers for height and width, ``0.1,0.12/nm``; with an
        uncertainty, ``0.1+-0.002/nm`` or ``0.1+-1%/nm``.

    Returns
    -------
    pixel, ratio
        Geometric mean of both sides with its uncertainty (None if it was not stated), and height over width.

    Raises
    ------
    InputError
        If it is none of these.

    Examples
    --------
    >>> pixel, ratio = parse_pixel("0.2,0.05+-1%/nm")
    >>> pixel, round(pixel.sigma, 6), ratio
    (Quantity(value=0.1, unit='1/nm'), 0.001, 4.0)
    """
    found = _TYPED.fullmatch(text)
    pixel = None
    if found:
        height, width = float(found[1]), float(found[2] or found[1])
        unit = f"1{found[5]}" if found[5].startswith("/") else found[5]
        mean = math.sqrt(height * width)
        pixel, one = reciprocal_step((mean, unit)), reciprocal_step((1.0, unit))
    if not found or pixel is None or one is None:
        raise InputError(
            "--pixel is the size of a detector pixel in reciprocal units, such as 0.1/nm, 0.1+-0.002/nm, or "
            f"0.1,0.12/nm for height and width, not {text!r}"
        )
    sigma = None
    if found[3]:
        sigma = float(found[3]) * (0.01 * mean if found[4] else 1.0) * one.value
    return Quantity(pixel.value, pixel.unit, sigma), height / width

"""What is on the screen, as a value that can be written as a line of text, shared and read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from cyclestrain.errors import InputError
from cyclestrain.explorer.detectors import Detector, parse_detector
from cyclestrain.explorer.quantities import Estimate
from cyclestrain.explorer.regions import Line, Region

__all__ = ["Brightness", "View"]

Brightness = Literal["sqrt", "log", "linear"]
Limits = tuple[float, float]


@dataclass(frozen=True)
class View:
    """What one person looks at.

    Attributes
    ----------
    map, beside
        Names of the maps shown, see `quantities.QUANTITIES`, ``virtual`` for the image of `detector`, or
        ``intensity:h,k`` of a reflection; `beside` is empty where only one is shown, and may begin with ``other:`` for
        a map of the second result.
    estimate
        ``""`` for the best estimate, ``raw`` for each pattern alone.
    at
        Position whose pattern is shown, row and column.
    limits, brush
        Ends of the colour scale, and range of values that is picked out, in the unit of the map; None for automatic,
        and for all.
    classes
        Classes that are shown; None for all.
    reference
        Region that strain is relative to; None for that of the result.
    line
        Line of the profile.
    brightness
        How counts are turned into colours.
    residual
        Whether the residual is shown in place of the pattern.
    detector
        Virtual detector of the map ``virtual``.
    """

    map: str = "exx"
    beside: str = ""
    estimate: Estimate = ""
    at: tuple[int, int] = (0, 0)
    limits: Limits | None = None
    brush: Limits | None = None
    classes: tuple[int, ...] | None = None
    reference: Region | None = None
    line: Line | None = None
    brightness: Brightness = "sqrt"
    residual: bool = False
    detector: Detector | None = None

    def __str__(self) -> str:
        """One line that `parse` reads; what is at its default is left out, but for the map and the position."""
        plain = View()
        parts = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != getattr(plain, field.name) or field.name in ("map", "at"):
                parts.append(f"{field.name}={_text(value)}")
        return " ".join(parts)

    @classmethod
    def parse(cls, text: str) -> View:
        """Read the line that `str` writes.

        Parameters
        ----------
        text
            For example ``map=exx at=12,30 limits=-1:1 reference=3:20,4:30``.

        Raises
        ------
        InputError
            If a part of it is not understood.

        Examples
        --------
        >>> View.parse("map=rotation at=12,30 limits=-1:1").limits
        (-1.0, 1.0)
        >>> str(View.parse("line=3,4:20,30:5"))
        'map=exx at=0,0 line=3,4:20,30:5'
        """
        given: dict[str, Any] = {}
        for word in text.split():
            name, found, value = word.partition("=")
            if not found or name not in _READERS:
                raise InputError(f"a view consists of {', '.join(f'{n}=...' for n in _READERS)}; not of {word!r}")
            given[name] = _READERS[name](value)
        return cls(**given)

    def words(self, result: str, scan: str | None, other: str | None = None) -> str:
        """The command that shows the same again.

        Parameters
        ----------
        result, scan, other
            Names of the files; the scan and the second result are left out where there is none.
        """
        files = " ".join(shlex.quote(file) for file in (result, scan) if file)
        second = f" --beside {shlex.quote(other)}" if other else ""
        return f"cyclestrain explore {files}{second} --view {shlex.quote(str(self))}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        number = isinstance(value[0], float) if value else False
        return ":".join(f"{float(part):.6g}" for part in value) if number else ",".join(map(str, value))
    return str(value)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise InputError(f"expected {' or '.join(repr(word) for word in words)}, not {text!r}")
        return text

    return read


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_:,-]*", text):
        raise InputError(f"{text!r} is not the name of a map")
    return text


def _position(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text)
    if match is None:
        raise InputError(f"a position is row,column, not {text!r}")
    return int(match[1]), int(match[2])


def _limits(text: str) -> Limits:
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"limits are low:high, not {text!r}") from None
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"limits are low:high with low < high, not {text!r}")
    return low, high


def _classes(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"(-?\d{1,3}(,-?\d{1,3})*)?", text):
        raise InputError(f"classes are numbers like 0,2, not {text!r}")
    return tuple(int(part) for part in text.split(",") if part)


_READERS: dict[str, Callable[[str], Any]] = {
    "map": _name,
    "beside": _name,
    "estimate": _one_of("", "raw"),
    "at": _position,
    "limits": _limits,
    "brush": _limits,
    "classes": _classes,
    "reference": Region.parse,
    "line": Line.parse,
    "brightness": _one_of("sqrt", "log", "linear"),
    "residual": lambda text: _one_of("yes", "no")(text) == "yes",
    "detector": parse_detector,
}

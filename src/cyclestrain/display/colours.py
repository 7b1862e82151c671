"""Perceptually uniform colour maps as plain arrays.

The maps are those of F. Crameri, "Scientific colour maps" (Zenodo, 2018, doi:10.5281/zenodo.1243862), from the text
files of the package cmcrameri. They are read as files because importing that package loads pyplot, which takes longer
than all else that a window of the explorer needs of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CONFIDENCE",
    "CYCLIC",
    "DIVERGING",
    "PATTERN",
    "SEQUENTIAL",
    "UNCERTAINTY",
    "ColourMap",
    "class_colours",
    "crameri",
]


@dataclass(frozen=True, eq=False)
class ColourMap:
    """Colours in order.

    Attributes
    ----------
    name
        Its name, as other programs have it; ``_r`` at its end where it is reversed.
    rgb
        Red, green and blue, 0 to 1, shape ``(n, 3)``.
    """

    name: str
    rgb: NDArray[np.float64]

    def reversed(self) -> ColourMap:
        """The same colours in the opposite order."""
        name = self.name.removesuffix("_r") if self.name.endswith("_r") else f"{self.name}_r"
        return ColourMap(name, self.rgb[::-1])

    def at(self, places: ArrayLike) -> NDArray[np.float64]:
        """Colours at places from 0, the first, to 1, the last; shape ``(..., 3)``.

        Parameters
        ----------
        places
            The places; those outside have the colour of the nearer end.

        Examples
        --------
        >>> ColourMap("two", np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])).at([0.0, 0.49, 0.51, 1.0])[:, 1].tolist()
        [0.0, 0.0, 0.5, 0.5]
        """
        n = len(self.rgb)
        return self.rgb[np.clip((np.asarray(places) * n).astype(int), 0, n - 1)]

    def hexes(self, n: int | None = None, power: float = 1.0) -> list[str]:
        """Colours as ``#rrggbb``.

        Parameters
        ----------
        n
            Number of colours, from end to end; by default all as they are.
        power
            Exponent of the places between 0 and 1 from which they are taken.

        Examples
        --------
        >>> ColourMap("two", np.array([[0.0, 0.0, 0.0], [1.0, 0.5, 0.0]])).hexes()
        ['#000000', '#ff8000']
        """
        rgb = self.rgb if n is None else self.at(np.linspace(0, 1, n) ** power)
        return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.rint(255 * rgb).astype(int).tolist()]


def crameri(name: str) -> ColourMap:
    """A scientific colour map by its name, such as ``batlow``.

    Parameters
    ----------
    name
        Name of one of the files of cmcrameri; reversed where ``_r`` is added.
    """
    if name.endswith("_r"):
        return crameri(name.removesuffix("_r")).reversed()
    package = find_spec("cmcrameri")
    assert package is not None, "cmcrameri is a dependency"
    assert package.origin is not None, "it is a folder"
    return ColourMap(name, np.loadtxt(Path(package.origin).parent / "cmaps" / f"{name}.txt"))


DIVERGING = crameri("vik")
CYCLIC = crameri("romaO")
SEQUENTIAL = crameri("batlow")
UNCERTAINTY = crameri("acton_r")
CONFIDENCE = crameri("devon")
PATTERN = crameri("oslo_r")
DISTINCT = crameri("batlowS")
"""The colours of the sequential map in an order in which neighbours differ."""


def class_colours(n: int) -> ColourMap:
    """Colour map of `n` distinct colours, one for each class."""
    if n <= 2:
        return ColourMap("classes", SEQUENTIAL.at([0.15, 0.7][:n]))
    return ColourMap("classes", DISTINCT.rgb[np.minimum(np.arange(2, n + 2), len(DISTINCT.rgb) - 1)])

"""Colours of what the window shows, on the screen as on a page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cyclestrain.display.colours import CYCLIC, DIVERGING, SEQUENTIAL, UNCERTAINTY, ColourMap, class_colours

__all__ = ["MARK", "colours_of"]

MARK = "#e6007e"
"""Colour of marks on maps and patterns: in none of the colour maps, and distinct for every kind of colour vision."""
NO_DOUBT_COLOUR = (0xDF / 255, 0xE3 / 255, 0xE8 / 255)
"""Colour of positions without any doubt, quieter than those of the reasons."""
KINDS = {"strain": DIVERGING, "rotation": DIVERGING, "positive": UNCERTAINTY}


def colours_of(kind: str, n: int = 0, *, cyclic: bool = False) -> ColourMap:
    """Colours of a kind of map.

    Parameters
    ----------
    kind
        See `cyclestrain.explorer.quantities.Quantity`.
    n
        Number of classes or reasons for doubt.
    cyclic
        Whether both ends mean the same.
    """
    if kind not in ("class", "doubt"):
        return CYCLIC if cyclic else KINDS.get(kind, SEQUENTIAL)
    found = class_colours(max(n, 1))
    return replace(found, rgb=np.vstack([NO_DOUBT_COLOUR, found.rgb[1:]])) if kind == "doubt" else found

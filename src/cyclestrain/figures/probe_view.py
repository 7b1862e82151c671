"""Figure of a probe that was recorded in vacuum: its image and its radial profile."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from cyclestrain.figures.dictionary_view import draw_probe, draw_profile, radial_profile
from cyclestrain.figures.page import NOTE_SIZE, TITLE_SIZE, Box, Page
from cyclestrain.figures.panels import panel_title

__all__ = ["probe_figure"]

WIDTH, HEIGHT, SIDE = 130.0, 66.0, 46.0
"""Size of the page and side of the image, millimetres."""


def probe_figure(probe: xr.DataArray, radius: float, words: str) -> Figure:
    """Image of a probe and its radial profile.

    Parameters
    ----------
    probe
        Image, with the attribute ``oversampling``: its pixels per detector pixel.
    radius
        Of the probe, detector pixels.
    words
        What is said of it in a line.
    """
    page = Page(HEIGHT, WIDTH)
    page.text(8, 2.5, "Probe", size=TITLE_SIZE, weight="bold")
    page.text(8, 6.3, words, size=NOTE_SIZE)
    box = Box(8, 14, SIDE, SIDE)
    axes = page.axes(box)
    panel_title(page, box, 0, f"{probe.attrs['oversampling']:g} times finer than the detector (px)")
    draw_probe(axes, probe, float(probe.attrs["oversampling"]), radius)
    beside = box.beside(14, WIDTH - box.right - 14 - 12)
    axes = page.axes(beside)
    panel_title(page, beside, 1, "mean over all directions, and every point")
    dictionary = xr.Dataset({"probe": probe})
    draw_profile(axes, dictionary, radial_profile(dictionary), radius)
    axes.set_xlabel("distance from the middle (px)", size=NOTE_SIZE, labelpad=1)
    return page.figure

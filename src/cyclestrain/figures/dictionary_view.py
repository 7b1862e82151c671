"""Figure of the learned dictionary: the averaged pattern of every entry with its reflections, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cyclestrain.errors import InputError
from cyclestrain.figures.maps import PATTERN
from cyclestrain.figures.page import INK, LINE_WIDTH, MUTED, NOTE_SIZE, PAGE_WIDTH, TITLE_SIZE, Box, Page
from cyclestrain.figures.panels import GAP, MARGIN, panel_title

__all__ = [
    "RadialProfile",
    "circle",
    "dictionary_figure",
    "draw_probe",
    "draw_profile",
    "probe_radius",
    "radial_profile",
]

TOP, NOTE_BAND, TITLE_BAND = 11.0, 7.0, 5.0
"""Heights of the bands around the panels, millimetres."""
TICK_WIDTH = 6.0
"""Width of the tick labels beside a panel, millimetres."""
PROBE = 38.0
"""Side of the probe's panel, millimetres."""
SINGLE = 90.0
"""Side of the panel of a single entry, millimetres."""
DESCRIPTION = (
    "Averaged patterns (square-root scale), reflections circled with the radius of the learned probe; "
    "axes in detector pixels."
)
CIRCLE = "#d1495b"
LABELLED_UP_TO, LABEL_SIZE = 2, 4.5
"""Number of entries whose panels are large enough for the indices of the reflections, and their font size, points."""
# The counts of an averaged pattern span decades: their square root shows weak disks without lifting the noise.
GAMMA = 0.5


@dataclass(frozen=True)
class RadialProfile:
    """Radial profile of a probe, with a maximum of 1, at `radius` in detector pixels."""

    radius: NDArray[np.float64]
    intensity: NDArray[np.float64]


def _probe_grid(probe: xr.DataArray, oversampling: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels in detector pixels from the middle of the probe image."""
    py, px = ((np.arange(n) - (n - 1) / 2) / oversampling for n in probe.shape)
    y, x = np.meshgrid(py, px, indexing="ij")
    return y, x


def _oversampling(dictionary: xr.Dataset) -> float:
    return float(dictionary["probe"].attrs.get("oversampling", dictionary.attrs.get("oversampling", 1)))


def radial_profile(dictionary: xr.Dataset) -> RadialProfile:
    """Radial profile of the learned probe, one value per super-resolved pixel, out to the nearest edge of its image."""
    oversampling = _oversampling(dictionary)
    y, x = _probe_grid(dictionary["probe"], oversampling)
    ring = np.rint(np.hypot(y, x) * oversampling).astype(int).ravel()
    values = np.nan_to_num(np.asarray(dictionary["probe"].values, dtype=np.float64)).ravel()
    n = min(dictionary["probe"].shape) // 2 + 1
    count, total = np.bincount(ring)[:n], np.bincount(ring, values)[:n]
    filled = count > 0
    intensity = total[filled] / count[filled]
    highest = max(float(np.abs(intensity).max()), np.finfo(np.float64).tiny)
    return RadialProfile(np.arange(n)[filled] / oversampling, intensity / highest)


def probe_radius(profile: RadialProfile) -> float | None:
    """Radius, detector pixels, at which the profile last falls through half of its maximum; None if it never does."""
    above = profile.intensity >= 0.5
    crossings = np.flatnonzero(above[:-1] & ~above[1:])
    if not crossings.size:
        return None
    inside = int(crossings[-1])
    high, low = profile.intensity[inside], profile.intensity[inside + 1]
    share = (high - 0.5) / (high - low)
    return float(profile.radius[inside] + share * (profile.radius[inside + 1] - profile.radius[inside]))


def _entry_box(index: int, n: int) -> Box:
    """Square `index` of `n`: one large, two or three in a row, or as few rows as leave little empty."""
    columns = n if n <= 4 else 3 if n <= 6 or n == 9 else 4
    width = SINGLE if n == 1 else (PAGE_WIDTH - 2 * MARGIN - columns * TICK_WIDTH - (columns - 1) * GAP / 2) / columns
    row, column = divmod(index, columns)
    left = MARGIN + TICK_WIDTH + column * (width + TICK_WIDTH + GAP / 2)
    return Box(left, TOP + TITLE_BAND + row * (width + TITLE_BAND + NOTE_BAND), width, width)


def _probe_boxes(n: int) -> tuple[Box, Box]:
    """Where the probe and its profile go: beside a single entry, otherwise under all."""
    last = _entry_box(n - 1, n)
    if n == 1:
        left = last.right + GAP + TICK_WIDTH
        probe = Box(left, last.top, PROBE, PROBE)
        top = probe.bottom + NOTE_BAND + TITLE_BAND
        return probe, Box(left, top, PAGE_WIDTH - MARGIN - left, last.bottom - top)
    probe = Box(MARGIN + TICK_WIDTH, last.bottom + NOTE_BAND + TITLE_BAND, PROBE, PROBE)
    left = probe.right + GAP + 3 * TICK_WIDTH
    return probe, Box(left, probe.top, PAGE_WIDTH - MARGIN - left, PROBE)


def _limits(average: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64], margin: float) -> float:
    """Half the width of the square around the centre that holds all reflections and their disks."""
    half_image = max(average.shape) / 2
    return float(min(half_image, np.max(np.hypot(y, x)) + margin)) if y.size else half_image


def _brightness(average: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Darkest and brightest intensity shown: away from the direct beam, so that reflections use the whole scale."""
    shown = average[np.isfinite(average)]
    ny, nx = average.shape
    if y.size:
        yy, xx = np.mgrid[:ny, :nx]
        away = np.hypot(yy - (ny - 1) / 2, xx - (nx - 1) / 2) > 0.6 * float(np.min(np.hypot(y, x)))
        shown = average[away & np.isfinite(average)]
    if not shown.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.quantile(shown, [0.02, 0.998]))
    return low, high if high > low else low + 1.0


def circle(
    axes: Axes, y: NDArray[Any], x: NDArray[Any], radius: float, *, colour: str = CIRCLE, line_width: float = 0.7
) -> None:
    """Draw circles of one radius.

    Parameters
    ----------
    axes
        Axes of an image.
    y, x
        Middles of the circles, in the coordinates of the axes, shape ``(n,)``.
    radius
        Their radius.
    colour, line_width
        Of their outlines; the width in points.
    """
    diameters = np.full(y.size, 2 * radius)
    circles = EllipseCollection(
        diameters,
        diameters,
        np.zeros(y.size),
        units="xy",
        offsets=np.stack([x, y], -1),
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors=colour,
        linewidths=line_width,
    )
    axes.add_collection(circles, autolim=False)


def _label(axes: Axes, reflections: NDArray[np.float64], radius: float) -> None:
    """Write the indices of the reflections ``(y, x, h, k)`` under their disks, a bar over negative ones."""
    for y, x, h, k in reflections:
        if np.isfinite(h) and np.isfinite(k):
            indices = (rf"\bar{{{-n:.0f}}}" if n < 0 else f"{n:.0f}" for n in (h, k))
            style: dict[str, Any] = {"size": LABEL_SIZE, "color": CIRCLE, "ha": "center", "va": "top", "clip_on": True}
            axes.text(x, y + 1.2 * radius, f"${''.join(indices)}$", **style)


def _draw_entry(
    axes: Axes, entry: xr.Dataset, centre: tuple[float, float], radius: float, *, labelled: bool = False
) -> int:
    average = np.asarray(entry["average"].values, dtype=np.float64)
    y, x = (np.asarray(entry[name].values, dtype=np.float64) for name in ("reflection_y", "reflection_x"))
    found = np.isfinite(y) & np.isfinite(x)
    y, x = y[found], x[found]
    low, high = _brightness(average, y, x)
    top, left = -0.5 - centre[0], -0.5 - centre[1]
    axes.imshow(
        np.clip(average - low, 0, None),
        cmap=PATTERN,
        norm=PowerNorm(GAMMA, 0, high - low, clip=True),
        interpolation="nearest",
        extent=(left, left + average.shape[1], top + average.shape[0], top),
    )
    circle(axes, y, x, radius)
    axes.plot(0, 0, "+", color=CIRCLE, ms=4, mew=0.7)
    if labelled and "reflection_h" in entry:
        h, k = (np.asarray(entry[f"reflection_{name}"].values, dtype=np.float64)[found] for name in ("h", "k"))
        _label(axes, np.stack([y, x, h, k], -1), radius)
    half = _limits(average, y, x, 2.5 * radius)
    axes.set(xlim=(-half, half), ylim=(half, -half))
    axes.tick_params(direction="out")
    return int(y.size)


def draw_probe(axes: Axes, probe: xr.DataArray, oversampling: float, radius: float | None) -> None:
    """Draw a probe with a circle of its radius.

    Parameters
    ----------
    axes
        Where to.
    probe, oversampling
        Image of the probe, and its pixels per detector pixel.
    radius
        Of the circle, detector pixels; None for none.
    """
    ny, nx = (n / oversampling / 2 for n in probe.shape)
    axes.imshow(probe.values, cmap=PATTERN, interpolation="nearest", extent=(-nx, nx, ny, -ny), vmin=0)
    if radius is not None:
        circle(axes, np.zeros(1), np.zeros(1), radius)


def draw_profile(axes: Axes, dictionary: xr.Dataset, profile: RadialProfile, radius: float | None) -> None:
    """Draw a radial profile over all points of its probe.

    Parameters
    ----------
    axes
        Where to.
    dictionary
        Holds the probe.
    profile, radius
        Its profile and radius; None for none.
    """
    y, x = _probe_grid(dictionary["probe"], _oversampling(dictionary))
    values = np.asarray(dictionary["probe"].values, dtype=np.float64)
    bottom = min(0.0, float(profile.intensity.min())) - 0.05
    highest = float(np.nanmax(values)) or 1.0
    distance = np.hypot(y, x).ravel()
    axes.plot(distance, (values / highest).ravel(), ".", color="#c9c9c9", ms=1.2, zorder=1, rasterized=True)
    axes.plot(profile.radius, profile.intensity, color="#23426b", lw=1.0, zorder=2)
    if radius is not None:
        axes.plot([radius, radius, 0], [bottom, 0.5, 0.5], color=CIRCLE, lw=0.7, ls=(0, (3, 2)), zorder=3)
        axes.text(radius + 0.3, 0.5, f"radius {radius:.2f} px", size=NOTE_SIZE, color=CIRCLE, va="center")
    axes.axhline(0, color=INK, lw=LINE_WIDTH)
    axes.set(xlim=(0, profile.radius[-1]), ylim=(bottom, 1.12))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def dictionary_figure(dictionary: xr.Dataset) -> Figure:
    """Averaged pattern of every entry (square-root scale) with its reflections circled, the probe and its profile.

    Parameters
    ----------
    dictionary
        The group ``dictionary`` of a result.

    Raises
    ------
    InputError
        If the dictionary lacks averages, reflections or the probe.
    """
    missing = [name for name in ("average", "reflection_y", "reflection_x", "probe") if name not in dictionary]
    if missing:
        raise InputError(f"the dictionary lacks {', '.join(missing)}; it has {', '.join(map(str, dictionary))}")
    profile = radial_profile(dictionary)
    radius = dictionary["probe"].attrs.get("radius", probe_radius(profile))
    n = dictionary.sizes["class"]
    boxes = _probe_boxes(n)
    page = Page(boxes[1].bottom + NOTE_BAND + 1.5)
    page.text(MARGIN, 3.5, "Learned dictionary", size=TITLE_SIZE, weight="bold")
    page.text(MARGIN, 7.6, DESCRIPTION, size=NOTE_SIZE, color=MUTED)
    symmetry = [int(fold) for fold in np.atleast_1d(dictionary.attrs.get("symmetry", []))]
    middle = {axis: (dictionary.sizes[axis] - 1) / 2 for axis in ("y", "x")}
    centre_y, centre_x = (float(dictionary.attrs.get(f"centre_{axis}", middle[axis])) for axis in ("y", "x"))
    for entry in range(n):
        box = _entry_box(entry, n)
        axes = page.axes(box)
        axes.set_label(f"class {entry}")
        own, centre = dictionary.isel({"class": entry}), (centre_y, centre_x)
        found = _draw_entry(axes, own, centre, radius or 3.0, labelled=n <= LABELLED_UP_TO)
        fold = f", {symmetry[entry]}-fold" if entry < len(symmetry) else ""
        panel_title(page, box, entry, f"class {entry}{fold}, {found} reflections")
    _draw_probe_panels(page, dictionary, profile, boxes)
    return page.figure


def _draw_probe_panels(page: Page, dictionary: xr.Dataset, profile: RadialProfile, boxes: tuple[Box, Box]) -> None:
    box, beside = boxes
    n, radius = dictionary.sizes["class"], dictionary["probe"].attrs.get("radius", probe_radius(profile))
    axes = page.axes(box)
    axes.set_label("probe")
    panel_title(page, box, n, f"probe, {_oversampling(dictionary):g} times finer than the detector")
    draw_probe(axes, dictionary["probe"], _oversampling(dictionary), radius)
    axes = page.axes(beside)
    axes.set_label("profile")
    panel_title(page, beside, n + 1, "radial profile of the probe")
    draw_profile(axes, dictionary, profile, radius)
    axes.set_xlabel("distance from the middle (px)", size=NOTE_SIZE, labelpad=1)

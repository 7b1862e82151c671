"""Diagram of the network: its stages with the shapes of what comes out of every step, and the ways between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.path import Path

from cyclestrain.figures.page import INK, MUTED, NOTE_SIZE, PAGE_WIDTH, TEXT_SIZE, TITLE_SIZE, Box, Page
from cyclestrain.figures.panels import MARGIN

__all__ = ["network_figure"]

Stages: TypeAlias = Mapping[str, Sequence[tuple[str, str]]]

TOP, TITLE_BAND, LINE, PAD = 13.0, 5.2, 3.0, 1.4
"""Heights of the header, of a box's title, of a line, and space within a box, millimetres."""
COLUMN_GAP, ROW_GAP, STACK_GAP, LANE = 5.0, 10.0, 5.0, 4.0
"""Space between columns, between the two rows, within a column, and for the way below everything, millimetres."""
SIDE = 3.0
"""Space left of the first column, millimetres."""
WIDTH = (PAGE_WIDTH - 2 * MARGIN - SIDE - 3 * COLUMN_GAP) / 4
TITLES = {
    "windows": "Pattern: windows cut",
    "glance": "Encoder: first look",
    "choice": "Encoder: choice",
    "affine": "Encoder: affine head",
    "gaze": "Encoder: later looks",
    "losses": "Compared",
    "transform": "Spatial transform",
    "decoder": "Decoder: base",
    "imagined": "Imagined pattern",
}
COLOURS = {
    "windows": "#eef1f5",
    "losses": "#f8ecec",
    "transform": "#eef5ee",
    "decoder": "#fbf3e2",
    "imagined": "#fbf3e2",
}
ENCODER = "#e6edf7"
FRAME, CYCLE = "#8a93a0", "#b23a48"


def _height(rows: int) -> float:
    return TITLE_BAND + rows * LINE + PAD


def _boxes(stages: Stages) -> dict[str, Box]:
    """Encoder from left to right in the first row; transform and decoder back from right to left in the second."""

    def at(column: int, top: float, name: str) -> Box:
        left = MARGIN + SIDE + column * (WIDTH + COLUMN_GAP)
        return Box(left, top, WIDTH, _height(len(stages[name])))

    boxes = {name: at(column, TOP, name) for column, name in enumerate(("windows", "glance", "choice", "affine"))}
    boxes["gaze"] = at(3, boxes["affine"].bottom + STACK_GAP, "gaze")
    second = max(box.bottom for box in boxes.values()) + ROW_GAP
    below = ("losses", "transform", "decoder", "imagined")
    return boxes | {name: at(column, second, name) for column, name in enumerate(below)}


def _draw_box(page: Page, box: Box, title: str, rows: Sequence[tuple[str, str]], colour: str) -> None:
    page.rectangle(box, facecolor=colour, edgecolor=FRAME, linewidth=0.5)
    page.text(box.left + PAD, box.top + PAD, title, size=TEXT_SIZE, weight="bold")
    for index, (what, shape) in enumerate(rows):
        top = box.top + TITLE_BAND + index * LINE
        page.text(box.left + PAD, top, what, size=NOTE_SIZE)
        page.text(box.right - PAD, top, shape, size=NOTE_SIZE, color=MUTED, ha="right")


def _way(page: Page, points: Sequence[tuple[float, float]], *, colour: str = INK) -> None:
    """Draw an arrow through points ``(left, top)`` in millimetres."""
    path = Path([(x / page.width, 1 - y / page.height) for x, y in points])
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 6, "color": colour, "lw": 0.8, "joinstyle": "miter"}
    page.figure.add_artist(FancyArrowPatch(path=path, transform=page.figure.transFigure, **style))


def network_figure(stages: Stages) -> Figure:
    """Draw the stages of a network.

    Parameters
    ----------
    stages
        Rows of what happens and the shape of what comes out, by stage, as `cyclestrain.network.anatomy` finds them.
    """
    boxes = _boxes(stages)
    page = Page(max(box.bottom for box in boxes.values()) + LANE + MARGIN + 3)
    page.text(MARGIN, 3.5, "The network", size=TITLE_SIZE, weight="bold")
    about = "Each step with the shape of what comes out of it: windows × features, windows × height × width"
    page.text(MARGIN, 7.6, about, size=NOTE_SIZE, color=MUTED)
    for name, box in boxes.items():
        _draw_box(page, box, TITLES[name], stages[name], COLOURS.get(name, ENCODER))
    _draw_ways(page, boxes)
    return page.figure


def _draw_ways(page: Page, boxes: Mapping[str, Box]) -> None:
    level = TOP + TITLE_BAND
    for one, two in (("windows", "glance"), ("glance", "choice"), ("choice", "affine")):
        _way(page, [(boxes[one].right, level), (boxes[two].left, level)])
    middle = {name: box.left + box.width / 2 for name, box in boxes.items()}
    affine, gaze, choice, decoder = (boxes[name] for name in ("affine", "gaze", "choice", "decoder"))
    transform, losses, imagined, windows = (boxes[name] for name in ("transform", "losses", "imagined", "windows"))
    _way(page, [(middle["gaze"], affine.bottom), (middle["gaze"], gaze.top)])
    page.text(middle["gaze"] + 1, affine.bottom + 0.8, "new windows", size=NOTE_SIZE, va="top")
    _way(page, [(middle["choice"], choice.bottom), (middle["choice"], decoder.top)])
    page.text(middle["choice"] + 1, choice.bottom + 1, "one-hot", size=NOTE_SIZE, va="top")
    lane = transform.top - ROW_GAP / 3
    start = middle["gaze"] - 8
    _way(page, [(start, gaze.bottom), (start, lane), (middle["transform"], lane), (middle["transform"], transform.top)])
    page.text(start - 1, lane - 0.5, "pose", size=NOTE_SIZE, va="bottom", ha="right")
    level = transform.top + TITLE_BAND
    _way(page, [(decoder.left, level), (transform.right, level)])
    _way(page, [(transform.left, level), (losses.right, level)])
    _way(page, [(middle["windows"], windows.bottom), (middle["windows"], losses.top)])
    page.text(middle["windows"] + 1, windows.bottom + 1, "counts, at their\nown pixels", size=NOTE_SIZE, va="top")
    _way(page, [(decoder.right, level), (imagined.left, level)], colour=CYCLE)
    bottom, side, entrance = max(box.bottom for box in boxes.values()) + LANE, MARGIN - 0.5, TOP + TITLE_BAND
    back = [(middle["imagined"], imagined.bottom), (middle["imagined"], bottom), (side, bottom), (side, entrance)]
    _way(page, [*back, (windows.left, entrance)], colour=CYCLE)
    said = "the other direction of the cycle: what the decoder draws at a known pose must be encoded to that pose"
    page.text(middle["losses"] - 10, bottom - 0.5, said, size=NOTE_SIZE, color=CYCLE, va="bottom")

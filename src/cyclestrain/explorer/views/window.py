"""The window of one person: drawings and controls laid out, and what happens when they are touched."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, LayoutDOM

from cyclestrain.errors import CyclestrainError
from cyclestrain.explorer.detectors import Detector, Disk, Reflections, Ring
from cyclestrain.explorer.exports import export, python_lines
from cyclestrain.explorer.position import numbers
from cyclestrain.explorer.quantities import available
from cyclestrain.explorer.regions import Line, Region
from cyclestrain.explorer.session import OTHER, VIRTUAL, Session
from cyclestrain.explorer.views.controls import BRIGHTNESSES, MAP_DRAGS, PATTERN_DRAGS, Controls
from cyclestrain.explorer.views.gestures import Gestures
from cyclestrain.explorer.views.map_view import MapView
from cyclestrain.explorer.views.pattern_view import PatternView, inside, reach_of
from cyclestrain.explorer.views.plots import HistogramView, ProfileView
from cyclestrain.explorer.views.texts import command_text, help_text, numbers_text, trouble_text
from cyclestrain.explorer.views.theme import DARK, LIGHT, SHEET
from cyclestrain.explorer.views.virtual import InBackground
from cyclestrain.figures.ranges import MINUS

__all__ = ["Window"]

NO_DETECTOR = (128, 128)
"""Shape of the empty pattern where there is no scan."""
DEPENDS = {
    "maps": {"map", "estimate", "limits", "reference", "detector"},
    "beside": {"beside", "map", "estimate", "limits", "reference", "detector"},
    "picked": {"brush", "classes"},
    "profile": {"map", "estimate", "reference", "line", "detector"},
    "line": {"line"},
    "reference": {"reference"},
    "pattern": {"at", "residual"},
    "colours": {"brightness", "residual", "at"},
    "disks": {"at", "detector", "map"},
    "numbers": {"at", "estimate", "reference"},
    "controls": {"map", "beside", "estimate", "limits", "brightness", "residual", "reference", "line", "classes"},
}
"""Parts of the window, and the fields of the view that each shows."""
_SAVE = """
const {name, kind, content} = source.data
if (name.length == 0) return
const bytes = Uint8Array.from(atob(content[0]), (c) => c.charCodeAt(0))
const link = document.createElement("a")
link.href = URL.createObjectURL(new Blob([bytes], {type: kind[0]}))
link.download = name[0]
document.body.appendChild(link)
link.click()
link.remove()
setTimeout(() => URL.revokeObjectURL(link.href), 10000)
"""
_KEYS = """
if (window.cyclestrain_keys) return
window.cyclestrain_keys = true
const wanted = new Set(known)
document.addEventListener("keydown", (event) => {
  const target = event.composedPath()[0]
  if (event.ctrlKey || event.altKey || event.metaKey) return
  if (["TEXTAREA", "SELECT"].includes(target.tagName)) return
  if (target.tagName == "INPUT" && !["checkbox", "radio", "button"].includes(target.type)) return
  if (!wanted.has(event.key)) return
  event.preventDefault()
  source.data = {key: [event.key], shift: [event.shiftKey], n: [Math.random()]}
})
"""


class Window:
    """What one person sees.

    Parameters
    ----------
    session
        What is looked at.
    document
        Where work in the background reports to; None to do all work at once.
    dark
        Whether the colours are those for the dark.
    height
        Height in pixels; None for that of the browser's window.
    """

    def __init__(
        self, session: Session, document: Document | None = None, *, dark: bool = False, height: int | None = None
    ) -> None:
        self.session, opened = session, session.opened
        self.theme = DARK if dark else LIGHT
        self.controls = Controls(opened)
        self.map = MapView(opened.shape, opened.step, self.theme)
        self.second = MapView(opened.shape, opened.step, self.theme)
        self.second.plot.x_range, self.second.plot.y_range = self.map.plot.x_range, self.map.plot.y_range
        shape = NO_DETECTOR if opened.scan is None else opened.scan.detector_shape
        self.pattern = PatternView(shape, self.theme)
        self.histogram = HistogramView(self.theme, lambda brush: self.change(brush=brush))
        self.profile = ProfileView(self.theme)
        self._background = InBackground(session, document, self._virtual_arrived, self.complain)
        self._saved = ColumnDataSource({"name": [], "kind": [], "content": []}, name="saved")
        self._saved.js_on_change("data", CustomJS(args={"source": self._saved}, code=_SAVE))
        self._key = ColumnDataSource({"key": [], "shift": [], "n": []}, name="key")
        self._key.on_change("data", self._pressed)
        for view in (self.map, self.second):
            Gestures(view.plot, self.controls.drag, MAP_DRAGS, self._on_map)
        Gestures(self.pattern.plot, self.controls.detect, PATTERN_DRAGS, self._on_pattern, self.pattern.centre)
        self._counts: np.ndarray | None = None
        self._settling = False
        self._connect()
        self.root = self._layout(height)
        self._show(set(DEPENDS))
        self.paint(dark)

    def keys_script(self) -> CustomJS:
        """What makes the browser tell which keys are pressed; to be run when the document is ready."""
        return CustomJS(args={"source": self._key, "known": list(self._key_actions())}, code=_KEYS)

    # What is seen

    def _layout(self, height: int | None) -> LayoutDOM:
        c = self.controls
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        both: dict[str, Any] = {"sizing_mode": "stretch_both"}
        head = row(c.title, c.worst, c.export, c.theme, c.keys, **wide)
        over_map = column(
            row(c.map, c.estimate, c.limits, **wide), row(c.drag, c.width, c.beside, **wide), **wide
        )  # fmt: skip
        over_pattern = column(
            row(c.brightness, c.residual, c.disks, c.contrast, **wide),
            row(c.detect, c.bright_field, c.dark_field, **wide),
            **wide,
        )
        self._maps = row(self.map.plot, **both)
        self._left = column(over_map, self._maps, self.histogram.plot, **both)
        self._middle = column(over_pattern, self.pattern.plot, self.profile.plot, **both)
        right = column(c.reference, c.classes, c.numbers, c.help, width=330, sizing_mode="stretch_height")
        for plot in (self.histogram.plot, self.profile.plot):
            plot.update(sizing_mode="stretch_width", height=150)
        body = row(self._left, self._middle, right, **both)
        size: dict[str, Any] = {"height": f"{height}px" if height else "100vh", "width": "100%"}
        return column(
            head, c.trouble, body, c.command, self._hidden(), css_classes=["cs-root"], stylesheets=[SHEET],
            styles=size, **both,
        )  # fmt: skip

    def _hidden(self) -> LayoutDOM:
        """Something that holds the sources that are not drawn, so that the browser knows of them."""
        from bokeh.models import Div

        return Div(visible=False, tags=[self._saved, self._key])

    def paint(self, dark: bool) -> None:
        """Change between light and dark."""
        self.theme = DARK if dark else LIGHT
        for view in (self.map, self.second, self.pattern, self.profile, self.histogram):
            view.paint(self.theme)
        self.root.css_classes = ["cs-root", "cs-dark"] if dark else ["cs-root"]
        self.controls.theme.active = dark

    def change(self, **changes: Any) -> None:
        """Look at something else; what cannot be is said, and nothing changes."""
        before = self.session.view
        try:
            self.session.change(**changes)
        except CyclestrainError as error:
            self.complain(str(error))
            self._show({"controls"})
            return
        self.complain(self.session.opened.trouble)
        after = self.session.view
        names = {name for name in changes if getattr(before, name) != getattr(after, name)}
        self._show({part for part, fields in DEPENDS.items() if fields & names} | {"command"})

    def complain(self, text: str) -> None:
        """Say what is wrong; nothing for an empty text."""
        self.controls.trouble.text = trouble_text(text)

    def _show(self, parts: set[str]) -> None:
        """Bring parts of the window up to date."""
        session, view = self.session, self.session.view
        if {"maps", "beside"} & parts and VIRTUAL in (view.map, view.beside):
            self._background.want(view.detector)
        shows: dict[str, Callable[[], None]] = {
            "controls": self._show_controls,
            "maps": self._show_map,
            "beside": self._show_beside,
            "picked": self._show_picked,
            "profile": self._show_profile,
            "line": lambda: [v.line(view.line) for v in (self.map, self.second)] and None,
            "reference": lambda: [v.outline(session.reference()) for v in (self.map, self.second)] and None,
            "pattern": self._show_pattern,
            "colours": self._show_colours,
            "disks": self._show_disks,
            "numbers": self._show_numbers,
        }
        for part, show in shows.items():
            if part in parts:
                show()
        self._show_command()

    def _show_map(self) -> None:
        found = self.session.shown()
        self.map.show(found, self.session.picked())
        self.histogram.show(found, self.session.view.brush)

    def _show_beside(self) -> None:
        name = self.session.view.beside
        wanted = [self.map.plot, self.second.plot] if name else [self.map.plot]
        if name:
            found = self.session.shown(name)
            self.second.show(found, self.session.picked())
            if name.startswith(OTHER):
                self.second.plot.title.text = f"B: {found.title}"
        if self._maps.children != wanted:
            self._maps.children = wanted

    def _show_picked(self) -> None:
        picked = self.session.picked()
        self.map.veil(picked)
        self.second.veil(picked)
        self.histogram.show(self.session.shown(), self.session.view.brush)

    def _show_profile(self) -> None:
        step = self.session.opened.step
        self.profile.show(self.session.profile(), self.session.shown().title, step.value, step.unit)

    def _show_pattern(self) -> None:
        session, at = self.session, self.session.view.at
        for view in (self.map, self.second):
            view.mark(at)
        pattern = session.opened.pattern(at)
        self._counts = pattern.counts
        shown, what = pattern.counts, "pattern"
        trouble = pattern.trouble
        if session.view.residual:
            what = "residual, Poisson deviations,"
            try:
                shown = session.opened.residual(at)
            except CyclestrainError as error:
                shown, trouble = None, trouble or str(error)
        self.pattern.show(shown, f"{what} of row {at[0]}, column {at[1]}")
        self.complain(trouble)

    def _show_colours(self) -> None:
        view = self.session.view
        if view.residual or self._counts is None:
            self.pattern.colour(view.brightness, None if view.residual else (0.0, 1.0))
        else:
            self.pattern.colour(view.brightness, reach_of(self._counts, self.controls.contrast.value))

    def _show_disks(self) -> None:
        view = self.session.view
        fitted = self.session.opened.pattern(view.at).reflections
        chosen = view.detector.numbers if isinstance(view.detector, Reflections) and view.map == VIRTUAL else ()
        self.pattern.reflections(fitted, chosen)

    def _show_numbers(self) -> None:
        session, view = self.session, self.session.view
        other = numbers(session.opened.other, view.at, view.estimate) if session.opened.other is not None else []
        self.controls.numbers.text = numbers_text(view.at, session.numbers(), other, session.reasons())

    def _show_command(self) -> None:
        opened, session = self.session.opened, self.session
        scan = opened.scan.path if opened.scan is not None else None
        words = session.view.words(opened.name, scan or None, opened.other_name or None)
        self.controls.command.text = command_text(words, python_lines(session))

    def _show_controls(self) -> None:
        c, view, opened = self.controls, self.session.view, self.session.opened
        self._settling = True
        try:
            second = f" and <b>B: {escape(Path(opened.other_name).name)}</b>" if opened.other is not None else ""
            name, reference = escape(Path(opened.name).name), escape(str(self.session.maps.attrs.get("reference", "")))
            c.title.text = (
                f"<h1>{name}{second}</h1><span class='cs-quiet'>{opened.shape[0]} × {opened.shape[1]} positions; "
                f"strain relative to {reference or 'its reference'}</span>"
            )
            c.map.value, c.beside.value = view.map, view.beside
            c.estimate.active = int(view.estimate == "raw")
            c.limits.value = "" if view.limits is None else f"{view.limits[0]:g} : {view.limits[1]:g}"
            c.brightness.active = BRIGHTNESSES.index(view.brightness)
            c.residual.active = view.residual
            c.reference.disabled = view.reference is None
            c.width.value = 1 if view.line is None else view.line.width
            c.help.text = help_text()
        finally:
            self._settling = False

    # What is done

    def _connect(self) -> None:
        c = self.controls
        c.worst.on_click(self._worst)
        c.export.on_click(lambda event: self._export(event.item))
        c.theme.on_change("active", lambda _a, _o, dark: self.paint(bool(dark)))
        c.keys.on_change("active", lambda _a, _o, on: self._help(bool(on)))
        c.reference.on_click(lambda: self.change(reference=None))
        c.bright_field.on_click(lambda: self._detect(self.session.opened.bright_field))
        c.dark_field.on_click(lambda: self._detect(self.session.opened.dark_field))
        when = self._when
        when(c.map, "value", lambda name: self._choose(name))
        when(c.beside, "value", lambda name: self.change(beside=name))
        when(c.estimate, "active", lambda k: self.change(estimate="raw" if k else ""))
        when(c.limits, "value", self._limit)
        when(c.width, "value", self._widen)
        when(
            c.classes, "active", lambda on: self.change(classes=None if len(on) == len(c.classes.labels) else tuple(on))
        )
        when(c.brightness, "active", lambda k: self.change(brightness=BRIGHTNESSES[k]))
        when(c.contrast, "value", lambda _value: self._show_colours())
        when(c.residual, "active", lambda on: self.change(residual=bool(on)))
        when(c.disks, "active", self._outlines)

    def _when(self, control: Any, name: str, act: Callable[[Any], None]) -> None:
        """Call `act` where a person, not the window itself, changes a control."""

        def changed(_name: str, _old: Any, new: Any) -> None:
            if not self._settling:
                act(new)

        control.on_change(name, changed)

    def _choose(self, name: str) -> None:
        """Show another map; limits and brush belonged to the one before, and the second result follows."""
        view, opened = self.session.view, self.session.opened
        changes: dict[str, Any] = {"map": name, "limits": None, "brush": None}
        if name == VIRTUAL and view.detector is None:
            changes["detector"] = opened.bright_field
        if view.beside.startswith(OTHER) and opened.other is not None and name in available(opened.other):
            changes["beside"] = f"{OTHER}{name}"
        self.change(**changes)

    def _filter(self, on: list[int]) -> None:
        self.change(classes=None if len(on) == len(self.controls.classes.labels) else tuple(on))

    def _limit(self, text: str) -> None:
        parts = text.replace("…", ":").replace(MINUS, "-").split(":")
        if not text.strip():
            self.change(limits=None)
            return
        try:
            low, high = (float(part) for part in parts)
        except ValueError:
            self.complain(f"the ends of the colours are two numbers low : high, not {text!r}")
            return
        if not low < high:
            self.complain(f"the lower end of the colours has to be below the upper, not {text!r}")
            return
        self.change(limits=(low, high))

    def _widen(self, width: float | None) -> None:
        line = self.session.view.line
        if line is not None and width:
            self.change(line=Line(line.start, line.stop, float(width)))

    def _outlines(self, on: bool) -> None:
        self.pattern.disks.visible = self.pattern.dots.visible = on

    def _help(self, on: bool) -> None:
        self.controls.help.visible, self.controls.numbers.visible = on, not on

    def _worst(self, step: int = 1) -> None:
        before = self.session.view
        rank = self.session.to_worst(step if isinstance(step, int) else 1)
        if self.session.view.at != before.at:
            self._show({part for part, fields in DEPENDS.items() if "at" in fields})
        self._show_command()
        self.controls.worst.label = f"Worst position ({rank})"

    def _export(self, what: str) -> None:
        try:
            made = export(self.session, what)
        except CyclestrainError as error:
            self.complain(str(error))
            return
        text = base64.b64encode(made.content).decode("ascii")
        self._saved.data = {"name": [made.name], "kind": [made.kind], "content": [text]}

    def _detect(self, detector: Detector) -> None:
        self.change(detector=detector, map=VIRTUAL, limits=None, brush=None)

    def _virtual_arrived(self) -> None:
        """An image of the virtual detector, or more of it, is there."""
        self._show({"maps", "beside", "profile", "disks"})

    def _on_map(self, kind: str, points: list[tuple[float, float]]) -> None:
        ends = [self.map.point(*point) for point in points]
        if kind == "look":
            self.change(at=self.map.position(*points[0]))
        elif kind == "rectangle":
            self.change(reference=Region.box(ends[0], ends[-1], self.session.opened.shape))
        elif kind == "lasso":
            self._enclose(ends)
        elif kind == "line":
            self.change(line=Line(ends[0], ends[-1], float(self.controls.width.value or 1)))

    def _enclose(self, ends: list[tuple[float, float]]) -> None:
        if len(ends) < 3:
            self.complain("an outline needs at least three points; drag around the region")
            return
        self.change(reference=Region(tuple(ends)))

    def _on_pattern(self, kind: str, points: list[tuple[float, float]]) -> None:
        opened = self.session.opened
        (x, y), (x1, y1) = points[0], points[-1]
        cy, cx = (float(v) for v in opened.centre[self.session.view.at])
        if kind == "disk":
            self._detect(Disk(round(y - cy, 1), round(x - cx, 1), round(max(float(np.hypot(x1 - x, y1 - y)), 1.0), 1)))
        elif kind == "ring":
            radii = sorted(round(float(np.hypot(a - cx, b - cy)), 1) for a, b in (points[0], points[-1]))
            self._detect(Ring(radii[0], max(radii[1], radii[0] + 1.0)))
        elif kind == "pick":
            self._pick(y, x)

    def _pick(self, y: float, x: float) -> None:
        """Take the reflection at a point into the virtual detector, or out of it."""
        fitted = self.session.opened.pattern(self.session.view.at).reflections
        number, before = inside(fitted, y, x), self.session.view.detector
        if number is None or fitted is None:
            self.complain("there is no fitted reflection here; click into a marked disk")
            return
        entry = int(fitted.attrs["class"])
        own = set(before.numbers) if isinstance(before, Reflections) and before.entry == entry else set()
        chosen = tuple(sorted(own ^ {number}))
        if chosen:
            self._detect(Reflections(entry, chosen, round(float(fitted.attrs["disk_radius"]) + 0.5, 1)))

    # Keys

    def _key_actions(self) -> dict[str, Callable[[int], None]]:
        """What every key does; the argument is how far Shift makes an arrow go."""
        c, go = self.controls, self._go
        return {
            "ArrowUp": lambda n: go(-n, 0),
            "ArrowDown": lambda n: go(n, 0),
            "ArrowLeft": lambda n: go(0, -n),
            "ArrowRight": lambda n: go(0, n),
            "w": lambda _: self._worst(1),
            "W": lambda _: self._worst(-1),
            "r": lambda _: self.change(residual=not self.session.view.residual),
            "o": lambda _: c.disks.update(active=not c.disks.active),
            "l": lambda _: self.change(brightness=_after(BRIGHTNESSES, self.session.view.brightness, 1)),
            "b": lambda _: self.change(estimate="" if self.session.view.estimate else "raw"),
            "[": lambda _: self._choose(_after(available(self.session.maps), self.session.view.map, -1)),
            "]": lambda _: self._choose(_after(available(self.session.maps), self.session.view.map, 1)),
            "v": lambda _: c.drag.update(active=0),
            "x": lambda _: c.drag.update(active=1),
            "i": lambda _: c.drag.update(active=2),
            "p": lambda _: c.drag.update(active=3),
            "0": lambda _: self.change(reference=None),
            "e": lambda _: self._export("map.png"),
            "E": lambda _: self._export("map.svg"),
            "c": lambda _: self._export("maps.csv"),
            "d": lambda _: self.paint(not c.theme.active),
            "?": lambda _: c.keys.update(active=not c.keys.active),
            "h": lambda _: c.keys.update(active=not c.keys.active),
        }

    def _pressed(self, _name: str, _old: Any, new: dict[str, Any]) -> None:
        if len(new["key"]):
            action = self._key_actions().get(str(new["key"][0]))
            if action is not None:
                action(10 if new["shift"][0] else 1)

    def _go(self, rows: int, columns: int) -> None:
        self.change(at=self.session.beside(rows, columns))


def _after(names: tuple[str, ...], name: str, step: int) -> str:
    """The name some steps after another, round and round; the first where that is none of them."""
    return names[(names.index(name) + step) % len(names)] if name in names else names[0]

"""What happens when a person touches a control, drags on a drawing or presses a key."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS

from cyclestrain.display.ranges import MINUS
from cyclestrain.errors import CyclestrainError
from cyclestrain.explorer.detectors import Detector, Disk, Reflections, Ring
from cyclestrain.explorer.exports import export
from cyclestrain.explorer.quantities import available
from cyclestrain.explorer.regions import Line, Region
from cyclestrain.explorer.session import OTHER, VIRTUAL
from cyclestrain.explorer.views.controls import BRIGHTNESSES, MAP_DRAGS, PATTERN_DRAGS
from cyclestrain.explorer.views.gestures import Gestures
from cyclestrain.explorer.views.pattern_view import inside

if TYPE_CHECKING:
    from cyclestrain.explorer.views.window import Window

__all__ = ["Actions"]

FURTHER = 10
"""Positions that an arrow goes with Shift."""
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
_LET_GO = """
let focused = document.activeElement
while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement
if (focused?.tagName == "SELECT") focused.blur()
"""
"""Takes the keys from a list once something is chosen in it."""
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


class Actions:
    """What a person can do in a window.

    Parameters
    ----------
    window
        The window; its controls and drawings are connected here.
    """

    def __init__(self, window: Window) -> None:
        self.window, self.session, self.controls = window, window.session, window.controls
        self.change = window.change
        self.saved = ColumnDataSource({"name": [], "kind": [], "content": []}, name="saved")
        self.saved.js_on_change("data", CustomJS(args={"source": self.saved}, code=_SAVE))
        self.key = ColumnDataSource({"key": [], "shift": [], "n": []}, name="key")
        self.key.on_change("data", self._pressed)
        self._keys = self._key_actions()
        for view in (window.map, window.second):
            Gestures(view.plot, self.controls.drag, MAP_DRAGS, self._on_map)
        Gestures(window.pattern.plot, self.controls.detect, PATTERN_DRAGS, self._on_pattern, window.pattern.centre)
        self._connect()

    def keys_script(self) -> CustomJS:
        """What makes the browser tell which keys are pressed; to be run when the document is ready."""
        return CustomJS(args={"source": self.key, "known": list(self._keys)}, code=_KEYS)

    def _connect(self) -> None:
        c, window, when = self.controls, self.window, self._when
        for choice in (c.map, c.beside):
            choice.js_on_change("value", CustomJS(code=_LET_GO))
        c.worst.on_click(self.worst)
        c.export.on_click(lambda event: self.export(event.item))
        c.theme.on_change("active", lambda _a, _o, dark: window.paint(bool(dark)))
        c.keys.on_change("active", lambda _a, _o, on: window.help(bool(on)))
        c.reference.on_click(lambda: self.change(reference=None))
        c.bright_field.on_click(lambda: self.detect(self.session.opened.bright_field))
        c.dark_field.on_click(lambda: self.detect(self.session.opened.dark_field))
        when(c.map, "value", self.choose)
        when(c.beside, "value", lambda name: self.change(beside=name))
        when(c.estimate, "active", lambda k: self.change(estimate="raw" if k else ""))
        when(c.limits, "value", self.limit)
        when(c.width, "value", self.widen)
        when(c.classes, "active", self.filter)
        when(c.brightness, "active", lambda k: self.change(brightness=BRIGHTNESSES[k]))
        when(c.contrast, "value", lambda _value: window.show({"colours"}))
        when(c.residual, "active", lambda on: self.change(residual=bool(on)))
        when(c.disks, "active", window.pattern.outlines)

    def _when(self, control: Any, name: str, act: Callable[[Any], None]) -> None:
        """Call `act` where a person, not the window itself, changes a control."""

        def changed(_name: str, _old: Any, new: Any) -> None:
            if not self.window.settling:
                act(new)

        control.on_change(name, changed)

    def choose(self, name: str) -> None:
        """Show another map; limits and brush belonged to the one before, and the second result follows."""
        view, opened = self.session.view, self.session.opened
        changes: dict[str, Any] = {"map": name, "limits": None, "brush": None}
        if name == VIRTUAL and view.detector is None:
            changes["detector"] = opened.bright_field
        if view.beside.startswith(OTHER) and opened.other is not None and name in available(opened.other):
            changes["beside"] = f"{OTHER}{name}"
        self.change(**changes)

    def filter(self, on: list[int]) -> None:
        """Show some classes only."""
        numbers = self.controls.class_numbers
        self.change(classes=None if len(on) == len(numbers) else tuple(numbers[k] for k in on))

    def limit(self, text: str) -> None:
        """Set the ends of the colours from ``low : high``; from an empty text the automatic ones."""
        if not text.strip():
            self.change(limits=None)
            return
        try:
            low, high = (float(part) for part in text.replace(MINUS, "-").split(":"))
        except ValueError:
            self.window.complain(f"the ends of the colours are two numbers low : high, not {text!r}")
            return
        if not low < high:
            self.window.complain(f"the lower end of the colours has to be below the upper, not {text!r}")
            return
        self.change(limits=(low, high))

    def widen(self, width: float | None) -> None:
        """Average the profile over another width."""
        line = self.session.view.line
        if line is not None and width:
            self.change(line=Line(line.start, line.stop, float(width)))

    def worst(self, step: Any = 1) -> None:
        """Go to the worst position, then to the next worst."""
        before = self.session.view
        rank = self.session.to_worst(step if isinstance(step, int) else 1)
        self.window.changed(before)
        self.controls.worst.label = f"Worst position ({rank})"

    def export(self, what: str) -> None:
        """Save something that is on the screen."""
        try:
            made = export(self.session, what)
        except CyclestrainError as error:
            self.window.complain(str(error))
            return
        text = base64.b64encode(made.content).decode("ascii")
        self.saved.data = {"name": [made.name], "kind": [made.kind], "content": [text]}

    def detect(self, detector: Detector) -> None:
        """Show the image of a virtual detector."""
        self.change(detector=detector, map=VIRTUAL, limits=None, brush=None)

    def _on_map(self, kind: str, points: list[tuple[float, float]]) -> None:
        view = self.window.map
        ends = [view.point(*point) for point in points]
        if kind == "look":
            self.change(at=view.position(*points[0]))
        elif kind == "rectangle":
            self.change(reference=Region.box(ends[0], ends[-1], self.session.opened.shape))
        elif kind == "line":
            self.change(line=Line(ends[0], ends[-1], float(self.controls.width.value or 1)))
        elif len(ends) < 3:
            self.window.complain("an outline needs at least three points; drag around the region")
        else:
            self.change(reference=Region(tuple(ends)))

    def _on_pattern(self, kind: str, points: list[tuple[float, float]]) -> None:
        cy, cx = (float(v) for v in self.session.opened.centre[self.session.view.at])
        (x, y), (x1, y1) = points[0], points[-1]
        if kind == "disk":
            radius = max(float(np.hypot(x1 - x, y1 - y)), 1.0)
            self.detect(Disk(round(y - cy, 1), round(x - cx, 1), round(radius, 1)))
        elif kind == "ring":
            inner, outer = sorted(round(float(np.hypot(a - cx, b - cy)), 1) for a, b in ((x, y), (x1, y1)))
            self.detect(Ring(inner, max(outer, inner + 1.0)))
        elif kind == "pick":
            self._pick(y, x)

    def _pick(self, y: float, x: float) -> None:
        """Take the reflection at a point into the virtual detector, or out of it."""
        fitted = self.session.opened.pattern(self.session.view.at).reflections
        number, before = inside(fitted, y, x), self.session.view.detector
        if number is None or fitted is None:
            self.window.complain("there is no fitted reflection here; click into a marked disk")
            return
        entry = fitted.label
        own = set(before.numbers) if isinstance(before, Reflections) and before.entry == entry else set()
        chosen = tuple(sorted(own ^ {number}))
        if chosen:
            self.detect(Reflections(entry, chosen, round(fitted.disk_radius + 0.5, 1)))

    def _key_actions(self) -> dict[str, Callable[[int], None]]:
        """What every key does; the argument is how far an arrow goes."""
        c, session = self.controls, self.session

        def go(rows: int, columns: int) -> None:
            self.change(at=session.beside(rows, columns))

        return {
            "ArrowUp": lambda n: go(-n, 0),
            "ArrowDown": lambda n: go(n, 0),
            "ArrowLeft": lambda n: go(0, -n),
            "ArrowRight": lambda n: go(0, n),
            "w": lambda _: self.worst(1),
            "W": lambda _: self.worst(-1),
            "r": lambda _: self.change(residual=not session.view.residual),
            "o": lambda _: c.disks.update(active=not c.disks.active),
            "l": lambda _: self.change(brightness=_after(BRIGHTNESSES, session.view.brightness, 1)),
            "b": lambda _: self.change(estimate="" if session.view.estimate else "raw"),
            "[": lambda _: self.choose(_after(available(session.maps), session.view.map, -1)),
            "]": lambda _: self.choose(_after(available(session.maps), session.view.map, 1)),
            "v": lambda _: c.drag.update(active=MAP_DRAGS.index("look")),
            "x": lambda _: c.drag.update(active=MAP_DRAGS.index("rectangle")),
            "i": lambda _: c.drag.update(active=MAP_DRAGS.index("lasso")),
            "p": lambda _: c.drag.update(active=MAP_DRAGS.index("line")),
            "0": lambda _: self.change(reference=None),
            "e": lambda _: self.export("map.png"),
            "E": lambda _: self.export("map.svg"),
            "c": lambda _: self.export("maps.csv"),
            "d": lambda _: self.window.paint(not c.theme.active),
            "?": lambda _: c.keys.update(active=not c.keys.active),
            "h": lambda _: c.keys.update(active=not c.keys.active),
        }

    def _pressed(self, _name: str, _old: Any, new: dict[str, Any]) -> None:
        if len(new["key"]):
            action = self._keys.get(str(new["key"][0]))
            if action is not None:
                action(FURTHER if new["shift"][0] else 1)


def _after(names: tuple[str, ...], name: str, step: int) -> str:
    """The name some steps after another, round and round; the first where that is none of them."""
    return names[(names.index(name) + step) % len(names)] if name in names else names[0]

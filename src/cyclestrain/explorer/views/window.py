"""The window of one person: drawings and controls laid out, and what happens when they are touched."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import Div, LayoutDOM

from cyclestrain.errors import CyclestrainError
from cyclestrain.explorer.detectors import Reflections
from cyclestrain.explorer.exports import python_lines
from cyclestrain.explorer.session import OTHER, VIRTUAL, Session
from cyclestrain.explorer.state import View
from cyclestrain.explorer.views.actions import Actions
from cyclestrain.explorer.views.controls import BRIGHTNESSES, Controls
from cyclestrain.explorer.views.map_view import MapView
from cyclestrain.explorer.views.pattern_view import PatternView
from cyclestrain.explorer.views.plots import HistogramView, ProfileView
from cyclestrain.explorer.views.quick_text import QuickText
from cyclestrain.explorer.views.texts import command_text, help_text, numbers_text, trouble_text
from cyclestrain.explorer.views.theme import DARK, LIGHT, SHEET, Theme
from cyclestrain.explorer.views.virtual import InBackground

__all__ = ["Window"]

GROWTH = 250
"""Milliseconds between two looks at a result that grows."""
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
    "came": set(),
}
"""Parts of the window, and the fields of the view that each shows."""


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
        self.second = MapView(opened.shape, opened.step, self.theme, "second", self.map)
        shape = NO_DETECTOR if opened.scan is None else opened.scan.detector_shape
        self.pattern = PatternView(shape, self.theme)
        self.histogram = HistogramView(self.theme, lambda brush: self.change(brush=brush))
        self.profile = ProfileView(self.theme)
        self.settling = False
        self._seen = opened.version
        self._numbers, self._command = QuickText(self.controls.numbers), QuickText(self.controls.command)
        self._background = InBackground(session, document, self._virtual_arrived, self.complain)
        self._counts: np.ndarray | None = None
        self.actions = Actions(self)
        self.root = self._layout(height)
        self.show(set(DEPENDS))
        self.controls.theme.active = dark
        if opened.growing and document is not None:
            self._growth = document.add_periodic_callback(lambda: self.grow(document), GROWTH)

    def _layout(self, height: int | None) -> LayoutDOM:
        c = self.controls
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        both: dict[str, Any] = {"sizing_mode": "stretch_both"}
        head = row(c.title, c.trouble, c.worst, c.export, c.theme, c.keys, **wide)
        over_map = row(
            c.map, c.beside, c.estimate, c.limits, c.drag, c.width, c.reference, c.classes, **wide
        )  # fmt: skip
        over_pattern = row(
            c.brightness, c.contrast_label, c.contrast, c.residual, c.disks, c.detect, c.bright_field, c.dark_field,
            **wide,
        )  # fmt: skip
        for plot in (self.histogram.plot, self.profile.plot):
            plot.update(sizing_mode="stretch_width", height=150)
        right = column(c.numbers, c.help, width=330, sizing_mode="stretch_height")
        self._maps = row(self.map.plot, **both)
        middle = column(self.pattern.plot, self.profile.plot, styles={"flex": "1 1 0"}, **both)
        self._left = column(self._maps, self.histogram.plot, **both)
        self._body = row(self._left, middle, right, **both)
        size: dict[str, Any] = {"height": f"{height}px" if height else "100vh", "width": "100%"}
        return column(
            head, over_map, over_pattern, self._body, c.command, self._hidden(), css_classes=_classes(self.theme),
            stylesheets=[SHEET], styles=size, **both,
        )  # fmt: skip

    def _hidden(self) -> LayoutDOM:
        """Something that holds the sources that are not drawn, so that the browser knows of them."""
        sources = [self.actions.saved, self.actions.key, self._numbers.source, self._command.source]
        return Div(visible=False, tags=sources)

    def help(self, on: bool) -> None:
        """Show the keys in place of the numbers, or the numbers again."""
        self.controls.help.visible, self.controls.numbers.visible = on, not on

    def paint(self, dark: bool) -> None:
        """Change between light and dark."""
        self.theme = DARK if dark else LIGHT
        for view in (self.map, self.second, self.pattern, self.profile, self.histogram):
            view.paint(self.theme)
        self.root.css_classes = _classes(self.theme)
        self.controls.theme.active = dark

    def change(self, **changes: Any) -> None:
        """Look at something else; what cannot be is said, and nothing changes."""
        before = self.session.view
        try:
            self.session.change(**changes)
        except CyclestrainError as error:
            self.complain(str(error))
            self.show({"controls"})
            return
        self.complain(self.session.opened.trouble)
        self.changed(before)

    def changed(self, before: View) -> None:
        """Bring up to date what shows a field of the view that is another than before."""
        after = self.session.view
        names = {name for name in View.__dataclass_fields__ if getattr(before, name) != getattr(after, name)}
        self.show({part for part, fields in DEPENDS.items() if fields & names})

    def grow(self, document: Document) -> None:
        """Bring everything up to date where the result has become another; called again and again while it grows."""
        opened = self.session.opened
        if not opened.growing:
            document.remove_periodic_callback(self._growth)
        if opened.version == self._seen:
            self._show_title()
            return
        self._seen = opened.version
        trouble = self.session.grown()
        self.settling = True
        self.controls.offer()
        self.settling = False
        self.show(set(DEPENDS))
        self.complain(trouble or opened.pattern(self.session.view.at).trouble)

    def complain(self, text: str) -> None:
        """Say what is wrong; nothing for an empty text."""
        self.controls.trouble.text = trouble_text(text)

    def show(self, parts: set[str]) -> None:
        """Bring parts of the window up to date."""
        view = self.session.view
        if {"maps", "beside"} & parts and VIRTUAL in (view.map, view.beside):
            self._background.want(view.detector)
        shows: dict[str, Callable[[], None]] = {
            "controls": self._show_controls,
            "came": self._show_came,
            "maps": self._show_map,
            "beside": self._show_beside,
            "picked": self._show_picked,
            "profile": self._show_profile,
            "line": self._show_line,
            "reference": self._show_reference,
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

    def _show_came(self) -> None:
        for view in (self.map, self.second):
            view.arrived(self.session.opened.came)

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
            self._left.styles = {"flex": f"{len(wanted)} 1 0"}

    def _show_picked(self) -> None:
        picked = self.session.picked()
        self.map.veil(picked)
        self.second.veil(picked)
        self.histogram.show(self.session.shown(), self.session.view.brush)

    def _show_line(self) -> None:
        for view in (self.map, self.second):
            view.line(self.session.view.line)

    def _show_reference(self) -> None:
        for view in (self.map, self.second):
            view.outline(self.session.reference())

    def _show_profile(self) -> None:
        step = self.session.opened.step
        self.profile.show(self.session.profile(), self.session.shown().title, step.value, step.unit)

    def _show_pattern(self) -> None:
        session, at = self.session, self.session.view.at
        pattern = session.opened.pattern(at)
        self._counts = pattern.counts
        shown, what = pattern.counts, "pattern,"
        trouble = pattern.trouble
        if session.view.residual:
            what = "residual (σ),"
            try:
                shown = session.opened.residual(at)
            except CyclestrainError as error:
                shown, trouble = None, trouble or str(error)
        self.pattern.show(shown, f"{what} row {at[0]}, column {at[1]}")
        for view in (self.map, self.second):
            view.mark(at)
        self.complain(trouble)

    def _show_colours(self) -> None:
        view = self.session.view
        if view.residual or self._counts is None:
            self.pattern.colour(view.brightness, None if view.residual else (0.0, 1.0))
        else:
            reach = self.session.opened.reach(view.at, self._counts, self.controls.contrast.value)
            self.pattern.colour(view.brightness, reach)

    def _show_disks(self) -> None:
        view = self.session.view
        fitted = self.session.opened.pattern(view.at).reflections
        chosen = view.detector.numbers if isinstance(view.detector, Reflections) and view.map == VIRTUAL else ()
        self.pattern.reflections(fitted, chosen)

    def _show_numbers(self) -> None:
        session, view = self.session, self.session.view
        other = session.numbers(other=True) if session.other is not None else []
        self._numbers.show(numbers_text(view.at, session.numbers(), other, session.reasons()))

    def _show_command(self) -> None:
        opened, session = self.session.opened, self.session
        scan = opened.scan.path if opened.scan is not None else None
        words = session.view.words(opened.name, scan or None, opened.other_name or None) if opened.in_file else ""
        self._command.show(command_text(words, python_lines(session)))

    def _show_controls(self) -> None:
        c, view = self.controls, self.session.view
        self.settling = True
        try:
            self._show_title()
            c.map.value, c.beside.value = view.map, view.beside
            c.estimate.active = int(view.estimate == "raw")
            c.limits.value = "" if view.limits is None else f"{view.limits[0]:g} : {view.limits[1]:g}"
            c.brightness.active = BRIGHTNESSES.index(view.brightness)
            c.residual.active = view.residual
            c.reference.disabled = view.reference is None
            c.width.value = c.width.value if view.line is None else view.line.width
            shown = c.class_numbers if view.classes is None else view.classes
            c.classes.active = [k for k, number in enumerate(c.class_numbers) if number in shown]
            c.help.text = help_text()
        finally:
            self.settling = False

    def _show_title(self) -> None:
        """What is looked at; while it is recorded, where that stands."""
        opened, attrs = self.session.opened, self.session.maps.attrs
        second = f" and <b>B: {escape(Path(opened.other_name).name)}</b>" if opened.other is not None else ""
        reference = escape(str(attrs.get("reference", ""))) or "its reference"
        text = f"{opened.shape[0]} × {opened.shape[1]} positions; strain relative to {reference}"
        if opened.growing:
            text = f"recording: {escape(opened.words)}; hatched: still to come"
        name = escape(Path(opened.name).name)
        self.controls.title.text = f"<h1>{name}{second}</h1><span class='cs-quiet'>{text}</span>"

    def _virtual_arrived(self) -> None:
        """An image of the virtual detector, or more of it, is there."""
        self.show({"maps", "beside", "profile", "disks"})


def _classes(theme: Theme) -> list[str]:
    """CSS classes of the root, from which the colours of all controls follow."""
    return ["cs-root", f"cs-{theme.name}"]

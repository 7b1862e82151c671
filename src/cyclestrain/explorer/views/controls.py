"""The controls of the window, with what they offer; what they do is in `window`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bokeh.models import (
    Button,
    CheckboxButtonGroup,
    Div,
    Dropdown,
    RadioButtonGroup,
    RangeSlider,
    Select,
    Spinner,
    TextInput,
    Toggle,
)

from cyclestrain.display.fields import class_names
from cyclestrain.explorer.exports import EXPORTS
from cyclestrain.explorer.opened import Opened
from cyclestrain.explorer.quantities import QUANTITIES, available
from cyclestrain.explorer.session import OTHER, VIRTUAL, intensity_name
from cyclestrain.explorer.views.theme import SHEET

__all__ = ["BRIGHTNESSES", "DEFAULT_WIDTH", "MAP_DRAGS", "PATTERN_DRAGS", "Controls"]

MAP_DRAGS = ("look", "rectangle", "lasso", "line")
"""What a drag on the map means, in the order of its buttons."""
PATTERN_DRAGS = ("look", "disk", "ring", "pick")
"""What a drag on the pattern means, in the order of its buttons."""
DEFAULT_WIDTH = 3
"""Width of a profile, positions: a slanted line of less skips some of its steps."""
BRIGHTNESSES = ("sqrt", "log", "linear")
_STYLE: dict[str, Any] = {"stylesheets": [SHEET], "margin": (2, 5, 2, 0), "align": "center"}


def _made(kind: Any, name: str, **options: Any) -> Any:
    return kind(name=f"{name}_control", css_classes=[f"cs-{name}"], **{**_STYLE, **options})


@dataclass
class Controls:
    """Every control of the window.

    Parameters
    ----------
    opened
        What is looked at, which decides what can be chosen.
    """

    opened: Opened
    title: Any = field(init=False)

    def __post_init__(self) -> None:
        opened = self.opened
        self.title = _made(Div, "title", width=560)
        self.trouble = _made(Div, "trouble", sizing_mode="stretch_width")
        self.command = _made(Div, "command", sizing_mode="stretch_width")
        self.numbers = _made(Div, "numbers", sizing_mode="stretch_both", styles={"overflow-y": "auto"})
        self.help = _made(Div, "help", visible=False, styles={"overflow-y": "auto"}, sizing_mode="stretch_both")
        self.worst = _made(Button, "worst", label="Worst position")
        self.export = _made(Dropdown, "export", label="Save", menu=[(text, what) for what, text in EXPORTS.items()])
        self.theme = _made(Toggle, "theme", label="Dark")
        self.keys = _made(Toggle, "keys", label="Keys ?")
        self.map = _made(Select, "map", width=172)
        self.beside = _made(Select, "beside", width=150)
        self.estimate = _made(RadioButtonGroup, "estimate", labels=["best", "each alone"], active=0)
        self.drag = _made(
            RadioButtonGroup, "drag", labels=["look", "reference ▭", "reference ✎", "profile"], active=0
        )  # fmt: skip
        self.width = _made(Spinner, "width", low=1, high=max(opened.shape), step=2, value=DEFAULT_WIDTH, width=52)
        self.limits = _made(TextInput, "limits", placeholder="colours: auto", width=108)
        self.reference = _made(Button, "reference", label="first reference", disabled=True)
        self.classes = _made(CheckboxButtonGroup, "classes")
        self.brightness = _made(RadioButtonGroup, "brightness", labels=["√", "log", "linear"], active=0)
        self.contrast_label = _made(Div, "contrast_label", width=58, text="<span class='cs-quiet'>contrast</span>")
        self.contrast = _made(
            RangeSlider, "contrast", start=0, end=1, step=0.005, value=(0, 1), width=150, show_value=False,
            tooltips=False, title=None, height=24,
        )  # fmt: skip
        self.residual = _made(Toggle, "residual", label="residual")
        self.disks = _made(Toggle, "disks", label="disks", active=True)
        self.detect = _made(RadioButtonGroup, "detect", labels=["look", "disk", "ring", "reflections"], active=0)
        self.bright_field = _made(Button, "bright_field", label="bright field")
        self.dark_field = _made(Button, "dark_field", label="dark field")
        self.offer()

    def offer(self) -> None:
        """Let choose among the maps and classes that the result has now."""
        opened = self.opened
        self.map.options, self.beside.options = _choices(opened, second=False), _choices(opened, second=True)
        there = "class" in opened.maps
        self.class_numbers = sorted({int(k) for k in opened.maps["class"].values.ravel()}) if there else []
        names = class_names(opened.maps) if there else ()
        labels = [f"class {names[k]}" if k >= 0 else "no class" for k in self.class_numbers]
        self.classes.update(labels=labels, active=list(range(len(labels))), visible=len(labels) > 1)


def _choices(opened: Opened, *, second: bool) -> dict[str, list[tuple[str, str]]]:
    """Maps that can be chosen, under their headings; as a second map also none, and those of a second result."""
    groups: dict[str, list[tuple[str, str]]] = {"Second map": [("", "no second map")]} if second else {}
    for name in available(opened.maps):
        groups.setdefault(QUANTITIES[name].heading, []).append((name, QUANTITIES[name].title))
    if opened.intensities is not None:
        groups["Intensity"] = [(intensity_name(hk), "intensity of ({} {})".format(*hk)) for hk in opened.reflections]
    if opened.virtual is not None:
        groups["Virtual detector"] = [(VIRTUAL, "virtual image")]
    if second and opened.other is not None:
        names = available(opened.other)
        groups["Second result (B)"] = [(f"{OTHER}{name}", f"B: {QUANTITIES[name].title}") for name in names]
    return groups

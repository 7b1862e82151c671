"""Drags and clicks on a drawing, followed in the browser and told to Python when they mean something.

The browser draws what is being drawn without asking. A position under a drag is told only when the answer to the one
before has come, so that a slow line never runs behind the mouse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.models import ColumnDataSource, CustomJS, RadioButtonGroup
from bokeh.plotting import figure

__all__ = ["Gestures"]

LOOK = "look"
_CODE = """
const quiet = {sync: false}
function tell(message, kind, xs, ys) { message.data = {kind: [kind, String(Math.random())], x: [xs, []], y: [ys, []]} }
// What is under way lies on the message, since a script that is loaded while events come in is loaded several times.
function state_of(args) {
  return args.message.under_way ??= {start: null, busy: false, waiting: null, trail: [], kind: null}
}
// Under a drag the numbers of the position are in the table; a tooltip would cost a third of the time of a pattern.
function tips(args, active) {
  for (const tool of args.plot.toolbar.tools) if (tool.type == "HoverTool") tool.setv({active}, quiet)
}
function look(args, x, y) {
  const state = state_of(args)
  if (state.busy) { state.waiting = [x, y]; return }
  state.busy = true
  tell(args.message, "look", [x], [y])
}
function outline(kind, a, b) {
  if (kind == "rectangle") return [[a[0], b[0], b[0], a[0], a[0]], [a[1], a[1], b[1], b[1], a[1]]]
  if (kind == "line") return [[a[0], b[0]], [a[1], b[1]]]
  const circle = (c, r) => {
    const t = Array.from({length: 97}, (_, k) => k * Math.PI / 48)
    return [t.map((v) => c[0] + r * Math.cos(v)), t.map((v) => c[1] + r * Math.sin(v))]
  }
  const off = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1])
  if (kind == "disk") return circle(a, off(a, b))
  return null
}
function preview(args, kind, here) {
  const {start, trail} = state_of(args)
  let shape
  if (kind == "lasso") {
    trail.push(here)
    const closed = [...trail, trail[0]]
    shape = [closed.map((p) => p[0]), closed.map((p) => p[1])]
  }
  else if (kind == "ring") {
    const c = args.centre.data, o = [c.x[0], c.y[0]]
    const r = (p) => Math.hypot(p[0] - o[0], p[1] - o[1])
    const one = outline("disk", o, [o[0] + r(start), o[1]]), two = outline("disk", o, [o[0] + r(here), o[1]])
    args.drawn.setv({data: {xs: [one[0], two[0]], ys: [one[1], two[1]]}}, quiet)
    return
  } else shape = outline(kind, start, here)
  args.drawn.setv({data: {xs: [shape[0]], ys: [shape[1]]}}, quiet)
}
export default (args, event) => {
  const state = state_of(args)
  if (event.event_name === undefined) {  // the answer has come
    state.busy = false
    if (state.waiting != null) {
      const [x, y] = state.waiting
      state.waiting = null
      look(args, x, y)
    }
    return
  }
  const {x, y, event_name: what} = event
  const chosen = args.kinds[args.mode.active ?? 0]
  if (what == "tap") {
    if (chosen == "look") look(args, x, y)
    else if (chosen == "pick") tell(args.message, "pick", [x], [y])
    return
  }
  if (args.plot.toolbar.gestures.pan.active != null) return  // the tool that moves the picture is on
  if (what == "panstart") Object.assign(state, {start: [x, y], trail: [[x, y]], kind: chosen})
  if (what != "pan") tips(args, what == "panend")
  const kind = state.kind  // what a drag means does not change on its way
  if (kind == "look") { if (what != "panend") look(args, x, y); return }
  if (kind == null || kind == "pick" || state.start == null) return
  if (what == "pan") preview(args, kind, [x, y])
  if (what == "panend") {
    const points = kind == "lasso" ? state.trail : [state.start, [x, y]]
    state.start = null
    args.drawn.setv({data: {xs: [], ys: []}}, quiet)
    tell(args.message, kind, points.map((p) => p[0]), points.map((p) => p[1]))
  }
}
"""


class Gestures:
    """What a person does with the mouse on a drawing.

    Parameters
    ----------
    plot
        The drawing.
    mode
        Buttons that choose what a drag means.
    kinds
        For each button ``look``, ``rectangle``, ``lasso``, ``line``, ``disk``, ``ring`` or ``pick``.
    done
        Called with the kind and the points ``(x, y)`` of a gesture.
    centre
        Where rings are about: columns ``x`` and ``y`` of one value.
    answer
        Source whose new data mean that a position is shown; by default one of its own, see `answered`.
    """

    def __init__(
        self,
        plot: figure,
        mode: RadioButtonGroup,
        kinds: tuple[str, ...],
        done: Callable[[str, list[tuple[float, float]]], None],
        centre: ColumnDataSource | None = None,
    ) -> None:
        self._message = ColumnDataSource({"kind": [], "x": [], "y": []}, name="gesture")
        self._answer = ColumnDataSource({"n": [0]}, name="answer")
        self._done = done
        drawn = ColumnDataSource({"xs": [], "ys": []})
        plot.multi_line("xs", "ys", source=drawn, line_color="#e6007e", line_width=2, line_dash=[5, 3])
        args: dict[str, Any] = {
            "plot": plot, "mode": mode, "kinds": list(kinds), "message": self._message, "answer": self._answer,
            "drawn": drawn,
            "centre": centre or ColumnDataSource({"x": [0], "y": [0]}),
        }  # fmt: skip
        follow = CustomJS(args=args, code=_CODE)
        for event in ("tap", "panstart", "pan", "panend"):
            plot.js_on_event(event, follow)
        self._answer.js_on_change("data", follow)
        self._message.on_change("data", self._told)

    def _told(self, _name: str, _old: Any, new: dict[str, Any]) -> None:
        if not len(new["kind"]):
            return
        kind, xs, ys = new["kind"][0], new["x"][0], new["y"][0]
        try:
            self._done(str(kind), [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)])
        finally:
            if kind == LOOK:
                self._answer.data = {"n": [int(self._answer.data["n"][0]) + 1]}

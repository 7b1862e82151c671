"""Text that changes while the mouse moves: put into the page alone, where Bokeh would lay the whole window out anew."""

from __future__ import annotations

from bokeh.models import ColumnDataSource, CustomJS, Div

__all__ = ["QuickText"]

_CODE = """
const text = source.data.text[0]
if (text === undefined) return
div.setv({text}, {silent: true, sync: false})
for (const view of Bokeh.index.query((view) => view.model === div)) {
  const before = view.el.offsetHeight
  view.markup_el.innerHTML = text
  if (view.el.offsetHeight != before) view.rerender()
}
"""


class QuickText:
    """Text of a control.

    Parameters
    ----------
    div
        The control.
    """

    def __init__(self, div: Div) -> None:
        self._div, self._text = div, str(div.text)
        self.source = ColumnDataSource({"text": []})
        self.source.js_on_change("data", CustomJS(args={"source": self.source, "div": div}, code=_CODE))

    def show(self, text: str) -> None:
        """Show another text, as HTML; a window that nobody sees yet is just made with it."""
        if text == self._text:
            return
        self._text = text
        if self._div.document is None:
            self._div.text = text
        else:
            self.source.data = {"text": [text]}

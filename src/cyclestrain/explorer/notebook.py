"""The window in a notebook, through Panel, which carries it over the notebook's own connection."""

from __future__ import annotations

from typing import Any

from cyclestrain.explorer.session import Session

__all__ = ["pane"]

HEIGHT = 780


def pane(session: Session) -> Any:
    """A window that a notebook displays.

    Parameters
    ----------
    session
        What is looked at.
    """
    import panel as pn

    from cyclestrain.explorer.views.window import Window

    pn.extension(inline=True)
    return pn.pane.Bokeh(Window(session, height=HEIGHT).root, height=HEIGHT, sizing_mode="stretch_width")

"""The explorer: a window in the browser on a result and its patterns.

`session` and what it stands on know of no browser: a view in, numbers, maps and files out. `views` draws that with
Bokeh, which is imported when a window is opened.
"""

from cyclestrain.explorer.opened import Opened
from cyclestrain.explorer.session import Session
from cyclestrain.explorer.state import View

__all__ = ["Opened", "Session", "View", "in_notebook"]


def in_notebook() -> bool:
    """Whether Python runs in a notebook, which can display a window itself."""
    import sys

    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"

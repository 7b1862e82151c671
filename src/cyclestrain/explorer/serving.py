"""Serving windows to browsers: on this machine alone unless told otherwise, and then only to those with a token."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.explorer.guarding import LOCAL, guard
from cyclestrain.explorer.opened import Opened
from cyclestrain.explorer.session import Session
from cyclestrain.explorer.state import View

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["make_server", "serve", "waiting_room", "window_of"]

WAITING = 500
"""Milliseconds between two looks whether there is something to show."""
PAGE = "{% block postamble %}<style>html, body { margin: 0; height: 100%; }</style>{% endblock %}"
"""The page around a window, which it fills."""
KEEP_UNUSED_MS = 60_000
"""Time after which a session without a browser is let go."""


def window_of(document: Document, opened: Opened, view: View | None = None) -> None:
    """Fill a browser's document with a window.

    Parameters
    ----------
    document
        To be filled.
    opened
        What is looked at.
    view
        What is looked at first, unless the address says otherwise; None for the middle.
    """
    from cyclestrain.explorer.views.window import Window

    asked, trouble = _asked(document), ""
    try:
        session = Session(opened, View.parse(asked["view"]) if "view" in asked else view)
    except CyclestrainError as error:
        session, trouble = Session(opened), str(error)
    window = Window(session, document, dark=asked.get("theme") == "dark")
    if trouble:
        window.complain(trouble)
    document.add_root(window.root)
    document.js_on_event("document_ready", window.actions.keys_script())
    document.title = f"{opened.name} - cyclestrain"
    document.template = PAGE


def waiting_room(document: Document, words: Callable[[], str | None]) -> None:
    """Fill a browser's document with a sentence, for as long as there is nothing to look at.

    Parameters
    ----------
    document
        To be filled.
    words
        Gives the sentence; None where the page is to be loaded again.
    """
    from bokeh.models import ColumnDataSource, CustomJS, Div

    from cyclestrain.explorer.views.theme import SHEET

    ready = ColumnDataSource({"now": []}, name="ready")
    ready.js_on_change("data", CustomJS(code="window.location.reload()"))
    said = Div(stylesheets=[SHEET], css_classes=["cs-root", "cs-light", "cs-waiting"], tags=[ready])

    def look() -> None:
        text = words()
        if text is not None:
            said.text = f"<h1>cyclestrain live</h1><span>{escape(text)}</span>"
        elif not ready.data["now"]:
            ready.data = {"now": [1]}

    look()
    document.add_periodic_callback(look, WAITING)
    document.add_root(said)
    document.title = "cyclestrain"
    document.template = PAGE


def make_server(
    fill: Callable[[Document], None], *, address: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> tuple[Server, str]:
    """A server of windows, not yet running, and the address to open.

    Parameters
    ----------
    fill
        Fills the document of every browser that comes, see `window_of`.
    address
        Address to listen on.
    port
        Port; 0 for any free one.
    token
        What a browser has to know where the address is not of this machine alone; by default a new one.

    Raises
    ------
    InputError
        If the port cannot be had.
    """
    from bokeh.application import Application
    from bokeh.application.handlers.function import FunctionHandler
    from bokeh.server.server import Server

    import cyclestrain.explorer.views.window  # noqa: F401  now, rather than while the first browser waits

    alone = address in LOCAL
    token = None if alone else token or secrets.token_urlsafe(24)
    application = Application(FunctionHandler(fill))
    _keep_quiet()
    _check_free(address, port)
    server = Server(
        {"/": application},
        port=port,
        address=address,
        allow_websocket_origin=["*"],
        auth_provider=guard(token),
        unused_session_lifetime_milliseconds=KEEP_UNUSED_MS,
        websocket_max_message_size=64 * 2**20,
    )
    host = f"[{address}]" if ":" in address else "127.0.0.1" if alone else address
    query = f"?{urlencode({'token': token})}" if token else ""
    return server, f"http://{host}:{server.port}/{query}"


def _asked(document: Document) -> dict[str, str]:
    """What the address of a browser asks for."""
    context = document.session_context
    arguments = context.request.arguments if context is not None and context.request is not None else {}
    return {name: values[0].decode("utf-8", "replace") for name, values in arguments.items() if values}


def _check_free(address: str, port: int) -> None:
    """Make sure that the port can be had.

    Raises
    ------
    InputError
        If it cannot.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"the explorer cannot listen on {address}, port {port} ({reason}); choose another --port, or leave it "
            "out for any free one"
        ) from error


def _keep_quiet() -> None:
    """Bokeh warns of origins with wildcards, where the guard decides, and of browsers that were closed."""
    for name in ("util", "views.ws"):
        logging.getLogger(f"bokeh.server.{name}").setLevel(logging.ERROR)


def serve(server: Server, where: str, name: str, *, local: bool, browser: bool) -> None:
    """Serve windows until interrupted, and say where.

    Parameters
    ----------
    server, where
        From `make_server`.
    name
        Of the result.
    local
        Whether only this machine can reach it.
    browser
        Whether a browser is opened.
    """
    print(f"explore {name} at {where}", "stop with Ctrl+C", sep="\n", flush=True)
    if local:
        forward = f"ssh -L {server.port}:127.0.0.1:{server.port} THIS_MACHINE"
        print(f"from another machine: {forward}, then the same address", flush=True)
    server.start()
    if browser:
        import webbrowser

        server.io_loop.add_callback(webbrowser.open, where)
    try:
        server.io_loop.start()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        server.stop()

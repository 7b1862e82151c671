"""Serving windows to browsers: on this machine alone unless told otherwise, and then only to those with a token."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from cyclestrain.errors import CyclestrainError, InputError
from cyclestrain.explorer.opened import Opened
from cyclestrain.explorer.session import Session
from cyclestrain.explorer.state import View

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.server.server import Server

__all__ = ["LOCAL", "make_server", "window_of"]

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine can reach."""
COOKIE = "cyclestrain_token"
KEEP_UNUSED_MS = 60_000
"""Time after which a session without a browser is let go."""


def window_of(document: Document, opened: Opened, view: View) -> None:
    """Fill a browser's document with a window.

    Parameters
    ----------
    document
        To be filled.
    opened
        What is looked at.
    view
        What is looked at first, unless the address says otherwise.
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
    document.js_on_event("document_ready", window.keys_script())
    document.title = f"{opened.name} - cyclestrain"
    document.template = _page()


def make_server(
    opened: Opened, view: View, *, address: str = "127.0.0.1", port: int = 0, token: str | None = None
) -> tuple[Server, str]:
    """A server of windows, not yet running, and the address to open.

    Parameters
    ----------
    opened, view
        What is looked at, and what is looked at first.
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

    alone = address in LOCAL
    token = None if alone else token or secrets.token_urlsafe(24)
    origins = ["localhost:*", "127.0.0.1:*"] if alone else ["*"]
    application = Application(FunctionHandler(lambda document: window_of(document, opened, view)))
    options: dict[str, Any] = {} if token is None else {"auth_provider": _guard(token)}
    try:
        server = Server(
            {"/": application}, port=port, address=address, allow_websocket_origin=origins,
            unused_session_lifetime_milliseconds=KEEP_UNUSED_MS, websocket_max_message_size=64 * 2**20, **options,
        )  # fmt: skip
    except OSError as error:
        raise InputError(
            f"the explorer cannot listen on {address}:{port} ({error.strerror or error}); choose another --port, or "
            "leave it out for any free one"
        ) from error
    host = f"[{address}]" if ":" in address else "127.0.0.1" if alone else address
    query = f"?{urlencode({'token': token})}" if token else ""
    return server, f"http://{host}:{server.port}/{query}"


def _asked(document: Document) -> dict[str, str]:
    """What the address of a browser asks for."""
    context = document.session_context
    arguments = context.request.arguments if context is not None and context.request is not None else {}
    return {name: values[0].decode("utf-8", "replace") for name, values in arguments.items() if values}


def _page() -> Any:
    """The page around a window, which it fills."""
    from bokeh.core.templates import FILE
    from jinja2 import Template

    _page_text = (
        "{% extends base %}{% block postamble %}<style>html, body { margin: 0; height: 100%; }</style>{% endblock %}"
    )
    return FILE.environment.from_string(_page_text) if hasattr(FILE, "environment") else Template(_page_text)


def _guard(token: str) -> Any:
    """What lets a browser in that has the token in its address, or a cookie from a time when it had."""
    from bokeh.server.auth_provider import AuthProvider
    from tornado.web import RequestHandler

    def known(handler: RequestHandler) -> str | None:
        given = handler.get_argument("token", "") or handler.get_cookie(COOKIE, "") or ""
        if not hmac.compare_digest(given.encode(), token.encode()):
            return None
        if handler.get_argument("token", ""):
            handler.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
        return "guest"

    class Refusal(RequestHandler):  # type: ignore[misc]
        def get(self) -> None:
            self.set_status(403)
            self.finish("Open the address with the token that `cyclestrain explore` printed.")

    class Guard(AuthProvider):  # type: ignore[misc]
        @property
        def get_user(self) -> Callable[[RequestHandler], str | None]:
            return known

        @property
        def get_user_async(self) -> None:
            return None

        @property
        def login_url(self) -> str:
            return "/refused"

        @property
        def get_login_url(self) -> None:
            return None

        @property
        def login_handler(self) -> type[RequestHandler]:
            return Refusal

        @property
        def logout_url(self) -> None:
            return None

        @property
        def logout_handler(self) -> None:
            return None

    return Guard()

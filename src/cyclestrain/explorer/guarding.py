"""Who may open a window: browsers of this machine, or those that know the token."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from bokeh.server.auth_provider import AuthProvider
    from tornado.web import RequestHandler

__all__ = ["LOCAL", "guard", "is_local"]

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names and addresses that only this machine can reach."""
COOKIE = "cyclestrain_token"
REFUSAL = "Open the address that `cyclestrain explore` printed, with its token."


def is_local(host: str, origin: str | None) -> bool:
    """Whether a request was meant for this machine by a page of this machine, whatever the port.

    Another port is what a forwarded connection has. A page of another site, also one whose name was made to lead here,
    is refused.

    Parameters
    ----------
    host, origin
        Headers of the request; pages that are opened directly have no origin.

    Examples
    --------
    >>> is_local("localhost:8888", "http://localhost:8888"), is_local("evil.example:5006", None)
    (True, False)
    """
    names = [urlsplit(f"//{host}").hostname]
    if origin is not None:
        names.append(urlsplit(origin).hostname)
    return all(name in LOCAL for name in names)


def guard(token: str | None) -> AuthProvider:
    """What decides who is let in.

    Parameters
    ----------
    token
        What the address of a browser has to contain, or a cookie from a time when it did; None to let in the browsers
        of this machine and no others.
    """
    from bokeh.server.auth_provider import AuthProvider
    from tornado.web import RequestHandler
    from tornado.websocket import WebSocketHandler

    def user(handler: RequestHandler) -> str | None:
        if token is None:
            headers = handler.request.headers
            return "local" if is_local(headers.get("Host", ""), headers.get("Origin")) else None
        given = handler.get_query_argument("token", "")
        if given and hmac.compare_digest(given.encode(), token.encode()):
            if not isinstance(handler, WebSocketHandler):
                handler.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            return "guest"
        kept = handler.get_cookie(COOKIE) or ""
        return "guest" if hmac.compare_digest(kept.encode(), token.encode()) else None

    class Refusal(RequestHandler):
        """Page for those who are not let in."""

        def get(self) -> None:
            """Say what is needed."""
            self.set_status(403)
            self.finish(REFUSAL)

    class Guard(AuthProvider):  # type: ignore[misc]
        """What Bokeh asks for every page and connection."""

        get_user = property(lambda self: user)
        login_url = property(lambda self: "/refused")
        login_handler = property(lambda self: Refusal)

    return Guard()

"""What notebooks and sessions show of an object: a title and a few labelled lines."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["as_html", "as_text"]


def as_text(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Title and rows as lines.

    Parameters
    ----------
    title
        First line.
    rows
        Label and value of each further line.

    Examples
    --------
    >>> print(as_text("Scan 'a'", [("positions", "2 x 3"), ("type", "uint16")]))
    Scan 'a'
      positions  2 x 3
      type       uint16
    """
    width = max((len(label) for label, _ in rows), default=0)
    return "\n".join([title, *(f"  {label:<{width}}  {value}" for label, value in rows)])


def as_html(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Title and rows as a small table.

    Parameters
    ----------
    title, rows
        As for `as_text`.
    """
    left, pad = "text-align:left", "padding:1px 12px 1px 0"
    lines = "".join(
        f'<tr><th style="{left};{pad};font-weight:normal;opacity:0.7">{escape(label)}</th>'
        f'<td style="{left};{pad}">{escape(value)}</td></tr>'
        for label, value in rows
    )
    return f"<div><strong>{escape(title)}</strong><table>{lines}</table></div>"

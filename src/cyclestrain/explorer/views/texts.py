"""What the window says in words: the table of numbers, why they may be wrong, the keys, the command that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from cyclestrain.explorer.position import Number

__all__ = ["KEYS", "command_text", "help_text", "numbers_text", "trouble_text"]

KEYS = {
    "← → ↑ ↓": "neighbouring position (with Shift: ten further)",
    "w, W": "the worst position, then the next worst; the one before",
    "r": "residual instead of the pattern, and back",
    "o": "outlines of the fitted disks on and off",
    "l": "counts as square root, logarithm, linear",
    "b": "best estimate, or each pattern alone",
    "[ ]": "map before, next map",
    "v, x, p, i": "drag on the map to: look, draw a reference (box), draw a profile, draw a reference (outline)",
    "0": "back to the reference of the result",
    "e, E": "save the map as PNG, as SVG",
    "c": "save the maps as CSV",
    "d": "dark or light",
    "? or h": "this list",
}
"""Every key with what it does."""


def numbers_text(at: tuple[int, int], rows: Sequence[Number], other: Sequence[Number], why: Sequence[str]) -> str:
    """Table of the numbers of a position, with the reasons to doubt them, as HTML.

    Parameters
    ----------
    at
        Row and column.
    rows, other
        Numbers of the result, and of a second one; empty where there is none.
    why
        Reasons for doubt.
    """
    second = {number.name: number for number in other}
    head = "<th>B</th><th>σ</th>" if other else ""
    lines = []
    for number in rows:
        cells = [f"{number.title}", number.text, number.sigma_text]
        if other:
            beside = second.get(number.name)
            cells += ["–", ""] if beside is None else [beside.text, beside.sigma_text]
        cells.append(number.unit)
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    doubt = "".join(f"<li>{escape(text)}</li>" for text in why)
    verdict = f'<div class="cs-warn"><b>Doubtful:</b><ul>{doubt}</ul></div>' if why else "<div>Nothing odd here.</div>"
    title = f"<h1>row {at[0]}, column {at[1]}</h1>"
    return f"{title}{verdict}<table><tr><th></th><th>value</th><th>σ</th>{head}<th></th></tr>{''.join(lines)}</table>"


def command_text(command: str, python: str) -> str:
    """The lines that show, or make, the same again, as HTML.

    Parameters
    ----------
    command, python
        For a shell, empty where there is none, and for Python.
    """
    shell = f'<span class="cs-quiet">shows this again:</span> <code>{escape(command)}</code><br>' if command else ""
    return f'{shell}<span class="cs-quiet">in Python:</span> <code>{escape(python)}</code>'


def help_text() -> str:
    """The keys, as HTML."""
    rows = "".join(f"<tr><td><kbd>{escape(key)}</kbd></td><td style='text-align:left;white-space:normal'>"
                   f"{escape(what)}</td></tr>" for key, what in KEYS.items())  # fmt: skip
    return f"<h1>Keys</h1><table>{rows}</table>"


def trouble_text(text: str) -> str:
    """A complaint, as HTML; empty for none.

    Parameters
    ----------
    text
        The complaint.
    """
    return f'<span class="cs-warn" role="alert">{escape(text)}</span>' if text else ""

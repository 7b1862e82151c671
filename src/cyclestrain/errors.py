"""Errors that a user can act on, all derived from `CyclestrainError`, and text that is safe to print."""

from __future__ import annotations

__all__ = ["ClusterError", "CyclestrainError", "InputError", "OutputError", "ReadError", "first_line", "printable"]


def printable(text: str) -> str:
    r"""Text in one line, in which whatever would steer a terminal is spelled out.

    Names of files and of the arrays in them are chosen by whoever wrote them.

    Parameters
    ----------
    text
        Any text; bytes of a file name that are no UTF-8 are spelled out as well.

    Examples
    --------
    >>> print(printable("scan \x1b[2J of\nGaN 5 °"))
    scan \x1b[2J of\nGaN 5 °
    """
    return "".join(c if c.isprintable() else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def first_line(error: BaseException) -> str:
    """First line of the message of an error, or the name of its type.

    Parameters
    ----------
    error
        The error.
    """
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


class CyclestrainError(Exception):
    """A problem that the user can solve; its message says in one sentence what was expected, found and can be done.

    Parameters
    ----------
    message
        The sentence; names of files and arrays in it are made `printable`.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InputError(CyclestrainError):
    """An input file, array or option cannot be used."""


class ReadError(InputError):
    """The input was opened but reading failed later: the file is damaged further inside, or the drive is gone."""


class OutputError(CyclestrainError):
    """The result cannot be written to the place that was given."""


class ClusterError(CyclestrainError):
    """The cluster cannot do the work, or is gone; what it has done is kept."""

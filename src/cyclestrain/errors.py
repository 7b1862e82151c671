"""The one family of errors a user is meant to read."""

from __future__ import annotations

__all__ = ["CyclestrainError", "InputError", "OutputError"]


class CyclestrainError(Exception):
    """A problem the user can act on: one sentence with what was expected, what came and what to do."""


class InputError(CyclestrainError):
    """The input file, array or option cannot be used."""


class OutputError(CyclestrainError):
    """The result cannot be written where it was asked for."""

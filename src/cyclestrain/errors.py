"""The one family of errors a user is meant to read."""

from __future__ import annotations

__all__ = ["CyclestrainError", "InputError", "OutputError", "ReadError"]


class CyclestrainError(Exception):
    """A problem the user can act on: one sentence with what was expected, what came and what to do."""


class InputError(CyclestrainError):
    """The input file, array or option cannot be used."""


class ReadError(InputError):
    """The input was opened but cannot be read on: it is damaged further inside, or the drive is gone."""


class OutputError(CyclestrainError):
    """The result cannot be written where it was asked for."""

"""Errors that a user can act on, all derived from `CyclestrainError`."""

from __future__ import annotations

__all__ = ["CyclestrainError", "InputError", "OutputError", "ReadError"]


class CyclestrainError(Exception):
    """A problem that the user can solve; its message says in one sentence what was expected, found and can be done."""


class InputError(CyclestrainError):
    """An input file, array or option cannot be used."""


class ReadError(InputError):
    """The input was opened but reading failed later: the file is damaged further inside, or the drive is gone."""


class OutputError(CyclestrainError):
    """The result cannot be written to the place that was given."""

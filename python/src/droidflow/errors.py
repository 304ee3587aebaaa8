"""What goes wrong: every message says what was expected, what was found, and in which file."""

from __future__ import annotations


class DroidflowError(Exception):
    """`file`, what was `expected` of it, what was `found`."""

    def __init__(self, file: object, expected: str, found: str):
        super().__init__(str(file), expected, found)
        self.file, self.expected, self.found = str(file), expected, found

    def __str__(self) -> str:
        return f"want {self.expected}, have {self.found}: {self.file}"


class NotFound(DroidflowError, KeyError):
    """No such data set, episode, file, camera or key."""


class NoAttribute(NotFound, AttributeError):
    """An episode has no such array or property: for `hasattr`."""


class BadFile(DroidflowError, ValueError):
    """A file is not what its name promises."""


class HubError(DroidflowError):
    """The Hugging Face Hub does not answer, or refuses."""


class Unsupported(DroidflowError):
    """This machine lacks a program or package."""

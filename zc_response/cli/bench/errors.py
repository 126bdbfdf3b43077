"""The errors of this package; their text is what the user reads."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Something the one who runs the benchmark can act on."""


class MissingError(BenchmarkError):
    """A program or a library that is asked for is not installed."""


class ServerError(BenchmarkError):
    """A server under test did not start, or died."""


class LoadError(BenchmarkError):
    """A server answered too little, too much, too late or not at all."""

"""The compressors that are installed, by their content coding.

gzip is the standard library's. zstd is so from Python 3.14 on, and its backport before;
brotli comes from the package of that name (both by the extra `compress`). What is not
there is not offered. Nothing else imports these libraries.

The levels are those at which a thread does some tens of megabytes a second: a variant
is made once, but while it is made clients get the identity.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, Protocol


def _first_of(*modules: str) -> Any:
    """The first of some modules that is installed, or None."""
    for name in modules:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


_brotli_module: Final = _first_of("brotli")
_zstd_module: Final = _first_of("compression.zstd", "backports.zstd")


class Compressor(Protocol):
    """What makes one compressed stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What there is to be written after `data`; often nothing."""

    def flush(self) -> bytes:
        """The end of the stream."""


def _gzip() -> Compressor:
    """Without a time in its header, so that the same bytes give the same stream."""
    return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)


class _Brotli:
    def __init__(self) -> None:
        self._compressor: Any = _brotli_module.Compressor(quality=5)

    def compress(self, data: bytes, /) -> bytes:
        """See `Compressor`."""
        made: bytes = self._compressor.process(data)
        return made

    def flush(self) -> bytes:
        """See `Compressor`."""
        made: bytes = self._compressor.finish()
        return made


def _zstd() -> Compressor:
    """With a window of 4 MiB; clients need not take more than 8 (RFC 9659)."""
    compressor: Compressor = _zstd_module.ZstdCompressor(level=9)
    return compressor


CODINGS: Final[Mapping[str, Callable[[], Compressor]]] = {
    **({"zstd": _zstd} if _zstd_module is not None else {}),
    **({"br": _Brotli} if _brotli_module is not None else {}),
    "gzip": _gzip,
}
"""What can be made here."""

"""Which representation of a file is sent: it, one beside it, or one that is made of it.

One answer for every framework. The caller says what the client accepts, and how a file
is opened: without waiting, or by whoever may wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from zc_response.derived.codings import CODINGS
from zc_response.derived.variants import kept_variants
from zc_response.errors import SourceError
from zc_response.planning import (
    SUFFIXES,
    Headers,
    choose_coding,
    encoded,
    is_worth_compressing,
)
from zc_response.policy import Policy
from zc_response.representation import is_settled
from zc_response.sources import SNAPSHOT, FileSource, OpenFiles


class Selected(NamedTuple):
    """An open file, its content coding, and whether others exist.

    Whoever has it has a share of the file.
    """

    source: FileSource
    coding: str = ""
    vary: bool = False

    def fields(self, headers: Headers) -> Headers:
        """The header fields of a 200 with these bytes, of those that a view has set."""
        return encoded(headers, self.coding, vary=self.vary)


Opener = Callable[[str, str], FileSource | None]
"""Opens a path below a root, or says None if it would have to wait for that."""


def best_beside(
    open_it: Opener, root: str, source: FileSource, accepted: str | None
) -> Selected | None:
    """The variant of an open file that the client likes best; takes `source` over.

    `accepted` is the request's Accept-Encoding; None where variants are not looked
    for. None is also the answer if `open_it` says None.
    """
    if accepted is None:
        return Selected(source)
    with source:
        beside = _beside(source)
        coding = choose_coding(accepted, beside)
        if not coding:
            return Selected(source.retain(), "", bool(beside))
        try:
            variant = open_it(source.path + SUFFIXES[coding], root)
        except SourceError:  # out of reach
            return Selected(source.retain(), "", True)
        if variant is None:
            return None
        if _is_older(variant, source):
            variant.release()
            return Selected(source.retain(), "", True)
        return Selected(variant, coding, True)


def opened(files: OpenFiles, path: str, root: str, accepted: str | None) -> Selected:
    """The file that `path` names, or the variant beside it that is liked best.

    Below `root`, if there is one; for who may wait for a disk. Raises SourceError.
    """
    found = best_beside(files.open, root, files.open(path, root), accepted)
    assert found is not None  # `open` waits as long as it takes
    return found


def compressed(
    selected: Selected, headers: Headers, accepted: str, policy: Policy
) -> Selected:
    """A compressed variant in its place, if the client likes that, and it is there.

    `headers` are those of the 200. It takes `selected` over, and never waits: what is
    missing is made meanwhile. Not of a snapshot, which is made for one response.
    """
    source = selected.source
    if not policy.compress_bytes or selected.coding:
        return selected
    if source.fixed is not None and source.fixed.guard == SNAPSHOT:
        return selected
    if not is_worth_compressing(headers, source.facts.size):
        return selected
    coding, variant = choose_coding(accepted, CODINGS), None
    if coding is not None:
        variant = kept_variants(policy).get(source, coding, policy)
    if coding is None or variant is None:
        return selected._replace(vary=True)
    source.release()
    return Selected(variant, coding, True)


def _is_older(variant: FileSource, original: FileSource) -> bool:
    """In whole seconds: tools that copy a tree keep no more of the order."""
    second = 1_000_000_000
    return variant.facts.mtime_ns // second < original.facts.mtime_ns // second


def _beside(source: FileSource) -> list[str]:
    """The content codings in which a file lies beside itself.

    Looked for anew when something was added to the directory or taken from it, and as
    long as that may have happened twice within one tick of a filesystem's clock. Links
    are not followed: they may lead where the loop must not wait.
    """
    try:
        directory = os.stat(os.path.dirname(source.path) or ".")
    except OSError:
        return []
    known = source.memo.get(_beside)
    if known is not None and known[0] == (directory.st_ino, directory.st_mtime_ns):
        return list(known[1])
    found = [c for c in SUFFIXES if os.path.lexists(source.path + SUFFIXES[c])]
    if is_settled(directory.st_mtime_ns):
        source.remember(_beside, ((directory.st_ino, directory.st_mtime_ns), found))
    return found

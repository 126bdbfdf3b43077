"""Pages of the documentation that are in part generated, each part between markers."""

from __future__ import annotations

import re


def put(text: str, name: str, content: str) -> str:
    """The page with other content between the markers of that name."""
    begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    assert pattern.search(text), f"the page has no place for {name}"
    return pattern.sub(lambda _: f"{begin}\n\n{content}\n\n{end}", text)

"""The tables of docs/strategies.md, as they are in the code.

    python -m tests.transmit.strategies_page docs/strategies.md

writes them into the page.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.pages import put
from zc_response.cli.bench.markdown import markdown
from zc_response.cli.bench.records import load
from zc_response.transmit.choose import RULES

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "strategies.md"
RESULTS: Final = ROOT / "benchmarks" / "results"


def page(text: str) -> str:
    """The page with the tables of today."""
    text = put(text, "rules", rules())
    for name, record in (
        ("measured", "strategies/strategies.json"),
        ("page cache", "strategies/page-cache.json"),
        ("lent", "lending/lending.json"),
    ):
        text = put(text, name, markdown(load(RESULTS / record)))
    return text


def rules() -> str:
    """The table by which a strategy is chosen."""
    rows = [
        f"| {rule.when} | {', else '.join(f'`{each}`' for each in rule.strategies)} "
        f"| {rule.reason or 'what keeps us from it, such as `TLS`'} |"
        for rule in RULES
    ]
    head = ["| case | strategy | the report's reason |", "|---|---|---|"]
    return "\n".join([*head, *rows])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")

"""All probes on all servers, as a record.

    python -m tests.servers.survey benchmarks/results/servers/servers.json

It takes some minutes, and strace. With the name of a server behind it, such as
hypercorn, only that one is tried anew, and the others stay as they were.
`tests.servers.page` makes a table of the record.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.servers import probes
from tests.servers.kinds import KINDS, Kind, why_not
from tests.servers.running import served
from zc_response.cli.bench.environment import describe

Record = dict[str, Any]


def survey(kind: Kind) -> Record:
    """What one server gives."""
    assert not why_not(kind), f"{kind.name}: {why_not(kind)} cannot be found"
    with tempfile.TemporaryDirectory() as work, served(kind, Path(work)) as server:
        seen: Record = {
            "server": kind.server,
            "how": kind.how,
            "wire": kind.wire.value,
            "explained": kind.explained,
        }
        for probe in probes.ALL:
            seen |= probe(server)
        return seen


def main(path: Path, only: str = "") -> None:
    """Try everything, or what bears a name, and write it down."""
    logging.disable()
    assert probes.HAS_STRACE, "strace is not installed"
    before = json.loads(path.read_text())["servers"] if only else []
    known = {(row["server"], row["how"]): row for row in before}
    servers = []
    for kind in KINDS:
        is_tried = only in (kind.server, "")
        row = survey(kind) if is_tried else known[kind.server, kind.how]
        servers.append(row)
        print(f"{kind.name}: {row}", flush=True)
    record = {
        "machine": describe(path.parent, None),
        "versions": _versions(),
        "servers": servers,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _versions() -> dict[str, str]:
    names = {kind.server.lower() for kind in KINDS} - {"wsgiref", "uwsgi"}
    names |= {name for kind in KINDS for name in kind.packages}
    found = {}
    for name in sorted(names | {"starlette", "flask", "django", "h2"}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
